"""Convolution kernels: transfer functions, shapes, classes, clusters, changes."""

from keras_spectral_tl.spectra.kernels.analysis import (
    LayerKernelAnalysis,
    analyse_kernels,
)
from keras_spectral_tl.spectra.kernels.change_consistency import (
    ChangeConsistency,
    change_consistency,
)
from keras_spectral_tl.spectra.kernels.change_noise import (
    ChangeSignificance,
    change_significance,
)
from keras_spectral_tl.spectra.kernels.changes import KernelChanges, kernel_changes
from keras_spectral_tl.spectra.kernels.classes import KERNEL_CLASSES, classify_kernels
from keras_spectral_tl.spectra.kernels.clusters import KernelClusters, cluster_kernels
from keras_spectral_tl.spectra.kernels.gabor import fit_gabor
from keras_spectral_tl.spectra.kernels.gabor_fits import GaborFits
from keras_spectral_tl.spectra.kernels.layer_changes import (
    LayerKernelChanges,
    layer_kernel_changes,
)
from keras_spectral_tl.spectra.kernels.layer_spectra import LayerKernelSpectra
from keras_spectral_tl.spectra.kernels.model_spectra import (
    KernelSpectraResult,
    convolutions_on,
    grid_shape,
    kernel_spectra,
)
from keras_spectral_tl.spectra.kernels.shapes import KernelShapes, kernel_shapes
from keras_spectral_tl.spectra.kernels.weights import (
    ConvolutionKernel,
    convolution_kernel,
)

__all__ = [
    "KERNEL_CLASSES",
    "ChangeConsistency",
    "ChangeSignificance",
    "ConvolutionKernel",
    "GaborFits",
    "KernelChanges",
    "KernelClusters",
    "KernelShapes",
    "KernelSpectraResult",
    "LayerKernelAnalysis",
    "LayerKernelChanges",
    "LayerKernelSpectra",
    "analyse_kernels",
    "change_consistency",
    "change_significance",
    "classify_kernels",
    "cluster_kernels",
    "convolution_kernel",
    "convolutions_on",
    "fit_gabor",
    "grid_shape",
    "kernel_changes",
    "kernel_shapes",
    "kernel_spectra",
    "layer_kernel_changes",
]
