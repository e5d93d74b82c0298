"""Baselines to compare a retraining with: output gain, all layers, from scratch, ..."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_spectral_tl._checks import noted
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.copies import copy_model, fresh_model
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    count_parameters,
    has_biases,
    new_inputs,
)
from keras_spectral_tl._progress import Progress, check_progress, watched
from keras_spectral_tl.freezing import BiasesOf, layer_hashes, weight_hashes
from keras_spectral_tl.transfer._loop import closed_form_gain
from keras_spectral_tl.transfer._options import (
    LearningRates,
    RetrainOptions,
    weighted,
)
from keras_spectral_tl.transfer._pull import refuse_pull_of_new_weights
from keras_spectral_tl.transfer._result import RetrainResult, SweepResult
from keras_spectral_tl.transfer._retrain import (
    check_fit,
    retrain_prepared,
)
from keras_spectral_tl.transfer._samples import Samples

Baseline = Callable[[keras.Model, Samples, RetrainOptions], RetrainResult]


def baselines(
    model: keras.Model,
    target_data: Any,
    test_data: Any,
    *,
    include: Sequence[str] | None = None,
    progress: Progress | bool | None = None,
    **retrain_options: Any,
) -> SweepResult:
    """Train and test every baseline with the same data and options.

    - unchanged: the model as it is.
    - gain_only: its output times one number, in closed form (`fit_output_gain`).
    - bias_only: all biases, nothing else.
    - last_layer: the last layer, in call order, with trainable weights.
    - all: all layers (`retrain_all`).
    - layerwise_rates: all layers, learning rates falling towards the input
      (`LearningRates.decaying`).
    - probe_then_all: the last layer for half of the epochs, then all.
    - from_scratch: all layers from new weights (`from_scratch`).

    Args:
        model: A built Keras model; not changed.
        target_data: Samples to train with, as for `retrain`.
        test_data: Samples to evaluate on, of the same kind.
        include: Names of the baselines, in the order of the rows; None means all that
            apply (without bias_only for a model without biases, gain_only for labels
            of classes, and layerwise_rates with `optimizer_state_from`).
        progress: Called with each row as soon as it is known; None shows a progress
            bar in terminals, False shows none.
        **retrain_options: Arguments of `retrain`: optimizer, loss, seed, epochs, ...

    Returns:
        One row for each baseline, in the form of the rows of `oracle_sweep`.

    Raises:
        FloatingPointError, RuntimeError, TypeError, ValueError: As `retrain`; a note
            names the baseline.
        KeyError: If there is no baseline of a given name.

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
    options = RetrainOptions.of(retrain_options)
    names = _names(model, options, include)
    if "probe_then_all" in names:
        _check_two_stages(options)
    data, options = options.prepare(target_data, model)
    test = Samples.of(test_data, "test_data")
    check_fit(model, data, options.loss)
    check_fit(model, test.normalized(data.statistics), options.loss)
    if "gain_only" in names:
        try:
            check_fit(model, data)
        except ValueError:  # labels, which no gain fits
            if include is not None:
                raise
            names.remove("gain_only")
    rows = []
    with watched(progress, "Baselines", "controls", "layer", len(names)) as move:
        for name in names:
            with noted(f"This happened in the baseline {name!r}."):
                result = _BASELINES[name](model, data, options)
            rows.append({**result.row(test), "layer": name})
            move(rows[-1])
    return SweepResult(tuple(rows))


def _names(
    model: keras.Model, options: RetrainOptions, include: Sequence[str] | None
) -> list[str]:
    """Return the names of the baselines, by default those that apply to a model."""
    carries = options.optimizer_state_from is not None
    if include is None:
        left_out = {"bias_only"} if not has_biases(model) else set()
        left_out |= {"layerwise_rates"} if carries else set()
        return [name for name in _BASELINES if name not in left_out]
    for name in include:
        if name not in _BASELINES:
            raise KeyError(
                f"There is no baseline {name!r}. There are: {', '.join(_BASELINES)}."
            )
    if carries and "layerwise_rates" in include:
        raise TypeError(
            "Moments cannot be carried into one optimizer per learning rate, which "
            "layerwise_rates needs. Leave it out of `include`, or optimizer_state_from."
        )
    return list(include)


