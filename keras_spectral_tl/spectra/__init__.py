"""Spectra of fields, kernels, activations and predictions, and their identities."""

from keras_spectral_tl.spectra.activations import (
    ActivationSpectraResult,
    SpectralShift,
    activation_spectra,
    spectral_shift,
)
from keras_spectral_tl.spectra.fields import cross_spectrum, radial_spectrum
from keras_spectral_tl.spectra.identities import (
    ConvolutionResiduals,
    EnergyMoved,
    convolution_residuals,
    relu_energy_moved,
    relu_residuals,
)
from keras_spectral_tl.spectra.kernels import (
    KERNEL_CLASSES,
    KernelSpectraResult,
    LayerKernelSpectra,
    kernel_spectra,
)
from keras_spectral_tl.spectra.prediction import coherence, spectrum_rmse

__all__ = [
    "KERNEL_CLASSES",
    "ActivationSpectraResult",
    "ConvolutionResiduals",
    "EnergyMoved",
    "KernelSpectraResult",
    "LayerKernelSpectra",
    "SpectralShift",
    "activation_spectra",
    "coherence",
    "convolution_residuals",
    "cross_spectrum",
    "kernel_spectra",
    "radial_spectrum",
    "relu_energy_moved",
    "relu_residuals",
    "spectral_shift",
    "spectrum_rmse",
]
