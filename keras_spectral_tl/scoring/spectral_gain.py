"""How much louder or quieter the target is in each layer."""

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
class SpectralGainScore:
    """`|log(target energy / base energy)|` of each layer's pre-activations.

    The gain of the spectral shift, without its shape (`spectra.spectral_shift`). It
    needs no targets and cannot know whether a difference hurts the prediction.
    """

    name: str = "spectral_gain"

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
            values[name] = abs(shifts[name].shift.gain)
        return ScoredLayers(values, Cost(len(base) + len(target)))
