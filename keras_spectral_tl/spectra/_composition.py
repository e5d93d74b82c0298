"""Composition of a network: transfer from input to output wavenumbers."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.grids import data_formats
from keras_spectral_tl._results import Result
from keras_spectral_tl._shells import shell_indices, shell_sum_matrix
from keras_spectral_tl.linearization import LayerLinearization
from keras_spectral_tl.spectra._convolutions import (
    Array,
    ConvolutionKernel,
    Grid,
    convolution_kernel,
    grid_shape,
    mode_wavenumbers,
    points_of,
)
from keras_spectral_tl.spectra._fields import radial_spectrum, shells_on

# Matrix entries held at once: 128 modes of 64 x 64 channels take 8 MB.
_ENTRIES_AT_ONCE = 128 * 64 * 64
_SHIFT = "input_shift"


@dataclass(frozen=True)
class ShellComposition(Result):
    """Transfer of input wavenumbers to output wavenumbers.

    Attributes:
        gains: (input channels, output shells, input shells): energy (mean square,
            summed over output channels) that arrives in an output shell, for a
            perturbation of mean square 1 spread evenly over the modes of an input
            shell of one channel. The sum over the output shells is the whole output
            energy (Parseval).
        standard_errors: Standard errors of the gains, over samples and probes; 0 if
            they are exact, NaN for a single probe of a single sample.
        wavenumbers: The input shells.
    """

    gains: Array
    standard_errors: Array
    wavenumbers: tuple[int, ...]

    @property
    def total_gains(self) -> Array:
        """(input channels, input shells) output energy per unit of input energy."""
        return np.asarray(self.gains.sum(axis=1))

    @property
    def moved_shares(self) -> Array:
        """(input channels, input shells) share transferred to other wavenumbers.

        0 for a chain of periodic convolutions; NaN where the output has no energy.
        """
        stayed = np.zeros_like(self.total_gains)
        for column, wavenumber in enumerate(self.wavenumbers):
            if wavenumber < self.gains.shape[1]:
                stayed[:, column] = self.gains[:, wavenumber, column]
        unknown = np.full_like(stayed, np.nan)
        total = self.total_gains
        kept = np.divide(stayed, total, out=unknown, where=total > 0)
        return np.asarray(1.0 - kept)

    def plot(self, ax: Any = None) -> Any:
        """Plot the gains of each input channel as a map, and return the axes."""
        maps = {f"input channel {n}": gains for n, gains in enumerate(self.gains)}
        return plotting.plot_composition(maps, ax=ax)


def transfer_matrices(
    kernel: ConvolutionKernel, wavenumbers: Array
) -> NDArray[np.complex128]:
    """Return the channel matrices T(k) of a layer, (modes, outputs, inputs).

    ``T[k, o, i] = conj(F[kernel_io](k))``, without ``conj`` for a transposed layer, 0
    where no kernel connects the channels (groups, depthwise layers). With periodic
    padding and stride 1, ``F[output](k) = T(k) F[input](k)`` except for the bias. A
    transposed layer may shift its output by less than its kernel size, which changes
    the phase of all entries of T(k) equally.
    """
    points = points_of(kernel.size, kernel.dilation)
    waves = np.exp(-1j * (wavenumbers @ points.T))
    (num_inputs, num_outputs), groups = kernel.channels, kernel.groups
    if kernel.depthwise:  # each input is its own group
        groups, num_inputs, num_outputs = num_inputs, 1, num_inputs * num_outputs
    entries = waves @ kernel.weights.reshape(len(points), -1)
    blocks = entries.reshape(-1, num_inputs, num_outputs).swapaxes(1, 2)
    if not kernel.transposed:
        blocks = blocks.conj()
    if groups == 1:
        return np.asarray(blocks)
    per_group = num_outputs // groups
    matrices = np.zeros((len(waves), num_outputs, num_inputs * groups), complex)
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        columns = slice(group * num_inputs, (group + 1) * num_inputs)
        matrices[:, rows, columns] = blocks[:, rows]
    return matrices


def linear_composition(
    layers: Sequence[keras.Layer | ConvolutionKernel], num_points: int | Grid
) -> ShellComposition:
    """Compute the composition of a chain of periodic convolutions, exactly.

    ``F[output](k) = T_L(k) ... T_1(k) F[input](k)``: each mode maps to itself, so
    ``gains[c, i, i]`` is the mean over the modes of shell i of ``sum_o |T(k)[o, c]|^2``
    and all other gains are 0. The matrices are multiplied from the input side and in
    blocks of modes, which takes about 10 MB for any grid.

    Args:
        layers: Convolution layers of stride 1, input first; activations are ignored.
        num_points: Points of the grid along each axis; one number for two equal axes.

    Raises:
        ValueError: If there is no layer, one is not a convolution, a stride is not 1,
            or channels or axes do not fit.

    Example:
        >>> double = keras.layers.Conv2D(1, 1, use_bias=False)
        >>> double.build((None, 4, 4, 1))
        >>> double.set_weights([np.full((1, 1, 1, 1), 2.0)])
        >>> np.diagonal(linear_composition([double, double], (4, 4)).gains[0])
        array([16., 16., 16., 16.])
    """
    num_points = grid_shape(num_points)
    rank = len(num_points)
    found = [
        layer if isinstance(layer, ConvolutionKernel) else convolution_kernel(layer)
        for layer in layers
    ]
    kernels = [kernel for kernel in found if kernel is not None]
    if len(kernels) < max(len(found), 1) or any(len(k.size) != rank for k in kernels):
        raise ValueError(
            f"Expected convolutions with the {rank} axes of num_points={num_points}. "
            f"Received {len(found)} layers with kernels of sizes "
            f"{[kernel.size for kernel in kernels]}."
        )
    strided = [k.strides for k in kernels if max(k.strides, default=1) > 1]
    if strided:
        raise ValueError(
            "The composition is exact for stride 1, where each mode maps to itself. "
            f"Received strides {strided}; use measured_composition."
        )
    vectors = mode_wavenumbers(num_points)
    entries = max(math.prod(k.channels) for k in kernels)
    entries *= max(k.groups for k in kernels)
    step = max(1, _ENTRIES_AT_ONCE // entries)
    starts = range(0, len(vectors), step)
    power = [_power(kernels, vectors[start : start + step]) for start in starts]
    summing = shell_sum_matrix(*num_points)
    means = (summing @ np.concatenate(power)) / summing.sum(axis=1)[:, None]
    num_shells, num_inputs = means.shape
    gains = np.zeros((num_inputs, num_shells, num_shells))
    gains[:, range(num_shells), range(num_shells)] = means.T
    return ShellComposition(gains, np.zeros_like(gains), tuple(range(num_shells)))


def _power(kernels: Sequence[ConvolutionKernel], wavenumbers: Array) -> Array:
    """Return ``sum_o |T(k)[o, c]|^2``, (modes, inputs)."""
    total = transfer_matrices(kernels[0], wavenumbers)
    for number, kernel in enumerate(kernels[1:], start=1):
        matrices = transfer_matrices(kernel, wavenumbers)
        if matrices.shape[2] != total.shape[1]:
            raise ValueError(
                f"Kernel {number} takes {matrices.shape[2]} channels, but the one "
                f"before gives {total.shape[1]}. Pass the layers of a chain in order."
            )
        total = matrices @ total
    return np.asarray(np.sum(total.real**2 + total.imag**2, axis=1))


def measured_composition(
    model: keras.Model,
    x: Any,
    wavenumbers: Sequence[int] | None = None,
    *,
    num_probes: int = 1,
    batch_size: int = 32,
    seed: int = 0,
) -> ShellComposition:
    """Measure the composition of a network, linearised in its input at given samples.

    ``gains[c, o, i] = mean |P_o J v|^2`` with J the Jacobian of the output with respect
    to the input field, P_o the projection on the modes of shell o, and v a perturbation
    of input channel c: every mode of shell i with the same modulus and a random phase,
    ``mean(v^2) = 1``. The mean is over the samples, the probes v and the points, the
    sum over the output channels. In expectation this is ``||P_o J P_i||^2 / n_i``, the
    Frobenius norm over the n_i modes of shell i. A chain of periodic convolutions maps
    each mode to itself, so one probe gives the exact result, see `linear_composition`.
    Energy at other wavenumbers was moved there by the activations (or by borders).

    Each probe costs one Jacobian product, about three forward passes; there are
    ``num_probes * channels * shells`` of them. One batch is held at a time. For a part
    of a functional model pass ``keras.Model(model.inputs, layer.output)``.

    Args:
        model: A built model from one 2-D field (samples, nx, ny, channels), or with
            channels first, to another, on any grid; not changed.
        x: Samples at which it is linearised.
        wavenumbers: Shells of the input to perturb; by default all.
        num_probes: Perturbations of each shell and channel.
        batch_size: Samples computed at once.
        seed: Seed of the phases.

    Raises:
        ValueError: If inputs or outputs are not 2-D fields, a wavenumber is not a shell
            of the grid, or ``num_probes`` is below 1.

    Example:
        >>> halve = keras.layers.Conv2D(1, 1, use_bias=False, name="halve")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), halve])
        >>> halve.set_weights([np.full((1, 1, 1, 1), 0.5)])
        >>> x = np.zeros((1, 8, 8, 1), "float32")
        >>> measured_composition(model, x, [0, 2]).gains.round(6)[0, :3]
        array([[0.25, 0.  ],
               [0.  , 0.  ],
               [0.  , 0.25]])
    """
    fields = np.asarray(x)
    num_probes = whole_number("num_probes", num_probes, 1)
    if fields.ndim != 4:
        raise ValueError(
            "Expected samples of shape (samples, nx, ny, channels), or channels first. "
            f"Received shape {fields.shape}."
        )
    into, out_of = (3 if f == "channels_last" else 1 for f in data_formats(model))
    channels, *grid = np.moveaxis(fields, into, 1).shape[1:]
    if wavenumbers is None:
        wavenumbers = range(int(shell_indices(*grid).max()) + 1)
    chosen = tuple(shells_on(tuple(grid), wavenumbers))
    perturbed = _Perturbed(model)
    perturbed.build(fields.shape)
    product = LayerLinearization(perturbed, _SHIFT, batch_size)
    rng = np.random.default_rng(seed)

    def energies(channel: int, wavenumber: int) -> Array:
        perturbation = np.zeros((channels, *grid))
        perturbation[channel] = _probe(wavenumber, tuple(grid), rng)
        direction = np.moveaxis(perturbation, 0, into - 1).ravel()
        return _energy(product.apply(direction, fields), out_of)

    columns = [
        _mean_and_error([energies(channel, wavenumber) for _ in range(num_probes)])
        for channel, wavenumber in itertools.product(range(channels), chosen)
    ]
    gains, errors = (
        np.stack(part).reshape(channels, len(chosen), -1).swapaxes(1, 2)
        for part in zip(*columns, strict=True)
    )
    return ShellComposition(gains, errors, chosen)


def _probe(wavenumber: int, grid: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return a real field of mean square 1: one shell, equal moduli, random phases."""
    noise_hat = np.fft.rfft2(rng.standard_normal(grid))
    in_shell = shell_indices(*grid) == wavenumber
    probe_hat = np.where(in_shell, noise_hat / np.abs(noise_hat), 0.0)
    probe = np.fft.irfft2(probe_hat, s=grid)
    return np.asarray(probe / np.sqrt(np.mean(probe**2)))


