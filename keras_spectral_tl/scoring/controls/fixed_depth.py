"""Layers by their distance from a depth that is always the same."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.transfer._samples import Samples


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
    ) -> ScoredLayers:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        place = self.depth - 1 if self.depth > 0 else len(names) + self.depth
        place = min(max(place, 0), len(names) - 1)
        values = {name: -float(abs(i - place)) for i, name in enumerate(names)}
        return ScoredLayers(values, Cost(0))
