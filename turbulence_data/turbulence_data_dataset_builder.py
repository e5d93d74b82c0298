"""The TFDS dataset: features, splits and the order of examples; no physics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Executor
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds

from turbulence_data._files import DamagedFileError, explain_disk_errors
from turbulence_data.checkpoints import CheckpointedSampling
from turbulence_data.directory_lock import exclusive_lock
from turbulence_data.ensemble_config import (
    EXTRA_FIELDS,
    FIELDS,
    SPLITS,
    EnsembleConfig,
)
from turbulence_data.execution import run_trajectories
from turbulence_data.flows import NAMED_FLOWS
from turbulence_data.input_pipeline import few_shot
from turbulence_data.record_formats import (
    RANDOM_ACCESS,
    SEQUENTIAL,
    add_random_access,
    check_file_format,
    select,
)
from turbulence_data.statistics import content_hash, ensemble_statistics
from turbulence_data.trajectory_store import SCALARS, TrajectoryStore, config_hash


@dataclasses.dataclass(eq=False)
class TurbulenceConfig(tfds.core.BuilderConfig):
    """A name for an ensemble: flow, filter, sampling and seed."""

    ensemble: EnsembleConfig = dataclasses.field(kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.ensemble, EnsembleConfig):
            raise TypeError(f"expected an EnsembleConfig; received {self.ensemble!r}.")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Filtered 2-D turbulence and its subgrid forcing, made where it is asked for.

    Args:
        executor: where trajectories run; one process a core by default.
        checkpoint_seconds: least time between two checkpoints of a trajectory.
        file_format: changes nothing. Every dataset is stored as `"tfrecord"` and as
            `"array_record"`, and each reader takes what it needs.
        **kwargs: `config`, `data_dir` and `version`, as of every TFDS builder.

    Raises:
        ValueError: for an unknown config, one whose data are of another ensemble, or
            another format.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        TurbulenceConfig(name=name, ensemble=ensemble)
        for name, ensemble in NAMED_FLOWS.items()
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "mini_forced_re2e3_kf4"
    # For readers who know this dataset by its name alone.
    few_shot = staticmethod(few_shot)

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        checkpoint_seconds: float = 60.0,
        file_format: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_config(kwargs.get("config"))
        check_file_format(file_format)
        super().__init__(**kwargs)
        self._executor = executor
        self._checkpoint_seconds = checkpoint_seconds
        if self.info.initialized:
            self._check_same_ensemble()

    @property
    def ensemble(self) -> EnsembleConfig:
        """What the dataset is made from."""
        return cast(EnsembleConfig, self.builder_config.ensemble)

    def _info(self) -> Any:
        # BYTES keeps every bit of a float64; TFDS's default goes through float32.
        bits = {"encoding": tfds.features.Encoding.BYTES}
        shape = self.ensemble.les_shape
        features = {
            name: tfds.features.Tensor(shape=shape, dtype=np.float32, **bits)
            for name in FIELDS
        }
        for name in self.ensemble.extra_fields:
            features[name] = tfds.features.Tensor(
                shape=(*shape, EXTRA_FIELDS[name]), dtype=np.float32, **bits
            )
        for name, (kind, doc) in SCALARS.items():
            features[name] = tfds.features.Tensor(shape=(), dtype=kind, doc=doc, **bits)
        inputs = {name: name for name in ("streamfunction", "vorticity")}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=(inputs, "sgs_forcing"),
            disable_shuffling=True,  # examples stay in order: trajectory, then time
            metadata=tfds.core.MetadataDict(),
        )

    def _store(self) -> TrajectoryStore:
        return TrajectoryStore(self.data_path.parent, self.ensemble)

    def download_and_prepare(self, *, file_format: Any = None, **kwargs: Any) -> None:
        """Makes the dataset where it is not there, as of every TFDS builder.

        If another process is making it, waits; then finds the data, or takes over. Who
        writes over data that are there, as asked for in a `download_config`, waits too.

        Args:
            file_format: changes nothing, as in the constructor.
            **kwargs: as of every TFDS builder.

        Raises:
            ValueError: when the other process made them from another ensemble.
            OSError: where the disk is full or may not be written to.
        """
        check_file_format(file_format)
        if _keeps_data(kwargs.get("download_config")) and self._finds_data():
            super().download_and_prepare(**kwargs)
            return
        lock, purpose = self.data_path.parent / ".lock", f"making {self.info.full_name}"
        place = Path(self.data_path.parent)
        with (
            explain_disk_errors(
                self.info.full_name, place, _COPIES * self.ensemble.num_bytes
            ),
            exclusive_lock(lock, purpose),
        ):
            self._finds_data()  # of whoever held the lock
            super().download_and_prepare(**kwargs)

    def _finds_data(self) -> bool:
        if not self.data_path.exists():
            return False
        if not self.info.initialized:  # made since this builder was
            self.info.read_from_directory(self.data_dir)
            self._check_same_ensemble()
        return True

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        store = self._store()
        self._simulate(store)
        statistics = ensemble_statistics(self.ensemble, store.load)
        examples = chain.from_iterable(map(store.examples, SPLITS))
        statistics["content_sha256"] = content_hash(examples)
        statistics[_CHECKSUM] = _digest(statistics)
        self.info.metadata.update(statistics)
        text = json.dumps(statistics, indent=1, allow_nan=False)
        (self.data_path / "statistics.json").write_text(text)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _simulate(self, store: TrajectoryStore) -> None:
        every = [i for split in SPLITS for i in self.ensemble.trajectory_ids(split)]
        missing = store.missing(every)
        work = CheckpointedSampling(
            str(store.directory.absolute()), self._checkpoint_seconds
        )
        store.directory.mkdir(parents=True, exist_ok=True)
        with tfds.core.utils.tqdm(
            total=len(every),
            initial=len(every) - len(missing),
            desc=f"Simulating {self.builder_config.name}...",
            unit=" trajectories",
        ) as progress:
            for trajectory in run_trajectories(
                self.ensemble, missing, self._executor, work
            ):
                store.save(trajectory)
                work.path(trajectory.trajectory_id).unlink(missing_ok=True)
                progress.update()

    def _generate_examples(self, split: str) -> Any:
        # TFDS puts a key k < 2^128 of a large split into bucket `1000 k / 2^128` on
        # disk and reads bucket by bucket: keys all over that range, in order, keep the
        # order and let no bucket become large.
        size = self.ensemble.num_snapshots * len(self.ensemble.trajectory_ids(split))
        examples = self._store().examples(split)
        return (((i << 128) // size, example) for i, example in enumerate(examples))

    def _download_and_prepare(self, **kwargs: Any) -> None:
        if self.info.initialized:  # of data that are written over
            select(self.info, SEQUENTIAL)
        super()._download_and_prepare(**kwargs)
        add_random_access(self.info)

    def _as_dataset(
        self,
        split: Any,
        read_config: Any = None,
        shuffle_files: bool = False,
        **kwargs: Any,
    ) -> Any:
        select(self.info, SEQUENTIAL)
        read_config = read_config or tfds.ReadConfig()
        kwargs |= {"split": split, "read_config": read_config}
        dataset = super()._as_dataset(**kwargs)
        if not shuffle_files:
            return dataset
        # Few files would mix little, so examples are mixed: all of them, or where they
        # are too many as many as memory may hold, of files in another order.
        size, held = max(1, int(dataset.cardinality())), self._num_held()
        if size > held:
            kwargs["read_config"] = dataclasses.replace(
                read_config, enable_ordering_guard=False
            )
            dataset = super()._as_dataset(**kwargs, shuffle_files=True)
        return dataset.shuffle(min(size, held), seed=read_config.shuffle_seed)

    def _num_held(self) -> int:
        snapshots = sum(self.ensemble.num_trajectories) * self.ensemble.num_snapshots
        return max(1, _SHUFFLE_BYTES * snapshots // self.ensemble.num_bytes)

    def as_data_source(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the examples for random access, as of every TFDS builder."""
        if self.info.initialized:
            select(self.info, RANDOM_ACCESS)
        return super().as_data_source(*args, **kwargs)

    def _post_download_and_prepare_hook(self) -> None:
        self._store().remove()
        for leftover in self.data_path.parent.glob(f"incomplete.*_{self.version}"):
            leftover.rmtree()  # of runs that were killed

    def _check_same_ensemble(self) -> None:
        metadata = dict(self.info.metadata)
        # Data of before the checksum have none.
        if metadata.get(_CHECKSUM, _digest(metadata)) != _digest(metadata):
            raise DamagedFileError(
                f"the metadata in {self.data_dir} are not those that were written: "
                "their checksum does not match. Delete that directory to have the data "
                "made again, or put back metadata.json from a copy."
            )
        made_from = self.info.metadata.get("config_hash")
        if made_from != config_hash(self.ensemble):
            raise ValueError(
                f"{self.data_dir} was made from another ensemble (hash {made_from}) "
                f"than {self.ensemble}. Choose another name, or delete that directory."
            )


_CHECKSUM = "metadata_sha256"


def _digest(metadata: Mapping[str, Any]) -> str:
    values = {key: metadata[key] for key in metadata if key != _CHECKSUM}
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# Every example is kept twice, and once more until all are there.
_COPIES = 3
# Of examples held to be mixed; TFDS too sorts so much in memory before it uses a disk.
_SHUFFLE_BYTES = 1000 << 20


def _keeps_data(download_config: Any) -> bool:
    if download_config is None:
        return True
    keeps = tfds.GenerateMode.REUSE_DATASET_IF_EXISTS
    return bool(download_config.download_mode == keeps)


def _check_config(config: Any) -> None:
    known = f"one of {sorted(NAMED_FLOWS)}, or TurbulenceConfig(name=..., ensemble=...)"
    if isinstance(config, str) and config.split(":")[0] not in NAMED_FLOWS:
        raise ValueError(f"unknown config {config!r}; expected {known}.")
    if not isinstance(config, str | TurbulenceConfig | None):
        raise TypeError(f"expected as config {known}; received {config!r}.")
