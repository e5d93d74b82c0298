"""Transfer functions of the convolution kernels of any Keras model."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.spectra.kernels.layer_spectra import (
    LayerKernelSpectra,
    check_extent,
    layer_kernel_spectra,
)
from keras_spectral_tl.spectra.kernels.transforms import Grid
from keras_spectral_tl.spectra.kernels.weights import (
    ConvolutionKernel,
    convolution_kernel,
)


@dataclass(frozen=True)
class KernelSpectraResult:
    """Kernel spectra of a model.

    Attributes:
        num_points: The grid the kernels were padded to, as `grid_shape` gives it.
        layers: Layer name to its spectra, in execution order.
        left_out: Names of the layers with weights that were not analysed.
    """

    num_points: Grid
    layers: dict[str, LayerKernelSpectra]
    left_out: tuple[str, ...]


def kernel_spectra(
    model: keras.Model, num_points: int | Grid | None = None
) -> KernelSpectraResult:
    """Transfer function of every convolution kernel of a model on a grid.

    ``|F[kernel]|(k) = |sum_a kernel[a] exp(-i k . x_a)|``: the factor by which the
    kernel multiplies that Fourier mode of its input. It is a density in k, so its
    radial profile is the MEAN over the shell [k - 1/2, k + 1/2), not the sum. Dilation
    is respected; stride and padding do not enter.

    The class of a kernel does not depend on the grid, see `classify_kernels`. Covered
    are the layers that `convolution_kernel` knows, with one, two or three spatial axes.

    Args:
        model: A built model.
        num_points: Points of the grid: one number for every axis of every layer, or
            (nx,), (nx, ny), (nx, ny, nz) for the layers with as many axes. A tuple of
            equal numbers stands for that number. By default the grid of the model's
            input, where it is known.

    Returns:
        One `LayerKernelSpectra` a layer, and the names of the layers left out.

    Raises:
        TypeError: If ``num_points`` is not an integer or a tuple of integers.
        ValueError: If the model has no convolution that fits ``num_points``, a kernel
            spans more points than the grid has, or no grid is given nor known.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((16, 16, 1)), keras.layers.Conv2D(2, 5, name="conv")]
        ... )
        >>> model.layers[0].set_weights([np.ones((5, 5, 1, 2)), np.zeros(2)])
        >>> spectra = kernel_spectra(model, 16).layers["conv"]
        >>> spectra.classes
        array([['low-pass', 'low-pass']], dtype='<U12')
        >>> float(spectra.mean_profile[0])  # the sum of the kernel
        25.0
    """
    if num_points is None:
        num_points = input_grid(model)
    found, left_out = convolutions_on(model, num_points)
    layers = {
        name: layer_kernel_spectra(name, kernel, grid)
        for name, (kernel, grid) in found.items()
    }
    return KernelSpectraResult(grid_shape(num_points), layers, left_out)


def convolutions_on(
    model: keras.Model, num_points: int | Grid
) -> tuple[dict[str, tuple[ConvolutionKernel, Grid]], tuple[str, ...]]:
    """The convolution layers of a model that fit a grid, before anything is computed.

    Args:
        model: A built model.
        num_points: As in `kernel_spectra`, whose errors are these.

    Returns:
        Layer name to its kernel and the grid for it; names of the layers left out.
    """
    grid = grid_shape(num_points)
    layers: dict[str, tuple[ConvolutionKernel, Grid]] = {}
    left_out: dict[str, str] = {}
    for name, layer in layers_with_weights(model).items():
        kernel = convolution_kernel(layer)
        layer_grid = None if kernel is None else _grid_of_rank(grid, len(kernel.size))
        if kernel is None or layer_grid is None:
            left_out[name] = type(layer).__name__
        else:
            check_extent(name, kernel, layer_grid)
            layers[name] = kernel, layer_grid
    if not layers:
        found = ", ".join(f"{name} ({kind})" for name, kind in left_out.items())
        raise ValueError(
            "Kernel spectra need a convolution with as many spatial axes as num_points "
            f"= {num_points} has numbers (one number fits all). The layers with "
            f"weights of model {model.name!r} are: {found or 'none'}."
        )
    return layers, tuple(left_out)


def grid_shape(num_points: int | Grid) -> Grid:
    """Numbers of points along the axes of a grid.

    Args:
        num_points: One number, taken as (n, n), or a tuple of one to three numbers.

    Returns:
        (nx,), (nx, ny) or (nx, ny, nz).

    Raises:
        TypeError: If it is not an integer or a tuple of one to three integers.
        ValueError: If a number is below 2.

    Example:
        >>> grid_shape(64)
        (64, 64)
    """
    sizes = num_points if isinstance(num_points, tuple) else (num_points, num_points)
    if not 1 <= len(sizes) <= 3 or not all(
        isinstance(n, int | np.integer) for n in sizes
    ):
        raise TypeError(
            "num_points must be an integer or a tuple of one to three integers, such "
            f"as (nx, ny). Received num_points={num_points!r}."
        )
    if min(sizes) < 2:
        raise ValueError(f"num_points must be at least 2. Received {num_points}.")
    return tuple(int(n) for n in sizes)


def input_grid(model: keras.Model) -> Grid:
    """Points along the spatial axes of a model's input.

    Args:
        model: A built model with one input (batch, *grid, channels), or with channels
            first.

    Returns:
        (nx,), (nx, ny) or (nx, ny, nz).

    Raises:
        ValueError: If the model has no such input or leaves a size open.
    """
    shape = getattr(model, "input_shape", None)
    shape = tuple(shape) if isinstance(shape, tuple) else ()
    formats = [getattr(layer, "data_format", None) for layer in model.layers]
    known = next(filter(None, formats), keras.config.image_data_format())
    grid = shape[1:-1] if known == "channels_last" else shape[2:]
    if not 1 <= len(grid) <= 3 or not all(isinstance(n, int) for n in grid):
        raise ValueError(
            f"The grid of model {model.name!r} is not known: expected one input "
            "(batch, nx, ny, channels) with sizes, received input shape "
            f"{shape or None}. Pass num_points, such as kernel_spectra(model, 64)."
        )
    return grid


def _grid_of_rank(grid: Grid, rank: int) -> Grid | None:
    """The grid for layers with this many axes; None if it has another number."""
    if len(grid) == rank:
        return grid
    return grid[:1] * rank if len(set(grid)) == 1 else None
