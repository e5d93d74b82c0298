"""A scorer that shows how far the scoring is."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np

from keras_spectral_tl.scoring import ScoredLayers, Scorer, TogetherScorer
from keras_spectral_tl.transfer._samples import Samples


@dataclasses.dataclass(frozen=True, repr=False)
class WatchedScorer:
    """The same scores as of another scorer; a progress bar moves.

    Attributes:
        scorer: The other one.
        bar: From tqdm.
    """

    scorer: Scorer
    bar: Any

    @property
    def name(self) -> str:
        """Label of the other scorer."""
        return self.scorer.name

    def __repr__(self) -> str:
        return repr(self.scorer)  # what the provenance of scores holds

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`."""
        self.bar.set_postfix_str(self.name.replace("_", " "))
        found = self.scorer(model, base, target, rng)
        self.bar.update()
        return found

    def rehearse(
        self,
        model: keras.Model,
        target: Samples,
        choices: Sequence[tuple[str, ...]],
        rng: np.random.Generator,
        effort: int = 1,
    ) -> ScoredLayers:
        """See `TogetherScorer`, which the other scorer must be."""
        self.bar.set_postfix_str("several layers together")
        scorer = cast(TogetherScorer, self.scorer)
        return scorer.rehearse(model, target, choices, rng, effort)
