"""The TFDS dataset: features, splits and the order of examples; no physics."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import Executor
from itertools import chain
from typing import Any, ClassVar, cast

import numpy as np
import tensorflow_datasets as tfds

from turbulence_data.execution import run_trajectories
from turbulence_data.flows import NAMED_FLOWS
from turbulence_data.input_pipeline import array_record_dataset
from turbulence_data.sampling import SPLITS, EnsembleConfig
from turbulence_data.statistics import content_hash, ensemble_statistics
from turbulence_data.trajectory_store import (
    FIELDS,
    SCALARS,
    TrajectoryStore,
    config_hash,
)


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
        file_format: `"array_record"` (default) or `"tfrecord"`.
        **kwargs: `config`, `data_dir` and `version`, as of every TFDS builder.

    Raises:
        ValueError: for an unknown config, or one whose data are of another ensemble.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        TurbulenceConfig(name=name, ensemble=ensemble)
        for name, ensemble in NAMED_FLOWS.items()
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "mini_forced_re2e3_kf4"

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        file_format: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_config(kwargs.get("config"))
        super().__init__(file_format=file_format, **kwargs)
        self._executor = executor
        if self.info.initialized:
            self._check_same_ensemble()
        elif file_format is None:
            self.info.set_file_format("array_record", override=True)

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
        return TrajectoryStore(self.data_dir_root / self.name, self.ensemble)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        store = self._store()
        self._simulate(store)
        statistics = ensemble_statistics(self.ensemble, store.load)
        examples = chain.from_iterable(map(store.examples, SPLITS))
        statistics["content_sha256"] = content_hash(examples)
        self.info.metadata.update(statistics)
        text = json.dumps(statistics, indent=1, allow_nan=False)
        (self.data_path / "statistics.json").write_text(text)
        return {split: self._generate_examples(split) for split in SPLITS}

    def _simulate(self, store: TrajectoryStore) -> None:
        every = [i for split in SPLITS for i in self.ensemble.trajectory_ids(split)]
        missing = store.missing(every)
        with tfds.core.utils.tqdm(
            total=len(every),
            initial=len(every) - len(missing),
            desc=f"Simulating {self.builder_config.name}...",
            unit=" trajectories",
        ) as progress:
            for trajectory in run_trajectories(self.ensemble, missing, self._executor):
                store.save(trajectory)
                progress.update()

    def _generate_examples(self, split: str) -> Any:
        return enumerate(self._store().examples(split))

    def _as_dataset(self, split: Any, **kwargs: Any) -> Any:
        if self.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
            return array_record_dataset(self, split, **kwargs)
        return super()._as_dataset(split=split, **kwargs)

    def _post_download_and_prepare_hook(self) -> None:
        self._store().remove()
        for leftover in self.data_path.parent.glob(f"incomplete.*_{self.version}"):
            leftover.rmtree()  # of runs that were killed

    def _check_same_ensemble(self) -> None:
        made_from = self.info.metadata.get("config_hash")
        if made_from != config_hash(self.ensemble):
            raise ValueError(
                f"{self.data_dir} was made from another ensemble (hash {made_from}) "
                f"than {self.ensemble}. Choose another name, or delete that directory."
            )


def _check_config(config: Any) -> None:
    known = f"one of {sorted(NAMED_FLOWS)}, or TurbulenceConfig(name=..., ensemble=...)"
    if isinstance(config, str) and config.split(":")[0] not in NAMED_FLOWS:
        raise ValueError(f"unknown config {config!r}; expected {known}.")
    if not isinstance(config, str | TurbulenceConfig | None):
        raise TypeError(f"expected as config {known}; received {config!r}.")
