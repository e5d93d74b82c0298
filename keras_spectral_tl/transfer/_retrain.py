"""Retraining of chosen layers in a copy of a model, with the proof of what moved."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing, introspection, models
from keras_spectral_tl.freezing.flags import switch
from keras_spectral_tl.freezing.hashes import hash_of, layer_hashes
from keras_spectral_tl.freezing.selection import choose, select_from
from keras_spectral_tl.transfer._loop import check_finite_weights, fit
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._result import (
    RetrainResult,
    is_labels_of,
    provenance,
)
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.optimizer_state import carry_state

Hashes = dict[str, str]
_ADDED = (freezing.LowRankOf, freezing.OutputGain)


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
            Integer labels are taken with a sparse loss.
        layers: Layers to train, see `freezing.select_layers`; None means all layers.
            `freezing.LowRankOf` and `freezing.OutputGain` are added to the copy.
        optimizer: A name or an instance, of which a fresh copy is made; Adam(1e-3) if
            not given.
        loss: A Keras loss.
        seed: A non-negative int.
        **fit_options: Arguments of `model.fit`; epochs=50, batch_size=8, shuffle=True
            and verbose=0 if not given. Also those of `model.compile` (`jit_compile`,
            `steps_per_execution`, ...), and `early_stopping`, `normalization`,
            `learning_rates` and `optimizer_state_from`, which
            `transfer.RetrainOptions` explains.

    Returns:
        The new model, its history, the proof and the provenance.

    Raises:
        KeyError: As `freezing.select_layers`.
        TypeError: As `freezing.select_layers`, or if an option is not known.
        ValueError: If the data are empty, not finite, of unequal lengths or do not fit
            the model, or if nothing trainable was chosen.
        FloatingPointError: If the loss or a weight stops being finite.
        RuntimeError: If a frozen weight moved, or no chosen one.

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
    ).prepare(target_data)
    return retrain_prepared(model, layers, samples, options)


def retrain_prepared(
    model: keras.Model,
    layers: freezing.Selector | None,
    samples: Samples,
    options: RetrainOptions,
    label: str | None = None,
    copy: Callable[[keras.Model], keras.Model] = models.copy_model,
) -> RetrainResult:
    """Retrain a copy of `model` on samples that are in the units of the network.

    Args:
        model: The input model; not changed.
        layers: Layers to train.
        samples: Samples from `RetrainOptions.prepare`.
        options: Options from there.
        label: Name for a row of a table; that of the layers if not given.
        copy: Function that makes the network to train of the model.

    Raises:
        FloatingPointError, RuntimeError, TypeError, ValueError: As `retrain`.
    """
    start = time.perf_counter()
    check_weights(model)
    check_fit(model, samples, options.loss)
    trainee = Trainee.of(model, layers, copy)
    before = freezing.weight_hashes(model)
    start_hashes = before if copy is models.copy_model else None
    fitted = trainee.fit(samples, options, before=start_hashes)
    network, selection = trainee.network, trainee.selection
    record = provenance(samples, selection, options, network.optimizer)
    record |= {"refitted": list(fitted.refitted), "moments": list(fitted.moments)}
    return RetrainResult(
        model=network,
        history=fitted.history,
        trained=selection.names,
        hashes_before=freezing.layer_hashes(model),
        hashes_after=layer_hashes(introspection.corresponding_layers(model, network)),
        num_trainable=selection.num_trainable,
        num_frozen=selection.num_frozen,
        seconds=time.perf_counter() - start,
        label="+".join(selection.names) if label is None else label,
        weight_hashes_before=before,
        weight_hashes_after=fitted.hashes,
        normalization=samples.statistics,
        provenance=record,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """Outcome of fitting the chosen weights of a network.

    Attributes:
        history: Per-epoch values as Keras records them.
        hashes: SHA-256 of each weight afterwards.
        refitted: Names of the normalization layers that were adapted to the data.
        moments: Paths of the weights that got the moments of an earlier training.
    """

    history: dict[str, list[float]]
    hashes: Hashes
    refitted: tuple[str, ...]
    moments: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Trainee:
    """A copy of a model to train, with all its weights under the paths of the model.

    Weights of model and copy are matched by their place, since automatic names differ
    between the two.

    Attributes:
        original: The input model.
        network: The copy; changed in place.
        weights: Weights of the copy by path in the input model; those it has in
            addition (a low-rank update, an output gain) under their own.
        selection: What to train, in names of the input model.
    """

    original: keras.Model
    network: keras.Model
    weights: Mapping[str, keras.Variable]
    selection: freezing.LayerSelection

    @classmethod
    def of(
        cls,
        model: keras.Model,
        layers: freezing.Selector | None,
        copy: Callable[[keras.Model], keras.Model] = models.copy_model,
    ) -> "Trainee":
        """Copy a model and resolve the layers to train.

        Where the selector has parts that the model lacks (`LowRankOf`, `OutputGain`),
        the copy gets them; all weights of the input model are in it, with equal bits.

        Raises:
            KeyError, TypeError, ValueError: As `freezing.select_layers`; also if
                nothing chosen is trainable, or a layer has no low-rank update.
        """
        items = [layers]
        if isinstance(layers, Sequence) and not isinstance(layers, str):
            items = list(layers)
        if any(isinstance(item, _ADDED) for item in items):
            network, selection = _with_added_parts(model, items, copy(model))
        else:
            selection = freezing.select_layers(model, layers)
            network = copy(model)
        check_trainable(model, selection)
        return cls(model, network, weights_by_place(model, network), selection)

    def fit(
        self,
        samples: Samples,
        options: RetrainOptions,
        suffix: keras.Model | None = None,
        before: Hashes | None = None,
    ) -> Fitted:
        """Train the chosen weights and prove that they alone moved.

        Args:
            samples: Samples in the units of what is trained.
            options: How to train.
            suffix: The part of the network behind a frozen prefix, to be trained in
                place of the whole; it shares the chosen weights. Callbacks see it.
            before: Hashes of the weights before, where they are known.

        Raises:
            FloatingPointError, TypeError, ValueError: As `retrain`.
            RuntimeError: If a frozen weight moved, or no chosen one.
        """
        trained = self.network if suffix is None else suffix
        refitted: tuple[str, ...] = ()
        if options.refits_layers:
            refitted = options.normalization.adapt(self.network, samples)
        if before is None or refitted:
            before = hashes_of(self.weights)
        self._set_flags(trained)
        models.seed_random_states(self.network, options.seed)
        moments = self._compile(trained, options)
        history = fit(trained, samples, options)
        check_finite_weights(self.network)
        hashes = self._checked_hashes(before)
        if _must_move(trained, history):
            self._check_moved(before, hashes)
        return Fitted(history, hashes, refitted, moments)

    def _set_flags(self, trained: keras.Model) -> None:
        layers = introspection.corresponding_layers(self.original, self.network)
        wanted = {id(self.weights[path]) for path in self.selection.variables}
        choice = {}
        for name in self.selection.names:
            own = introspection.named_weights({name: layers[name]})
            paths = [path for path, variable in own.items() if id(variable) in wanted]
            choice[name] = tuple(path.rsplit("/", 1)[1] for path in paths)
        switch(self.network, layers, choice)
        active = {id(variable) for variable in trained.trainable_variables}
        if active != wanted:
            names = {id(v): path for path, v in self.weights.items()}
            found = sorted(names.get(key, "another weight") for key in active)
            raise RuntimeError(
                f"Training would change other weights of {trained.name!r} than those "
                f"chosen: expected {sorted(self.selection.variables)}, found {found}. "
                "Weights that layers share, or a layer with its own rules for "
                "`trainable`, lead to this."
            )

    def _compile(
        self, trained: keras.Model, options: RetrainOptions
    ) -> tuple[str, ...]:
        """Compile with a fresh optimizer; return the weights that got old moments."""
        optimizer = options.fresh_optimizer()
        if options.learning_rates is not None:
            optimizer = options.learning_rates.optimizer(
                optimizer,
                options.learning_rates.by_variable(self.original),
                {path: self.weights[path] for path in self.selection.variables},
            )
        trained.compile(optimizer, options.loss, **options.compile_options)
        # TensorFlow traces a step that creates variables twice.
        trained.optimizer.build(trained.trainable_variables)
        source = options.optimizer_state_from
        if source is None:
            return ()
        origins = weights_by_place(self.original, source)
        same = {id(v): (path, origins.get(path)) for path, v in self.weights.items()}
        return carry_state(source, trained.optimizer, same)

    def _checked_hashes(self, before: Hashes) -> Hashes:
        """Return the hashes of all weights now; refuse moved ones that are frozen."""
        after = hashes_of(self.weights)
        chosen = [*self.selection.variables, *self.selection.statistics]
        free = {id(self.weights[path]) for path in chosen}
        moved = [
            path
            for path, variable in self.weights.items()
            if id(variable) not in free and after[path] != before[path]
        ]
        if not moved:
            return after
        names = list(dict.fromkeys(path.rsplit("/", 1)[0] for path in moved))
        what = f"Frozen layer(s) {', '.join(names)} changed"
        if set(names) & set(self.selection.names):
            what = f"Frozen weight(s) {', '.join(moved)} changed"
        raise RuntimeError(
            f"{what} while only {', '.join(self.selection.names)} should train: the "
            f"weights {', '.join(moved)} moved, of those allowed "
            f"{', '.join(sorted(chosen))}. Something outside the optimizer writes "
            "weights: a layer that updates its own state while it is frozen (a "
            "counter, SpectralNormalization), a callback, or a custom train_step."
        )

    def _check_moved(self, before: Hashes, after: Hashes) -> None:
        chosen = self.selection.variables
        if any(before.get(path) != after[path] for path in chosen):
            return
        raise RuntimeError(
            f"None of the chosen weights {', '.join(chosen)} of model "
            f"{self.original.name!r} has moved, although the loss is not zero. Either "
            "their gradients vanish (no output depends on them, units are dead), or "
            "the steps are too small for their precision (bfloat16), or there were "
            "fewer batches than gradient_accumulation_steps. Choose other layers, or "
            "a larger learning rate."
        )


def weights_by_place(
    model: keras.Model, other: keras.Model
) -> dict[str, keras.Variable]:
    """Return the weights of `other` by the paths that they have in `model`.

    Args:
        model: A built Keras model.
        other: The model itself, or a copy, possibly with weights added.

    Returns:
        Weights by path, in the order of `introspection.named_weights`.
    """
    layers = introspection.layers_with_weights(model)
    found: dict[str, keras.Variable] = {}
    for name, layer in introspection.corresponding_layers(model, other).items():
        paths: dict[int, str] = {}
        if name in layers:
            known = introspection.named_weights({name: layers[name]})
            by_id = {id(variable): path for path, variable in known.items()}
            for own in (
                introspection.own_trainable_variables,
                introspection.own_statistics,
            ):
                pairs = zip(own(layers[name]), own(layer), strict=False)
                paths |= {id(new): by_id[id(old)] for old, new in pairs}
        for path, variable in introspection.named_weights({name: layer}).items():
            found[paths.get(id(variable), path)] = variable
    return found


def hashes_of(weights: Mapping[str, keras.Variable]) -> Hashes:
    """Return the SHA-256 of each weight, by path."""
    return {path: hash_of([variable]) for path, variable in weights.items()}


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


def check_fit(model: keras.Model, data: Samples, loss: Any = None) -> None:
    """Refuse outputs of another shape: losses would broadcast them silently.

    Args:
        model: A built Keras model; called on a few samples without lasting effect.
        data: Samples in the units of the model.
        loss: The loss they are to be trained with; a sparse one takes integer labels.

    Raises:
        ValueError: If the model has several outputs, or y does not fit its output.
    """
    inputs = getattr(model, "inputs", None) or [None]
    count = getattr(inputs[0], "shape", (None,))[0] or 1
    x, y = data.take(slice(0, count))
    state = [introspection.fetch(v).copy() for v in model.non_trainable_variables]
    outputs = model(x, training=False)
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        if not np.array_equal(introspection.fetch(variable), value, equal_nan=True):
            variable.assign(value)  # a counter, or the state of a recurrent layer
    if not hasattr(outputs, "shape"):
        raise ValueError(
            f"Model {model.name!r} returns a {type(outputs).__name__} of "
            f"{len(keras.tree.flatten(outputs))} output(s); expected one tensor. Wrap "
            "the output to retrain in a keras.Model of its own."
        )
    shape = tuple(outputs.shape)
    if shape == y.shape:
        return
    labels = is_labels_of(y, shape)
    if labels and "sparse" in _name(loss).lower():
        return
    mend = "Reshape y, for example y[..., None]."
    if labels:
        mend = (
            "y looks like integer labels: pass them one-hot, "
            f"keras.utils.to_categorical(y, {shape[-1]}), or retrain with a sparse "
            "loss, for example loss='sparse_categorical_crossentropy'."
        )
    raise ValueError(
        f"Model {model.name!r} turns one sample into shape {shape[1:]}, but y has "
        f"samples of shape {y.shape[1:]}. {mend}"
    )


def _must_move(trained: keras.Model, history: Mapping[str, list[float]]) -> bool:
    optimizer = getattr(trained.optimizer, "inner_optimizer", trained.optimizer)
    rate = optimizer.get_config().get("learning_rate", 1.0)
    return rate != 0.0 and any(history.get("loss", [1.0]))


def _name(loss: Any) -> str:
    names = (loss, getattr(loss, "__name__", None), type(loss).__name__)
    return next(name for name in names if isinstance(name, str))


def _with_added_parts(
    model: keras.Model, items: Sequence[Any], network: keras.Model
) -> tuple[keras.Model, freezing.LayerSelection]:
    # The rest is chosen on the input model, to which objects and predicates refer.
    rest = [item for item in items if not isinstance(item, _ADDED)]
    chosen = freezing.select_layers(model, rest) if rest else None
    layers = introspection.corresponding_layers(model, network)
    plan: list[Any] = []
    for item in items:
        if isinstance(item, freezing.LowRankOf):
            # Of all layers only those that have kernels; an explicit choice is taken
            # at its word, so that layers without an update are refused by name.
            selector = freezing.KernelsOf() if item.layers is None else item.layers
            names = list(freezing.select_layers(model, selector).names)
            item.prepare({name: layers[name] for name in names})
            plan.append(freezing.LowRankOf(names, item.rank))
    if any(isinstance(item, freezing.OutputGain) for item in items):
        network = freezing.OutputGain().prepare(network)
        plan.append(freezing.OutputGain())
    layers = introspection.corresponding_layers(model, network)
    own = {id(v): path for path, v in introspection.named_weights(layers).items()}
    paths = {path: own[id(v)] for path, v in weights_by_place(model, network).items()}
    if chosen is not None:
        plan.insert(0, _renamed(chosen, paths))
    selection = select_from(network, layers, choose(network, layers, plan))
    return network, _renamed(selection, {new: old for old, new in paths.items()})


def _renamed(
    selection: freezing.LayerSelection, paths: Mapping[str, str]
) -> freezing.LayerSelection:
    return dataclasses.replace(
        selection,
        variables=tuple(paths[path] for path in selection.variables),
        statistics=tuple(paths[path] for path in selection.statistics),
    )
