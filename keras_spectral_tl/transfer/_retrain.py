"""Retraining of chosen layers in a copy of a model, with proof of what changed."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.calls import check_names, misfit_of_inputs
from keras_spectral_tl._graph.copies import (
    called,
    check_made_again,
    copy_model,
    fewest_samples,
    fresh_model,
    seed_random_states,
)
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    count_parameters,
    fetch,
    layers_with_weights,
)
from keras_spectral_tl._optimizer_state import carry_moments, had_rate
from keras_spectral_tl.freezing import (
    ChannelGainsOf,
    NewWeights,
    OutputGain,
    Selector,
    select_layers,
)
from keras_spectral_tl.freezing._changes import layer_hashes, switch, weight_hashes
from keras_spectral_tl.freezing._parts import ADDED, AddedPart, items_of
from keras_spectral_tl.freezing._selection import LayerSelection, choose, select_from
from keras_spectral_tl.transfer._loop import (
    Fitted,
    check_finite_weights,
    fit,
    from_best_gain,
    why_unmoved,
)
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._pull import (
    loss_before,
    pulled,
    refuse_pull_of_new_weights,
)
from keras_spectral_tl.transfer._result import RetrainResult, is_labels_of, provenance
from keras_spectral_tl.transfer._samples import Samples

Hashes = dict[str, str]


def retrain(
    model: keras.Model,
    target_data: Any,
    layers: Selector | None,
    *,
    optimizer: Any = None,
    loss: Any = "mean_squared_error",
    seed: int = 0,
    **fit_options: Any,
) -> RetrainResult:
    """Retrain chosen layers or parts of a copy of `model`; freeze the rest bitwise.

    The copy is frozen before it is compiled, trained, and compared with the input model
    weight by weight by SHA-256. The input model is not changed. Samples are shuffled by
    a permutation that depends on (seed, epoch) only, and the random generators of the
    copy (dropout) start from `seed`, so equal calls give bitwise equal weights on a
    CPU. No global random state is changed.

    Args:
        model: A built Keras model.
        target_data: `(x, y)` arrays, or a finite, batched `tf.data.Dataset` of pairs.
            Integer labels are accepted with a sparse loss.
        layers: Layers to train, see `freezing.select_layers`; None means all layers.
            `freezing.LowRankOf`, `FiltersOf`, `ChannelGainsOf` and `OutputGain` are
            added to the copy. With `freezing.StatisticsOf` alone the samples pass
            through in training mode, and only moving averages change.
        optimizer: A name, or an instance that is copied; default Adam(1e-3).
        loss: A Keras loss.
        seed: A non-negative int.
        **fit_options: Arguments of `model.fit`; default epochs=50, batch_size=8,
            shuffle=True and verbose=0. In terminals, a bar shows the progress after
            two seconds. Also arguments of `model.compile` (`jit_compile`,
            `steps_per_execution`, ...), and `early_stopping`, `normalization`,
            `learning_rates`, `optimizer_state_from`, `symmetries`, `replay` and `pull`
            (L2-SP), which `transfer.RetrainOptions` explains.

    Returns:
        The new model, its history, the hashes of its weights and the provenance.

    Raises:
        KeyError: As `freezing.select_layers`.
        TypeError: As `freezing.select_layers`, or if an option is not known.
        ValueError: If the data are empty, not finite, of unequal lengths or do not fit
            the model, or if nothing trainable was chosen.
        FloatingPointError: If the loss or a weight stops being finite.
        RuntimeError: If a frozen weight changed, or no chosen one did.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> result = retrain(model, (x, x[..., :1]), "conv_2", epochs=1)
        >>> result.trained, result.changed
        (('conv_2',), ('conv_2',))
    """
    samples, options = RetrainOptions.of(
        {"optimizer": optimizer, "loss": loss, "seed": seed, **fit_options}
    ).prepare(target_data, model)
    return retrain_prepared(model, layers, samples, options)


def retrain_prepared(
    model: keras.Model,
    layers: Selector | None,
    samples: Samples,
    options: RetrainOptions,
    label: str | None = None,
    copy: Callable[[keras.Model], keras.Model] | None = None,
) -> RetrainResult:
    """Retrain a copy of `model` on samples that are in the units of the network.

    Samples and options are those of `RetrainOptions.prepare`. `copy` makes the network
    to train from the model; by default, an exact copy.
    """
    start = time.perf_counter()
    check_weights(model)
    if options.pull and any(isinstance(i, NewWeights) for i in items_of(layers)):
        refuse_pull_of_new_weights(options.pull)
    check_fit(model, samples, options.loss)
    sample, _ = samples.take(slice(0, 1))
    exact = functools.partial(copy_model, sample=sample)
    trainee = Trainee.of(model, from_best_gain(model, layers, samples), copy or exact)
    before = weight_hashes(trainee.original)
    fitted = trainee.fit(samples, options, before=before if copy is None else None)
    named, selection = trainee.network, trainee.selection
    record = provenance(samples, selection, options, named.model.optimizer)
    record |= {"refitted": list(fitted.refitted), "moments": list(fitted.moments)}
    return RetrainResult(
        model=named.model,
        history=fitted.history,
        trained=selection.names,
        hashes_before=layer_hashes(trainee.original),
        hashes_after=layer_hashes(named),
        num_trainable=selection.num_trainable,
        num_frozen=selection.num_frozen,
        seconds=time.perf_counter() - start,
        label=_label_of(layers, selection) if label is None else label,
        weight_hashes_before=before,
        weight_hashes_after=fitted.hashes,
        normalization=samples.statistics,
        weights=samples.weights,
        provenance=record,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Trainee:
    """A copy of a model to train, under the names of the original, and what to train.

    The copy is changed in place.
    """

    original: ModelLayers
    network: ModelLayers
    selection: LayerSelection

    @classmethod
    def of(
        cls,
        model: keras.Model,
        layers: Selector | None,
        copy: Callable[[keras.Model], keras.Model] = copy_model,
    ) -> "Trainee":
        """Copy a model and resolve the layers to train.

        Parts of the selector that the model lacks (`LowRankOf`, `FiltersOf`,
        `ChannelGainsOf`, `OutputGain`) are added to the copy, which has all weights of
        the input model, bitwise equal.
        """
        original, items = ModelLayers.of(model), items_of(layers)
        rest = [item for item in items if not isinstance(item, ADDED)]
        plan: list[Any] = []
        if rest:  # resolved on the input model, whose layers they refer to
            plan.append(select_layers(model, rest[0] if len(rest) == 1 else rest))
        network = copy(model)
        copied = original.of_copy(network)
        for item in items:
            if isinstance(item, AddedPart):
                # By default, the layers that the part is meant for. An explicit choice
                # is used as it is, so that unsuitable layers raise an error.
                chosen = item.everywhere() if item.layers is None else item.layers
                names = list(select_layers(model, chosen).names)
                item.prepare({name: copied.layers[name] for name in names})
                if isinstance(item, ChannelGainsOf):
                    check_made_again(network, "channel gains")
                plan.append(dataclasses.replace(item, layers=names))
            if isinstance(item, NewWeights):
                plan.append(_drawn(original, item, copied))
        gains = [item for item in items if isinstance(item, OutputGain)]
        if len({gain.initial for gain in gains}) > 1:
            raise ValueError(f"Expected one OutputGain. Received {gains}.")
        if gains:
            network = gains[0].prepare(network)
        named = original.of_copy(network)
        if gains:  # the new one only: the model may have another
            plan.append([n for n in named.names if n not in original.layers])
        selection = select_from(named, choose(named, plan))
        check_trainable(model, selection)
        # Weights of added parts, such as fixed filters, are none that stay as they are.
        own = {
            id(v): v for p, v in original.weights.items() if p in selection.variables
        }
        frozen = count_parameters(model.weights) - count_parameters(own.values())
        selection = dataclasses.replace(selection, num_frozen=frozen)
        return cls(original, named, selection)

    def fit(
        self,
        samples: Samples,
        options: RetrainOptions,
        suffix: keras.Model | None = None,
        before: Hashes | None = None,
        may_stand: bool = False,
    ) -> Fitted:
        """Train the chosen weights and check that no other weight changed.

        A suffix, the part of the network after a frozen prefix, is trained instead of
        the whole and received by callbacks; it shares the chosen weights. `before` are
        the hashes of the weights before the fit, if they are known. If weights may
        stand, gradients of zero are no error.
        """
        network = self.network.model
        trained = network if suffix is None else suffix
        validation = options.fit_options.get("validation_data")
        if suffix is None and isinstance(validation, tuple):
            check_names(network, validation[0])
        refitted: tuple[str, ...] = ()
        if options.refits_layers:
            refitted = options.normalization.adapt(network, samples)
        if before is None or refitted:
            before = weight_hashes(self.network)
        elif before.keys() != self.network.weights.keys():
            # Frozen weights that a part has added must not change either.
            before = weight_hashes(self.network) | before
        self._set_flags(trained)
        seed_random_states(network, options.seed)
        moments = self._compile(trained, options)
        size = 0.0
        if options.pull:
            size = options.pull * loss_before(
                trained, samples, options.loss, options.batch_size
            )
        with pulled(self.network, self.selection, size):
            history = fit(trained, samples, options)
        check_finite_weights(network)
        after = weight_hashes(self.network)
        self._check_unmoved(before, after)
        if any(history.get("loss", [1.0])):  # else there was nothing to learn
            self._check_moved(before, after, trained, may_stand)
        return Fitted(history, after, refitted, moments)

    def _set_flags(self, trained: keras.Model) -> None:
        switch(self.network, choose(self.network, self.selection))
        wanted = {id(self.network.weights[path]) for path in self.selection.variables}
        active = {id(variable) for variable in trained.trainable_variables}
        if active != wanted:
            names = {id(v): path for path, v in self.network.weights.items()}
            found = sorted(names.get(key, "another weight") for key in active)
            raise RuntimeError(
                f"Training would change other weights of {trained.name!r} than those "
                f"chosen: expected {sorted(self.selection.variables)}, found {found}. "
                "A layer with its own rules for `trainable` leads to this."
            )

    def _compile(
        self, trained: keras.Model, options: RetrainOptions
    ) -> tuple[str, ...]:
        """Compile with a new optimizer; return the weights that took over moments."""
        weights = self.network.weights
        optimizer = options.fresh_optimizer()
        if options.learning_rates is not None and self.selection.variables:
            optimizer = options.learning_rates.optimizer(
                optimizer,
                options.learning_rates.by_variable(self.original.model),
                {path: weights[path] for path in self.selection.variables},
                self.original.model.name,
            )
        trained.compile(optimizer, options.loss, **options.compile_options)
        # TensorFlow traces a step that creates variables twice.
        trained.optimizer.build(trained.trainable_variables)
        source = options.optimizer_state_from
        if source is None:
            return ()
        origins = self.original.of_copy(source).weights
        same = {id(v): (path, origins.get(path)) for path, v in weights.items()}
        return carry_moments(source, trained.optimizer, same)

    def _check_unmoved(self, before: Hashes, after: Hashes) -> None:
        """Raise RuntimeError if weights changed that were not chosen."""
        chosen = [*self.selection.variables, *self.selection.statistics]
        weights = self.network.weights
        free = {id(weights[path]) for path in chosen}
        moved = [
            path
            for path, variable in weights.items()
            if id(variable) not in free and after[path] != before.get(path)
        ]
        if not moved:
            return
        names = list(dict.fromkeys(path.rsplit("/", 1)[0] for path in moved))
        what = f"Frozen layer(s) {', '.join(names)} changed"
        if set(names) & set(self.selection.names):
            what = f"Frozen weight(s) {', '.join(moved)} changed"
        classes = {type(self.network.layers[name]).__name__ for name in names}
        raise RuntimeError(
            f"{what} while only {', '.join(self.selection.names)} should train: the "
            f"weights {', '.join(moved)} moved, of those allowed "
            f"{', '.join(sorted(chosen))}. Something outside the optimizer changes "
            "weights. That may be the layer itself, regardless of its flags "
            f"({', '.join(sorted(classes))}: a counter, a moving average, spectral "
            f"normalization); then choose {', '.join(names)} as well. Else check "
            "callbacks and custom train_step methods."
        )

    def _check_moved(
        self, before: Hashes, after: Hashes, trained: keras.Model, may_stand: bool
    ) -> None:
        """Raise RuntimeError if the training changed no chosen weight.

        A learning rate of zero is exempt, unless only statistics were to be updated.
        """
        weights = self.selection.variables
        chosen = weights or self.selection.statistics
        if any(after[path] != before.get(path) for path in chosen):
            return
        names = ", ".join(self.selection.names)
        if not weights:
            raise RuntimeError(
                f"No statistic of {names} has moved: the layer runs in inference mode "
                "(training=False), its momentum is 1, or it has those of the samples "
                f"already. Expected at least one of {', '.join(chosen)} to change."
            )
        has_steps = int(fetch(trained.optimizer.iterations)) > 0
        if not had_rate(trained.optimizer) or (may_stand and has_steps):
            return
        raise RuntimeError(
            f"No weight of {names} has moved in {why_unmoved(trained)}. Expected at "
            f"least one of {', '.join(chosen)} to change."
        )


def check_weights(model: keras.Model) -> None:
    if not layers_with_weights(model):
        raise ValueError(f"Model {model.name!r} has no weights: nothing to retrain.")


def check_trainable(model: keras.Model, selection: LayerSelection) -> None:
    """Raise ValueError if nothing selected can be changed by training."""
    names = [path.rsplit("/", 1)[-1] for path in selection.statistics]
    moving = any(name.startswith("moving_") for name in names)
    if not (selection.num_trainable or moving):
        raise ValueError(
            f"The chosen layers {', '.join(selection.names)} of model {model.name!r} "
            "hold statistics but no trainable weights, and no moving averages. Choose "
            "others; normalization=RefitNormalizationLayers() adapts Normalization."
        )


def check_fit(model: keras.Model, data: Samples, loss: Any = None) -> None:
    """Raise ValueError if outputs and targets differ in shape (losses may broadcast).

    The model is called on a few samples without lasting effect. With a sparse loss,
    integer labels fit.
    """
    check_names(model, data.x)
    x, y = data.take(slice(0, fewest_samples(model)))
    try:
        outputs = called(model, x)
    except Exception:
        misfit = misfit_of_inputs(model, x)
        if misfit:  # in place of Keras' message, which holds the data
            raise ValueError(misfit) from None
        raise
    if not hasattr(outputs, "shape"):
        first = next(iter(outputs)) if isinstance(outputs, dict) else 0
        raise ValueError(
            f"Model {model.name!r} returns a {type(outputs).__name__} of "
            f"{len(keras.tree.flatten(outputs))} output(s); expected one tensor. Make "
            "a model of the output to retrain, which shares all layers: "
            f"keras.Model(model.input, model.output[{first!r}])."
        )
    shape = tuple(outputs.shape)
    if shape == y.shape:
        return
    known = getattr(loss, "__name__", type(loss).__name__)
    sparse = "sparse" in (loss if isinstance(loss, str) else known).lower()
    if sparse and is_labels_of(y, shape):
        wrong = (data.y < 0) | (data.y >= shape[-1])
        wrong &= data.y != getattr(loss, "ignore_class", None)
        if not wrong.any():
            return
        raise ValueError(
            f"Expected labels from 0 to {shape[-1] - 1}, as the model has {shape[-1]} "
            f"classes. Received {data.y[wrong][0]} in sample {np.argwhere(wrong)[0][0]}"
            ": leave out samples without a label."
        )
    if misfit := misfit_of_inputs(model, x):  # to which Keras may add an axis
        raise ValueError(misfit)
    mend = _mended_labels(y, shape, loss) or _mended_outputs(y.shape[1:], shape[1:])
    if sparse and data.statistics is not None:
        mend = (
            "The loss needs labels of classes, and a normalization of y has changed "
            "them. Normalize x alone: before, or by RefitNormalizationLayers()."
        )
    raise ValueError(
        f"Model {model.name!r} turns one sample into shape {shape[1:]}, but y has "
        f"samples of shape {y.shape[1:]}. {mend}"
    )


def _mended_labels(y: Any, shape: tuple[int, ...], loss: Any) -> str:
    """Return advice on labels of classes; empty if y holds none."""
    whole = y.dtype.kind in "iuf" and np.array_equal(y, np.round(y))
    if not (whole and is_labels_of(y.astype(int), shape)):
        return ""
    mend = (
        "y looks like integer labels: pass them one-hot, "
        f"keras.utils.to_categorical(y, {shape[-1]})"
    )
    if loss is None:  # scores compare outputs with y itself
        return f"{mend}."
    return (
        f"{mend}, or as integers with a sparse loss, for example "
        "loss='sparse_categorical_crossentropy'."
    )


def _mended_outputs(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return advice on how to change y from shape `found` to that of the model."""
    if (*found, 1) == expected:
        return "The axis of the channel is missing: pass np.asarray(y)[..., None]."
    if found == (*expected, 1):
        return "y has one axis too many: pass y[..., 0]."
    if found[:-1] == expected[:-1] and len(found) == len(expected):
        given, wanted = found[-1], expected[-1]
        choose = f"choose {wanted} of them, for example y[..., :{wanted}]"
        return (
            f"The model gives {wanted} channel(s), y has {given}: "
            f"{choose if given > wanted else 'pass them all'}; or take a model with "
            f"as many, for example build_sgs_cnn(..., num_outputs={given})."
        )
    return (
        "Pass y on the same grid, channels last, or choose a model for these samples."
    )


def _label_of(layers: Any, selection: LayerSelection) -> str:
    """Return the names of the layers, with the kinds of parts if only such train."""
    names, items = "+".join(selection.names), items_of(layers)
    if items and all(isinstance(item, AddedPart) for item in items):
        kinds = "+".join(dict.fromkeys(type(item).__name__ for item in items))
        return f"{kinds}({names})"
    return names


def _drawn(original: ModelLayers, part: NewWeights, copied: ModelLayers) -> list[str]:
    """Reinitialize weights of a copy; return the names of their layers."""
    fresh = original.of_copy(fresh_model(original.model, part.seed))
    chosen = select_layers(original.model, part.layers)
    for path in (*chosen.variables, *chosen.statistics):
        copied.weights[path].assign(fresh.weights[path])
    return list(chosen.names)
