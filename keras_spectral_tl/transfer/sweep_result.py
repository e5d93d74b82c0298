"""What a sweep over layers found."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from keras_spectral_tl import introspection, models
from keras_spectral_tl._files import write_json

Weights = Mapping[str, Sequence[NDArray[Any]]]


@dataclasses.dataclass(frozen=True, eq=False)
class SweepResult:
    """One row for each layer, or combination of layers, that was retrained alone.

    Attributes:
        rows: Dicts with layer, cc, relative_rmse, num_parameters and seconds (of the
            training alone): single layers in the order of the model, then combinations
            in the order in which they were asked for.
        weights: For each row, under its `layer`, the trained weights by layer name.
    """

    rows: tuple[Mapping[str, Any], ...]
    weights: Mapping[str, Weights] = dataclasses.field(default_factory=dict)

    @property
    def cc(self) -> dict[str, float]:
        """Pattern correlation on the test data by layer name."""
        return {row["layer"]: row["cc"] for row in self.rows}

    @property
    def best(self) -> str:
        """The layer with the highest correlation; the first one of equals."""
        return max(self.cc, key=lambda name: _or_lowest(self.cc[name]))

    def model(self, original: keras.Model, layer: str | None = None) -> keras.Model:
        """Return a copy of the model that was swept, with the weights of one row.

        Args:
            original: The model given to the sweep.
            layer: The `layer` of a row; None means `best`.

        Raises:
            KeyError: If there are no weights of this row.
        """
        label = self.best if layer is None else layer
        if label not in self.weights:
            raise KeyError(
                f"The sweep has no weights of {label!r}. It has those of: "
                f"{', '.join(self.weights) or 'none'}."
            )
        copy = models.copy_model(original)
        pairs = zip(
            introspection.layers_with_weights(original),
            introspection.layers_with_weights(copy).values(),
            strict=True,
        )
        layers = dict(pairs)
        for name, values in self.weights[label].items():
            own = introspection.own_weights(layers[name])
            for variable, value in zip(own, values, strict=True):
                variable.assign(value)
        return copy

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

    def to_dict(self) -> dict[str, Any]:
        """Return the best layer and the rows, without weights, as plain values."""
        return {"best": self.best, "rows": [dict(row) for row in self.rows]}

    def to_json(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write `to_dict` to `path` as JSON, not-a-number as null, and return it."""
        return write_json(path, self.to_dict())


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value
