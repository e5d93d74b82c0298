"""Keras layers for periodic fields."""

from keras_spectral_tl.layers.periodic_conv2d import PeriodicConv2D
from keras_spectral_tl.layers.periodic_padding1d import PeriodicPadding1D
from keras_spectral_tl.layers.periodic_padding2d import PeriodicPadding2D
from keras_spectral_tl.layers.periodic_padding3d import PeriodicPadding3D
from keras_spectral_tl.layers.radial_spectrum2d import RadialSpectrum2D

__all__ = [
    "PeriodicConv2D",
    "PeriodicPadding1D",
    "PeriodicPadding2D",
    "PeriodicPadding3D",
    "RadialSpectrum2D",
]
