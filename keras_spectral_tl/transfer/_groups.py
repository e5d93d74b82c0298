"""Groups of samples, such as trajectories: no group is in both training and test."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]


def own_groups(data: Any, count: int) -> Labels | None:
    """Return the attribute `groups` of a pair `(x, y)`, if it makes a difference.

    A source of batches has none, because it may return its samples in another order.
    """
    groups = getattr(data, "groups", None) if isinstance(data, tuple | list) else None
    if groups is None:
        return None
    return telling_groups(_one_each("the attribute groups of the data", groups, count))


def given_groups(groups: Any, count: int) -> Labels | None:
    """Return the groups that a user passed, if they make a difference; two or more."""
    labels = _one_each("groups", groups, count, "target ")
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(
            "groups must be two or more, so that one can be fitted and another tested. "
            f"Received only {names[0].item()!r}: leave groups out, or add a trajectory."
        )
    return telling_groups(labels)


def telling_groups(labels: Labels) -> Labels | None:
    """Return the labels, or None where they make no difference.

    They make none if there is only one group, which cannot be held out, or if each
    sample is a group of its own, so that samples are held out as without groups.
    """
    return labels if 1 < len(np.unique(labels)) < len(labels) else None


def _one_each(name: str, groups: Any, count: int, of: str = "") -> Labels:
    labels = np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(
            f"{name} must be one label for each of the {count} {of}samples. Received "
            f"an array of shape {labels.shape}."
        )
    # Check the items of the list: next to strings, NumPy makes None the text "None".
    items = groups if isinstance(groups, list | tuple) else list(labels)
    missing = [row for row, label in enumerate(items) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"{name} must be one label for each of the {count} {of}samples. Received "
            f"{items[missing[0]]!r} for {len(missing)} of them, first at row "
            f"{missing[0]}: give each the label of its trajectory, or leave these "
            "samples out."
        )
    try:
        np.unique(labels)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in items})
        raise TypeError(
            f"{name} must be labels of one kind, such as whole numbers or texts, so "
            f"that equal ones are found. Received {' and '.join(kinds)}: pass "
            "[str(label) for label in groups]."
        ) from None
    return labels


def _is_missing(label: Any) -> bool:
    """Return whether a label is missing: None, nan or NaT (unequal to itself)."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):  # so answers pandas.NA
        return True
