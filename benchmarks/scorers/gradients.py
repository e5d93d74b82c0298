"""Scores from the gradient of the target's error, and from its curvature."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.layers import fetch, layers_with_weights
from keras_spectral_tl._keras_internals import own_trainable_variables
from keras_spectral_tl.linearization import LayerLinearization
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples

Array = NDArray[np.float64]


def prediction_errors(
    model: keras.Model, target: Samples, batch_size: int = 8
) -> Array:
    """Returns `y - f(x)` in double precision, of the shape of `y`."""
    predicted = model.predict(target.x, batch_size=batch_size, verbose=0)
    return np.asarray(target.y - np.asarray(predicted, np.float64))


def sample_gradients(
    jacobian: LayerLinearization, target: Samples, cotangents: Array
) -> Iterator[Array]:
    """Yields `J_n^T cotangent_n` of one sample n after another, flat.

    Their sum is `jacobian.apply_transpose(cotangents, target.x)`. No backend computes
    them at once for every model, so each is one forward and one backward pass.

    Args:
        jacobian: of the model, in one layer.
        target: samples.
        cotangents: of the shape of `target.y`.
    """
    for number in range(len(target)):
        rows = slice(number, number + 1)
        yield jacobian.apply_transpose(cotangents[rows], target.take(rows)[0])


@dataclass(frozen=True)
class GradientNorm:
    """`|gradient of the target's mean squared error| / |weights|`, layer by layer.

    The relative gradient norm of surgical fine-tuning (Lee et al. 2022,
    arXiv:2210.11466). It looks at the target alone and knows nothing of curvature.
    """

    name: str = "gradient_norm"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` and `rng` have no influence."""
        layers, values = layers_with_weights(model), {}
        predicted = model.predict(target.x, batch_size=8, verbose=0)
        slope = 2.0 * (np.asarray(predicted, np.float64) - target.y) / target.y.size
        for name in layers_to_score(model):
            gradient = LayerLinearization(model, name, 8).apply_transpose(
                slope, target.x
            )
            weights = [fetch(v).ravel() for v in own_trainable_variables(layers[name])]
            norm = float(np.linalg.norm(np.concatenate(weights).astype(np.float64)))
            # Weights that are all zero (a fresh gate) have no scale of their own.
            values[name] = float(np.linalg.norm(gradient)) / (norm or 1.0)
        count = len(target) * len(values)
        return ScorerResult(values, Cost(forward=len(target) + count, backward=count))


@dataclass(frozen=True)
class GradientSNR:
    """Signal-to-noise ratio of the gradient over the target samples.

        score = mean over weights of  (mean_n g_n)^2 / var_n g_n

    with g_n the gradient of the squared error of sample n and the unbiased variance
    over samples. A weight whose gradient does not vary (behind a dead unit) is left
    out; a layer of such weights gets 0. Samples that agree on nothing give about 1 /
    samples, so values compare layers, not sets of samples. nan with one sample.

    The layer-wise signal-to-noise ratio of surgical fine-tuning (Lee et al. 2022,
    arXiv:2210.11466). It does not know how much of the error the layer can remove.

    Example:
        >>> dense = keras.layers.Dense(1, use_bias=False, name="dense")
        >>> model = keras.Sequential([keras.Input((1,)), dense])
        >>> dense.set_weights([np.zeros((1, 1))])
        >>> x, y = np.ones((2, 1), "float32"), np.array([[1.0], [3.0]], "float32")
        >>> data = Samples.of((x, y))
        >>> scored = GradientSNR()(model, data, data, np.random.default_rng(0))
        >>> round(scored.values["dense"], 6)  # gradients -2, -6: 4^2 / 8
        2.0
    """

    name: str = "gradient_snr"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        if len(target) < 2:
            return ScorerResult(dict.fromkeys(names, float("nan")), Cost(0))
        slopes = -2.0 * prediction_errors(model, target)
        values = {}
        for name in names:
            jacobian = LayerLinearization(model, name, batch_size=1)
            values[name] = _ratio(sample_gradients(jacobian, target, slopes))
        passes = len(target) * len(names)
        return ScorerResult(values, Cost(len(target) + passes, passes))


