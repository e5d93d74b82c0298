"""A long trajectory keeps its progress on disk and goes on from there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turbulence_data._checks import check_at_least_zero
from turbulence_data._files import DamagedFileError, read_arrays, write_arrays
from turbulence_data.ensemble_config import FIELDS, EnsembleConfig
from turbulence_data.sampling import Progress, Trajectory, sample_trajectory
from turbulence_data.solver._engine import State
from turbulence_data.trajectory_store import trajectory_key

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointedSampling:
    """Work of an executor: `sample_trajectory` that goes on from its last checkpoint.

    A checkpoint holds the exact bits of the state, so the result is the same as without
    any. Any process that sees the directory can go on with it, on any host. Where the
    directory is not there, as on a worker without a shared file system, nothing is
    kept and nothing else changes.

    Attributes:
        directory: where checkpoints are.
        every_seconds: least time between two checkpoints of a trajectory. They fall on
            instants that are looked at, `ensemble.interval` apart.

    Raises:
        ValueError: for a negative time.
    """

    directory: str
    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_at_least_zero("every_seconds", self.every_seconds)

    def __call__(self, ensemble: EnsembleConfig, trajectory_id: int) -> Trajectory:
        """Returns the trajectory, the same bits as `sample_trajectory`."""
        file = CheckpointFile(
            self.path(trajectory_id), ensemble, trajectory_id, self.every_seconds
        )
        return sample_trajectory(ensemble, trajectory_id, file)

    def path(self, trajectory_id: int) -> Path:
        """Returns where the checkpoint of a trajectory is, or would be."""
        return Path(self.directory) / f"trajectory-{trajectory_id:06d}.checkpoint"


class CheckpointFile:
    """The checkpoint of one trajectory, replaced by every newer one.

    Args:
        path: the file.
        ensemble: what the trajectory belongs to.
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
        """Returns the last progress kept; None where there is none that can be used."""
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
        """Writes the progress, unless the last time is too recent.

        What cannot be written is logged: a full disk costs the checkpoint, not the run.
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
