"""Keras layers for periodic fields, and the steps of an LES."""

from keras_spectral_tl.layers.les_step import LESStep
from keras_spectral_tl.layers.periodic_conv2d import PeriodicConv2D
from keras_spectral_tl.layers.periodic_padding1d import PeriodicPadding1D
from keras_spectral_tl.layers.periodic_padding2d import PeriodicPadding2D
from keras_spectral_tl.layers.periodic_padding3d import PeriodicPadding3D
from keras_spectral_tl.layers.radial_spectrum2d import RadialSpectrum2D
from keras_spectral_tl.layers.unrolled_les import UnrolledLES

__all__ = [
    "LESStep",
    "PeriodicConv2D",
    "PeriodicPadding1D",
    "PeriodicPadding2D",
    "PeriodicPadding3D",
    "RadialSpectrum2D",
    "UnrolledLES",
]
