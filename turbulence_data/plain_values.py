"""Values of a config as JSON-ready data, to be written beside what they decide."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

# The modules under whose names the first datasets recorded these. Config hashes hold
# the names, so they stay although the modules have moved.
_RECORDED_MODULES = {
    "integrating_factor_rk4": "turbulence_data.solver.time_stepping",
    "etdrk4": "turbulence_data.solver.time_stepping",
    "SteadyForcing": "turbulence_data.solver.forcing",
    "RingForcing": "turbulence_data.solver.ring_forcing",
    "FilteredForcing": "turbulence_data.filtered_forcing",
    "FftwEngine": "turbulence_data.solver.engine",
    "JaxEngine": "turbulence_data.jax_engine.engine",
}


def plain_value(value: Any) -> Any:
    """Returns numbers, strings, lists and dictionaries that say what a value is.

    An infinite number becomes a string, a dtype its name, a function or class of a
    module its qualified name, a dataclass a dictionary of its class and its values.

    Raises:
        TypeError: for what has no value or name to be known by, such as a lambda.

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
