"""Retrain chosen layers of a model on new data, and the controls to compare with."""

from keras_spectral_tl.transfer._normalization import (
    ChannelStatistics,
    RefitNormalizationLayers,
    RefitOnTarget,
)
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.baseline_table import baselines
from keras_spectral_tl.transfer.controls import (
    fit_output_gain,
    from_scratch,
    probe_then_all,
    retrain_all,
)
from keras_spectral_tl.transfer.early_stopping import HeldOutStopping
from keras_spectral_tl.transfer.learning_rates import LearningRates
from keras_spectral_tl.transfer.load_retrained import load_retrained
from keras_spectral_tl.transfer.retrain_result import RetrainResult
from keras_spectral_tl.transfer.retraining import retrain
from keras_spectral_tl.transfer.sweep import SweepResult, oracle_sweep
from keras_spectral_tl.transfer.training import Training

__all__ = [
    "ChannelStatistics",
    "HeldOutStopping",
    "LearningRates",
    "RefitNormalizationLayers",
    "RefitOnTarget",
    "RetrainResult",
    "Samples",
    "SweepResult",
    "Training",
    "baselines",
    "fit_output_gain",
    "from_scratch",
    "load_retrained",
    "oracle_sweep",
    "probe_then_all",
    "retrain",
    "retrain_all",
]
