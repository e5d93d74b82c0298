"""Transfer functions and properties of all convolution kernels of a model."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.grids import Spacing, data_formats, layer_spacings
from keras_spectral_tl._graph.layers import (
    layers_with_weights,
    spatial_sizes,
)
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl._shells import shell_sum_matrix
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.spectra._clusters import (
    KernelClusters,
    cluster_kernels,
    count_spectra,
)
from keras_spectral_tl.spectra._convolutions import (
    Array,
    ConvolutionKernel,
    Grid,
    convolution_kernel,
    convolution_kernels,
    grid_shape,
    mode_wavenumbers,
    transfer_chunks,
)
from keras_spectral_tl.spectra._gabor import GaborFits, fit_gabor
from keras_spectral_tl.spectra._kernel_shapes import (
    KERNEL_CLASSES,
    KernelShapes,
    class_counts,
    classify_kernels,
    kernel_shapes,
    peak_modes,
)


@dataclass(frozen=True)
class LayerKernelSpectra(Result):
    """Transfer functions ``|F[kernel]|`` of one layer, summarized for each kernel.

    Attributes:
        grid: Points of the grid along each axis.
        mean_transfer: (nx, ny // 2 + 1) mean over all kernels, ``rfft2`` layout;
            ``rfftn`` with one and three axes.
        profiles: (inputs, outputs, num_shells) radial MEAN of each kernel's transfer
            function; the wavenumber is the index.
        mean_profile: (num_shells,) mean of ``profiles`` over all kernels.
        peak_wavenumbers: (inputs, outputs) modulus |k*| of the half-plane mode with
            the largest transfer; the smallest modulus if several are equal.
        peak_fractions: (inputs, outputs) k* / k_max in [0, 1]: the larger of
            |kx*| / (nx / 2) and |ky*| / (ny / 2). It does not depend on the grid.
        classes: (inputs, outputs) strings, each one of `KERNEL_CLASSES`.
    """

    grid: Grid
    mean_transfer: Array
    profiles: Array
    mean_profile: Array
    peak_wavenumbers: Array
    peak_fractions: Array
    classes: NDArray[np.str_]

    def class_shares(self) -> dict[str, float]:
        """Return the share of the kernels in each class; the shares sum to 1."""
        return {name: float(np.mean(self.classes == name)) for name in KERNEL_CLASSES}

    def summary(self) -> dict[str, Any]:
        """Return the mean peak wavenumber and the share of kernels in each class."""
        peak = float(self.peak_wavenumbers.mean())
        return {"peak wavenumber": peak, **self.class_shares()}


class ModelKernelSpectra(ByLayer[LayerKernelSpectra]):
    """Kernel spectra of a model by layer.

    Attributes:
        num_points: The grid the kernels were padded to; by default that of the input,
            and each layer has its own in ``grid``.
        left_out: Names of the layers with weights that were not analysed.
    """

    def __init__(
        self,
        layers: Mapping[str, LayerKernelSpectra],
        num_points: Grid,
        left_out: tuple[str, ...],
    ) -> None:
        super().__init__(layers)
        self.num_points, self.left_out = num_points, left_out

    def plot(self, ax: Any = None) -> Any:
        """Plot the profiles, one panel per layer, and return the axes."""
        profiles = {name: layer.profiles for name, layer in self.items()}
        return plotting.plot_kernel_spectra(profiles, ax=ax)


def kernel_spectra(
    model: keras.Model, num_points: int | Grid | None = None
) -> ModelKernelSpectra:
    """Compute the transfer function of every convolution kernel of a model on a grid.

    ``|F[kernel]|(k) = |sum_a kernel[a] exp(-i k . x_a)|``: the factor by which the
    kernel multiplies that Fourier mode of its input. It is a density in k, so its
    radial profile is the MEAN over the shell [k - 1/2, k + 1/2), not the sum. Dilation
    is included; a layer's own stride and padding are ignored.

    A wavenumber counts waves across the domain. By default each layer has the grid on
    which it works: behind a stride or a pooling of two that has half the points.

    The class of a kernel does not depend on the grid, see `classify_kernels`. Supported
    are Conv1D / 2D / 3D, their subclasses, and the depthwise, separable and transposed
    layers.

    Args:
        model: A built model.
        num_points: Points of the grid of every layer: one number for every axis, or
            (nx,), (nx, ny), (nx, ny, nz) for the layers with as many axes. A tuple of
            equal numbers means that number. By default each layer's own grid, if that
            of the model's input is known.

    Returns:
        Layer name to its spectra, and the names of the layers left out.

    Raises:
        TypeError: If ``num_points`` is not an integer or a tuple of integers.
        ValueError: If the model has no convolution that fits ``num_points``, a kernel
            spans more points than the grid has, or no grid is given or known.

    Example:
        >>> conv = keras.layers.Conv2D(2, 5, name="conv")
        >>> model = keras.Sequential([keras.Input((16, 16, 1)), conv])
        >>> conv.set_weights([np.ones((5, 5, 1, 2)), np.zeros(2)])
        >>> spectra = kernel_spectra(model)
        >>> spectra["conv"].classes
        array([['low-pass', 'low-pass']], dtype='<U12')
        >>> float(spectra["conv"].mean_profile[0])  # the sum of the kernel
        25.0
    """
    grid, found, left_out = convolutions_on(model, num_points)
    layers = {
        name: layer_kernel_spectra(kernel, own) for name, (kernel, own) in found.items()
    }
    return ModelKernelSpectra(layers, grid, left_out)


def layer_kernel_spectra(kernel: ConvolutionKernel, grid: Grid) -> LayerKernelSpectra:
    """Summarize the transfer functions of one layer in bounded memory."""
    kernels = kernel.stacked()
    vectors = mode_wavenumbers(grid)
    modulus = np.linalg.norm(vectors * np.array(grid) / (2 * np.pi), axis=1)
    fraction = np.abs(vectors).max(axis=1) / np.pi
    summing = shell_sum_matrix(*grid)
    modes_in_shell = summing.sum(axis=1)
    total = np.zeros(len(vectors))
    profiles = np.empty((len(kernels), summing.shape[0]))
    peaks = np.empty(len(kernels), np.intp)
    for rows, transfer in transfer_chunks(kernels, grid, kernel.dilation):
        total += transfer.sum(axis=0)
        profiles[rows] = (summing @ transfer.T).T / modes_in_shell
        peaks[rows] = peak_modes(transfer, modulus)
    channels = kernel.channels
    diverged = ~np.isfinite(profiles).all(axis=1)
    moduli, fractions = (
        np.where(diverged, np.nan, values[peaks]).reshape(channels)
        for values in (modulus, fraction)
    )
    return LayerKernelSpectra(
        grid=grid,
        mean_transfer=(total / len(kernels)).reshape(*grid[:-1], -1),
        profiles=profiles.reshape(*channels, -1),
        mean_profile=profiles.mean(axis=0),
        peak_wavenumbers=moduli,
        peak_fractions=fractions,
        classes=classify_kernels(kernels, kernel.dilation).reshape(channels),
    )


def convolutions_on(
    model: keras.Model, num_points: int | Grid | None
) -> tuple[Grid, dict[str, tuple[ConvolutionKernel, Grid]], tuple[str, ...]]:
    """Return a grid, the convolution layers that fit it, and the layers left out.

    Without ``num_points`` the grid is that of the model's input, and each layer has its
    own part of the points, see `layer_spacings`, which a kernel may span more than
    once.
    """
    spacings: Mapping[int, Spacing] = {}
    if num_points is None:
        grid = input_grid(model)
        with suppress(ValueError):  # it cannot be traced: all are on the input's grid
            spacings = layer_spacings(model, grid)
    else:
        grid = grid_shape(num_points)
    layers: dict[str, tuple[ConvolutionKernel, Grid]] = {}
    left_out: dict[str, str] = {}
    for name, layer in layers_with_weights(model).items():
        kernel = convolution_kernel(layer)
        layer_grid = None if kernel is None else _grid_of_rank(grid, len(kernel.size))
        if kernel is None or layer_grid is None:
            left_out[name] = type(layer).__name__
        elif id(layer) in spacings:
            points = zip(layer_grid, spacings[id(layer)], strict=True)
            own = tuple(max(2, round(n / spacing)) for n, spacing in points)
            layers[name] = kernel, own
        else:
            kernel.check_fits(name, layer_grid)
            layers[name] = kernel, layer_grid
    if not layers:
        found = ", ".join(f"{name} ({kind})" for name, kind in left_out.items())
        raise ValueError(
            "Kernel spectra need a convolution with as many spatial axes as num_points "
            f"= {num_points or grid} has numbers (one number fits all). The layers "
            f"with weights of model {model.name!r} are: {found or 'none'}."
        )
    return grid, layers, tuple(left_out)


def input_grid(model: keras.Model) -> Grid:
    """Return the points along the spatial axes of a model's input."""
    shape = getattr(model, "input_shape", None)
    shape = tuple(shape) if isinstance(shape, tuple) else ()
    grid = spatial_sizes(shape, data_formats(model)[0])
    if not 1 <= len(grid) <= 3 or not all(isinstance(n, int) for n in grid):
        raise ValueError(
            f"The grid of model {model.name!r} is not known: expected one input "
            "(batch, nx, ny, channels) with sizes, received input shape "
            f"{shape or None}. Pass num_points, such as num_points=64."
        )
    return grid


def _grid_of_rank(grid: Grid, rank: int) -> Grid | None:
    """Return the grid for layers with this many axes, None if it has another number."""
    if len(grid) == rank:
        return grid
    return grid[:1] * rank if len(set(grid)) == 1 else None


@dataclass(frozen=True)
class LayerKernelAnalysis(Result):
    """Properties of the kernels of one layer; row = input * outputs + output.

    Attributes:
        shape: (inputs, outputs).
        shapes: Peak, bandwidth, orientation, anisotropy, angular profile.
        classes: (kernels,) strings, each one of `KERNEL_CLASSES`.
        fitted: Rows of the kernels that Gabor functions were fitted to.
        gabor: Gabor fits of these; None for kernels with three axes.
        clusters: Clusters; None for layers of fewer than three different transfer
            functions, or if not requested.
    """

    shape: tuple[int, int]
    shapes: KernelShapes
    classes: NDArray[np.str_]
    fitted: NDArray[np.intp]
    gabor: GaborFits | None
    clusters: KernelClusters | None

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "class_counts": class_counts(self.classes)}

    def summary(self) -> dict[str, Any]:
        """Return the number of kernels in each class and the median Gabor residual."""
        gabor, clusters = self.gabor, self.clusters
        residual = np.nan if gabor is None else float(np.median(gabor.residuals))
        count = 0 if clusters is None else len(clusters.sizes)
        counts = class_counts(self.classes)
        return {**counts, "Gabor residual": residual, "clusters": count}


