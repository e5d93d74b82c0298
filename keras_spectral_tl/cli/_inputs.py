"""Networks and samples named on the command line: options, reading and checks.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import math
import os
import pathlib
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from keras_spectral_tl.transfer import ChannelStatistics, Samples

DATA = (
    "a TFDS dataset, NAME/CONFIG, or an .npz or .zarr file, each with @SPLIT for one "
    "of its splits (a dataset's default: train, a file's: all)"
)
Channels = Mapping[str, Sequence[str]]
_OWNERS = {"test": "target"}  # whose statistics normalize a system, if not its own


def whole(at_least: int) -> Callable[[str], int]:
    """Return a type of argument: whole numbers from `at_least` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = at_least - 1
        if value < at_least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {at_least}; received {text!r}"
            )
        return value

    return number


def positive(text: str) -> float:
    """Return a finite number above 0, as a type of argument."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(
            f"expected a number above 0; received {text!r}"
        )
    return value


class _Renamed(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error(f"{self.option_strings[0]} is now spelled {self.const}")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the network, and where its own layers are registered."""
    parser.add_argument("model", metavar="MODEL", help="a network, a .keras file")
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules of yours to import first: they register custom layers with "
        "@keras.saving.register_keras_serializable()",
    )


def add_reading(
    parser: argparse.ArgumentParser, of: str = "target", base: bool = True
) -> None:
    """Add the options of how samples are read.

    Args:
        parser: Of the command.
        of: The samples that `--num-samples` counts.
        base: Whether the command knows base samples to normalize by.
    """
    parser.add_argument(
        "--num-samples",
        type=whole(1),
        metavar="N",
        help=f"use N {of} samples, the first of a dataset's few-shot order, or spread "
        "evenly over a file (default: all)",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where TFDS keeps data (default: $TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--normalize",
        choices=("own", "base", "none") if base else ("own", "none"),
        default="own",
        help="own (default): each system by the mean and standard deviation of its own "
        "samples in use, test samples by those of the target; "
        + ("base: all by those of the base samples; " if base else "")
        + "none: the values are as the network takes them",
    )
    parser.add_argument(
        "--normalise",
        action=_Renamed,
        nargs="?",
        const="--normalize",
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of all randomness")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what libraries write to stderr while they start.

    TensorFlow logs its processor and missing GPUs from C++, past every setting of
    Python. If the block fails, all of it is written after all.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if failed:
                held.seek(0)
                os.write(2, held.read())


def read_model(path: str, modules: Sequence[str] = ()) -> Any:
    """Load a `.keras` file in Keras' safe mode, without its optimizer and loss.

    Args:
        path: The file.
        modules: Names of modules to import first, from the working directory too.

    Raises:
        FileNotFoundError: If there is none.
        ImportError: If a module cannot be imported.
        ValueError: If it is not a `.keras` file, is damaged, has weights that are not
            finite, or needs code of its own (a Lambda layer, an unregistered class).
    """
    file = pathlib.Path(path)
    if file.suffix != ".keras":
        raise ValueError(
            f"MODEL must be a .keras file, as model.save('name.keras') writes it; "
            f"received {path}. Other formats may hold code and are not read."
        )
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    _check_archive(file)
    with quiet():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))  # starts the backend
        # Registers the layers, losses and metrics of this package.
        from keras_spectral_tl import freezing, layers, losses, metrics  # noqa: F401
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        importlib.import_module(name)
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(
            f"{path} could not be loaded in Keras' safe mode. {_why_not(str(error))}"
        ) from error
    _check_weights(model, path)
    return model


def _why_not(message: str) -> str:
    """Return what Keras says of a model that it cannot load, the class first."""
    unknown = re.search(r"Could not locate (class|function) '([^']+)'", message)
    if unknown is not None:
        return (
            f"It needs the {unknown[1]} {unknown[2]!r}, which is not registered: add "
            "--import MODULE, the module that defines it under "
            "@keras.saving.register_keras_serializable()."
        )
    reason = message.split("Exception encountered:")[-1]
    return " ".join(reason.split())[:300]


