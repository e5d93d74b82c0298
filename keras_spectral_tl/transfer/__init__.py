"""Retrain chosen layers of a model on new data, and the controls to compare with."""

from keras_spectral_tl.transfer.baselines import from_scratch, gain_only, retrain_all
from keras_spectral_tl.transfer.retraining import RetrainResult, TargetData, retrain
from keras_spectral_tl.transfer.sweep import SweepResult, oracle_sweep

__all__ = [
    "RetrainResult",
    "SweepResult",
    "TargetData",
    "from_scratch",
    "gain_only",
    "oracle_sweep",
    "retrain",
    "retrain_all",
]