def analyse_kernels(
    model: keras.Model,
    layers: Selector | None = None,
    *,
    with_clusters: bool = True,
    num_fits: int = 100,
) -> ByLayer[LayerKernelAnalysis]:
    """Compute shapes, classes, Gabor fits and clusters of all kernels of a model.

    The results do not depend on the grid of the fields; `kernel_spectra` gives the
    transfer functions on a grid.

    Args:
        model: A built model.
        layers: Convolution layers, see `select_layers`; by default all.
        with_clusters: Whether to look for clusters, which needs scikit-learn.
        num_fits: Number of kernels per layer fitted by Gabor functions, evenly spaced
            over all of them; a fit takes about 10 ms.

    Returns:
        Layer name to its analysis, in execution order.

    Raises:
        ImportError: If clusters are asked for and scikit-learn is not installed.
        KeyError: If the model has no layer of a given name.
        ValueError: If the model, or a named layer, is not a convolution.

    Example:
        >>> conv = keras.layers.Conv2D(2, 5, name="conv")
        >>> model = keras.Sequential([keras.Input((16, 16, 1)), conv])
        >>> found = analyse_kernels(model, with_clusters=False)["conv"]
        >>> found.shape, found.gabor.residuals.shape
        ((1, 2), (2,))
    """
    num_fits = whole_number("num_fits", num_fits, 1)
    names = None if layers is None else select_layers(model, layers).names
    kernels = {
        name: kernel
        for name, kernel in convolution_kernels(model).items()
        if names is None or name in names
    }
    missing = [name for name in names or () if name not in kernels]
    if missing or not kernels:
        raise ValueError(
            f"Model {model.name!r} has no convolution to analyse"
            + (f" in {missing}; these layers are none." if missing else ".")
            + " Expected layers such as Conv2D."
        )
    return ByLayer(
        {name: _analysed(k, with_clusters, num_fits) for name, k in kernels.items()}
    )


def _analysed(
    kernel: ConvolutionKernel, with_clusters: bool, num_fits: int
) -> LayerKernelAnalysis:
    stack, dilation = kernel.stacked(), kernel.dilation
    shapes = kernel_shapes(stack, dilation)
    count = min(num_fits, len(stack)) if stack.ndim < 4 else 0
    fitted = np.linspace(0, len(stack) - 1, count).round().astype(np.intp)
    can_cluster = with_clusters and count_spectra(stack, dilation) > 2
    return LayerKernelAnalysis(
        shape=kernel.channels,
        shapes=shapes,
        classes=classify_kernels(stack, dilation, shapes),
        fitted=fitted,
        gabor=fit_gabor(stack[fitted]) if count else None,
        clusters=cluster_kernels(stack, dilation) if can_cluster else None,
    )
