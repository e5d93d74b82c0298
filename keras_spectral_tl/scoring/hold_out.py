"""Which part of the target samples is fitted and which is held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HoldOut:
    """Samples to fit and samples to test on, or two halves of the same samples.

    Attributes:
        fit: indices of the samples to fit.
        held: indices of the samples to test on.
        fit_mask: 1 where an output is fitted, 0 elsewhere; shape of one sample.
        held_mask: 1 where an output is tested.
    """

    fit: NDArray[np.intp]
    held: NDArray[np.intp]
    fit_mask: Array
    held_mask: Array


@dataclass(frozen=True)
class Sizes:
    """How many samples are fitted and tested.

    Attributes:
        fit: most samples fitted at once.
        held: most samples tested at once.
        tested: samples to be tested in all, in as many divisions as that takes.
    """

    fit: int
    held: int
    tested: int = 1


def hold_outs(
    num_samples: int, shape: tuple[int, ...], sizes: Sizes, rng: np.random.Generator
) -> list[HoldOut]:
    """Divides few samples into those to fit and those to test on.

    Of eight samples or more, three quarters are fitted, and the others tested; in the
    next division others are tested, until it is enough. Of two to seven, each is tested
    once, with the others fitted. A single one is cut in two halves along its longest
    spatial axis, each of which is tested once with the other fitted: fields of
    turbulence are nearly independent at a distance.

    Args:
        num_samples: target samples.
        shape: of one output, `(..., channels)`.
        sizes: how many samples are fitted and tested.
        rng: draws the order.

    Returns:
        An empty list for a single sample without spatial axes.
    """
    order, all_of_it = rng.permutation(num_samples), np.ones(shape)
    if num_samples == 1:
        return _halves(shape)
    if num_samples < 8:
        return [
            HoldOut(np.setdiff1d(order, [held]), np.array([held]), all_of_it, all_of_it)
            for held in order
        ]
    count = min(sizes.fit, 3 * num_samples // 4)
    held = min(sizes.held, num_samples - count)
    # No sample is tested twice.
    divisions = min(-(-sizes.tested // held), num_samples // held)
    return [
        HoldOut(turned[:count], turned[count : count + held], all_of_it, all_of_it)
        for turned in (np.roll(order, held * number) for number in range(divisions))
    ]


def _halves(shape: tuple[int, ...]) -> list[HoldOut]:
    if len(shape) < 2 or max(shape[:-1]) < 2:
        return []
    axis = int(np.argmax(shape[:-1]))
    first = np.moveaxis(np.zeros(shape), axis, 0)
    first[: len(first) // 2] = 1.0
    mask, one = np.moveaxis(first, 0, axis), np.array([0])
    return [HoldOut(one, one, mask, 1.0 - mask), HoldOut(one, one, 1.0 - mask, mask)]
