"""Configuration of an ensemble of simulations, and the hash that identifies it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from turbulence_data._checks import (
    as_pair,
    check_at_least_zero,
    check_filter_width,
    check_positive,
    check_whole,
)
from turbulence_data._files import json_hash
from turbulence_data.coarsening import check_products, operator_named
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.filtering import width_of
from turbulence_data.generation._records import Features, features_of_flow
from turbulence_data.solver._equation import Engine
from turbulence_data.solver._forcing import ForcingLike, drive_of
from turbulence_data.solver._grid import Grid, check_coarser
from turbulence_data.solver._initial_conditions import (
    RandomPotentialVorticity,
    RandomVorticity,
)
from turbulence_data.solver._modes import truncated_modes
from turbulence_data.solver._schemes import Scheme, integrating_factor_rk4
from turbulence_data.solver._simulation import Numerics
from turbulence_data.solver.fftw._engine import FftwEngine

SPLITS = ("train", "validation", "test")
# Part of every key: increase it when the layout of the files, or the results of the
# solver for the same config, change.
_FORMAT_VERSION = 4
_NUMBERS = ("spin_up", "coarse_spin_up", "interval", "time_step", "filter_width")
# Largest number of trajectories in a split without collisions of their numbers.
_SPLIT_STRIDE = 100_000
# NumPy mixes the 32-bit words of [seed, trajectory]: a longer seed would spill over.
_SEEDS = 2**32
# Module names recorded by the first datasets. Config hashes contain these names, so
# they are kept although the modules have moved.
_RECORDED_MODULES = {
    "integrating_factor_rk4": "turbulence_data.solver.time_stepping",
    "etdrk4": "turbulence_data.solver.time_stepping",
    "SteadyForcing": "turbulence_data.solver.forcing",
    "RingForcing": "turbulence_data.solver.ring_forcing",
    "FilteredForcing": "turbulence_data.filtered_forcing",
    "FftwEngine": "turbulence_data.solver.engine",
    "JaxEngine": "turbulence_data.jax_engine.engine",
}


@dataclass(frozen=True)
class EnsembleConfig:
    """Configuration of a dataset, which determines its content bit for bit.

    Attributes:
        flow: physics and DNS resolution, of one plane or of two layers.
        num_points_les: LES points, one number or a pair.
        num_trajectories: independent trajectories of the (train, validation, test)
            splits.
        num_snapshots: snapshots of each trajectory.
        spin_up: time from the random start field to the first snapshot.
        coarse_spin_up: the first part of `spin_up`, run at half the resolution and
            twice the time step: cheap, and soon forgotten by the small scales.
        interval: time between snapshots.
        time_step: DNS time step; between two snapshots it is halved, at most twice, if
            the flow is too fast for it. None lets the solver choose from the speed of
            the flow, as in `evolve`. Snapshots are at their exact times in any case.
        start: draws the start field; a `RandomPotentialVorticity` for two layers.
        seed: seed of the ensemble, from which seeds of trajectories derive; below 2^32.
        filter_width: width of the Gaussian filter; None for two LES cells.
        extra_fields: fields on request: "velocity", "tau", "sigma", see
            `subgrid_stresses`; for two layers "velocity", and names of other operators,
            which add their potential vorticity and forcing.
        forcing: forcing of the flow, as in `evolve`, if `flow.forcing_wavenumber` is
            None. Each trajectory has its own stream of a stochastic forcing. A function
            must be defined in a module, because processes and metadata refer to it by
            name.
        scheme: time-stepping scheme, a function defined in a module.
        dtype: precision of the DNS, `np.float64` or `np.float32`.
        engine: engine of the DNS, `FftwEngine()` or `JaxEngine()`; see the latter for
            the executor it needs.
        operator: name in `OPERATORS` of the filter of two layers, without default; None
            for one plane, whose filter is a Gaussian.

    Raises:
        ValueError: if a value is out of range or values contradict each other.
        TypeError: for a forcing, scheme or start that has no name and is no value.
    """

    flow: FlowConfig | TwoLayerConfig
    num_points_les: int | tuple[int, int]
    num_trajectories: tuple[int, int, int]
    num_snapshots: int
    spin_up: float
    interval: float
    time_step: float | None = None
    coarse_spin_up: float = 0.0
    start: RandomVorticity | RandomPotentialVorticity = field(
        default_factory=RandomVorticity
    )
    seed: int = 0
    filter_width: float | None = None
    extra_fields: tuple[str, ...] = ()
    forcing: ForcingLike | None = None
    scheme: Scheme = integrating_factor_rk4
    dtype: DTypeLike = np.float64
    engine: Engine = field(default_factory=FftwEngine)
    operator: str | None = None

    def __post_init__(self) -> None:
        is_start = callable(self.start) and not isinstance(self.start, type)
        if not isinstance(self.flow, FlowConfig | TwoLayerConfig) or not is_start:
            raise ValueError(
                "flow must be a FlowConfig or TwoLayerConfig and start a callable "
                f"(grid, rng) -> vorticity; received {self.flow!r} and {self.start!r}."
            )
        les_shape = as_pair(self.num_points_les, "num_points_les")
        object.__setattr__(self, "num_points_les", les_shape)
        fine, coarse = (
            Grid(n, self.flow.lengths) for n in (self.flow.shape, les_shape)
        )
        check_coarser(coarse, fine, "num_points_les")
        self._check_trajectories()
        check_whole("num_snapshots", self.num_snapshots, at_least=1)
        self._check_seed()
        self._check_spin_up()
        check_positive("interval", self.interval)
        if self.time_step is not None:
            check_positive("time_step", self.time_step)
        if self.filter_width is not None:
            check_filter_width(self.filter_width, self.flow.lengths)
        self._check_extra_fields()
        self._check_operator()
        self._check_numerics()
        self._check_start()
        for name in _NUMBERS:  # 30 and 30.0 are one
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    def __repr__(self) -> str:
        """Return the call that creates it, without defaults; functions by name."""
        values = {entry: getattr(self, entry.name) for entry in fields(self)}
        shown = (
            f"{entry.name}={getattr(value, '__name__', repr(value))}"
            for entry, value in values.items()
            if value not in (entry.default, FftwEngine())
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_extra_fields(self) -> None:
        names: Any = self.extra_fields
        is_tuple = isinstance(names, Sequence) and not isinstance(names, str)
        known = tuple(self.features.extra_fields)
        if not is_tuple or any(name not in known for name in names):
            raise ValueError(
                f"extra_fields must be a tuple of names from {known}; "
                f"received {names!r}."
            )
        # Sort and remove duplicates, so that equal sets of fields are equal ensembles.
        ordered = tuple(name for name in known if name in names)
        object.__setattr__(self, "extra_fields", ordered)

    def _check_operator(self) -> None:
        """Check that two layers have an operator, and one plane a Gaussian filter."""
        if isinstance(self.flow, FlowConfig):
            if self.operator is not None:
                raise ValueError(
                    "operator filters two layers; one plane has its Gaussian filter of "
                    f"filter_width. Received operator={self.operator!r}."
                )
            return
        given = {"filter_width": self.filter_width, "forcing": self.forcing}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name} must be None for two layers, which have a shear and an "
                    f"operator; received {value!r}."
                )
        if TwoLayerConfig not in getattr(self.engine, "flows", (TwoLayerConfig,)):
            raise ValueError(
                "engine must solve two layers, as FftwEngine() does, which is the "
                f"default; received {self.engine!r}, which solves one plane alone."
            )
        if self.operator is not None and not isinstance(self.operator, str):
            raise ValueError(
                "operator of a dataset must be a name in coarsening.OPERATORS, by "
                f"which workers find it; received {self.operator!r}. An operator of "
                "your own filters fields by filtered_layers(q, flow, points, operator)."
            )
        others = [name for name in self.extra_fields if name != "velocity"]
        for operator in (self.operator, *others):
            named = operator_named(operator)
            check_products(self.flow, named)
            named.check_points(self.flow.shape, self.les_shape)

    def _check_trajectories(self) -> None:
        numbers = self.num_trajectories
        if not isinstance(numbers, Sequence) or len(numbers) != len(SPLITS):
            raise ValueError(
                f"num_trajectories must give a number for each of {SPLITS}; received "
                f"{numbers!r}."
            )
        for split, number in zip(SPLITS, numbers, strict=True):
            check_whole(f"num_trajectories of {split}", number, at_least=1)
            if number > _SPLIT_STRIDE:
                raise ValueError(
                    f"num_trajectories of {split} must be at most {_SPLIT_STRIDE}, so "
                    f"that numbers stay apart; received {number}."
                )
        object.__setattr__(self, "num_trajectories", tuple(map(int, numbers)))

    def _check_seed(self) -> None:
        check_whole("seed", self.seed, at_least=0)
        if self.seed >= _SEEDS:
            raise ValueError(
                f"seed must be below 2^32, so that no two ensembles share a stream of "
                f"random numbers: [2^32, 0] and [0, 1] seed the same. Received "
                f"{self.seed!r}."
            )

    def _check_start(self) -> None:
        """Check that the start has the layers of the flow, a name and fits the grid."""
        start, flow = self.start, self.flow
        of_layers = isinstance(flow, TwoLayerConfig)
        if isinstance(
            start, RandomVorticity if of_layers else RandomPotentialVorticity
        ):
            wanted = (
                "potential vorticity of two layers, such as RandomPotentialVorticity()"
                if of_layers
                else "vorticity of one plane, such as RandomVorticity()"
            )
            raise ValueError(f"start must draw {wanted}; received {start!r}.")
        plain_value(self.to_dict()["start"])  # workers must find it by its name
        if isinstance(start, RandomVorticity | RandomPotentialVorticity):
            first = self.coarse_flow() if self.coarse_spin_up > 0.0 else flow
            start.check_grid(Grid(first.shape, first.lengths))

    def _check_spin_up(self) -> None:
        for name in ("spin_up", "coarse_spin_up"):
            check_at_least_zero(name, getattr(self, name))
        if self.coarse_spin_up > self.spin_up:
            raise ValueError(
                "coarse_spin_up is a part of spin_up and cannot exceed it; received "
                f"{self.coarse_spin_up} of {self.spin_up}."
            )

    def _check_numerics(self) -> None:
        numerics = Numerics(self.scheme, self.dtype, self.engine)
        for name in ("forcing", "scheme", "engine"):  # workers must find what they name
            plain_value(getattr(self, name))
        self._check_forcing(self.flow)
        if self.coarse_spin_up > 0.0:
            try:
                self._check_forcing(self.coarse_flow())
            except ValueError as error:
                raise ValueError(
                    "coarse_spin_up runs on half the points, which do not hold the "
                    f"forcing: {error} Or choose coarse_spin_up=0."
                ) from error
        object.__setattr__(self, "dtype", np.dtype(numerics.dtype).type)

    def _check_forcing(self, flow: FlowConfig | TwoLayerConfig) -> None:
        """Raise an error unless the modes of a flow hold the forcing."""
        if isinstance(flow, FlowConfig):
            modes = truncated_modes(Grid(flow.shape, flow.lengths), self.dtype)
            drive_of(flow, self.forcing, modes)

    def coarse_flow(self) -> FlowConfig | TwoLayerConfig:
        """Return the flow at half the resolution, on which the spin-up starts.

        For two layers the damping rate of the smallest scales is the same there.

        Raises:
            ValueError: if that grid is too coarse, for example for the forcing.
        """
        nx, ny = self.flow.shape
        half = replace(self.flow, num_points=(nx // 2, ny // 2))
        if isinstance(half, FlowConfig):
            return half
        steeper = 2.0 ** (2 * half.hyperviscosity_order)
        return replace(half, hyperviscosity=steeper * half.hyperviscosity)

    @property
    def features(self) -> Features:
        """Features of an example."""
        return features_of_flow(self.flow)

    @property
    def les_shape(self) -> tuple[int, int]:
        """`num_points_les` as the pair `(nx, ny)`."""
        return as_pair(self.num_points_les)

    @property
    def width(self) -> float:
        """The filter width in use, by default two LES cells."""
        return width_of(Grid(self.les_shape, self.flow.lengths), self.filter_width)

    @property
    def num_bytes(self) -> int:
        """Size of the fields of all snapshots in bytes."""
        shapes = self.features.shapes(self.les_shape, self.extra_fields).values()
        values = sum(math.prod(shape) for shape in shapes)
        snapshots = sum(self.num_trajectories) * self.num_snapshots
        return snapshots * values * np.dtype(np.float32).itemsize

    def trajectory_ids(self, split: str) -> list[int]:
        """Return the numbers of the trajectories of a split; splits do not overlap.

        Raises:
            ValueError: for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; expected one of {SPLITS}.")
        first = SPLITS.index(split) * _SPLIT_STRIDE
        count = self.num_trajectories[SPLITS.index(split)]
        return list(range(first, first + count))

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain, JSON-ready types; functions by their names.

        The default engine, and the operator of one plane, are left out, as in configs
        older than these options.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        named = ("forcing", "scheme", "dtype", "engine")
        by_name = {name: plain_value(values[name]) for name in named}
        start = asdict(self.start) if is_dataclass(self.start) else self.start
        plain = values | by_name | {"flow": self.flow.to_dict(), "start": start}
        if self.engine == FftwEngine():
            del plain["engine"]
        if self.operator is None:
            del plain["operator"]
        return plain


