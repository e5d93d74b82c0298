"""The TFDS dataset builder: features, splits and the order of examples."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from typing import Any, ClassVar, cast

import tensorflow_datasets as tfds

from turbulence_data.flows import NAMED_FLOWS, TurbulenceConfig, check_name
from turbulence_data.generation._ensemble import SPLITS, EnsembleConfig, config_hash
from turbulence_data.generation._pool import check_executor
from turbulence_data.generation._records import (
    PLANE,
    TWO_LAYERS,
    RecordsBuilder,
    load_tensorflow,
)
from turbulence_data.generation._store import (
    GeneratedExamples,
    check_code,
    check_metadata,
    features_of,
)
from turbulence_data.input_pipeline import few_shot


class _Configs(dict[str, TurbulenceConfig]):
    """The named flows; any other name may be a user's own flow on disk."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)  # so that TFDS asks the builder, not its reader


class Builder(RecordsBuilder):
    """Filtered turbulence and its subgrid forcing, simulated on demand.

    Args:
        executor: where trajectories run; by default one process per core.
        checkpoint_seconds: minimum time between two checkpoints of a trajectory.
        **kwargs: `config`, `data_dir`, `version` and `file_format`, as in every TFDS
            builder. `config` is a `TurbulenceConfig`, the name of a flow in
            `NAMED_FLOWS`, or the name of your own flow whose data are in `data_dir`.
            `file_format` is `"tfrecord"` (the default), read by `as_dataset`, or
            `"array_record"`, read by `as_data_source`; if the data exist in the other
            format, `download_and_prepare` adds the requested one.

    Raises:
        ValueError: for an unknown config, a config whose data are from another
            ensemble or from other code of its functions, or an unknown format.
        TypeError: for a config or an executor of another kind.

    Example:
        >>> Builder(config="tiny_forced_re2e2_kf4").ensemble.les_shape
        (32, 32)
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        TurbulenceConfig(name=name, ensemble=ensemble)
        for name, ensemble in NAMED_FLOWS.items()
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "mini_forced_re2e3_kf4"
    builder_configs: ClassVar = _Configs({c.name: c for c in BUILDER_CONFIGS})
    # For readers that know only the name of this dataset.
    few_shot = staticmethod(few_shot)

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        checkpoint_seconds: float = 60.0,
        **kwargs: Any,
    ) -> None:
        config = kwargs.get("config")
        known = f"one of {sorted(NAMED_FLOWS)}, or TurbulenceConfig(name=, ensemble=)"
        if not isinstance(config, str | TurbulenceConfig | None):
            raise TypeError(f"expected as config {known}; received {config!r}.")
        check_executor(executor)
        is_own = isinstance(config, str) and config.split(":")[0] not in NAMED_FLOWS
        if is_own:
            check_name(config)
            kwargs["config"] = tfds.core.BuilderConfig(name=config)
        self._executor = executor
        self._checkpoint_seconds = checkpoint_seconds
        super().__init__(**kwargs)
        if is_own:  # what a copy in another process is made from
            self._original_state["config"] = config
        if is_own and not self.info.initialized:
            self._is_there(None)  # says what is wrong with data that are there
            raise ValueError(
                f"unknown config {config!r}: there are no data of that name in "
                f"{self.data_dir_root}. Expected {known}."
            )

    @property
    def ensemble(self) -> EnsembleConfig:
        """The ensemble that the dataset is made from.

        Raises:
            AttributeError: for a user's own flow opened only by its name.
        """
        return cast(EnsembleConfig, self.builder_config.ensemble)

    @property
    def channels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Features that are the channels of x and of y, in the order of `to_arrays`.

        TFDS sorts the supervised keys by name, which is another order for two layers.
        """
        kind = TWO_LAYERS if TWO_LAYERS.outputs[0] in self.info.features else PLANE
        return kind.inputs, kind.outputs

    def _info(self) -> Any:
        features: Any = None  # for a user's flow opened by name: use those on disk
        keys: Any = None
        if isinstance(self.builder_config, TurbulenceConfig):
            features = tfds.features.FeaturesDict(features_of(self.ensemble))
            of_x, of_y = self.ensemble.features.inputs, self.ensemble.features.outputs
            several = {name: name for name in of_y}
            keys = {name: name for name in of_x}, several if len(of_y) > 1 else of_y[0]
        return self.dataset_info_from_configs(
            features=features,
            supervised_keys=keys,
            disable_shuffling=True,  # examples stay in order: trajectory, then time
            metadata=tfds.core.MetadataDict(),
        )

    def _needed_bytes(self) -> int:
        if not isinstance(self.builder_config, TurbulenceConfig):
            return super()._needed_bytes()
        return 2 * self.ensemble.num_bytes  # trajectories are kept until all are done

    def _download_and_prepare(self, **kwargs: Any) -> None:
        self._examples = GeneratedExamples(self.data_path.parent, self.ensemble)
        super()._download_and_prepare(**kwargs)
        metadata = self._examples.metadata()
        self.info.metadata.update(metadata)
        text = json.dumps(metadata, indent=1, allow_nan=False)
        (self.data_path / "statistics.json").write_text(text)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        title = f"Simulating {self.builder_config.name}..."
        self._examples.simulate(self._executor, self._checkpoint_seconds, title)
        load_tensorflow()  # needed to write the records
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Any:
        return self._examples.of_split(split)

    def _post_download_and_prepare_hook(self) -> None:
        self._examples.store.remove()
        # Left by interrupted runs, also of other configs: all wait for the same lock.
        for pattern in (f"incomplete.*_{self.version}", ".trajectories-*"):
            for leftover in self.data_path.parent.glob(pattern):
                leftover.rmtree()

    def _check_metadata(self) -> None:
        check_metadata(self.info.metadata, self.data_dir)
        if not isinstance(self.builder_config, TurbulenceConfig):
            return
        made_from = self.info.metadata.get("config_hash")
        if made_from != config_hash(self.ensemble):
            raise ValueError(
                f"{self.data_dir} was made from another ensemble (hash {made_from}) "
                f"than {self.ensemble}. Choose another name, or delete that directory."
            )
        check_code(self.info.metadata, self.ensemble, self.data_dir)
