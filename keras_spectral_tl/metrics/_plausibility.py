"""Plausibility checks of a network and its data: accuracy, units, channel order."""

import itertools
import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import fetch, rows_of
from keras_spectral_tl._keras_internals import sublayers
from keras_spectral_tl.metrics._functions import are_numbers, pattern_correlation

_LEAST = 0.5  # least correlation of a network that has learned its own system
_LARGEST_RATIO = 10.0  # largest plausible ratio of the scales of two systems
_LARGEST_SHIFT = 3.0  # of their means, in standard deviations of the base
_LEAST_VARIANCE = 1e-14  # of y whose gradients can be squared in float32
_SMALL = 8  # fewest numbers of a sample whose correlation says something
_FILLED = 0.01  # least share of points that never change to be reported
_CLEARER = 0.3  # correlation that an exchange of channels must add to be reported
_MOST_CHANNELS = 4  # exchanges are tried for at most this many channels
_FIELDS, _NUMBERS, _BATCH = 8, 32, 8  # most fields, most single numbers, at once
_FEWEST = 8  # fewest samples, if each is a single number
INTRODUCTION = "Check the network and its data."


def warn_of_doubts(
    model: keras.Model, base: Any, target: Any, normalizations: Iterable[Any] = ()
) -> str:
    """Issue one warning with all doubts about a network and its data.

    Without normalizations, target and base are compared as they are. The base may be
    None. Returns the doubts as sentences, or an empty string.
    """
    found = []
    as_is = all(one is None for one in normalizations)
    if base is not None:
        found += network_doubts(model, base, target if as_is else None)
        found += scale_doubts(base, target) if as_is else []
    found += y_doubts(target)
    found += unit_doubts(target) if as_is else []
    if not found:
        return ""
    text = " ".join(found)
    warnings.warn(f"{INTRODUCTION} {text}", UserWarning, stacklevel=3)
    return f"{text} "


def network_doubts(model: keras.Model, base: Any, target: Any) -> list[str]:
    """Return doubts, as sentences, on whether a network works on its data.

    At most 8 fields of each system are used, or 32 samples of one number, in the units
    of the network.
    """
    found = []
    y, outputs = _answers(model, base)
    reached = _pattern(y, outputs, base.weights)
    if reached is not None and not reached >= _LEAST:
        found.append(
            f"The base network reaches a correlation of {round(reached, 2) + 0.0:.2f} "
            "on its own base samples, and findings on a network that does not work "
            "there say little."
        )
        reason = _reason(model, base, reached)
        if not reason and target is not None:
            there = _correlation(model, target) or 0.0
            if there > max(_LEAST, reached + _CLEARER):
                reason = (
                    f"On the target it reaches {there:.2f}: are the systems exchanged?"
                )
        found.append(
            reason or "Look at its training, the order of channels and normalization."
        )
    found = found or _off_units(y, outputs, base.weights)
    if target is None or found:
        return found
    reached = _correlation(model, target)
    swapped = None if reached is None else _exchange(model, target, reached)
    return [f"In the target, {swapped}"] if swapped else []


def scale_doubts(base: Any, target: Any) -> list[str]:
    """Return doubts on scales: their ratio beyond 10, means apart by more than 3."""
    found = []
    for side in "xy":
        parts = [keras.tree.flatten(getattr(data, side)) for data in (base, target)]
        for one, other in zip(*parts, strict=False):
            (mean, spread), (level, others) = map(_moments, (one, other))
            if side == "y" and not np.any(others):
                found.append("y of the target is constant: there is nothing to learn.")
            if spread.shape != others.shape:
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio, shift = others / spread, np.abs(level - mean) / spread
                away = np.abs(np.log(ratio)) / np.log(_LARGEST_RATIO)
            for size, values, words in (
                (away, ratio, "{:.3g} times the"),
                (
                    shift / _LARGEST_SHIFT,
                    shift,
                    "a mean that is off by {:.3g} times the",
                ),
            ):
                size[~np.isfinite(size)] = 0.0
                channel = int(np.argmax(size))
                if size[channel] > 1.0:
                    where = f" in channel {channel}" if len(spread) > 1 else ""
                    found.append(
                        f"{side} of the target has {words.format(values[channel])} "
                        f"standard deviation of the base{where}: look at units and "
                        "normalization."
                    )
                    break
    return found


def unit_doubts(target: Any) -> list[str]:
    """Return doubts on y in units so small that Adam cannot train in float32."""
    variance = float(np.var(target.y, dtype=np.float64))
    if not 0.0 < variance < _LEAST_VARIANCE:
        return []
    return [
        f"y of the target has a variance of {variance:.1g}, in units so small that "
        "squares of gradients vanish in float32: a retraining may get less far than "
        "is said. Give x and y with a normalization, such as RefitOnTarget()."
    ]


