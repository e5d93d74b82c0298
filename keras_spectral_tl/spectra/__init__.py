"""Spectra of fields, kernels, activations and predictions, and exact identities."""

from keras_spectral_tl._graph.calls import read_calls
from keras_spectral_tl.spectra._activations import activation_spectra, layer_gains
from keras_spectral_tl.spectra._clusters import cluster_kernels
from keras_spectral_tl.spectra._composition import (
    linear_composition,
    measured_composition,
)
from keras_spectral_tl.spectra._fields import (
    coherence,
    radial_spectrum,
    spectral_ratio,
    spectrum_rmse,
)
from keras_spectral_tl.spectra._filters import principal_filters
from keras_spectral_tl.spectra._gabor import fit_gabor
from keras_spectral_tl.spectra._identities import convolution_residuals, relu_identity
from keras_spectral_tl.spectra._kernel_changes import kernel_changes
from keras_spectral_tl.spectra._kernel_shapes import classify_kernels, kernel_shapes
from keras_spectral_tl.spectra._kernels import analyse_kernels, kernel_spectra
from keras_spectral_tl.spectra._shifts import (
    change_consistency,
    retraining_shifts,
    spectral_shift,
)

__all__ = [
    "activation_spectra",
    "analyse_kernels",
    "change_consistency",
    "classify_kernels",
    "cluster_kernels",
    "coherence",
    "convolution_residuals",
    "fit_gabor",
    "kernel_changes",
    "kernel_shapes",
    "kernel_spectra",
    "layer_gains",
    "linear_composition",
    "measured_composition",
    "principal_filters",
    "radial_spectrum",
    "read_calls",
    "relu_identity",
    "retraining_shifts",
    "spectral_ratio",
    "spectral_shift",
    "spectrum_rmse",
]
