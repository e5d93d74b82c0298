"""A row of a sweep as a unit of work that any process can do."""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing, introspection, layers
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.prefix_activations import PrefixCache
from keras_spectral_tl.transfer.sweep_row import Candidate, RowTrainer, SweepRow
from keras_spectral_tl.transfer.training import Training

# Loading this module registers the package's own layers, which a saved model may hold.
_REGISTERED = layers.__all__


def read_samples(data: Any) -> Samples:
    """Return checked samples from what `Samples.of` takes or the path of a file.

    Args:
        data: `(x, y)` arrays, a dataset, or the path of an npz file with arrays x, y.

    Raises:
        KeyError, OSError: If the file does not hold them or cannot be read.
        TypeError, ValueError: As `Samples.of`.
    """
    if not isinstance(data, str | os.PathLike):
        return Samples.of(data)
    with np.load(data) as file:
        missing = {"x", "y"} - set(file.files)
        if missing:
            raise KeyError(
                f"The file {os.fspath(data)!r} lacks the array(s) "
                f"{', '.join(sorted(missing))}; it holds {', '.join(file.files)}. "
                "Write it with numpy.savez(path, x=inputs, y=outputs)."
            )
        return Samples.of((file["x"], file["y"]))


@dataclasses.dataclass(frozen=True, eq=False)
class PackedModel:
    """A model as bytes, with what proves that it was unpacked unchanged.

    Attributes:
        content: The model in the .keras format.
        classes: Its classes by name, so that the user's own are found again.
        hashes: SHA-256 of each of its layers, in order.
    """

    content: bytes
    classes: Mapping[str, type]
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "PackedModel":
        """Pack a model.

        Raises:
            ValueError: If Keras cannot save it.
        """
        parts = introspection.parents_first(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            try:
                model.save(path)
            except Exception as error:
                raise ValueError(
                    f"Model {model.name!r} ({type(model).__name__}) cannot be saved, "
                    "so it cannot be sent to an executor. Implement get_config() on "
                    f"its class, or sweep without an executor. Keras said: {error}"
                ) from error
            return cls(
                path.read_bytes(),
                {type(layer).__name__: type(layer) for layer in parts},
                tuple(freezing.layer_hashes(model).values()),
            )

    def model(self) -> keras.Model:
        """Unpack the model.

        Raises:
            ValueError: If it came back with other weights.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.keras"
            path.write_bytes(self.content)
            # The bytes are those of the caller's own model: no code is new to him.
            model = keras.models.load_model(
                path, custom_objects=dict(self.classes), compile=False, safe_mode=False
            )
        if tuple(freezing.layer_hashes(model).values()) != self.hashes:
            raise ValueError(
                f"Model {model.name!r} ({type(model).__name__}) came back from its "
                "saved file with other weights. Implement build() or "
                "get_build_config() on its class, or sweep without an executor."
            )
        return model


@dataclasses.dataclass(frozen=True, eq=False)
class SweepUnit:
    """All that is needed to retrain and test one candidate, in any process.

    Attributes:
        model: The model.
        candidate: The layers to train.
        target: Samples to train with, or the path of an npz file with them.
        test: Samples to evaluate on, likewise.
        training: How.
        cache: Where activations are kept.
        backend: The Keras backend to use.
    """

    model: PackedModel
    candidate: Candidate
    target: Samples | str
    test: Samples | str
    training: Training
    cache: PrefixCache | None
    backend: str

    def run(self) -> SweepRow:
        """Do the work.

        Raises:
            RuntimeError: If this process runs another Keras backend.
            FloatingPointError, ValueError: As `retrain`.
        """
        if keras.backend.backend() != self.backend:
            raise RuntimeError(
                f"The sweep runs on the Keras backend {self.backend!r}, this worker on "
                f"{keras.backend.backend()!r}. Start the workers with the environment "
                f"variable KERAS_BACKEND={self.backend}."
            )
        target, test = read_samples(self.target), read_samples(self.test)
        trainer = RowTrainer(
            self.model.model(), target, test, self.training, self.cache
        )
        return trainer.row(self.candidate)
