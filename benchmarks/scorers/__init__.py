"""Scorers that `score_layers` is compared with: from the literature, drafts, and rules.

Each is called with (model, base samples, target samples, rng), as
`keras_spectral_tl.scoring.Scorer` says, so any of them can be handed to `score_layers`.
"""

from scorers.activations import (
    ActivationEvidence,
    SpectralGainScore,
    SpectralShapeScore,
    SpectralShiftScore,
)
from scorers.gradients import FisherTrace, GradientNorm, GradientSNR, NewtonGain
from scorers.least_squares import HeldOutLeastSquares
from scorers.placement import (
    FeatureNorms,
    KernelCondition,
    KindOfShift,
    TangentCondition,
)
from scorers.rules import (
    FirstLayer,
    FixedDepth,
    LastLayer,
    MeasuredOrder,
    PowerLawAlpha,
    RandomOrder,
)
from scorers.trainings import LossConvexity, SuccessiveHalving, sweep_cost

__all__ = [
    "ActivationEvidence",
    "FeatureNorms",
    "FirstLayer",
    "FisherTrace",
    "FixedDepth",
    "GradientNorm",
    "GradientSNR",
    "HeldOutLeastSquares",
    "KernelCondition",
    "KindOfShift",
    "LastLayer",
    "LossConvexity",
    "MeasuredOrder",
    "NewtonGain",
    "PowerLawAlpha",
    "RandomOrder",
    "SpectralGainScore",
    "SpectralShapeScore",
    "SpectralShiftScore",
    "SuccessiveHalving",
    "TangentCondition",
    "sweep_cost",
]