def fit_output_gain(
    model: keras.Model, target_data: Any, batch_size: int = 32, loss: Any = None
) -> RetrainResult:
    """Multiply the output of `model` by the one number that fits the target data best.

    gain = sum(y m) / sum(m^2), where m is the output of the model and the sums run over
    all samples and points, minimizes sum((gain m - y)^2). It corrects a wrong amplitude
    but not the pattern (nor, for a positive gain, its correlation): retraining a layer
    is worthwhile only if it does better than this.

    Args:
        model: A built Keras model with one output; not changed.
        target_data: Samples `(x, y)`, as for `retrain`, in the units of the model.
        batch_size: Samples evaluated at a time.
        loss: A `losses.WeightedMeanSquaredError`, whose weights count in the sums.

    Returns:
        A result whose model is gain * copy(x); its history is {"gain": [gain]}.

    Raises:
        ValueError: If the data are invalid (as in `retrain`) or all outputs are zero.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=1)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> result = fit_output_gain(model, (x, 3.0 * model.predict(x, verbose=0)))
        >>> round(result.history["gain"][0], 6)
        3.0
    """
    start = time.perf_counter()
    data = weighted(Samples.of(target_data, "target_data"), loss)
    check_fit(model, data)
    copy = copy_model(model)
    gain = closed_form_gain(copy, data, batch_size)
    named = ModelLayers.of(model)
    return _without_training(
        named,
        named.of_copy(copy),
        data,
        model=_scaled(copy, data, gain),
        history={"gain": [gain]},
        num_trainable=1,
        seconds=time.perf_counter() - start,
        label="gain_only",
    )


def _without_training(
    original: ModelLayers, copy: ModelLayers, data: Samples, **numbers: Any
) -> RetrainResult:
    return RetrainResult(
        trained=(),
        hashes_before=layer_hashes(original),
        hashes_after=layer_hashes(copy),
        num_frozen=count_parameters(original.model.weights),
        weight_hashes_before=weight_hashes(original),
        weight_hashes_after=weight_hashes(copy),
        normalization=data.statistics,
        weights=data.weights,
        **numbers,
    )


def _scaled(model: keras.Model, data: Samples, gain: float) -> keras.Model:
    inputs = new_inputs(model) if getattr(model, "inputs", None) else _inputs_of(data.x)
    layer = keras.layers.Rescaling(gain, name="gain")
    layer.supports_masking = True
    return keras.Model(inputs, layer(model(inputs)), name=f"{model.name}_with_gain")


def _inputs_of(x: Any, name: str | None = None) -> Any:
    """Return inputs for samples, those of a dict under its names."""
    if isinstance(x, dict):
        return {key: _inputs_of(part, key) for key, part in x.items()}
    if isinstance(x, tuple):
        return tuple(map(_inputs_of, x))
    dtype = str(x.dtype) if x.dtype.kind in "iu" else keras.config.floatx()
    return keras.Input(x.shape[1:], dtype=dtype, name=name)


def retrain_all(
    model: keras.Model, target_data: Any, **retrain_options: Any
) -> RetrainResult:
    """Retrain all layers: the usual fine-tuning, starting from the weights of `model`.

    Args:
        model: A built Keras model; not changed.
        target_data: As for `retrain`.
        **retrain_options: Arguments of `retrain`.

    Returns:
        The result, labelled "all".

    Raises:
        FloatingPointError, TypeError, ValueError: As `retrain`.
    """
    samples, options = RetrainOptions.of(retrain_options).prepare(target_data, model)
    return retrain_prepared(model, None, samples, options, "all")


