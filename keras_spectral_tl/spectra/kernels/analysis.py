"""All that is known of the kernels of a model, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.spectra.kernels.classes import class_counts, classify_kernels
from keras_spectral_tl.spectra.kernels.clusters import (
    KernelClusters,
    cluster_kernels,
    count_spectra,
)
from keras_spectral_tl.spectra.kernels.gabor import fit_gabor
from keras_spectral_tl.spectra.kernels.gabor_fits import GaborFits
from keras_spectral_tl.spectra.kernels.shapes import KernelShapes, kernel_shapes
from keras_spectral_tl.spectra.kernels.weights import (
    ConvolutionKernel,
    convolution_kernel,
)


@dataclass(frozen=True)
class LayerKernelAnalysis:
    """The kernels of one layer; row = input * outputs + output.

    Attributes:
        shape: (inputs, outputs).
        shapes: Peak, bandwidth, orientation, anisotropy, angular profile.
        classes: (kernels,) strings, each one of `KERNEL_CLASSES`.
        gabor: Gabor fits; None for kernels with three axes.
        clusters: Clusters; None for layers of fewer than three different transfer
            functions, or if they were not asked for.
    """

    shape: tuple[int, int]
    shapes: KernelShapes
    classes: NDArray[np.str_]
    gabor: GaborFits | None
    clusters: KernelClusters | None

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {
            "shape": list(self.shape),
            "shapes": self.shapes.to_dict(),
            "classes": self.classes.tolist(),
            "class_counts": class_counts(self.classes),
            "gabor": None if self.gabor is None else self.gabor.to_dict(),
            "clusters": None if self.clusters is None else self.clusters.to_dict(),
        }


def analyse_kernels(
    model: keras.Model,
    layers: Selector | None = None,
    *,
    with_clusters: bool = True,
) -> Mapping[str, LayerKernelAnalysis]:
    """Shapes, classes, Gabor fits and clusters of all kernels of a model.

    Nothing here depends on the grid of a field; `kernel_spectra` gives the transfer
    functions on one. Some 1.5 ms a kernel of 5 x 5 points on one core.

    Args:
        model: A built model.
        layers: Convolution layers, see `select_layers`; by default all.
        with_clusters: Whether to look for clusters, which needs scikit-learn.

    Returns:
        Layer name to its analysis, in execution order.

    Raises:
        ImportError: If clusters are asked for and scikit-learn is not installed.
        KeyError: If there is no layer of a name.
        ValueError: If the model has no convolution, or a named layer is none.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(2, 5, name="conv")
        >>> model = keras.Sequential([keras.Input((16, 16, 1)), conv])
        >>> found = analyse_kernels(model, with_clusters=False)["conv"]
        >>> found.shape, found.gabor.residuals.shape
        ((1, 2), (2,))
    """
    names = None if layers is None else select_layers(model, layers).names
    kernels = {
        name: kernel
        for name, layer in layers_with_weights(model).items()
        if (kernel := convolution_kernel(layer)) is not None
        and (names is None or name in names)
    }
    missing = [name for name in names or () if name not in kernels]
    if missing or not kernels:
        raise ValueError(
            f"Model {model.name!r} has no convolution to analyse"
            + (f" in {missing}; these layers are none." if missing else ".")
            + " Expected layers such as Conv2D, see `convolution_kernel`."
        )
    return {
        name: analyse_layer(kernel, with_clusters) for name, kernel in kernels.items()
    }


def analyse_layer(
    kernel: ConvolutionKernel, with_clusters: bool = True
) -> LayerKernelAnalysis:
    """Shapes, classes, Gabor fits and clusters of the kernels of one layer.

    Args:
        kernel: What `convolution_kernel` returns.
        with_clusters: Whether to look for clusters.

    Returns:
        The analysis.
    """
    stack, dilation = kernel.stacked(), kernel.dilation
    shapes = kernel_shapes(stack, dilation)
    can_cluster = with_clusters and count_spectra(stack, dilation) > 2
    return LayerKernelAnalysis(
        shape=(kernel.weights.shape[-2], kernel.weights.shape[-1]),
        shapes=shapes,
        classes=classify_kernels(stack, dilation, shapes),
        gabor=fit_gabor(stack) if stack.ndim < 4 else None,
        clusters=cluster_kernels(stack, dilation) if can_cluster else None,
    )
