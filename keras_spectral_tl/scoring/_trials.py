"""Trials of arms: short retrainings, tested on held-out target and base samples."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._autodiff.threads import side_by_side
from keras_spectral_tl._graph.layers import rows_of
from keras_spectral_tl.freezing._parts import adds_parts
from keras_spectral_tl.metrics._functions import are_numbers, correlations
from keras_spectral_tl.scoring._effort import (
    LONG,
    Effort,
    rising_and_falling,
    step_order,
    steps_on,
)
from keras_spectral_tl.scoring._evidence import PATTERN, is_far
from keras_spectral_tl.scoring._holdout import Array, Split
from keras_spectral_tl.scoring._network_parts import NetworkPart, PartedNetwork
from keras_spectral_tl.scoring._rehearsal import RateTooHighError, Workbench
from keras_spectral_tl.transfer._arms import Arm
from keras_spectral_tl.transfer._samples import Samples

Run = Callable[..., "Trial"]
"""Runs a trial of one arm: `(peak learning rate, steps, give_up=inf) -> Trial`.

It raises RateTooHighError if after a third of the steps the error on the fitted samples
has grown by more than the factor `give_up`.
"""

# Steps of a short trial of every arm on small fields; the best arms take `LONG`.
_SHORT = 48
# Fewest output values per step, as for the scores of layers.
_NUM_POINTS = 64
# Base samples tested; most images of each target sample; most samples fitted.
_BASE_TESTED, _MOST_IMAGES, _MOST_FITTED = 8, 8, 48
# Samples computed at once in evaluations without training.
_BATCH_SIZE = 4
# Base samples on which the unchanged network is evaluated.
_BASE_KNOWN = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """All samples used in the trials of one forecast, in one array.

    Attributes:
        x: Inputs: target samples, their images under symmetries, base samples to fit
            again, base samples to test.
        y: True outputs.
        target: Rows of the target samples.
        images: Rows of the images of each target sample, (target samples, images).
        replayed: Rows of base samples that are fitted along with the target samples.
        base: Rows of base samples to test.
        moves: For each image, the function that maps a mask of one sample to its image.
        weights: Weights of the points of a sample, or None.
    """

    x: Any
    y: NDArray[Any]
    target: NDArray[np.intp]
    images: NDArray[np.intp]
    replayed: NDArray[np.intp]
    base: NDArray[np.intp]
    moves: tuple[Callable[[Array], Array], ...] = ()
    weights: Array | None = None

    def fitted(self, split: Split) -> Split:
        """Return a split that also fits images of its samples and replayed samples.

        Of half a sample each image is fitted only where the symmetry moves that half,
        so that no image contains a point that is tested. Images under symmetries that
        do more than move points and change signs are left out then.
        """
        rows, mask = self.images[split.fit].ravel(), split.fit_mask
        if self.moves and np.intersect1d(split.fit, split.held).size:
            images = [mask, *(_moved(mask, move) for move in self.moves)]
            known = {i: one for i, one in enumerate(images) if one is not None}
            rows = self.images[split.fit][:, list(known)].ravel()
            mask = np.stack(list(known.values()))
        # As many base as target samples, so that both have the same weight.
        replayed = np.resize(self.replayed, len(rows) if len(self.replayed) else 0)
        if mask.ndim > split.fit_mask.ndim:
            whole = np.ones((len(replayed), *split.fit_mask.shape))
            mask = np.concatenate([mask, whole])
        fit = np.concatenate([rows, replayed])
        return dataclasses.replace(split, fit=fit, fit_mask=mask)


def _moved(mask: Array, move: Callable[[Array], Array]) -> Array | None:
    """Return the image of a mask, or None if it is not a mask."""
    one, rest = np.abs(move(mask)), np.abs(move(1.0 - mask))
    is_mask = np.isin(one, (0.0, 1.0)).all() and np.array_equal(rest, 1.0 - one)
    return one if is_mask else None


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Result of a short retraining on held-out target samples and on base samples.

    Attributes:
        rate: Peak learning rate.
        passes: Number of samples passed in training.
        correlations: Pattern correlation of each target sample tested.
        errors: Mean square error of each, relative to the mean square of all.
        base_correlations: Pattern correlation of each base sample tested, if any.
        outputs: Outputs for the target samples tested.
        without_piece: Mean correlation leaving out each piece of the fields, if fewer
            than three samples are tested; otherwise empty.
    """

    rate: float
    passes: int
    correlations: Array
    errors: Array
    base_correlations: Array
    outputs: Array
    without_piece: Array

    @property
    def correlation(self) -> float:
        """Mean correlation on held-out target samples."""
        return float(np.mean(self.correlations))

    @property
    def base_correlation(self) -> float:
        """Mean correlation on the base system, nan if it is not tested."""
        known = self.base_correlations
        return float(np.clip(np.mean(known), -1.0, 1.0)) if len(known) else math.nan


