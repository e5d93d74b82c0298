"""Named flows of the dataset, and configs to name flows of your own.

Full-size flows are for a cluster or an accelerator, mini ones take minutes on a CPU,
tiny ones are for tests and take seconds.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, field
from typing import Any

import tensorflow_datasets as tfds

from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.solver._initial_conditions import (
    RandomPotentialVorticity,
    RandomVorticity,
)

_LONGEST_NAME = 100  # bytes, since file systems bound the name of a directory


@dataclass(eq=False)
class TurbulenceConfig(tfds.core.BuilderConfig):
    """A name for an ensemble: flow, filter, sampling and seed.

    The name is that of a directory too: letters, digits, `_`, `-` and `.`, beginning
    with a letter, a digit or `_`, at most 100 bytes.

    Raises:
        TypeError: for an ensemble of another type.
        ValueError: for another name.
    """

    ensemble: EnsembleConfig = field(kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not isinstance(self.ensemble, EnsembleConfig):
            raise TypeError(f"expected an EnsembleConfig; received {self.ensemble!r}.")


def check_name(name: Any) -> None:
    """Raise ValueError for a name that TFDS cannot load or that is no directory's."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"\w[\w.-]*", name)
        or len(name.encode()) > _LONGEST_NAME
    ):
        raise ValueError(
            "the name of a flow must be letters, digits, '_', '-' and '.', beginning "
            f"with a letter, a digit or '_', at most {_LONGEST_NAME} bytes; received "
            f"{name!r:.120}. Choose one such as 'forced_re2e3_kf16'."
        )


_FULL: dict[str, Any] = {"num_trajectories": (20, 4, 4), "num_snapshots": 100}
_MINI: dict[str, Any] = {"num_trajectories": (8, 1, 2), "num_snapshots": 25}


def _plane(
    reynolds: float,
    forcing_wavenumber: int | None,
    num_points: int,
    time_step: float,
    interval: float,
    **physics: Any,
) -> EnsembleConfig:
    """Return a flow of full size, or of mini size for 256 points."""
    size, num_points_les, spin_up, coarse_spin_up = (
        (_MINI, 64, 24.0, 20.0) if num_points == 256 else (_FULL, 128, 50.0, 40.0)
    )
    if forcing_wavenumber is None:
        physics["linear_drag"] = 0.0
        spin_up, coarse_spin_up = 5.0, 0.0
    return EnsembleConfig(
        FlowConfig(
            num_points, reynolds, forcing_wavenumber=forcing_wavenumber, **physics
        ),
        num_points_les,
        **size,
        spin_up=spin_up,
        coarse_spin_up=coarse_spin_up,
        interval=interval,
        time_step=time_step,
        start=RandomVorticity(energy=0.5, peak_wavenumber=6.0),
    )


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
# Published regimes, eddies and jets of the ocean: deformation radius, beta, bottom drag
# and ratio of the layers, in SI units.
_TWO_LAYERS = {
    "eddy": (15e3, 1.5e-11, 5.787e-7, 0.25),
    "jet": (15e3, 1e-11, 7e-8, 0.1),
    "3jet": (15e3, 5e-12, 3.5e-8, 0.05),
    "rd20": (20e3, 1.5e-11, 5.787e-7, 0.25),
}
# nu_h k^8 that damps the smallest scales at 1e-4 / s, ten times faster than they turn.
_HYPERVISCOSITY = {256: 1.51e22, 128: 4.25e24, 32: 4.12e29}


def _two_layers(name: str, num_points: int, **sampling: Any) -> EnsembleConfig:
    """Return a published regime; jets need years of spin-up, eddies months."""
    spin_up = _YEAR * (5.0 if "jet" in name else 1.0)
    options: dict[str, Any] = {
        "num_points_les": num_points // 4,
        "spin_up": spin_up,
        "coarse_spin_up": spin_up - 36 * _DAY,
    }
    flow = TwoLayerConfig(
        num_points,
        *_TWO_LAYERS[name],
        hyperviscosity=_HYPERVISCOSITY[num_points],
        hyperviscosity_order=4,
    )
    return EnsembleConfig(
        flow,
        start=RandomPotentialVorticity(),
        operator="operator_2",
        extra_fields=("velocity", "operator_1", "operator_3"),
        **(options | sampling),
    )


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
    flows["tiny_qg_eddy"] = _two_layers(
        "eddy",
        32,
        num_points_les=16,
        num_trajectories=(4, 1, 1),
        num_snapshots=8,
        spin_up=60 * _DAY,
        coarse_spin_up=0.0,
        interval=5 * _DAY,
        time_step=14_400.0,
    )
    return flows


# Inviscid except for nu_h k^8, which ends the enstrophy cascade about a factor of 1.3
# below the largest wavenumber; half the resolution needs 2^8 times the coefficient.
_HYPER_FULL = {"hyperviscosity": 2e-17, "hyperviscosity_order": 4}
_HYPER_MINI = {"hyperviscosity": 5e-15, "hyperviscosity_order": 4}

NAMED_FLOWS: dict[str, EnsembleConfig] = {
    # Reynolds number, wavenumber of the forcing, points, time step, interval.
    "decaying_re2e4": _plane(2e4, None, 1024, 1.25e-3, 0.2),
    "forced_re2e4_kf4": _plane(2e4, 4, 1024, 6.25e-4, 1.0),
    "forced_re1e3_kf4": _plane(1e3, 4, 512, 1.25e-3, 1.0),
    "forced_re1e5_kf4": _plane(1e5, 4, 1536, 4e-4, 1.0),
    "forced_re2e4_kf25": _plane(2e4, 25, 1024, 1.25e-3, 1.0),
    "forced_re2e4_kf4_beta20": _plane(2e4, 4, 1024, 6.25e-4, 1.0, beta=20.0),
    "forced_hyper_kf4": _plane(math.inf, 4, 512, 1.25e-3, 1.0, **_HYPER_FULL),
    "mini_decaying_re2e3": _plane(2e3, None, 256, 4e-3, 0.4),
    "mini_forced_re2e3_kf4": _plane(2e3, 4, 256, 2.5e-3, 0.4),
    "mini_forced_re2e3_kf16": _plane(2e3, 16, 256, 4e-3, 0.25),
    "mini_forced_re5e2_kf4": _plane(5e2, 4, 256, 2.5e-3, 0.4),
    "mini_forced_re4e3_kf4": _plane(4e3, 4, 256, 2.5e-3, 0.4),
    "mini_forced_re2e3_kf4_beta20": _plane(2e3, 4, 256, 2.5e-3, 0.4, beta=20.0),
    "mini_forced_hyper_kf4": _plane(math.inf, 4, 256, 2.5e-3, 0.4, **_HYPER_MINI),
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