def _ratio(gradients: Iterable[Array]) -> float:
    """Mean over weights of squared mean over variance, from running sums."""
    count, first, total, squares = 0, np.zeros(1), np.zeros(1), np.zeros(1)
    for gradient in gradients:
        first = gradient if count == 0 else first
        # Relative to the first one: a difference of large sums would lose the digits.
        offset = gradient - first
        total, squares = total + offset, squares + offset**2
        count += 1
    mean = total / count
    variance = (squares - count * mean**2) / (count - 1)
    varies = variance > 0.0
    if not varies.any():
        return 0.0
    return float(np.mean((first + mean)[varies] ** 2 / variance[varies]))


@dataclass(frozen=True)
class FisherTrace:
    """Trace of the empirical Fisher information of a layer's weights.

        score = mean over samples of |J_n^T r_n|^2 / s^4,   r = y - f(x),  s^2 = <r^2>

    that is `|gradient of log p|^2` for a Gaussian error of the variance that the target
    shows, independent between points. The trace is a sum over weights, so it grows with
    their number and shrinks where their values are large. 0 for a model without error.

    Empirical Fisher (the target's own `y`, not the model's), after Kirkpatrick et al.
    2017, doi:10.1073/pnas.1611835114. What depends on a layer most is not what a change
    of the layer mends.
    """

    name: str = "fisher_trace"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        errors = prediction_errors(model, target)
        variance = float(np.mean(errors**2))
        if variance == 0.0:
            return ScorerResult(dict.fromkeys(names, 0.0), Cost(len(target)))
        values = {}
        for name in names:
            jacobian = LayerLinearization(model, name, batch_size=1)
            slopes = sample_gradients(jacobian, target, errors / variance)
            values[name] = float(np.mean([slope @ slope for slope in slopes]))
        passes = len(target) * len(names)
        return ScorerResult(values, Cost(len(target) + passes, passes))


@dataclass(frozen=True)
class NewtonGain:
    """Decrease of the training error by a Newton step with the Gauss-Newton matrix.

        E(d) = |r - J d|^2 / 2,   g = J^T r,   H = J^T J
        score = (1/2 g^T H^+ g) / E(0),   a share in [0, 1]

    with `H^+ g` from a few iterations of conjugate gradients, of which each raises the
    gain. All samples are fit and none is held out, so a layer with many weights looks
    good by fitting noise: `HeldOutLeastSquares` is the cure. 0 for a model without
    error.

    Attributes:
        iterations: of conjugate gradients (Hestenes & Stiefel 1952,
            doi:10.6028/jres.049.044).
        batch_size: samples computed at once.
    """

    iterations: int = 4
    batch_size: int = 8
    name: str = "newton_gain"

    def __post_init__(self) -> None:
        whole_number("iterations", self.iterations, 1)
        whole_number("batch_size", self.batch_size, 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        errors = prediction_errors(model, target, self.batch_size)
        square = float(np.sum(errors**2))
        values, products = {}, 0
        for name in names:
            jacobian = LayerLinearization(model, name, self.batch_size)
            gain, taken = self._gain(jacobian, target, errors)
            values[name] = 2.0 * gain / square if square > 0.0 else 0.0
            products += taken
        # Each layer's first product is checked on a batch: two forward, one reverse.
        checked = min(self.batch_size, len(target)) if square > 0.0 else 0
        forward_mode = products * len(target) + 2 * len(names) * checked
        reverse_mode = (products + len(names)) * len(target) + len(names) * checked
        forward = len(target) + 2 * forward_mode + reverse_mode
        return ScorerResult(values, Cost(forward, reverse_mode))

    def _gain(
        self, jacobian: LayerLinearization, target: Samples, errors: Array
    ) -> tuple[float, int]:
        """`1/2 g^T H^+ g` and the products with H: conjugate gradients on `H d = g`."""
        residual = jacobian.apply_transpose(errors, target.x)
        direction, gain = residual, 0.0
        square = start = float(residual @ residual)
        for iteration in range(self.iterations):
            # Single precision has nothing left to say.
            if square <= 1e-12 * start or square == 0.0:
                return gain, iteration
            image = jacobian.apply(direction, target.x)
            length = square / float(np.sum(image**2))
            # E falls by length * square / 2 in this step.
            gain += 0.5 * length * square
            residual = residual - length * jacobian.apply_transpose(image, target.x)
            previous, square = square, float(residual @ residual)
            direction = residual + (square / previous) * direction
        return gain, self.iterations
