"""Transfer functions of convolution kernels: low-, band- and high-pass filters."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.introspection import weight_layers
from keras_spectral_tl.spectra.fields import shell_sum_matrix

KERNEL_CLASSES = ("low-pass", "band-pass", "high-pass", "all-pass")
# Kernels transformed at once: 256 of them on a 128 x 128 grid take 34 MB.
_CHUNK_SIZE = 256
# Peaks closer than this count as equal; the one at the smallest |k| is taken.
_TIE = 1e-9
# A transfer function that varies less than this (relative) has no peak: all-pass.
_FLAT = 1e-6

Grid = tuple[int, int]


@dataclass(frozen=True)
class ConvolutionKernel:
    """The linear part of a convolution layer.

    Attributes:
        weights: (kx, ky, inputs, outputs) float64. ``inputs`` are those of one group;
            a depthwise kernel is (kx, ky, inputs, depth_multiplier).
        dilation: Spacing of the kernel points along x and y.
        depthwise: Whether each input channel has its own outputs.
        transposed: Whether the layer convolves (transposed layers) rather than
            cross-correlates (all others).
    """

    weights: NDArray[np.float64]
    dilation: tuple[int, int]
    depthwise: bool = False
    transposed: bool = False


@dataclass(frozen=True)
class LayerKernelSpectra:
    """Transfer functions ``|F[kernel]|`` of one layer, summarised per kernel.

    Attributes:
        mean_transfer: (nx, ny // 2 + 1) mean over all kernels, ``rfft2`` layout.
        profiles: (inputs, outputs, num_shells) radial MEAN of each kernel's transfer
            function; the wavenumber is the index.
        mean_profile: (num_shells,) mean of ``profiles`` over all kernels.
        peak_wavenumbers: (inputs, outputs) modulus |k*| of the half-plane mode with
            the largest transfer; the smallest such modulus when several are equal.
        peak_fractions: (inputs, outputs) k* / k_max in [0, 1]: the larger of
            |kx*| / (nx / 2) and |ky*| / (ny / 2). It does not depend on the grid.
        classes: (inputs, outputs) strings, each one of `KERNEL_CLASSES`.
    """

    mean_transfer: NDArray[np.float64]
    profiles: NDArray[np.float64]
    mean_profile: NDArray[np.float64]
    peak_wavenumbers: NDArray[np.float64]
    peak_fractions: NDArray[np.float64]
    classes: NDArray[np.str_]

    def class_shares(self) -> dict[str, float]:
        """Share of the kernels in each class; the shares sum to 1."""
        return {name: float(np.mean(self.classes == name)) for name in KERNEL_CLASSES}


@dataclass(frozen=True)
class KernelSpectraResult:
    """Kernel spectra of a model.

    Attributes:
        num_points: (nx, ny) of the grid the kernels were padded to.
        layers: Layer name to its spectra, in execution order.
        left_out: Names of the layers with weights that are not 2-D convolutions.
    """

    num_points: Grid
    layers: dict[str, LayerKernelSpectra]
    left_out: tuple[str, ...]


def kernel_spectra(
    model: keras.Model,
    num_points: int | Grid,
    bounds: tuple[float, float] = (0.2, 0.8),
) -> KernelSpectraResult:
    """Transfer function of every 2-D convolution kernel of a model on a grid.

    ``|F[kernel]|(kx, ky) = |sum_ab kernel[a, b] exp(-i (kx x_a + ky y_b))|``: the
    factor by which the kernel multiplies that Fourier mode of its input. It is a
    density in k, so its radial profile is the MEAN over the shell
    [k - 1/2, k + 1/2), not the sum. Dilation is respected; stride and padding do not
    enter.

    The class of a kernel follows its peak k* as a fraction of k_max, the Nyquist
    wavenumber: low-pass up to ``bounds[0]``, high-pass from ``bounds[1]``, band-pass
    between, all-pass when the transfer function is flat (or zero). The bounds are half
    the resolution 2 / 5 of a kernel of five points: a peak closer to an end than that
    cannot be told from it. As k* / k_max converges with the grid, the class does not
    depend on it unless k* lies within one grid wavenumber of a bound.

    Covered are Conv2D and its subclasses, DepthwiseConv2D, Conv2DTranspose and
    SeparableConv2D (its two kernels multiplied into one).

    Args:
        model: A built model.
        num_points: Points of the grid, one number or (nx, ny).
        bounds: The two fractions that separate the classes.

    Returns:
        One `LayerKernelSpectra` a layer, and the names of the layers left out.

    Raises:
        TypeError: If ``num_points`` is not an integer or a pair of integers.
        ValueError: If the model has no 2-D convolution, a kernel does not fit the
            grid, or ``bounds`` are not increasing fractions.

    Example:
        >>> import keras
        >>> model = keras.Sequential(
        ...     [keras.Input((16, 16, 1)), keras.layers.Conv2D(2, 3, name="conv")]
        ... )
        >>> model.layers[0].set_weights([np.ones((3, 3, 1, 2)), np.zeros(2)])
        >>> spectra = kernel_spectra(model, 16).layers["conv"]
        >>> spectra.classes
        array([['low-pass', 'low-pass']], dtype='<U9')
        >>> float(spectra.mean_profile[0])  # the sum of the kernel
        9.0
    """
    grid = grid_shape(num_points)
    if not 0.0 <= bounds[0] < bounds[1] <= 1.0:
        raise ValueError(
            "bounds must be two increasing fractions of the Nyquist wavenumber in "
            f"[0, 1]. Received bounds={bounds}."
        )
    layers: dict[str, LayerKernelSpectra] = {}
    left_out: dict[str, str] = {}
    for name, layer in weight_layers(model).items():
        kernel = convolution_kernel(layer)
        if kernel is None:
            left_out[name] = type(layer).__name__
        else:
            layers[name] = _layer_spectra(name, kernel, grid, bounds)
    if not layers:
        found = ", ".join(f"{name} ({kind})" for name, kind in left_out.items())
        raise ValueError(
            "Kernel spectra need a 2-D convolution (Conv2D, SeparableConv2D, "
            "DepthwiseConv2D, Conv2DTranspose). The layers with weights of model "
            f"{model.name!r} are: {found or 'none'}."
        )
    return KernelSpectraResult(grid, layers, tuple(left_out))


def convolution_kernel(layer: keras.Layer) -> ConvolutionKernel | None:
    """Kernel of a 2-D convolution layer in one common form.

    Args:
        layer: Any built layer.

    Returns:
        The kernel in float64, or None if the layer is not a 2-D convolution.

    Example:
        >>> import keras
        >>> layer = keras.layers.Conv2D(4, 3)
        >>> layer.build((None, 8, 8, 2))
        >>> convolution_kernel(layer).weights.shape
        (3, 3, 2, 4)
    """
    if isinstance(layer, keras.layers.SeparableConv2D):
        depthwise = to_numpy(layer.depthwise_kernel)
        num_inputs, multiplier = depthwise.shape[2:]
        pointwise = to_numpy(layer.pointwise_kernel)[0, 0]
        pointwise = pointwise.reshape(num_inputs, multiplier, -1)
        weights = np.einsum("xyim,imo->xyio", depthwise, pointwise)
        return ConvolutionKernel(weights, _pair(layer.dilation_rate))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        weights = to_numpy(layer.kernel)
        return ConvolutionKernel(weights, _pair(layer.dilation_rate), depthwise=True)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        weights = to_numpy(layer.kernel).swapaxes(2, 3)
        return ConvolutionKernel(weights, _pair(layer.dilation_rate), transposed=True)
    if isinstance(layer, keras.layers.Conv2D):
        return ConvolutionKernel(to_numpy(layer.kernel), _pair(layer.dilation_rate))
    return None


def kernel_transform(
    kernels: NDArray[np.float64], num_points: Grid, dilation: tuple[int, int] = (1, 1)
) -> NDArray[np.complex128]:
    """Fourier transform of centred kernels on the half plane of a grid.

    ``F(kx, ky) = sum_ab kernel[a, b] exp(-i (kx x_a + ky y_b))`` with
    ``x_a = 2 pi (dilation a - (dilation (size - 1)) // 2) / nx``: the origin is the
    point that "same" padding centres. Not divided by the number of points.

    Args:
        kernels: (..., kx, ky).
        num_points: (nx, ny) of the grid.
        dilation: Spacing of the kernel points.

    Returns:
        Array (..., nx, ny // 2 + 1), in the layout of ``numpy.fft.rfft2``.

    Example:
        >>> delta = np.zeros((3, 3))
        >>> delta[1, 1] = 2.0
        >>> kernel_transform(delta, (4, 4)).real
        array([[2., 2., 2.],
               [2., 2., 2.],
               [2., 2., 2.],
               [2., 2., 2.]])
    """
    nx, ny = num_points
    kx = np.fft.fftfreq(nx, d=1 / nx)
    ky = np.fft.rfftfreq(ny, d=1 / ny)
    along_x = np.exp(-1j * np.outer(kx, _positions(kernels.shape[-2], dilation[0], nx)))
    along_y = np.exp(-1j * np.outer(_positions(kernels.shape[-1], dilation[1], ny), ky))
    # A kernel of 5 x 5 points needs five columns, not an FFT of the whole grid.
    transform = along_x @ kernels @ along_y
    return transform.astype(np.complex128, copy=False)


def grid_shape(num_points: int | Grid) -> Grid:
    """Numbers of points along x and y.

    Args:
        num_points: One number for both, or (nx, ny).

    Returns:
        (nx, ny).

    Raises:
        TypeError: If it is not an integer or a pair of integers.
        ValueError: If a number is below 2.

    Example:
        >>> grid_shape(64)
        (64, 64)
    """
    pair = num_points if isinstance(num_points, tuple) else (num_points, num_points)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) for n in pair):
        raise TypeError(
            "num_points must be an integer or a pair of integers (nx, ny). Received "
            f"num_points={num_points!r}."
        )
    if min(pair) < 2:
        raise ValueError(f"num_points must be at least 2. Received {num_points}.")
    return int(pair[0]), int(pair[1])


def to_numpy(variable: keras.Variable) -> NDArray[np.float64]:
    """Fetches a weight as float64.

    Args:
        variable: A Keras variable or tensor.

    Returns:
        Its value.

    Example:
        >>> import keras
        >>> to_numpy(keras.Variable([1.0, 2.0]))
        array([1., 2.])
    """
    # `convert_to_numpy` of a variable warns under NumPy 2; `asarray` does not copy.
    is_variable = isinstance(variable, keras.Variable)
    values = variable if is_variable else keras.ops.convert_to_numpy(variable)
    return np.asarray(values).astype(np.float64)


def _layer_spectra(
    name: str, kernel: ConvolutionKernel, grid: Grid, bounds: tuple[float, float]
) -> LayerKernelSpectra:
    """Summarises the transfer functions of one layer, chunk by chunk."""
    _check_extent(name, kernel, grid)
    size_x, size_y, num_inputs, num_outputs = kernel.weights.shape
    kernels = kernel.weights.transpose(2, 3, 0, 1).reshape(-1, size_x, size_y)
    averaging = shell_sum_matrix(*grid)
    modes_in_shell = averaging.sum(axis=1)
    total = np.zeros((grid[0], grid[1] // 2 + 1))
    profiles, moduli, fractions, classes = [], [], [], []
    for chunk in _chunks(kernels):
        transfer = np.abs(kernel_transform(chunk, grid, kernel.dilation))
        total += transfer.sum(axis=0)
        flat = transfer.reshape(len(chunk), -1)
        profiles.append((averaging @ flat.T).T / modes_in_shell)
        modulus, fraction = _peaks(flat, grid)
        moduli.append(modulus)
        fractions.append(fraction)
        classes.append(_classify(flat, fraction, bounds))
    per_kernel = (num_inputs, num_outputs)
    all_profiles = np.concatenate(profiles)
    return LayerKernelSpectra(
        mean_transfer=total / len(kernels),
        profiles=all_profiles.reshape(*per_kernel, -1),
        mean_profile=all_profiles.mean(axis=0),
        peak_wavenumbers=np.concatenate(moduli).reshape(per_kernel),
        peak_fractions=np.concatenate(fractions).reshape(per_kernel),
        classes=np.concatenate(classes).reshape(per_kernel),
    )


def _check_extent(name: str, kernel: ConvolutionKernel, grid: Grid) -> None:
    """Refuses kernels that do not fit the grid they are to be padded to."""
    sizes = zip(kernel.weights.shape[:2], kernel.dilation, strict=True)
    extent = tuple((size - 1) * step + 1 for size, step in sizes)
    if extent[0] > grid[0] or extent[1] > grid[1]:
        raise ValueError(
            f"The kernels of layer {name!r} span {extent} points and do not fit a grid "
            f"of {grid}. Pass num_points of at least {max(extent)}."
        )


def _peaks(
    transfer: NDArray[np.float64], grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """|k*| and k* / k_max of flattened transfer functions (kernels, modes)."""
    nx, ny = grid
    kx = np.abs(np.fft.fftfreq(nx, d=1 / nx))[:, None]
    ky = np.fft.rfftfreq(ny, d=1 / ny)[None, :]
    modulus = np.hypot(kx, ky).ravel()
    fraction = np.maximum(2 * kx / nx, 2 * ky / ny).ravel()
    order = np.argsort(modulus, kind="stable")
    largest = transfer.max(axis=1, keepdims=True)
    # Along the ridge of a derivative kernel all peaks are equal but for round-off.
    is_peak = transfer >= largest * (1.0 - _TIE)
    peak = order[np.argmax(is_peak[:, order], axis=1)]
    return modulus[peak], fraction[peak]


def _classify(
    transfer: NDArray[np.float64],
    fraction: NDArray[np.float64],
    bounds: tuple[float, float],
) -> NDArray[np.str_]:
    """Class of each kernel by k* / k_max; all-pass where nothing stands out."""
    index = (fraction > bounds[0]).astype(np.intp) + (fraction >= bounds[1])
    largest = transfer.max(axis=1)
    flat = largest - transfer.min(axis=1) <= _FLAT * largest
    index[flat] = KERNEL_CLASSES.index("all-pass")
    return np.array(KERNEL_CLASSES)[index]


def _chunks(kernels: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yields the kernels in blocks of bounded memory."""
    for start in range(0, len(kernels), _CHUNK_SIZE):
        yield kernels[start : start + _CHUNK_SIZE]


def _positions(size: int, dilation: int, num_points: int) -> NDArray[np.float64]:
    """Coordinates of the kernel points in [0, 2 pi), origin at the centre."""
    offsets = dilation * np.arange(size) - (dilation * (size - 1)) // 2
    return 2 * np.pi * offsets / num_points


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Dilation as a pair: some layers keep the integer they were given."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
