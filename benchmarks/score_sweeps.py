"""Base networks, target samples and measured sweeps of the settings, kept on disk."""

import argparse
import fcntl
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow_datasets as tfds
from score_settings import BASE_EPOCHS, BATCH_SIZE, FLOWS, NUM_BASE, STEPS, Setting

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl.transfer import baselines

Arrays = tuple[np.ndarray, np.ndarray]
CONTROLS = ("unchanged", "gain_only", "all")
OTHER_ORDER = 1000


class Workshop:
    """Makes what a setting needs, once: data, base networks, sweeps.

    Args:
        data_dir: directory of the datasets; missing ones are made.
        out: directory of base networks and fields.
    """

    def __init__(self, data_dir: Path, out: Path) -> None:
        self.data_dir, self.out = data_dir, out
        out.mkdir(parents=True, exist_ok=True)

    def fields(self, flow: str) -> dict[str, np.ndarray]:
        """Physical fields: train in the nested few-shot order, and test."""
        path = self.out / f"{flow}.npz"
        with _made_once(path) as missing:
            if missing:
                write_arrays(path, **self._load(flow))
        with np.load(path) as file:
            return dict(file)

    def _load(self, flow: str) -> dict[str, np.ndarray]:
        train, test = (
            list(tfds.as_numpy(split))
            for split in tfds.load(
                f"turbulence_data/{FLOWS[flow]}",
                split=["train", "test"],
                data_dir=str(self.data_dir),
            )
        )
        x, y = turbulence_data.to_arrays(turbulence_data.few_shot(train, len(train)))
        test_x, test_y = turbulence_data.to_arrays(test)
        return {"x": x, "y": y, "test_x": test_x, "test_y": test_y}

    def base(self, flow: str, seed: int) -> tuple[keras.Model, Arrays, Any]:
        """The base network, its normalized train samples, and their normalization."""
        fields = self.fields(flow)
        x, y = fields["x"][:NUM_BASE], fields["y"][:NUM_BASE]
        normalization = turbulence_data.Normalization.from_arrays(x, y)
        data = normalization.normalize(x, y)
        path = self.out / f"{flow}-seed{seed}.weights.npz"
        model = kst.build_sgs_cnn(x.shape[1:], num_layers=6, num_filters=16)
        with _made_once(path) as missing:
            if missing:
                trained = train_base(data, seed)
                write_arrays(
                    path, **{str(i): w for i, w in enumerate(trained.get_weights())}
                )
        with np.load(path) as file:
            model.set_weights([file[str(i)] for i in range(len(file.files))])
        return model, data, normalization

    def target(
        self, setting: Setting, base_normalization: Any
    ) -> tuple[Arrays, Arrays]:
        """Normalized few samples and test samples of the target.

        The seed says where in the nested order the few samples start: each starts 67
        samples further, cyclically. Of 200 samples, seed 3 has those of seed 0 but one.
        """
        fields = self.fields(setting.target)
        order = np.roll(np.arange(len(fields["x"])), -67 * setting.seed)
        few = order[: setting.num_target]
        x, y = fields["x"][few], fields["y"][few]
        normalization = base_normalization
        if setting.normalization == "own":
            normalization = turbulence_data.Normalization.from_arrays(x, y)
        return (
            normalization.normalize(x, y),
            normalization.normalize(fields["test_x"], fields["test_y"]),
        )

    def repeated(self, setting: Setting) -> dict[str, float]:
        """CC of every layer, retrained once more: the samples in another order."""
        model, _, normalization = self.base(setting.base, setting.seed)
        target, test = self.target(setting, normalization)
        options = {**retrain_options(setting), "seed": setting.seed + OTHER_ORDER}
        return dict(kst.oracle_sweep(model, target, test, **options).cc)

    def sweep(self, setting: Setting) -> dict[str, Any]:
        """Retrains every layer alone, and the controls; tests all of them."""
        model, _, normalization = self.base(setting.base, setting.seed)
        target, test = self.target(setting, normalization)
        options = retrain_options(setting)
        rows = kst.oracle_sweep(model, target, test, **options).rows
        include = CONTROLS if setting.seed == 0 else CONTROLS[:2]
        controls = baselines(model, target, test, include=include, **options).rows
        return {
            "layers": {row["layer"]: _figures(row) for row in rows},
            "controls": {row["layer"]: _figures(row) for row in controls},
            "parameters": {row["layer"]: row["num_parameters"] for row in rows},
        }


def opened(description: str, out: str) -> tuple[Workshop, Path]:
    """The workshop and the folder of results that the command line names."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path(out))
    arguments = parser.parse_args()
    return Workshop(arguments.data, arguments.out), arguments.out


def retrain_options(setting: Setting) -> dict[str, Any]:
    """How each layer is retrained: `STEPS` steps of Adam, the rate falling to 0."""
    batch = min(BATCH_SIZE, setting.num_target)
    epochs = -(-STEPS // (setting.num_target // batch))
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, STEPS)
    return {
        "optimizer": keras.optimizers.Adam(schedule),
        "epochs": epochs,
        "batch_size": batch,
        "seed": setting.seed,
    }


def train_base(data: Arrays, seed: int) -> keras.Model:
    """Plain Keras: compile and fit."""
    keras.utils.set_random_seed(seed)
    model = kst.build_sgs_cnn(data[0].shape[1:], num_layers=6, num_filters=16)
    steps = BASE_EPOCHS * -(-len(data[0]) // 8)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss="mse")
    model.fit(*data, batch_size=8, epochs=BASE_EPOCHS, verbose=0)
    return model


def _figures(row: Any) -> dict[str, float]:
    return {name: float(row[name]) for name in ("cc", "relative_rmse") if name in row}


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes an npz file, whole or not at all."""
    partial = path.with_name(path.name + f".{os.getpid()}.partial.npz")
    np.savez(partial, **arrays)
    partial.rename(path)


def gathered(
    kept: Path, tasks: Iterable[tuple[str, Callable[[], Any]]]
) -> dict[str, Any]:
    """Returns what is kept of tasks by their labels; makes and keeps what is not."""
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for label, make in tasks:
        if label not in found:
            found[label] = make()
            write_json(kept, found)
            print(label, flush=True)
    return found


def kept_parser(description: str | None, kept: Path) -> argparse.ArgumentParser:
    """Returns the options of a bench that keeps its results, for `gathered`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kept", type=Path, default=kept)
    parser.add_argument("--table", action="store_true", help="print the tables only")
    return parser


def study_parser(description: str | None, kept: Path) -> argparse.ArgumentParser:
    """Returns the same with the folders of `examples/reproduce.py`."""
    parser = kept_parser(description, kept)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"))
    return parser


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all; what is not a number becomes null."""
    partial = path.with_name(path.name + f".{os.getpid()}.partial")
    text = json.dumps(_with_nulls(content), indent=1, allow_nan=False)
    partial.write_text(text + "\n")
    partial.rename(path)


def _with_nulls(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_nulls(value) for key, value in content.items()}
    if isinstance(content, float) and math.isnan(content):
        return None
    return content


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or {} where there is no file."""

    def with_numbers(found: dict[str, Any]) -> dict[str, Any]:
        return {k: math.nan if v is None else v for k, v in found.items()}

    if not path.exists():
        return {}
    return json.loads(path.read_text(), object_hook=with_numbers)


@contextmanager
def _made_once(path: Path) -> Iterator[bool]:
    """Yields whether the file is missing, while no other process makes it."""
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()
