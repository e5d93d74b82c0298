"""Metrics of predicted fields, for NumPy arrays and as Keras metrics."""

from keras_spectral_tl.metrics._functions import (
    conditioned_correlation,
    least_squares_gain,
    pattern_correlation,
    relative_rmse,
)
from keras_spectral_tl.metrics._streaming import (
    PatternCorrelation,
    RelativeRMSE,
    SpectrumRMSE,
    TransferCorrelation,
)
from keras_spectral_tl.spectra._fields import spectrum_rmse

__all__ = [
    "PatternCorrelation",
    "RelativeRMSE",
    "SpectrumRMSE",
    "TransferCorrelation",
    "conditioned_correlation",
    "least_squares_gain",
    "pattern_correlation",
    "relative_rmse",
    "spectrum_rmse",
]
