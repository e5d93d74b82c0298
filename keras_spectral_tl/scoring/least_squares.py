"""How much of the target's error a layer can remove, measured on held-out samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.layer_function import LayerFunction
from keras_spectral_tl.metrics import least_squares_gain
from keras_spectral_tl.saved_jacobian import SavedJacobian
from keras_spectral_tl.scoring.checks import check_whole_number
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


@dataclass(frozen=True)
class HeldOutLeastSquares:
    """The share of the held-out error that a least-squares step in a layer removes.

        r = y - g f(x; theta),   g = <y, f> / <f, f>   (what an output gain cannot mend)
        d = argmin |g J d - r|^2 over the samples to fit (a few iterations of CGLS)
        E(q) = min over gains a of |y - a q|^2 over the samples held out
        score = 1 - E(f(x; theta + d)) / E(f(x; theta))

    J is the Jacobian of the output with respect to the layer's weights. Only the step
    is that of the linearised network; what it is worth is measured with the network
    itself, on samples not used for it, and beyond what a gain on the output would do,
    as a correlation does. Conjugate gradients stopped early go where gradient descent
    goes: first along the directions that are learnt first. So the number of iterations
    stands for the length of a retraining, and its overfitting to few samples is part
    of the score, which can be negative.

    Three quarters of the samples are fitted, at most `num_fit`; fewer than eight are
    held out one by one, a single one is cut in two halves (see `hold_out.hold_outs`).

    Attributes:
        iterations: of CGLS (Hestenes & Stiefel 1952, doi:10.6028/jres.049.044).
        num_fit: most samples fitted.
        num_held: most samples tested.
        batch_size: samples computed at once.
    """

    iterations: int = 20
    num_fit: int = 12
    num_held: int = 32
    batch_size: int = 4
    name: str = "held_out_least_squares"

    def __post_init__(self) -> None:
        for name in ("iterations", "num_fit", "num_held", "batch_size"):
            check_whole_number(name, getattr(self, name), 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence, `rng` draws what is held out."""
        names = layers_to_score(model)
        sizes = Sizes(self.num_fit, self.num_held)
        parts = hold_outs(len(target), target.y.shape[1:], sizes, rng)
        if not parts:
            return ScoredLayers(dict.fromkeys(names, float("nan")), Cost(0))

        def change_of(suffix: Suffix) -> Change:
            # Once for all divisions, or each would be compiled again.
            function = LayerFunction(suffix.model, suffix.layers)

            def change(number: int, fitted: Any, held: Any) -> Array:
                part = parts[number]
                return self._outputs(function, (fitted, held), part, target.y[part.fit])

            return change

        choices = [(name,) for name in names]
        found = held_out_layers(
            model, target, choices, parts, self.batch_size, change_of
        )
        evidence = {
            name: {"iterations": (0, *self.marks), **row} for name, row in found.items()
        }
        values = {name: row["error_removed"] for name, row in found.items()}
        return ScoredLayers(values, self._cost(model, target, parts), evidence)

    @property
    def marks(self) -> tuple[int, ...]:
        """Numbers of iterations after which the changed network is evaluated."""
        quarters = (self.iterations * part // 4 for part in (1, 2, 3, 4))
        return tuple(sorted({max(number, 1) for number in quarters}))

    def _outputs(
        self, function: LayerFunction, inputs: tuple[Any, Any], part: HoldOut, y: Array
    ) -> Array:
        """Outputs on what is held out, unchanged and after each mark."""
        jacobian = SavedJacobian(function, inputs[0], self.batch_size)
        gain = _gain(part.fit_mask * y, part.fit_mask * jacobian.outputs)
        residual = part.fit_mask * (y - gain * jacobian.outputs)
        path = cgls_path(jacobian, residual, part.fit_mask, self.iterations)
        steps = [np.zeros(jacobian.num_parameters)]
        steps += [path[number - 1] / gain for number in self.marks]
        return np.stack(
            [jacobian.outputs_after(d, inputs[1], self.batch_size) for d in steps]
        )

    def _cost(self, model: keras.Model, target: Samples, parts: list[HoldOut]) -> Cost:
        fitted = sum(len(part.fit) for part in parts)
        tested = sum(len(part.held) for part in parts)
        shape = shape_of_sample(target.x)
        # The activations before all layers are one forward pass.
        passes = float(fitted + tested)
        for name in layers_to_score(model):
            after = share_after(model, name, shape)
            # Activations are kept, so a product is half a step without its forward.
            product = training_passes(model, name, shape) - after
            passes += fitted * (after + (2 * self.iterations + 1) * product)
            passes += (len(self.marks) + 1) * tested * after
        return Cost(math.ceil(passes))


def _gain(truth: Array, prediction: Array) -> float:
    """The gain that fits best; where there is hardly a correlation, that of 0.1.

    A step is divided by it, so it must not vanish.
    """
    power = float(np.sum(truth**2)), float(np.sum(prediction**2))
    if min(power) <= 0.0:
        return 1.0
    scale = float(np.sqrt(power[0] / power[1]))
    return max(least_squares_gain(truth, prediction), 0.1 * scale)


def cgls_path(
    jacobian: SavedJacobian, residual: Array, mask: Array, iterations: int
) -> list[Array]:
    """Returns the iterates of CGLS for `min_d |mask (J d - residual)|^2`, from 0 on.

    Conjugate gradients on the normal equations without forming them. Once the gradient
    vanishes to the accuracy of single precision, against its first value or against
    |J| |residual|, the iterates stay where they are.
    """
    residual = mask * residual
    gradient = jacobian.apply_transpose(residual)
    direction, reached = gradient, np.zeros_like(gradient)
    square = start = float(gradient @ gradient)
    path: list[Array] = []
    while len(path) < iterations:
        image = mask * jacobian.apply(direction)
        power, size = float(np.sum(image**2)), float(direction @ direction)
        # At least |J| is |J d| / |d|; what is left of a gradient below is round-off.
        largest = power / size * float(np.sum(residual**2)) if size > 0.0 else 0.0
        if square <= 1e-12 * max(start, largest) or power <= 0.0:
            return path + [reached] * (iterations - len(path))
        length = square / power
        reached = reached + length * direction
        residual = residual - length * image
        gradient = jacobian.apply_transpose(residual)
        previous, square = square, float(gradient @ gradient)
        direction = gradient + (square / previous) * direction
        path.append(reached)
    return path
