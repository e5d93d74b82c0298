"""Numbers by which the functions of a user in an ensemble are known again.

The config of a dataset holds the name of such a function, not its code. These numbers
are kept with the data and compared with those that the function gives later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.solver._forcing import as_forcing
from turbulence_data.solver._grid import Grid, check_field, check_layers
from turbulence_data.solver._modes import truncated_modes
from turbulence_data.solver._simulation import Numerics, Simulation

PARTS = ("forcing", "start", "scheme")
"""Parts of an ensemble that may be functions of a user."""
Fingerprint = Mapping[str, ArrayLike]
"""Name of a part of an ensemble -> numbers."""

# Of every array: its root mean square and random sums, which see a change anywhere.
_NUM_SUMS = 7
# Times at which a forcing is evaluated, as parts of a trajectory.
_PARTS = (0.0, 0.1, 0.37, 1.0)
# Relative; another machine may round differently, and a sum is one of many values.
_TOLERANCE = 1e-6


def fingerprint(
    ensemble: EnsembleConfig, parts: Sequence[str] = PARTS
) -> dict[str, list[float]]:
    """Return numbers for the parts that hold code of a user.

    They are empty for an ensemble of parts of this package, which its values describe.

    Raises:
        ValueError: for a start field that does not fit the flow.
    """
    probes: dict[str, Callable[[EnsembleConfig], list[float]]] = {
        "forcing": _of_forcing,
        "start": _of_start,
        "scheme": _of_scheme,
    }
    own = [name for name in parts if _holds_code(getattr(ensemble, name))]
    return {name: probes[name](ensemble) for name in own}


def check_fingerprint(
    made: Fingerprint, now: Fingerprint, ensemble: EnsembleConfig, directory: str
) -> None:
    """Raise ValueError if a function gives other numbers than when data were made.

    Args:
        made: fingerprint of then; empty for data from before there were any.
        now: fingerprint of now.
        ensemble: the ensemble now.
        directory: where the data are, for the message.
    """
    for name in sorted(made.keys() & now.keys()):
        old, new = (np.asarray(one[name], np.float64) for one in (made, now))
        if old.shape == new.shape:
            scale = max(np.abs(old).max(), np.abs(new).max())
            if np.abs(old - new).max() <= _TOLERANCE * scale:
                continue
        raise ValueError(
            f"the {name} of the config, {getattr(ensemble, name)!r}, has the name that "
            f"it had when the data in {directory} were made, but gives other values: "
            "its code, or what it reads, has changed. Give the config another name, "
            "choose another data_dir, or delete that directory to have all data made "
            "again. Finished data can be read as they are by their name alone, "
            'tfds.load("turbulence_data/NAME").'
        )


def _holds_code(value: Any) -> bool:
    """Return whether a part of an ensemble is, or holds, code outside this package."""
    if isinstance(value, functools.partial):
        return any(map(_holds_code, (value.func, value.args, value.keywords)))
    if isinstance(value, Mapping):
        return any(map(_holds_code, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(map(_holds_code, value))
    is_object = is_dataclass(value) and not isinstance(value, type)
    if is_object and any(_holds_code(getattr(value, f.name)) for f in fields(value)):
        return True
    module = str(getattr(value, "__module__", ""))
    is_code = is_object or callable(value)
    return is_code and not module.startswith("turbulence_data.")


def _of_forcing(ensemble: EnsembleConfig) -> list[float]:
    """Return numbers of the sources of a trajectory at some times, and of its noise."""
    flow, forcing = ensemble.flow, ensemble.forcing
    if forcing is None:
        return []
    modes = truncated_modes(Grid(flow.shape, flow.lengths))
    drive = as_forcing(forcing).for_trajectory(ensemble.seed, 0).on(modes)
    duration = ensemble.spin_up + ensemble.interval * (ensemble.num_snapshots - 1)
    numbers = []
    for part in _PARTS:
        numbers += _numbers(drive.source(modes, part * duration))
    kick_hat = np.zeros(modes.shape, complex)
    drive.kick(kick_hat, 0, 1.0)
    return numbers + _numbers(kick_hat)


def _of_start(ensemble: EnsembleConfig) -> list[float]:
    """Return numbers of the start field of the first trajectory."""
    flow = ensemble.coarse_flow() if ensemble.coarse_spin_up > 0.0 else ensemble.flow
    rng = np.random.default_rng([ensemble.seed, 0])
    field = ensemble.start(Grid(flow.shape, flow.lengths), rng)
    check = check_layers if isinstance(flow, TwoLayerConfig) else check_field
    return _numbers(check("the start field", field, flow.shape))


def _of_scheme(ensemble: EnsembleConfig) -> list[float]:
    """Return numbers of a small flow after three steps of a scheme."""
    flow = ensemble.flow
    is_real = isinstance(flow, FlowConfig) and flow.beta == 0.0
    small = FlowConfig(16, 100.0, 0.1, None, beta=0.0 if is_real else 1.0)
    simulation = Simulation(small, numerics=Numerics(ensemble.scheme))
    x, y = simulation.grid.x, simulation.grid.y
    start = simulation.start(np.cos(x) * np.sin(2.0 * y) + np.sin(3.0 * x + y))
    return _numbers(simulation.advance(start, 0.3, 0.1).vorticity_hat)


def _numbers(values: NDArray[Any]) -> list[float]:
    """Return the root mean square of values, and sums of them with random weights."""
    flat = np.ascontiguousarray(values).view(np.float64).ravel()
    numbers = [float(np.sqrt(np.mean(flat**2)))]
    for key in range(_NUM_SUMS):
        bits = np.random.Philox(key=key).random_raw(flat.size)  # same in all versions
        weights = (bits >> np.uint64(11)) * 2.0**-52 - 1.0
        numbers.append(float(np.sum(weights * flat)) / np.sqrt(flat.size).item())
    return numbers
