"""Finished and unfinished trajectories on disk, and the examples made of them."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from turbulence_data._checks import check_at_least_zero
from turbulence_data._files import (
    DamagedFileError,
    json_hash,
    read_arrays,
    write_arrays,
)
from turbulence_data.generation._ensemble import (
    SPLITS,
    EnsembleConfig,
    config_hash,
    trajectory_key,
)
from turbulence_data.generation._fingerprint import check_fingerprint, fingerprint
from turbulence_data.generation._pool import run_trajectories
from turbulence_data.generation._records import FIELDS
from turbulence_data.generation._statistics import ContentHash, EnsembleStatistics
from turbulence_data.generation._trajectory import (
    Progress,
    Trajectory,
    examples_of,
    sample_trajectory,
)
from turbulence_data.solver._equation import State

_logger = logging.getLogger(__name__)
_ARRAYS = ("times", *FIELDS, "history")
_CHECKSUM, _FINGERPRINT = "metadata_sha256", "fingerprint"


class TrajectoryStore:
    """Directory of the finished trajectories of one ensemble, one file each.

    Files are written atomically and with a checksum, so that an interrupted generation
    resumes where it stopped.
    """

    def __init__(self, parent: str | os.PathLike[str], ensemble: EnsembleConfig):
        self.ensemble = ensemble
        name = f".trajectories-{config_hash(ensemble)[:16]}"
        self.directory = Path(parent) / name

    def path(self, trajectory_id: int) -> Path:
        """Return the path of a trajectory, stored or not."""
        return self.directory / f"trajectory-{trajectory_id:06d}.npz"

    def save(self, trajectory: Trajectory) -> None:
        """Write a trajectory.

        Raises:
            ValueError: if a value is not finite, or if nothing moves in any snapshot.
        """
        arrays = {name: getattr(trajectory, name) for name in _ARRAYS}
        arrays |= trajectory.extra_fields
        for name, array in arrays.items():
            if not np.all(np.isfinite(array)):
                raise ValueError(
                    f"trajectory {trajectory.trajectory_id} has values in {name} that "
                    "are not finite; it was not stored. Use a smaller time step or a "
                    "higher resolution."
                )
        number = trajectory.trajectory_id
        if not np.any(trajectory.vorticity):
            raise ValueError(
                f"trajectory {number} is at rest in all its snapshots, from time "
                f"{trajectory.times[0]:g} on: it has decayed below the range of "
                "float32, or nothing drives it. It was not stored. Shorten spin_up, "
                "lower the damping, or give a forcing."
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        write_arrays(self.path(number), arrays, trajectory_key(self.ensemble, number))

    def load(self, trajectory_id: int) -> Trajectory:
        """Read a stored trajectory, bit for bit; raise an error for a damaged file."""
        key = trajectory_key(self.ensemble, trajectory_id)
        arrays: dict[str, Any] = read_arrays(self.path(trajectory_id), key)
        regular = {name: arrays.pop(name) for name in _ARRAYS}
        return Trajectory(trajectory_id, **regular, extra_fields=arrays)

    def check_code(self) -> dict[str, list[float]]:
        """Return the fingerprint of code of the user, stored when there is none.

        Raises:
            ValueError: if that code has changed since the first trajectory.
        """
        now = fingerprint(self.ensemble)
        path, key = self.directory / "fingerprint.npz", config_hash(self.ensemble)
        try:
            made: dict[str, Any] = read_arrays(path, key)
        except FileNotFoundError:
            if now:
                self.directory.mkdir(parents=True, exist_ok=True)
                write_arrays(path, now, key)
        else:
            check_fingerprint(made, now, self.ensemble, str(self.directory))
        return now

    def missing(self, trajectory_ids: Iterable[int]) -> list[int]:
        """Return the trajectories that are not stored, or whose file is damaged."""
        missing = []
        for number in trajectory_ids:
            try:
                self.load(number)
            except FileNotFoundError:
                missing.append(number)
            except DamagedFileError as error:
                _logger.warning("making a trajectory again: %s", error)
                missing.append(number)
        return missing

    def remove(self) -> None:
        """Delete the store, if it exists."""
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class CheckpointedSampling:
    """Work of an executor: `sample_trajectory`, resumed from its last checkpoint.

    A checkpoint holds the exact bits of the state, so the result is the same as without
    checkpoints. Any process that can access the directory can resume, on any host. If
    the directory does not exist, as on a worker without a shared file system, no
    checkpoints are written and nothing else changes.

    Attributes:
        directory: folder of the checkpoints.
        every_seconds: minimum time between two checkpoints of a trajectory, which are
            written at multiples of `ensemble.interval` in simulated time.
    """

    directory: str
    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_at_least_zero("every_seconds", self.every_seconds)

    def __call__(self, ensemble: EnsembleConfig, trajectory_id: int) -> Trajectory:
        """Return the trajectory, bitwise equal to that of `sample_trajectory`."""
        file = CheckpointFile(
            self.path(trajectory_id), ensemble, trajectory_id, self.every_seconds
        )
        return sample_trajectory(ensemble, trajectory_id, file)

    def path(self, trajectory_id: int) -> Path:
        """Return the path of the checkpoint of a trajectory, stored or not."""
        return Path(self.directory) / f"trajectory-{trajectory_id:06d}.checkpoint"


class CheckpointFile:
    """Checkpoint file of one trajectory; each new checkpoint replaces the last."""

    def __init__(
        self,
        path: Path,
        ensemble: EnsembleConfig,
        trajectory_id: int,
        every_seconds: float,
    ) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._key = f"{trajectory_key(ensemble, trajectory_id)}/progress"
        self._names = (*FIELDS, *ensemble.extra_fields)
        self._last = time.monotonic()

    def load(self) -> Progress | None:
        """Return the last saved progress, None if there is no usable one."""
        try:
            arrays: dict[str, Any] = read_arrays(self.path, self._key)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            _logger.warning("starting a trajectory from its beginning: %s", error)
            return None
        snapshots = zip(*(arrays[name] for name in self._names), strict=True)
        time, step_number = float(arrays["time"]), int(arrays["step_number"])
        return Progress(
            num_legs=int(arrays["num_legs"]),
            state=State(arrays["vorticity_hat"], time, step_number),
            history=[tuple(row) for row in arrays["history"].tolist()],
            snapshots=[dict(zip(self._names, s, strict=True)) for s in snapshots],
        )

    def save(self, progress: Progress) -> None:
        """Write the progress, unless the last checkpoint is too recent.

        Disk errors are only logged: a full disk loses the checkpoint, not the run.
        """
        if time.monotonic() - self._last < self.every_seconds:
            return
        snapshots = progress.snapshots
        arrays = {
            **{name: np.array([s[name] for s in snapshots]) for name in self._names},
            **vars(progress.state),
            "num_legs": progress.num_legs,
            "history": progress.history,
        }
        if self.path.parent.is_dir():
            try:
                write_arrays(self.path, arrays, self._key)
            except OSError as error:
                _logger.warning("no checkpoint: %s", error)
        self._last = time.monotonic()


class GeneratedExamples:
    """Examples of an ensemble, with statistics and content hash of those yielded.

    Attributes:
        store: the simulated trajectories.
    """

    def __init__(self, parent: str | os.PathLike[str], ensemble: EnsembleConfig):
        self._ensemble = ensemble
        self.store = TrajectoryStore(parent, ensemble)
        self._statistics = EnsembleStatistics(ensemble)
        self._content = ContentHash()
        self._made_by: dict[str, list[float]] = {}

    def simulate(
        self, executor: Executor | None, checkpoint_seconds: float, title: str
    ) -> None:
        """Simulate the trajectories that are not stored yet."""
        store, ensemble = self.store, self._ensemble
        self._made_by = store.check_code()
        every = [i for split in SPLITS for i in ensemble.trajectory_ids(split)]
        missing = store.missing(every)
        work = CheckpointedSampling(str(store.directory.absolute()), checkpoint_seconds)
        store.directory.mkdir(parents=True, exist_ok=True)
        with tfds.core.utils.tqdm(
            total=len(every),
            initial=len(every) - len(missing),
            desc=title,
            unit=" trajectories",
        ) as progress:
            made = run_trajectories(ensemble, missing, executor, work)
            with closing(made):  # on an error at once, not as its traceback is freed
                for trajectory in made:
                    store.save(trajectory)
                    work.path(trajectory.trajectory_id).unlink(missing_ok=True)
                    progress.update()

    def of_split(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the examples of a split with their keys, updating the statistics."""
        # TFDS puts a key k < 2^128 of a large split into bucket `1000 k / 2^128` on
        # disk and reads bucket by bucket: increasing keys spread over that range keep
        # the order and the buckets small.
        numbers = self._ensemble.trajectory_ids(split)
        size, count = self._ensemble.num_snapshots * len(numbers), 0
        for trajectory in map(self.store.load, numbers):
            self._statistics.add(split, trajectory)
            for example in examples_of(self._ensemble, trajectory):
                self._content.add(example)
                yield (count << 128) // size, example
                count += 1

    def metadata(self) -> dict[str, Any]:
        """Return statistics and hashes of the examples yielded, with a checksum."""
        metadata = self._statistics.to_dict()
        metadata["content_sha256"] = self._content.hexdigest()
        if self._made_by:
            metadata[_FINGERPRINT] = self._made_by
        metadata[_CHECKSUM] = json_hash(metadata)
        return metadata


