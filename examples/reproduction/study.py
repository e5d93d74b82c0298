"""One case at one size: where its parts are, and how they are made once."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
import turbulence_data
from reproduction.clock import (
    Deadline,
    DeadlineExecutor,
    OutOfTime,
    Times,
    read_json,
    write_json,
)
from reproduction.tiers import CASES, NORMALIZATIONS, TIERS, Setting, Tier, ensemble_of
from turbulence_data import (
    EnsembleConfig,
    Normalization,
    TrajectoryFailedError,
    TwoLayerNormalization,
)

Arrays = tuple[np.ndarray, np.ndarray]
Scaling = Normalization | TwoLayerNormalization | kst.transfer.ChannelStatistics


@dataclass
class Study:
    """Everything that stages need.

    Attributes:
        case: key of `CASES`.
        tier_name: key of `TIERS`.
        data_dir: directory of the datasets.
        out: directory of the results of the tier.
        num_seeds: how many seeds; None for those of the tier.
        deadline: when to stop.
        num_target: numbers of target samples; those of the tier if empty.
        normalizations: whose statistics scale the target, of `NORMALIZATIONS`.
        num_pairs: how many pairs of layers are retrained; None for those of the tier.
        numerics: engine and precision of the DNS, fields of `EnsembleConfig`.
        executor: makes the executor of trajectories; None for one process a core.
        first_seed: the seeds are this one and those after it.
    """

    case: str
    tier_name: str
    data_dir: Path
    out: Path
    num_seeds: int | None = None
    deadline: Deadline = field(default_factory=Deadline)
    num_target: tuple[int, ...] = ()
    normalizations: tuple[str, ...] = NORMALIZATIONS
    num_pairs: int | None = None
    numerics: dict[str, Any] = field(default_factory=dict)
    executor: Callable[[], Executor] | None = None
    first_seed: int = 0

    def __post_init__(self) -> None:
        self.base_system, self.target_system = CASES[self.case]
        has = {name for name, pair in CASES.items() if {*pair} <= {*self.tier.flows}}
        if self.case not in has:
            raise ValueError(
                f"The tier {self.tier_name!r} has the cases {sorted(has)}. Received "
                f"{self.case!r}: choose another tier for it."
            )
        self.ensemble(self.base_system)  # refuses an engine that cannot solve it
        self.num_target = self.num_target or self.tier.num_target
        if self.num_pairs is None:
            self.num_pairs = self.tier.num_pairs
        if self.num_pairs < 0 or not self.seeds or min(self.num_target) < 1:
            raise ValueError(
                "Expected no fewer than 0 pairs, 1 seed and 1 sample. Received pairs "
                f"{self.num_pairs}, seeds {self.num_seeds} and samples "
                f"{list(self.num_target)}."
            )
        target = self.ensemble(self.target_system)
        available = target.num_trajectories[0] * target.num_snapshots
        if max(self.num_target) > available:
            raise ValueError(
                f"{self.tier.flows[self.target_system]} has {available} train samples. "
                f"Received samples {list(self.num_target)}: choose fewer."
            )
        self.folder = self.out / self.case
        self.folder.mkdir(parents=True, exist_ok=True)
        self.times = Times(self.folder / "times.json")
        self._loaded: dict[str, dict[str, np.ndarray]] = {}

    @property
    def tier(self) -> Tier:
        """The size of the experiment."""
        return TIERS[self.tier_name]

    @property
    def seeds(self) -> range:
        """Seeds of base networks, target samples and retraining."""
        number = self.tier.num_seeds if self.num_seeds is None else self.num_seeds
        return range(self.first_seed, self.first_seed + number)

    def settings(self) -> Iterator[Setting]:
        """All transfers of the case, seed by seed."""
        for seed, number, norm in itertools.product(
            self.seeds, self.num_target, self.normalizations
        ):
            yield Setting(norm, number, seed)

    def once(
        self, stage: str, unit: str, make: Callable[..., dict[str, Any]], *subject: Any
    ) -> dict[str, Any]:
        """Returns what `make(study, *subject)` gave, from disk where it is there."""
        path = self.folder / stage / f"{unit}.json"
        if not path.exists():
            self.deadline.check()
            with self.times.of(stage, unit):
                write_json(path, make(self, *subject))
        return read_json(path)

    # Data

    def ensemble(self, system: str) -> EnsembleConfig:
        """The ensemble of a system, on the engine chosen."""
        return replace(ensemble_of(self.tier.flows[system]), **self.numerics)

    def builder(self, system: str, executor: Executor | None = None) -> Any:
        """The dataset builder of a system."""
        name = self.tier.flows[system]
        if self.numerics:  # other bits need another name
            name += "_" + "_".join(sorted(self.numerics))
        ensemble = self.ensemble(system)
        config = turbulence_data.TurbulenceConfig(name=name, ensemble=ensemble)
        if name in turbulence_data.NAMED_FLOWS:
            config = name
        return turbulence_data.Builder(
            config=config,
            data_dir=str(self.data_dir),
            executor=executor,
            file_format="array_record",
        )

    def make_data(self, system: str) -> dict[str, Any]:
        """Makes the dataset of a system and returns its metadata."""
        make = self.executor or turbulence_data.generation.process_pool
        with make() as executor:
            builder = self.builder(system, DeadlineExecutor(executor, self.deadline))
            try:
                builder.download_and_prepare()
            except TrajectoryFailedError as error:
                if isinstance(error.__cause__, OutOfTime):
                    raise OutOfTime from error
                raise
        return dict(builder.info.metadata)

    def fields(self, system: str) -> dict[str, np.ndarray]:
        """Physical fields: train samples in the nested few-shot order, and test."""
        if system not in self._loaded:
            builder = self.builder(system)
            # Read without TensorFlow, which would take the memory of a GPU for itself.
            train, test = (
                list(builder.as_data_source(split=split)) for split in ("train", "test")
            )
            ordered = turbulence_data.few_shot(train, len(train))
            x, y = turbulence_data.to_arrays(ordered)
            test_x, test_y = turbulence_data.to_arrays(test)
            if self.tier.inputs is not None:
                x, test_x = self.tier.inputs(x), self.tier.inputs(test_x)
            self._loaded[system] = {"x": x, "y": y, "test_x": test_x, "test_y": test_y}
        return self._loaded[system]

    @property
    def has_layers(self) -> bool:
        """Whether the flows are of two layers."""
        return self.ensemble(self.base_system).features.num_layers == 2

    def normalization(self, x: np.ndarray, y: np.ndarray) -> Scaling:
        """That of these samples."""
        if self.tier.inputs is not None:
            return kst.transfer.ChannelStatistics.of((x, y))
        kind = TwoLayerNormalization if self.has_layers else Normalization
        return kind.from_arrays(x, y)

    def base_normalization(self) -> Scaling:
        """That of the samples the base network was trained with."""
        fields, number = self.fields(self.base_system), self.tier.num_base
        return self.normalization(fields["x"][:number], fields["y"][:number])

    def base_data(self) -> tuple[Arrays, Arrays]:
        """Normalized train and test samples of the base system."""
        fields, number = self.fields(self.base_system), self.tier.num_base
        scale = self.base_normalization().normalize
        train = scale(fields["x"][:number], fields["y"][:number])
        return train, scale(fields["test_x"], fields["test_y"])

    def scored_base_data(self) -> Arrays:
        """The train samples of the base that scores and forecasts are shown."""
        (x, y), _ = self.base_data()
        rows = np.linspace(0, len(x) - 1, self.tier.num_scored).astype(int)
        return x[rows], y[rows]

    def target_normalization(self, setting: Setting) -> Scaling:
        """That of the few target samples, or of the base."""
        if setting.normalization == "base":
            return self.base_normalization()
        return self.normalization(*self.few(setting))

    def few(self, setting: Setting) -> Arrays:
        """The target samples, physical; the seed says where in the order they start.

        Each seed starts 67 samples further, cyclically: of 200 samples, seed 3 has
        those of seed 0 but one.
        """
        fields = self.fields(self.target_system)
        order = np.roll(np.arange(len(fields["x"])), -67 * setting.seed)
        chosen = order[: setting.num_target]
        return fields["x"][chosen], fields["y"][chosen]

    def target_data(self, setting: Setting) -> tuple[Arrays, Arrays]:
        """Normalized few samples and test samples of the target system."""
        fields = self.fields(self.target_system)
        scale = self.target_normalization(setting).normalize
        test = scale(fields["test_x"], fields["test_y"])
        return scale(*self.few(setting)), test

    # Networks

    def weights_path(self, seed: int) -> Path:
        """Where the base network is; shared by all cases that start from this flow."""
        flow = self.tier.flows[self.base_system]
        return self.out / "bases" / f"{flow}-seed{seed}.weights.npz"

    def new_network(self) -> keras.Model:
        """An untrained network of the tier."""
        ensemble = self.ensemble(self.base_system)
        model = kst.build_sgs_cnn(
            (*ensemble.les_shape, len(ensemble.features.inputs)),
            num_layers=self.tier.num_layers,
            num_filters=self.tier.num_filters,
            num_outputs=len(ensemble.features.outputs),
            periodic=self.tier.periodic,
        )
        for layer in model.layers[2:-1]:  # neither few inputs nor few outputs
            layer.dtype_policy = self.tier.precision
        return model

    def base_network(self, seed: int) -> keras.Model:
        """The trained base network.

        Raises:
            FileNotFoundError: before the stage "base" has made it.
        """
        model = self.new_network()
        with np.load(self.weights_path(seed)) as file:
            model.set_weights([file[str(i)] for i in range(len(file.files))])
        return model
