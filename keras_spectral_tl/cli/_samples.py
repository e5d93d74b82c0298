"""Samples named on the command line: a TFDS dataset, or an npz or Zarr file."""

import dataclasses
import importlib
import json
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._checks import require
from keras_spectral_tl.cli._inputs import DATA, Channels, quiet
from keras_spectral_tl.transfer import Samples
from keras_spectral_tl.transfer._samples import (
    GROUPS,
    inputs_of,
    one_each,
    telling_groups,
)

# Name of the file array with the weights of points.
_WEIGHTS = "weights"
# Endings that names of files have, but hardly those of a dataset.
_OF_FILES = (".nc", ".nc4", ".csv", ".grib", ".h5", ".hdf5", ".mat", ".npy", ".pkl")
_NAME_FIELDS = (
    "Name its fields in two attributes, such as inputs='streamfunction vorticity' and "
    "outputs='sgs_forcing'."
)


def read_samples(
    name: str,
    data_dir: str | None = None,
    num_samples: int | None = None,
    num_axes: tuple[int, int] = (2, 2),
) -> tuple[Samples, Channels]:
    """Read all or `num_samples` samples, with the names of their channels.

    The samples are evenly spaced, unless the builder of the dataset has a function
    `few_shot(examples, number)` to choose them. `num_axes` spatial axes end the fields
    that attributes of a Zarr file name; those before count samples. A feature of a
    dataset with no other axes than those becomes a channel.
    """
    path, split = _file_of(name)
    if path.suffix not in (".npz", ".zarr"):
        if path.exists():
            raise ValueError(
                f"DATA must be {DATA}; received the file {name}.{_way(path)}"
            )
        if path.suffix in _OF_FILES:
            raise FileNotFoundError(
                f"There is no file {path.absolute()}. DATA must be {DATA}."
            )
        return _from_tfds(name, data_dir, num_samples, num_axes)
    _check_exists(path)
    read = _npz(path) if path.suffix == ".npz" else _zarr(path, num_axes)
    x, y, groups, splits, channels = read
    if split:
        x, y, groups = _of_split((x, y, groups), splits, split, path)
    samples = Samples.of((x, y), name)
    if num_samples is not None:
        rows = _spread(len(samples), num_samples, name)
        samples, groups = Samples.of(samples.take(rows)), groups[rows]
    return _grouped(samples, groups), channels


def _way(path: pathlib.Path) -> str:
    """Return how to make DATA of a file that is none."""
    if path.suffix != ".nc":
        return ""
    return (
        " With xarray, write it as .zarr: ds = xarray.open_dataset"
        f"({path.name!r}); ds.assign_attrs(inputs='q u v', outputs='pr').to_zarr"
        f"({path.stem + '.zarr'!r}), with the names of your fields."
    )


def _grouped(samples: Samples, groups: Any) -> Samples:
    return dataclasses.replace(samples, groups=telling_groups(groups))


def _labels(groups: Any, y: Any, name: str | pathlib.Path) -> Any:
    """Return a checked group label for each sample; all equal if `groups` is None."""
    count = np.shape(y)[:1]
    if groups is None or not count:
        return np.zeros(count, int)
    return one_each(f"{GROUPS} of {name}", groups, *count)


def read_weights(name: str) -> Any:
    """Read the weights of the points of a sample from a file; None if it has none."""
    path, _ = _file_of(name)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file[_WEIGHTS] if _WEIGHTS in file.files else None
    if path.suffix == ".zarr":
        zarr = require("zarr", "Zarr files", "'keras-spectral-tl[interchange]'")
        group = zarr.open_group(path, mode="r")
        return _array(group, _WEIGHTS, path) if _WEIGHTS in group.array_keys() else None
    return None


def read_groups(name: str, array: str | None, num_samples: int | None) -> Any:
    """Read a group label for each sample that `read_samples` reads from an npz file.

    Without the name of an array, None is returned: the groups stored with the samples.
    """
    if array is None:
        return None
    path, split = _file_of(name)
    if path.suffix != ".npz":
        raise ValueError(
            f"--groups needs an npz file that holds the array {array!r}; received "
            f"{name}."
        )
    _check_exists(path)
    with np.load(path, allow_pickle=False) as file:
        if array not in file.files:
            raise KeyError(
                f"{path} has no array {array!r} for --groups; it holds "
                f"{', '.join(sorted(file.files))}."
            )
        labels, count = file[array], len(file["y"])
        if labels.shape != (count,):
            raise ValueError(
                f"{array} of {path} must be one label for each of the {count} samples; "
                f"received an array of shape {labels.shape}."
            )
        labels = labels[_is_of(file["split"], split)] if split else labels
    if num_samples is None:
        return labels
    return labels[_spread(len(labels), num_samples, name)]


