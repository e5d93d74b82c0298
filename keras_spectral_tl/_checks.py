"""Checks of arguments, with errors that say what was expected and received.

A value of the wrong type raises TypeError, a value out of range ValueError.
"""

import contextlib
import difflib
import importlib
import math
import numbers
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def whole_number(
    name: str, value: Any, at_least: int | None = None, at_most: int | None = None
) -> int:
    bounds = {"at least": at_least, "at most": at_most}
    return int(_number(name, value, int, bounds))


def whole_numbers(name: str, values: Any, at_least: int = 0) -> list[int]:
    """Return a sequence of at least one whole number as a list of ints."""
    try:
        found = [whole_number(name, value, at_least) for value in values]
    except (TypeError, ValueError):
        found = []
    if not found:
        raise ValueError(
            f"{name} must be at least one whole number, each at least {at_least}, in a "
            f"sequence of ints. Received {name}={values!r:.100}."
        )
    return found


def real_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    return _number(name, value, float, bounds)


_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}


def _number(
    name: str, value: Any, kind: type, bounds: Mapping[str, float | None]
) -> float:
    """Return a number of this kind, int or finite float, checked."""
    given = {words: bound for words, bound in bounds.items() if bound is not None}
    what = "a whole number (int)" if kind is int else "a finite number"
    limits = " and ".join(f"{words} {bound}" for words, bound in given.items())
    expected = f"Expected {name} as {what}{limits and ', '}{limits}."
    numeric = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, numeric):
        raise TypeError(f"{expected} Received {name}={value!r:.100}.")
    number: float = kind(value)
    inside = all(_COMPARED[words](number, bound) for words, bound in given.items())
    if not (inside and (kind is int or math.isfinite(number))):
        raise ValueError(f"{expected} Received {name}={value!r:.100}.")
    return number


def one_of(name: str, value: Any, choices: Collection[Any]) -> Any:
    if any(value is choice or value == choice for choice in choices):
        return value
    listed = ", ".join(map(repr, choices))
    raise ValueError(
        f"Expected {name} as one of {listed}. "
        f"Received {name}={value!r:.100}.{did_you_mean(value, choices)}"
    )


def as_callables(symmetries: Any) -> tuple[Any, ...]:
    """Return a sequence of symmetries, or None, as a tuple."""
    found = () if symmetries is None else symmetries
    if not isinstance(found, Sequence) or not all(map(callable, found)):
        raise TypeError(
            "Expected symmetries as a sequence of callables (x, y) -> (x, y). Received "
            f"{symmetries!r:.100}."
        )
    return tuple(found)


def of_one_output(name: str, value: Any, outputs: Collection[str] | None) -> Any:
    """Return the entry of a dict or list of one, such as a loss by output name.

    Anything else is returned as it is. Raises KeyError for a key that is none of the
    names of the outputs, if these are known.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        return value[0]
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((key, entry),) = value.items()
    if outputs and key not in outputs:
        raise KeyError(
            f"Expected {name} by the name of the output, "
            f"{' or '.join(map(repr, outputs))}. Received {name} of {key!r}: pass "
            f"{name} without a name."
        )
    return entry


def did_you_mean(value: Any, choices: Collection[Any]) -> str:
    """Return the sentence " Did you mean 'x'?" for similar names, or nothing."""
    near = difflib.get_close_matches(str(value), list(map(str, choices)), 3, 0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def refuse_masked(values: Any) -> None:
    """Raise ValueError for a masked array with masked values, which would be used."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            "Received a masked NumPy array, whose mask would be lost. Fill it or drop "
            "the masked samples."
        )


def as_array(values: Any) -> NDArray[Any]:
    """Return a NumPy array of array-likes of any library, refusing what would be lost.

    Raises TypeError for a Dataset of xarray, ValueError for masked values.
    """
    refuse_masked(values)
    if hasattr(values, "data_vars"):
        raise TypeError(
            "Expected arrays. Received an xarray.Dataset with the variables "
            f"{', '.join(map(str, values.data_vars))}: make them the channels of one "
            "array, dataset.to_dataarray('channel').transpose(..., 'channel')."
        )
    if hasattr(values, "detach"):  # a torch tensor, perhaps on an accelerator
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    array = np.asarray(values)
    if array.dtype.name == "bfloat16":  # of JAX and TensorFlow; no type of NumPy
        return array.astype(np.float32)
    is_long = array.dtype.kind == "f" and array.dtype.itemsize > 8
    with np.errstate(over="ignore"):  # infinite values are refused where they matter
        return array.astype(np.float64) if is_long else array


def real_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return a float64 array, refusing complex numbers, text and objects."""
    array = as_array(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"Expected real numbers in {name}. Received dtype {array.dtype}. Pass the "
            "real part of a complex field if that is meant."
        )
    return np.asarray(array, np.float64)


def check_finite(name: str, values: Any, mend: str = "") -> None:
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite.{mend}")


def check_one_shape(names: str, first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"Expected {names} of one shape. Received shapes {first.shape} and "
            f"{second.shape}."
        )


@contextlib.contextmanager
def noted(text: str) -> Iterator[None]:
    """Add a note to any exception raised inside the block."""
    try:
        yield
    except Exception as error:
        error.add_note(text)
        raise


def require(module: str, purpose: str, install: str) -> Any:
    """Import an optional dependency and return the module."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} need {module.split('.')[0]}, which is not installed. Install "
            f"it with `pip install {install}`."
        ) from error
