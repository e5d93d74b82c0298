"""Normalization, arrays and batches of examples for a network.

All of this happens when data are read; data on disk are not normalized.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from turbulence_data._checks import (
    as_array,
    check_example,
    check_moments,
    check_real,
    check_whole,
)
from turbulence_data.generation._records import LAYERS, PLANE, TWO_LAYERS

Array = NDArray[np.float32]
Example = Mapping[str, Any]
Names = str | Iterable[str]
# (how often this time was there before, trajectory, its ensemble), time.
_Label = tuple[tuple[int, int, tuple[str, ...]], float]

# What tells simulations apart whose trajectories have the same numbers.
_NOT_OF_ENSEMBLES = {"trajectory", "time", "filter_width"}
_OF_ENSEMBLES = sorted({*PLANE.scalars, *TWO_LAYERS.scalars} - _NOT_OF_ENSEMBLES)
_OF_PLANE = {*PLANE.inputs, *PLANE.outputs, *PLANE.extra_fields}
_FEATURES = _OF_PLANE.union(*TWO_LAYERS.of_field.values())

_ADVICE = " Use Normalization for one plane, TwoLayerNormalization for two layers."


class _ByChannel(abc.ABC):
    """Normalization of inputs and outputs by mean and std of each channel."""

    flow: ClassVar[str]
    input_names: ClassVar[tuple[str, ...]]
    output_names: ClassVar[tuple[str, ...]]

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """Return the normalization by the train split, from `info.metadata`.

        Raises:
            KeyError: if the metadata are not those of such a dataset.
        """
        moments = dict(metadata).get("fields", {})
        names = (*cls.input_names, *cls.output_names)
        missing = sorted(set(names) - set(moments))
        if missing:
            raise KeyError(
                "metadata must be the `info.metadata` of a turbulence_data dataset of "
                f"{cls.flow}, with the key 'fields'; received the keys "
                f"{sorted(metadata)}, and no {missing} in 'fields'.{_ADVICE}"
            )
        return cls._of([(moments[n]["mean"], moments[n]["std"]) for n in names])

    @classmethod
    def from_arrays(cls, x: NDArray[Any], y: NDArray[Any]) -> Self:
        """Return the normalization by given arrays with the channels of `to_arrays`.

        Raises:
            ValueError: for arrays with other channels, or a constant field.
        """
        x, y = as_array("x", x), as_array("y", y)
        check_real("x", x)
        check_real("y", y)
        if x.shape[-1:] + y.shape[-1:] != (len(cls.input_names), len(cls.output_names)):
            raise ValueError(
                f"x and y must have the channels {cls.input_names} and "
                f"{cls.output_names} on their last axis; received the shapes {x.shape} "
                f"and {y.shape}.{_ADVICE}"
            )
        channels = [part[..., i] for part in (x, y) for i in range(part.shape[-1])]
        moments = [(np.mean(c, dtype=float), np.std(c, dtype=float)) for c in channels]
        return cls._of([(float(mean), float(std)) for mean, std in moments])

    def normalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `(field - mean) / std` of inputs and outputs, channels last.

        Raises:
            ValueError: for arrays of another number of channels.
        """
        (mean_x, std_x), (mean_y, std_y) = self._scales(x, y)
        return (x - mean_x) / std_x, (y - mean_y) / std_y

    def denormalize(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `field * std + mean`, the inverse of `normalize`.

        Raises:
            ValueError: for arrays of another number of channels.
        """
        (mean_x, std_x), (mean_y, std_y) = self._scales(x, y)
        return x * std_x + mean_x, y * std_y + mean_y

    def _scales(self, x: Any, y: Any) -> list[Array]:
        """Return (means, stds) of the channels, of inputs and of outputs.

        Other channels than these are refused, before NumPy would broadcast them.
        """
        given = (("x", x, self.input_names), ("y", y, self.output_names))
        for name, fields, names in given:
            shape = tuple(np.shape(fields))
            if not shape or shape[-1] not in (len(names), None):
                raise ValueError(
                    f"{type(self).__name__} is of {self.flow}: {name} must have the "
                    f"channels {names} on its last axis; received the shape {shape}."
                    f"{_ADVICE}"
                )
        pairs = np.array([*vars(self).values()], np.float32).reshape(-1, 2).T
        count = len(self.input_names)
        return [pairs[:, :count], pairs[:, count:]]

    @classmethod
    @abc.abstractmethod
    def _of(cls, pairs: Sequence[tuple[float, float]]) -> Self:
        """Return the normalization with these (mean, std) of channels, inputs first."""


@dataclass(frozen=True)
class Normalization(_ByChannel):
    """Mean and standard deviation of each field, of one train split.

        normalized = (field - mean) / std

    Normalizing a target by its own statistics or by those of the base affects every
    result, so a normalization must always be passed explicitly.

    Attributes:
        streamfunction: `(mean, std)`.
        vorticity: `(mean, std)`.
        sgs_forcing: `(mean, std)`.

    Raises:
        ValueError: for a mean that is not finite or a std that is not positive.

    Example:
        >>> normalization = Normalization((0, 1), (0, 2), (0, 4))
        >>> x, y = normalization.normalize(np.ones((1, 8, 8, 2)), np.ones((1, 8, 8, 1)))
        >>> x[0, 0, 0].tolist(), y[0, 0, 0].tolist()
        ([1.0, 0.5], [0.25])
    """

    streamfunction: tuple[float, float]
    vorticity: tuple[float, float]
    sgs_forcing: tuple[float, float]

    flow = "one plane"
    input_names = PLANE.inputs
    output_names = PLANE.outputs

    def __post_init__(self) -> None:
        for name, (mean, std) in asdict(self).items():
            check_moments(name, mean, std)

    @classmethod
    def _of(cls, pairs: Sequence[tuple[float, float]]) -> Self:
        return cls(*pairs)


Pairs = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class TwoLayerNormalization(_ByChannel):
    """Mean and standard deviation of each field of each layer, of one train split.

        normalized = (field - mean) / std

    Attributes:
        streamfunction: `(mean, std)` of the upper and the lower layer.
        vorticity: the same for potential vorticity.
        sgs_forcing: the same for the subgrid forcing.

    Raises:
        ValueError: for a mean that is not finite or a std that is not positive.

    Example:
        >>> one = ((0.0, 1.0), (0.0, 2.0))
        >>> normalization = TwoLayerNormalization(one, one, one)
        >>> x, y = np.ones((1, 8, 8, 4)), np.ones((1, 8, 8, 2))
        >>> normalization.normalize(x, y)[1][0, 0, 0].tolist()
        [1.0, 0.5]
    """

    streamfunction: Pairs
    vorticity: Pairs
    sgs_forcing: Pairs

    flow = "two layers"
    input_names = TWO_LAYERS.inputs
    output_names = TWO_LAYERS.outputs

    def __post_init__(self) -> None:
        for name in ("streamfunction", "vorticity", "sgs_forcing"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (2, 2):
                raise ValueError(
                    f"{name} must be (mean, std) of the upper and of the lower layer; "
                    f"received {getattr(self, name)!r}."
                )
            for layer, moments in zip(LAYERS, values.tolist(), strict=True):
                check_moments(f"{name} of the {layer} layer", *moments)

    @classmethod
    def _of(cls, pairs: Sequence[tuple[float, float]]) -> Self:
        return cls((pairs[0], pairs[1]), (pairs[2], pairs[3]), (pairs[4], pairs[5]))


AnyNormalization = Normalization | TwoLayerNormalization


class _Arrays(NamedTuple):
    """A pair of arrays that JAX, TensorFlow and Keras handle as a named tuple."""

    x: Array
    y: Array


class _GroupedArrays(_Arrays):
    """A pair of arrays with an attribute `groups`, which a rebuilt pair has as None.

    Attributes:
        groups: Number of the trajectory of each example, or None.
    """

    groups: NDArray[Any] | None = None


def to_arrays(
    examples: Iterable[Example],
    normalization: AnyNormalization | None = None,
    inputs: Names | None = None,
    outputs: Names | None = None,
) -> tuple[Array, Array]:
    """Return all examples as one pair of arrays.

    Args:
        examples: single, decoded examples: a `tf.data.Dataset`, a TFDS data source, or
            a list.
        normalization: how to scale the fields; None leaves them in physical units.
            `from_metadata` gives that of the default channels. For other inputs or
            outputs take them in physical units, and scale by what they have.
        inputs: features that are the channels of x, of which velocity, tau and sigma
            have several; by default streamfunction and vorticity, for two layers each
            of the upper, then of the lower layer.
        outputs: features that are the channels of y; by default the sgs_forcing.

    Returns:
        `x` of shape `(n, nx, ny, 2)` with channels (streamfunction, vorticity), and `y`
        of shape `(n, nx, ny, 1)` with sgs_forcing; float32. For two layers they have 4
        and 2 channels. The pair has an attribute `groups`: the trajectory of each
        example (for ensembles of other seeds or parameters a number for each trajectory
        of each), or None if examples do not have it. A new pair, such as from
        `normalize(x, y)` or a slice, loses it: select examples before, and pass
        `normalization` here.

    Raises:
        ValueError: if there are no examples, if they are batches, for features that are
            no fields, or a normalization of other features.
        TypeError: for examples that are not mappings, such as pairs, or an invalid
            normalization.
        KeyError: for examples without one of the features.
    """
    if not (normalization is None or hasattr(normalization, "normalize")):
        raise TypeError(
            f"normalization must be a Normalization or None; received {normalization!r}"
            ". Make one with Normalization.from_metadata or .from_arrays."
        )
    names = _checked_names(inputs, outputs, normalization)
    every_x, every_y, members = [], [], []
    for example in examples:
        of_x, of_y = _channels_of(example, *names)
        every_x.append(_stack(example, of_x))
        every_y.append(_stack(example, of_y))
        if "trajectory" in example:
            label = np.asarray(example["trajectory"])
            members.append((_ensemble_of(example), label))
    if not every_x:
        raise ValueError("the dataset holds no examples; pass a split that has some.")
    x, y = np.stack(every_x), np.stack(every_y)
    pair = _GroupedArrays(*(normalization.normalize(x, y) if normalization else (x, y)))
    if len(members) == len(x):
        pair.groups = _groups_of(*zip(*members, strict=True))
    return pair


def _ensemble_of(example: Example) -> tuple[str, ...]:
    """Return the seed and the parameters of an example, as far as it has them."""
    given = (np.asarray(example.get(name)) for name in _OF_ENSEMBLES)
    return tuple(
        repr(one.item()) if one.ndim == 0 and one.dtype.kind in "iuf" else ""
        for one in given
    )


def _groups_of(
    ensembles: Sequence[tuple[str, ...]], trajectories: Sequence[Any]
) -> NDArray[Any]:
    """Return the trajectories; numbers for those of several ensembles."""
    labels = np.stack(trajectories)
    if labels.ndim > 1 or len({*ensembles}) == 1:
        return labels
    pairs = [*zip(ensembles, labels.tolist(), strict=True)]
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    return np.array([numbers[pair] for pair in pairs])


def few_shot(examples: Iterable[Example], num_examples: int) -> list[Example]:
    """Return a small subset of examples; each subset is part of every larger one.

    The examples have a fixed order of which the first `num_examples` are returned. The
    order visits the trajectories in turn. Within a trajectory, times follow the van der
    Corput sequence 0, 1/2, 1/4, 3/4, ... of its duration, which halves the gaps, with
    an offset for each trajectory by the same sequence. So any subset is spread evenly
    over trajectories, also of several ensembles, and over times.

    Args:
        examples: the examples of a train split. For a TFDS data source only the chosen
            ones are held in memory, for a `tf.data.Dataset` temporarily all.
        num_examples: how many to return.

    Raises:
        ValueError: if there are not that many.
    """
    check_whole("num_examples", num_examples, at_least=1)
    every = examples if isinstance(examples, Sequence) else list(examples)
    labels: list[_Label] = []
    repeats: Counter[_Label] = Counter()
    for index in range(len(every)):  # a data source reads each one from disk
        check_example(example := every[index], ["trajectory", "time"])
        time, of_ensemble = float(example["time"]), _ensemble_of(example)
        label = (0, int(example["trajectory"]), of_ensemble), time
        labels.append(((repeats[label], *label[0][1:]), time))
        repeats[label] += 1
    if num_examples > len(every):
        raise ValueError(
            f"num_examples={num_examples} is more than the {len(every)} examples given."
        )
    order = _few_shot_order(labels)
    return [every[index] for index in order[:num_examples]]


def batches(
    dataset: Any,
    batch_size: int,
    normalization: AnyNormalization | None,
    shuffle_seed: int | None = None,
    inputs: Names | None = None,
    outputs: Names | None = None,
) -> Any:
    """Return a `tf.data.Dataset` of batches `(x, y)`, laid out as by `to_arrays`.

    Args:
        dataset: `tf.data.Dataset` of single examples.
        batch_size: examples in a batch; the last may be smaller.
        normalization: how to scale the fields; None leaves them in physical units.
        shuffle_seed: seed to shuffle all examples again in each epoch, reproducibly,
            which holds all in memory and counts those of unknown number; None keeps
            their order.
        inputs: features that are the channels of x, as in `to_arrays`.
        outputs: features that are the channels of y.

    Raises:
        KeyError, TypeError, ValueError: as `to_arrays`; or to shuffle without an end.
    """
    import tensorflow as tf

    def stacked(example: Example, names: Sequence[str]) -> Any:
        fields = [tf.cast(example[name], tf.float32) for name in names]
        parts = [f if _has_channels(f.shape) else f[..., tf.newaxis] for f in fields]
        return tf.concat(parts, axis=-1)

    names = _checked_names(inputs, outputs, normalization)

    def channels(example: Example) -> tuple[Any, Any]:
        of_x, of_y = _channels_of(example, *names)
        x, y = (stacked(example, names) for names in (of_x, of_y))
        return normalization.normalize(x, y) if normalization else (x, y)

    check_whole("batch_size", batch_size, at_least=1)
    check_example(dataset.element_spec)
    if shuffle_seed is not None:
        size = int(dataset.cardinality())
        if size == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                f"an endless dataset cannot be shuffled whole (shuffle_seed="
                f"{shuffle_seed}). Repeat the batches instead: batches(...).repeat()."
            )
        if size == tf.data.UNKNOWN_CARDINALITY:  # such as of a filtered dataset
            size = int(dataset.reduce(0, lambda count, _: count + 1))
        dataset = dataset.shuffle(max(1, size), seed=shuffle_seed)
    dataset = dataset.map(channels, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _checked_names(
    inputs: Names | None, outputs: Names | None, normalization: Any
) -> list[list[str] | None]:
    """Return the named features of x and y; None for the defaults."""
    # Names of one's own, and of one layer, may be normalized.
    every = [
        [names] if isinstance(names, str) else list(names or ()) or None
        for names in (inputs, outputs)
    ]
    if isinstance(normalization, _ByChannel):
        scaled = normalization.input_names, normalization.output_names
        for given, own in zip(every, scaled, strict=True):
            for name, expected in zip(given or (), own, strict=False):
                if name in _FEATURES and expected not in name:
                    raise ValueError(
                        f"{type(normalization).__name__} is meant for the features "
                        f"{scaled}; received {name!r} in place of {expected!r}. Take "
                        "it with normalization=None, and scale it by its own moments."
                    )
    return every


def _channels_of(
    example: Example, inputs: list[str] | None, outputs: list[str] | None
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the features of x and y: the given ones, or the defaults of the flow."""
    check_example(example)
    kind = TWO_LAYERS if TWO_LAYERS.inputs[-1] in example else PLANE
    of_x, of_y = inputs or kind.inputs, outputs or kind.outputs
    check_example(example, [*of_x, *of_y])
    for name in (*of_x, *of_y):
        shape = getattr(example[name], "shape", np.shape(example[name]))
        if _is_unknown(shape):
            continue
        shape = tuple(shape)
        if len(shape) < 2:
            raise ValueError(
                "expected fields of shape (nx, ny) or (nx, ny, channels) as inputs and "
                f"outputs; received {name!r} of shape {shape}. Leave it out, or repeat "
                "it on the grid of the fields."
            )
        if len(shape) > 2 and not _has_channels(shape):
            raise ValueError(
                "expected single examples with fields of shape (nx, ny); received "
                f"{name!r} of shape {shape}. Pass the dataset without batch_size."
            )
    return of_x, of_y


def _is_unknown(shape: Any) -> bool:
    """Return whether a tf.data.Dataset does not tell how many axes there are."""
    return getattr(shape, "rank", 0) is None


def _has_channels(shape: Any) -> bool:
    """Return whether the last axis has channels: a grid has at least 4 points."""
    if _is_unknown(shape):
        return False
    return len(shape) == 3 and shape[-1] is not None and shape[-1] < 4


def _stack(example: Example, names: Sequence[str]) -> Array:
    """Return features as channels: a field is one, several in one array are all."""
    fields = [np.asarray(as_array(n, example[n]), np.float32) for n in names]
    parts = [f if _has_channels(f.shape) else f[..., None] for f in fields]
    if len({part.shape[:-1] for part in parts}) > 1:
        shapes = {name: field.shape for name, field in zip(names, fields, strict=True)}
        raise ValueError(f"expected fields on one grid; received the shapes {shapes}.")
    return np.concatenate(parts, axis=-1)


def _few_shot_order(labels: Sequence[_Label]) -> list[int]:
    in_time: dict[Any, list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda i: labels[i]):
        in_time.setdefault(labels[index][0], []).append(index)
    visits = []
    for position, indices in enumerate(in_time.values()):
        start = int(_radical_inverse(position) * len(indices))
        for turn, step in enumerate(_halving_order(len(indices))):
            index = indices[(start + step) % len(indices)]
            visits.append((turn, position, index))
    return [index for _, _, index in sorted(visits)]


def _halving_order(count: int) -> list[int]:
    """Return 0 ... count - 1 in an order that keeps halving the gaps."""
    size = 1 << (count - 1).bit_length()
    steps = [int(_radical_inverse(number) * size) for number in range(size)]
    return [step for step in steps if step < count]


def _radical_inverse(number: int) -> float:
    """Return the van der Corput sequence 0, 1/2, 1/4, 3/4, 1/8, ..."""
    digits = f"{number:b}"[::-1]
    return int(digits, 2) / 2.0 ** len(digits)
