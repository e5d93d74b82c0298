"""Scores from activations: LogME, and how their spectra differ between systems."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl._graph.calls import LayerFields, read_calls
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._explanation import activation_shifts
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples

Array = NDArray[np.float64]

_MAX_ITERATIONS = 100
# Relative: below it noise is round-off.
_LEAST_NOISE = 1e-12


def log_evidence(features: Array, truth: Array) -> float:
    """Highest log evidence of `y = F w + noise`, over the number of points.

        w ~ N(0, I / a),   noise ~ N(0, I / b),   y ~ N(0, F F^T / a + I / b)
        max over a, b of log p(y | F, a, b) / n

    by MacKay's fixed point in the singular vectors of F: with gamma the number of
    directions that the data determine, `a = gamma / |w|^2` and
    `b = (n - gamma) / |y - F w|^2`. Without a column that says anything this is the
    evidence of noise alone.

    Args:
        features: (n, columns).
        truth: (n,), not all 0.

    Returns:
        The evidence, in nats a point.

    References:
        MacKay, Bayesian Interpolation (1992), doi:10.1162/neco.1992.4.3.415
        You et al., LogME (2021), arXiv:2102.11005

    Example:
        >>> y = np.array([1.0, -1.0, 1.0, -1.0])
        >>> round(log_evidence(np.zeros((4, 1)), y), 6)  # -(log 2 pi + 1) / 2
        -1.418939
    """
    count = len(truth)
    total = float(truth @ truth)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > 1e-10 * max(float(singular[0]), np.finfo(float).tiny)
    squares = singular[kept] ** 2
    along = (left[:, kept].T @ truth) ** 2
    outside = max(total - float(along.sum()), 0.0)
    # Precisions of prior and noise: y is all noise, w of a size that would explain it.
    noise = count / total
    best = _log_density(squares, along, outside, count, np.inf, noise)
    if not len(squares):
        return best / count
    prior = float(squares.mean()) * noise
    for _ in range(_MAX_ITERATIONS):
        shares = noise * squares / (prior + noise * squares)
        determined = float(shares.sum())
        weights = float(np.sum(along * (shares / np.sqrt(squares)) ** 2))
        rest = outside + float(np.sum(along * (1 - shares) ** 2))
        rest = max(rest, _LEAST_NOISE * total)
        reached = _log_density(squares, along, outside, count, prior, noise)
        settled = abs(reached - best) < 1e-10 * count
        best = max(best, reached)
        if settled or weights == 0.0:
            break
        prior = determined / weights
        noise = max(count - determined, _LEAST_NOISE * count) / rest
    return best / count


def _log_density(
    squares: Array, along: Array, outside: float, count: int, prior: float, noise: float
) -> float:
    """`log N(y; 0, F F^T / prior + I / noise)` from the singular values of F."""
    variances = squares / prior + 1.0 / noise
    exponent = float(np.sum(along / variances)) + noise * outside
    volume = float(np.sum(np.log(variances))) - (count - len(squares)) * np.log(noise)
    return -0.5 * float(exponent + volume + count * np.log(2.0 * np.pi))


@dataclass(frozen=True)
class ActivationEvidence:
    """LogME: the evidence of a Bayesian ridge regression of `y` on activations.

        score = max over (a, b) of log p(y | F, a, b) / points

    F are the outputs of the layer at points drawn at random, of zero mean, and y the
    target there in units of its standard deviation, averaged over channels
    (`bayesian_ridge.log_evidence`). A layer on another grid than the target gives its
    nearest values; where the target has no spatial axes, activations are averaged over
    theirs. nan for a layer without an output of the target's rank, such as a dense
    layer in a network for fields, or with fewer than 3 points.

    LogME (You et al. 2021, arXiv:2102.11005). It ranks features for a linear probe. A
    layer with good features need not be the one to change: this is the usual score of
    transferability, here to be compared with.

    Attributes:
        max_points: points of all samples together, at most.
        batch_size: samples computed at once.
    """

    max_points: int = 4096
    batch_size: int = 8
    name: str = "activation_evidence"

    def __post_init__(self) -> None:
        whole_number("max_points", self.max_points, 3)
        whole_number("batch_size", self.batch_size, 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` has no influence, `rng` draws the points."""
        values = dict.fromkeys(layers_to_score(model), float("nan"))
        # Channels last, as the target of a Keras loss usually is.
        grid = target.y.shape[1:-1]
        per_sample = max(self.max_points // len(target), 1) if grid else 1
        rows = np.arange(len(target))[: self.max_points]
        # The same places for every layer, as shares of each axis.
        places = rng.random((len(rows), per_sample, len(grid)))
        truth = _picked(target.y[rows], places)
        found: dict[str, list[Array]] = {}
        for start in range(0, len(rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            seen = _activations(model, target.take(rows[part])[0], len(grid))
            for name in values.keys() & seen.keys():
                picked = _picked(seen[name], places[part])
                found.setdefault(name, []).append(picked)
        for name, parts in found.items():
            features = np.concatenate(parts)
            if len(truth) >= 3:
                values[name] = _mean_evidence(features, truth)
        return ScorerResult(values, Cost(len(rows)))


def _activations(model: keras.Model, x: Any, rank: int) -> dict[str, NDArray[Any]]:
    """Outputs of the layers on one batch, channels last; the last of several uses."""
    seen: dict[str, NDArray[Any]] = {}

    def read(name: str, call: LayerFields) -> None:
        outputs = call.post_activation
        if rank == 0:
            seen[name] = outputs.mean(axis=tuple(range(2, outputs.ndim)))
        elif outputs.ndim == 2 + rank:
            seen[name] = np.moveaxis(outputs, 1, -1)

    # An iterable of one batch: nests of inputs pass as they are.
    read_calls(model, iter([(x, None)]), read, ranks=(0, 1, 2, 3))
    return seen


def _picked(fields: NDArray[Any], places: Array) -> Array:
    """Values of channels-last fields (samples, ..., channels) at (samples, points)."""
    sizes = np.array(fields.shape[1:-1], dtype=int)
    indices = np.floor(places * sizes).astype(int)
    samples = np.arange(len(fields))[:, None]
    axes = np.moveaxis(indices, -1, 0)
    values = fields[(samples, *axes)] if len(axes) else fields
    return np.asarray(values.reshape(-1, fields.shape[-1]), np.float64)


def _mean_evidence(features: Array, truth: Array) -> float:
    """`log_evidence` of standardised targets, averaged over their channels."""
    centred = features - features.mean(axis=0)
    deviations = truth - truth.mean(axis=0)
    spread = deviations.std(axis=0)
    varying = spread > 0.0
    if not varying.any():
        return float("nan")
    columns = (deviations[:, varying] / spread[varying]).T
    return float(np.mean([log_evidence(centred, column) for column in columns]))


@dataclass(frozen=True)
class SpectralShiftScore:
    """Mean `|log(target spectrum / base spectrum)|` of each layer's pre-activations.

    Averaged over wavenumbers at which the base spectrum has at least `floor` of its
    largest value. It needs no gradient and no targets, and so cannot know whether a
    difference hurts the prediction. The evidence separates gain and shape;
    `SpectralGainScore` and `SpectralShapeScore` score by one of them.

    Attributes:
        floor: relative height below which a shell of the base spectrum is left out.
    """

    floor: float = 1e-6
    name: str = "spectral_shift"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `rng` has no influence.

        Layers without a spatial output, or without any activity on one of the systems,
        get the lowest score, 0.
        """
        values, evidence = dict.fromkeys(layers_to_score(model), 0.0), {}
        shifts = _shifts(model, base, target)
        for name in (name for name in values if name in shifts):
            before, after = (
                shifts[name][f"{system}_spectrum"] for system in ("base", "target")
            )
            kept = before > self.floor * before.max()
            kept &= after > 0.0
            values[name] = float(np.mean(np.abs(np.log(after[kept] / before[kept]))))
            evidence[name] = shifts[name]
        return ScorerResult(values, Cost(len(base) + len(target)), evidence)


@dataclass(frozen=True)
class SpectralGainScore:
    """`|log(target energy / base energy)|` of each layer's pre-activations.

    The gain of the spectral shift, without its shape (`spectra.spectral_shift`). It
    needs no targets and cannot know whether a difference hurts the prediction.
    """

    name: str = "spectral_gain"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `rng` has no influence. 0 for layers without spectra."""
        values = dict.fromkeys(layers_to_score(model), 0.0)
        shifts = _shifts(model, base, target)
        for name in (name for name in values if name in shifts):
            values[name] = abs(shifts[name]["gain"])
        return ScorerResult(values, Cost(len(base) + len(target)))


@dataclass(frozen=True)
class SpectralShapeScore:
    """Share of the energy of each layer's pre-activations at other wavenumbers.

        score = 1/2 sum_k |T(k) / sum T - B(k) / sum B|   in [0, 1]

    for the spectra B of the base and T of the target: the shape of the spectral shift,
    without its gain (`spectra.spectral_shift`). It needs no targets and cannot know
    whether a difference hurts the prediction.
    """

    name: str = "spectral_shape"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `rng` has no influence. 0 for layers without spectra."""
        values = dict.fromkeys(layers_to_score(model), 0.0)
        shifts = _shifts(model, base, target)
        for name in (name for name in values if name in shifts):
            values[name] = shifts[name]["shape_distance"]
        return ScorerResult(values, Cost(len(base) + len(target)))


def _shifts(
    model: keras.Model, base: Samples, target: Samples
) -> dict[str, dict[str, Any]]:
    """Return the shifts of layers with as many spatial axes as the target may have."""
    axes = tuple(range(1, max(target.y.ndim - 1, 2)))
    return activation_shifts(model, base, target, axes)
