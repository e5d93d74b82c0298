"""How far the target's activation spectra are from the base's."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.spectra import activation_spectra, spectral_shift
from keras_spectral_tl.spectra.activations import NoSpatialLayerError
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

        Layers without a 2-D spatial output, or without any activity on one of the
        systems, get the lowest score, 0.
        """
        values = dict.fromkeys(layers_to_score(model), 0.0)
        try:
            before, after = (
                activation_spectra(model, data.x).pre_activation
                for data in (base, target)
            )
        except NoSpatialLayerError:
            return ScoredLayers(values, Cost(len(base) + len(target)))
        evidence = {}
        for name in values:
            # A layer may have no 2-D output, or be dead on one of the systems.
            if name not in before or not before[name].any() or not after[name].any():
                continue
            kept = before[name] > self.floor * before[name].max()
            kept &= after[name] > 0.0
            ratio = np.log(after[name][kept] / before[name][kept])
            values[name] = float(np.mean(np.abs(ratio)))
            shift = spectral_shift({name: before[name]}, {name: after[name]})[name]
            evidence[name] = {
                "base_spectrum": before[name],
                "target_spectrum": after[name],
                "gain": shift.gain,
                "shape_distance": shift.distance,
            }
        return ScoredLayers(values, Cost(len(base) + len(target)), evidence)
