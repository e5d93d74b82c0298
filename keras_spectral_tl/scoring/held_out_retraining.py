"""How much of the target's error a rehearsed retraining of a layer removes."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.layer_gradient import LayerGradient
from keras_spectral_tl.scoring.checks import check_positive, check_whole_number
from keras_spectral_tl.scoring.held_out_layers import Change, held_out_layers
from keras_spectral_tl.scoring.hold_out import Array, HoldOut, Sizes, hold_outs
from keras_spectral_tl.scoring.protocol import Cost, ScoredLayers, layers_to_score
from keras_spectral_tl.scoring.suffixes import Suffix
from keras_spectral_tl.scoring.sweep_cost import (
    shape_of_sample,
    share_after,
    training_passes,
)
from keras_spectral_tl.transfer._samples import Samples

_BETAS = 0.9, 0.99
_EPSILON = 1e-7


@dataclasses.dataclass(frozen=True)
class HeldOutRetraining:
    """The share of the held-out error that a rehearsed retraining of a layer removes.

        theta' = theta after `steps` steps of Adam on |y - f(x; theta)|^2
        E(q) = min over gains a of |y - a q|^2 over the samples held out
        score = 1 - E(f(x; theta')) / E(f(x; theta))

    The rehearsal takes one sample a step. How far a retraining gets is a matter of how
    many steps it takes and of how large they are; a field has thousands of points, so
    the gradient of one is good enough. So a small part of the passes of a sweep tells
    what the sweep would give: also where a layer has to mend the amplitude first and
    spoils the pattern while it does, which no linearised step sees.

    Three quarters of the samples are fitted, at most `num_fit`, and the others tested,
    once or, with a larger `num_tested`, several times. Fewer than eight are held out
    one by one, a single one is cut in two halves (`hold_outs`). The score is beyond
    what a gain on the output does, as a correlation sees it, and negative where a
    retraining would spoil more than it mends. Outputs that are no longer finite count
    as 0.

    The rehearsal is in inference mode: dropout is off, and a BatchNormalization layer
    moves its scale and offset but not its statistics, as `retrain` lets it. What such a
    layer gains by new statistics is not in its score.

    Attributes:
        steps: of Adam (Kingma & Ba 2015, arXiv:1412.6980), with averages over 10 steps
            of the gradient and 100 of its square.
        learning_rate: the highest; the rate rises to it over a quarter of the steps
            and falls to 0 as a cosine.
        num_points: fewest output values a step; where a sample has fewer, a step takes
            several samples.
        num_fit: most samples fitted at once.
        num_held: most samples tested at once.
        num_tested: samples to be tested in all, as nearly as they can be reached by
            holding out others and fitting the rest anew. More make the interval
            narrower, so that a layer is recommended more often, and cost as many times
            more. Without effect on fewer than eight samples.
        batch_size: samples computed at once where nothing is trained.
    """

    steps: int = 150
    learning_rate: float = 3e-3
    num_points: int = 64
    num_fit: int = 48
    num_held: int = 32
    num_tested: int = 1
    batch_size: int = 4
    name: str = "held_out_retraining"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(field.default, int):
                check_whole_number(field.name, getattr(self, field.name), 1)
        check_positive("learning_rate", self.learning_rate)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence.

        `rng` draws what is held out and the order of the samples, one for all layers.
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
    ) -> ScoredLayers:
        """Scores layers that are retrained together; see `TogetherScorer`."""
        if effort > 1:
            longer = dataclasses.replace(self, steps=effort * self.steps)
            return longer.rehearse(model, target, choices, rng)
        sizes = Sizes(self.num_fit, self.num_held, self.num_tested)
        parts = hold_outs(len(target), target.y.shape[1:], sizes, rng)
        if not parts:
            unknown = {"+".join(names): float("nan") for names in choices}
            return ScoredLayers(unknown, Cost(0))
        orders = [self._order(part, target.y, rng) for part in parts]

        def change_of(suffix: Suffix) -> Change:
            # Once for all divisions, or each would be compiled again.
            gradient = LayerGradient(suffix.model, suffix.layers)

            def change(number: int, fitted: Any, held: Any) -> Array:
                part, order = parts[number], orders[number]
                y = target.y[part.fit]
                return self._outputs(gradient, (fitted, held), part, y, order)

            return change

        evidence = held_out_layers(
            model, target, choices, parts, self.batch_size, change_of
        )
        values = {name: found["error_removed"] for name, found in evidence.items()}
        fitted = sum(order.size for order in orders)
        tested = sum(len(part.held) for part in parts)
        cut = sum(len(part.fit) + len(part.held) for part in parts)
        cost = _cost(model, target, choices, (fitted, tested, cut))
        return ScoredLayers(values, cost, evidence)

    def _order(
        self, part: HoldOut, y: Any, rng: np.random.Generator
    ) -> NDArray[np.intp]:
        """Rows of the samples to fit, shape (steps, samples a step), all in turn."""
        num_fit = len(part.fit)
        points = int(np.sum(part.fit_mask))
        count = min(-(-self.num_points // points), num_fit)
        rounds = -(-self.steps * count // num_fit)
        order = np.concatenate([rng.permutation(num_fit) for _ in range(rounds)])
        return order[: self.steps * count].reshape(self.steps, count)

    def _outputs(
        self,
        gradient: LayerGradient,
        inputs: tuple[Any, Any],
        part: HoldOut,
        y: Array,
        order: NDArray[np.intp],
    ) -> Array:
        """Outputs on what is held out, before and after the rehearsal."""
        fitted = keras.tree.map_structure(np.asarray, inputs[0])
        weight = np.broadcast_to(part.fit_mask, (order.shape[1], *part.fit_mask.shape))
        weight = weight / np.sum(weight)

        def of_step(values: Array, rows: NDArray[np.intp]) -> Array:
            x = keras.tree.map_structure(operator.itemgetter(rows), fitted)
            return gradient(values, x, y[rows], weight)

        start = gradient.values
        end = adam(of_step, start, order, self._rates())
        fields = [gradient.outputs(v, inputs[1], self.batch_size) for v in (start, end)]
        return np.stack([np.where(np.isfinite(f), f, 0.0) for f in fields])

    def _rates(self) -> Array:
        rise = self.steps // 4
        step = np.arange(self.steps)
        fall = np.maximum(step - rise, 0) / (self.steps - rise)
        rates: Array = np.minimum((step + 1) / (rise + 1), 1.0)
        return self.learning_rate * rates * (1.0 + np.cos(np.pi * fall)) / 2.0


def adam(
    gradient: Callable[[Array, NDArray[np.intp]], Array],
    start: Array,
    order: NDArray[np.intp],
    rates: Array,
) -> Array:
    """Returns weights after as many steps of Adam as there are rates.

        m = .9 m + .1 g,   s = .99 s + .01 g^2
        theta = theta - rate m' / (sqrt(s') + 1e-7)

    with ' for the correction of the bias towards the first values, 0.

    Args:
        gradient: `(weights, rows) -> g` of the loss over those samples.
        start: weights to begin with.
        order: rows of the samples of every step.
        rates: learning rate of every step.
    """
    reached, mean, square = start, np.zeros_like(start), np.zeros_like(start)
    for number, (rows, rate) in enumerate(zip(order, rates, strict=True), start=1):
        slope = gradient(reached, rows)
        mean = _BETAS[0] * mean + (1.0 - _BETAS[0]) * slope
        square = _BETAS[1] * square + (1.0 - _BETAS[1]) * slope**2
        unbiased = mean / (1.0 - _BETAS[0] ** number)
        size = np.sqrt(square / (1.0 - _BETAS[1] ** number))
        reached = reached - rate * unbiased / (size + _EPSILON)
    return reached


def _cost(
    model: keras.Model,
    target: Samples,
    choices: Sequence[tuple[str, ...]],
    samples: tuple[int, int, int],
) -> Cost:
    """What rehearsals take.

    Of samples: in the steps of each, tested twice, and taken as far as the layers.
    """
    fitted, tested, cut = samples
    shape = shape_of_sample(target.x)
    # The activations before all layers are one forward pass.
    passes = float(cut)
    for names in choices:
        passes += fitted * training_passes(model, list(names), shape)
        passes += 2 * tested * share_after(model, list(names), shape)
    return Cost(math.ceil(passes))
