"""Learning rates by layer."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl import freezing
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.layers import (
    layers_with_weights,
    named_weights,
)


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """Factors that multiply the learning rate of chosen layers.

    Each factor gets an optimizer of its own, of the same configuration, so clipping by
    a global norm acts within the layers of one factor.

    Args:
        factors: Pairs of a selector (see `freezing.select_layers`) and a positive
            factor, or a mapping; of several that choose a weight the last one counts.
        default: Factor of all other layers.

    Raises:
        TypeError: If `factors` are no pairs.
        ValueError: If a factor is not a positive, finite number.

    Example:
        >>> rates = LearningRates([("conv_1", 0.1), (-1, 10.0)])
        >>> rates.default
        1.0
    """

    factors: Any
    default: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", _pairs(self.factors))
        for selector, factor in (*self.factors, ("default", self.default)):
            number = not isinstance(factor, bool) and isinstance(factor, numbers.Real)
            if not (number and 0.0 < factor < math.inf):
                raise ValueError(
                    "Expected positive factors of the learning rate. Received "
                    f"{factor!r} for {selector!r}. To keep layers as they are, do not "
                    "choose them for training."
                )

    @classmethod
    def decaying(cls, model: keras.Model, decay: float = 0.7) -> "LearningRates":
        """Return factors that fall by `decay` from each layer to the one called before.

        The last layer has the factor 1, the first of n layers decay^(n - 1).

        References:
            Howard, Ruder, "Universal Language Model Fine-tuning for Text
            Classification", https://doi.org/10.18653/v1/P18-1031
        """
        names = called_layers(model)
        return cls([(name, decay**i) for i, name in enumerate(reversed(names))])

    def by_variable(self, model: keras.Model) -> dict[str, float]:
        """Return the factor of each weight, by path as in `named_weights`.

        Raises:
            KeyError, TypeError, ValueError: As `freezing.select_layers`.
        """
        layers = layers_with_weights(model)
        found = dict.fromkeys(named_weights(layers), self.default)
        for selector, factor in self.factors:
            for path in freezing.select_layers(model, selector).variables:
                found[path] = factor
        return found

    def optimizer(
        self,
        pattern: keras.optimizers.Optimizer,
        factors: Mapping[str, float],
        weights: Mapping[str, keras.Variable],
    ) -> keras.optimizers.Optimizer:
        """Return one optimizer that holds a copy of `pattern` for each factor.

        Args:
            pattern: An optimizer.
            factors: From `by_variable`, of the input model.
            weights: The weights to train, by the same paths.

        Raises:
            ValueError: If equal paths of weights get different factors.
            ImportError: If this version of Keras has no MultiOptimizer.
        """
        if not hasattr(keras.optimizers, "MultiOptimizer"):
            raise ImportError(
                "Learning rates by layer need keras.optimizers.MultiOptimizer, which "
                f"Keras {keras.__version__} does not have. Install keras>=3.15."
            )
        copies: dict[float, keras.optimizers.Optimizer] = {}
        by_path: dict[str, keras.optimizers.Optimizer] = {}
        for path, weight in weights.items():
            factor = factors.get(path, self.default)
            if factor not in copies:
                copies[factor] = scaled_optimizer(pattern, factor)
            if by_path.setdefault(weight.path, copies[factor]) is not copies[factor]:
                raise ValueError(
                    f"Two weights have the path {weight.path!r} and two learning "
                    "rates. Give the layers of the model different names."
                )
        default = next(iter(copies.values()))
        table = keras.optimizers.OptimizerMap(default, by_path)
        return keras.optimizers.MultiOptimizer(table)


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule = keras.saving.deserialize_keras_object(schedule)
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        """Return the learning rate at this step."""
        return self.factor * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this schedule again."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}


def scaled_optimizer(
    pattern: keras.optimizers.Optimizer, factor: float
) -> keras.optimizers.Optimizer:
    """Return a new optimizer whose learning rate, or schedule, is `factor` times it."""
    config = pattern.get_config()
    rate = config["learning_rate"]
    constant = isinstance(rate, (int, float))
    scaled = rate * factor if constant else ScaledSchedule(rate, factor)
    return type(pattern).from_config({**config, "learning_rate": scaled})


def first_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate of the first step."""
    rate = optimizer.get_config()["learning_rate"]
    if isinstance(rate, (int, float)):
        return float(rate)
    return float(keras.optimizers.schedules.deserialize(rate)(0))


def _pairs(factors: Any) -> tuple[tuple[Any, Any], ...]:
    given = factors.items() if isinstance(factors, Mapping) else factors
    try:
        pairs = tuple(map(tuple, given))
    except TypeError:
        pairs = ((),)
    if any(len(pair) != 2 for pair in pairs):
        raise TypeError(
            "Expected factors as pairs of a selector and a number, for example "
            f"[('conv_1', 0.1)]. Received {factors!r:.100}."
        )
    return pairs
