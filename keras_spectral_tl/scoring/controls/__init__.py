"""Controls: orders of layers that a score has to beat, and the measured answer."""

from keras_spectral_tl.scoring.controls.first_layer import FirstLayer
from keras_spectral_tl.scoring.controls.fixed_depth import FixedDepth
from keras_spectral_tl.scoring.controls.last_layer import LastLayer
from keras_spectral_tl.scoring.controls.measured_order import MeasuredOrder
from keras_spectral_tl.scoring.controls.power_law_alpha import PowerLawAlpha
from keras_spectral_tl.scoring.controls.random_order import RandomOrder

__all__ = [
    "FirstLayer",
    "FixedDepth",
    "LastLayer",
    "MeasuredOrder",
    "PowerLawAlpha",
    "RandomOrder",
]
