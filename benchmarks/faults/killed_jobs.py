"""Jobs to be killed, what they may leave behind, and what they must end with.

Each job works in a folder and returns a digest of its result. What it has begun is
noted line by line in `begun`, so that work done twice can be counted.
"""

import hashlib
import json
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import transfer
from keras_spectral_tl.callbacks import CheckedBackup, FreezeLayers
from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data.generation import InProcessExecutor, process_pool

EPOCHS = 8
RNG = np.random.default_rng(5)
X = RNG.normal(size=(32, 16, 16, 2)).astype("float32")
Y = np.roll(X[..., :1], 1, axis=1) * X[..., 1:]
ENSEMBLE = EnsembleConfig(
    flow=FlowConfig(64, reynolds=100.0),
    num_points_les=16,
    num_trajectories=(3, 1, 1),
    num_snapshots=8,
    spin_up=0.4,
    coarse_spin_up=0.2,
    interval=0.05,
    time_step=0.005,
    extra_fields=("tau",),
)


def note(folder: Path, what: object) -> None:
    with (folder / "begun").open("a") as file:
        print(what, file=file, flush=True)


class Noting(keras.callbacks.Callback):
    """Notes every epoch that begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        note(self.folder, epoch)


def network() -> keras.Model:
    """With dropout and normalization: their states have to come back too."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16, 16, 2)),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.1, seed=1),
            keras.layers.Conv2D(1, 3, padding="same", name="last"),
        ]
    )


def digest(weights: Any) -> str:
    return hashlib.sha256(
        b"".join(np.asarray(w).tobytes() for w in weights)
    ).hexdigest()


def backup(folder: Path) -> keras.callbacks.Callback:
    return CheckedBackup(folder / "backup", keep=True)


@dataclass(frozen=True)
class Generation:
    """A dataset of eight snapshots a simulation, with a checkpoint at each of them."""

    name: str = "generation of a dataset"
    units: int = 5
    most_again: int = 1
    named_flow: str | None = None

    def run(self, folder: Path) -> str:
        class Submitting(InProcessExecutor):
            def submit(self, *arguments: Any, **options: Any) -> Any:
                note(folder, arguments[-1])
                return super().submit(*arguments, **options)

        builder = self._builder(folder, Submitting())
        builder.download_and_prepare()
        return str(builder.info.metadata["content_sha256"])

    def broken(self, folder: Path) -> str | None:
        """Under its name there is a whole dataset or none."""
        name = self.named_flow or "tiny"
        if not (folder / "turbulence_data" / name / "1.0.0").exists():
            return None
        builder = self._builder(folder, InProcessExecutor())
        lengths = [len(list(builder.read(split))) for split in builder.info.splits]
        whole = sum(lengths) == self.units * 8
        return None if whole else f"a dataset of {lengths} examples"

    def _builder(self, folder: Path, executor: Any) -> Builder:
        return Builder(
            config=self.named_flow or TurbulenceConfig(name="tiny", ensemble=ENSEMBLE),
            data_dir=folder,
            executor=executor,
            checkpoint_seconds=0.0,
        )


@dataclass(frozen=True)
class PooledGeneration(Generation):
    """The same in two processes; all five simulations are handed over at once."""

    name: str = "generation in two processes"
    most_again: int = 5

    def run(self, folder: Path) -> str:
        with process_pool(2) as pool:

            class Submitting(Executor):
                def submit(self, *arguments: Any, **options: Any) -> Any:
                    note(folder, arguments[-1])
                    return pool.submit(*arguments, **options)

            builder = self._builder(folder, Submitting())
            builder.download_and_prepare()
        return str(builder.info.metadata["content_sha256"])


@dataclass(frozen=True)
class BaseTraining:
    """`fit` with `FreezeLayers` and `CheckedBackup`."""

    name: str = "base training"
    units: int = EPOCHS
    most_again: int = 2

    def run(self, folder: Path) -> str:
        model = network()
        model.compile(keras.optimizers.Adam(1e-3, name="adam"), "mse")
        model.fit(
            X, Y, batch_size=4, epochs=EPOCHS, shuffle=False, verbose=0,
            callbacks=[
                Noting(folder), FreezeLayers({0: "last", 3: None}), backup(folder)
            ],
        )  # fmt: skip
        return digest(model.weights)

    def broken(self, folder: Path) -> str | None:
        return None  # a backup is only ever read by the callback that wrote it


@dataclass(frozen=True)
class Sweep:
    """`oracle_sweep` with a directory."""

    name: str = "sweep"
    units: int = 3
    most_again: int = 1

    def run(self, folder: Path) -> str:
        class Noted(keras.callbacks.Callback):
            def on_train_begin(self, logs: Any = None) -> None:
                note(folder, "row")

        sweep = transfer.oracle_sweep(
            network(), (X, Y), (X[:8], Y[:8]), directory=folder / "sweep",
            callbacks=Noted(), recipe="notes every row", epochs=3, batch_size=4,
        )  # fmt: skip
        layers = [layer for row in sweep.weights.values() for layer in row.values()]
        return digest([weight for layer in layers for weight in layer])

    def broken(self, folder: Path) -> str | None:
        for file in (folder / "sweep").glob("row=*.json"):
            json.loads(file.read_text())
            with np.load(file.with_suffix(".npz")) as arrays:
                if not all(np.isfinite(arrays[name]).all() for name in arrays.files):
                    return file.name
        return None


@dataclass(frozen=True)
class Retraining:
    """`retrain` with `CheckedBackup`, then `RetrainResult.save`."""

    name: str = "retraining"
    units: int = EPOCHS
    most_again: int = 2

    def run(self, folder: Path) -> str:
        result = transfer.retrain(
            network(), (X, Y), "last", epochs=EPOCHS, batch_size=4,
            callbacks=[Noting(folder), FreezeLayers({0: "last"}), backup(folder)],
        )  # fmt: skip
        result.save(folder / "result")
        return digest(result.model.weights)

    def broken(self, folder: Path) -> str | None:
        """A model under its name is whole, and so is its record."""
        path = folder / "result" / "model.keras"
        if not path.exists():
            return None
        try:
            keras.models.load_model(path)
            if path.with_name("retraining.json").exists():
                transfer.load_retrained(path.parent)
        except Exception as error:
            return f"{path.name}: {error}"
        return None


TWO_LAYERS = Generation("generation of two layers", 6, named_flow="tiny_qg_eddy")
JOBS = (
    Generation(),
    PooledGeneration(),
    TWO_LAYERS,
    BaseTraining(),
    Sweep(),
    Retraining(),
)
