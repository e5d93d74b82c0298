"""Generation of datasets: trajectories, the processes that run them, their storage.

from turbulence_data.generation import process_pool, sample_trajectory
"""

import importlib
from typing import Any

_HOME = {
    "FilteredForcing": "turbulence_data.filtered_forcing",
    "InProcessExecutor": "turbulence_data.generation._pool",
    "Trajectory": "turbulence_data.generation._trajectory",
    "content_hash": "turbulence_data.generation._statistics",
    "process_pool": "turbulence_data.generation._pool",
    "sample_trajectory": "turbulence_data.generation._trajectory",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
