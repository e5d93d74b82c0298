"""What a scorer is: a callable that gives every layer a number, and tells its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from keras_spectral_tl.introspection import trainable_layer_names
from keras_spectral_tl.transfer.retraining import Samples


@dataclass(frozen=True)
class Cost:
    """What a score took, in passes of one sample through the network.

    Attributes:
        forward: forward passes (a forward-mode product counts as two).
        backward: backward passes (a reverse-mode product is one forward, one backward).
    """

    forward: int
    backward: int = 0

    @property
    def total(self) -> int:
        """Forward passes in all; a backward pass takes about as long as two."""
        return self.forward + 2 * self.backward

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True)
class ScoredLayers:
    """The values of one scorer.

    Attributes:
        values: layer name -> score; the higher, the better to retrain.
        cost: what it took.
        evidence: layer name -> what the score rests on, named arrays and numbers.
    """

    values: Mapping[str, float]
    cost: Cost
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Scorer(Protocol):
    """Scores the layers of a model before any retraining.

    Implement this to add a score of your own; `name` labels it in every table.
    """

    @property
    def name(self) -> str:
        """Label of the scorer."""

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """Returns one value for each layer with trainable weights.

        Args:
            model: the network trained on the base system; not changed.
            base: samples of the base system.
            target: the few samples of the target system.
            rng: source of all randomness.
        """


@runtime_checkable
class TogetherScorer(Scorer, Protocol):
    """A scorer that can also score layers retrained together.

    `score_layers` needs one, as the first, to recommend several layers.
    """

    def rehearse(
        self,
        model: keras.Model,
        target: Samples,
        choices: Sequence[tuple[str, ...]],
        rng: np.random.Generator,
        effort: int = 1,
    ) -> ScoredLayers:
        """Returns one value for each choice, under its names joined by "+".

        Values of several calls are compared, so equal states of `rng` must lead to
        equal samples held out. The evidence of each choice holds `moments_after`, of
        the samples held out, see `held_out_evidence`.

        Args:
            model: the network trained on the base system; not changed.
            target: the few samples of the target system.
            choices: names of layers that are retrained together.
            rng: source of all randomness.
            effort: times the usual number of steps.
        """


def layers_to_score(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers that training can change, in the order of the model.

    Raises:
        ValueError: when there is none.
    """
    names = trainable_layer_names(model)
    if not names:
        raise ValueError(
            f"model {model.name!r} has no layer with trainable weights, so there is "
            "nothing to score. Expected at least one, such as Conv2D or Dense."
        )
    return names
