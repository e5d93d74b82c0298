"""How far the target's activation spectra are from the base's."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    trainable_layer_names,
)
from keras_spectral_tl.spectra import activation_spectra, spectral_shift
from keras_spectral_tl.transfer.retraining import TargetData


@dataclass(frozen=True)
class SpectralShiftScore:
    """Mean `|log(target spectrum / base spectrum)|` of each layer's pre-activations.

    Averaged over wavenumbers at which the base spectrum has at least `floor` of its
    largest value. It needs no gradient and no targets, and so cannot know whether a
    difference hurts the prediction. The evidence separates gain and shape.

    Attributes:
        floor: relative height below which a shell of the base spectrum is left out.
    """

    floor: float = 1e-6
    name: str = "spectral_shift"

    def __call__(
        self,
        model: keras.Model,
        base: TargetData,
        target: TargetData,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `rng` has no influence.

        Layers without a 2-D spatial output get the lowest score, 0.
        """
        spectra = [activation_spectra(model, data.x) for data in (base, target)]
        before, after = (s.pre_activation for s in spectra)
        shifts = spectral_shift(*spectra)
        values = dict.fromkeys(trainable_layer_names(model), 0.0)
        evidence = {}
        for name in values:
            if name not in before:
                continue
            kept = before[name] > self.floor * before[name].max()
            kept &= after[name] > 0.0
            ratio = np.log(after[name][kept] / before[name][kept])
            values[name] = float(np.mean(np.abs(ratio)))
            evidence[name] = {
                "base_spectrum": before[name],
                "target_spectrum": after[name],
                "gain": shifts[name].gain,
                "shape_distance": shifts[name].distance,
            }
        return ScoredLayers(values, Cost(len(base) + len(target)), evidence)
