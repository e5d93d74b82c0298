"""Scores from short trainings and from the loss around a model; the cost of a sweep."""

import math
from dataclasses import dataclass, field

import keras
import numpy as np

from keras_spectral_tl import freezing
from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._graph.cut import LayerGraph, PrefixCache
from keras_spectral_tl._graph.layers import SampleShape
from keras_spectral_tl.loss_landscape import LayerLoss
from keras_spectral_tl.loss_landscape._landscapes import line_convexity
from keras_spectral_tl.metrics import relative_rmse
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._network_parts import shape_of_sample
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples
from keras_spectral_tl.transfer._arms import Candidate
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._sweep_rows import RowTrainer


@dataclass(frozen=True)
class SuccessiveHalving:
    """Probe runs: retrain every layer shortly, the better half for twice as long, ...

        score = rounds survived + 1 / (1 + e),   e = error after / error before

    with the mean squared errors on target samples held out. Each run starts from the
    model, so that its learning rate can fall to 0 over its own length, as it does in a
    long retraining; going on instead would save half of the passes at most. A run that
    diverges has e infinite. nan with one sample, which leaves nothing to hold out.

    Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943). Beside its passes
    every run compiles a network, which no `Cost` shows.

    Attributes:
        steps: of the first round.
        learning_rate: of Adam, falling to 0 as a cosine.
        batch_size: samples a step.
        held_out: share of the target samples held out, at least one.
    """

    steps: int = 12
    learning_rate: float = 1e-3
    batch_size: int = 4
    held_out: float = 0.25
    name: str = "successive_halving"

    def __post_init__(self) -> None:
        whole_number("steps", self.steps, 1)
        whole_number("batch_size", self.batch_size, 1)
        real_number("learning_rate", self.learning_rate, above=0)
        real_number("held_out", self.held_out, above=0)
        if self.held_out >= 1.0:
            raise ValueError(
                "held_out is a share of the samples, below 1, or none would be left to "
                f"train with; received {self.held_out!r}."
            )

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` has no influence.

        `rng` draws what is held out and the seed of the runs.
        """
        names = layers_to_score(model)
        if len(target) < 2:
            return ScorerResult(dict.fromkeys(names, float("nan")), Cost(0))
        probes = self._probes(model, target, rng)
        values = dict.fromkeys(names, 0.0)
        evidence: dict[str, dict[str, list[float]]] = {}
        left, steps, survived = list(names), self.steps, 0
        while left:
            for name, ratio in probes.run(left, steps).items():
                values[name] = survived + 1.0 / (1.0 + ratio)
                row = evidence.setdefault(name, {"steps": [], "error_ratio": []})
                row["steps"].append(steps)
                row["error_ratio"].append(ratio)
            if len(left) == 1:
                break
            best = sorted(left, key=lambda name: -values[name])[: (len(left) + 1) // 2]
            left = [name for name in left if name in best]
            steps, survived = 2 * steps, survived + 1
        return ScorerResult(values, Cost(math.ceil(probes.passes)), evidence)

    def _probes(
        self, model: keras.Model, target: Samples, rng: np.random.Generator
    ) -> "_Probes":
        order = rng.permutation(len(target))
        count = min(max(round(self.held_out * len(target)), 1), len(target) - 1)
        fit, held = (Samples(*target.take(r)) for r in (order[count:], order[:count]))
        return _Probes(model, fit, held, self, int(rng.integers(2**31)))


@dataclass
class _Probes:
    """Runs of single layers on one split of the samples, their passes counted."""

    model: keras.Model
    fit: Samples
    held: Samples
    config: SuccessiveHalving
    seed: int
    passes: float = 0.0
    before: float = field(init=False)

    def __post_init__(self) -> None:
        predicted = self.model.predict(self.held.x, batch_size=8, verbose=0)
        self.before = relative_rmse(self.held.y, predicted)
        self.passes += len(self.held)

    def run(self, names: list[str], steps: int) -> dict[str, float]:
        """Error after / error before on the held-out samples, layer by layer."""
        batch = min(self.config.batch_size, len(self.fit))
        epochs = math.ceil(steps / math.ceil(len(self.fit) / batch))
        taken = epochs * math.ceil(len(self.fit) / batch)
        rate = keras.optimizers.schedules.CosineDecay(self.config.learning_rate, taken)
        training = RetrainOptions.of(
            {
                "optimizer": keras.optimizers.Adam(rate),
                "epochs": epochs,
                "batch_size": batch,
                "seed": self.seed,
            }
        )
        trainer = RowTrainer(self.model, self.fit, self.held, training, PrefixCache())
        self.passes += len(self.fit) + len(self.held)
        return {name: self._ratio(trainer, name, epochs) for name in names}

    def _ratio(self, trainer: RowTrainer, name: str, epochs: int) -> float:
        passes = training_passes(self.model, name, shape_of_sample(self.fit.x))
        self.passes += epochs * len(self.fit) * passes + len(self.held)
        try:
            row = trainer.row(Candidate.of(self.model, name))
        except FloatingPointError:
            return math.inf
        after = float(row.values["relative_rmse"])
        if not self.before > 0.0:
            return 1.0 if after == self.before else math.inf
        ratio = (after / self.before) ** 2
        return ratio if math.isfinite(ratio) else math.inf


@dataclass(frozen=True)
class LossConvexity:
    """Mean convexity of lines through the target's loss, one layer moving.

        score = mean over directions of line_convexity(L(theta + t d)),  |t| <= reach

    along the gradient and random directions whose filters are as long as the filters
    they move (`line_convexity`). 1 where every line is convex, which
    several layers may well be: ties are common. nan where the loss is not finite. The
    hypothesis, that layers with a convex landscape retrain best, is discussed by Subel
    et al. 2023, doi:10.1093/pnasnexus/pgad015.

    Attributes:
        num_steps: points on each line, odd so that the model is one of them.
        num_random: random directions beside the gradient.
        reach: largest step; 1 moves every filter by its own norm.
    """

    num_steps: int = 9
    num_random: int = 2
    reach: float = 1.0
    name: str = "loss_convexity"

    def __post_init__(self) -> None:
        whole_number("num_steps", self.num_steps, 3)
        whole_number("num_random", self.num_random, 0)
        real_number("reach", self.reach, above=0)
        if self.num_steps % 2 == 0:
            raise ValueError(
                "num_steps must be odd, so that the model itself is on the line; "
                f"received {self.num_steps}."
            )

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` has no influence, `rng` draws the directions."""
        steps = np.linspace(-self.reach, self.reach, self.num_steps)
        values, evidence = {}, {}
        for name in layers_to_score(model):
            loss = LayerLoss(model, name, target.x, target.y, batch_size=16)
            directions = {"gradient": loss.gradient_direction()}
            for number in range(self.num_random):
                seed = int(rng.integers(2**31))
                directions[f"random {number + 1}"] = loss.random_direction(seed)
            lines = {
                kind: np.array([loss.value(step * direction) for step in steps])
                for kind, direction in directions.items()
            }
            finite = all(np.isfinite(line).all() for line in lines.values())
            shapes = [line_convexity(steps, line) for line in lines.values() if finite]
            values[name] = float(np.mean(shapes)) if finite else float("nan")
            evidence[name] = {"steps": steps, **lines}
        gradients = len(target) * len(values)
        points = gradients * self.num_steps * (1 + self.num_random)
        return ScorerResult(values, Cost(points + gradients, gradients), evidence)


def sweep_cost(
    model: keras.Model,
    num_target: int,
    num_test: int,
    epochs: int,
    input_shape: SampleShape | None = None,
) -> Cost:
    """Passes of one sample that `oracle_sweep` over all layers takes.

    Everything is counted as forward passes of the whole network by multiply-adds
    (`select_layers(...).cost()`), so `scored.cost.total / sweep_cost(...).total` is the
    share of the sweep that a score costs. The sweep computes the activations before a
    layer once; then each sample of each epoch costs what comes after, backward through
    the layers behind the trained one only. `Cost.total` counts the backward passes of a
    score as two forward ones even where one layer is differentiated, so the share is
    rather too high than too low.

    Args:
        model: a built network.
        num_target: samples retrained with.
        num_test: samples tested on.
        epochs: of each retraining.
        input_shape: shape of one sample, where the model leaves it open.

    Raises:
        ValueError: for a number below 1 (tests may be 0), a model without trainable
            weights, or a shape that is not known.

    Example:
        >>> layers = [keras.layers.Dense(4, name=name) for name in "ab"]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> sweep_cost(model, num_target=8, num_test=0, epochs=10).total
        248
    """
    whole_number("num_target", num_target, 1)
    whole_number("num_test", num_test, 0)
    whole_number("epochs", epochs, 1)
    # The activations before all cuts are one forward pass.
    total = float(num_target + num_test)
    for name in layers_to_score(model):
        passes = training_passes(model, name, input_shape)
        after = share_after(model, name, input_shape)
        total += epochs * num_target * passes + num_test * after
    return Cost(forward=math.ceil(total))


def training_passes(
    model: keras.Model,
    layers: freezing.Selector,
    input_shape: SampleShape | None = None,
) -> float:
    """Forward passes that one sample takes in one step of retraining some layers.

    The activations before them are taken as known where the model has a graph.
    """
    cost = freezing.select_layers(model, layers).cost(input_shape)
    step = cost.step if LayerGraph.of(model) is None else cost.cached_step
    return step / cost.forward


def share_after(
    model: keras.Model,
    layers: freezing.Selector,
    input_shape: SampleShape | None = None,
) -> float:
    """Share of a forward pass from the layers on; all of it without a graph."""
    if LayerGraph.of(model) is None:
        return 1.0
    cost = freezing.select_layers(model, layers).cost(input_shape)
    return 1.0 - (cost.step - cost.cached_step) / cost.forward
