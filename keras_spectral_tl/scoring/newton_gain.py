"""What a linearised step in a layer takes off the error of the samples it is fit to."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.scoring.checks import check_whole_number
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.scoring.sample_gradients import Array, prediction_errors
from keras_spectral_tl.transfer._samples import Samples


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
        check_whole_number("iterations", self.iterations, 1)
        check_whole_number("batch_size", self.batch_size, 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        errors = prediction_errors(model, target, self.batch_size)
        square = float(np.sum(errors**2))
        values, products = {}, 0
        for name in names:
            jacobian = LayerLinearisation(model, name, self.batch_size)
            gain, taken = self._gain(jacobian, target, errors)
            values[name] = 2.0 * gain / square if square > 0.0 else 0.0
            products += taken
        # Each layer's first product is checked on a batch: two forward, one reverse.
        checked = min(self.batch_size, len(target)) if square > 0.0 else 0
        forward_mode = products * len(target) + 2 * len(names) * checked
        reverse_mode = (products + len(names)) * len(target) + len(names) * checked
        forward = len(target) + 2 * forward_mode + reverse_mode
        return ScoredLayers(values, Cost(forward, reverse_mode))

    def _gain(
        self, jacobian: LayerLinearisation, target: Samples, errors: Array
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