def y_doubts(target: Any) -> list[str]:
    """Return doubts on y: too few numbers a sample, or points that never change.

    Such points, as on land or at fill values, are constant over three samples or more;
    those without weight do not count.
    """
    y = target.y
    numbers = y[0].size
    if 1 < numbers < _SMALL:
        return [
            f"Each sample of y has {numbers} numbers, and a correlation over so few "
            "says little. If they are different quantities, retrain for one at a time: "
            "a model of it, keras.Model(model.inputs, model.output[..., :1]), with "
            "y[..., :1], is judged by its correlation over the samples."
        ]
    if y.ndim < 3 or len(y) < 3:
        return []
    fixed = np.all(y == y[:1], axis=0)
    if target.weights is not None:
        fixed = fixed[np.broadcast_to(target.weights, y.shape[1:]) > 0.0]
    share = float(np.mean(fixed))
    if not _FILLED <= share < 1.0:
        return []
    return [
        f"At {share:.0%} of its points, y of the target has the same value in all "
        "samples. If they have no true value, such as on land, give them no weight: "
        "loss=losses.WeightedMeanSquaredError(weights)."
    ]


def _reason(model: keras.Model, base: Any, reached: float) -> str:
    """Return why a network may fail on its own system, empty if unknown."""
    if reached < -_LEAST:
        return "The sign of y looks opposite to that of its training."
    swapped = _exchange(model, base, reached)
    if swapped:
        return f"In the base, {swapped}"
    for layer in sublayers(model):
        if isinstance(layer, keras.layers.Normalization):
            return (
                f"It normalizes its inputs itself, in the layer {layer.name!r}: give "
                "it samples in their own units."
            )
    return ""


def _exchange(model: keras.Model, data: Any, reached: float) -> str:
    """Return a doubt if two channels of an input seem to be exchanged, else empty."""
    if reached >= _LEAST:
        return ""
    for place, (path, part) in enumerate(keras.tree.flatten_with_path(data.x)):
        channels = part.shape[-1] if part.ndim > 2 else 0
        if channels > _MOST_CHANNELS:
            continue
        name = "x" + "".join(f"[{key!r}]" for key in path)
        for one, other in itertools.combinations(range(channels), 2):
            order = list(range(channels))
            order[one], order[other] = other, one
            found = _correlation(model, data, (place, order)) or 0.0
            if found > max(_LEAST, reached + _CLEARER):
                return (
                    f"channels {one} and {other} of {name} look exchanged: the other "
                    f"way round the network reaches a correlation of {found:.2f}, as "
                    f"it is one of {reached:.2f}."
                )
    return ""


def _ordered(x: Any, place: int, order: list[int]) -> Any:
    """Return inputs with the channels of one of them in another order."""
    parts = keras.tree.flatten(x)
    parts[place] = parts[place][..., order]
    return keras.tree.pack_sequence_as(x, parts)


def _correlation(
    model: keras.Model, data: Any, order: tuple[int, list[int]] | None = None
) -> float | None:
    """Return the correlation with the truth, None if it is not defined.

    `order` are the number of an input and another order of its channels.
    """
    return _pattern(*_answers(model, data, order), data.weights)


def _pattern(y: NDArray[Any], predicted: NDArray[Any], weights: Any) -> float | None:
    """Return the correlation of outputs with y, None if it is not defined."""
    if predicted.shape != y.shape:
        return None  # integer labels
    if not are_numbers(y):
        return pattern_correlation(y, predicted, weights)
    if len(y) < _FEWEST:
        return None
    return pattern_correlation(y.reshape(1, -1), predicted.reshape(1, -1))


def _answers(
    model: keras.Model, data: Any, order: tuple[int, list[int]] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return y and the outputs of the network for some samples."""
    count, most = len(data.y), _NUMBERS if are_numbers(data.y) else _FIELDS
    rows = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    found, true = [], []
    for some in np.array_split(rows, -(-len(rows) // _BATCH)):
        x = rows_of(data.x, some)
        x = x if order is None else _ordered(x, *order)
        with keras.StatelessScope():  # do not change states and counters
            outputs = model(x, training=False)
        found.append(fetch(outputs).astype(np.float64))
        true.append(np.asarray(data.y[some], np.float64))
    return np.concatenate(true), np.concatenate(found)


def _off_units(y: NDArray[Any], outputs: NDArray[Any], weights: Any) -> list[str]:
    """Return a doubt if outputs have another mean or spread than y, which has weights.

    The limits are those of two systems, since a correlation does not tell units.
    """
    if outputs.shape != y.shape or (are_numbers(y) and len(y) < _FEWEST):
        return []
    if np.isin(y, (0.0, 1.0)).all():  # classes or events, of which outputs are logits
        return []
    if weights is not None:
        counted = np.broadcast_to(weights > 0.0, y.shape)
        y, outputs = y[counted], outputs[counted]
    spread = float(np.std(y))
    if not spread > 0.0:
        return []
    shift = abs(float(np.mean(outputs - y))) / spread
    ratio = float(np.std(outputs)) / spread
    if not 1.0 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO:
        words = f"{ratio:.3g} times the standard deviation of y"
    elif shift > _LARGEST_SHIFT:
        words = f"a mean that is off by {shift:.3g} standard deviations"
    else:
        return []
    return [
        f"On its own base samples the outputs have {words}: y is not in the units of "
        "the network. Normalize it as in training."
    ]


def _moments(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation, of fields for each channel."""
    few = values.ndim > 2 and values.shape[-1] <= _MOST_CHANNELS
    flat = values.reshape(-1, values.shape[-1] if few else 1)
    return flat.mean(axis=0, dtype=float), flat.std(axis=0, dtype=float)
