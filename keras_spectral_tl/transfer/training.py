"""How to train: the options of a retraining, checked once."""

import dataclasses
import difflib
import inspect
import numbers
from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl.transfer._normalization import (
    RefitNormalizationLayers,
    RefitOnTarget,
)
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.early_stopping import HeldOutStopping
from keras_spectral_tl.transfer.learning_rates import LearningRates

_NOT_FORWARDED = ("x", "y", "sample_weight", "class_weight", "steps_per_epoch")
_COMPILE = (
    "auto_scale_loss",
    "jit_compile",
    "loss_weights",
    "metrics",
    "run_eagerly",
    "steps_per_execution",
    "weighted_metrics",
)
_HELD_OUT = ("validation_data", "validation_split")


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """How to train: the arguments of `retrain` other than model, data and layers.

    Attributes:
        optimizer: A name or an instance, of which a fresh copy is made; Adam(1e-3), or
            the configuration of `optimizer_state_from`, for None.
        loss: A Keras loss.
        seed: A non-negative int.
        fit_options: Arguments of `model.fit`.
        compile_options: Arguments of `model.compile`, such as `jit_compile`.
        early_stopping: When to stop before the last epoch, or None.
        normalization: `ChannelStatistics` (keep those of the base), `RefitOnTarget`,
            `RefitNormalizationLayers`, any object with `normalize(x, y)` and
            `denormalize(x, y)`, or None: the data are as the model wants them.
        learning_rates: Factors of the learning rate by layer, or None.
        optimizer_state_from: A compiled, trained model of the same architecture whose
            moments and step count the optimizer takes over, or None.
        epoch_history: Whether every epoch has its entry in the history. Without, and
            where no callback, validation or progress bar asks what an epoch is, all of
            them are one epoch of Keras: the same steps, less to begin each time. On
            TensorFlow that takes about 25 ms, as much as a few small batches.

    Raises:
        TypeError, ValueError: If an option is not one, or contradicts another.
    """

    optimizer: Any = None
    loss: Any = "mean_squared_error"
    seed: int = 0
    fit_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compile_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    early_stopping: HeldOutStopping | None = None
    normalization: Any = None
    learning_rates: LearningRates | None = None
    optimizer_state_from: keras.Model | None = None
    epoch_history: bool = True

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Training":
        """Sort the keyword arguments of `retrain` into those of each step."""
        own = {field.name for field in dataclasses.fields(cls)}
        own -= {"fit_options", "compile_options"}
        return cls(
            **{name: value for name, value in options.items() if name in own},
            compile_options={
                name: value for name, value in options.items() if name in _COMPILE
            },
            fit_options={
                name: value
                for name, value in options.items()
                if name not in own and name not in _COMPILE
            },
        )

    def __post_init__(self) -> None:
        for name in ("fit_options", "compile_options"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(
                    f"Expected {name} as a mapping of names to values. Received "
                    f"{getattr(self, name)!r}."
                )
        seed: Any = self.seed
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise TypeError(f"Expected seed as an int. Received seed={seed!r}.")
        object.__setattr__(self, "seed", int(seed))
        if self.seed < 0:
            raise ValueError(f"Expected seed >= 0. Received seed={self.seed}.")
        if all(part is None for part in keras.tree.flatten(self.loss)):
            raise ValueError(f"Expected a loss. Received loss={self.loss!r}.")
        _check_fit_options(self.fit_options)
        self._check_objects()

    def _check_objects(self) -> None:
        for name, kind in (
            ("early_stopping", HeldOutStopping),
            ("learning_rates", LearningRates),
            ("optimizer_state_from", keras.Model),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"Expected {name} as a {kind.__name__} or None. Received {value!r}."
                )
        doubled = [name for name in _HELD_OUT if name in self.fit_options]
        if self.early_stopping is not None and doubled:
            raise TypeError(
                f"early_stopping holds out samples itself. Received {doubled[0]} too: "
                "leave one of them out."
            )
        if self.learning_rates is not None and self.optimizer_state_from is not None:
            raise TypeError(
                "Moments cannot be carried into one optimizer per learning rate. Pass "
                "learning_rates or optimizer_state_from, not both."
            )

    def prepared(self, data: Any) -> Samples:
        """Return the samples checked and normalized as chosen, once."""
        target = Samples.of(data)
        if self.normalization is None or target.normalization is not None:
            return target
        if isinstance(self.normalization, RefitNormalizationLayers):
            return target
        if isinstance(self.normalization, RefitOnTarget):
            return target.normalized(self.normalization.of_target(target))
        return target.normalized(self.normalization)

    def adapt(
        self, network: keras.Model, data: Samples, whole: bool = True
    ) -> tuple[str, ...]:
        """Refit what of `network` is to follow the target data; return the layers.

        Args:
            network: The copy to train; changed in place.
            data: The samples, from `prepared`.
            whole: Whether the network is trained as a whole, not from activations that
                were computed before.

        Raises:
            ValueError: If the samples, or the activations, missed the normalization.
        """
        layers = isinstance(self.normalization, RefitNormalizationLayers)
        missed = self.normalization is not None and data.normalization is None
        if (missed and not layers) or (layers and not whole):
            raise ValueError(
                f"normalization={self.normalization!r} was not applied before the "
                "activations in front of the trained layers were computed. Normalize "
                "the data first, with Training.prepared, or train the whole network."
            )
        return self.normalization.adapt(network, data) if layers else ()

    def fresh_optimizer(self) -> keras.optimizers.Optimizer:
        """Return a new optimizer of the chosen configuration, not built."""
        optimizer = self.optimizer
        if optimizer is None and self.optimizer_state_from is not None:
            optimizer = getattr(self.optimizer_state_from, "optimizer", None)
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None:
            return keras.optimizers.Adam(1e-3)
        optimizer = keras.optimizers.get(optimizer)
        return type(optimizer).from_config(optimizer.get_config())


def _check_fit_options(options: Mapping[str, Any]) -> None:
    refused = [name for name in _NOT_FORWARDED if name in options]
    if refused:
        raise TypeError(
            f"Received fit option(s) {', '.join(refused)}, which retraining sets "
            "itself: pass the samples as target_data; every epoch sees all of them."
        )
    known = set(inspect.signature(keras.Model.fit).parameters) - {"self"}
    own = [field.name for field in dataclasses.fields(Training)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *own, *_COMPILE], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"Received the option {name!r}, which neither retraining nor "
                f"model.compile nor model.fit knows.{hint}"
            )
    _check_batch_size(options.get("batch_size"))
    for callback in listed(options.get("callbacks")):
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "Expected callbacks as a keras.callbacks.Callback or a list of them. "
                f"Received {callback!r:.100}."
            )


def _check_batch_size(size: Any) -> None:
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        raise TypeError(f"Expected batch_size as an int. Received {size!r:.100}.")
    if int(size) < 1:
        raise ValueError(f"Expected batch_size >= 1. Received batch_size={size}.")


def listed(callbacks: Any) -> list[Any]:
    """Return the callbacks as a list, as Keras takes one, several or None."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
