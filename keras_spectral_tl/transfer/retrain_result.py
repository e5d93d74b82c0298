"""A retrained model and what is needed to trust it."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import metrics
from keras_spectral_tl._files import write_json
from keras_spectral_tl.transfer._samples import Samples

MODEL, RECORD = "model.keras", "retraining.json"
Metric = Callable[[Any, Any], float]


@dataclasses.dataclass(frozen=True, eq=False)
class RetrainResult:
    """A retrained model and what is needed to trust it.

    Attributes:
        model: The new model; compiled, its flags as they were during the training.
        history: Per-epoch values as Keras records them.
        trained: Names of the layers that were trainable (names of the input model).
        hashes_before: SHA-256 of each layer of the input model.
        hashes_after: SHA-256 of each layer of the new model, under the same names.
        num_trainable: Number of parameters that were trainable.
        num_frozen: Number of all other parameters.
        seconds: Wall time of the training, compilation included.
        label: Name for a row of a table.
        weight_hashes_before: SHA-256 of each single weight of the input model, by path.
        weight_hashes_after: Likewise of the new model; weights it has in addition (a
            low-rank update, an output gain) are here only.
        normalization: What target data are normalized by, or None.
        provenance: Versions, backend, seed, hash of the data, choices and options.
    """

    model: keras.Model
    history: Mapping[str, list[float]]
    trained: tuple[str, ...]
    hashes_before: Mapping[str, str]
    hashes_after: Mapping[str, str]
    num_trainable: int
    num_frozen: int
    seconds: float
    label: str
    weight_hashes_before: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weight_hashes_after: Mapping[str, str] = dataclasses.field(default_factory=dict)
    normalization: Any = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the layers with other weights than before."""
        return _differing(self.hashes_before, self.hashes_after)

    @property
    def changed_weights(self) -> tuple[str, ...]:
        """Paths of the weights of the input model that have other values now."""
        return _differing(self.weight_hashes_before, self.weight_hashes_after)

    @property
    def best_epoch(self) -> int | None:
        """Epoch, from 0, with the lowest loss on held-out samples; None without any."""
        held_out = self.history.get("val_loss")
        return int(np.argmin(held_out)) if held_out else None

    def figures_of_merit(
        self,
        test_data: Any,
        batch_size: int = 32,
        extra: Mapping[str, Metric] | None = None,
    ) -> dict[str, float]:
        """Evaluate the model on `(x, y)`.

        Where the training normalized its data, so are these inputs, and the outputs are
        put back to the units of `y` before they are compared.

        Args:
            test_data: Samples, as the target data were given to `retrain`.
            batch_size: Samples evaluated at a time.
            extra: More figures: functions of (true, predicted outputs), by name.

        Returns:
            cc (`metrics.pattern_correlation`), relative_rmse, and the extra ones.
        """
        data = Samples.of(test_data)
        x = data.x
        if self.normalization is not None and data.normalization is None:
            x = data.normalized(self.normalization).x
        outputs = self.model.predict(x, batch_size=batch_size, verbose=0)
        if self.normalization is not None and data.normalization is None:
            _, outputs = self.normalization.denormalize(x, outputs)
        figures = {
            "cc": metrics.pattern_correlation,
            "relative_rmse": metrics.relative_rmse,
            **(extra or {}),
        }
        return {
            name: float(figure(data.y, outputs)) for name, figure in figures.items()
        }

    def row(self, test_data: Any, batch_size: int = 32) -> dict[str, Any]:
        """Evaluate the model on `(x, y)` and return one row of a table.

        Returns:
            layer (the label), cc (`metrics.pattern_correlation`), relative_rmse,
            num_parameters (trained ones) and seconds.
        """
        return {
            "layer": self.label,
            **self.figures_of_merit(test_data, batch_size),
            "num_parameters": self.num_trainable,
            "seconds": self.seconds,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the model as plain values."""
        return {
            "label": self.label,
            "trained": list(self.trained),
            "changed": list(self.changed),
            "changed_weights": list(self.changed_weights),
            "best_epoch": self.best_epoch,
            "num_trainable": self.num_trainable,
            "num_frozen": self.num_frozen,
            "seconds": self.seconds,
            "history": {name: list(values) for name, values in self.history.items()},
            "hashes_before": dict(self.hashes_before),
            "hashes_after": dict(self.hashes_after),
            "weight_hashes_before": dict(self.weight_hashes_before),
            "weight_hashes_after": dict(self.weight_hashes_after),
            "provenance": dict(self.provenance),
        }

    def to_json(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write `to_dict` to `path` as JSON and return it."""
        return write_json(path, self.to_dict())

    def save(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write `model.keras` and `retraining.json` into `folder` and return it.

        The folder is made if it is not there; each file appears complete or not at all.
        The record holds the SHA-256 of the model's file, which `load_retrained` checks.
        Keras saves a low-rank update merged into its kernel.
        """
        target = pathlib.Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f".partial-{MODEL}"
        try:
            self.model.save(partial)
            digest = hashlib.sha256(partial.read_bytes()).hexdigest()
            partial.replace(target / MODEL)
        finally:
            partial.unlink(missing_ok=True)
        write_json(target / RECORD, {**self.to_dict(), "model_sha256": digest})
        return target


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in before if before[name] != after[name])
