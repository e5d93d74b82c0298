"""Steps, learning rates and Adam of a retraining and of the trials that predict it."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl._keras_internals import learning_rate_of
from keras_spectral_tl._optimizer_state import batches_a_step, plain_optimizer
from keras_spectral_tl.scoring._holdout import Array, Split
from keras_spectral_tl.transfer._options import RetrainOptions

Rows = NDArray[np.intp]

COUNTED = ("optimizer", "learning_rate", "epochs", "steps", "batch_size")
"""Arguments of `retrain` that set its steps and learning rates."""

# Points of the fields for which the numbers of steps were chosen.
POINTS = 64 * 64
_BETAS = 0.9, 0.99
# Variance of y below which the epsilon of Adam depends on its units.
_SMALL_UNITS = 1e-3
_EPSILON = 1e-7
# The defaults of `retrain` and of a forecast.
_RATE, _EPOCHS, _BATCH_SIZE = 1e-3, 50, 8
_STEPS = 500
# Steps of a long trial. From there on the best rate of an arm no longer depends on the
# number of steps.
LONG = 160
# Exponent of the error against the samples passed: 1 - correlation ~ passes^-.8.
_EXPONENT = 0.8
# Measured on networks with 6 layers of 16 channels and 11 of 64 (docs/forecast.md).
_RELATIVE_RATE = 0.046
# Inputs per output of kernels with 5 x 5 points and 16 channels.
_INPUTS = 400


@dataclasses.dataclass(frozen=True)
class Effort:
    """Steps of Adam, samples a step, and learning rate of the retraining to predict.

    `rate` is the initial rate of a cosine decay; None to choose one per arm.
    """

    steps: int
    batch_size: int
    rate: float | None = None

    @classmethod
    def of(cls, recipe: Mapping[str, Any], num_samples: int) -> "Effort":
        """Return the effort given by keyword arguments of `retrain`, see `path_of`.

        By default 500 steps of 8 samples. A number as learning rate is the initial rate
        of a cosine decay; a schedule or an optimizer is replaced by the cosine with an
        equal sum of rates.
        """
        if (batches := batches_a_step(recipe.get("optimizer"))) > 1:
            raise ValueError(
                "A forecast counts a step of the optimizer for each batch. Received an "
                f"optimizer with gradient_accumulation_steps={batches}: forecast with "
                f"batches {batches} times as large instead."
            )
        steps = _steps_of(recipe, num_samples) or _STEPS
        size = min(recipe.get("batch_size") or _BATCH_SIZE, num_samples)
        rate = recipe.get("learning_rate")
        if rate is None and recipe.get("optimizer") is None:
            return cls(steps, size)
        path = path_of({**recipe, "steps": steps}, num_samples)
        if rate is None or callable(rate):
            rate = 2.0 * path / steps
        return cls(steps, size, float(rate))

    @property
    def passes(self) -> int:
        """Number of samples passed in the retraining, steps times batch size."""
        return self.steps * self.batch_size

    def rate_of_trial(self, rate: float, steps: int) -> float:
        """Return the peak learning rate of a trial for a retraining at `rate`.

        rate sqrt(steps of the retraining / steps of the trial): the best rate decreases
        as the inverse square root of the number of steps.
        """
        return rate * math.sqrt(self.steps / steps)

    def hurried(self, rate: float) -> float:
        """Return the usual rate of a retraining, raised if it has few steps.

            rate max(sqrt(160 / steps), 1)

        as in `rate_of_trial`; from 160 steps on the usual rate is high enough.
        """
        return rate * math.sqrt(max(LONG / self.steps, 1.0))

    def beyond(self, short: int, long: int) -> float:
        """Return the gain expected beyond the long trial, relative to long over short.

        Negative if the retraining is shorter than the long trial.

        (long^-.8 - passes^-.8) / (short^-.8 - long^-.8)
        """
        a, b, c = (float(n) ** -_EXPONENT for n in (short, long, self.passes))
        return max((b - c) / (a - b), -1.0) if a > b else 0.0


def step_order(
    split: Split,
    steps: int,
    num_points: int,
    rng: np.random.Generator,
    fewest: int = 1,
) -> Rows:
    """Return the order of samples: indices into `split.fit`, (steps, samples a step).

    Samples are used in turn. A step has at least `num_points` output values and at
    least `fewest` samples, as far as there are enough.
    """
    num_fit = len(split.fit)
    points = int(np.sum(split.weight_of(np.array([0]))))
    count = min(max(-(-num_points // points), fewest), num_fit)
    rounds = -(-steps * count // num_fit)
    order = np.concatenate([rng.permutation(num_fit) for _ in range(rounds)])
    return order[: steps * count].reshape(steps, count)


def steps_on(fields: tuple[int, ...], steps: int) -> int:
    """Return the number of steps needed on fields of any size, fewer on large ones.

        steps sqrt(4096 / points), at most `steps`

    because the gradient on a field with more points has less noise. `fields` is the
    shape of the outputs, samples first and channels included.
    """
    points = math.prod(fields[1:])
    return max(round(steps * min(math.sqrt(POINTS / points), 1.0)), 1)


def rising_and_falling(steps: int, rise: float = 0.25) -> Array:
    """Return learning-rate factors: a linear rise to 1, then a cosine decay to 0.

    `rise` is the fraction of the steps in which the factors rise.
    """
    rise = int(rise * steps)
    step = np.arange(steps)
    fall = np.maximum(step - rise, 0) / (steps - rise)
    rates: Array = np.minimum((step + 1) / (rise + 1), 1.0)
    return rates * (1.0 + np.cos(np.pi * fall)) / 2.0


def adam(
    gradient: Callable[[Array, Rows], Array],
    start: Array,
    order: Rows,
    rates: Array,
    watch: Callable[[int, Array], None] = lambda number, weights: None,
) -> Array:
    """Return the weights after one step of Adam for each learning rate.

        m = .9 m + .1 g,   s = .99 s + .01 g^2
        theta = theta - rate m' / (sqrt(s') + 1e-7)

    where ' is the correction of the bias towards the initial values, 0. `order` holds
    the rows of the samples of every step; `gradient` maps `(weights, rows)` to g, that
    of the loss over these samples; `watch` is called after each step with the number of
    steps and the weights.
    """
    reached, mean, square = start, np.zeros_like(start), np.zeros_like(start)
    for number, (rows, rate) in enumerate(zip(order, rates, strict=True), start=1):
        slope = gradient(reached, rows)
        mean = _BETAS[0] * mean + (1.0 - _BETAS[0]) * slope
        square = _BETAS[1] * square + (1.0 - _BETAS[1]) * slope**2
        unbiased = mean / (1.0 - _BETAS[0] ** number)
        size = np.sqrt(square / (1.0 - _BETAS[1] ** number))
        reached = reached - rate * unbiased / (size + _EPSILON)
        watch(number, reached)
    return reached


def epsilon_of(variance: float) -> float:
    """Return the epsilon of Adam with which a retraining moves as its trials do.

    Trials divide the squared error by the variance of y, a retraining does not. In
    small units, such as of tendencies, its gradients would be below Keras' default. It
    is at least 1e-22, of which the square is a number in float32.
    """
    return max(_EPSILON * (variance if variance < _SMALL_UNITS else 1.0), 1e-22)


def usual_rate(
    values: Sequence[NDArray[Any]], kernels: Sequence[NDArray[Any]]
) -> float:
    """Return the usual learning rate of Adam for the weights that train.

        rate = .046 exp(mean of log rms(w)) / (number of w)^(3/4) min(1, 20 / sqrt(m))

    where w are the kernels among these weights (or factors, initially 1; or, for a
    low-rank update, `low_rank_size`), and m is the median number of inputs per output
    over all kernels. Adam changes each weight by about the rate. So the relative change
    is the same in ReLU layers rescaled by c and 1 / c, and the effects of many weights
    on an output, or of many layers on the result, add up (Yang et al. 2022,
    arXiv:2203.03466). Biases have no size of their own and get the rate of all kernels.
    `values` are those of `NetworkPart.sizes`.

    Example:
        >>> kernel = np.full((3, 3, 4, 4), 0.05)
        >>> one, two = usual_rate([kernel], []), usual_rate([kernel, kernel], [])
        >>> round(one, 6), round(one / two, 6)
        (0.0023, 1.681793)
    """
    sized = [v for v in values if (np.ndim(v) > 1 or np.all(v == 1.0)) and np.any(v)]
    sized = sized or [v for v in kernels if np.any(v)]
    if not sized:
        return 1e-3
    logs = [0.5 * math.log(float(np.mean(np.square(v, dtype=float)))) for v in sized]
    size = math.exp(float(np.mean(logs)))
    inputs = [np.size(v) / np.shape(v)[-1] for v in kernels if np.ndim(v) > 1]
    width = math.sqrt(_INPUTS / max(float(np.median(inputs or [1])), _INPUTS))
    return float(_RELATIVE_RATE * size * width / len(sized) ** 0.75)


def low_rank_size(kernel: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
    """Return the weights that set the learning rate of a low-rank update kernel + a b.

        kernel / (rms(a) sqrt(rank))

    b, initially 0, changes by about the rate, and the kernel by that times
    sqrt(rank mean(a^2)). With `usual_rate` of the returned weights, the relative change
    of the kernel is the same as if the kernel trained, whatever the rank and size of
    the factor a, of shape (..., rank).
    """
    rank = np.shape(factor)[-1]
    reach = math.sqrt(rank * float(np.mean(np.square(factor, dtype=float))))
    return np.asarray(kernel, float) / (reach or 1.0)


def usual_path(kernels: Sequence[NDArray[Any]]) -> float:
    """Return the default path (sum of learning rates) of the retraining to be scored.

    500 steps of Adam with a cosine decay from a quarter of `usual_rate` of one kernel:
    1.5e-4 for 64 channels of 5 x 5 points, 7e-4 for 16. At this rate a network that
    has to correct its amplitude first does not lose its pattern.
    """
    single = usual_rate(kernels, kernels) * max(len(kernels), 1) ** 0.75
    return float(500 / 2 * single / 4)


def path_of(recipe: Mapping[str, Any], num_samples: int) -> float:
    """Return the sum of the learning rates of all steps of a retraining.

    Of the keyword arguments of `retrain` in `recipe`, optimizer, epochs and batch_size
    are used. `learning_rate`, a number or a schedule, means Adam at that rate; `steps`
    may replace epochs. Raises TypeError for unknown arguments, ValueError for numbers
    that are not finite and positive.

    Example:
        >>> path_of({}, num_samples=16)  # 50 epochs of two steps of 1e-3
        0.1
        >>> fall = keras.optimizers.schedules.CosineDecay(1e-3, 400)
        >>> round(path_of({"learning_rate": fall, "steps": 400}, 16), 2)
        0.2
    """
    steps = _steps_of(recipe, num_samples)
    steps = steps or _steps_of({**recipe, "epochs": _EPOCHS}, num_samples)
    rate = recipe.get("learning_rate")
    if rate is None:
        rate = _rate_of(recipe.get("optimizer"))
    batches = batches_a_step(recipe.get("optimizer"))  # a schedule counts these
    every = range(min(batches, steps) - 1, steps, batches)
    if callable(rate):
        path = float(sum(float(rate(step)) for step in every))
    else:
        real_number("learning_rate", rate, above=0)
        path = round(float(len(every) * rate), 12)
    real_number("the sum of the learning rates", path, above=0)
    return path


def _steps_of(recipe: Mapping[str, Any], num_samples: int) -> int:
    """Return the number of steps of a recipe, checked; 0 if it does not say."""
    names = recipe.keys() - {"steps", "learning_rate"}
    RetrainOptions.of({name: recipe[name] for name in names})
    if recipe.get("steps") is not None:
        return whole_number("steps", recipe["steps"], 1)
    size = recipe.get("batch_size") or _BATCH_SIZE
    return int((recipe.get("epochs") or 0) * -(-num_samples // size))


def _rate_of(optimizer: Any) -> Any:
    """Return the learning rate of an optimizer, a number or a schedule."""
    if optimizer is None:
        return _RATE
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = keras.optimizers.get(optimizer)
    optimizer = plain_optimizer(optimizer)
    if hasattr(optimizer, "optimizers"):
        raise TypeError(
            "Expected an optimizer with one learning rate, such as Adam. Received "
            f"{type(optimizer).__name__}: pass the learning_rate of most weights."
        )
    if isinstance(optimizer, (keras.optimizers.SGD, keras.optimizers.Adagrad)):
        warnings.warn(
            f"{type(optimizer).__name__} moves weights by rate times gradient, not by "
            "about the rate as Adam does, and the scores rehearse Adam. Pass the "
            "learning_rate of an Adam that moves weights as far.",
            stacklevel=4,
        )
    rate = learning_rate_of(optimizer)
    is_schedule = callable(rate) and not isinstance(rate, keras.Variable)
    return rate if is_schedule else float(fetch(rate))
