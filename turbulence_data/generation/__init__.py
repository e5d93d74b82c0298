"""Generation of datasets: trajectories, the processes that run them, their storage.

from turbulence_data.generation import process_pool, sample_trajectory
"""

import importlib
from typing import Any

_HOME = {
    "HISTORY": "_trajectory",
    "InProcessExecutor": "_pool",
    "content_hash": "_statistics",
    "process_pool": "_pool",
    "run_trajectories": "_pool",
    "sample_trajectory": "_trajectory",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
