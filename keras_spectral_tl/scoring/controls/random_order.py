"""Layers in random order."""

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
class RandomOrder:
    """A control: an order drawn at random, all orders equally likely."""

    name: str = "random_order"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `rng` alone decides."""
        names = layers_to_score(model)
        draws = rng.permutation(len(names)).astype(float).tolist()
        return ScoredLayers(dict(zip(names, draws, strict=True)), Cost(0))
