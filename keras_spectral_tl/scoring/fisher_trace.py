"""How much the target's likelihood depends on each layer."""

from __future__ import annotations

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
    prediction_errors,
    sample_gradients,
)
from keras_spectral_tl.transfer._samples import Samples


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
    ) -> ScoredLayers:
        """See `Scorer`; `base` and `rng` have no influence."""
        names = layers_to_score(model)
        errors = prediction_errors(model, target)
        variance = float(np.mean(errors**2))
        if variance == 0.0:
            return ScoredLayers(dict.fromkeys(names, 0.0), Cost(len(target)))
        values = {}
        for name in names:
            jacobian = LayerLinearisation(model, name, batch_size=1)
            slopes = sample_gradients(jacobian, target, errors / variance)
            values[name] = float(np.mean([slope @ slope for slope in slopes]))
        passes = len(target) * len(names)
        return ScoredLayers(values, Cost(len(target) + passes, passes))
