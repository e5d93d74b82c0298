"""Retrain chosen layers of a copy of a model and prove that the rest did not move."""

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing, introspection, models
from keras_spectral_tl.freezing.flags import switch
from keras_spectral_tl.freezing.hashes import layer_hashes, weight_hashes
from keras_spectral_tl.freezing.selection import choose
from keras_spectral_tl.introspection import ModelLayers
from keras_spectral_tl.transfer._samples import Samples as Samples
from keras_spectral_tl.transfer.adaptation import adapted_copy
from keras_spectral_tl.transfer.optimizer_state import carry_state
from keras_spectral_tl.transfer.provenance import provenance
from keras_spectral_tl.transfer.retrain_result import RetrainResult as RetrainResult
from keras_spectral_tl.transfer.training import Training as Training
from keras_spectral_tl.transfer.training_loop import check_finite_weights, fit


def retrain(
    model: keras.Model,
    target_data: Any,
    layers: freezing.Selector | None,
    *,
    optimizer: Any = None,
    loss: Any = "mean_squared_error",
    seed: int = 0,
    **fit_options: Any,
) -> RetrainResult:
    """Retrain chosen layers, or parts, of a copy of `model`; the rest stays bitwise.

    The copy is frozen before it is compiled, trained, and compared with the input model
    weight by weight by SHA-256. The input model is not touched. Samples are shuffled by
    a permutation that depends on (seed, epoch) only, and the random generators of the
    copy (dropout) start from `seed`, so equal calls give equal bits on a CPU. No global
    random state is changed.

    Args:
        model: A built Keras model.
        target_data: `(x, y)` arrays, or a finite, batched `tf.data.Dataset` of pairs.
        layers: What to train, see `freezing.select_layers`; None means all layers.
            `freezing.LowRankOf` and `freezing.OutputGain` are added to the copy.
        optimizer: A name or an instance, of which a fresh copy is made; Adam(1e-3) if
            not given.
        loss: A Keras loss.
        seed: A non-negative int.
        **fit_options: Arguments of `model.fit`; epochs=50, batch_size=8, shuffle=True
            and verbose=0 if not given. Also those of `model.compile` (`jit_compile`,
            `steps_per_execution`, ...), and `early_stopping`, `normalization`,
            `learning_rates` and `optimizer_state_from`, which `transfer.Training`
            explains.

    Returns:
        The new model, its history, the proof and the provenance.

    Raises:
        KeyError: As `freezing.select_layers`.
        TypeError: As `freezing.select_layers`, or if an option is not known.
        ValueError: If the data are empty, not finite, of unequal lengths or do not fit
            the model, or if nothing trainable was chosen.
        FloatingPointError: If the loss or a weight stops being finite.
        RuntimeError: If a frozen weight moved.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> result = retrain(model, (x, x[..., :1]), "conv_2", epochs=1)
        >>> result.trained, result.changed
        (('conv_2',), ('conv_2',))
    """
    training = Training.of(
        {"optimizer": optimizer, "loss": loss, "seed": seed, **fit_options}
    )
    data = training.prepared(target_data)
    check_weights(model)
    check_fit(model, data)
    network, selection = adapted_copy(model, layers, data.take(slice(0, 1))[0])
    check_trainable(model, selection)
    label = "+".join(selection.names)
    return train(model, network, data, selection, training, label)


def trainable_selection(
    model: keras.Model, layers: freezing.Selector | None
) -> freezing.LayerSelection:
    """Return `select_layers(model, layers)`, refusing what training cannot change."""
    check_weights(model)
    selection = freezing.select_layers(model, layers)
    check_trainable(model, selection)
    return selection


def check_weights(model: keras.Model) -> None:
    """Refuse a model without weights."""
    if not introspection.layers_with_weights(model):
        raise ValueError(f"Model {model.name!r} has no weights: nothing to retrain.")


def check_trainable(model: keras.Model, selection: freezing.LayerSelection) -> None:
    """Refuse a selection that no gradient changes."""
    if not selection.num_trainable:
        raise ValueError(
            f"The chosen layers {', '.join(selection.names)} of model {model.name!r} "
            "hold statistics but no trainable weights. Choose others."
        )


def check_fit(model: keras.Model, data: Samples) -> None:
    """Refuse outputs of another shape: losses would broadcast them silently."""
    x, y = data.take(slice(0, 1))
    with keras.StatelessScope():  # states and counters of the model stay as they are
        outputs = model(x, training=False)
    if not hasattr(outputs, "shape"):
        raise ValueError(
            f"Model {model.name!r} has {len(keras.tree.flatten(outputs))} outputs; "
            "expected one. Wrap the output to retrain in a keras.Model of its own."
        )
    shape = tuple(outputs.shape)
    if shape != y.shape:
        raise ValueError(
            f"Model {model.name!r} turns one sample into shape {shape[1:]}, but y has "
            f"samples of shape {y.shape[1:]}. Reshape y, for example y[..., None]."
        )


