"""Checked samples, raw or normalized, and their groups, such as trajectories."""

import dataclasses
import itertools
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import as_array
from keras_spectral_tl._files import sha256_of_arrays
from keras_spectral_tl._graph.layers import rows_of
from keras_spectral_tl._results import by_shapes

Labels = NDArray[Any]
# Name of the array of a file with the group of each sample.
GROUPS = "trajectory"

# Bounds for datasets of unknown length, which may be infinite.
_MOST_BATCHES = 10_000
_MOST_BYTES = 2**33
_LIMIT = "Limit it, for example dataset.take(10), or itertools.islice(generator, 10)."


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Checked samples, held as NumPy arrays.

    Attributes:
        x: Inputs, (num_samples, ...), or a tuple or dict of such arrays.
        y: True outputs, (num_samples, ...).
        statistics: What normalized the samples, see `normalized`; None if they are raw.
        groups: Group label of each sample, such as its trajectory, or None.
        weights: Weight of each point of a sample in errors and correlations, of mean 1,
            or None; see `losses.WeightedMeanSquaredError`.
    """

    x: Any
    y: NDArray[Any]
    statistics: Any = dataclasses.field(default=None, kw_only=True)
    groups: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None

    __repr__ = by_shapes

    def __len__(self) -> int:
        return len(self.y)

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """All arrays: the inputs, then the outputs."""
        return [*keras.tree.flatten(self.x), self.y]

    def take(self, rows: Any) -> tuple[Any, NDArray[Any]]:
        """Return inputs and outputs of the given rows."""
        return rows_of(self.x, rows), self.y[rows]

    def subset(self, rows: Any) -> Self:
        """Return the given rows as samples of the same kind."""
        x, y = self.take(rows)
        groups = None if self.groups is None else self.groups[rows]
        return dataclasses.replace(self, x=x, y=y, groups=groups)

    def times(self, gain: float) -> Self:
        """Return the samples with outputs multiplied by a gain."""
        return self if gain == 1.0 else dataclasses.replace(self, y=gain * self.y)

    def normalized(self, statistics: Any) -> Self:
        """Return the samples after `statistics.normalize(x, y)`, never twice.

        Args:
            statistics: An object with `normalize(x, y)` and `denormalize(x, y)`, or
                None, which leaves the samples raw.

        Raises:
            TypeError: If the object lacks one of these methods.
            ValueError: If the samples are already normalized by other statistics.
        """
        if self.statistics is not None:
            if not _same(self.statistics, statistics):
                raise ValueError(
                    "The samples are normalized already, by "
                    f"{self.statistics!r:.200}, and cannot be normalized by "
                    f"{statistics!r:.200} as well. Pass the raw samples."
                )
            return self
        if statistics is None:
            return self
        for method in ("normalize", "denormalize"):
            if not callable(getattr(statistics, method, None)):
                raise TypeError(
                    "Expected a normalization with the methods normalize(x, y) and "
                    f"denormalize(x, y). Received {statistics!r}."
                )
        x, y = statistics.normalize(self.x, self.y)
        return dataclasses.replace(self, x=x, y=y, statistics=statistics)

    def raw(self) -> tuple[Any, NDArray[Any]]:
        """Return inputs and outputs in their original units."""
        pair = self.x, self.y
        return pair if self.statistics is None else self.statistics.denormalize(*pair)

    def image(self, symmetry: Any) -> "Samples":
        """Return the images of the samples under a symmetry of their system.

        Args:
            symmetry: A callable `(x, y) -> (x, y)` on whole arrays, in the units of the
                raw samples.

        Raises:
            TypeError: If it does not return a pair.
            ValueError: If it changes shapes, or returns NaN or infinite values.
        """
        pair = image_of(symmetry, *self.raw())
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"Expected a pair (x, y) of the symmetry {symmetry!r:.100}. Received "
                f"{type(pair).__name__}."
            )
        image = Samples.of(pair, f"the symmetry {symmetry!r:.100}")
        image = image.normalized(self.statistics)
        found, expected = ([a.shape for a in s.arrays] for s in (image, self))
        if found != expected:
            raise ValueError(
                f"The symmetry {symmetry!r:.100} changes the shapes of samples from "
                f"{expected} to {found}. Leave out quarter turns of fields that are "
                "not square."
            )
        return image.like(self)

    def like(self, other: "Samples") -> "Samples":
        """Return the samples in the dtypes of others whose samples have equal shapes.

        Raises:
            ValueError: If the number, shapes or kinds of arrays differ.
        """
        own, others = self.arrays, other.arrays
        pairs = list(zip(own, others, strict=False))
        if len(own) != len(others) or any(
            one.shape[1:] != two.shape[1:]
            or not np.can_cast(one.dtype, two.dtype, "same_kind")
            for one, two in pairs
        ):
            found, expected = (
                ", ".join(f"{part.shape[1:]} {part.dtype}" for part in parts)
                for parts in (own, others)
            )
            raise ValueError(
                "Expected samples like those of the target, of the shapes and types "
                f"{expected}. Received {found}."
            )
        parts = [one.astype(two.dtype, copy=False) for one, two in pairs]
        x = keras.tree.pack_sequence_as(self.x, parts[:-1])
        return dataclasses.replace(self, x=x, y=parts[-1])

    def fingerprint(self) -> str:
        """Return the SHA-256 of all samples, with their shapes and types."""
        return sha256_of_arrays(self.arrays)

    def contents(self) -> list[str]:
        """Return the SHA-256 of each sample, the same in any dtype."""
        return [_in_one_dtype(sample) for sample in zip(*self.arrays, strict=True)]

    def shared_with(self, other: "Samples") -> int:
        """Return how many samples of another set are among these, in any dtype."""
        own = set(self.contents())
        return sum(one in own for one in other.contents())

    def numbered(self) -> Labels:
        """Return a number for each sample, the same for equal samples, in any dtype."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(c, len(numbers)) for c in self.contents()])

    @staticmethod
    def of(data: Any, name: str = "data") -> "Samples":
        """Read and check samples.

        Args:
            data: `(x, y)` arrays, where x may be a list, tuple or dict of arrays, and
                the pair may have an attribute `groups`, a label for each sample; a
                finite source of batches of such pairs, read once and held in memory: a
                `tf.data.Dataset`, `keras.utils.PyDataset`, torch `DataLoader`,
                generator or other iterable; the path of an npz file with arrays x (or
                x_NAME for each of several inputs), y and, if it has one, trajectory,
                the groups (its weights of points belong to the loss); or `Samples`,
                which are returned as they are.
            name: Name of the data in error messages, such as that of the argument.

        Raises:
            KeyError, OSError: If a file lacks x or y or cannot be read.
            TypeError: If `data` is none of these.
            ValueError: If there are no samples, no end of them, or if they are of
                unequal lengths, masked, not finite, or of xarray at unlike places.
        """
        if isinstance(data, Samples):
            return data
        x, y, groups = _read(data, name)
        inputs = _as_arrays(x)
        samples = Samples(inputs, _one_output(y, inputs, name))
        _check_coordinates(x, y, name)
        _check(samples, name)
        if groups is None:
            return samples
        what = "the attribute groups of the data"
        if _is_npz(data):
            what = f"{GROUPS} of {os.fspath(data)}"
        labels = telling_groups(one_each(what, groups, len(samples)))
        return dataclasses.replace(samples, groups=labels)


