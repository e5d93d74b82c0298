"""Rehearsal: a short retraining of each layer, scored on held-out samples."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._autodiff.threads import side_by_side
from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._graph.layers import rows_of
from keras_spectral_tl._progress import Progress
from keras_spectral_tl.scoring._effort import (
    POINTS,
    Rows,
    adam,
    rising_and_falling,
    step_order,
    steps_on,
)
from keras_spectral_tl.scoring._evidence import held_out_evidence
from keras_spectral_tl.scoring._holdout import (
    Array,
    Sizes,
    Split,
    folds_of,
    variance_inflation,
)
from keras_spectral_tl.scoring._network_parts import (
    NetworkPart,
    PartedNetwork,
    spatial_axes,
)
from keras_spectral_tl.scoring._result import Cost, ScorerResult, layers_to_score
from keras_spectral_tl.transfer._samples import Samples

# Above this rate the ranking of wide layers gets worse (docs/scores_benchmark.md).
_HIGHEST_RATE = 1e-2
# Samples tested on the largest fields.
_FEWEST_TESTED = 8
# Samples on which a rate is checked.
_CHECKED = 2


@dataclasses.dataclass(frozen=True)
class HeldOutRetraining:
    """Score: fraction of the held-out error that a short retraining of a layer removes.

        theta' = theta after `steps` steps of Adam on |y - f(x; theta)|^2 / var(y)
        E(q) = min over gains a and offsets b of |y - a q - b|^2 over held-out samples
        score = 1 - E(f(x; theta')) / E(f(x; theta))

    Each step uses one sample: the effect of a retraining depends on the number and size
    of its steps, and one field of thousands of points gives a good enough gradient. So
    the score predicts the result of a sweep at a small fraction of its cost. It also
    does so if a layer has to correct the amplitude first and loses the pattern on the
    way, which a linearized step cannot predict.

    A rehearsal stands for one recipe: the sum of its learning rates limits how far Adam
    can move a weight and should equal that of the retraining (`matching`). The best
    layer depends on the recipe and on the parametrization of the network: if two ReLU
    layers are rescaled by c and 1 / c, which does not change the function, the one with
    small weights moves further relative to its size, in rehearsal and retraining.

    Samples are divided into four folds (fewer if there are fewer samples); each is
    tested with the others fitted, until `num_tested` samples are tested. A single
    sample is cut into halves. If target samples have groups, no group is both fitted
    and tested. The score excludes what a gain and an offset of the output can do, as a
    correlation does, and is negative if retraining would do harm. It does not depend on
    the units of y, except for the last layer, whose weights carry them. Masked output
    points count neither in the fit nor in the test, as in a Keras loss; weights of
    points (`losses.WeightedMeanSquaredError`) count in both. Non-finite outputs count
    as 0.

    The rehearsal runs in inference mode, unlike `retrain`: dropout is off, and
    BatchNormalization trains its scale and offset without updating its statistics, so
    that the gain from new statistics is not in its score.

    Attributes:
        steps: Steps of Adam (Kingma & Ba 2015, arXiv:1412.6980), with averages over 10
            steps of the gradient and 100 of its square.
        learning_rate: Peak rate; it is reached after a quarter of the steps and decays
            to 0 as a cosine.
        num_points: Fewest output values per step; if a sample has fewer, a step uses
            several samples.
        num_fit: Most samples fitted at once.
        num_held: Most samples tested at once.
        num_tested: Samples to test in total, as nearly as whole folds allow. More make
            the interval narrower at proportional cost; 1 means one fold.
        batch_size: Samples computed at once in evaluations without training.
        offset: Whether E allows an offset of each channel in addition to the gain.
        splits: Pairs (rows to fit, rows to test) of target samples instead of folds and
            groups; no row may be tested twice.
        progress: Called with a mapping of layer, score, done and total after each
            layer, or None.
    """

    steps: int = 150
    learning_rate: float = 3e-3
    num_points: int = 64
    num_fit: int = 48
    num_held: int = 32
    num_tested: int = 32
    batch_size: int = 4
    offset: bool = True
    splits: Sequence[tuple[Any, Any]] | None = None
    progress: Progress | None = dataclasses.field(
        default=None, repr=False, compare=False
    )
    name: str = "held_out_retraining"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(field.default, int) and field.name != "offset":
                whole_number(field.name, getattr(self, field.name), 1)
        real_number("learning_rate", self.learning_rate, above=0)

    def on_fields(self, shape: tuple[int, ...]) -> "HeldOutRetraining":
        """Return the rehearsal for outputs of this shape, samples first.

        On fields of more than 4,096 points it takes fewer steps at the same rates, see
        `steps_on`, and tests the same number of points on fewer samples, at least 8. If
        each sample is a single number, it fits all that are not tested, because it
        would learn a few by heart.
        """
        points = math.prod(shape[1:])
        tested = max(round(self.num_tested * min(POINTS / points, 1.0)), 1)
        return dataclasses.replace(
            self,
            steps=steps_on(shape, self.steps),
            num_fit=max(self.num_fit, shape[0]) if points == 1 else self.num_fit,
            num_tested=max(tested, min(self.num_tested, _FEWEST_TESTED)),
        )

    def matching(self, path: float) -> "HeldOutRetraining":
        """Return the rehearsal whose learning rates sum to those of a retraining.

        Steps and schedule stay the same; the peak rate is scaled, up to 1e-2.

        Args:
            path: Sum of the learning rates of all steps, see `path_of`.
        """
        shape = float(np.sum(rising_and_falling(self.steps)))
        rate = min(path / shape, _HIGHEST_RATE)
        return dataclasses.replace(self, learning_rate=rate)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """Score each layer alone, see `Scorer`; `base` has no influence.

        `rng` draws the held-out samples and the sample order, the same for all layers.
        """
        choices = [(name,) for name in layers_to_score(model)]
        return self.rehearse(model, target, choices, rng)

    def rehearse(
        self,
        model: keras.Model,
        target: Samples,
        choices: Sequence[tuple[str, ...]],
        rng: np.random.Generator,
        effort: int = 1,
    ) -> ScorerResult:
        """Score layers that are retrained together; see `TogetherScorer`."""
        if effort > 1:
            longer = dataclasses.replace(self, steps=effort * self.steps)
            return longer.rehearse(model, target, choices, rng)
        axes = spatial_axes(model, target.y.ndim)
        splits = self._splits(target, axes, rng)
        if not splits:
            unknown = {"+".join(names): float("nan") for names in choices}
            return ScorerResult(unknown, Cost(0))
        orders = [
            step_order(split, self.steps, self.num_points, rng) for split in splits
        ]
        rows = np.unique(np.concatenate([(*s.fit, *s.held) for s in splits]))
        inputs, _ = target.take(rows)
        network = PartedNetwork(model, inputs, self.batch_size, target.weights)
        bench = Workbench(network, rows, target.y[rows])
        groups = target.groups if self.splits is None else None
        evidence: dict[str, dict[str, Any]] = {}
        passes = float(len(rows))
        rates = self.learning_rate * rising_and_falling(self.steps)
        chosen = {"+".join(names): list(names) for names in choices}
        for number, part in enumerate(network.parts(chosen), start=1):
            after = np.array(network.outputs)
            retrain = functools.partial(bench.retrained, part, rates=rates)
            with closing(side_by_side(retrain, splits, orders)) as found:
                for split, order, values in zip(splits, orders, found, strict=True):
                    bench.test(part, split, values, after)
                    passes += order.size * part.step + len(split.held) * part.share
            evidence[part.label] = {
                **bench.evidence(splits, after, axes, self.offset, groups),
                "inflation": variance_inflation(splits),
            }
            if self.progress is not None:
                score = evidence[part.label]["error_removed"]
                row = {"layer": part.label, "score": score}
                self.progress({**row, "done": number, "total": len(choices)})
        scores = {name: found["error_removed"] for name, found in evidence.items()}
        cost = Cost(math.ceil(passes) if math.isfinite(passes) else passes)
        return ScorerResult(scores, cost, evidence)

    def _splits(
        self, target: Samples, axes: tuple[int, ...], rng: np.random.Generator
    ) -> list[Split]:
        if self.splits is None:
            sizes = Sizes(self.num_fit, self.num_held, self.num_tested)
            return folds_of(target, axes, sizes, rng)
        whole = np.ones(target.y.shape[1:])
        found = [
            Split(np.asarray(fit, int), np.asarray(held, int), whole, whole)
            for fit, held in self.splits
        ]
        tested = [row for split in found for row in split.held]
        mixed = any(set(split.fit) & set(split.held) for split in found)
        empty = any(not len(rows) for s in found for rows in (s.fit, s.held))
        if mixed or empty or not found or len(set(tested)) < len(tested):
            raise ValueError(
                "splits must be pairs (rows to fit, rows to test), none of them empty, "
                "without a row that is in both or is tested twice; received "
                f"{self.splits!r:.200}."
            )
        return found


class RateTooHighError(Exception):
    """A rehearsal was stopped because its learning rate increases the error."""


class Workbench:
    """Retrains and tests parts of a network on target samples.

    `rows` are the sorted rows of the samples in the network's inputs, `y` the true
    outputs there; `size`, the variance of those `sized`, is the unit of the loss.
    """

    def __init__(
        self,
        network: PartedNetwork,
        rows: Rows,
        y: NDArray[Any],
        sized: Any = slice(None),
    ) -> None:
        self._network, self._rows = network, rows
        self._y = np.asarray(y)
        self.sized = np.arange(len(self._y))[sized]
        truth = self._y.astype(np.float64)
        self._weight = network.weights
        weight = None if self._weight is None else self._weight[sized]
        mean = np.average(truth[sized], weights=weight)
        variance = float(np.average((truth[sized] - mean) ** 2, weights=weight))
        # Avoid division by zero for a constant target.
        self.size = variance or float(mean**2) or 1.0

    def retrained(
        self,
        part: NetworkPart,
        split: Split,
        order: Rows,
        rates: Array,
        give_up: float = math.inf,
        pull: float = 0.0,
    ) -> Array:
        """Return the weights of a part after Adam steps on the samples to fit.

        A step uses the samples of a row of `order`, indices into `split.fit`, and one
        of the `rates`. `pull` is the strength of the L2-SP penalty of `retrain`, with
        L0 the loss of the unchanged network on the target samples. If the error on two
        of the samples, or on as many as a step has, has grown by more than the factor
        `give_up` after a third of the steps, a RateTooHighError with the number of
        samples passed is raised.
        """
        fit = self._places(split.fit)
        inputs = rows_of(part.inputs, fit)

        def weight_of(rows: Rows) -> Array:
            weight = split.weight_of(rows)
            return weight if self._weight is None else weight * self._weight[fit[rows]]

        def slope(values: Array, rows: Rows) -> Array:
            weight = weight_of(rows)
            weight = weight / max(float(np.sum(weight)), 1.0) / self.size
            found = part.function.gradient(
                values, rows_of(inputs, rows), self._y[fit[rows]], weight
            )
            return found + stiffness * (values - start) if pull else found

        def error(outputs: Array, rows: Rows) -> float:
            with np.errstate(over="ignore", invalid="ignore"):
                difference = outputs - self._y[fit[rows]]
                return float(np.sum(weight_of(rows) * difference**2))

        def watch(number: int, values: Array) -> None:
            if give_up == math.inf or number != len(rates) // 3:
                return
            first = np.unique(order)[: max(_CHECKED, order.shape[1])]
            before = error(self._network.outputs[fit[first]], first)
            tried = rows_of(inputs, first)
            now = part.function.outputs(values, tried, self._network.batch_size)
            if not error(now, first) <= give_up * before:
                raise RateTooHighError(number * order.shape[1])

        start, stiffness = part.function.start, np.zeros(0)
        if pull:
            own = np.flatnonzero(np.isin(fit, self.sized))
            before = error(self._network.outputs[fit[own]], own)
            total = max(float(np.sum(weight_of(own))), 1.0)
            stiffness = pull * before / total / self.size * part.stiffness()
        return adam(slope, start, order, rates, watch)

    def test(
        self, part: NetworkPart, split: Split, values: Array, fields: Array
    ) -> None:
        """Write the outputs for some weights into `fields` where the split tests."""
        held = self._places(split.held)
        inputs = rows_of(part.inputs, held)
        outputs = part.function.outputs(values, inputs, self._network.batch_size)
        fields[held] = np.where(split.held_mask > 0.0, outputs, fields[held])

    def evidence(
        self,
        splits: Sequence[Split],
        after: Array,
        axes: tuple[int, ...],
        offset: bool,
        groups: Any = None,
    ) -> dict[str, Any]:
        """Return the error reduction on the test samples, see `held_out_evidence`."""
        held = np.unique(np.concatenate([split.held for split in splits]))
        tested, groups = self._places(held), None if groups is None else groups[held]
        fields = np.stack([self._network.outputs[tested], after[tested]])
        fields = np.where(np.isfinite(fields), fields, 0.0)
        truth = np.asarray(self._y[tested], np.float64)
        weight = None if self._weight is None else self._weight[tested]
        return held_out_evidence(truth, fields, axes, weight, offset, groups)

    def _places(self, rows: Rows) -> Rows:
        return np.searchsorted(self._rows, rows)