def trajectory_key(ensemble: EnsembleConfig, trajectory_id: int) -> str:
    """Return the key of files that belong to one trajectory of one ensemble."""
    return f"{config_hash(ensemble)}/{trajectory_id}"


def config_hash(ensemble: EnsembleConfig) -> str:
    """Return the SHA-256 of everything that determines the numbers of an ensemble."""
    versions: list[Any] = [_FORMAT_VERSION]
    sizes = (*as_pair(ensemble.flow.num_points), *ensemble.les_shape)
    # Version 4 lost the largest kx of these grids before modes had whole numbers.
    if any(size * (1.0 / size) != 1.0 for size in sizes):
        versions.append("modes by number")
    return json_hash([*versions, plain_config(ensemble)])


def plain_config(ensemble: EnsembleConfig) -> dict[str, Any]:
    """Return the config as JSON-ready values; an infinite number becomes a string."""
    plain: dict[str, Any] = plain_value(ensemble.to_dict())
    # Two classes of start fields may have equal values.
    plain["start_class"] = type(ensemble.start).__qualname__
    return plain


def plain_value(value: Any) -> Any:
    """Return JSON-ready numbers, strings, lists and dictionaries for a value.

    An infinite number becomes a string, a dtype its name, a function or class of a
    module its qualified name, a dataclass a dictionary of its class and its values.

    Example:
        >>> plain_value([math.inf, np.int64(3), np.float32, math.hypot])
        ['inf', 3, 'float32', 'math.hypot']
    """
    if isinstance(value, Mapping):
        return {str(key): plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain_value(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.dtype):
        return value.name
    return _named(value)


def _named(value: Any) -> Any:
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "args": value.args, "keywords": value.keywords}
        return plain_value(parts)
    if is_dataclass(value) and not isinstance(value, type):
        values = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        return {"class": _named(type(value)), **plain_value(values)}
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    name, module = (
        getattr(value, f"__{part}__", "") for part in ("qualname", "module")
    )
    if not (name and module) or "<" in name:
        raise TypeError(
            "the config of a dataset must hold numbers, strings, frozen dataclasses of "
            "them and functions of a module, so that it can be written beside the data "
            f"and sent to other processes; received {value!r}."
        )
    if module.startswith("turbulence_data."):
        module = _RECORDED_MODULES.get(name, module)
    return f"{module}.{name}"
