"""Keras layers for periodic fields and for differentiable LES time steps."""

from keras_spectral_tl.layers._les import LESStep, UnrolledLES
from keras_spectral_tl.layers._periodic import (
    PeriodicConv2D,
    PeriodicPadding1D,
    PeriodicPadding2D,
    PeriodicPadding3D,
    RadialSpectrum2D,
)

__all__ = [
    "LESStep",
    "PeriodicConv2D",
    "PeriodicPadding1D",
    "PeriodicPadding2D",
    "PeriodicPadding3D",
    "RadialSpectrum2D",
    "UnrolledLES",
]
