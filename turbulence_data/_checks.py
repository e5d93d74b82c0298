"""Argument checks with errors that name what was expected and what was received."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TWO_PI = 2.0 * math.pi
_MIN_POINTS = 4
# Powers of ten within the range of float64, with room for sums.
_LARGEST_POWER = 300
_SINGLE = np.finfo(np.float32)


def check_whole(name: str, value: Any, at_least: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise ValueError(
            f"{name} must be a whole number of at least {at_least}; received {value!r}."
        )


def check_finite(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number."""
    if not is_finite_number(value):
        raise ValueError(f"{name} must be a finite number; received {value!r}.")


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a positive, finite number."""
    if not is_finite_number(value) or not value > 0:
        raise ValueError(f"{name} must be positive and finite; received {value!r}.")


def check_at_least_zero(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if not is_finite_number(value) or not value >= 0:
        raise ValueError(f"{name} must be finite and at least 0; received {value!r}.")


def check_moments(name: str, mean: Any, std: Any) -> None:
    """Raise ValueError unless mean and std are finite and the std is positive.

    Both in single precision, in which fields are normalized.
    """
    check_finite(f"the mean of {name}", mean)
    check_positive(f"the std of {name}", std)
    least, most = float(_SINGLE.tiny), float(_SINGLE.max)
    if not least <= std <= most or abs(mean) > most:
        raise ValueError(
            f"mean and std of {name} must be within single precision, "
            f"{least:.0e} to {most:.0e}; received {mean!r} and {std!r}. Choose units "
            "in which they are."
        )


def check_filter_width(value: Any, lengths: tuple[float, float]) -> None:
    """Raise ValueError unless a filter width is positive and fits into the domain."""
    check_positive("filter_width", value)
    if value > max(lengths):
        raise ValueError(
            f"filter_width must be at most {max(lengths):g}, the longer side of the "
            f"domain; received {value!r}."
        )


def is_finite_number(value: Any) -> bool:
    """Return whether `value` is a real, finite number; a bool is not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def plain(value: Any) -> Any:
    """Return a NumPy array as a list, or as a number; anything else as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def as_pair(num_points: Any, name: str = "num_points") -> tuple[int, int]:
    """Return `(nx, ny)` for one number (a square grid) or a pair."""
    num_points = plain(num_points)
    is_one = isinstance(num_points, str) or not isinstance(num_points, Sequence)
    pair = (num_points, num_points) if is_one else num_points
    if len(pair) != 2:
        raise ValueError(
            f"{name} must be a whole number or a pair (nx, ny) of them; "
            f"received {num_points!r}."
        )
    for n in pair:
        check_whole(f"{name} (each direction)", n, at_least=_MIN_POINTS)
    return int(pair[0]), int(pair[1])


def as_lengths(lengths: Any) -> tuple[float, float]:
    """Return the domain size `(Lx, Ly)` as floats."""
    lengths = plain(lengths)
    if not isinstance(lengths, Sequence) or len(lengths) != 2:
        raise ValueError(
            f"lengths must be a pair of numbers (Lx, Ly); received {lengths!r}."
        )
    for length in lengths:
        check_positive("lengths (each direction)", length)
    return float(lengths[0]), float(lengths[1])


def check_wavenumbers(
    num_points: tuple[int, int], lengths: tuple[float, float]
) -> float:
    """Return the largest `|k|` of a grid.

    Raises:
        ValueError: if `k^4` or `1 / k^4`, of which spectra and filters are made, leaves
            the range of floats at the smallest or the largest wavenumber.
    """
    sides = zip(num_points, lengths, strict=True)
    least = TWO_PI / max(lengths)
    most = math.hypot(*(math.pi * n / length for n, length in sides))
    if not all(abs(math.log10(k)) < _LARGEST_POWER / 4 for k in (least, most)):
        raise ValueError(
            f"lengths={lengths} give wavenumbers from {least:.3g} to {most:.3g}, whose "
            "fourth power or its inverse is beyond floating point. Choose a unit of "
            "length in which the domain is near 1, such as lengths=(2 pi, 2 pi)."
        )
    return most


def as_array(name: str, values: Any) -> NDArray[Any]:
    """Return a NumPy array; raise ValueError if some of its values are masked."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"{name} must have no masked values; received a masked NumPy array, whose "
            "mask would be lost. Fill it or drop the masked samples."
        )
    return np.asarray(values)


def real_array(name: str, values: ArrayLike, at_least: int = 1) -> NDArray[np.float64]:
    """Return a float64 array; complex values raise an error (NumPy only warns)."""
    array = as_array(name, values)
    if array.dtype.kind == "O":
        array = np.asarray(values, np.float64)  # of Fractions, say
    check_real(name, array, at_least)
    return np.asarray(array, np.float64)


def check_real(name: str, array: NDArray[Any], at_least: int = 1) -> None:
    """Raise ValueError for complex numbers, text, objects, or too few values."""
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be real numbers; received dtype {array.dtype}. Pass the real "
            "part of a complex field if that is meant."
        )
    if array.size < at_least:
        raise ValueError(
            f"{name} must hold at least {at_least} value(s); received the shape "
            f"{array.shape}."
        )


def check_kind(name: str, value: Any, kind: type, advice: str = "") -> None:
    """Raise TypeError unless `value` is an instance of `kind`."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a {kind.__name__}; received {type(value).__name__}: "
            f"{value!r:.80}.{advice}"
        )


def check_callable(name: str, value: Any, form: str) -> None:
    """Raise TypeError unless `value` is callable; `form` is its signature."""
    if not callable(value):
        raise TypeError(f"{name} must be a callable {form}; received {value!r}.")


def check_object(name: str, value: Any) -> None:
    """Raise TypeError for a class where one of its objects is expected."""
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an object; received the class {value.__name__}. Make one: "
            f"{value.__name__}(...)."
        )


_LOADED = "as tfds.load('turbulence_data/NAME', split='train') returns them"


def check_example(example: Any, features: Sequence[str] = ()) -> None:
    """Raise an error unless `example` is a mapping with all of `features`.

    Raises:
        TypeError: if it is not a mapping.
        KeyError: for a mapping without one of these features.
    """
    if not isinstance(example, Mapping):
        raise TypeError(
            "expected examples as mappings of feature names to arrays, as TFDS decodes "
            f"them; received {type(example).__name__}. Pass the dataset of one split "
            f"{_LOADED}, without as_supervised, not arrays or pairs."
        )
    missing = [name for name in features if name not in example]
    if missing:
        raise KeyError(
            f"expected examples with the features {list(features)}; received some "
            f"without {missing}, which have {sorted(example)}. Pass examples {_LOADED},"
            " without as_supervised, or name features that they have by inputs= and "
            "outputs=, where these are taken."
        )


def by_shapes(value: Any) -> str:
    """Return the fields of a dataclass on one line, arrays by their type and shape.

    For the `__repr__` of objects with many numbers.
    """
    parts = (f"{f.name}={_shown(getattr(value, f.name))}" for f in fields(value))
    return f"{type(value).__name__}({', '.join(parts)})"


def _shown(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list) and len(value) <= 4:
        return "(" + ", ".join(map(_shown, value)) + ")"
    return repr(value)
