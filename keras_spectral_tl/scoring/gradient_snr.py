"""How far the gradients of single samples agree, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.scoring.sample_gradients import (
    Array,
    prediction_errors,
    sample_gradients,
)
from keras_spectral_tl.transfer._samples import Samples


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
    ) -> ScoredLayers:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        if len(target) < 2:
            return ScoredLayers(dict.fromkeys(names, float("nan")), Cost(0))
        slopes = -2.0 * prediction_errors(model, target)
        values = {}
        for name in names:
            jacobian = LayerLinearisation(model, name, batch_size=1)
            values[name] = _ratio(sample_gradients(jacobian, target, slopes))
        passes = len(target) * len(names)
        return ScoredLayers(values, Cost(len(target) + passes, passes))


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
