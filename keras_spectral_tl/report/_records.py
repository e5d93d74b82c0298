"""Records of samples and networks for a study, as plain values."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._files import finite
from keras_spectral_tl._graph.calls import NoSpatialLayerError
from keras_spectral_tl._graph.copies import unmasked
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl.report._study import channel_names
from keras_spectral_tl.spectra import (
    activation_spectra,
    kernel_spectra,
    principal_filters,
    radial_spectrum,
)
from keras_spectral_tl.spectra._kernels import input_grid
from keras_spectral_tl.transfer._result import measured
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._statistics import LAST, with_channels_last

_MOST_SAMPLES = 64  # samples used for spectra
_MOST_POINTS = 64  # points of a picture along either axis
_MOST_FILTERS = 4  # filters shown for each layer
_RANKS = (2, 3, 1)  # spatial axes of layers, the first that any layer has


def system_record(
    data: Any,
    source: str = "arrays",
    normalization: str = "as given",
    channels: Mapping[str, Sequence[str]] | None = None,
    data_format: str = LAST,
) -> dict[str, Any]:
    """Return the record of one system's samples for a study: shapes, hash, spectra.

    Args:
        data: `(x, y)`, as for `score_layers`; fields are (samples, nx, channels),
            (samples, nx, ny, channels) or (samples, nx, ny, nz, channels).
        source: Where the samples come from.
        normalization: How they were normalized, in words.
        channels: "x" and "y" to the names of their channels, if known.
        data_format: "channels_last", or "channels_first" if fields have the channels
            on the first axis after that of the samples.

    Returns:
        Shapes, SHA-256 and, for fields, the mean spectrum of each channel (shell SUM)
        over at most 64 evenly spaced samples.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> record = system_record((x, x[..., :1]))
        >>> record["num_samples"], len(record["x_spectra"]), len(record["y_spectra"])
        (4, 2, 1)
    """
    samples = Samples.of(data)
    x = keras.tree.flatten(samples.x)[0]
    return {
        "source": source,
        "normalization": normalization,
        "channels": {side: list(names) for side, names in (channels or {}).items()},
        "num_samples": len(samples),
        "x_shape": list(x.shape[1:]),
        "y_shape": list(samples.y.shape[1:]),
        "sha256": samples.fingerprint(),
        "x_spectra": _mean_spectra(with_channels_last(x, data_format)),
        "y_spectra": _mean_spectra(with_channels_last(samples.y, data_format)),
    }


def figures_row(
    network: str,
    name: str,
    model: keras.Model,
    data: Any,
    normalization: Any = None,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Return one row of metrics of a network on samples.

    Args:
        network: Name of the network; "base" before any retraining.
        name: Name of the samples.
        model: The network.
        data: `(x, y)`, raw if a normalization is given.
        normalization: Normalization of the model's inputs and outputs, such as
            `transfer.ChannelStatistics`; outputs are compared in the units of `y`, or
            in normalized units if they have several channels.
        batch_size: Samples evaluated at a time.

    Returns:
        network, data, samples, cc and relative_rmse, see `transfer.RetrainResult`.
    """
    samples = Samples.of(data)
    x = samples.normalized(normalization).x
    outputs = predicted(model, x, batch_size)
    weights = unmasked(model, x, samples.weights, batch_size)
    figures = measured(samples, outputs, normalization, weights=weights)
    return {"network": network, "data": name, "samples": len(samples), **figures}