def _energy(outputs: Array, channel_axis: int) -> Array:
    """Return the energy of the outputs, summed over channels, (samples, shells)."""
    if outputs.ndim != 4:
        raise ValueError(
            "Composition needs a model whose output is a 2-D field (samples, nx, ny, "
            f"channels). Received an output of shape {outputs.shape}; pass the part of "
            "the model that ends in a field."
        )
    spectra = radial_spectrum(np.moveaxis(outputs, channel_axis, 1))
    return np.asarray(spectra.sum(axis=1))


def _mean_and_error(probes: list[Array]) -> tuple[Array, Array]:
    """Return the mean over probes and samples and its standard error (NaN for one)."""
    energies = np.concatenate(probes)
    count = len(energies)
    if count == 1:
        return energies[0], np.full_like(energies[0], np.nan)
    return energies.mean(axis=0), energies.std(axis=0, ddof=1) / np.sqrt(count)


class _Shift(keras.Layer):
    """Adds one field of weights to every sample: the input becomes a weight."""

    def build(self, input_shape: Sequence[int]) -> None:
        self.shift = self.add_weight(shape=input_shape[1:], initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs + self.shift


class _Perturbed(keras.Model):
    """A model whose input is shifted by a field of weights."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="perturbed")
        self.shift = _Shift(name=_SHIFT, dtype="float32")
        self.model = model

    def build(self, input_shape: Sequence[int]) -> None:
        self.shift.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.model(self.shift(inputs), training=training)
