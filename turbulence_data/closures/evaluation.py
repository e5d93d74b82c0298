"""Evaluating any closure on one field or on an ensemble of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from turbulence_data._checks import check_kind
from turbulence_data.solver.transforms import Field

Closure = Callable[[Field, Field], Field]


def evaluate(closure: Closure, vorticity: Field, streamfunction: Field) -> Field:
    """Returns sgs_forcing of fields of shape `(..., nx, ny)`.

    A closure that says `accepts_batches = True`, as those of this package and the
    network closures do, receives all fields at once, any other one after another.

    Args:
        closure: `(vorticity, streamfunction) -> sgs_forcing`.
        vorticity: physical fields.
        streamfunction: theirs.

    Raises:
        ValueError: when the result is not real or has another shape.

    Example:
        >>> fields = np.ones((3, 4, 4))
        >>> evaluate(lambda vorticity, psi: -0.5 * vorticity, fields, fields).shape
        (3, 4, 4)
    """
    for name, field in (("vorticity", vorticity), ("streamfunction", streamfunction)):
        check_kind(name, field, np.ndarray)
    if vorticity.ndim == 2 or getattr(closure, "accepts_batches", False):
        return _checked(closure(vorticity, streamfunction), vorticity.shape)
    shape = vorticity.shape
    points = shape[-2:]
    pairs = zip(
        vorticity.reshape(-1, *points), streamfunction.reshape(-1, *points), strict=True
    )
    return np.stack([_checked(closure(*pair), points) for pair in pairs]).reshape(shape)


def _checked(sgs_forcing: Any, shape: tuple[int, ...]) -> Field:
    values = np.asarray(sgs_forcing)
    if values.shape != shape or np.iscomplexobj(values):
        raise ValueError(
            "a closure must return real sgs_forcing on the grid of its arguments; "
            f"expected shape {shape}, received {values.shape} of dtype {values.dtype}."
        )
    return values
