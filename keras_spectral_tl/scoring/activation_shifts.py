"""Spectra of every layer's pre-activations on the base and on the target."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra import SpectralShift, activation_spectra, spectral_shift
from keras_spectral_tl.spectra.activations import NoSpatialLayerError
from keras_spectral_tl.transfer._samples import Samples


@dataclass(frozen=True)
class ActivationShift:
    """Spectra (shell SUM) of one layer's pre-activations, and their difference.

    Attributes:
        base: by wavenumber.
        target: by wavenumber.
        shift: gain and shape of the difference.
    """

    base: NDArray[np.float64]
    target: NDArray[np.float64]
    shift: SpectralShift


def activation_shifts(
    model: keras.Model, base: Samples, target: Samples
) -> dict[str, ActivationShift]:
    """Returns the shifts of the layers that have one.

    Layers with as many spatial axes as the target are read; those without, or without
    activity on one of the systems, are left out.
    """
    rank = min(max(target.y.ndim - 2, 1), 3)
    try:
        before, after = (
            activation_spectra(model, data.x, rank=rank).pre_activation
            for data in (base, target)
        )
    except NoSpatialLayerError:
        return {}
    return {
        name: ActivationShift(
            before[name],
            after[name],
            spectral_shift({name: before[name]}, {name: after[name]})[name],
        )
        for name in before
        if before[name].any() and after[name].any()
    }
