"""Finished trajectories and checkpoints of unfinished ones, on disk."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turbulence_data._checks import check_at_least_zero
from turbulence_data._files import DamagedFileError, read_arrays, write_arrays
from turbulence_data.generation._ensemble import (
    FIELDS,
    EnsembleConfig,
    config_hash,
    trajectory_key,
)
from turbulence_data.generation._trajectory import (
    Progress,
    Trajectory,
    examples_of,
    sample_trajectory,
)
from turbulence_data.solver._engine import State

_logger = logging.getLogger(__name__)
_ARRAYS = ("times", *FIELDS, "history")


class TrajectoryStore:
    """Directory of the finished trajectories of one ensemble, one file each.

    Files are written atomically and with a checksum, so that a generation that was
    killed goes on where it was.

    Args:
        parent: directory in which the store makes its own, named after the config.
        ensemble: ensemble that the trajectories belong to.
    """

    def __init__(self, parent: str | os.PathLike[str], ensemble: EnsembleConfig):
        self.ensemble = ensemble
        name = f".trajectories-{config_hash(ensemble)[:16]}"
        self.directory = Path(parent) / name

    def path(self, trajectory_id: int) -> Path:
        """Return where a trajectory is, or would be, stored."""
        return self.directory / f"trajectory-{trajectory_id:06d}.npz"

    def save(self, trajectory: Trajectory) -> None:
        """Write a trajectory.

        Raises:
            ValueError: when a value is not finite: such data never reach the disk.
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
        self.directory.mkdir(parents=True, exist_ok=True)
        write_arrays(self.path(number), arrays, trajectory_key(self.ensemble, number))

    def load(self, trajectory_id: int) -> Trajectory:
        """Read a trajectory back, bit for bit.

        Raises:
            FileNotFoundError: when it was never stored.
            DamagedFileError: when the file is not what was written.
        """
        key = trajectory_key(self.ensemble, trajectory_id)
        arrays: dict[str, Any] = read_arrays(self.path(trajectory_id), key)
        extra_fields = {name: arrays[name] for name in self.ensemble.extra_fields}
        regular = {name: arrays[name] for name in _ARRAYS}
        return Trajectory(trajectory_id, **regular, extra_fields=extra_fields)

    def missing(self, trajectory_ids: Iterable[int]) -> list[int]:
        """Return the trajectories that are not stored, or damaged in any byte."""
        return [number for number in trajectory_ids if not self._is_stored(number)]

    def examples(self, split: str) -> Iterator[dict[str, Any]]:
        """Yield the examples of a split, ordered by trajectory, then time."""
        for trajectory_id in self.ensemble.trajectory_ids(split):
            yield from examples_of(self.ensemble, self.load(trajectory_id))

    def remove(self) -> None:
        """Delete the store; nothing happens where there is none."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_stored(self, trajectory_id: int) -> bool:
        try:
            self.load(trajectory_id)
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            _logger.warning("making a trajectory again: %s", error)
            return False
        return True


@dataclass(frozen=True)
class CheckpointedSampling:
    """Work of an executor: `sample_trajectory` that goes on from its last checkpoint.

    A checkpoint holds the exact bits of the state, so the result is the same as without
    any. Any process that sees the directory can go on with it, on any host. Where the
    directory is not there, as on a worker without a shared file system, nothing is
    kept and nothing else changes.

    Attributes:
        directory: where checkpoints are.
        every_seconds: least time between two checkpoints of a trajectory, which fall on
            instants that are `ensemble.interval` apart.

    Raises:
        ValueError: for a negative time.
    """

    directory: str
    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_at_least_zero("every_seconds", self.every_seconds)

    def __call__(self, ensemble: EnsembleConfig, trajectory_id: int) -> Trajectory:
        """Return the trajectory, the same bits as `sample_trajectory`."""
        file = CheckpointFile(
            self.path(trajectory_id), ensemble, trajectory_id, self.every_seconds
        )
        return sample_trajectory(ensemble, trajectory_id, file)

    def path(self, trajectory_id: int) -> Path:
        """Return where the checkpoint of a trajectory is, or would be."""
        return Path(self.directory) / f"trajectory-{trajectory_id:06d}.checkpoint"


class CheckpointFile:
    """Checkpoint of one trajectory, replaced by every newer one.

    Args:
        path: the file.
        ensemble: ensemble that the trajectory belongs to.
        trajectory_id: its number.
        every_seconds: least time between two writes.
    """

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
        """Return the last progress kept; None where there is none that can be used."""
        try:
            arrays: dict[str, Any] = read_arrays(self.path, self._key)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            _logger.warning("starting a trajectory from its beginning: %s", error)
            return None
        snapshots = zip(*(arrays[name] for name in self._names), strict=True)
        return Progress(
            num_legs=int(arrays["num_legs"]),
            state=State(
                arrays["vorticity_hat"],
                float(arrays["time"]),
                int(arrays["step_number"]),
            ),
            history=[tuple(row) for row in arrays["history"].tolist()],
            snapshots=[dict(zip(self._names, s, strict=True)) for s in snapshots],
        )

    def save(self, progress: Progress) -> None:
        """Write the progress, unless the last time is too recent.

        Disk errors are logged: a full disk costs the checkpoint, not the run.
        """
        if time.monotonic() - self._last < self.every_seconds:
            return
        snapshots = progress.snapshots
        fields = {name: np.array([s[name] for s in snapshots]) for name in self._names}
        state = {
            "num_legs": np.array(progress.num_legs),
            "vorticity_hat": progress.state.vorticity_hat,
            "time": np.array(progress.state.time),
            "step_number": np.array(progress.state.step_number),
            "history": np.array(progress.history),
        }
        if self.path.parent.is_dir():
            try:
                write_arrays(self.path, {**fields, **state}, self._key)
            except OSError as error:
                _logger.warning("no checkpoint: %s", error)
        self._last = time.monotonic()
