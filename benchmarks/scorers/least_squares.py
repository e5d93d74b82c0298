"""Share of the target's error that a linearised step in a layer removes."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl.linearization import LayerFunction
from keras_spectral_tl.metrics import least_squares_gain
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._evidence import held_out_evidence
from keras_spectral_tl.scoring._holdout import (
    Array,
    Sizes,
    Split,
    splits_of,
    variance_inflation,
)
from keras_spectral_tl.scoring._network_parts import (
    NetworkPart,
    PartedNetwork,
    spatial_axes,
)
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples
from scorers.saved_jacobian import SavedJacobian


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

    Three quarters of the samples are fitted, at most `num_fit`, and the others tested;
    a single one is cut in two halves (see `splits_of`).

    Attributes:
        iterations: of CGLS (Hestenes & Stiefel 1952, doi:10.6028/jres.049.044).
        num_fit: most samples fitted.
        num_held: most samples tested.
        num_tested: samples tested in all, in as many folds as that takes.
        batch_size: samples computed at once.
        offset: whether E allows an offset beside the gain.
    """

    iterations: int = 20
    num_fit: int = 12
    num_held: int = 32
    num_tested: int = 1
    batch_size: int = 4
    offset: bool = True
    name: str = "held_out_least_squares"

    def __post_init__(self) -> None:
        for name in ("iterations", "num_fit", "num_held", "num_tested", "batch_size"):
            whole_number(name, getattr(self, name), 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` has no influence, `rng` draws what is held out."""
        names = layers_to_score(model)
        axes = spatial_axes(model, target.y.ndim)
        sizes = Sizes(self.num_fit, self.num_held, self.num_tested)
        splits = splits_of(target.y.shape, axes, sizes, rng)
        if not splits:
            return ScorerResult(dict.fromkeys(names, float("nan")), Cost(0))
        network = PartedNetwork(model, target.x, self.batch_size)
        tested = np.unique(np.concatenate([split.held for split in splits]))
        truth = np.asarray(target.y, np.float64)
        evidence, passes = {}, float(len(target))
        for part in network.parts({name: name for name in names}):
            fields = np.stack([network.outputs] * (len(self.marks) + 1))
            for split in splits:
                outputs = self._outputs(part, split, truth)
                where = split.held_mask > 0.0
                fields[:, split.held] = np.where(where, outputs, fields[:, split.held])
                passes += self._passes(part, split)
            evidence[part.label] = {
                "iterations": (0, *self.marks),
                **held_out_evidence(
                    truth[tested], fields[:, tested], axes, None, self.offset
                ),
                "inflation": variance_inflation(splits),
            }
        values = {name: row["error_removed"] for name, row in evidence.items()}
        cost = Cost(math.ceil(passes) if math.isfinite(passes) else passes)
        return ScorerResult(values, cost, evidence)

    @property
    def marks(self) -> tuple[int, ...]:
        """Numbers of iterations after which the changed network is evaluated."""
        quarters = (self.iterations * part // 4 for part in (1, 2, 3, 4))
        return tuple(sorted({max(number, 1) for number in quarters}))

    def _outputs(self, part: NetworkPart, split: Split, truth: Array) -> Array:
        """Outputs on what is held out, unchanged and after each mark."""

        def rows(indices: Any) -> Any:
            return keras.tree.map_structure(lambda x: x[indices], part.inputs)

        function: LayerFunction = part.function
        y, mask = truth[split.fit], split.fit_mask
        jacobian = SavedJacobian(function, rows(split.fit), self.batch_size)
        gain = _gain(mask * y, mask * jacobian.outputs)
        residual = mask * (y - gain * jacobian.outputs)
        path = cgls_path(jacobian, residual, mask, self.iterations)
        steps = [np.zeros(jacobian.num_parameters)]
        steps += [path[number - 1] / gain for number in self.marks]
        held = rows(split.held)
        return np.stack(
            [jacobian.outputs_after(d, held, self.batch_size) for d in steps]
        )

    def _passes(self, part: NetworkPart, split: Split) -> float:
        # Activations are kept, so a product is half a step without its forward.
        product = part.step - part.share
        fitted = part.share + (2 * self.iterations + 1) * product
        tested = (len(self.marks) + 1) * part.share
        return len(split.fit) * fitted + len(split.held) * tested


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
