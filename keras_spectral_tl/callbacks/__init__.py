"""Keras callbacks: switch layers during a fit and record spectra on the way."""

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
