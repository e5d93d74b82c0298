"""Retrain chosen layers of a model on new data, and baselines to compare with."""

from keras_spectral_tl._graph.cut import PrefixCache
from keras_spectral_tl.transfer._baselines import (
    baselines,
    fit_output_gain,
    from_scratch,
    retrain_all,
)
from keras_spectral_tl.transfer._options import (
    HeldOutStopping,
    LearningRates,
    RetrainOptions,
)
from keras_spectral_tl.transfer._result import (
    RetrainResult,
    SweepResult,
    load_retrained,
)
from keras_spectral_tl.transfer._retrain import retrain
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._statistics import (
    ChannelStatistics,
    RefitNormalizationLayers,
    RefitOnTarget,
)
from keras_spectral_tl.transfer._sweep import oracle_sweep

__all__ = [
    "ChannelStatistics",
    "HeldOutStopping",
    "LearningRates",
    "PrefixCache",
    "RefitNormalizationLayers",
    "RefitOnTarget",
    "RetrainOptions",
    "RetrainResult",
    "Samples",
    "SweepResult",
    "baselines",
    "fit_output_gain",
    "from_scratch",
    "load_retrained",
    "oracle_sweep",
    "retrain",
    "retrain_all",
]
