"""Short retraining of each layer, the better half going on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import keras
import numpy as np

from keras_spectral_tl.metrics import relative_rmse
from keras_spectral_tl.scoring.checks import check_positive, check_whole_number
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.scoring.sweep_cost import shape_of_sample, training_passes
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.prefix_activations import PrefixCache
from keras_spectral_tl.transfer.sweep_row import Candidate, RowTrainer
from keras_spectral_tl.transfer.training import Training


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
        check_whole_number("steps", self.steps, 1)
        check_whole_number("batch_size", self.batch_size, 1)
        check_positive("learning_rate", self.learning_rate)
        check_positive("held_out", self.held_out)
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
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence.

        `rng` draws what is held out and the seed of the runs.
        """
        names = layers_to_score(model)
        if len(target) < 2:
            return ScoredLayers(dict.fromkeys(names, float("nan")), Cost(0))
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
        return ScoredLayers(values, Cost(math.ceil(probes.passes)), evidence)

    def _probes(
        self, model: keras.Model, target: Samples, rng: np.random.Generator
    ) -> _Probes:
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
        training = Training.of(
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
