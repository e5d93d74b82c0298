"""Keras layers for doubly periodic fields."""

from keras_spectral_tl.layers.periodic_conv2d import PeriodicConv2D
from keras_spectral_tl.layers.periodic_padding2d import PeriodicPadding2D
from keras_spectral_tl.layers.radial_spectrum2d import RadialSpectrum2D

__all__ = ["PeriodicConv2D", "PeriodicPadding2D", "RadialSpectrum2D"]