def _in_one_dtype(sample: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 of a sample, the same in float32 as in float64."""
    least, parts = float(np.finfo(np.float32).tiny), []
    for part in sample:
        largest = float(np.abs(part).max(initial=0))
        fits = largest == 0.0 or largest >= least
        parts.append(part.astype(np.float32 if fits else np.float64))
    return sha256_of_arrays(parts)


def image_of(symmetry: Any, x: Any, y: NDArray[Any]) -> Any:
    """Return what a symmetry gives of copies, which it may change in place."""
    return symmetry(*keras.tree.map_structure(np.array, (x, y)))


def _same(one: Any, other: Any) -> bool:
    """Return whether two statistics are equal, as far as this can be determined."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # arrays compare element by element
        return False


def _read(data: Any, name: str) -> tuple[Any, Any, Any]:
    """Return x, y and the groups of a pair or an npz file, if it has any.

    A source of batches has none, because it may return its samples in another order.
    """
    if _is_npz(data):
        return _from_npz(data)
    groups = getattr(data, "groups", None) if isinstance(data, tuple | list) else None
    source = _batches(data)
    if source is not None:
        batches = list(source)
        if not batches:
            raise ValueError(f"{name} hold no samples. Received an empty dataset.")
        data = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1], groups
    what = type(data).__name__
    if isinstance(data, keras.Layer):
        what += ": the model comes before the data"
    if isinstance(data, Mapping):
        what += ": take the pair out of it, for example (data['x'], data['y'])"
    if isinstance(data, tuple | list):
        what += (
            f" of {len(data)} (sample weights are not used: repeat samples, or weigh "
            "points by a loss, losses.WeightedMeanSquaredError)"
        )
    raise TypeError(
        f"Expected {name} as a pair (x, y) of arrays, a source of batches of pairs "
        "(tf.data.Dataset, keras.utils.PyDataset, torch DataLoader, generator), or the "
        f"path of an .npz file with x and y. Received {what}."
    )