def _check_archive(file: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        raise ValueError(
            f"{file} is not a whole .keras file ({error}). Copy or save it anew."
        ) from error
    if damaged is not None:
        raise ValueError(f"{file} is damaged: {damaged} has another checksum.")


def _check_weights(model: keras.Model, path: str) -> None:
    import keras
    import numpy as np

    values = {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}
    bad = [
        name
        for name, array in values.items()
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if bad:
        raise ValueError(
            f"{path} holds NaN or infinite weights in {', '.join(bad)}: its training "
            "diverged. Take an earlier state of the network."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """Samples of one system in their own units, and what normalizes them.

    Attributes:
        source: Where they come from.
        raw: The samples as they were read.
        statistics: What the network's inputs and outputs are normalized by; None
            leaves the values as they are.
        normalized_by: The same in words.
        channels: "x" and "y" to the names of their channels, where they are known.
    """

    source: str
    raw: Samples
    statistics: ChannelStatistics | None
    normalized_by: str
    channels: Channels

    @property
    def data(self) -> tuple[Any, Any]:
        """Inputs and outputs as the network takes them, as plain arrays."""
        pair = self.raw.x, self.raw.y
        return pair if self.statistics is None else self.statistics.normalize(*pair)


def read_systems(model: keras.Model, options: argparse.Namespace) -> dict[str, System]:
    """Read and check the samples of all systems that the options name.

    Args:
        model: The network that is to take them.
        options: With `base`, `target`, `test` or `data` as names of samples, and the
            options of `add_reading`.

    Returns:
        The same roles to their systems; those without samples are left out.

    Raises:
        FileNotFoundError, KeyError, ValueError: If there are no such samples, not
            enough of them, or of another shape than the network takes; if target and
            test share samples; if base samples are needed and not given.
    """
    from keras_spectral_tl.transfer import ChannelStatistics
    from keras_spectral_tl.transfer.retraining import check_fit

    named = {role: getattr(options, role, None) for role in ("base", "target", "test")}
    named["data"] = getattr(options, "data", None)
    read: dict[str, tuple[Samples, Channels]] = {}
    for role, name in named.items():
        if name is not None:
            few = options.num_samples if role in ("target", "data") else None
            read[role] = read_samples(name, options.data_dir, few)
            _check_inputs(model, read[role][0], name)
            if role != "data":
                check_fit(model, read[role][0])
    _refuse_shared(read)
    if options.normalize == "base" and "base" not in read:
        raise ValueError("--normalize base needs the base samples: add --base DATA.")
    systems = {}
    for role, (raw, channels) in read.items():
        owner = "base" if options.normalize == "base" else _OWNERS.get(role, role)
        statistics, words = None, "nothing"
        if options.normalize != "none":
            owner = owner if owner in read else role
            statistics = ChannelStatistics.of(read[owner][0], source=str(named[owner]))
            words = "its own samples" if owner == role else f"the {owner} samples"
        systems[role] = System(str(named[role]), raw, statistics, words, channels)
    return systems


def _refuse_shared(read: Mapping[str, tuple[Samples, Channels]]) -> None:
    from keras_spectral_tl._files import sha256_of_arrays

    if not {"target", "test"} <= read.keys():
        return
    target, test = (
        [sha256_of_arrays((x, y)) for x, y in zip(samples.x, samples.y, strict=True)]
        for samples in (read["target"][0], read["test"][0])
    )
    shared = len(set(target) & set(test))
    if shared:
        raise ValueError(
            f"--target and --test share {shared} samples, by their SHA-256: a test on "
            "samples trained on says nothing. Choose splits, DATA@train and DATA@test, "
            "or other files."
        )


def _check_inputs(model: keras.Model, samples: Samples, name: str) -> None:
    wanted = getattr(model, "input_shape", None)
    given = samples.x.shape
    if not isinstance(wanted, tuple):  # several inputs, or known by calling only
        return
    fits = len(wanted) == len(given) and all(
        size in (None, number)
        for size, number in zip(wanted[1:], given[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"The network takes inputs of shape {wanted[1:]}; x of {name} has samples "
            f"of shape {given[1:]}."
        )


def read_samples(
    name: str, data_dir: str | None = None, num_samples: int | None = None
) -> tuple[Samples, Channels]:
    """Read samples, all of them or a few, with the names of their channels.

    A few are spread evenly, unless the builder of the dataset has a function
    `few_shot(examples, number)` which chooses them.

    Raises:
        FileNotFoundError, KeyError, ValueError: If there are no such samples, or not
            enough; the message says what was found.
    """
    from keras_spectral_tl.transfer import Samples

    file, _, split = name.rpartition("@") if "@" in name else (name, "", "")
    if pathlib.Path(name).exists():
        file, split = name, ""
    path = pathlib.Path(file)
    if path.suffix not in (".npz", ".zarr"):
        if path.exists():
            raise ValueError(f"DATA must be {DATA}; received the file {name}.")
        return _from_tfds(name, data_dir, num_samples)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    x, y, splits, channels = (_npz if path.suffix == ".npz" else _zarr)(path)
    if split:
        x, y = _of_split(x, y, splits, split, path)
    samples = Samples.of((x, y))
    if num_samples is not None:
        samples = Samples.of(samples.take(_spread(len(samples), num_samples, name)))
    return samples, channels


def _of_split(x: Any, y: Any, splits: Any, split: str, path: pathlib.Path) -> Any:
    names = [] if splits is None else list(dict.fromkeys(map(str, splits)))
    if split not in names:
        raise KeyError(
            f"{path} has no split {split!r}; it has {', '.join(names) or 'none'}."
        )
    return x[splits == split], y[splits == split]


def _npz(path: pathlib.Path) -> tuple[Any, Any, Any, Channels]:
    import numpy as np

    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            _check_names(path, file.files)
            splits = file["split"] if "split" in file.files else None
            known = json.loads(str(file["metadata"])) if "metadata" in file else {}
            return file["x"], file["y"], splits, _channels(known)
    except KeyError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy have errors of their own
        raise ValueError(f"{path} is not a whole npz file ({error}).") from error


def _zarr(path: pathlib.Path) -> tuple[Any, Any, Any, Channels]:
    """Read arrays x and y, or fields that the attributes call inputs and outputs."""
    import numpy as np

    from keras_spectral_tl._checks import require

    zarr = require("zarr", "Zarr files", "'keras-spectral-tl[interchange]'")
    try:
        group = zarr.open_group(path, mode="r")
    except Exception as error:
        raise ValueError(f"{path} is not a Zarr group ({error}).") from error
    names, channels = list(group.array_keys()), _channels(group.attrs)
    if not channels:
        _check_names(path, names)
        x, y = (np.asarray(group[name]) for name in "xy")
        if 1 in (x.ndim, y.ndim) and len(names) > 2:
            raise ValueError(
                f"x and y of {path} are coordinates, of shape {x.shape} and {y.shape}. "
                "Name its fields in two attributes, such as inputs='streamfunction "
                "vorticity' and outputs='sgs_forcing'."
            )
        return x, y, None, {}
    missing = {*channels["x"], *channels["y"]} - set(names)
    if missing:
        raise KeyError(
            f"{path} lacks the field(s) {', '.join(sorted(missing))}, which its "
            f"attributes name; it holds {', '.join(names)}."
        )
    sides = [
        # (trajectory, time, x, y): all leading axes count samples.
        np.stack([np.asarray(group[f]) for f in fields], axis=-1)
        for fields in channels.values()
    ]
    x, y = (side.reshape(-1, *side.shape[-3:]) for side in sides)
    splits = None
    if "split" in names:  # a flag of each trajectory
        meanings = str(group["split"].attrs["flag_meanings"]).split()
        flags = np.asarray(group["split"])
        splits = np.repeat(np.array(meanings)[flags], len(x) // len(flags))
    return x, y, splits, channels


def _channels(attributes: Mapping[str, Any]) -> Channels:
    if not {"inputs", "outputs"} <= set(attributes):
        return {}
    sides = zip("xy", ("inputs", "outputs"), strict=True)
    return {side: str(attributes[name]).split() for side, name in sides}


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    missing = sorted({"x", "y"} - set(names))
    if missing:
        raise KeyError(
            f"{path} lacks the array(s) {', '.join(missing)}; it holds "
            f"{', '.join(sorted(names)) or 'none'}. Write it with "
            "numpy.savez(path, x=inputs, y=outputs)."
        )


def _from_tfds(
    name: str, data_dir: str | None, num_samples: int | None
) -> tuple[Samples, Channels]:
    with quiet():
        import tensorflow_datasets as tfds

    from keras_spectral_tl.transfer import Samples

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
    with quiet():
        examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
    if num_samples is not None and num_samples <= number:
        if hasattr(builder, "few_shot"):
            examples = builder.few_shot(examples, num_samples)
        else:
            examples = [examples[i] for i in _spread(number, num_samples, name)]
    elif num_samples is not None:
        _spread(number, num_samples, name)
    fields = {side: _names(keys) for side, keys in zip("xy", sides, strict=False)}
    pair = tuple(_stacked(examples, names) for names in fields.values())
    return Samples.of(pair), fields


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


def _stacked(examples: Sequence[Any], names: Sequence[str]) -> Any:
    """Return features as channels; a single one keeps channels of its own."""
    import numpy as np

    parts = [np.stack([example[name] for example in examples]) for name in names]
    if len(parts) == 1 and parts[0].ndim != 3:
        return parts[0]
    return np.stack(parts, axis=-1)


def _spread(count: int, wanted: int, name: str) -> Any:
    import numpy as np

    if wanted > count:
        raise ValueError(
            f"--num-samples {wanted} is more than the {count} samples of {name}."
        )
    return np.linspace(0, count - 1, wanted).round().astype(int)
