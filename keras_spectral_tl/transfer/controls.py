"""Controls for every retraining: a gain, all layers, two stages, no transfer at all."""

import dataclasses
import time
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing, introspection, metrics, models
from keras_spectral_tl.freezing.hashes import layer_hashes, weight_hashes
from keras_spectral_tl.introspection import ModelLayers
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.retrain_result import RetrainResult
from keras_spectral_tl.transfer.retraining import (
    check_fit,
    retrain,
    train,
    trainable_selection,
)
from keras_spectral_tl.transfer.training import Training


def fit_output_gain(
    model: keras.Model, target_data: Any, batch_size: int = 32
) -> RetrainResult:
    """Multiply the output of `model` by the one number that fits the target data best.

    gain = sum(y m) / sum(m^2) with m the output of the model and sums over all samples
    and points minimises sum((gain m - y)^2). It repairs a wrong amplitude and leaves
    the pattern (and its correlation, for a positive gain) as it is: a retrained layer
    has to do better than this.

    Args:
        model: A built Keras model with one output; not changed.
        target_data: Samples `(x, y)`, as for `retrain`.
        batch_size: Samples evaluated at a time.

    Returns:
        A result whose model is gain * copy(x); its history is {"gain": [gain]}.

    Raises:
        ValueError: If the data are bad (as `retrain`) or the output is zero everywhere.

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
    data = Samples.of(target_data)
    check_fit(model, data)
    copy = models.copy_model(model)
    output = copy.predict(data.x, batch_size=batch_size, verbose=0)
    output = np.asarray(output, np.float64)
    gain = metrics.least_squares_gain(data.y, output)
    if not np.isfinite(gain):
        raise ValueError(
            f"No gain fits: the sum of squares of the output of model {model.name!r} "
            f"on the target data is {float(np.sum(output**2))}. Expected a finite, "
            "positive number."
        )
    layers = ModelLayers.of(model).of_copy(copy)
    return RetrainResult(
        model=_scaled(copy, data, gain),
        history={"gain": [gain]},
        trained=(),
        hashes_before=freezing.layer_hashes(model),
        hashes_after=layer_hashes(layers),
        num_trainable=1,
        num_frozen=introspection.count_parameters(model.weights),
        seconds=time.perf_counter() - start,
        label="gain_only",
        weight_hashes_before=freezing.weight_hashes(model),
        weight_hashes_after=weight_hashes(layers),
        normalization=data.normalization,
    )


def _scaled(model: keras.Model, data: Samples, gain: float) -> keras.Model:
    inputs = keras.tree.map_structure(
        lambda part: keras.Input(part.shape[1:], dtype=_symbolic_dtype(part)), data.x
    )
    outputs = keras.layers.Rescaling(gain, name="gain")(model(inputs))
    return keras.Model(inputs, outputs, name=f"{model.name}_with_gain")


def _symbolic_dtype(part: Any) -> str:
    return str(part.dtype) if part.dtype.kind in "iu" else keras.config.floatx()


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
    result = retrain(model, target_data, None, **retrain_options)
    return dataclasses.replace(result, label="all")


def probe_then_all(
    model: keras.Model, target_data: Any, **retrain_options: Any
) -> RetrainResult:
    """Retrain the last layer first, then all layers: a linear probe, then fine-tuning.

    The first half of the epochs goes to the last layer with trainable weights, the rest
    to all layers, so the work is no more than that of `retrain_all`.

    Args:
        model: A built Keras model; not changed.
        target_data: As for `retrain`.
        **retrain_options: Arguments of `retrain`.

    Returns:
        The result of both stages, labelled "probe_then_all"; its history goes through
        both.

    Raises:
        FloatingPointError, TypeError, ValueError: As `retrain`; also ValueError for
            fewer than two epochs.

    References:
        Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution", https://doi.org/10.48550/arXiv.2202.10054
    """
    epochs = retrain_options.get("epochs", 50)
    if epochs < 2:
        raise ValueError(
            f"Two stages need at least two epochs. Received epochs={epochs}."
        )
    last = introspection.trainable_layer_names(model)[-1:]
    first = {**retrain_options, "epochs": epochs // 2}
    probe = retrain(model, target_data, list(last), **first)
    second = {**retrain_options, "epochs": epochs - epochs // 2}
    result = retrain(probe.model, target_data, None, **second)
    return _joined(probe, result, "probe_then_all")


def _joined(first: RetrainResult, second: RetrainResult, label: str) -> RetrainResult:
    names, paths = list(first.hashes_before), list(first.weight_hashes_before)
    history = {
        name: [*values, *second.history.get(name, ())]
        for name, values in first.history.items()
    }
    after, weights_after = second.hashes_after, second.weight_hashes_after
    return dataclasses.replace(
        second,
        label=label,
        history=history,
        trained=tuple(names),
        hashes_before=first.hashes_before,
        hashes_after=dict(zip(names, after.values(), strict=True)),
        weight_hashes_before=first.weight_hashes_before,
        weight_hashes_after=dict(zip(paths, weights_after.values(), strict=True)),
        seconds=first.seconds + second.seconds,
        provenance={**second.provenance, "first_stage": first.provenance},
    )


def from_scratch(
    model: keras.Model, target_data: Any, **retrain_options: Any
) -> RetrainResult:
    """Train the same architecture from newly drawn weights, without any transfer.

    The seed sets the new weights (see `models.fresh_model`) and the order of samples.

    Args:
        model: A built Keras model, whose architecture is used; not changed.
        target_data: As for `retrain`.
        **retrain_options: Arguments of `retrain`.

    Returns:
        The result, labelled "from_scratch".

    Raises:
        FloatingPointError, TypeError: As `retrain`.
        ValueError: As `retrain`, or if the model cannot be built again.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> from_scratch(model, (x, x[..., :1]), epochs=1).changed
        ('conv_1', 'conv_2')
    """
    training = Training.of(retrain_options)
    data = training.prepared(target_data)
    selection = trainable_selection(model, None)
    check_fit(model, data)
    fresh = models.fresh_model(model, training.seed)
    return train(model, fresh, data, selection, training, "from_scratch")
