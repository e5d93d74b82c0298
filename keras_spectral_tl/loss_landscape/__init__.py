"""The loss around a model, restricted to the weights of one layer."""

import importlib
from typing import Any

_HOME = {
    "HessianEnds": "_hessian",
    "LayerLandscape": "_landscapes",
    "LayerLoss": "_layer_loss",
    "filter_scales": "_landscapes",
    "gradient_direction": "_landscapes",
    "hessian_ends": "_hessian",
    "layer_landscape": "_landscapes",
    "line_convexity": "_landscapes",
    "loss_landscapes": "_landscapes",
    "loss_surface": "_landscapes",
    "random_direction": "_landscapes",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
