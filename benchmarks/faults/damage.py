"""Cuts files short and flips bits in them, and looks whether anybody notices."""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from faults.kills import outcome
from faults.trial import Trial

Read = Callable[[], Any]


@dataclass(frozen=True)
class Artefact:
    """Files, and a function of the folder that reads them; None is "made anew"."""

    name: str
    prepare: Callable[[Path], None]
    pattern: str
    read: Callable[[Path], Any]
    seen_by: str


def prepare_dataset(folder: Path) -> None:
    from faults.killed_jobs import Generation

    Generation().run(folder)
    _builder(folder).download_and_prepare(file_format="array_record")


def prepare_trajectories(folder: Path) -> None:
    from faults.killed_jobs import ENSEMBLE
    from turbulence_data.generation import sample_trajectory
    from turbulence_data.generation._store import CheckpointedSampling, TrajectoryStore

    store = TrajectoryStore(folder, ENSEMBLE)
    store.save(sample_trajectory(ENSEMBLE, 0))
    CheckpointedSampling(str(store.directory), 0.0)(ENSEMBLE, 0)


def prepare_results(folder: Path) -> None:
    from faults.killed_jobs import Retraining, Sweep

    Retraining().run(folder)
    Sweep().run(folder)


def read_trajectory(folder: Path) -> Any:
    from faults.killed_jobs import ENSEMBLE
    from turbulence_data.generation._store import TrajectoryStore

    return TrajectoryStore(folder, ENSEMBLE).load(0).fields()


def read_checkpoint(folder: Path) -> Any:
    from faults.killed_jobs import ENSEMBLE
    from turbulence_data.generation._store import CheckpointedSampling, CheckpointFile

    (place,) = folder.glob(".trajectories-*")
    path = CheckpointedSampling(str(place)).path(0)
    progress = CheckpointFile(path, ENSEMBLE, 0, 0.0).load()
    return (
        None if progress is None else (progress.state.vorticity_hat, progress.num_legs)
    )


def _builder(folder: Path) -> Any:
    from faults.killed_jobs import Generation
    from turbulence_data.generation import InProcessExecutor

    return Generation()._builder(folder, InProcessExecutor())


def read_tfrecord(folder: Path) -> Any:
    import tensorflow_datasets as tfds

    return list(tfds.as_numpy(_builder(folder).as_dataset(split="train")))


def read_array_record(folder: Path) -> Any:
    return list(_builder(folder).as_data_source("train"))


def read_metadata(folder: Path) -> Any:
    return dict(_builder(folder).info.metadata)


def read_sweep(folder: Path) -> Any:
    from faults.killed_jobs import network
    from keras_spectral_tl.transfer import _sweep_store
    from keras_spectral_tl.transfer._arms import Candidate

    contents = json.loads((folder / "sweep" / "sweep.json").read_text())
    store = _sweep_store.SweepDirectory(folder / "sweep", contents)
    row = store.load(Candidate.of(network(), "last"))
    return None if row is None else (row.values, row.weights)


def read_model_checked(folder: Path) -> Any:
    from keras_spectral_tl.transfer import load_retrained

    return load_retrained(folder / "result").get_weights()


def read_model_by_keras(folder: Path) -> Any:
    return keras.models.load_model(folder / "result" / "model.keras").get_weights()


def read_backup(folder: Path) -> Any:
    from faults.killed_jobs import backup, network

    model = network()
    model.compile("adam", "mse")
    callback = backup(folder)
    callback.set_model(model)
    callback.on_train_begin()
    return model.get_weights()