def _file_of(name: str) -> tuple[pathlib.Path, str]:
    """Split a name FILE@SPLIT into the path of the file and the name of the split."""
    file, _, split = name.rpartition("@") if "@" in name else (name, "", "")
    if pathlib.Path(name).exists():
        file, split = name, ""
    return pathlib.Path(file), split


def _check_exists(path: pathlib.Path) -> None:
    """Raise an error for a missing file that says how to create it."""
    if path.exists():
        return
    made = f"turbulence-data export FLOW {path.name}"
    if path.suffix == ".npz":
        made = f"numpy.savez({path.name!r}, x=inputs, y=outputs), or with {made}"
    raise FileNotFoundError(
        f"There is no file {path.absolute()}. Expected inputs x and outputs y, "
        f"(samples, ..., channels): write it with {made}."
    )


def _of_split(arrays: Any, splits: Any, split: str, path: pathlib.Path) -> Any:
    count = len(arrays[1])
    if splits is not None and np.shape(splits) != (count,):
        raise ValueError(
            f"split of {path} must name the split of each of the {count} samples. "
            f"Received an array of shape {np.shape(splits)}: write the file anew."
        )
    names = [] if splits is None else list(dict.fromkeys(map(str, splits)))
    if split not in names:
        raise KeyError(
            f"{path} has no split {split!r}; it has {', '.join(names) or 'none'}"
            + ("." if names else f": leave @{split} out, or add an array `split`.")
        )
    rows = _is_of(splits, split)
    return keras.tree.map_structure(lambda part: part[rows], arrays)


def _is_of(splits: Any, split: str) -> Any:
    """Return which samples are of a split, whose name may be a number in the file."""
    return np.array([str(name) == split for name in splits])


def _npz(path: pathlib.Path) -> tuple[Any, Any, Any, Any, Channels]:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a whole npz file; it begins with {_beginning(path)!r}. "
            "Copy it anew, with `git lfs pull` if it is a pointer of Git LFS."
        )
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            x = inputs_of(file, file.files, path)
            splits = file["split"] if "split" in file.files else None
            y = file["y"]
            groups = file[GROUPS] if GROUPS in file.files else None
            channels = _channels(_metadata(file))
    except KeyError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise different errors
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path} holds an array of Python objects, such as samples of unequal "
                "shapes. Expected arrays x and y of numbers."
            ) from error
        raise ValueError(f"{path} is not a whole npz file ({error}).") from error
    return x, y, _labels(groups, y, path), splits, channels


