"""Keras layers for doubly periodic fields."""

import importlib
from typing import Any

_HOME = {
    "PeriodicConv2D": "periodic_conv2d",
    "PeriodicPadding2D": "periodic_padding2d",
    "RadialSpectrum2D": "radial_spectrum2d",
}

__all__ = ["PeriodicConv2D", "PeriodicPadding2D", "RadialSpectrum2D"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
