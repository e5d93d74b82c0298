"""Keras callbacks that freeze layers by schedule and record spectra during a fit."""

from keras_spectral_tl.callbacks._checked_backup import CheckedBackup
from keras_spectral_tl.callbacks._freeze_layers import FreezeLayers
from keras_spectral_tl.callbacks._freeze_schedules import (
    LayerByLayer,
    NextPhaseOnPlateau,
)
from keras_spectral_tl.callbacks._spectra import ActivationSpectra, KernelSpectra

__all__ = [
    "ActivationSpectra",
    "CheckedBackup",
    "FreezeLayers",
    "KernelSpectra",
    "LayerByLayer",
    "NextPhaseOnPlateau",
]
