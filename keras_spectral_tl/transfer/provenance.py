"""Where a retrained model comes from, as a document that JSON can hold."""

import dataclasses
import importlib.metadata
import platform
import re
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.training import Training

_PACKAGES = ("keras-spectral-tl", "keras", "numpy", "tensorflow", "jax", "torch")


def provenance(
    data: Samples,
    selection: freezing.LayerSelection,
    training: Training,
    optimizer: keras.optimizers.Optimizer,
) -> dict[str, Any]:
    """Return versions, data, choices and options of one retraining.

    Args:
        data: The samples trained with, normalized.
        selection: What was trained.
        training: How.
        optimizer: The optimizer that was used.

    Returns:
        A nest of dicts, lists, strings and numbers. Objects without such a form appear
        as their type and name.
    """
    return {
        "versions": versions(),
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "seed": training.seed,
        "data": {
            "sha256": data.fingerprint(),
            "num_samples": len(data),
            "normalization": plain(training.normalization),
            "statistics": plain(data.normalization),
        },
        "layers": list(selection.names),
        "weights": list(selection.variables),
        "statistics": list(selection.statistics),
        "num_trainable": selection.num_trainable,
        "num_frozen": selection.num_frozen,
        "optimizer": _optimizer_record(optimizer),
        "loss": plain(training.loss),
        "compile_options": plain(dict(training.compile_options)),
        "fit_options": plain(dict(training.fit_options)),
        "early_stopping": plain(training.early_stopping),
        "learning_rates": plain(training.learning_rates),
    }


def _optimizer_record(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    # Without the name, in which Keras counts the optimizers of the process.
    config = plain(optimizer.get_config())
    config.pop("name", None)
    return {"class": type(optimizer).__name__, "config": config}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide bits."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def plain(value: Any) -> Any:
    """Return a value in the forms that JSON knows; arrays as their shape."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return {"class": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, re.Pattern):
        return value.pattern
    if hasattr(value, "shape"):
        return f"array of shape {tuple(value.shape)}"
    return getattr(value, "__name__", None) or type(value).__name__
