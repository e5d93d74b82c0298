"""Networks and samples named on the command line: options, reading and checks.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
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


def _number(
    kind: Callable[[str], Any], fits: Callable[[Any], bool], expected: str
) -> Callable[[str], Any]:
    """Return an argument type: numbers of a kind that meet a condition."""

    def number(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if fits(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}; received {text!r}")

    return number


def whole(at_least: int) -> Callable[[str], int]:
    """Return an argument type: whole numbers of at least `at_least`."""
    expected = f"a whole number of at least {at_least}"
    return _number(int, lambda value: value >= at_least, expected)


positive = _number(float, lambda value: 0.0 < value < math.inf, "a number above 0")
fraction = _number(float, lambda value: 0.0 <= value <= 1.0, "a number from 0 to 1")


class _Renamed(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error(f"{self.option_strings[0]} is now spelled {self.const}")


_RECIPE: dict[str, tuple[Callable[[str], Any], Any]] = {
    "epochs": (whole(1), 100),
    "batch_size": (whole(1), 32),
    "learning_rate": (positive, 0.001),
}


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the network and the modules of its custom layers."""
    parser.add_argument("model", metavar="MODEL", help="a network, a .keras file")
    parser.add_argument(
        "--import",
        dest="modules",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="your modules to import first, which register custom layers with "
        "@keras.saving.register_keras_serializable()",
    )


def add_systems(parser: argparse.ArgumentParser, base_for: str = "") -> None:
    """Add the arguments for the samples of both systems.

    Base samples are optional if `base_for` says what they are used for.
    """
    parser.add_argument(
        "--target", required=True, metavar="DATA", help=f"target samples: {DATA}"
    )
    what = f"base samples, {base_for}" if base_for else "base samples"
    parser.add_argument("--base", required=not base_for, metavar="DATA", help=what)


def add_reading(
    parser: argparse.ArgumentParser, of: str = "target", base: bool = True
) -> None:
    """Add the options for reading samples."""
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


def add_out(parser: argparse.ArgumentParser, what: str, required: bool = False) -> None:
    """Add the option for the folder that a command writes to."""
    parser.add_argument(
        "--out", required=required, metavar="RUN_DIR", help=f"folder for {what}"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what libraries write to stderr while they start.

    TensorFlow logs its processor and missing GPUs from C++, which Python settings do
    not affect. If the block fails, all suppressed text is written.
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
    """Load a `.keras` file in Keras' safe mode, without its optimizer and loss."""
    file = pathlib.Path(path)
    if file.suffix != ".keras":
        raise ValueError(
            f"MODEL must be a .keras file, as model.save('name.keras') writes it; "
            f"received {path}. Other formats may hold code and are not read."
        )
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {path}. MODEL is a network that was trained on the base "
            "system, saved with model.save('name.keras')."
        )
    _check_archive(file)
    with quiet():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))  # starts the backend
        # Registers the layers, losses and metrics of this package.
        from keras_spectral_tl import freezing, layers, losses, metrics  # noqa: F401
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever code of a user may raise
            raise ValueError(
                f"--import {name} failed ({type(error).__name__}: {error}). Expected a "
                "module that is installed or in the working directory."
            ) from error
    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(
            f"{path} could not be loaded in Keras' safe mode. {_why_not(str(error))}"
        ) from error
    _check_weights(model, path)
    return model


def _why_not(message: str) -> str:
    """Return why Keras cannot load a model, first any class that is missing."""
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
        damaged = str(error)
    if damaged is not None:
        raise ValueError(
            f"{file} is not a whole .keras file ({damaged}). Copy or save it anew."
        )


def _check_weights(model: keras.Model, path: str) -> None:
    import keras
    import numpy as np

    floats = [v for v in model.weights if "float" in str(v.dtype)]
    bad = [
        v.path
        for v in floats
        if not np.isfinite(keras.ops.convert_to_numpy(v).astype("float32")).all()
    ]
    if bad:
        raise ValueError(
            f"{path} holds NaN or infinite weights in {', '.join(bad)}: its training "
            "diverged. Take an earlier state of the network."
        )


