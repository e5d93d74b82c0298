"""Arguments that are almost right, or not at all, and what may come of them."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

COUNTS: dict[str, Counter[str]] = {}
"""By function: how often it returned, and how often it raised which error."""

DOCUMENTED = (ValueError, TypeError)

NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([-(2**63), 10**30, 0.5, -0.0, 1e-320, 1e308, -1e308]),
    st.sampled_from([math.nan, math.inf, -math.inf, np.float32(3), np.int64(2)]),
    st.booleans(),
    st.floats(-10, 10),
)
SCALARS = st.one_of(
    NUMBERS, st.none(), st.text(max_size=4), st.binary(max_size=2), st.just(1j)
)
ARRAYS = st_np.arrays(
    dtype=st.sampled_from(["f4", "f8", "i4", "?", "c8", "U2"]),
    shape=st_np.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
FIELDS = st_np.arrays(
    dtype=st.sampled_from(["f4", "f8"]),
    shape=st.sampled_from([(8, 8), (8, 12), (7, 9), (1, 8), (4, 4), (2, 8, 8)]),
    elements=st.floats(-8, 8, width=16) | st.sampled_from([math.nan, math.inf]),
    fill=st.floats(-2, 2, width=16),
)
CONTAINERS = st.one_of(
    st.lists(SCALARS, max_size=3),
    st.tuples(SCALARS, SCALARS),
    st.dictionaries(st.text(max_size=3) | st.integers(0, 3), SCALARS, max_size=3),
)
JUNK = st.one_of(SCALARS, CONTAINERS, ARRAYS, FIELDS, st.just(object()), st.just(len))


def near(value: Any) -> st.SearchStrategy[Any]:
    """The value changed a little: another size, type, shape, or one bad entry."""
    if isinstance(value, np.ndarray):
        return st.sampled_from(
            [
                value.astype("f4"), value.astype("c8"), value.tolist(), value[:0],
                value[..., :1], value.T, value[None], value.astype(str), value * 0,
                value * np.nan, np.where(value == value.flat[0], np.inf, value),
                value * 1e200, value.astype(object), np.asfortranarray(value),
            ]
        )  # fmt: skip
    if isinstance(value, bool | int | float):
        changed = [-value, 0, value + 1, float(value), str(value), [value], (value,)]
        return st.sampled_from([*changed, np.float64(value), 0.5 * value, None])
    if isinstance(value, tuple | list):
        return st.sampled_from(
            [value[:-1], [*value, *value], list(value), tuple(value), str(value), None]
        )
    if isinstance(value, Mapping):
        fewer = dict(list(value.items())[1:])
        return st.sampled_from([fewer, {**value, "other": 1}, list(value), {}, None])
    return st.none()


@st.composite
def _replaced(draw: Callable[..., Any], valid: Mapping[str, Any]) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(valid)), min_size=1, max_size=3))
    changed = {name: draw(near(valid[name]) | JUNK) for name in sorted(names)}
    return {**valid, **changed}


def calls(valid: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The valid arguments, one to three of them replaced."""
    return _replaced(valid)


def call(
    name: str,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    errors: tuple[type[Exception], ...] = DOCUMENTED,
) -> None:
    """Calls; lets documented errors with a message pass, and nothing else."""
    counts = COUNTS.setdefault(name, Counter())
    try:
        with np.errstate(all="ignore"):
            function(**arguments)
    except errors as error:
        assert str(error).strip()
        counts[type(error).__name__] += 1
        counts["says what was received"] += "eceived" in str(error)
    else:
        counts["returned"] += 1


def fuzz(
    name: str,
    function: Callable[..., Any],
    valid: Mapping[str, Any],
    errors: tuple[type[Exception], ...] = DOCUMENTED,
) -> None:
    """As many calls with arguments near the valid ones as the profile says."""

    @given(calls(valid))
    def check(arguments: dict[str, Any]) -> None:
        call(name, function, arguments, errors)

    check()
