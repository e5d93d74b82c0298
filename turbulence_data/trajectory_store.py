"""Finished trajectories on disk, so that a killed generation goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from turbulence_data._files import DamagedFileError, read_arrays, write_arrays
from turbulence_data.ensemble_config import FIELDS, EnsembleConfig
from turbulence_data.plain_values import plain_value
from turbulence_data.sampling import Trajectory

_logger = logging.getLogger(__name__)

# Part of every key: raise it when the layout of the files, or the numbers that the
# solver gives for the same config, change.
_FORMAT_VERSION = 4
SCALARS: dict[str, tuple[type[np.generic], str]] = {
    "trajectory": (np.int64, "Number of the trajectory; no number is in two splits."),
    "time": (np.float64, "Time since the start field."),
    "seed": (np.int64, "Seed of the ensemble; streams are seeded (seed, trajectory)."),
    "reynolds": (np.float64, "Inverse viscosity; inf for an inviscid flow."),
    "linear_drag": (np.float64, "Rate of the linear drag."),
    "beta": (np.float64, "Gradient of the Coriolis parameter."),
    "filter_width": (np.float64, "Width of the Gaussian filter."),
    "forcing_wavenumber": (
        np.int64,
        "Wavenumber of the cosine forcing; 0 for none, or another forcing.",
    ),
}
"""Scalar features of an example: type and meaning."""
_ARRAYS = ("times", *FIELDS, "history")


class TrajectoryStore:
    """A directory of trajectories of one ensemble.

    One file a trajectory, written atomically and with a checksum.

    Args:
        parent: directory in which the store makes its own, named after the config.
        ensemble: what the trajectories belong to.
    """

    def __init__(self, parent: str | os.PathLike[str], ensemble: EnsembleConfig):
        self.ensemble = ensemble
        name = f".trajectories-{config_hash(ensemble)[:16]}"
        self.directory = Path(parent) / name

    def path(self, trajectory_id: int) -> Path:
        """Returns where a trajectory is, or would be, stored."""
        return self.directory / f"trajectory-{trajectory_id:06d}.npz"

    def save(self, trajectory: Trajectory) -> None:
        """Writes a trajectory.

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
        """Reads a trajectory back, bit for bit.

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
        """Returns those that are not stored, or damaged, after a look at every byte."""
        return [number for number in trajectory_ids if not self._is_stored(number)]

    def examples(self, split: str) -> Iterator[dict[str, Any]]:
        """Yields the examples of a split, ordered by trajectory, then time."""
        ensemble, flow = self.ensemble, self.ensemble.flow
        constants = {
            "seed": ensemble.seed,
            "reynolds": flow.reynolds,
            "linear_drag": flow.linear_drag,
            "beta": flow.beta,
            "filter_width": ensemble.width,
            "forcing_wavenumber": flow.forcing_wavenumber or 0,
        }
        for trajectory_id in ensemble.trajectory_ids(split):
            trajectory = self.load(trajectory_id)
            for number, time in enumerate(trajectory.times):
                values = {"trajectory": trajectory_id, "time": time, **constants}
                yield {
                    **{name: f[number] for name, f in trajectory.fields().items()},
                    **{name: SCALARS[name][0](values[name]) for name in SCALARS},
                }

    def remove(self) -> None:
        """Deletes the store; nothing happens where there is none."""
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


def trajectory_key(ensemble: EnsembleConfig, trajectory_id: int) -> str:
    """Returns what says that a file belongs to this trajectory of this ensemble."""
    return f"{config_hash(ensemble)}/{trajectory_id}"


def config_hash(ensemble: EnsembleConfig) -> str:
    """Returns the SHA-256 of everything that decides the numbers of an ensemble.

    Raises:
        TypeError: when the config holds something that is not plain data.
    """
    content = [_FORMAT_VERSION, plain_config(ensemble)]
    canonical = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def plain_config(ensemble: EnsembleConfig) -> dict[str, Any]:
    """Returns the config as JSON-ready values; an infinite number becomes a string.

    The class of the start field is named beside its values: two classes may share them.
    """
    plain: dict[str, Any] = plain_value(ensemble.to_dict())
    plain["start_class"] = type(ensemble.start).__qualname__
    return plain
