"""Keras callbacks: switch layers during a fit and record spectra on the way."""

import importlib
from typing import Any

_HOME = {
    "ActivationSpectra": "activation_spectra",
    "FreezeLayers": "freeze_layers",
    "KernelSpectra": "kernel_spectra",
}

__all__ = ["ActivationSpectra", "FreezeLayers", "KernelSpectra"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