class Trials:
    """Short retrainings of the arms of one network, on the same samples and splits.

    The frozen layers before an arm are evaluated once. If the outputs have a wrong
    amplitude, they are multiplied by their best gain before anything is trained;
    otherwise the first steps would correct the amplitude and destroy the pattern. All
    trials of one length use the same order of samples, to compare arms pairwise.

    Args:
        effort: Effort of the retraining: no trial has more steps; if it has fewer than
            a long trial, trials use its batch size, as long as that costs no more.
        pieces: Masks of one sample that each leave out a piece of the field, see
            `Trial.without_piece`; none where enough samples are tested.

    Attributes:
        passes: Cost so far in forward passes of one sample; nan if it is unknown.
        gain: Output gain from which trials start; 1 if the amplitude is right.
        size: Variance of y, by which the loss of trials is divided.
        tested: Target samples tested, in order.
        weight, truth: Of the points of these; truth in the units of the network.
        targets: True outputs of all target samples.
        unchanged: Trial of the unchanged network.
        short: Steps of a short trial, made for every arm, see `steps_on`.
        long: Steps of a long trial, made for the best arms.
        reach: Samples that a long trial can see.
        shortened: Fraction by which a long trial is shortened because the retraining
            itself has fewer steps.
    """

    def __init__(
        self,
        model: keras.Model,
        pool: Pool,
        splits: Sequence[Split],
        seed: np.random.SeedSequence,
        effort: Effort,
        pieces: Sequence[Array] = (),
    ) -> None:
        self._pool, self._seed = pool, seed
        self.short, self.long = _lengths(pool.y.shape, effort.steps)
        self.shortened = 1.0 - self.long / steps_on(pool.y.shape, LONG)
        dearest = LONG // self.long if self.shortened else 1
        self._fewest = min(effort.batch_size, dearest)
        self._most_passes = effort.passes
        points = math.prod(pool.y.shape[1:])
        self.reach = self.long * max(-(-_NUM_POINTS // points), self._fewest)
        self._splits = [pool.fitted(split) for split in splits]
        self._network = PartedNetwork(model, pool.x, _BATCH_SIZE, pool.weights)
        gains = [self._best_gain(split) for split in self._splits]
        self.gain = float(np.median(gains))
        if not self._is_far():
            self.gain, gains = 1.0, [1.0] * len(gains)
        gains = [gain if gain > 0.0 else self.gain for gain in gains]
        rows, y = np.arange(len(pool.y)), np.array(pool.y)
        y[pool.replayed] = self.gain * y[pool.replayed]
        self._pool = dataclasses.replace(pool, y=y)
        by_gain = {
            gain: Workbench(self._network, rows, y / gain, pool.target)
            for gain in {1.0, *gains}
        }
        self._benches = [(by_gain[gain], gain) for gain in gains]
        self._plain = by_gain[1.0]
        self.size = self._plain.size
        self.tested = np.unique(np.concatenate([split.held for split in splits]))
        self._pieces = pieces
        weight = np.zeros(pool.y.shape)
        for split in splits:
            weight[split.held] += split.held_mask
        if self._network.weights is not None:
            weight = weight * self._network.weights
        weight[pool.base] = 1.0 if pool.weights is None else pool.weights
        self._weight = weight
        self.weight, self.truth = weight[self.tested], pool.y[self.tested]
        self.targets = pool.y[pool.target]
        self.passes = float(len(pool.y))
        # Subtract by how much these few base samples exceed the level of the base.
        self._base = pool.base[: _base_tested(pool.y)]
        some, known = (
            self._compared(self._network.outputs, rows)[0]
            for rows in (self._base, pool.base)
        )
        self._above = float(np.mean(some) - np.mean(known)) if len(known) else 0.0
        self.unchanged = self._outcome(self._network.outputs, 0.0, 0)

    def with_gain(self) -> tuple[Trial, float]:
        """Return the trial of the output multiplied by its best gain, and that gain.

        The gain of each split has a closed form in terms of the fitted samples.
        """
        changed = np.array(self._network.outputs)
        gains = [self._best_gain(split) for split in self._splits]
        for split, gain in zip(self._splits, gains, strict=True):
            changed[split.held] *= np.where(split.held_mask > 0.0, gain, 1.0)
        changed[self._pool.base] *= gains[0]
        sign = float(np.sign(gains[0]))
        return self._outcome(changed, 0.0, 0, sign), float(np.mean(gains))

    def _best_gain(self, split: Split) -> float:
        """Return the least-squares gain on the fitted samples."""
        rows = split.fit[np.isin(split.fit, self._pool.images)]
        weight = split.weight_of(np.flatnonzero(np.isin(split.fit, self._pool.images)))
        if self._network.weights is not None:
            weight = weight * self._network.weights[rows]
        q, y = self._network.outputs[rows], self._pool.y[rows]
        power = float(np.sum(weight * q * q))
        return float(np.sum(weight * q * y)) / power if power > 0.0 else 1.0

    def _is_far(self) -> bool:
        """Return whether to start from the gain: the amplitude is wrong, not all else.

        Whole numbers that are replayed cannot be multiplied by it.
        """
        scalable = np.issubdtype(self._pool.y.dtype, np.floating)
        if not is_far(self.gain) or not (scalable or not len(self._pool.replayed)):
            return False
        outputs, rows = self._network.outputs, self._pool.target
        weights = self._network.weights
        counted = np.ones_like(outputs[rows]) if weights is None else weights[rows]
        found, _ = self._compared(outputs, rows, counted)
        return bool(np.mean(found) > PATTERN)

    def of(self, arms: Sequence[Arm]) -> Iterator[tuple[Arm, NetworkPart, Run]]:
        """Yield each arm with its part of the network and a function to run a trial.

        Arms that train weights of the network itself come first, in the order of its
        layers, so that frozen layers before them are evaluated only once.
        """
        plain = {arm.label: arm for arm in arms if not adds_parts(arm.layers)}
        choices = {label: arm.layers for label, arm in plain.items()}
        for part in self._network.parts(choices):
            arm = plain[part.label]
            yield arm, part, functools.partial(self._run, part, self._benches, arm.pull)
        for arm in arms:
            if adds_parts(arm.layers):
                part = self._network.with_added(arm.label, arm.layers)
                benches = self._benches
                if arm.is_new:  # new weights need no output gain
                    benches = [(self._plain, 1.0)] * len(self._splits)
                yield arm, part, functools.partial(self._run, part, benches, arm.pull)

    def forget_parts(self) -> None:
        """Release the compiled functions of the arms, which `of` makes again."""
        self._network.forget_parts()

    def larger_inputs(self, part: NetworkPart) -> float:
        """Return by what factor inputs of a part are larger on the target, at least 1.

        The ratio of root mean squares on target and base samples; 1 without base data.
        """
        pool = self._pool
        if not len(pool.base):
            return 1.0

        def size(rows: NDArray[np.intp]) -> float:
            taken = keras.tree.flatten(rows_of(part.inputs, rows))
            # Sums in half precision would stop growing.
            powers = [np.mean(np.square(np.asarray(a, float))) for a in taken]
            return math.sqrt(max(map(float, powers)))

        on_base = size(pool.base[:_BASE_TESTED])
        ratio = size(pool.target[:_BASE_TESTED]) / on_base if on_base > 0.0 else 1.0
        return max(ratio, 1.0) if math.isfinite(ratio) else 1.0

    def _run(
        self,
        part: NetworkPart,
        benches: Sequence[tuple[Workbench, float]],
        pull: float,
        rate: float,
        steps: int,
        give_up: float = math.inf,
    ) -> Trial:
        # A trial of the whole retraining uses the schedule of the retraining.
        rates = rate * rising_and_falling(steps, 0.0 if self.shortened else 0.25)

        def retrained(number: int) -> tuple[Array, int]:
            key = (*self._seed.spawn_key, number, steps)
            rng = np.random.default_rng(
                np.random.SeedSequence(self._seed.entropy, spawn_key=key)
            )
            bench, split = benches[number][0], self._splits[number]
            order = step_order(split, steps, _NUM_POINTS, rng, self._fewest)
            with np.errstate(over="ignore", invalid="ignore"):
                values = bench.retrained(part, split, order, rates, give_up, pull)
            return values, order.size

        fields, fitted = np.array(self._network.outputs), 0
        whole = np.ones(fields.shape[1:])
        found = side_by_side(retrained, range(len(self._splits)))
        try:
            with closing(found):
                for split, (bench, gain), (values, fitted) in zip(
                    self._splits, benches, found, strict=True
                ):
                    tested = [split]
                    if split is self._splits[0] and len(self._base):
                        tested.append(Split(split.fit, self._base, whole, whole))
                    for other in tested:
                        bench.test(part, other, values, fields)
                        fields[other.held] *= np.where(other.held_mask > 0.0, gain, 1.0)
                        self.passes += len(other.held) * part.share
                    self.passes += fitted * part.step
        except RateTooHighError as stopped:
            self.passes += stopped.args[0] * part.step
            raise
        # Many numbers a step are as many passes as a retraining has, not more.
        return self._outcome(fields, rate, min(fitted, self._most_passes))

    def _outcome(
        self, fields: Array, rate: float, passes: int, sign: float = 1.0
    ) -> Trial:
        fields = np.where(np.isfinite(fields), fields, 0.0)
        found, errors = self._compared(fields, self.tested)
        base, _ = self._compared(fields, self._base)
        base = base - sign * self._above
        fewer = [
            np.mean(self._compared(fields, self.tested, piece * self.weight)[0])
            for piece in self._pieces
        ]
        without = np.array([each for each in fewer if np.isfinite(each)])
        return Trial(rate, passes, found, errors, base, fields[self.tested], without)

    def _compared(
        self, fields: Array, rows: NDArray[np.intp], weight: Array | None = None
    ) -> tuple[Array, Array]:
        """Return correlation and relative mean square error of each sample.

        If a sample is a single number, see `shares_of_correlation`.
        """
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        weight = self._weight[rows] if weight is None else weight
        y, q, w = (
            np.asarray(part, np.float64).reshape(len(rows), -1)
            for part in (self._pool.y[rows], fields[rows], weight)
        )
        power = float(np.sum(w * y * y)) / len(y) or 1.0
        errors = np.sum(w * (y - q) ** 2, axis=1) / power
        if are_numbers(y):
            found = shares_of_correlation(y[:, 0], q[:, 0])
        else:
            found = np.asarray(correlations(y, q, w), np.float64)
        return found, np.asarray(errors, np.float64)


def shares_of_correlation(y: Array, q: Array) -> Array:
    """Return the share of each pair of numbers in their correlation r over all pairs.

        r + (u v - r (u^2 + v^2) / 2) sqrt(n / (n - 3))

    with u, v the numbers y, q minus their mean, over their standard deviation. The mean
    of the shares is r, and their standard deviation over sqrt(n) its standard error, by
    the influence of each pair on r. The last factor is that of Fisher's z.

    Example:
        >>> y = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
        >>> float(round(np.mean(shares_of_correlation(y, y**2)), 3))
        0.959
    """
    ones = np.ones((1, len(y)))
    (r,) = correlations(y[None], q[None], ones)
    u, v = (part - np.mean(part) for part in (y, q))
    u, v = (part / (np.sqrt(np.mean(part**2)) or 1.0) for part in (u, v))
    factor = math.sqrt(len(y) / max(len(y) - 3, 1))
    return np.asarray(r + (u * v - r * (u**2 + v**2) / 2.0) * factor)


def _base_tested(y: Array) -> int:
    """Return how many base samples are tested: more if each is a single number."""
    return _BASE_KNOWN if are_numbers(y) else _BASE_TESTED


def _lengths(fields: tuple[int, ...], most: int) -> tuple[int, int]:
    """Return the steps of a short and of a long trial, at most those of a retraining.

    A retraining that is no longer than a short trial is tried as a whole.
    """
    short, long = (steps_on(fields, steps) for steps in (_SHORT, LONG))
    if most >= long:
        return short, long
    return (most if most <= short else round(most * short / long)), most


def pool_of(
    target: Samples,
    base: Samples | None,
    replay: Any,
    symmetries: Sequence[Any],
    rng: np.random.Generator,
) -> Pool:
    """Return the samples of trials: target, their images, replayed and base samples."""
    replayed = None
    if replay is not None:
        replayed = _some(Samples.of(replay, "replay"), _MOST_FITTED, rng)
    for name, samples in (("base_data", base), ("replay", replayed)):
        if samples is not None and _shapes(samples) != _shapes(target):
            raise ValueError(
                f"{name} must have samples of the shapes of target_data, "
                f"{_shapes(target)}. Received {_shapes(samples)}: interpolate them to "
                "the same grid."
            )
    tested = None if base is None else _some(base, _BASE_KNOWN, rng)
    if replayed is not None and tested is not None:
        first = np.arange(min(_base_tested(target.y), len(tested)))
        replayed = _without(replayed, tested.subset(first))
    chosen = _some_symmetries(target, symmetries, rng)
    own = [target, *(target.image(symmetry) for symmetry in chosen)]
    parts = [*own, *(part for part in (replayed, tested) if part is not None)]
    ends = np.cumsum([0, *map(len, parts)])
    rows = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    none = np.arange(0)
    return Pool(
        keras.tree.map_structure(
            lambda *arrays: np.concatenate(arrays), *(part.x for part in parts)
        ),
        np.concatenate([part.y for part in parts]),
        target=rows[0],
        images=np.stack(rows[: len(own)], axis=1),
        replayed=none if replayed is None else rows[len(own)],
        base=none if tested is None else rows[-1],
        moves=tuple(functools.partial(_moved_mask, each, target) for each in chosen),
        weights=target.weights,
    )


def _some(samples: Samples, most: int, rng: np.random.Generator) -> Samples:
    rows = rng.permutation(len(samples))[:most]
    return Samples(*samples.take(rows))


def _without(samples: Samples, tested: Samples) -> Samples:
    """Return the samples that are not tested; all, if none would be left."""
    known = set(tested.contents())
    rows = np.flatnonzero([one not in known for one in samples.contents()])
    return Samples(*samples.take(rows)) if len(rows) else samples


def _some_symmetries(
    target: Samples, symmetries: Sequence[Any], rng: np.random.Generator
) -> list[Any]:
    """Return some of the symmetries, fewer if there are many samples."""
    count = min(len(symmetries), _MOST_IMAGES - 1, max(_MOST_FITTED // len(target), 1))
    return [
        symmetries[place] for place in np.sort(rng.permutation(len(symmetries))[:count])
    ]


def _moved_mask(symmetry: Any, target: Samples, mask: Array) -> Array:
    """Return the image of a mask of one sample, which takes the place of an output."""
    x, y = target.subset(np.array([0])).raw()
    moved = symmetry(x, np.asarray(mask[None], np.asarray(y).dtype))[1]
    field: Array = np.asarray(moved, np.float64)[0]
    return field


def _shapes(samples: Samples) -> list[tuple[int, ...]]:
    """Return the shape of one sample for each input and for the output."""
    return [array.shape[1:] for array in samples.arrays]