def spectra_record(
    networks: Mapping[str, keras.Model],
    runs: Mapping[str, tuple[keras.Model, Any]],
    num_points: int | None = None,
) -> dict[str, Any]:
    """Return spectra of kernels and activations by layer.

    Args:
        networks: Label to a network, for spectra of its kernels.
        runs: Label to a network and inputs, for spectra of its activations: of layers
            with fields in two dimensions, if there are none in three, else in one.
        num_points: Points of the grid that kernels are padded to; by default that on
            which each layer works, or 64 if that of the inputs is open.

    Returns:
        "kernels" and "activations": layer to label to its mean profile, indexed by
        wavenumber, for convolutions and for layers with fields. "filters": layer to the
        principal filters of its kernels' (nx, ny) change, first to last network.

    Raises:
        ValueError: If kernels do not fit the given grid.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {"kernels": {}, "activations": {}}
    for label, network in networks.items():
        for layer, profile in _kernel_profiles(network, num_points).items():
            found["kernels"].setdefault(layer, {})[label] = profile.tolist()
    for label, (network, x) in runs.items():
        for layer, spectrum in _activations(network, x).items():
            found["activations"].setdefault(layer, {})[label] = spectrum.tolist()
    found["filters"] = _filters_of_change(list(networks.values()))
    return {kind: layers for kind, layers in found.items() if layers}


def picture_record(
    systems: Mapping[str, Any],
    networks: Mapping[str, keras.Model] | None = None,
    channels: Mapping[str, Sequence[str]] | None = None,
    data_format: str = LAST,
) -> dict[str, list[dict[str, Any]]]:
    """Return maps of the first sample of each system, and predictions of networks.

    Args:
        systems: Name to `(x, y)` in the units of the networks; the last is predicted.
        networks: Label to a network.
        channels: "x" and "y" to the names of their channels, if known.
        data_format: Where the channels of fields are, as for `system_record`.

    Returns:
        "fields" and "predictions": lists of title and values, (nx, ny) with at most 64
        points along an axis, or (nx,) with all; empty if samples are not fields
        (nx, ny, channels) or (nx, channels).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> data = {"base": (x, x[..., :1])}
        >>> found = picture_record(data, channels={"y": ["forcing"]})
        >>> [picture["title"] for picture in found["fields"]]
        ['base: input 1', 'base: input 2', 'base: forcing']
    """
    found: dict[str, list[dict[str, Any]]] = {"fields": [], "predictions": []}
    for role, data in systems.items():
        samples = Samples.of(data)
        given = keras.tree.flatten(samples.x)[0], samples.y
        x, y = (with_channels_last(part, data_format) for part in given)
        if not all(_is_field(part) and part.ndim < 5 for part in (x, y)):
            continue
        names = channel_names(channels, x.shape[-1], y.shape[-1])
        for side, fields in (("x", x), ("y", y)):
            found["fields"] += [
                _picture(f"{role}: {name}", fields[0, ..., channel])
                for channel, name in enumerate(names[side])
            ]
        if networks and role == list(systems)[-1]:
            found["predictions"].append(_picture("truth", y[0, ..., 0]))
            first, _ = samples.take(slice(1))
            for label, network in networks.items():
                outputs = with_channels_last(predicted(network, first), data_format)
                found["predictions"].append(_picture(label, outputs[0, ..., 0]))
    return found


def _picture(title: str, field: NDArray[Any]) -> dict[str, Any]:
    if field.ndim == 2:
        steps = [max(1, -(-size // _MOST_POINTS)) for size in field.shape]
        field = field[:: steps[0], :: steps[1]]
    values = [float(f"{value:.3g}") for value in field.flat]
    return {"title": title, "values": np.reshape(values, field.shape).tolist()}


def _kernel_profiles(
    network: keras.Model, num_points: int | None
) -> dict[str, NDArray[np.float64]]:
    grid = num_points
    if grid is None:
        try:
            input_grid(network)
        except ValueError:  # not known
            grid = 64
    try:
        layers = kernel_spectra(network, grid).layers
    except ValueError:  # no convolution, or kernels wider than the grid
        if num_points is not None:
            raise
        return {}
    return {name: layer.mean_profile for name, layer in layers.items()}


def _filters_of_change(networks: Sequence[keras.Model]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in layers_with_weights(networks[0]) if len(networks) > 1 else ():
        try:
            change = principal_filters(networks[0], networks[-1], name)
        except (KeyError, ValueError):  # no convolution, or it did not change
            continue
        if change.filters.ndim == 3:
            count = min(max(int(change.significant.sum()), 1), _MOST_FILTERS)
            found[name] = {
                "classes": change.classes[:count].tolist(),
                "images": change.filters[:count].round(4).tolist(),
                "shares": change.shares.tolist(),
                "noise_shares": finite(change.noise_shares.tolist()),
            }
    return found


def _activations(network: keras.Model, x: Any) -> dict[str, NDArray[np.float64]]:
    names = list(layers_with_weights(network))
    few = keras.tree.map_structure(lambda part: _some(np.asarray(part)), x)
    for rank in _RANKS:
        with contextlib.suppress(NoSpatialLayerError):
            spectra = activation_spectra(network, few, rank=rank).pre_activation
            return {name: spectra[name] for name in names if name in spectra}
    return {}


def _some(values: NDArray[Any]) -> NDArray[Any]:
    rows = np.linspace(0, len(values) - 1, min(len(values), _MOST_SAMPLES))
    return np.asarray(values[rows.astype(int)])


def _is_field(values: NDArray[Any]) -> bool:
    """Return whether arrays are fields (samples, ..., channels).

    Arrays with three axes, which could also be (samples, nx, ny), count as fields if
    there are fewer channels than points.
    """
    return values.ndim in (4, 5) or (
        values.ndim == 3 and values.shape[2] < values.shape[1]
    )


def _mean_spectra(fields: NDArray[Any]) -> list[list[float]]:
    if not _is_field(fields):
        return []
    axes = tuple(range(1, fields.ndim - 1))
    spectra = radial_spectrum(np.asarray(_some(fields), np.float64), axes=axes)
    mean: list[list[float]] = spectra.mean(axis=0).tolist()
    return mean