def _batches(data: Any) -> Iterator[Any] | None:
    """Return an iterator over the batches of a dataset, None for anything else."""
    if hasattr(data, "as_numpy_iterator"):
        count = int(data.cardinality()) if hasattr(data, "cardinality") else -2
        if count == -1:
            raise ValueError(f"The dataset never ends. {_LIMIT}")
        return _bounded(data.as_numpy_iterator(), count)
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        order = itertools.count() if count is None else range(count)
        return _bounded((data[i] for i in order), -1 if count is None else count)
    if hasattr(data, "shape") or not isinstance(data, Iterable):
        return None
    if isinstance(data, str | bytes | tuple | list | Mapping):
        return None
    return _bounded(data, operator.length_hint(data, -1))


def _bounded(batches: Iterable[Any], count: int) -> Iterator[Any]:
    """Yield checked batches, within fixed bounds if the length `count` is negative."""
    size = 0
    for number, batch in enumerate(batches, start=1):
        parts = _as_arrays(batch)
        flat = keras.tree.flatten(parts)
        lengths = {part.shape[:1] for part in flat}
        if () in lengths or len(lengths) > 1:
            shapes = ", ".join(str(part.shape) for part in flat)
            raise ValueError(
                "Expected a dataset of batches, whose arrays have one length. Received "
                f"arrays of shapes {shapes}, probably single samples: put them into "
                "batches, for example dataset.batch(32)."
            )
        size += sum(part.nbytes for part in flat)
        if count < 0 and (number > _MOST_BATCHES or size > _MOST_BYTES):
            raise ValueError(
                "The dataset does not tell its length, and had no end after "
                f"{number:,} batches ({size / 1e6:,.0f} MB). {_LIMIT}"
            )
        yield parts


def _is_npz(data: Any) -> bool:
    return isinstance(data, str | os.PathLike) and os.fspath(data).endswith(".npz")


def _from_npz(path: str | os.PathLike[str]) -> tuple[Any, Any, Any]:
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"There is no file {os.fspath(path)!r}. Expected an npz file with arrays x "
            "and y: write it with numpy.savez(path, x=inputs, y=outputs)."
        )
    with np.load(path) as file:
        return inputs_of(file, file.files, path), file["y"], file.get(GROUPS)


def inputs_of(arrays: Any, names: list[str], path: str | os.PathLike[str]) -> Any:
    """Return x of a file or, for several inputs, a dict of its arrays x_NAME by name.

    Raises KeyError if x or y is missing.
    """
    several = [name for name in names if name.startswith("x_")]
    missing = [name for name in ("y" if several else "xy") if name not in names]
    if missing:
        raise KeyError(
            f"The file {os.fspath(path)!r} lacks the array(s) {', '.join(missing)}; it "
            f"holds {', '.join(sorted(names)) or 'none'}. Write it with numpy.savez("
            "path, x=inputs, y=outputs); of several inputs, each as x_NAME."
        )
    if "x" in names:
        return np.asarray(arrays["x"])
    return {name.removeprefix("x_"): np.asarray(arrays[name]) for name in several}


def _as_arrays(x: Any) -> Any:
    # A list of arrays is several inputs, a list of numbers one array. Several inputs
    # become a tuple, because TensorFlow does not accept lists.
    if isinstance(x, dict):
        return {name: _as_arrays(part) for name, part in x.items()}
    if isinstance(x, tuple | list) and any(
        hasattr(part, "shape") or isinstance(part, dict) for part in x
    ):
        return tuple(_as_arrays(part) for part in x)
    return as_array(x)


def _check_coordinates(x: Any, y: Any, name: str) -> None:
    """Raise ValueError if labelled arrays of xarray hold x and y at different places.

    Compared are axes of one name and length, except for the last, that of the channels.
    """
    true = getattr(y, "indexes", {})
    for part in keras.tree.flatten(x) if hasattr(y, "dims") else ():
        given, axes = (getattr(part, name, ()) for name in ("indexes", "dims"))
        common = {*axes[:-1]} & {*y.dims}
        one, other = ([a for a in dims if a in common] for dims in (axes, y.dims))
        if one != other:
            raise ValueError(
                f"x and y of {name} must have their axes in one order. Received {one} "
                f"in x and {other} in y: transpose() one of them."
            )
        shared = {*given} & {*true} & common
        for axis in sorted(shared, key=y.dims.index):
            in_x, in_y = np.asarray(given[axis]), np.asarray(true[axis])
            apart = _apart(in_x, in_y)
            if apart.any():
                first = int(np.argmax(apart))
                raise ValueError(
                    f"x and y of {name} must be at the same places and times. Received "
                    f"{axis}={in_x[first]} in x and {axis}={in_y[first]} in y, at "
                    f"position {first}: select the common ones, xarray.align(x, y)."
                )


