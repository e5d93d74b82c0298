"""All controls in one table, to compare a retrained layer with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_spectral_tl import freezing, introspection
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.controls import (
    fit_output_gain,
    from_scratch,
    probe_then_all,
    retrain_all,
)
from keras_spectral_tl.transfer.learning_rates import LearningRates
from keras_spectral_tl.transfer.progress import Progress, check_progress, report
from keras_spectral_tl.transfer.retrain_result import RetrainResult
from keras_spectral_tl.transfer.retraining import check_fit, retrain
from keras_spectral_tl.transfer.sweep import SweepResult
from keras_spectral_tl.transfer.training import Training

Options = Mapping[str, Any]
Baseline = Callable[[keras.Model, Samples, Options], RetrainResult]


def baselines(
    model: keras.Model,
    target_data: Any,
    test_data: Any,
    *,
    include: Sequence[str] | None = None,
    progress: Progress | None = None,
    **retrain_options: Any,
) -> SweepResult:
    """Train every control with the same data and options, and test it.

    - unchanged: the model as it is.
    - gain_only: its output times one number, in closed form (`fit_output_gain`).
    - bias_only: all biases, nothing else.
    - last_layer: the last layer with trainable weights.
    - all: all layers (`retrain_all`).
    - layerwise_rates: all layers, learning rates falling towards the input
      (`LearningRates.decaying`).
    - probe_then_all: the last layer, then all (`probe_then_all`).
    - from_scratch: all layers from new weights (`from_scratch`).

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`.
        test_data: Samples to evaluate on, of the same kind.
        include: Names of the controls, in the order of the rows; None means all that
            apply (a model without biases has no bias_only).
        progress: Called with each row as soon as it is known.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...

    Returns:
        One row a control, in the form of the rows of `oracle_sweep`.

    Raises:
        FloatingPointError, RuntimeError, TypeError, ValueError: As `retrain`; a note
            names the control.
        KeyError: If there is no control of a given name.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> data, names = (x, x[..., :1]), ["unchanged", "bias_only"]
        >>> table = baselines(model, data, data, include=names, epochs=1)
        >>> [row["num_parameters"] for row in table.rows]
        [0, 3]
    """
    check_progress(progress)
    names = _applicable(model) if include is None else list(include)
    for name in names:
        if name not in _BASELINES:
            raise KeyError(
                f"There is no baseline {name!r}. There are: {', '.join(_BASELINES)}."
            )
    data, test = Training.of(retrain_options).prepared(target_data), test_data
    test = Samples.of(test)
    check_fit(model, data)
    check_fit(model, test)
    rows = []
    for name in names:
        try:
            result = _BASELINES[name](model, data, retrain_options)
        except Exception as error:
            error.add_note(f"This happened in the baseline {name!r}.")
            raise
        rows.append({**result.row(test), "layer": name})
        report(progress, rows[-1])
    return SweepResult(tuple(rows))


def _applicable(model: keras.Model) -> list[str]:
    weights = introspection.named_weights(introspection.layers_with_weights(model))
    biased = any(path.endswith("bias") for path in weights)
    return [name for name in _BASELINES if biased or name != "bias_only"]


def _unchanged(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    layers, weights = freezing.layer_hashes(model), freezing.weight_hashes(model)
    return RetrainResult(
        model=model,
        history={},
        trained=(),
        hashes_before=layers,
        hashes_after=layers,
        num_trainable=0,
        num_frozen=introspection.count_parameters(model.weights),
        seconds=0.0,
        label="unchanged",
        weight_hashes_before=weights,
        weight_hashes_after=weights,
        normalization=data.normalization,
    )


def _gain_only(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    return fit_output_gain(model, data)


def _bias_only(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    return retrain(model, data, freezing.BiasesOf(), **options)


def _last(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    last = introspection.trainable_layer_names(model)[-1:]
    return retrain(model, data, list(last), **options)


def _all(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    return retrain_all(model, data, **options)


def _layerwise(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    rates = LearningRates.decaying(model)
    return retrain(model, data, None, **{"learning_rates": rates, **options})


def _probe(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    return probe_then_all(model, data, **options)


def _scratch(model: keras.Model, data: Samples, options: Options) -> RetrainResult:
    return from_scratch(model, data, **options)


_BASELINES: dict[str, Baseline] = {
    "unchanged": _unchanged,
    "gain_only": _gain_only,
    "bias_only": _bias_only,
    "last_layer": _last,
    "all": _all,
    "layerwise_rates": _layerwise,
    "probe_then_all": _probe,
    "from_scratch": _scratch,
}
