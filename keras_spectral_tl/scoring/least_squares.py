"""How much of the target's error a layer can remove, measured on held-out samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.metrics import least_squares_gain
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.spectra import radial_spectrum
from keras_spectral_tl.transfer.retraining import TargetData

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOutLeastSquares:
    """The share of the held-out error that a least-squares step in a layer removes.

        r = y - g f(x),   g = <y, f> / <f, f>        (what an output gain cannot mend)
        d = argmin |J d - r|^2 over the fit samples  (a few iterations of CGLS)
        score = 1 - |r - J d|^2 / |r|^2 over the held-out samples

    J is the Jacobian of the output with respect to the layer's weights. The network is
    linearised, so no training is needed. Stopping CGLS early regularises: the number of
    iterations is the one at which the held-out error, averaged over folds, is lowest.
    With one sample there is nothing to hold out and the score is nan. The number of
    iterations is chosen on the samples that the score is measured on, so a score is
    never negative and slightly too high, for every layer alike.

    Attributes:
        max_iterations: most iterations of CGLS (Hestenes & Stiefel 1952,
            doi:10.6028/jres.049.044).
        num_folds: parts of the target samples, each held out once.
        batch_size: samples computed at once.
    """

    max_iterations: int = 8
    num_folds: int = 4
    batch_size: int = 8
    name: str = "held_out_least_squares"

    def __post_init__(self) -> None:
        for name, least in (("max_iterations", 1), ("num_folds", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}; received "
                    f"{value!r}."
                )

    def __call__(
        self,
        model: keras.Model,
        base: TargetData,
        target: TargetData,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence, `rng` draws the folds."""
        names = layers_to_score(model)
        if len(target) < 2:
            return ScoredLayers(dict.fromkeys(names, float("nan")), Cost(0))
        predicted = np.asarray(
            model.predict(target.x, batch_size=self.batch_size, verbose=0), np.float64
        )
        order = rng.permutation(len(target))
        folds = np.array_split(order, min(self.num_folds, len(target)))
        values, evidence = {}, {}
        for name in names:
            jacobian = LayerLinearisation(model, name, self.batch_size)
            errors = self._held_out_errors(jacobian, predicted, target, folds)
            evidence[name] = _evidence(errors)
            values[name] = evidence[name]["error_removed"]
        passes = (self.max_iterations + 1) * len(names) * len(target) * len(folds)
        cost = Cost(forward=3 * passes + len(target), backward=passes)
        return ScoredLayers(values, cost, evidence)

    def _held_out_errors(
        self,
        jacobian: LayerLinearisation,
        predicted: Array,
        target: TargetData,
        folds: list[NDArray[np.intp]],
    ) -> list[Array]:
        """Residual fields of all samples, each held out, after 0, 1, ... iterations."""
        residuals = [np.empty_like(predicted) for _ in range(self.max_iterations + 1)]
        for held in folds:
            fit = np.setdiff1d(np.concatenate(folds), held)
            gain = least_squares_gain(target.y[fit], predicted[fit])
            # A network whose output is zero has no gain, and needs none.
            gain = gain if np.isfinite(gain) else 1.0
            rest = target.y - gain * predicted
            x_fit, x_held = target.take(fit)[0], target.take(held)[0]
            residuals[0][held] = reached = rest[held]
            steps = cgls(jacobian, x_fit, rest[fit], self.max_iterations)
            for number, step in enumerate(steps, start=1):
                reached = reached - jacobian.apply(step, x_held)
                residuals[number][held] = reached
            for later in range(number + 1, len(residuals)):
                residuals[later][held] = reached
        return residuals


def cgls(
    jacobian: LayerLinearisation, x: NDArray[Any], residual: Array, max_iterations: int
) -> Iterator[Array]:
    """Yields the steps of CGLS for `min_d |J d - residual|^2`; their sum is d.

    Conjugate gradients on the normal equations without forming them. Stops early when
    the gradient vanishes to the accuracy of single precision.
    """
    gradient = jacobian.apply_transpose(residual, x)
    direction = gradient
    square = start = float(gradient @ gradient)
    for _ in range(max_iterations):
        if square <= 1e-12 * start or square == 0.0:
            yield np.zeros_like(gradient)
            return
        image = jacobian.apply(direction, x)
        length = square / float(np.sum(image**2))
        yield length * direction
        residual = residual - length * image
        gradient = jacobian.apply_transpose(residual, x)
        previous, square = square, float(gradient @ gradient)
        direction = gradient + (square / previous) * direction


def _evidence(residuals: list[Array]) -> dict[str, Any]:
    """What the score rests on: errors by iteration, by sample and by wavenumber."""
    per_sample = np.stack(
        [np.sum(r.reshape(len(r), -1) ** 2, axis=1) for r in residuals]
    )
    start = per_sample[0].sum()
    # Nothing to remove: a model that is right already gains nothing.
    curve = per_sample.sum(axis=1) / start if start > 0.0 else np.ones(len(per_sample))
    best = int(np.argmin(curve))
    evidence: dict[str, Any] = {
        "error_removed": 1.0 - float(curve[best]),
        "iterations": best,
        "error_by_iteration": curve,
        "error_before_by_sample": per_sample[0],
        "error_after_by_sample": per_sample[best],
    }
    if residuals[0].ndim == 4:
        for key, field in (("before", residuals[0]), ("after", residuals[best])):
            spectra = radial_spectrum(field, axes=(1, 2))
            evidence[f"residual_spectrum_{key}"] = spectra.mean(axis=(0, 1))
    return evidence
