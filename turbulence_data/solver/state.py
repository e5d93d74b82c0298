"""The state of a simulation, and what a field must be to start one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from turbulence_data._checks import as_pair
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.transforms import Field, FieldHat


@dataclass(frozen=True)
class State:
    """A moment of a simulation: all that it needs to go on, bit for bit.

    Attributes:
        vorticity_hat: coefficients of the resolved modes.
        time: time.
        step_number: steps made so far, which number the kicks of a stochastic forcing.
    """

    vorticity_hat: FieldHat
    time: float = 0.0
    step_number: int = 0


def check_vorticity(vorticity: ArrayLike, grid: Grid) -> Field:
    """Returns the field as float64 after checking that a simulation can start from it.

    Raises:
        ValueError: for a wrong shape, complex or non-finite values, a mean that is not
            zero.
    """
    return check_field("vorticity", vorticity, grid.num_points)


def field_shape(field: ArrayLike, name: str = "vorticity") -> tuple[int, int]:
    """Returns the shape of one plane field.

    Raises:
        ValueError: for another number of axes, or fewer than 4 points in one.
    """
    shape = np.shape(field)
    if len(shape) != 2:
        raise ValueError(
            f"{name} must be one plane field of shape (nx, ny); received the shape "
            f"{shape}. Pass one field at a time, without batch and channel axes."
        )
    return as_pair(shape, f"the shape of {name}")


def check_field(name: str, values: ArrayLike, shape: tuple[int, int]) -> Field:
    """Returns a field that a periodic domain can hold as vorticity, as float64.

    Args:
        name: what errors call it.
        values: the field.
        shape: what it must have.

    Raises:
        ValueError: for a wrong shape, complex or non-finite values, a mean that is not
            zero.
    """
    field = np.asarray(values)
    if field.shape != shape:
        raise ValueError(
            f"{name} must have the shape (nx, ny) = {shape} of the flow; "
            f"received {field.shape}. Change num_points or resample the field."
        )
    if not (np.issubdtype(field.dtype, np.floating) or field.dtype.kind in "iu"):
        raise ValueError(f"{name} must be real; received dtype {field.dtype}.")
    field = field.astype(np.float64)
    num_bad = int(np.count_nonzero(~np.isfinite(field)))
    if num_bad:
        raise ValueError(
            f"{name} must be finite; {num_bad} of {field.size} values are NaN or "
            "infinite."
        )
    mean, scale = float(field.mean()), float(np.abs(field).max())
    if abs(mean) > 1e-6 * scale:
        raise ValueError(
            f"the mean {name} of a periodic domain is zero; received a field with "
            f"mean {mean:.6g}. Subtract the mean."
        )
    return field
