"""Explainable transfer learning for scientific neural networks, for any Keras 3 model.

Spectra of kernels and activations, scores that tell which layer to retrain, and
retraining that proves what moved. Importing this package imports nothing heavy: names
are resolved on first use.
"""

import importlib
import importlib.metadata
from typing import Any

_HOME = {
    "HeldOutLeastSquares": "scoring",
    "GradientNorm": "scoring",
    "LayerScores": "scoring",
    "SpectralShiftScore": "scoring",
    "score_layers": "scoring",
    "RetrainResult": "transfer",
    "SweepResult": "transfer",
    "from_scratch": "transfer",
    "gain_only": "transfer",
    "oracle_sweep": "transfer",
    "retrain": "transfer",
    "freeze_layers": "freezing",
    "only_trainable": "freezing",
    "select_layers": "freezing",
    "unfreeze_layers": "freezing",
    "weight_hashes": "freezing",
    "weight_layers": "introspection",
    "activation_spectra": "spectra",
    "kernel_spectra": "spectra",
    "radial_spectrum": "spectra",
    "spectral_shift": "spectra",
    "build_sgs_cnn": "models",
}
_MODULES = (
    "callbacks",
    "freezing",
    "introspection",
    "layers",
    "linearisation",
    "metrics",
    "models",
    "plotting",
    "scoring",
    "spectra",
    "transfer",
)

__all__ = [*_HOME, *_MODULES]
__version__ = importlib.metadata.version("keras-spectral-tl")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