def _joined(first: RetrainResult, second: RetrainResult) -> RetrainResult:
    """Return the second of two stages with the history and time of both."""
    stages = first.history, second.history
    history = {
        name: [
            value
            for stage in stages
            for value in stage.get(name, [math.nan] * len(stage["loss"]))
        ]
        for name in {**first.history, **second.history}
    }
    return dataclasses.replace(
        second,
        history=history,
        seconds=first.seconds + second.seconds,
        provenance={**second.provenance, "first_stage": first.provenance},
    )


def from_scratch(
    model: keras.Model, target_data: Any, **retrain_options: Any
) -> RetrainResult:
    """Train the same architecture from new random weights, without any transfer.

    The seed sets the new weights (see `models.fresh_model`) and the order of samples.

    Args:
        model: A built Keras model, whose architecture is used; not changed.
        target_data: As for `retrain`.
        **retrain_options: Arguments of `retrain`.

    Returns:
        The result, labelled "from_scratch".

    Raises:
        FloatingPointError, TypeError: As `retrain`.
        ValueError: As `retrain`, if the model cannot be built again, or with a pull to
            the new weights.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> from_scratch(model, (x, x[..., :1]), epochs=1).changed
        ('conv_1', 'conv_2')
    """
    samples, options = RetrainOptions.of(retrain_options).prepare(target_data, model)
    if options.pull:
        refuse_pull_of_new_weights(options.pull)
    return _scratch(model, samples, options)


def _check_two_stages(options: RetrainOptions) -> None:
    if options.epochs < 2:
        raise ValueError(
            "probe_then_all has two stages, which need at least two epochs. Received "
            f"epochs={options.epochs}; in a table leave it out of `include`."
        )


def _unchanged(
    model: keras.Model, data: Samples, options: RetrainOptions
) -> RetrainResult:
    named = ModelLayers.of(model)
    result = {"model": model, "history": {}, "num_trainable": 0, "seconds": 0.0}
    return _without_training(named, named, data, **result, label="unchanged")


def _layerwise(
    model: keras.Model, data: Samples, options: RetrainOptions
) -> RetrainResult:
    if options.learning_rates is None:
        rates = LearningRates.decaying(model)
        options = dataclasses.replace(options, learning_rates=rates)
    return retrain_prepared(model, None, data, options)


def probe_then_all(
    model: keras.Model, data: Samples, options: RetrainOptions
) -> RetrainResult:
    """Retrain the last layer first, then all layers: a linear probe, then fine-tuning.

    References:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", https://doi.org/10.48550/arXiv.2202.10054
    """
    _check_two_stages(options)
    first = options.epochs // 2
    stages = (
        options.with_fit_options(epochs=first),
        options.with_fit_options(epochs=options.epochs - first),
    )
    probe = retrain_prepared(model, called_layers(model)[-1], data, stages[0])
    result = retrain_prepared(
        model, None, data, stages[1], "probe_then_all", lambda _: probe.model
    )
    return _joined(probe, result)


def _scratch(
    model: keras.Model, data: Samples, options: RetrainOptions
) -> RetrainResult:
    def fresh(original: keras.Model) -> keras.Model:
        return fresh_model(original, options.seed)

    free = dataclasses.replace(options, pull=0.0)  # of new weights, see `Arm`
    return retrain_prepared(model, None, data, free, "from_scratch", fresh)


_BASELINES: dict[str, Baseline] = {
    "unchanged": _unchanged,
    "gain_only": lambda model, data, options: fit_output_gain(
        model, data, loss=options.loss
    ),
    "bias_only": lambda model, data, options: retrain_prepared(
        model, BiasesOf(), data, options
    ),
    "last_layer": lambda model, data, options: retrain_prepared(
        model, called_layers(model)[-1], data, options
    ),
    "all": lambda model, data, options: retrain_prepared(
        model, None, data, options, "all"
    ),
    "layerwise_rates": _layerwise,
    "probe_then_all": probe_then_all,
    "from_scratch": _scratch,
}
