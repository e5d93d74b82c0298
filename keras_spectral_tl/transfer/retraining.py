"""Retrain chosen layers of a copy of a model and prove that the rest did not move."""

import dataclasses
import numbers
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import freezing, introspection, metrics, models

_NOT_FORWARDED = ("x", "y", "sample_weight", "class_weight", "steps_per_epoch")


@dataclasses.dataclass(frozen=True, eq=False)
class TargetData:
    """Samples checked once and held as NumPy arrays.

    Attributes:
        x: Inputs, (num_samples, ...), or a nest of such arrays.
        y: True outputs, (num_samples, ...).
    """

    x: Any
    y: NDArray[Any]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Any) -> tuple[Any, NDArray[Any]]:
        """Return inputs and outputs of the given rows."""
        return keras.tree.map_structure(lambda part: part[rows], self.x), self.y[rows]

    @classmethod
    def of(cls, data: Any) -> "TargetData":
        """Read and check `(x, y)` arrays or a finite, batched `tf.data.Dataset`.

        Raises:
            TypeError: If `data` is neither.
            ValueError: If it is empty, endless, of unequal lengths or not finite.
        """
        if isinstance(data, cls):
            return data
        x, y = _as_arrays(data)
        target = cls(keras.tree.map_structure(np.asarray, x), np.asarray(y))
        parts = [*keras.tree.flatten(target.x), target.y]
        if any(part.ndim == 0 for part in parts) or not parts[:-1]:
            raise ValueError("Expected arrays (num_samples, ...). Received a scalar.")
        lengths = [len(part) for part in parts]
        if len(set(lengths)) > 1:
            raise ValueError(
                "Inputs and outputs must have one length. Received "
                f"{lengths[:-1]} samples in x and {lengths[-1]} in y."
            )
        if not lengths[0]:
            shapes = [part.shape for part in parts]
            raise ValueError(f"The data hold no samples. Received shapes {shapes}.")
        for name, part in [*(("x", part) for part in parts[:-1]), ("y", parts[-1])]:
            _check_finite(name, part)
        return target


