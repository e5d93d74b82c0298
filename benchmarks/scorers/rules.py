"""Orders of layers that a score has to beat: rules of thumb, chance, and the answer."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import fetch, layers_with_weights
from keras_spectral_tl._keras_internals import own_trainable_variables
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples


@dataclass(frozen=True)
class FirstLayer:
    """A control: the shallower, the better; minus the number of layers before."""

    name: str = "first_layer"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        return ScorerResult({n: -float(i) for i, n in enumerate(names)}, Cost(0))


@dataclass(frozen=True)
class LastLayer:
    """A control: the deeper, the better, as in fine-tuning the head of a classifier."""

    name: str = "last_layer"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        return ScorerResult({n: float(i) for i, n in enumerate(names)}, Cost(0))


@dataclass(frozen=True)
class FixedDepth:
    """A control: always the layer at one depth, then its neighbours.

        score = -|depth of the layer - depth|

    A rule of thumb ("always the second layer") that a score has to beat. The depth
    stops at the first or last layer of a shallower network.

    Attributes:
        depth: from 1, the first layer with trainable weights, or from -1, the last.
    """

    depth: int

    def __post_init__(self) -> None:
        given: Any = self.depth
        whole = isinstance(given, numbers.Integral) and not isinstance(given, bool)
        if not whole or given == 0:
            raise ValueError(
                "depth must be a whole number from 1, the first layer, or from -1, the "
                f"last; received {given!r}."
            )

    @property
    def name(self) -> str:
        """Label of the scorer."""
        return f"depth_{self.depth}"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        place = self.depth - 1 if self.depth > 0 else len(names) + self.depth
        place = min(max(place, 0), len(names) - 1)
        values = {name: -float(abs(i - place)) for i, name in enumerate(names)}
        return ScorerResult(values, Cost(0))


@dataclass(frozen=True)
class RandomOrder:
    """A control: an order drawn at random, all orders equally likely."""

    name: str = "random_order"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `rng` alone decides."""
        names = layers_to_score(model)
        draws = rng.permutation(len(names)).astype(float).tolist()
        return ScorerResult(dict(zip(names, draws, strict=True)), Cost(0))


@dataclass(frozen=True)
class MeasuredOrder:
    """The oracle: what retraining each layer was measured to give.

    A scorer can tie with it and not beat it. It shows that a bench computes regret 0
    and an order in full agreement for the right answer.

    Attributes:
        measured: layer name -> figure of merit, higher is better: `sweep.cc`.
        cost: what the sweep took, see `scoring.sweep_cost`.
    """

    measured: Mapping[str, float]
    cost: Cost
    name: str = "measured_order"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; no argument but `model` has an influence.

        Raises:
            KeyError: if a layer of the model was not measured.
        """
        missing = [n for n in layers_to_score(model) if n not in self.measured]
        if missing:
            raise KeyError(
                f"no measured figure for the layers {missing}; there are those of "
                f"{list(self.measured)}. Sweep all layers of this model."
            )
        values = {n: float(self.measured[n]) for n in layers_to_score(model)}
        return ScorerResult(values, self.cost)


Array = NDArray[np.float64]

# Fewer eigenvalues in the tail say nothing of an exponent.
_LEAST_TAIL = 5


@dataclass(frozen=True)
class PowerLawAlpha:
    """A control that cannot see the target: alpha of heavy-tailed self-regularisation.

        p(x) ~ x^-alpha for x >= x_min,   alpha = 1 + n / sum ln(x_i / x_min)

    of the eigenvalues x of `W^T W`, W the matrix of a dense layer, or of every tap of a
    convolution (all taps together), with the x_min that brings the fit nearest to the
    sample (least Kolmogorov-Smirnov distance). Large values mean a layer that learned
    little, which is taken as the one to retrain. nan with fewer than 5 eigenvalues.

    Clauset, Shalizi & Newman 2009, doi:10.1137/070710111; the use for networks after
    Martin, Peng & Mahoney 2021, doi:10.1038/s41467-021-24025-8.
    """

    name: str = "power_law_alpha"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; only the weights count."""
        layers, values, evidence = layers_with_weights(model), {}, {}
        for name in layers_to_score(model):
            kernels = [fetch(v) for v in own_trainable_variables(layers[name])]
            spectra = [_eigenvalues(k) for k in kernels if k.ndim > 1]
            eigenvalues = np.concatenate([*spectra, np.zeros(0)])
            alpha, least = fit_power_law(eigenvalues)
            values[name] = alpha
            evidence[name] = {"x_min": least, "eigenvalues": np.sort(eigenvalues)}
        return ScorerResult(values, Cost(0), evidence)


def _eigenvalues(kernel: NDArray[Any]) -> Array:
    """Of `W^T W` for each tap, where they are not zero but for round-off."""
    taps = kernel.astype(np.float64).reshape(-1, *kernel.shape[-2:])
    singular = np.linalg.svd(taps, compute_uv=False).ravel()
    return np.asarray(singular[singular > 1e-6 * singular.max(initial=0.0)] ** 2)


def fit_power_law(values: Array) -> tuple[float, float]:
    """Exponent and start of a power-law tail by maximum likelihood.

    Every value but the largest few is tried as x_min.

    Args:
        values: above 0.

    Returns:
        alpha and x_min; nan if there are fewer than 5 values or all tails are of equal
        values.
    """
    x = np.sort(values)
    best, nearest = (float("nan"), float("nan")), np.inf
    for start in range(len(x) - _LEAST_TAIL + 1):
        tail = np.log(x[start:] / x[start])
        if (start and x[start] == x[start - 1]) or tail.sum() == 0.0:
            continue
        count = len(tail)
        exponent = count / tail.sum()
        model = 1.0 - np.exp(-exponent * tail)
        ranks = np.arange(count + 1) / count
        distance = max(np.max(model - ranks[:-1]), np.max(ranks[1:] - model))
        if distance < nearest:
            nearest, best = distance, (1.0 + float(exponent), float(x[start]))
    return best
