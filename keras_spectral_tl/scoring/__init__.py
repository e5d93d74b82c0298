"""Scores that tell, before any retraining, which layer to retrain."""

from keras_spectral_tl.scoring.gradient_norm import GradientNorm
from keras_spectral_tl.scoring.layer_scores import LayerScores
from keras_spectral_tl.scoring.least_squares import HeldOutLeastSquares
from keras_spectral_tl.scoring.protocol import Cost, ScoredLayers, Scorer
from keras_spectral_tl.scoring.score_layers import default_scorers, score_layers
from keras_spectral_tl.scoring.spectral_shift import SpectralShiftScore

__all__ = [
    "Cost",
    "GradientNorm",
    "HeldOutLeastSquares",
    "LayerScores",
    "ScoredLayers",
    "Scorer",
    "SpectralShiftScore",
    "default_scorers",
    "score_layers",
]