def _metadata(file: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what this package wrote; an array of that name may be the user's own."""
    try:
        known = json.loads(str(file["metadata"]))
    except (KeyError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _beginning(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return file.read(24)


def _array(group: Any, name: str, path: pathlib.Path) -> Any:
    """Read an array of a Zarr group; ValueError names the file if it is damaged."""
    try:
        return np.asarray(group[name])
    except Exception as error:  # codecs raise different errors
        raise ValueError(
            f"{name} of {path} cannot be read ({error}). Copy or write it anew."
        ) from error


def _zarr_splits(group: Any, names: Sequence[str], path: pathlib.Path) -> Any:
    """Read the names of splits, or the flags of CF conventions that mean them."""
    if "split" not in names:
        return None
    splits = _array(group, "split", path)
    meanings = str(group["split"].attrs.get("flag_meanings", "")).split()
    if not meanings:
        return splits
    if splits.dtype.kind not in "iu" or {*splits.flat} - {*range(len(meanings))}:
        raise ValueError(
            f"split of {path} must hold flags from 0 to {len(meanings) - 1}, one for "
            f"each of flag_meanings. Received {splits!r:.100}."
        )
    return np.array(meanings)[splits]


def _zarr(
    path: pathlib.Path, num_axes: tuple[int, int]
) -> tuple[Any, Any, Any, Any, Channels]:
    """Read x and y, or the fields named in the attributes inputs and outputs."""
    zarr = require("zarr", "Zarr files", "'keras-spectral-tl[interchange]'")
    try:
        group = zarr.open_group(path, mode="r")
    except Exception as error:
        raise ValueError(f"{path} is not a Zarr group ({error}).") from error
    names, channels = list(group.array_keys()), _channels(group.attrs)
    groups = _array(group, GROUPS, path) if GROUPS in names else None
    splits = _zarr_splits(group, names, path)
    if not channels:
        if "y" not in names:
            raise KeyError(
                f"{path} has no arrays x and y; it holds {', '.join(names)}. "
                f"{_NAME_FIELDS}"
            )
        held = [n for n in names if n in ("x", "y") or n.startswith("x_")]
        arrays = {name: _array(group, name, path) for name in held}
        x, y = inputs_of(arrays, names, path), arrays["y"]
        if "x" in names and 1 in (x.ndim, y.ndim) and len(names) > 2:
            raise ValueError(
                f"x and y of {path} are coordinates, of shape {x.shape} and {y.shape}. "
                f"{_NAME_FIELDS}"
            )
        return x, y, _labels(groups, y, path), splits, {}
    missing = {*channels["x"], *channels["y"]} - set(names)
    if missing:
        raise KeyError(
            f"{path} lacks the field(s) {', '.join(sorted(missing))}, which its "
            f"attributes name; it holds {', '.join(names)}."
        )
    fields = {
        name: _array(group, name, path)
        for name in dict.fromkeys((*channels["x"], *channels["y"]))
    }
    for side in channels.values():
        shapes = {name: fields[name].shape for name in side}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"The fields of {path} must have one shape. Received {shapes}."
            )
    sides = [np.stack([fields[n] for n in side], axis=-1) for side in channels.values()]
    # (trajectory, time, x, y): all axes before those of space count samples.
    x, y = (
        side.reshape(-1, *side.shape[-1 - axes :])
        for side, axes in zip(sides, num_axes, strict=True)
    )
    groups, splits = (_repeated(one, len(sides[1]), len(y)) for one in (groups, splits))
    return x, y, _labels(groups, y, path), splits, channels


def _repeated(labels: Any, num_trajectories: int, count: int) -> Any:
    """Return a label for each sample if there is one for each trajectory."""
    if np.shape(labels) != (num_trajectories,):
        return labels
    return np.repeat(labels, count // len(labels))


def _channels(attributes: Mapping[str, Any]) -> Channels:
    if not {"inputs", "outputs"} <= set(attributes):
        return {}
    named = {"x": attributes["inputs"], "y": attributes["outputs"]}
    return {
        side: names.split() if isinstance(names, str) else [str(one) for one in names]
        for side, names in named.items()
    }


def _from_tfds(
    name: str, data_dir: str | None, num_samples: int | None, num_axes: tuple[int, int]
) -> tuple[Samples, Channels]:
    with quiet():
        import tensorflow_datasets as tfds

    dataset, _, split = name.partition("@")
    builder = _builder(dataset, data_dir)
    sides = builder.info.supervised_keys
    if sides is None:
        raise ValueError(f"{dataset} has no supervised keys: what is x, what is y?")
    if not builder.is_prepared():
        raise FileNotFoundError(
            f"{builder.info.full_name} is not in {builder.data_dir}. Make it first, or "
            "say with --data-dir where it is."
        )
    split = split or "train"
    if split not in builder.info.splits:
        raise KeyError(
            f"{dataset} has no split {split!r}; it has "
            f"{', '.join(builder.info.splits)}."
        )
    number = builder.info.splits[split].num_examples
    rows = None if num_samples is None else _spread(number, num_samples, name)
    with quiet():
        examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
    if rows is not None:
        spread = [examples[row] for row in rows]
        few_shot = getattr(builder, "few_shot", None)
        examples = few_shot(examples, num_samples) if few_shot else spread
    # TFDS sorts keys by name: a builder that says its order is believed.
    sides = getattr(builder, "channels", sides)
    fields = {side: _names(keys) for side, keys in zip("xy", sides, strict=False)}
    pair = tuple(
        _stacked(examples, names, axes)
        for names, axes in zip(fields.values(), num_axes, strict=True)
    )
    samples, groups = Samples.of(pair, name), None
    # An array for each example has another meaning, such as a path through space.
    if np.ndim(examples[0].get(GROUPS, ())) == 0:
        groups = [example[GROUPS] for example in examples]
    return _grouped(samples, _labels(groups, samples.y, name)), fields


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    package = name.partition("/")[0].partition(":")[0]
    if package.isidentifier() and package not in tfds.list_builders():
        try:
            importlib.import_module(package)  # registers its datasets
        except ImportError as error:
            raise ValueError(
                f"DATA must be {DATA}; received {name!r}, and TFDS knows no dataset "
                f"{package!r}."
            ) from error
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"DATA must be {DATA}; received {name!r}, which TFDS does not know."
        ) from error


def _names(keys: Any) -> list[str]:
    if isinstance(keys, dict):
        return [str(key) for key in keys.values()]
    return [str(key) for key in keys] if isinstance(keys, tuple | list) else [str(keys)]


def _stacked(examples: Sequence[Any], names: Sequence[str], num_axes: int) -> Any:
    """Stack features as channels; a single feature keeps its own channels."""
    parts = [np.stack([example[name] for example in examples]) for name in names]
    if len(parts) == 1 and parts[0].ndim != num_axes + 1:
        return parts[0]
    return np.stack(parts, axis=-1)


def _spread(count: int, wanted: int, name: str) -> Any:
    if wanted > count:
        raise ValueError(
            f"--num-samples {wanted} is more than the {count} samples of {name}."
        )
    return np.linspace(0, count - 1, wanted).round().astype(int)
