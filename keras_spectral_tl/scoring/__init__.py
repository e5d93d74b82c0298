"""Scores that tell, before any retraining, which layer to retrain."""

from keras_spectral_tl.scoring.activation_evidence import ActivationEvidence
from keras_spectral_tl.scoring.controls import (
    FirstLayer,
    FixedDepth,
    LastLayer,
    MeasuredOrder,
    PowerLawAlpha,
    RandomOrder,
)
from keras_spectral_tl.scoring.fisher_trace import FisherTrace
from keras_spectral_tl.scoring.gradient_norm import GradientNorm
from keras_spectral_tl.scoring.gradient_snr import GradientSNR
from keras_spectral_tl.scoring.held_out_retraining import HeldOutRetraining
from keras_spectral_tl.scoring.layer_scores import LayerScores
from keras_spectral_tl.scoring.least_squares import HeldOutLeastSquares
from keras_spectral_tl.scoring.loss_convexity import LossConvexity
from keras_spectral_tl.scoring.newton_gain import NewtonGain
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    Scorer,
    TogetherScorer,
)
from keras_spectral_tl.scoring.score_layers import default_scorers, score_layers
from keras_spectral_tl.scoring.spectral_gain import SpectralGainScore
from keras_spectral_tl.scoring.spectral_shape import SpectralShapeScore
from keras_spectral_tl.scoring.spectral_shift import SpectralShiftScore
from keras_spectral_tl.scoring.successive_halving import SuccessiveHalving
from keras_spectral_tl.scoring.sweep_cost import sweep_cost

__all__ = [
    "ActivationEvidence",
    "Cost",
    "FirstLayer",
    "FisherTrace",
    "FixedDepth",
    "GradientNorm",
    "GradientSNR",
    "HeldOutLeastSquares",
    "HeldOutRetraining",
    "LastLayer",
    "LayerScores",
    "LossConvexity",
    "MeasuredOrder",
    "NewtonGain",
    "PowerLawAlpha",
    "RandomOrder",
    "ScoredLayers",
    "Scorer",
    "SpectralGainScore",
    "SpectralShapeScore",
    "SpectralShiftScore",
    "SuccessiveHalving",
    "TogetherScorer",
    "default_scorers",
    "score_layers",
    "sweep_cost",
]
