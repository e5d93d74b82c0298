"""Figures of merit of predicted fields, in NumPy and as Keras metrics."""

from keras_spectral_tl.metrics._functions import (
    conditioned_correlation,
    least_squares_gain,
    pattern_correlation,
    relative_rmse,
)
from keras_spectral_tl.metrics._streaming import (
    BackscatterCorrelation,
    ForwardTransferCorrelation,
    PatternCorrelation,
    RelativeRMSE,
    SpectrumRMSE,
)
from keras_spectral_tl.spectra._fields import spectrum_rmse

__all__ = [
    "BackscatterCorrelation",
    "ForwardTransferCorrelation",
    "PatternCorrelation",
    "RelativeRMSE",
    "SpectrumRMSE",
    "conditioned_correlation",
    "least_squares_gain",
    "pattern_correlation",
    "relative_rmse",
    "spectrum_rmse",
]
