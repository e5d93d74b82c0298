"""Exact spectral identities of a network, each computed and its residual reported."""

from keras_spectral_tl.spectra.identities.convolution import (
    ConvolutionResiduals,
    convolution_residuals,
)
from keras_spectral_tl.spectra.identities.relu import (
    EnergyMoved,
    relu_energy_moved,
    relu_residuals,
)
from keras_spectral_tl.spectra.identities.table import IdentityRow, identity_table

__all__ = [
    "ConvolutionResiduals",
    "EnergyMoved",
    "IdentityRow",
    "convolution_residuals",
    "identity_table",
    "relu_energy_moved",
    "relu_residuals",
]
