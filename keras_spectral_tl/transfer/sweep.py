"""What retraining each single layer really gives: the measured answer for scores."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_spectral_tl import freezing
from keras_spectral_tl.introspection import trainable_layer_names
from keras_spectral_tl.json_files import write_json
from keras_spectral_tl.transfer.retraining import TargetData, check_fit, retrain


@dataclasses.dataclass(frozen=True, eq=False)
class SweepResult:
    """One row for each layer that was retrained alone.

    Attributes:
        rows: Dicts with layer, cc, relative_rmse, num_parameters and seconds, in the
            order of the model.
    """

    rows: tuple[Mapping[str, Any], ...]

    @property
    def cc(self) -> dict[str, float]:
        """Pattern correlation on the test data by layer name."""
        return {row["layer"]: row["cc"] for row in self.rows}

    @property
    def best(self) -> str:
        """The layer with the highest correlation; the first one of equals."""
        return max(self.cc, key=lambda name: _or_lowest(self.cc[name]))

    def to_frame(self) -> Any:
        """Return the rows as a pandas.DataFrame.

        Raises:
            ImportError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "SweepResult.to_frame needs pandas, which is not installed. Install it "
                "(pip install pandas), or use .rows or .to_json(path)."
            ) from error
        return pandas.DataFrame([dict(row) for row in self.rows])

    def to_json(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the rows to `path` as JSON, not-a-number as null, and return it."""
        rows = [dict(row) for row in self.rows]
        return write_json(path, {"best": self.best, "rows": rows})


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def oracle_sweep(
    model: keras.Model,
    target_data: Any,
    test_data: Any,
    *,
    layers: freezing.Selector | None = None,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    **retrain_options: Any,
) -> SweepResult:
    """Retrain each layer alone, each time from the same model, and test the result.

    This is the exhaustive search that a recommendation is to replace, and the yardstick
    it is to be measured with. Equal seeds give equal correlations on a CPU.

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`.
        test_data: Samples to evaluate on, of the same kind.
        layers: The layers to try, see `freezing.select_layers`; None means every layer
            with trainable weights.
        progress: Called with each row as soon as it is known.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...

    Returns:
        One row a layer.

    Raises:
        FloatingPointError, KeyError, RuntimeError, TypeError, ValueError: As `retrain`;
            a note names the layer that was being trained.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> sweep = oracle_sweep(model, (x, x[..., :1]), (x, x[..., :1]), epochs=1)
        >>> list(sweep.cc)
        ['conv_1', 'conv_2']
    """
    target, test = TargetData.of(target_data), TargetData.of(test_data)
    check_fit(model, test)
    rows = []
    for name in _candidates(model, layers):
        try:
            row = retrain(model, target, name, **retrain_options).row(test)
        except Exception as error:
            error.add_note(f"This happened while layer {name!r} was retrained alone.")
            raise
        rows.append(row)
        if progress is not None:
            progress(row)
    return SweepResult(tuple(rows))


def _candidates(
    model: keras.Model, selector: freezing.Selector | None
) -> tuple[str, ...]:
    names = freezing.select_layers(model, selector).names
    return names if selector is not None else trainable_layer_names(model)
