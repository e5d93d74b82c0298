"""Layers from the first to the last."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer._samples import Samples


@dataclass(frozen=True)
class FirstLayer:
    """A control: the shallower, the better; minus the number of layers before."""

    name: str = "first_layer"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        return ScoredLayers({n: -float(i) for i, n in enumerate(names)}, Cost(0))
