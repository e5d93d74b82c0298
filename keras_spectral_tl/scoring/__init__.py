"""Scores that tell, before any retraining, which layer to retrain."""

from keras_spectral_tl.scoring._rehearsal import HeldOutRetraining
from keras_spectral_tl.scoring._result import (
    Cost,
    LayerScores,
    Scorer,
    ScorerResult,
    TogetherScorer,
)
from keras_spectral_tl.scoring._score_layers import score_layers

__all__ = [
    "Cost",
    "HeldOutRetraining",
    "LayerScores",
    "Scorer",
    "ScorerResult",
    "TogetherScorer",
    "score_layers",
]
