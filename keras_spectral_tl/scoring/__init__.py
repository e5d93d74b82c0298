"""Scores that tell, before any retraining, which layer to retrain."""

from keras_spectral_tl.scoring._arms import default_arms
from keras_spectral_tl.scoring._forecast import forecast
from keras_spectral_tl.scoring._forecast_result import (
    ArmForecast,
    Forecast,
    SampleCurve,
)
from keras_spectral_tl.scoring._rehearsal import HeldOutRetraining
from keras_spectral_tl.scoring._result import (
    Cost,
    LayerScores,
    Scorer,
    ScorerResult,
    TogetherScorer,
)
from keras_spectral_tl.scoring._score_layers import score_layers
from keras_spectral_tl.transfer._arms import Arm

__all__ = [
    "Arm",
    "ArmForecast",
    "Cost",
    "Forecast",
    "HeldOutRetraining",
    "LayerScores",
    "SampleCurve",
    "Scorer",
    "ScorerResult",
    "TogetherScorer",
    "default_arms",
    "forecast",
    "score_layers",
]
