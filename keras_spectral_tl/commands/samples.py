"""Samples named on the command line: a TFDS dataset, or an npz or Zarr file."""

import dataclasses
import importlib
import pathlib
from typing import Any

import numpy as np

from keras_spectral_tl.commands.options import DATA
from keras_spectral_tl.transfer._normalization import ChannelStatistics
from keras_spectral_tl.transfer._samples import Samples


@dataclasses.dataclass(frozen=True, eq=False)
class NamedSamples:
    """Checked samples and where they come from."""

    data: Samples
    source: str

    def normalized(self, statistics: ChannelStatistics | None) -> "NamedSamples":
        """These samples, normalized."""
        if statistics is None:
            return self
        return dataclasses.replace(self, data=self.data.normalized(statistics))


def read_samples(
    name: str, data_dir: str | None = None, num_samples: int | None = None
) -> NamedSamples:
    """Read samples, all of them or a few.

    A few are spread evenly, unless the builder of the dataset has a function
    `few_shot(examples, number)` which chooses them.

    Raises:
        FileNotFoundError, KeyError, ValueError: If there are no such samples, or not
            enough; the message says what was found.
    """
    path = pathlib.Path(name)
    if path.suffix in (".npz", ".zarr"):
        x, y = _from_file(path)
    elif path.exists():
        raise ValueError(f"DATA must be {DATA}; received the file {name}.")
    else:
        return NamedSamples(_from_tfds(name, data_dir, num_samples), name)
    data = Samples.of((x, y))
    if num_samples is not None:
        rows = _spread(len(data), num_samples, name)
        data = Samples.of(data.take(rows))
    return NamedSamples(data, name)


def _from_file(path: pathlib.Path) -> tuple[Any, Any]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix == ".npz":
        return _from_npz(path)
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            f"{path} needs zarr, which is not installed: "
            "pip install 'keras-spectral-tl[interchange]'."
        ) from error
    try:
        group = zarr.open_group(path, mode="r")
    except Exception as error:
        raise ValueError(f"{path} is not a Zarr group ({error}).") from error
    _check_names(path, list(group.array_keys()))
    x, y = (np.asarray(group[name]) for name in "xy")
    return x, y


def _from_npz(path: pathlib.Path) -> tuple[Any, Any]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            _check_names(path, file.files)
            return file["x"], file["y"]
    except KeyError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy have errors of their own
        raise ValueError(f"{path} is not a whole npz file ({error}).") from error


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    missing = sorted({"x", "y"} - set(names))
    if missing:
        raise KeyError(
            f"{path} lacks the array(s) {', '.join(missing)}; it holds "
            f"{', '.join(sorted(names)) or 'none'}. Write it with "
            "numpy.savez(path, x=inputs, y=outputs)."
        )


def _from_tfds(name: str, data_dir: str | None, num_samples: int | None) -> Samples:
    import tensorflow_datasets as tfds

    dataset, _, split = name.partition("@")
    builder = _builder(dataset, data_dir)
    if builder.info.supervised_keys is None:
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
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    if num_samples is None:
        chosen = list(examples)
    elif hasattr(builder, "few_shot") and num_samples <= number:
        chosen = builder.few_shot(examples, num_samples)
    else:
        rows = set(_spread(number, num_samples, name).tolist())
        chosen = [one for place, one in enumerate(examples) if place in rows]
    sides = builder.info.supervised_keys
    return Samples.of(tuple(_fields(chosen, keys) for keys in sides[:2]))


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


def _fields(examples: list[Any], keys: Any) -> Any:
    """Features as channels, in their order; one feature keeps channels of its own."""
    if isinstance(keys, dict):
        keys = tuple(keys.values())
    if isinstance(keys, tuple | list):
        parts = [np.stack([example[key] for example in examples]) for key in keys]
        return np.stack(parts, axis=-1)
    values = np.stack([example[keys] for example in examples])
    return values[..., None] if values.ndim == 3 else values


def _spread(count: int, wanted: int, name: str) -> Any:
    if wanted > count:
        raise ValueError(
            f"--num-samples {wanted} is more than the {count} samples of {name}."
        )
    return np.linspace(0, count - 1, wanted).round().astype(int)
