"""A saved network, read without running any code that came with it."""

import pathlib
import zipfile
from typing import Any


def read_model(path: str) -> Any:
    """Load a `.keras` file in Keras' safe mode, without its optimizer and loss.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is not a `.keras` file, is damaged, has weights that are not
            finite, or needs code of its own (a Lambda layer, an unregistered class).
    """
    file = pathlib.Path(path)
    if file.suffix != ".keras":
        raise ValueError(
            f"MODEL must be a .keras file, as model.save('name.keras') writes it; "
            f"received {path}. Other formats may hold code and are not read."
        )
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    _check_archive(file)
    import keras

    # Registers the layers, losses and metrics of this package.
    from keras_spectral_tl import freezing, layers, losses, metrics  # noqa: F401

    try:
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{path} could not be loaded in Keras' safe mode ({reason})."
        ) from error
    _check_weights(model, path)
    return model


def _check_weights(model: Any, path: str) -> None:
    import numpy as np

    from keras_spectral_tl.introspection import (
        fetch,
        layers_with_weights,
        named_weights,
    )

    weights = named_weights(layers_with_weights(model))
    bad = [name for name, v in weights.items() if not np.isfinite(fetch(v)).all()]
    if bad:
        raise ValueError(
            f"{path} holds NaN or infinite weights in {', '.join(bad)}: its training "
            "diverged. Take an earlier state of the network."
        )


def _check_archive(file: pathlib.Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, OSError) as error:
        raise ValueError(
            f"{file} is not a whole .keras file ({error}). Copy or save it anew."
        ) from error
    if damaged is not None:
        raise ValueError(f"{file} is damaged: {damaged} has another checksum.")
