"""Named flows of the dataset, and configs to name flows of your own.

Full-size flows are for a cluster or an accelerator, mini ones take minutes on a CPU,
tiny ones are for tests and take seconds.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import tensorflow_datasets as tfds

from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.solver._initial_conditions import (
    RandomPotentialVorticity,
    RandomVorticity,
)


@dataclass(eq=False)
class TurbulenceConfig(tfds.core.BuilderConfig):
    """A name for an ensemble: flow, filter, sampling and seed."""

    ensemble: EnsembleConfig = field(kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.ensemble, EnsembleConfig):
            raise TypeError(f"expected an EnsembleConfig; received {self.ensemble!r}.")


_FULL: dict[str, Any] = {"num_trajectories": (20, 4, 4), "num_snapshots": 100}
_MINI: dict[str, Any] = {"num_trajectories": (8, 1, 2), "num_snapshots": 25}


def _plane(
    reynolds: float,
    forcing_wavenumber: int | None,
    num_points: int,
    time_step: float,
    interval: float,
    is_full: bool,
) -> EnsembleConfig:
    decaying = forcing_wavenumber is None
    spin_up, coarse_spin_up = (50.0, 40.0) if is_full else (24.0, 20.0)
    return EnsembleConfig(
        flow=FlowConfig(
            num_points=num_points,
            reynolds=reynolds,
            linear_drag=0.0 if decaying else 0.1,
            forcing_wavenumber=forcing_wavenumber,
        ),
        num_points_les=128 if is_full else 64,
        **(_FULL if is_full else _MINI),
        spin_up=5.0 if decaying else spin_up,
        coarse_spin_up=0.0 if decaying else coarse_spin_up,
        interval=interval,
        time_step=time_step,
        start=RandomVorticity(energy=0.5, peak_wavenumber=6.0),
    )


def _full(
    reynolds: float, forcing_wavenumber: int | None, num_points: int, time_step: float
) -> EnsembleConfig:
    interval = 0.2 if forcing_wavenumber is None else 1.0
    return _plane(reynolds, forcing_wavenumber, num_points, time_step, interval, True)


def _mini(
    reynolds: float,
    forcing_wavenumber: int | None,
    time_step: float,
    interval: float = 0.4,
) -> EnsembleConfig:
    return _plane(reynolds, forcing_wavenumber, 256, time_step, interval, False)


def _tiny(forcing_wavenumber: int) -> EnsembleConfig:
    return EnsembleConfig(
        flow=FlowConfig(64, reynolds=200.0, forcing_wavenumber=forcing_wavenumber),
        num_points_les=32,
        num_trajectories=(4, 1, 1),
        num_snapshots=8,
        spin_up=6.0,
        interval=0.5,
        time_step=0.01,
        start=RandomVorticity(energy=0.5, peak_wavenumber=4.0),
    )


_DAY, _YEAR = 86_400.0, 360 * 86_400.0  # the year of the published runs
# Name -> physics of the published regimes: eddies and jets of the ocean, in SI units.
_TWO_LAYERS: dict[str, dict[str, Any]] = {
    "eddy": {"deformation_radius": 15e3, "beta": 1.5e-11, "bottom_drag": 5.787e-7},
    "jet": {
        **{"deformation_radius": 15e3, "beta": 1e-11, "bottom_drag": 7e-8},
        "layer_ratio": 0.1,
    },
    "3jet": {
        **{"deformation_radius": 15e3, "beta": 5e-12, "bottom_drag": 3.5e-8},
        "layer_ratio": 0.05,
    },
    "rd20": {"deformation_radius": 20e3, "beta": 1.5e-11, "bottom_drag": 5.787e-7},
}
# nu_h k^8 that damps the smallest scales at 1e-4 / s, ten times faster than they turn.
_HYPERVISCOSITY = {256: 1.51e22, 128: 4.25e24, 32: 4.12e29}


def _two_layers(name: str, num_points: int, **sampling: Any) -> EnsembleConfig:
    """Return a published regime; jets need years of spin-up, eddies months."""
    spin_up = _YEAR * (5.0 if "jet" in name else 1.0)
    options: dict[str, Any] = {
        "spin_up": spin_up,
        "coarse_spin_up": spin_up - 36 * _DAY,
        "start": RandomPotentialVorticity(),
        "operator": "operator_2",
        "extra_fields": ("velocity", "operator_1", "operator_3"),
    }
    flow = TwoLayerConfig(
        num_points,
        **_TWO_LAYERS[name],
        hyperviscosity=_HYPERVISCOSITY[num_points],
        hyperviscosity_order=4,
    )
    return EnsembleConfig(flow, num_points // 4, **(options | sampling))


def _two_layer_flows() -> dict[str, EnsembleConfig]:
    sizes: dict[str, tuple[int, dict[str, Any]]] = {
        "qg": (256, _FULL | {"interval": 20 * _DAY, "time_step": 3600.0}),
        "mini_qg": (128, _MINI | {"interval": 10 * _DAY, "time_step": 7200.0}),
    }
    flows = {
        f"{size}_{name}": _two_layers(name, num_points, **sampling)
        for size, (num_points, sampling) in sizes.items()
        for name in _TWO_LAYERS
    }
    flows["tiny_qg_eddy"] = replace(
        _two_layers(
            "eddy",
            32,
            num_trajectories=(4, 1, 1),
            num_snapshots=8,
            interval=5 * _DAY,
            time_step=14_400.0,
            coarse_spin_up=0.0,
        ),
        num_points_les=16,
        spin_up=60 * _DAY,
    )
    return flows


def _with(ensemble: EnsembleConfig, **physics: Any) -> EnsembleConfig:
    flow: Any = ensemble.flow
    return replace(ensemble, flow=replace(flow, **physics))


# Inviscid except for nu_h k^8, which ends the enstrophy cascade about a factor of 1.3
# below the largest wavenumber; half the resolution needs 2^8 times the coefficient.
_HYPERVISCOUS = {"reynolds": math.inf, "hyperviscosity_order": 4}

NAMED_FLOWS: dict[str, EnsembleConfig] = {
    "decaying_re2e4": _full(2e4, None, 1024, 1.25e-3),
    "forced_re2e4_kf4": _full(2e4, 4, 1024, 6.25e-4),
    "forced_re1e3_kf4": _full(1e3, 4, 512, 1.25e-3),
    "forced_re1e5_kf4": _full(1e5, 4, 1536, 4e-4),
    "forced_re2e4_kf25": _full(2e4, 25, 1024, 1.25e-3),
    "forced_re2e4_kf4_beta20": _with(_full(2e4, 4, 1024, 6.25e-4), beta=20.0),
    "forced_hyper_kf4": _with(
        _full(1e3, 4, 512, 1.25e-3), hyperviscosity=2e-17, **_HYPERVISCOUS
    ),
    "mini_decaying_re2e3": _mini(2e3, None, 4e-3),
    "mini_forced_re2e3_kf4": _mini(2e3, 4, 2.5e-3),
    "mini_forced_re2e3_kf16": _mini(2e3, 16, 4e-3, interval=0.25),
    "mini_forced_re5e2_kf4": _mini(5e2, 4, 2.5e-3),
    "mini_forced_re4e3_kf4": _mini(4e3, 4, 2.5e-3),
    "mini_forced_re2e3_kf4_beta20": _with(_mini(2e3, 4, 2.5e-3), beta=20.0),
    "mini_forced_hyper_kf4": _with(
        _mini(2e3, 4, 2.5e-3), hyperviscosity=5e-15, **_HYPERVISCOUS
    ),
    "tiny_forced_re2e2_kf4": _tiny(4),
    "tiny_forced_re2e2_kf8": _tiny(8),
    **_two_layer_flows(),
}
"""Name of a dataset config -> its ensemble."""


def named_flow(name: str) -> EnsembleConfig:
    """Return the ensemble of a named flow.

    Raises:
        KeyError: for an unknown name; the message lists the names.

    Example:
        >>> named_flow("mini_forced_re2e3_kf4").flow.reynolds
        2000.0
    """
    if name not in NAMED_FLOWS:
        near = difflib.get_close_matches(str(name), NAMED_FLOWS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"unknown flow {name!r}.{hint} Known: {sorted(NAMED_FLOWS)}.")
    return NAMED_FLOWS[name]
