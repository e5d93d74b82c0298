"""JAX where it is installed, and in which precision it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np


def import_jax() -> ModuleType:
    """Return `jax`."""
    try:
        import jax
    except ImportError as error:
        raise ImportError(
            "JaxEngine needs JAX, which is not installed: "
            'pip install "keras-spectral-tl[jax]", or jax[cuda12] for an NVIDIA GPU.'
        ) from error
    return jax


@contextmanager
def precision(dtype: np.dtype[Any]) -> Iterator[None]:
    """Let JAX compute in a dtype, in this thread and for as long as this lasts.

    By default JAX takes float64 for float32.
    """
    jax = import_jax()
    # It was a part of jax.experimental before JAX 0.8.
    home = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    with home.enable_x64(bool(dtype == np.float64)):
        yield


def check_precision(dtype: np.dtype[Any]) -> None:
    """Raise ValueError where JAX would silently compute in float32 for float64."""
    jax = import_jax()
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError(
            "JAX computes in float32 here, but float64 was asked for. Call within "
            '"with jax.enable_x64(True):", set the environment variable '
            "JAX_ENABLE_X64=1, or choose dtype=np.float32."
        )
