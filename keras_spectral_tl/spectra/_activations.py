"""Spectra of activations, and energy gains of layers by wavenumber."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

import keras_spectral_tl
from keras_spectral_tl._checks import one_of
from keras_spectral_tl._graph.calls import LayerFields, read_calls
from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl._shells import last_complete_shell
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.spectra._fields import Array, radial_spectrum, spectral_ratio

Spectra = dict[str, Array]


@dataclass(frozen=True)
class LayerActivations(Result):
    """Radial spectra (shell SUM) of one layer on some data.

    The last axis is the wavenumber, whose value is its index. Each spectrum sums to the
    mean square of the activation.

    Attributes:
        pre_activation: (num_shells,) before the activation, averaged over samples and
            channels.
        post_activation: The same after the activation.
        grid: Points of the output along each spatial axis.
        pre_channels: (channels, num_shells), mean over samples; None unless requested.
        post_channels: The same after the activation.
    """

    pre_activation: Array
    post_activation: Array
    grid: tuple[int, ...]
    pre_channels: Array | None = None
    post_channels: Array | None = None

    def summary(self) -> dict[str, float]:
        """Return mean squares before and after, and the mean wavenumber before."""
        energy = float(self.pre_activation.sum())
        moment = float(self.pre_activation @ np.arange(len(self.pre_activation)))
        return {
            "mean square before": energy,
            "mean square after": float(self.post_activation.sum()),
            "mean wavenumber": moment / energy if energy > 0 else np.nan,
        }


class ModelActivationSpectra(ByLayer[LayerActivations]):
    """Activation spectra of a model by layer.

    Attributes:
        num_samples: Samples averaged over.
    """

    def __init__(self, layers: Mapping[str, LayerActivations], num_samples: int):
        super().__init__(layers)
        self.num_samples = num_samples

    @property
    def pre_activation(self) -> Spectra:
        """Layer name to its spectrum before the activation."""
        return {name: layer.pre_activation for name, layer in self.items()}

    @property
    def post_activation(self) -> Spectra:
        """Layer name to its spectrum after the activation."""
        return {name: layer.post_activation for name, layer in self.items()}

    def plot(self, ax: Any = None) -> Any:
        """Plot the spectra before and after activations, and return the axes."""
        lines = {
            name: {"before": layer.pre_activation, "after": layer.post_activation}
            for name, layer in self.items()
        }
        return keras_spectral_tl.plotting.plot_activation_spectra(
            lines, "activation spectrum", ax=ax
        )


def activation_spectra(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 32,
    per_channel: bool = False,
    rank: int = 2,
) -> ModelActivationSpectra:
    """Compute pre- and post-activation spectra of every layer with a spatial output.

    Each sample and channel gives one `radial_spectrum`; they are averaged while the
    data streams through the model, so memory holds one batch of one layer. Works for
    sequential, functional, nested and subclassed models in either data format. A layer
    without an activation has the same spectrum before and after; a layer used several
    times is averaged over its uses.

    Args:
        model: A built model.
        x: Inputs (samples, ...), a dict or list of several, or an iterable of batches
            (such as a tf.data.Dataset) of inputs or of (inputs, targets).
        layers: A selector, see `select_layers`, or names of layers, including layers
            without weights; by default all with a spatial output, except layers without
            weights that are used on several grids.
        batch_size: Samples per batch when ``x`` is an array.
        per_channel: Whether to keep the spectrum of each channel as well.
        rank: Number of spatial axes of the layers to read: 1, 2 or 3.

    Returns:
        Layer name to its spectra, in float64, in the order of execution.

    Raises:
        KeyError: If the model has no layer of a given name.
        ValueError: If ``x`` is empty or not finite, no layer has such an output, or the
            spatial size of a layer changes between batches.

    Example:
        >>> conv = keras.layers.Conv2D(2, 1, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> spectra = activation_spectra(model, np.ones((3, 8, 8, 1)))
        >>> spectra["conv"].pre_activation.shape
        (7,)
    """
    one_of("rank", rank, (1, 2, 3))
    means = _Means()
    grids = _Grids(model, layers)

    def add(name: str, call: LayerFields) -> None:
        if not grids.are_one(name, call.post_activation.shape[2:]):
            return
        axes = tuple(range(1, rank + 1))
        for fields in zip(call.pre_activation, call.post_activation, strict=True):
            after = radial_spectrum(fields[1], axes)
            same = call.pre_activation is call.post_activation
            means.add(name, after if same else radial_spectrum(fields[0], axes), after)

    names = layer_names(model, layers)
    num_samples = read_calls(model, x, add, names, batch_size, (rank,))
    grids.refuse_none()
    found = {}
    for name, (pre, post) in means.by_layer(grids.mixed).items():
        channels = (pre, post) if per_channel else (None, None)
        averages = pre.mean(axis=0), post.mean(axis=0)
        found[name] = LayerActivations(*averages, grids[name], *channels)
    return ModelActivationSpectra(found, num_samples)


def layer_names(model: keras.Model, layers: Selector | None) -> list[str] | None:
    """Return the names of the chosen layers (also without weights), None for all."""
    if layers is None:
        return None
    if isinstance(layers, str):
        names = list(layers_with_weights(model))
        inside = [name for name in names if name.startswith(f"{layers}/")]
        return [layers] if layers in names or not inside else inside
    if isinstance(layers, Sequence):
        parts = [layer_names(model, part) or [] for part in layers]
        return list(dict.fromkeys(name for part in parts for name in part))
    return list(select_layers(model, layers).names)


class _Grids(dict[str, Any]):
    """The grid of each layer.

    Layers without weights that were not asked for and work on several grids, such as a
    pooling that is used at every level of a network, are `mixed` and left out.
    """

    def __init__(self, model: keras.Model, layers: Selector | None) -> None:
        super().__init__()
        self._named = layers is not None
        self._weighted = layers_with_weights(model)
        self.mixed: set[str] = set()

    def are_one(self, name: str, grid: Any) -> bool:
        """Return whether a layer has this grid, as before.

        Raises:
            ValueError: If it has another grid and cannot be left out.
        """
        if self.setdefault(name, grid) == grid:
            return True
        if self._named or name in self._weighted:
            raise ValueError(
                f"Layer {name!r} works on grids {self[name]} and {grid}. Average over "
                "inputs of one size at a time, or name other layers, layers=[...]."
            )
        self.mixed.add(name)
        return False

    def refuse_none(self) -> None:
        """Raise ValueError if all layers are left out."""
        if self and self.mixed >= self.keys():
            raise ValueError(
                f"All layers, {', '.join(self)}, work on several grids and have no "
                "weights. Expected a layer that works on one."
            )


class _Means:
    """Running means of several spectra of each layer."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Array]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, name: str, *spectra: Array) -> None:
        sums = self._sums.get(name, [np.zeros(1)] * len(spectra))
        self._sums[name] = [a + b for a, b in zip(sums, spectra, strict=True)]
        self._counts[name] += 1

    def by_layer(self, left_out: Container[str] = ()) -> dict[str, list[Array]]:
        counts = self._counts
        return {
            name: [total / counts[name] for total in sums]
            for name, sums in self._sums.items()
            if name not in left_out
        }


@dataclass(frozen=True)
class LayerGain(Result):
    """Spectra before, inside and after a layer, and their ratios.

    All are arrays (num_shells,); the wavenumber is the index. Ratios are NaN where
    the denominator has no energy.

    Attributes:
        inputs: Spectrum (shell SUM) of the input, mean over samples and channels.
        pre_activation: The same for the input of the activation.
        post_activation: The same for the output.
    """

    inputs: Array
    pre_activation: Array
    post_activation: Array

    @property
    def linear(self) -> Array:
        """Gain ``|F[pre-activation]|^2 / |F[input]|^2`` of the linear part."""
        return spectral_ratio(self.pre_activation, self.inputs)

    @property
    def activation(self) -> Array:
        """Gain ``|F[output]|^2 / |F[pre-activation]|^2`` of the activation."""
        return spectral_ratio(self.post_activation, self.pre_activation)

    @property
    def total(self) -> Array:
        """Gain ``|F[output]|^2 / |F[input]|^2`` of the layer."""
        return spectral_ratio(self.post_activation, self.inputs)

    def summary(self) -> dict[str, float]:
        """Return the ratios of the total energies."""
        inside, before, after = (
            float(s.sum())
            for s in (self.inputs, self.pre_activation, self.post_activation)
        )
        return {
            "gain": after / inside if inside > 0 else np.nan,
            "linear gain": before / inside if inside > 0 else np.nan,
        }


class ModelGains(ByLayer[LayerGain]):
    """Gains of the layers of a model."""

    def plot(self, ax: Any = None) -> Any:
        """Plot the gains by wavenumber, one panel per layer, and return the axes."""
        lines = {
            name: {"linear part": gain.linear, "activation": gain.activation}
            for name, gain in self.items()
        }
        return keras_spectral_tl.plotting.plot_wavenumber_ratios(
            lines, "gain of energy", ax=ax
        )


def layer_gains(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 32,
    rank: int = 2,
) -> ModelGains:
    """Compute the gain of each layer by wavenumber: energy out over energy in.

    ``gain(k) = |F[output]|^2(k) / |F[input]|^2(k)`` with both spectra averaged over
    samples and channels before the ratio: the energy of a mean output channel over that
    of a mean input channel. It is a property of the layer on these data, not of the
    layer alone, since an activation creates energy at other wavenumbers. If a layer
    changes the grid (strides, padding), the shells complete on both grids are kept. The
    data stream through the model; memory holds one batch of one layer.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all
            whose input and output have `rank` spatial axes.
        batch_size: Samples per batch when ``x`` is an array.
        rank: Number of spatial axes of the layers to read: 1, 2 or 3.

    Returns:
        Layer name to its spectra and gains, in the order of execution.

    Raises:
        ValueError: If no layer has such an input and output.

    Example:
        >>> conv = keras.layers.Conv2D(1, 1, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> conv.set_weights([np.full((1, 1, 1, 1), 3.0), np.zeros(1)])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> layer_gains(model, x)["conv"].linear.round(4)
        array([9., 9., 9., 9., 9., 9., 9.])
    """
    means, known = _Means(), _Grids(model, layers)

    def add(name: str, call: LayerFields) -> None:
        if call.inputs is None:
            return
        grids = call.inputs.shape[2:], call.post_activation.shape[2:]
        if not known.are_one(name, grids):
            return
        same = grids[0] == grids[1]
        kept = None if same else last_complete_shell(*sum(grids, ())) + 1
        parts = call.inputs, call.pre_activation, call.post_activation
        for fields in zip(*parts, strict=True):
            spectra = (radial_spectrum(f, tuple(range(1, f.ndim))) for f in fields)
            means.add(name, *(s.mean(axis=0)[:kept] for s in spectra))

    read_calls(model, x, add, layer_names(model, layers), batch_size, (rank,))
    known.refuse_none()
    every = means.by_layer(known.mixed)
    found = {name: LayerGain(*spectra) for name, spectra in every.items()}
    if not found:
        raise ValueError(
            f"No layer of model {model.name!r} has an input and an output with {rank} "
            "spatial axes. Pass another rank."
        )
    return ModelGains(found)
