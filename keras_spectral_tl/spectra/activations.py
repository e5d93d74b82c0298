"""Spectra of what flows through a network, before and after each activation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.spectra.fields import last_complete_shell, radial_spectrum
from keras_spectral_tl.spectra.recording import LayerCall, read_calls

Spectra = dict[str, NDArray[np.float64]]


class NoSpatialLayerError(ValueError):
    """A model without any layer that has a spatial output."""


@dataclass(frozen=True)
class ActivationSpectraResult:
    """Radial spectra (shell SUM) of the layers of a model on some data.

    In every mapping the key is the layer name, in the order of execution, and the last
    axis of the array is the wavenumber, whose value is its index. Each spectrum sums
    to the mean square of the activation.

    Attributes:
        num_samples: Samples averaged over.
        pre_activation: Spectra before the activation ("linear activations"), averaged
            over samples and channels: (num_shells,).
        post_activation: The same after the activation.
        pre_activation_channels: (channels, num_shells), averaged over samples alone;
            empty unless asked for.
        post_activation_channels: The same after the activation.
        grids: Layer name to the points of its output along each spatial axis.
    """

    num_samples: int
    pre_activation: Spectra
    post_activation: Spectra
    pre_activation_channels: Spectra = field(default_factory=dict)
    post_activation_channels: Spectra = field(default_factory=dict)
    grids: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SpectralShift:
    """Difference of two spectra of one layer, its gain and its shape apart.

    Attributes:
        gain: ``log(sum(target) / sum(base))``: the logarithm of the ratio of energies.
        shape: ``target / sum(target) - base / sum(base)`` by wavenumber, which is the
            index; sums to 0.
        distance: ``sum(|shape|) / 2`` in [0, 1]: the share of the energy that sits at
            other wavenumbers. A gain alone leaves it at 0.
    """

    gain: float
    shape: NDArray[np.float64]
    distance: float


def activation_spectra(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 16,
    per_channel: bool = False,
    rank: int = 2,
) -> ActivationSpectraResult:
    """Pre- and post-activation spectra of every layer with a spatial output.

    Each sample and channel gives one `radial_spectrum`; they are averaged while the
    data streams through the model, so memory holds one batch of one layer. Works for
    sequential, functional, nested and subclassed models in either data format. A layer
    without an activation has the same spectrum before and after; a layer used several
    times is averaged over its uses.

    Args:
        model: A built model.
        x: Inputs (samples, ...), or an iterable of batches (such as a tf.data.Dataset)
            of inputs or of (inputs, targets).
        layers: A selector, see `select_layers`, or names of layers, also of those
            without weights; by default all with a spatial output.
        batch_size: Samples a batch when ``x`` is an array.
        per_channel: Whether to keep the spectrum of each channel as well.
        rank: Number of spatial axes of the layers to read: 1, 2 or 3.

    Returns:
        The spectra by layer, in float64.

    Raises:
        KeyError: If a name is not one of a layer of the model.
        ValueError: If ``x`` is empty or not finite, no layer has such an output, or the
            spatial size of a layer changes between batches.

    Example:
        >>> import keras
        >>> conv = keras.layers.Conv2D(2, 1, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> spectra = activation_spectra(model, np.ones((3, 8, 8, 1)))
        >>> spectra.pre_activation["conv"].shape
        (7,)
    """
    if rank not in (1, 2, 3):
        raise ValueError(f"rank must be 1, 2 or 3. Received rank={rank!r}.")
    totals = _Totals()
    names = layer_names(model, layers)
    num_samples = read_calls(model, x, totals.add, names, batch_size, (rank,))
    if not totals.uses:
        raise NoSpatialLayerError(
            f"No layer of model {model.name!r} was seen to give an output with {rank} "
            "spatial axes (2: samples, nx, ny, channels). Layers called inside a "
            "compiled function of the model's own, such as a tf.function, cannot be "
            "seen."
        )
    pre = {name: total / totals.uses[name] for name, total in totals.pre.items()}
    post = {name: total / totals.uses[name] for name, total in totals.post.items()}
    return ActivationSpectraResult(
        num_samples=num_samples,
        pre_activation={name: mean.mean(axis=0) for name, mean in pre.items()},
        post_activation={name: mean.mean(axis=0) for name, mean in post.items()},
        pre_activation_channels=pre if per_channel else {},
        post_activation_channels=post if per_channel else {},
        grids=totals.grids,
    )


def layer_names(model: keras.Model, layers: Selector | None) -> list[str] | None:
    """Names of the layers that a selector chooses, layers without weights included.

    Args:
        model: A built model.
        layers: A selector, see `select_layers`; a string may also name a layer without
            weights, such as a ReLU. None stands for all.

    Returns:
        The names, or None for all.

    Raises:
        KeyError, TypeError, ValueError: As `select_layers`.
    """
    if layers is None:
        return None
    if isinstance(layers, str):
        inside = [n for n in layers_with_weights(model) if n.startswith(f"{layers}/")]
        return (
            [layers] if layers in layers_with_weights(model) or not inside else inside
        )
    if isinstance(layers, Sequence):
        parts = [layer_names(model, part) or [] for part in layers]
        return list(dict.fromkeys(name for part in parts for name in part))
    return list(select_layers(model, layers).names)


@dataclass
class _Totals:
    """Running sums of spectra (channels, num_shells), by layer name."""

    pre: Spectra = field(default_factory=dict)
    post: Spectra = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    grids: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, name: str, call: LayerCall) -> None:
        """Adds the spectra of every sample of a call."""
        grid = call.post_activation.shape[2:]
        if self.grids.setdefault(name, grid) != grid:
            raise ValueError(
                f"Layer {name!r} gave outputs on grids {self.grids[name]} and {grid}. "
                "Average over one size at once."
            )
        axes = tuple(range(-len(grid), 0))
        for sample in range(len(call.post_activation)):
            after = radial_spectrum(call.post_activation[sample], axes)
            before = after
            if call.pre_activation is not call.post_activation:
                before = radial_spectrum(call.pre_activation[sample], axes)
            self.pre[name] = self.pre.get(name, 0.0) + before
            self.post[name] = self.post.get(name, 0.0) + after
            self.uses[name] = self.uses.get(name, 0) + 1


def spectral_shift(
    base: ActivationSpectraResult | Mapping[str, NDArray[np.float64]],
    target: ActivationSpectraResult | Mapping[str, NDArray[np.float64]],
) -> dict[str, SpectralShift]:
    """How each layer's spectrum differs between two data sets or two models.

    Gain (ratio of energies) and shape (difference of the spectra, each normalized to
    sum 1) are independent: scaling either spectrum changes the gain alone. Spectra
    recorded on two grids are compared, gain included, on the shells that are complete
    on both: k = 0 .. ``(min(n) - 1) // 2`` over all sides n.

    Args:
        base: Activation spectra, of which the pre-activations are compared, or any
            mapping of layer names to spectra by wavenumber. A mapping says nothing of
            its grid: then both spectra of a layer must be of one length, and it is for
            the caller to know that they are from one grid.
        target: The same for the other data or the other model.

    Returns:
        One `SpectralShift` for each layer, in the order of ``base``.

    Raises:
        ValueError: If the layers differ, sizes differ without the grids being known, a
            spectrum has no energy, or what a mapping holds is none.

    Example:
        >>> flat = {"conv": np.array([1.0, 1.0])}
        >>> steep = {"conv": np.array([3.0, 1.0])}
        >>> shift = spectral_shift(flat, steep)["conv"]
        >>> shift.shape, shift.distance
        (array([ 0.25, -0.25]), 0.25)
        >>> round(float(np.exp(shift.gain)), 12)
        2.0
    """
    first, second = _pre_activation(base), _pre_activation(target)
    if set(first) != set(second):
        raise ValueError(
            "base and target must hold the same layers. Only in one of them: "
            f"{sorted(set(first) ^ set(second))}."
        )
    shells = _common_shells(base, target)
    return {
        name: _shift(
            name, first[name][: shells.get(name)], second[name][: shells.get(name)]
        )
        for name in first
    }


def _common_shells(base: Any, target: Any) -> dict[str, int]:
    """How many shells are complete in both, for layers recorded on two grids."""
    if not isinstance(base, ActivationSpectraResult):
        return {}
    if not isinstance(target, ActivationSpectraResult):
        return {}
    counts = {}
    for name in base.grids.keys() & target.grids.keys():
        first, second = base.grids[name], target.grids[name]
        if len(first) == len(second) and first != second:
            counts[name] = last_complete_shell(*first, *second) + 1
    return counts


def _shift(
    name: str, base: NDArray[np.float64], target: NDArray[np.float64]
) -> SpectralShift:
    """Gain and shape of one layer."""
    if base.shape != target.shape:
        raise ValueError(
            f"The spectra of layer {name!r} have shapes {base.shape} and "
            f"{target.shape}, from grids that are not known. Pass results of "
            "activation_spectra, which know theirs, or spectra from one grid."
        )
    energies = float(base.sum()), float(target.sum())
    if not all(np.isfinite(energy) and energy > 0 for energy in energies):
        raise ValueError(
            f"Layer {name!r} needs a finite energy above 0 in both spectra. Received "
            f"{energies[0]} (base) and {energies[1]} (target)."
        )
    shape = target / energies[1] - base / energies[0]
    gain = float(np.log(energies[1] / energies[0]))
    return SpectralShift(gain, shape, float(np.abs(shape).sum() / 2))


def _pre_activation(
    spectra: ActivationSpectraResult | Mapping[str, NDArray[np.float64]],
) -> Mapping[str, NDArray[np.float64]]:
    """The spectra to compare."""
    if isinstance(spectra, ActivationSpectraResult):
        return spectra.pre_activation
    if not isinstance(spectra, Mapping):
        raise TypeError(
            "Expected a result of activation_spectra, or a mapping of layer names to "
            f"spectra. Received {type(spectra).__name__}."
        )
    arrays = {name: real_array(str(name), values) for name, values in spectra.items()}
    for name, values in arrays.items():
        if values.ndim != 1:
            raise ValueError(
                "Expected a spectrum, one value a wavenumber, for each layer. Received "
                f"the shape {values.shape} for {name!r}."
            )
    return arrays
