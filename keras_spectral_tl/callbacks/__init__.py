"""Keras callbacks: switch layers during a fit and record spectra on the way."""

import importlib
from typing import Any

_HOME = {
    "ActivationSpectra": "_activation_spectra",
    "CheckedBackup": "_checked_backup",
    "FreezeFromBottom": "_freeze_schedules",
    "FreezeLayers": "_freeze_layers",
    "KernelSpectra": "_kernel_spectra",
    "LayersByEpoch": "_freeze_schedules",
    "NextPhaseOnPlateau": "_freeze_schedules",
    "UnfreezeFromBottom": "_freeze_schedules",
    "UnfreezeFromTop": "_freeze_schedules",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