ARTEFACTS = (
    Artefact(
        "a stored simulation",
        prepare_trajectories,
        ".trajectories-*/*.npz",
        read_trajectory,
        "SHA-256 at the end of the file; the simulation is made again",
    ),
    Artefact(
        "a checkpoint of a simulation",
        prepare_trajectories,
        ".trajectories-*/*.checkpoint",
        read_checkpoint,
        "the same; the simulation starts from its beginning, with a warning",
    ),
    Artefact(
        "records, read by `tf.data`",
        prepare_dataset,
        "turbulence_data/tiny/1.0.0/*train.tfrecord*",
        read_tfrecord,
        "CRC-32C of every tfrecord",
    ),
    Artefact(
        "records, read by `tfds.data_source`",
        prepare_dataset,
        "turbulence_data/tiny/1.0.0/*train.array_record*",
        read_array_record,
        "hashes of the chunks of array_record",
    ),
    Artefact(
        "metadata of a dataset",
        prepare_dataset,
        "turbulence_data/tiny/1.0.0/metadata.json",
        read_metadata,
        "SHA-256 of the metadata, when the builder is made",
    ),
    Artefact(
        "a row of a sweep: figures",
        prepare_results,
        "sweep/row=last.json",
        read_sweep,
        "SHA-256 in the row; its layer is retrained again, with a warning",
    ),
    Artefact(
        "a row of a sweep: weights",
        prepare_results,
        "sweep/row=last.npz",
        read_sweep,
        "the same",
    ),
    Artefact(
        "a retrained model, read by `load_retrained`",
        prepare_results,
        "result/model.keras",
        read_model_checked,
        "SHA-256 in `retraining.json`",
    ),
    Artefact(
        "the same, read by `keras.models.load_model`",
        prepare_results,
        "result/model.keras",
        read_model_by_keras,
        "CRC-32 of the zip archive",
    ),
    Artefact(
        "a backup of `CheckedBackup`",
        prepare_results,
        "backup/epoch-*.weights.h5",
        read_backup,
        "SHA-256 in `backup.json`",
    ),
)


def damaged(content: bytes, rng: random.Random, flip: bool) -> bytes:
    place = rng.randrange(len(content))
    if not flip:
        return content[:place]
    changed = bytes([content[place] ^ (1 << rng.randrange(8))])
    return content[:place] + changed + content[place + 1 :]


def judge(artefact: Artefact, folder: Path, count: int) -> dict[str, dict[str, int]]:
    """For flips and cuts: how often damage was noticed, harmless, or believed."""
    warnings.simplefilter("ignore")
    (path,) = folder.glob(artefact.pattern)
    whole, expected = path.read_bytes(), artefact.read(folder)
    rng, found = random.Random(11), {}
    for kind in ("flip", "cut"):
        counts = {"noticed": 0, "harmless": 0, "believed": 0}
        for _ in range(count):
            path.write_bytes(damaged(whole, rng, kind == "flip"))
            try:
                value = artefact.read(folder)
            except Exception:
                counts["noticed"] += 1
                continue
            if value is None:
                counts["noticed"] += 1
            elif same(value, expected):
                counts["harmless"] += 1
            else:
                counts["believed"] += 1
        path.write_bytes(whole)
        found[kind] = counts
    return found


def same(one: Any, two: Any) -> bool:
    leaves, others = (keras.tree.flatten(value) for value in (one, two))
    if len(leaves) != len(others):
        return False
    return all(
        np.array_equal(np.asarray(a), np.asarray(b))
        for a, b in zip(leaves, others, strict=True)
    )


def trials(root: Path, count: int) -> list[Trial]:
    rows = []
    for artefact in ARTEFACTS:
        folder = root / "damage"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

        def whole(artefact: Artefact = artefact, folder: Path = folder) -> str:
            artefact.prepare(folder)
            return json.dumps(judge(artefact, folder, 5 * count))

        found = json.loads(outcome(whole, root))
        for kind, name in (("flip", "one bit flipped"), ("cut", "cut short")):
            counts = found[kind]
            good = counts["noticed"] + counts["harmless"]
            text = f"noticed {counts['noticed']}, without effect {counts['harmless']}"
            text += f", believed {counts['believed']}: {artefact.seen_by}"
            rows.append(Trial(artefact.name, name, 5 * count, good, text))
        print(rows[-2:], flush=True)
    return rows
