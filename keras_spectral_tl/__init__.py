"""Explainable transfer learning for scientific neural networks, for any Keras 3 model.

Spectra of kernels and activations, scores that tell which layer to retrain, and
retraining with proof of what changed. Importing this package is cheap: names are
resolved on first use.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from keras_spectral_tl import _registration

if TYPE_CHECKING:  # what type checkers see; at run time names are resolved lazily
    from keras_spectral_tl.closure import KerasClosure as KerasClosure
    from keras_spectral_tl.freezing import freeze_layers as freeze_layers
    from keras_spectral_tl.freezing import layer_hashes as layer_hashes
    from keras_spectral_tl.freezing import layers_with_weights as layers_with_weights
    from keras_spectral_tl.freezing import only_trainable as only_trainable
    from keras_spectral_tl.freezing import select_layers as select_layers
    from keras_spectral_tl.freezing import unfreeze_layers as unfreeze_layers
    from keras_spectral_tl.models import build_sgs_cnn as build_sgs_cnn
    from keras_spectral_tl.report import Study as Study
    from keras_spectral_tl.report import write_report as write_report
    from keras_spectral_tl.scoring import Forecast as Forecast
    from keras_spectral_tl.scoring import HeldOutRetraining as HeldOutRetraining
    from keras_spectral_tl.scoring import LayerScores as LayerScores
    from keras_spectral_tl.scoring import forecast as forecast
    from keras_spectral_tl.scoring import score_layers as score_layers
    from keras_spectral_tl.spectra import activation_spectra as activation_spectra
    from keras_spectral_tl.spectra import kernel_spectra as kernel_spectra
    from keras_spectral_tl.spectra import radial_spectrum as radial_spectrum
    from keras_spectral_tl.spectra import spectral_shift as spectral_shift
    from keras_spectral_tl.transfer import RetrainResult as RetrainResult
    from keras_spectral_tl.transfer import SweepResult as SweepResult
    from keras_spectral_tl.transfer import fit_output_gain as fit_output_gain
    from keras_spectral_tl.transfer import from_scratch as from_scratch
    from keras_spectral_tl.transfer import oracle_sweep as oracle_sweep
    from keras_spectral_tl.transfer import retrain as retrain
    from keras_spectral_tl.transfer import retrain_all as retrain_all

_HOME = {
    "KerasClosure": "closure",
    "Forecast": "scoring",
    "HeldOutRetraining": "scoring",
    "LayerScores": "scoring",
    "Study": "report",
    "write_report": "report",
    "forecast": "scoring",
    "score_layers": "scoring",
    "RetrainResult": "transfer",
    "SweepResult": "transfer",
    "from_scratch": "transfer",
    "fit_output_gain": "transfer",
    "oracle_sweep": "transfer",
    "retrain": "transfer",
    "retrain_all": "transfer",
    "freeze_layers": "freezing",
    "only_trainable": "freezing",
    "select_layers": "freezing",
    "unfreeze_layers": "freezing",
    "layer_hashes": "freezing",
    "layers_with_weights": "freezing",
    "activation_spectra": "spectra",
    "kernel_spectra": "spectra",
    "radial_spectrum": "spectra",
    "spectral_shift": "spectra",
    "build_sgs_cnn": "models",
}
_MODULES = (
    "callbacks",
    "closure",
    "freezing",
    "layers",
    "linearization",
    "loss_landscape",
    "losses",
    "metrics",
    "models",
    "plotting",
    "report",
    "scoring",
    "spectra",
    "transfer",
)

__all__ = [*_HOME, *_MODULES]
__version__ = importlib.metadata.version("keras-spectral-tl")

# Lets keras.models.load_model find the classes of this package.
_registration.register()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
