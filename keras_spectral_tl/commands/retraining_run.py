"""What `retrain` does, step by step."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
from tqdm import tqdm

from keras_spectral_tl.commands.samples import NamedSamples, read_samples
from keras_spectral_tl.commands.systems import (
    System,
    check_inputs,
    model_record,
    normalization_of,
    read_system,
)
from keras_spectral_tl.introspection import trainable_layer_names
from keras_spectral_tl.reporting.records import figures_row, spectra_record
from keras_spectral_tl.transfer import (
    RetrainResult,
    SweepResult,
    oracle_sweep,
    retrain,
)

_TESTED = "target test samples"


@dataclasses.dataclass(frozen=True, eq=False)
class RetrainingRun:
    """A network, the samples, and the options of one call."""

    model: keras.Model
    options: argparse.Namespace
    folder: pathlib.Path
    target: System
    test: NamedSamples | None
    base: System | None

    @classmethod
    def of(
        cls, model: keras.Model, options: argparse.Namespace, folder: pathlib.Path
    ) -> "RetrainingRun":
        """Read the samples; those to test with are normalized as the target."""
        target = read_system(model, options, options.target, options.num_samples)
        test = base = None
        if options.test is not None:
            test = read_samples(options.test, options.data_dir)
            check_inputs(model, test)
            test = test.normalized(target.statistics)
        if options.base is not None:
            base = read_system(model, options, options.base)
        return cls(model, options, folder, target, test, base)

    def retrained(self, layers: Sequence[str]) -> RetrainResult:
        """Retrain some layers together."""
        with tqdm(total=self.options.epochs, desc="Retraining", unit=" epochs") as bar:
            moved = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda _epoch, _logs: bar.update()
            )
            data = self.target.samples.data
            return retrain(
                self.model, data, list(layers), callbacks=[moved], **self._how()
            )

    def sweep(self) -> SweepResult:
        """Retrain every layer in turn, or go on with that."""
        layers = trainable_layer_names(self.model)
        with tqdm(total=len(layers), desc="Sweep", unit=" layers") as bar:
            return oracle_sweep(
                self.model,
                self.target.samples.data,
                None if self.test is None else self.test.data,
                directory=self.folder / "sweep",
                progress=lambda _row: bar.update(),
                **self._how(),
            )

    def rows(self, result: RetrainResult) -> list[dict[str, Any]]:
        """Both networks on the samples to test with."""
        if self.test is None:
            return []
        name = f"{result.label} retrained"
        return [
            figures_row("base", _TESTED, self.model, self.test.data),
            figures_row(name, _TESTED, result.model, self.test.data),
        ]

    def spectra(self, result: RetrainResult) -> dict[str, Any]:
        """Kernels and activations, before and after."""
        shown = self.target.samples if self.test is None else self.test
        runs = {
            "target": (self.model, shown.data.x),
            "target, retrained": (result.model, shown.data.x),
        }
        if self.base is not None:
            runs = {"base": (self.model, self.base.samples.data.x), **runs}
        return spectra_record({"before": self.model, "after": result.model}, runs)

    def record(self) -> dict[str, Any]:
        """What this was made from."""
        return {
            **model_record(self.options.model, self.model),
            **{name: str(value) for name, value in self._how().items()},
            "learning_rate": self.options.learning_rate,
            "target": self.target.samples.source,
            "test": None if self.test is None else self.test.source,
            "normalization": normalization_of(self.target),
        }

    def _how(self) -> dict[str, Any]:
        return {
            "optimizer": keras.optimizers.Adam(self.options.learning_rate),
            "epochs": self.options.epochs,
            "batch_size": self.options.batch_size,
            "seed": self.options.seed,
        }