def features_of(ensemble: EnsembleConfig) -> dict[str, Any]:
    """Return the TFDS features of the examples of an ensemble."""
    # BYTES keeps every bit of a float64; the TFDS default converts to float32.
    bits = {"encoding": tfds.features.Encoding.BYTES}
    features = ensemble.features
    shapes = features.shapes(ensemble.les_shape, ensemble.extra_fields)
    fields = {
        name: tfds.features.Tensor(shape=shape, dtype=np.float32, **bits)
        for name, shape in shapes.items()
    }
    return fields | {
        name: tfds.features.Tensor(shape=(), dtype=kind, doc=doc, **bits)
        for name, (kind, doc) in features.scalars.items()
    }


def check_code(
    metadata: Mapping[str, Any], ensemble: EnsembleConfig, directory: str
) -> None:
    """Raise ValueError if code of the user is another than that of finished data.

    The start is not run again: it may be costly, or read what is gone. A function that
    can no longer be evaluated is not compared. Metadata from before fingerprints were
    introduced have none.
    """
    made = metadata.get(_FINGERPRINT) or {}
    for part in sorted({"forcing", "scheme"} & made.keys()):
        try:
            now = fingerprint(ensemble, [part])
        except Exception as error:
            _logger.warning("the %s cannot be compared with the data: %r", part, error)
        else:
            check_fingerprint(made, now, ensemble, directory)


def check_metadata(metadata: Mapping[str, Any], directory: str) -> None:
    """Raise DamagedFileError if the checksum of metadata does not match.

    Metadata from before checksums were introduced have none.
    """
    values = {key: metadata[key] for key in metadata if key != _CHECKSUM}
    if metadata.get(_CHECKSUM) not in (None, json_hash(values)):
        raise DamagedFileError(
            f"the metadata in {directory} are not those that were written: their "
            "checksum does not match. Delete that directory to have the data made "
            "again, or put back metadata.json from a copy."
        )
