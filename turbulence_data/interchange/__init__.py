"""Datasets to and from other formats: Zarr, netCDF and npz out, MATLAB in.

Needs the extra `[interchange]`; importing the package alone does not.
"""

import importlib
from typing import Any

_HOME = {
    "ExportSource": "_source",
    "MatlabExamples": "_matlab",
    "MatlabLayout": "_matlab",
    "MatlabVariable": "_matlab",
    "TL_FOR_SGS_MODELS": "_matlab",
    "check_conventions": "_conventions",
    "export": "_writers",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