def _apart(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which numbers or times differ, beyond rounding; none of other kinds."""
    kinds = {one.dtype.kind, other.dtype.kind}
    if one.shape == other.shape and kinds == {"M"}:
        return np.asarray(one != other)
    if one.shape != other.shape or not kinds <= set("fiu"):
        return np.zeros(one.shape, bool)
    room = 1e-5 * np.max(np.abs(one), initial=0.0)
    return np.asarray(np.abs(one - other) > room)


def _one_output(y: Any, x: Any, name: str) -> NDArray[Any]:
    """Return the true outputs as one array, refusing those of several outputs."""
    arrays = _as_arrays(y)
    if isinstance(arrays, dict):
        several = "a dict with " + ", ".join(repr(key) for key in arrays)
    elif isinstance(arrays, tuple) and len(arrays) != len(keras.tree.flatten(x)[0]):
        several = f"a list of {len(arrays)} arrays"
    else:
        return as_array(y)
    raise ValueError(
        f"Expected y of {name} as one array (num_samples, ...). Received {several}: "
        "for a model of several outputs, make a model of one, which shares all layers, "
        "keras.Model(model.input, model.output[key]), and pass (x, y[key])."
    )


def _check(samples: Samples, name: str) -> None:
    parts = samples.arrays
    if any(part.ndim == 0 for part in parts) or len(parts) == 1:
        raise ValueError("Expected arrays (num_samples, ...). Received a scalar.")
    lengths = [len(part) for part in parts]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"Inputs and outputs of {name} must have one length. Received "
            f"{lengths[:-1]} samples in x and {lengths[-1]} in y."
        )
    shapes = [part.shape for part in parts]
    if not lengths[0]:
        raise ValueError(f"{name} hold no samples. Received shapes {shapes}.")
    if not all(part.size for part in parts):
        raise ValueError(f"{name} have an axis without points. Received {shapes}.")
    for side, part in zip(["x"] * (len(parts) - 1) + ["y"], parts, strict=True):
        if part.dtype.kind not in "fiub":
            raise ValueError(
                f"Expected real numbers in {side} of {name}. Received {part.dtype}."
            )
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(part.astype(np.float32, copy=False))
        if bad.any():
            raise ValueError(
                f"{side} of {name} has {int(bad.sum())} NaN or infinite values, the "
                f"first in sample {int(np.argwhere(bad)[0][0])} (in float32). Remove "
                "those samples, or, at points without a value such as land, put 0 and "
                "give no weight: loss=losses.WeightedMeanSquaredError(weights)."
            )


def given_groups(groups: Any, count: int) -> Labels | None:
    """Return the groups that a user passed, if they make a difference; two or more."""
    labels = one_each("groups", groups, count, "target ")
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(
            "groups must be two or more, one to fit and another to test. Received only "
            f"{names[0].item()!r}: leave groups out, or add samples of another group."
        )
    return telling_groups(labels)


def telling_groups(labels: Labels) -> Labels | None:
    """Return the labels, or None where they make no difference.

    They make none if there is only one group, which cannot be held out, or if each
    sample is a group of its own, so that samples are held out as without groups.
    """
    return labels if 1 < len(np.unique(labels)) < len(labels) else None


def one_each(name: str, groups: Any, count: int, of: str = "") -> Labels:
    """Return labels as an array, refusing another number of them and missing ones."""
    labels = as_array(groups)
    head = f"{name} must be one label for each of the {count} {of}samples. Received"
    if labels.shape != (count,):
        raise ValueError(
            f"{head} an array of shape {labels.shape}: give each the label of its "
            "trajectory, or leave it out."
        )
    # Check the items of the list: next to strings, NumPy makes None the text "None".
    items = groups if isinstance(groups, list | tuple) else list(labels)
    missing = [row for row, label in enumerate(items) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"{head} {items[missing[0]]} for {len(missing)} of them, first at row "
            f"{missing[0]}: give each the label of its trajectory, or leave these out."
        )
    try:
        np.unique(labels)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in items})
        raise TypeError(
            f"{name} must be labels of one kind, such as whole numbers or texts, so "
            f"that equal ones are found. Received {' and '.join(kinds)}: pass "
            "[str(label) for label in groups]."
        ) from None
    return labels


def _is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, nan or NaT (unequal to itself)."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):  # so answers pandas.NA
        return True
