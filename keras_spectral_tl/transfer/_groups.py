"""Groups of samples, such as trajectories, none of which is both fitted and tested."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]


def own_groups(data: Any, count: int) -> Labels | None:
    """Return the groups that a pair `(x, y)` brings in its attribute `groups`, if any.

    A source of batches has none: it may give its samples in another order.

    Args:
        data: What a user passed as samples.
        count: Number of samples.

    Raises:
        ValueError: If there is not one label a sample, or some are missing.
        TypeError: If labels cannot be compared.
    """
    groups = getattr(data, "groups", None) if isinstance(data, tuple | list) else None
    if groups is None:
        return None
    labels = _one_each("the attribute groups of the data", groups, count)
    return telling_groups(labels)


def given_groups(groups: Any, count: int) -> Labels | None:
    """Return the groups of target samples that a user gave, if they say anything.

    Raises:
        ValueError: If there is not one label a sample, some are missing, or there is
            one group only.
        TypeError: If labels cannot be compared.
    """
    return telling_groups(checked_groups(groups, count))


def telling_groups(labels: Labels) -> Labels | None:
    """Return labels of samples, or None where they make no difference.

    That is where there is one group, which cannot be held out, and where each sample is
    a group, so that samples are held out as without groups.
    """
    return labels if 1 < len(np.unique(labels)) < len(labels) else None


def checked_groups(groups: Any, count: int) -> Labels:
    """Return two groups or more of target samples as an array of labels."""
    labels = _one_each("groups", groups, count, "target ")
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(
            "groups must be two or more, so that one can be fitted and another tested. "
            f"Received only {names[0].item()!r}: leave groups out, or add a trajectory."
        )
    return labels


def _one_each(name: str, groups: Any, count: int, of: str = "") -> Labels:
    labels = np.asarray(groups)
    if labels.shape != (count,):
        raise ValueError(
            f"{name} must be one label for each of the {count} {of}samples. Received "
            f"an array of shape {labels.shape}."
        )
    # The items of a list themselves: among texts NumPy makes "None" and "nan" of them.
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
    """Return whether it is None or, like nan and NaT, not equal to itself."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):  # so answers pandas.NA
        return True
