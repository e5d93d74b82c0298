"""The relative gradient norm of each layer."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.introspection import (
    fetch,
    layers_with_weights,
    own_trainable_variables,
)
from keras_spectral_tl.linearisation import LayerLinearisation
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer.retraining import Samples


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
    ) -> ScoredLayers:
        """See `Scorer`; `base` and `rng` have no influence."""
        layers, values = layers_with_weights(model), {}
        predicted = model.predict(target.x, batch_size=8, verbose=0)
        slope = 2.0 * (np.asarray(predicted, np.float64) - target.y) / target.y.size
        for name in layers_to_score(model):
            gradient = LayerLinearisation(model, name).apply_transpose(slope, target.x)
            weights = [fetch(v).ravel() for v in own_trainable_variables(layers[name])]
            norm = float(np.linalg.norm(np.concatenate(weights).astype(np.float64)))
            # Weights that are all zero (a fresh gate) have no scale of their own.
            values[name] = float(np.linalg.norm(gradient)) / (norm or 1.0)
        count = len(target) * len(values)
        return ScoredLayers(values, Cost(forward=len(target) + count, backward=count))
