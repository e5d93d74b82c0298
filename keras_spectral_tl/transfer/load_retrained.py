"""Read a retrained model back, if it is the one that was saved."""

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl import layers
from keras_spectral_tl.transfer.retrain_result import MODEL, RECORD

# Loading this module registers the package's own layers, which a saved model may hold.
_REGISTERED = layers.__all__


def load_retrained(
    folder: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """Load the model that `RetrainResult.save` wrote, after checking its SHA-256.

    So it is the model of the record beside it, bit for bit. The safe mode of Keras is
    on: a model that brings code of its own (a Lambda layer) is refused.

    Args:
        folder: Where it was saved.
        custom_objects: Your own classes by name, as of `keras.models.load_model`.

    Returns:
        The model, compiled as it was.

    Raises:
        FileNotFoundError: If the folder does not hold both files.
        ValueError: If the file is not the one that its record describes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from keras_spectral_tl import build_sgs_cnn, retrain
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = retrain(model, (x, x[..., :1]), "conv_2", epochs=1).save(folder)
        ...     load_retrained(folder).output_shape
        (None, 8, 8, 1)
    """
    place = pathlib.Path(folder)
    content = (place / MODEL).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    expected = _expected(place / RECORD)
    if found != expected:
        raise ValueError(
            f"{place / MODEL} is damaged, or not the model of {RECORD} beside it: "
            f"expected SHA-256 {expected}, received {found}. Take a copy that is "
            "whole, or save the result of the retraining again."
        )
    with tempfile.TemporaryDirectory() as own:  # the bytes that were checked
        path = pathlib.Path(own) / MODEL
        path.write_bytes(content)
        return keras.models.load_model(path, custom_objects=custom_objects)


def _expected(record: pathlib.Path) -> Any:
    try:
        return json.loads(record.read_bytes())["model_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{record} is damaged, or older than the checksums of models: expected a "
            f"JSON document with model_sha256, received {type(error).__name__}. Save "
            "the result of the retraining again."
        ) from error
