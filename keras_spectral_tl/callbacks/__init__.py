"""Keras callbacks: switch layers during a fit and record spectra on the way."""

import importlib
from typing import Any

_HOME = {
    "ActivationSpectra": "activation_spectra",
    "CheckedBackup": "checked_backup",
    "FreezeFromBottom": "freeze_schedules",
    "FreezeLayers": "freeze_layers",
    "KernelSpectra": "kernel_spectra",
    "LayersByEpoch": "freeze_schedules",
    "NextPhaseOnPlateau": "freeze_schedules",
    "NpzArrays": "npz_arrays",
    "UnfreezeFromBottom": "freeze_schedules",
    "UnfreezeFromTop": "freeze_schedules",
    "ZarrArrays": "zarr_arrays",
}

__all__ = [
    "ActivationSpectra",
    "CheckedBackup",
    "FreezeFromBottom",
    "FreezeLayers",
    "KernelSpectra",
    "LayersByEpoch",
    "NextPhaseOnPlateau",
    "NpzArrays",
    "UnfreezeFromBottom",
    "UnfreezeFromTop",
    "ZarrArrays",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
