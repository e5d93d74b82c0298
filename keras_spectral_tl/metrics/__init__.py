"""How well a predicted field agrees with the true one, in NumPy and while training."""

from keras_spectral_tl.metrics.backscatter_correlation import BackscatterCorrelation
from keras_spectral_tl.metrics.conditioned_correlation import conditioned_correlation
from keras_spectral_tl.metrics.forward_transfer_correlation import (
    ForwardTransferCorrelation,
)
from keras_spectral_tl.metrics.least_squares_gain import least_squares_gain
from keras_spectral_tl.metrics.pattern_correlation import (
    PatternCorrelation,
    pattern_correlation,
)
from keras_spectral_tl.metrics.relative_rmse import RelativeRMSE, relative_rmse
from keras_spectral_tl.metrics.spectrum_rmse import SpectrumRMSE
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
