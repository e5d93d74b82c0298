"""How convex the target's loss is around a model, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.loss_landscape import (
    LayerLoss,
    gradient_direction,
    line_convexity,
    random_direction,
)
from keras_spectral_tl.scoring.checks import check_positive, check_whole_number
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer._samples import Samples


@dataclass(frozen=True)
class LossConvexity:
    """Mean convexity of lines through the target's loss, one layer moving.

        score = mean over directions of line_convexity(L(theta + t d)),  |t| <= reach

    along the gradient and random directions whose filters are as long as the filters
    they move (`loss_landscape.line_convexity`). 1 where every line is convex, which
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
        check_whole_number("num_steps", self.num_steps, 3)
        check_whole_number("num_random", self.num_random, 0)
        check_positive("reach", self.reach)
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
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence, `rng` draws the directions."""
        steps = np.linspace(-self.reach, self.reach, self.num_steps)
        values, evidence = {}, {}
        for name in layers_to_score(model):
            loss = LayerLoss(model, name, target.x, target.y)
            directions = {"gradient": gradient_direction(loss)}
            for number in range(self.num_random):
                seed = int(rng.integers(2**31))
                directions[f"random {number + 1}"] = random_direction(loss, seed)
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
        return ScoredLayers(values, Cost(points + gradients, gradients), evidence)
