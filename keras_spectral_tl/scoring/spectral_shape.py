"""How much of each layer's energy sits at other wavenumbers."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.scoring.activation_shifts import activation_shifts
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer._samples import Samples


@dataclass(frozen=True)
class SpectralShapeScore:
    """Share of the energy of each layer's pre-activations at other wavenumbers.

        score = 1/2 sum_k |T(k) / sum T - B(k) / sum B|   in [0, 1]

    for the spectra B of the base and T of the target: the shape of the spectral shift,
    without its gain (`spectra.spectral_shift`). It needs no targets and cannot know
    whether a difference hurts the prediction.
    """

    name: str = "spectral_shape"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `rng` has no influence. 0 for layers without spectra."""
        values = dict.fromkeys(layers_to_score(model), 0.0)
        shifts = activation_shifts(model, base, target)
        for name in (name for name in values if name in shifts):
            values[name] = shifts[name].shift.distance
        return ScoredLayers(values, Cost(len(base) + len(target)))