def add_recipe(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add the options of a retraining; `default` names what overrides the defaults."""
    for name, (number, value) in _RECIPE.items():
        what = "of Adam; " if number is positive else ""
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=number,
            help=f"{what}default: {default}{value}",
        )


def numbers_of(
    options: argparse.Namespace,
    given: Mapping[str, Any] | None = None,
    num_samples: int = 0,
) -> dict[str, Any]:
    """Return epochs, batch size, learning rate and, if given, steps.

    Options on the command line override `given`, which overrides the defaults. Given
    steps are kept, in as many epochs of `num_samples` samples, unless epochs are given.
    """
    found = {name: default for name, (_, default) in _RECIPE.items()}
    found |= given or {}
    chosen = {name: getattr(options, name) for name in _RECIPE}
    found |= {name: value for name, value in chosen.items() if value is not None}
    if "steps" in found:
        an_epoch = -(-num_samples // found["batch_size"])
        if chosen["epochs"] is None:
            found["epochs"] = -(-found["steps"] // an_epoch)
        else:
            found["steps"] = found["epochs"] * an_epoch
    return found


def recipe_of(numbers: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the arguments of `retrain` for the numbers of `numbers_of`.

    If steps are given, the learning rate decays as a cosine over them. If a pull is
    given, trained weights are pulled to their initial values.
    """
    import keras

    rate = numbers["learning_rate"]
    if "steps" in numbers:
        rate = keras.optimizers.schedules.CosineDecay(rate, numbers["steps"])
    found = {
        "optimizer": keras.optimizers.Adam(rate, epsilon=numbers.get("epsilon", 1e-7)),
        "epochs": numbers["epochs"],
        "batch_size": numbers["batch_size"],
        "seed": seed,
    }
    return found | ({"pull": numbers["pull"]} if numbers.get("pull") else {})


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """Samples of one system in their own units, and their normalization.

    Attributes:
        source: Where the samples come from.
        raw: The samples as they were read.
        statistics: Normalization of the network's inputs and outputs; None for none.
        normalized_by: The normalization in words.
        channels: "x" and "y" to the names of their channels, if known.
    """

    source: str
    raw: Samples
    statistics: ChannelStatistics | None
    normalized_by: str
    channels: Channels

    @property
    def data(self) -> tuple[Any, Any]:
        """Normalized inputs and outputs for the network, as plain arrays."""
        pair = self.raw.x, self.raw.y
        return pair if self.statistics is None else self.statistics.normalize(*pair)

    @property
    def samples(self) -> Samples:
        """Normalized samples with their groups, for scores that hold some out."""
        from keras_spectral_tl.transfer import Samples

        return dataclasses.replace(Samples.of(self.data), groups=self.raw.groups)

    @property
    def loss(self) -> dict[str, Any]:
        """The argument `loss` of a retraining if points have weights, else nothing."""
        from keras_spectral_tl.losses import WeightedMeanSquaredError

        weights = self.raw.weights
        return {} if weights is None else {"loss": WeightedMeanSquaredError(weights)}


def read_systems(model: keras.Model, options: argparse.Namespace) -> dict[str, System]:
    """Read and check the samples of all systems that the options name."""
    from keras_spectral_tl.cli._samples import read_samples, read_weights
    from keras_spectral_tl.losses import WeightedMeanSquaredError
    from keras_spectral_tl.transfer import ChannelStatistics
    from keras_spectral_tl.transfer._options import weighted
    from keras_spectral_tl.transfer._retrain import check_fit
    from keras_spectral_tl.transfer._statistics import data_format_of_samples

    roles = "base", "target", "test", "data"
    named = {role: getattr(options, role, None) for role in roles}
    read: dict[str, tuple[Samples, Channels]] = {}
    for role, name in named.items():
        if name is not None:
            few = options.num_samples if role in ("target", "data") else None
            read[role] = read_samples(name, options.data_dir, few, _num_axes(model))
            _check_inputs(model, read[role][0], name)
            if role != "data":
                check_fit(model, read[role][0], getattr(options, "loss", None))
    measured = dict(read)  # what statistics are measured of
    weights = read_weights(str(named["target"])) if "target" in read else None
    if weights is not None:
        loss = WeightedMeanSquaredError(weights)
        read = {role: (weighted(raw, loss), c) for role, (raw, c) in read.items()}
        measured["target"] = read["target"]  # the base's are those of its training
    _refuse_shared(read)
    if options.normalize == "base" and "base" not in read:
        raise ValueError("--normalize base needs the base samples: add --base DATA.")
    systems = {}
    for role, (raw, channels) in read.items():
        owner = "target" if role == "test" else role
        owner = "base" if options.normalize == "base" else owner
        statistics, words = None, "nothing"
        if options.normalize != "none":
            if isinstance(read[owner][0].x, dict):
                raise ValueError(
                    "Several inputs are not normalized here: write them as the network "
                    "takes them, and add --normalize none."
                )
            raw_of = measured[owner][0]
            layout = data_format_of_samples(model)
            statistics = ChannelStatistics.of(raw_of, str(named[owner]), layout)
            words = "its own samples" if owner == role else f"the {owner} samples"
        systems[role] = System(str(named[role]), raw, statistics, words, channels)
    return systems


def _num_axes(model: keras.Model) -> tuple[int, int]:
    """Return how many spatial axes x and y of a network have; 2 if unknown."""

    def of(side: str) -> int:
        shapes = [tensor.shape for tensor in getattr(model, side, None) or ()]
        return max(len(shapes[0]) - 2, 0) if shapes else 2

    return of("inputs"), of("outputs")


def _refuse_shared(read: Mapping[str, tuple[Samples, Channels]]) -> None:
    if not {"target", "test"} <= read.keys():
        return
    shared = read["target"][0].shared_with(read["test"][0])
    if shared:
        raise ValueError(
            f"--target and --test share {shared} samples, by their SHA-256: a test on "
            "samples trained on says nothing. Choose splits, DATA@train and DATA@test, "
            "or other files."
        )


def _check_inputs(model: keras.Model, samples: Samples, name: str) -> None:
    from keras_spectral_tl._graph.calls import misfit_of_inputs

    misfit = misfit_of_inputs(model, samples.x)
    if misfit:
        known = {tensor.name for tensor in getattr(model, "inputs", None) or ()}
        arrays = ", ".join(f"x_{one}" for one in sorted(known))
        mend = f" Write them as {arrays}." if len(known) > 1 else ""
        raise ValueError(f"{name}: {misfit}{mend}")