def _as_arrays(data: Any) -> tuple[Any, Any]:
    if hasattr(data, "as_numpy_iterator"):
        if hasattr(data, "cardinality") and int(data.cardinality()) == -1:
            raise ValueError(
                "The dataset never ends. Limit it, for example dataset.take(10)."
            )
        batches = list(data.as_numpy_iterator())
        if not batches:
            raise ValueError("The data hold no samples. Received an empty dataset.")
        data = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data[0], data[1]
    raise TypeError(
        "Expected data as a pair (x, y) of arrays or a batched tf.data.Dataset of such "
        f"pairs. Received {type(data).__name__}."
    )


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind not in "fiub":
        raise ValueError(f"Expected real numbers in {name}. Received {values.dtype}.")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{name} has {int(bad.sum())} NaN or infinite values, the first in sample "
            f"{int(np.argwhere(bad)[0][0])}. Remove those samples first."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class RetrainResult:
    """A retrained model and what is needed to trust it.

    Attributes:
        model: The new model; compiled, its flags as they were during the training.
        history: Per-epoch values as Keras records them.
        trained: Names of the layers that were trainable (names of the input model).
        hashes_before: SHA-256 of each layer of the input model.
        hashes_after: SHA-256 of each layer of the new model, under the same names.
        num_trainable: Number of parameters that were trainable.
        num_frozen: Number of all other parameters.
        seconds: Wall time of the training, compilation included.
        label: Name for a row of a table.
    """

    model: keras.Model
    history: Mapping[str, list[float]]
    trained: tuple[str, ...]
    hashes_before: Mapping[str, str]
    hashes_after: Mapping[str, str]
    num_trainable: int
    num_frozen: int
    seconds: float
    label: str

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the layers with other weights than before."""
        before, after = self.hashes_before, self.hashes_after
        return tuple(name for name in before if before[name] != after[name])

    def row(self, test_data: Any, batch_size: int = 32) -> dict[str, Any]:
        """Evaluate the model on `(x, y)` and return one row of a table.

        Returns:
            layer (the label), cc (`metrics.pattern_correlation`), relative_rmse,
            num_parameters (trained ones) and seconds.
        """
        data = TargetData.of(test_data)
        outputs = self.model.predict(data.x, batch_size=batch_size, verbose=0)
        return {
            "layer": self.label,
            "cc": metrics.pattern_correlation(data.y, outputs),
            "relative_rmse": metrics.relative_rmse(data.y, outputs),
            "num_parameters": self.num_trainable,
            "seconds": self.seconds,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """How to train: the arguments of `retrain` other than model, data and layers."""

    optimizer: Any
    loss: Any
    seed: int
    fit_options: Mapping[str, Any]

    def __post_init__(self) -> None:
        seed: Any = self.seed
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise TypeError(f"Expected seed as an int. Received seed={seed!r}.")
        object.__setattr__(self, "seed", int(seed))
        size = self.fit_options.get("batch_size")
        if size is not None and size < 1:
            raise ValueError(f"Expected batch_size >= 1. Received batch_size={size}.")
        if self.seed < 0:
            raise ValueError(f"Expected seed >= 0. Received seed={self.seed}.")
        refused = [name for name in _NOT_FORWARDED if name in self.fit_options]
        if refused:
            raise TypeError(
                f"Received fit option(s) {', '.join(refused)}, which retraining sets "
                "itself: pass the samples as target_data; every epoch sees all of them."
            )


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
    """Retrain the chosen layers of a copy of `model`; everything else stays bitwise.

    The copy is frozen before it is compiled, trained, and compared with the input model
    layer by layer by SHA-256. The input model is not touched. Samples are shuffled by a
    permutation that depends on (seed, epoch) only, and the random generators of the
    copy (dropout) start from `seed`, so equal calls give equal bits on a CPU. No global
    random state is changed.

    Args:
        model: A built Keras model.
        target_data: `(x, y)` arrays, or a finite, batched `tf.data.Dataset` of pairs.
        layers: The layers to train, see `freezing.select_layers`; None means all.
        optimizer: A name or an instance, of which a fresh copy is made; Adam(1e-3) if
            not given.
        loss: A Keras loss.
        seed: A non-negative int.
        **fit_options: Arguments of `model.fit`; epochs=50, batch_size=8, shuffle=True
            and verbose=0 if not given.

    Returns:
        The new model, its history and the proof.

    Raises:
        KeyError, TypeError: As `freezing.select_layers`.
        ValueError: If the data are empty, not finite, of unequal lengths or do not fit
            the model, or if nothing trainable was chosen.
        FloatingPointError: If the loss or a weight stops being finite.
        RuntimeError: If a frozen layer moved.

    Example:
        >>> import numpy as np
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
        >>> result = retrain(model, (x, x[..., :1]), "conv_2", epochs=1)
        >>> result.trained, result.changed
        (('conv_2',), ('conv_2',))
    """
    training = Training(optimizer, loss, seed, fit_options)
    data = TargetData.of(target_data)
    selection = trainable_selection(model, layers)
    check_fit(model, data)
    label = "+".join(selection.names)
    return train(model, models.copy_model(model), data, selection, training, label)


def trainable_selection(
    model: keras.Model, layers: freezing.Selector | None
) -> freezing.LayerSelection:
    """Return `select_layers(model, layers)`, refusing what training cannot change."""
    if not introspection.weight_layers(model):
        raise ValueError(f"Model {model.name!r} has no weights: nothing to retrain.")
    selection = freezing.select_layers(model, layers)
    if not selection.num_trainable:
        raise ValueError(
            f"The chosen layers {', '.join(selection.names)} of model {model.name!r} "
            "hold statistics but no trainable weights. Choose others."
        )
    return selection


def check_fit(model: keras.Model, data: TargetData) -> None:
    """Refuse outputs of another shape: losses would broadcast them silently."""
    x, y = data.take(slice(0, 1))
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
    data: TargetData,
    selection: freezing.LayerSelection,
    training: Training,
    label: str,
) -> RetrainResult:
    """Train the selected layers of `network`, a copy of `original` still untrained."""
    start = time.perf_counter()
    names = list(introspection.weight_layers(original))
    # Automatic layer names differ in a copied subclassed model; places do not.
    chosen = [names.index(name) for name in selection.names]
    before, start_hashes = _hashes(original, names), _hashes(network, names)
    freezing.set_trainable(network, freezing.select_layers(network, chosen).names)
    models.seed_random_states(network, training.seed)
    network.compile(optimizer=_fresh_optimizer(training.optimizer), loss=training.loss)
    history = _fit(network, data, training)
    after = _hashes(network, names)
    still = [name for name in names if name not in selection.names]
    moved = [name for name in still if after[name] != start_hashes[name]]
    if moved:
        raise RuntimeError(
            f"Frozen layer(s) {', '.join(moved)} changed while only "
            f"{', '.join(selection.names)} should train. Something outside the "
            "optimizer writes weights: check callbacks and custom train_step methods."
        )
    return RetrainResult(
        model=network,
        history=history,
        trained=selection.names,
        hashes_before=before,
        hashes_after=after,
        num_trainable=selection.num_trainable,
        num_frozen=selection.num_frozen,
        seconds=time.perf_counter() - start,
        label=label,
    )


def _hashes(model: keras.Model, names: list[str]) -> dict[str, str]:
    return dict(zip(names, freezing.weight_hashes(model).values(), strict=True))


def _fresh_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    if optimizer is None:
        return keras.optimizers.Adam(1e-3)
    optimizer = keras.optimizers.get(optimizer)
    return type(optimizer).from_config(optimizer.get_config())


_MEND = (
    "Use a smaller learning rate or clip gradients, for example "
    "optimizer=keras.optimizers.Adam(1e-4, clipnorm=1.0), and check that the target "
    "data have the scale the model was trained with. No model is returned."
)


class _Batches(keras.utils.PyDataset):
    """All samples once an epoch, in an order set by (seed, epoch) alone."""

    def __init__(self, data: TargetData, batch_size: int, seed: int, shuffle: bool):
        super().__init__()
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.shuffle = shuffle
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.order = np.arange(len(self.data))
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, NDArray[Any]]:
        start = index * self.batch_size
        return self.data.take(self.order[start : start + self.batch_size])


class _EpochWatch(keras.callbacks.Callback):
    """Tells the batches which epoch it is and stops when the loss is not finite."""

    def __init__(self, batches: _Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.set_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"The loss became {loss} in epoch {epoch + 1}. {_MEND}"
            )


def _fit(
    network: keras.Model, data: TargetData, training: Training
) -> dict[str, list[float]]:
    options = {"epochs": 50, "verbose": 0, **training.fit_options}
    data, validation = _split(data, options.pop("validation_split", 0.0))
    if validation is not None:
        options.setdefault("validation_data", validation)
    batches = _Batches(
        data,
        batch_size=options.pop("batch_size", None) or 8,
        seed=training.seed,
        shuffle=options.pop("shuffle", True),
    )
    callbacks = [_EpochWatch(batches), *_listed(options.pop("callbacks", None))]
    fitted = network.fit(batches, shuffle=False, callbacks=callbacks, **options)
    for name, layer in introspection.weight_layers(network).items():
        values = [introspection.fetch(v) for v in introspection.own_weights(layer)]
        if not all(np.isfinite(value).all() for value in values):
            raise FloatingPointError(
                f"The weights of layer {name!r} are not finite after the last epoch. "
                f"{_MEND}"
            )
    return dict(fitted.history)


def _listed(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def _split(data: TargetData, fraction: float) -> tuple[TargetData, Any]:
    # As Keras does: the last samples, before any shuffling.
    if not fraction:
        return data, None
    kept = int(len(data) * (1.0 - fraction))
    if not 0 < kept < len(data):
        raise ValueError(
            f"validation_split={fraction} of {len(data)} samples leaves {kept} for "
            "training; expected at least one on either side."
        )
    return TargetData(*data.take(slice(0, kept))), data.take(slice(kept, None))
