"""The solver on JAX: the same flows, schemes and forcings, on an accelerator.

Names are imported at first use, since most of them need JAX.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "JaxEngine": "_engine",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
