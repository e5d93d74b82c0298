"""How far the target's activation spectra are from the base's."""

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
class SpectralShiftScore:
    """Mean `|log(target spectrum / base spectrum)|` of each layer's pre-activations.

    Averaged over wavenumbers at which the base spectrum has at least `floor` of its
    largest value. It needs no gradient and no targets, and so cannot know whether a
    difference hurts the prediction. The evidence separates gain and shape;
    `SpectralGainScore` and `SpectralShapeScore` score by one of them.

    Attributes:
        floor: relative height below which a shell of the base spectrum is left out.
    """

    floor: float = 1e-6
    name: str = "spectral_shift"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `rng` has no influence.

        Layers without a spatial output, or without any activity on one of the systems,
        get the lowest score, 0.
        """
        values, evidence = dict.fromkeys(layers_to_score(model), 0.0), {}
        shifts = activation_shifts(model, base, target)
        for name in (name for name in values if name in shifts):
            before, after = shifts[name].base, shifts[name].target
            kept = before > self.floor * before.max()
            kept &= after > 0.0
            values[name] = float(np.mean(np.abs(np.log(after[kept] / before[kept]))))
            evidence[name] = {
                "base_spectrum": before,
                "target_spectrum": after,
                "gain": shifts[name].shift.gain,
                "shape_distance": shifts[name].shift.distance,
            }
        return ScoredLayers(values, Cost(len(base) + len(target)), evidence)
