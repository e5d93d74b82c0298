"""The measured answer, as if it were a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer._samples import Samples


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
    ) -> ScoredLayers:
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
        return ScoredLayers(values, self.cost)
