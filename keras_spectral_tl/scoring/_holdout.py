"""Splits of the target samples into those to fit and those held out for testing."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.transfer._samples import Samples, given_groups, telling_groups

Array = NDArray[np.float64]

# Number of folds: a quarter of the samples is tested at a time.
_FOLDS = 4
# Share of samples that are equal to others by chance.
_FEW_EQUAL = 0.05
# Fewest groups tested, if there are as many.
_FEWEST_GROUPS = 4
# Pieces of a field; if samples are few, each piece is left out in turn.
_PIECES = 8


@dataclass(frozen=True, eq=False)
class Split:
    """Samples to fit and samples to test on, or two halves of the same sample.

    Attributes:
        fit: Indices of the samples to fit.
        held: Indices of the samples to test on.
        fit_mask: 1 where an output is fitted, 0 elsewhere. It has the shape of one
            sample, or of all samples to fit if they differ, as images of a half do.
        held_mask: 1 where an output is tested, 0 elsewhere; shape of one sample.
    """

    fit: NDArray[np.intp]
    held: NDArray[np.intp]
    fit_mask: Array
    held_mask: Array

    def weight_of(self, places: NDArray[np.intp]) -> Array:
        """Return the masks of the samples at the given places in `fit`."""
        if self.fit_mask.ndim > self.held_mask.ndim:
            return np.asarray(self.fit_mask[places])
        return np.broadcast_to(self.fit_mask, (len(places), *self.fit_mask.shape))


@dataclass(frozen=True)
class Sizes:
    """Most samples to fit and to test at once, and samples to test in total."""

    fit: int
    held: int
    tested: int


def splits_of(
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    sizes: Sizes,
    rng: np.random.Generator,
    weights: Array | None = None,
) -> list[Split]:
    """Divide target samples into folds; each is tested with the others fitted.

    There are four folds, fewer if there are fewer samples, and more if a fold would
    have more than `sizes.held`. Folds are tested one after another until
    `sizes.tested` samples are reached; no sample is tested twice. A single sample is
    cut into halves along its longest spatial axis, and each half is tested with the
    other fitted, because turbulent fields are nearly independent at a distance. The
    result is empty for a single sample that cannot be cut. `shape` is that of the
    outputs, samples first; `weights` of the points of a sample are halved too.
    """
    order = rng.permutation(shape[0])
    if shape[0] == 1:
        return _halves(np.ones(shape[1:]) if weights is None else weights, axes)
    count = min(max(_FOLDS, -(-len(order) // sizes.held)), len(order))
    folds, splits, tested = np.array_split(order, count), [], 0
    whole = np.ones(shape[1:])
    for number in reversed(range(count)):
        if tested >= sizes.tested:
            break
        others = np.concatenate([*folds[number + 1 :], *folds[:number]])
        splits.append(Split(others[: sizes.fit], folds[number], whole, whole))
        tested += len(folds[number])
    return splits


def in_groups(target: Samples, groups: Any) -> tuple[Samples, dict[str, Any]]:
    """Return target samples with the given groups or, if None, with their own.

    Without any, equal samples are a group, if there are many: those repeated to weigh
    them must not be both fitted and tested. Also returns a record of the source and
    number of the groups.

    Raises:
        ValueError: For groups that do not fit.
    """
    source = "given"
    if groups is not None:
        target = replace(target, groups=given_groups(groups, len(target)))
    elif target.groups is not None:
        source, groups = "of the target data", target.groups
    else:
        labels = target.numbered()
        many = len(np.unique(labels)) < (1.0 - _FEW_EQUAL) * len(labels)
        groups = telling_groups(labels) if many else None
        source = "none" if groups is None else "equal samples"
        target = replace(target, groups=groups)
    number = 0 if groups is None else len(np.unique(groups))
    return target, {"groups": source, "num_groups": number}


def folds_of(
    target: Samples, axes: tuple[int, ...], sizes: Sizes, rng: np.random.Generator
) -> list[Split]:
    """Divide target samples by `grouped_splits`, or `splits_of` without groups.

    Raises:
        ValueError: If there are several samples, all equal.
    """
    if target.groups is None:
        if len(target) > 1 and all(np.all(a == a[:1]) for a in target.arrays):
            raise ValueError(
                f"The {len(target)} target samples are all equal, so that none can be "
                "held out. Pass one of them, which is divided into halves."
            )
        return splits_of(np.shape(target.y), axes, sizes, rng, target.weights)
    return grouped_splits(np.shape(target.y), target.groups, sizes, rng)


def grouped_splits(
    shape: tuple[int, ...], groups: Any, sizes: Sizes, rng: np.random.Generator
) -> list[Split]:
    """Divide target samples so that no group is both fitted and tested.

    Groups are assigned to four folds (fewer if there are fewer groups), the largest
    group first, always to the smallest fold. Folds are tested as in `splits_of`, but at
    least until four groups are tested (or `sizes.tested`, if that is less, or all),
    since one or two groups tell little about how groups differ. `groups` is an array of
    the label of each sample, with two groups or more.
    """
    names, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
    folds: list[list[int]] = [[] for _ in range(min(_FOLDS, len(names)))]
    drawn = rng.permutation(len(names))
    for group in drawn[np.argsort(-counts[drawn], kind="stable")]:
        min(folds, key=lambda fold: counts[fold].sum() if fold else 0).append(group)
    whole, splits, tested = np.ones(shape[1:]), [], np.arange(0)
    fewest = min(_FEWEST_GROUPS, sizes.tested)
    for fold in sorted(folds, key=lambda fold: int(counts[fold].sum())):
        if len(tested) >= sizes.tested and len(np.unique(places[tested])) >= fewest:
            break
        inside = np.isin(places, fold)
        held = rng.permutation(np.flatnonzero(inside))[: sizes.held]
        fit = rng.permutation(np.flatnonzero(~inside))[: sizes.fit]
        splits.append(Split(fit, held, whole, whole))
        tested = np.concatenate([tested, held])
    return splits


def _halves(weights: Array, axes: tuple[int, ...]) -> list[Split]:
    axis = _longest(weights.shape, axes)
    if axis is None:
        return []
    others = tuple(i for i in range(weights.ndim) if i != axis)
    *before, total = np.cumsum(weights.sum(axis=others))
    middle = int(np.argmin(np.abs(np.array(before) - total / 2.0)))
    if not 0.0 < before[middle] < total:
        return []
    mask, one = np.zeros(weights.shape), np.array([0])
    np.moveaxis(mask, axis, 0)[: middle + 1] = 1.0
    return [Split(one, one, mask, 1.0 - mask), Split(one, one, 1.0 - mask, mask)]


def pieces_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[Array]:
    """Return masks of one sample, each 0 in one piece and 1 elsewhere.

    The pieces divide the longest of the spatial axes, which are counted with samples
    first; without any, there are no masks.
    """
    axis = _longest(shape, axes)
    if axis is None:
        return []
    count = min(_PIECES, shape[axis])
    piece = np.arange(shape[axis]) * count // shape[axis]
    piece = piece.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return [np.broadcast_to((piece != i) * 1.0, shape) for i in range(count)]


def _longest(shape: tuple[int, ...], axes: tuple[int, ...]) -> int | None:
    """Return the longest spatial axis of one sample, None if none can be cut."""
    axes = axes or tuple(range(1, len(shape)))
    sides = [shape[axis - 1] for axis in axes]
    return axes[int(np.argmax(sides))] - 1 if max(sides, default=0) > 1 else None


def variance_inflation(splits: list[Split]) -> float:
    """Return the factor on the variance of a mean that accounts for overlapping folds.

        1 + J n_held / n_fit   for J folds

    Folds share fitted samples, so their errors are not independent. This is the
    corrected resampled t test of Nadeau & Bengio 2003, doi:10.1023/A:1024068626366,
    with the variance of folds estimated from that of samples.
    """
    held = float(np.mean([len(split.held) for split in splits]))
    fitted = float(np.mean([len(split.fit) for split in splits]))
    return 1.0 + len(splits) * held / fitted
