"""Generation of datasets: trajectories, process pools to run them, and storage.

from turbulence_data.generation import process_pool, sample_trajectory
"""

from turbulence_data._lazy import lazy

_HOME = {
    "HISTORY": "_trajectory",
    "InProcessExecutor": "_pool",
    "content_hash": "_statistics",
    "process_pool": "_pool",
    "run_trajectories": "_pool",
    "sample_trajectory": "_trajectory",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy(__name__, _HOME)
