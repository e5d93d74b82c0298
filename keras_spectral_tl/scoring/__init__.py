"""Scores and forecasts that tell which layers to retrain, before any retraining."""

from keras_spectral_tl.scoring._forecast import forecast
from keras_spectral_tl.scoring._forecast_result import Forecast
from keras_spectral_tl.scoring._rehearsal import HeldOutRetraining
from keras_spectral_tl.scoring._result import (
    Cost,
    LayerScores,
    Scorer,
    ScorerResult,
)
from keras_spectral_tl.scoring._score_layers import score_layers
from keras_spectral_tl.transfer._arms import Arm, default_arms

__all__ = [
    "Arm",
    "Cost",
    "Forecast",
    "HeldOutRetraining",
    "LayerScores",
    "Scorer",
    "ScorerResult",
    "default_arms",
    "forecast",
    "score_layers",
]
