"""Which input wavenumbers feed which output wavenumbers through a network."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.linearization import LayerLinearization
from keras_spectral_tl.spectra.composition.shell_composition import ShellComposition
from keras_spectral_tl.spectra.fields import radial_spectrum, shell_indices

Array = NDArray[np.float64]


def measured_composition(
    model: keras.Model,
    x: Any,
    wavenumbers: Sequence[int] | None = None,
    *,
    num_probes: int = 1,
    batch_size: int = 8,
    seed: int = 0,
) -> ShellComposition:
    """Composition of a network linearised in its input at given samples.

    ``gains[c, o, i] = mean |P_o J v|^2`` with J the Jacobian of the output with respect
    to the input field, P_o the projection on the modes of shell o, and v a perturbation
    of input channel c: every mode of shell i with the same modulus and a random phase,
    ``mean(v^2) = 1``. The mean is over the samples, the probes v and the points, the
    sum over the output channels. In expectation this is ``||P_o J P_i||^2 / n_i``, the
    Frobenius norm over the n_i modes of shell i. A chain of periodic convolutions maps
    each mode to itself, so there one probe gives it exactly, see `linear_composition`.
    What arrives at other wavenumbers was moved by the activations (or by borders).

    Each probe costs one Jacobian product, some three forward passes; there are
    ``num_probes * channels * shells`` of them. One batch is held at a time. For a part
    of a functional model pass ``keras.Model(model.inputs, layer.output)``.

    Args:
        model: A built model from one 2-D field (samples, nx, ny, channels), or with
            channels first, to another, on any grid. Only read.
        x: Samples at which it is linearised.
        wavenumbers: Shells of the input to perturb; by default all.
        num_probes: Perturbations of each shell and channel.
        batch_size: Samples computed at once.
        seed: Of the phases.

    Returns:
        The gains and their standard errors over samples and probes.

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
    if fields.ndim != 4 or num_probes < 1:
        raise ValueError(
            "Expected samples of shape (samples, nx, ny, channels), or channels first, "
            f"and num_probes of at least 1. Received shape {fields.shape}, num_probes="
            f"{num_probes}."
        )
    channel_axis = 3 if _channels_last(model) else 1
    channels, *grid = np.moveaxis(fields, channel_axis, 1).shape[1:]
    chosen = _chosen_shells(wavenumbers, tuple(grid))
    product = LayerLinearization(_Perturbed.around(model, fields), _SHIFT, batch_size)
    rng = np.random.default_rng(seed)

    def energies(channel: int, wavenumber: int) -> Array:
        perturbation = np.zeros((channels, *grid))
        perturbation[channel] = _probe(wavenumber, tuple(grid), rng)
        direction = np.moveaxis(perturbation, 0, channel_axis - 1).ravel()
        return _energy(product.apply(direction, fields), channel_axis)

    columns = [
        _mean_and_error([energies(channel, wavenumber) for _ in range(num_probes)])
        for channel, wavenumber in itertools.product(range(channels), chosen)
    ]
    gains, errors = (
        np.stack(part).reshape(channels, len(chosen), -1).swapaxes(1, 2)
        for part in zip(*columns, strict=True)
    )
    return ShellComposition(gains, errors, chosen)


def _chosen_shells(
    wavenumbers: Sequence[int] | None, grid: tuple[int, ...]
) -> tuple[int, ...]:
    """The shells to perturb, by default all of the grid."""
    last = int(shell_indices(*grid).max())
    chosen = tuple(range(last + 1) if wavenumbers is None else map(int, wavenumbers))
    if not chosen or min(chosen) < 0 or max(chosen) > last:
        raise ValueError(
            f"Expected wavenumbers between 0 and {last}, the shells of a grid of "
            f"{grid}. Received {chosen}."
        )
    return chosen


def _probe(wavenumber: int, grid: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A real field of mean square 1: equal moduli in the shell, random phases."""
    noise_hat = np.fft.rfft2(rng.standard_normal(grid))
    in_shell = shell_indices(*grid) == wavenumber
    probe_hat = np.where(in_shell, noise_hat / np.abs(noise_hat), 0.0)
    probe = np.fft.irfft2(probe_hat, s=grid)
    return np.asarray(probe / np.sqrt(np.mean(probe**2)))


def _energy(outputs: Array, channel_axis: int) -> Array:
    """(samples, shells) energy of the outputs, summed over channels."""
    if outputs.ndim != 4:
        raise ValueError(
            "Composition needs a model whose output is a 2-D field (samples, nx, ny, "
            f"channels). Received an output of shape {outputs.shape}; pass the part of "
            "the model that ends in a field."
        )
    spectra = radial_spectrum(np.moveaxis(outputs, channel_axis, 1))
    return np.asarray(spectra.sum(axis=1))


def _mean_and_error(probes: list[Array]) -> tuple[Array, Array]:
    """Mean over probes and samples and its standard error, NaN for a single one."""
    energies = np.concatenate(probes)
    count = len(energies)
    if count == 1:
        return energies[0], np.full_like(energies[0], np.nan)
    return energies.mean(axis=0), energies.std(axis=0, ddof=1) / np.sqrt(count)


def _channels_last(model: keras.Model) -> bool:
    """Layout of the first layer that states one."""
    for layer in layers_with_weights(model).values():
        data_format = getattr(layer, "data_format", None)
        if data_format is not None:
            return bool(data_format == "channels_last")
    return bool(keras.config.image_data_format() == "channels_last")


_SHIFT = "input_shift"


class _Shift(keras.Layer):
    """Adds one field of weights to every sample: the input becomes a weight."""

    def build(self, input_shape: Sequence[int]) -> None:
        self.shift = self.add_weight(shape=input_shape[1:], initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs + self.shift


class _Perturbed(keras.Model):
    """A model behind a shift of its input."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="perturbed")
        self.shift = _Shift(name=_SHIFT, dtype="float32")
        self.model = model

    @classmethod
    def around(cls, model: keras.Model, fields: NDArray[Any]) -> "_Perturbed":
        """The model, built for samples like these."""
        perturbed = cls(model)
        perturbed.build(fields.shape)
        return perturbed

    def build(self, input_shape: Sequence[int]) -> None:
        self.shift.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.model(self.shift(inputs), training=training)