def train(
    original: keras.Model,
    network: keras.Model,
    data: Samples,
    selection: freezing.LayerSelection,
    training: Training,
    label: str,
    trainee: tuple[keras.Model, Samples] | None = None,
) -> RetrainResult:
    """Train what was selected in `network`, a copy of `original` still untrained.

    Args:
        original: The input model; not changed.
        network: The copy; changed in place and returned in the result.
        data: Samples for `network`, from `Training.prepared`; where a trainee is given
            they only serve the record.
        selection: What to train, in names of `original`.
        training: How.
        label: Name for a row of a table.
        trainee: A model to compile and fit in place of `network`, and its own data. It
            shares all trained weights with `network`: the part behind a frozen prefix,
            with the activations of that prefix. Callbacks and `validation_data` see it.

    Raises:
        FloatingPointError, RuntimeError, TypeError, ValueError: As `retrain`; also if
            the trainee does not train the same weights as `network`.
    """
    start = time.perf_counter()
    before = ModelLayers.of(original)
    layers = before.of_copy(network)
    refitted = training.adapt(network, data, whole=trainee is None)
    start_hashes = weight_hashes(layers)
    switch(layers, choose(layers, selection))
    models.seed_random_states(network, training.seed)
    trained, samples = trainee or (network, data)
    _check_shared(network, trained)
    carried = _compile(trained, before, layers, training)
    history = fit(trained, samples, training)
    if trained is not network:
        network.compile(trained.optimizer, training.loss, **training.compile_options)
    check_finite_weights(network)
    after = weight_hashes(layers)
    _check_unmoved(start_hashes, after, layers, selection)
    _check_moved(start_hashes, after, trained, selection, len(history["loss"]))
    record = provenance(data, selection, training, trained.optimizer)
    record |= {"refitted": list(refitted), "moments": list(carried)}
    return RetrainResult(
        model=network,
        history=history,
        trained=selection.names,
        hashes_before=layer_hashes(before),
        hashes_after=layer_hashes(layers),
        num_trainable=selection.num_trainable,
        num_frozen=selection.num_frozen,
        seconds=time.perf_counter() - start,
        label=label,
        weight_hashes_before=weight_hashes(before),
        weight_hashes_after=after,
        normalization=data.normalization,
        provenance=record,
    )


def _compile(
    trained: keras.Model, original: ModelLayers, layers: ModelLayers, training: Training
) -> tuple[str, ...]:
    """Compile with a fresh optimizer; return the weights that got old moments."""
    weights = layers.weights
    optimizer = training.fresh_optimizer()
    if training.learning_rates is not None:
        active = {id(variable) for variable in trained.trainable_variables}
        optimizer = training.learning_rates.optimizer(
            optimizer,
            training.learning_rates.by_variable(original.model),
            {path: v for path, v in weights.items() if id(v) in active},
        )
    trained.compile(optimizer, training.loss, **training.compile_options)
    # TensorFlow traces a step that creates variables twice.
    trained.optimizer.build(trained.trainable_variables)
    source = training.optimizer_state_from
    if source is None:
        return ()
    origins = original.of_copy(source).weights
    same = {id(v): (path, origins.get(path)) for path, v in weights.items()}
    return carry_state(source, trained.optimizer, same)


def _check_shared(network: keras.Model, trained: keras.Model) -> None:
    wanted = {id(variable): variable.path for variable in network.trainable_variables}
    given = {id(variable): variable.path for variable in trained.trainable_variables}
    if wanted.keys() != given.keys():
        raise ValueError(
            f"The trainee {trained.name!r} must train exactly the weights that "
            f"{network.name!r} trains, as the same variables. Expected "
            f"{sorted(wanted.values())}. Received {sorted(given.values())}."
        )


def _check_unmoved(
    before: Mapping[str, str],
    after: Mapping[str, str],
    layers: ModelLayers,
    selection: freezing.LayerSelection,
) -> None:
    """Refuse moved weights that were not chosen."""
    free = {*selection.variables, *selection.statistics}
    moved = [p for p in before if p not in free and after[p] != before[p]]
    if not moved:
        return
    names = list(dict.fromkeys(path.rsplit("/", 1)[0] for path in moved))
    what = f"Frozen layer(s) {', '.join(names)} changed"
    if set(names) & set(selection.names):
        what = f"Frozen weight(s) {', '.join(moved)} changed"
    classes = sorted({type(layers.layers[name]).__name__ for name in names})
    raise RuntimeError(
        f"{what} while only {', '.join(selection.names)} should train: the weights "
        f"{', '.join(moved)} moved, of those allowed {', '.join(sorted(free))}. "
        "Something outside the optimizer writes weights. That may be the layer itself, "
        f"whatever its flags say ({', '.join(classes)}: a counter, a moving average, "
        f"spectral normalization); then choose {', '.join(names)} as well. Else check "
        "callbacks and custom train_step methods."
    )


def _check_moved(
    before: Mapping[str, str],
    after: Mapping[str, str],
    trained: keras.Model,
    selection: freezing.LayerSelection,
    num_epochs: int,
) -> None:
    """Refuse a training after which every chosen weight is what it was.

    A learning rate of zero asks for just that.
    """
    optimizer = trained.optimizer
    still = all(after[path] == before[path] for path in selection.variables)
    if not still or not num_epochs or not np.any(_learning_rate(optimizer)):
        return
    steps = int(introspection.fetch(optimizer.iterations))
    dtypes = {variable.dtype for variable in trained.trainable_variables}
    if not steps:
        why = (
            "gradients are accumulated over more batches than there were: lower the "
            "optimizer's gradient_accumulation_steps or train for more epochs"
        )
    elif dtypes & {"bfloat16", "float16"}:
        why = (
            f"steps of this size vanish in {', '.join(sorted(dtypes))}: raise the "
            "learning rate, or keep the weights in float32 (dtype policy mixed_"
            "bfloat16 or mixed_float16)"
        )
    else:
        why = (
            "their gradients are zero, because the outputs do not depend on them, the "
            "loss is at its minimum, or units are dead; or the learning rate is below "
            "round-off"
        )
    raise RuntimeError(
        f"No weight of {', '.join(selection.names)} has moved in {steps} step(s): "
        f"{why}. Expected at least one of {', '.join(selection.variables)} to change."
    )


def _learning_rate(optimizer: Any) -> Any:
    inner = getattr(optimizer, "optimizers", None) or [optimizer]
    return [float(keras.ops.convert_to_numpy(part.learning_rate)) for part in inner]
