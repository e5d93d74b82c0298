"""Examples of a dataset, simulated where needed, and their metadata in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

from tensorflow_datasets.core.utils import tqdm

from turbulence_data._files import DamagedFileError, json_hash
from turbulence_data.generation._ensemble import SPLITS, EnsembleConfig
from turbulence_data.generation._pool import run_trajectories
from turbulence_data.generation._statistics import ContentHash, EnsembleStatistics
from turbulence_data.generation._store import CheckpointedSampling, TrajectoryStore
from turbulence_data.generation._trajectory import examples_of

_CHECKSUM = "metadata_sha256"


class GeneratedExamples:
    """Examples of an ensemble; statistics and content hash grow as they are written.

    Args:
        parent: directory that holds finished trajectories until the dataset is there.
        ensemble: ensemble to simulate.
    """

    def __init__(self, parent: str | os.PathLike[str], ensemble: EnsembleConfig):
        self._ensemble = ensemble
        self._store = TrajectoryStore(parent, ensemble)
        self._statistics = EnsembleStatistics(ensemble)
        self._content = ContentHash()

    def simulate(
        self, executor: Executor | None, checkpoint_seconds: float, title: str
    ) -> None:
        """Simulate the trajectories that are not stored yet.

        Args:
            executor: where to run them; None for one process a core.
            checkpoint_seconds: least time between two checkpoints of a trajectory.
            title: of the progress bar.

        Raises:
            TrajectoryFailedError: when a trajectory fails.
        """
        store, ensemble = self._store, self._ensemble
        every = [i for split in SPLITS for i in ensemble.trajectory_ids(split)]
        missing = store.missing(every)
        work = CheckpointedSampling(str(store.directory.absolute()), checkpoint_seconds)
        store.directory.mkdir(parents=True, exist_ok=True)
        with tqdm(
            total=len(every),
            initial=len(every) - len(missing),
            desc=title,
            unit=" trajectories",
        ) as progress:
            for trajectory in run_trajectories(ensemble, missing, executor, work):
                store.save(trajectory)
                work.path(trajectory.trajectory_id).unlink(missing_ok=True)
                progress.update()

    def of_split(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the examples of a split with their keys, and take them into account."""
        # TFDS puts a key k < 2^128 of a large split into bucket `1000 k / 2^128` on
        # disk and reads bucket by bucket: keys all over that range, in order, keep the
        # order and let no bucket become large.
        numbers = self._ensemble.trajectory_ids(split)
        size, count = self._ensemble.num_snapshots * len(numbers), 0
        for trajectory in map(self._store.load, numbers):
            self._statistics.add(split, trajectory)
            for example in examples_of(self._ensemble, trajectory):
                self._content.add(example)
                yield (count << 128) // size, example
                count += 1

    def metadata(self) -> dict[str, Any]:
        """Return statistics and hashes of the examples yielded, with a checksum."""
        metadata = self._statistics.to_dict()
        metadata["content_sha256"] = self._content.hexdigest()
        metadata[_CHECKSUM] = json_hash(metadata)
        return metadata

    def remove_store(self) -> None:
        """Delete the stored trajectories."""
        self._store.remove()


def check_metadata(metadata: Mapping[str, Any], directory: str) -> None:
    """Raise DamagedFileError unless metadata have the checksum they were written with.

    Metadata of before the checksum have none.
    """
    values = {key: metadata[key] for key in metadata if key != _CHECKSUM}
    if metadata.get(_CHECKSUM) not in (None, json_hash(values)):
        raise DamagedFileError(
            f"the metadata in {directory} are not those that were written: their "
            "checksum does not match. Delete that directory to have the data made "
            "again, or put back metadata.json from a copy."
        )
