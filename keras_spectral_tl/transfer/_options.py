"""Options of a retraining, with early stopping and learning rates by layer."""

import dataclasses
import inspect
import math
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._checks import (
    as_callables,
    did_you_mean,
    of_one_output,
    real_number,
    whole_number,
)
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.layers import ModelLayers
from keras_spectral_tl._optimizer_state import scaled_optimizer, unbuilt_copy
from keras_spectral_tl.freezing import select_layers
from keras_spectral_tl.losses import WeightedMeanSquaredError
from keras_spectral_tl.transfer._samples import Samples, image_of
from keras_spectral_tl.transfer._statistics import (
    ChannelStatistics,
    RefitNormalizationLayers,
    RefitOnTarget,
)


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """Factors that multiply the learning rate of chosen layers.

    Each factor gets its own optimizer of the same configuration, so clipping by global
    norm acts separately on the layers of each factor.

    Args:
        factors: Pairs of a selector (see `freezing.select_layers`) and a positive
            factor, or a mapping. If several select a weight, the last one counts.
        default: Factor of all other layers.

    Raises:
        TypeError: If `factors` are not pairs.
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
        """Return factors that decrease by `decay` per layer from the last to the first.

        In call order the last layer has the factor 1, the first of n decay^(n - 1).

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
        found = dict.fromkeys(ModelLayers.of(model).weights, self.default)
        for selector, factor in self.factors:
            for path in select_layers(model, selector).variables:
                found[path] = factor
        return found

    def optimizer(
        self,
        pattern: keras.optimizers.Optimizer,
        factors: Mapping[str, float],
        weights: Mapping[str, keras.Variable],
        name: str = "",
    ) -> keras.optimizers.Optimizer:
        """Return one optimizer that holds a copy of `pattern` for each factor.

        The factors are those of `by_variable` for the input model, and the weights to
        train have the same paths. `name` is that of the model that trains: Keras' own
        paths of the weights begin with it in a copy of a sequential model, but not once
        that is loaded from a file.

        Raises:
            ValueError: If weights with the same path get different factors.
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
            start = f"{name}/"
            own = re.escape(weight.path.removeprefix(start))
            key = f"({re.escape(start)})?{own}"  # which Keras matches as a pattern
            if by_path.setdefault(key, copies[factor]) is not copies[factor]:
                raise ValueError(
                    f"Two weights have the path {weight.path!r} and two learning "
                    "rates. Give the layers of the model different names."
                )
        default = next(iter(copies.values()))
        table = keras.optimizers.OptimizerMap(default, by_path)
        return keras.optimizers.MultiOptimizer(table)


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


# Names of the mean squared error in Keras.
SQUARED = ("mse", "mean_squared_error")
_NOT_FORWARDED = ("x", "y", "sample_weight", "class_weight", "steps_per_epoch")
_COMPILE = set(inspect.signature(keras.Model.compile).parameters)
_COMPILE -= {"self", "optimizer", "loss"}
_HELD_OUT = ("validation_data", "validation_split")


@dataclasses.dataclass(frozen=True)
class HeldOutStopping:
    """Early stopping when the loss on held-out target samples no longer decreases.

    The held-out samples are drawn at random with the seed of the training; if samples
    have groups, such as trajectories, whole groups are drawn. The weights returned are
    those of the epoch with the lowest held-out loss, even if training runs to its last
    epoch.

    Args:
        fraction: Fraction of the target samples (or groups) to hold out, at least one.
        patience: Epochs without improvement before training stops.
        min_delta: Smallest decrease of the loss that counts as an improvement here.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If a number is out of range or, on use, no samples are left.

    Example:
        >>> data = Samples.of((np.zeros((8, 2)), np.arange(8.0)))
        >>> kept, (x, y) = HeldOutStopping(fraction=0.25).split(data, seed=0)
        >>> len(kept), len(y)
        (6, 2)
    """

    fraction: float = 0.25
    patience: int = 5
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        real_number("fraction", self.fraction, above=0, below=1)
        whole_number("patience", self.patience, at_least=1)
        real_number("min_delta", self.min_delta, at_least=0)

    def split(self, data: Samples, seed: int) -> tuple[Samples, Any]:
        """Return the samples to train with and the held-out samples as pair (x, y)."""
        labels = np.arange(len(data)) if data.groups is None else data.groups
        names = np.unique(labels)
        held_out = max(1, round(self.fraction * len(names)))
        if held_out >= len(names):
            what = "samples" if data.groups is None else "groups"
            raise ValueError(
                f"Holding out {self.fraction} of {len(names)} {what} leaves none to "
                "train with. Pass more samples or a smaller fraction."
            )
        # Three words, so the stream differs from that of the shuffling, (seed, epoch).
        order = np.random.default_rng((seed, 0, held_out)).permutation(len(names))
        held = np.isin(labels, names[order[:held_out]])
        return data.subset(np.flatnonzero(~held)), data.take(np.flatnonzero(held))


@dataclasses.dataclass(frozen=True, eq=False)
class RetrainOptions:
    """Arguments of `retrain` other than model, data and layers.

    Attributes:
        optimizer: A name, or an instance that is copied. None means Adam(1e-3), or the
            configuration of `optimizer_state_from` if that is given.
        loss: A Keras loss. Figures of merit take weights of points from a
            `losses.WeightedMeanSquaredError`.
        seed: A non-negative int.
        fit_options: Arguments of `model.fit`.
        compile_options: Arguments of `model.compile`, such as `jit_compile`.
        early_stopping: When to stop before the last epoch, or None.
        normalization: `ChannelStatistics` (keep those of the base), `RefitOnTarget`,
            `RefitNormalizationLayers`, any object with `normalize(x, y)` and
            `denormalize(x, y)`, or None if the data are in the units of the model.
            `validation_data` are normalized like the data.
        learning_rates: Factors of the learning rate by layer, or None.
        optimizer_state_from: A compiled, trained model of the same architecture whose
            optimizer moments and step count are the starting state, or None.
        symmetries: Symmetries of the target system, callables `(x, y) -> (x, y)` on
            whole arrays of raw samples, such as those of `turbulence_data.symmetries`.
            In every epoch each sample is replaced by its image under one of them or the
            identity, drawn by (seed, epoch, row).
        replay: Samples `(x, y)` of the base system, in the units of the network, mixed
            in against forgetting: in every epoch as many as there are target samples,
            drawn by (seed, epoch), so that an epoch has twice as many batches.
        pull: Strength s of the L2-SP penalty (Li et al. 2018, arXiv:1802.01483), which
            pulls the trained weights w towards their initial values w0. It adds

                s L0 / 2 sum over layers l of |w_l - w_l0|^2 / |theta_l0|^2

            to the loss, with L0 the initial loss on the target and theta_l0 all initial
            trainable weights of layer l. So s = 1 means the same for every network:
            changing a layer by its own norm costs half of the initial loss, whatever
            the units of y, and however ReLU layers without biases are rescaled by c
            and 1 / c. The history holds the sum of loss and penalty, also on held-out
            samples, so early stopping returns the epoch of the lowest sum.
        epoch_history: Whether the history has an entry for every epoch. If not, and if
            no callback, validation or progress bar needs epochs, all of them run as
            one epoch of Keras: the same steps with less overhead (an epoch on
            TensorFlow takes about 25 ms to start, as long as a few small batches).

    Raises:
        TypeError, ValueError: If an option is invalid or contradicts another.
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
    symmetries: Sequence[Any] = ()
    replay: Any = None
    pull: float = 0.0
    epoch_history: bool = True

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "RetrainOptions":
        """Sort the keyword arguments of `retrain` by what they configure."""
        own = {field.name for field in dataclasses.fields(cls)}
        own -= {"fit_options", "compile_options"}
        parts: dict[str, dict[str, Any]] = {"own": {}, "compile": {}, "fit": {}}
        for name, value in options.items():
            part = "own" if name in own else "compile" if name in _COMPILE else "fit"
            parts[part][name] = value
        return cls(
            **parts["own"], compile_options=parts["compile"], fit_options=parts["fit"]
        )

    def __post_init__(self) -> None:
        seed = whole_number("seed", self.seed, at_least=0)
        object.__setattr__(self, "seed", seed)
        real_number("pull", self.pull, at_least=0)
        if all(part is None for part in keras.tree.flatten(self.loss)):
            raise ValueError(f"Expected a loss. Received loss={self.loss!r}.")
        _check_fit_options(self.fit_options)
        object.__setattr__(self, "symmetries", as_callables(self.symmetries))
        if self.replay is not None:
            object.__setattr__(self, "replay", Samples.of(self.replay, "replay"))
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

    @property
    def epochs(self) -> int:
        return int(self.fit_options.get("epochs", 50))

    @property
    def batch_size(self) -> int:
        return int(self.fit_options.get("batch_size") or 8)

    @property
    def refits_layers(self) -> bool:
        """Return whether normalization layers are adapted to the target data."""
        return isinstance(self.normalization, RefitNormalizationLayers)

    def with_fit_options(self, **changes: Any) -> "RetrainOptions":
        return dataclasses.replace(self, fit_options={**self.fit_options, **changes})

    def prepare(
        self, data: Any, model: keras.Model
    ) -> tuple[Samples, "RetrainOptions"]:
        """Check and normalize the samples and the validation data for a network.

        This is the only place where a retraining normalizes samples.

        Returns:
            The samples in the units of the network, with the `statistics` that were
            used, and the options with validation data normalized alike.
        """
        raw, options = Samples.of(data, "target_data"), self._of_one_output(model)
        samples = weighted(raw, options.loss)
        _refuse_moved_weights(samples, self.symmetries)
        statistics = samples.statistics
        if isinstance(self.normalization, RefitOnTarget):
            statistics = self.normalization.of_target(samples, model)
        elif not self.refits_layers and self.normalization is not None:
            statistics = self.normalization
        if isinstance(statistics, ChannelStatistics):
            statistics.check_fits(model)
        samples = samples.normalized(statistics)
        if self.replay is not None:
            options = dataclasses.replace(options, replay=self._like(samples))
        validation = self.fit_options.get("validation_data")
        if validation is None:
            return samples, options
        validation = _normalized_pair(validation, statistics)
        return samples, options.with_fit_options(validation_data=validation)

    def _like(self, samples: Samples) -> Samples:
        """Return the samples to replay in the form of those of the target."""
        replay = Samples.of(self.replay, "replay")
        found, expected = (
            f"a dict of {', '.join(sorted(x))}" if isinstance(x, dict) else "no dict"
            for x in (replay.x, samples.x)
        )
        if found != expected:
            raise ValueError(
                "Expected inputs of replay under the names of those of the target, "
                f"{expected}. Received {found}."
            )
        return replay.like(samples)

    def _of_one_output(self, model: keras.Model) -> "RetrainOptions":
        """Return options with a loss by output name as a loss of the one output."""
        names = getattr(model, "output_names", None)
        loss = of_one_output("loss", self.loss, names)
        how, key = dict(self.compile_options), "loss_weights"
        if isinstance(how.get(key), Mapping):
            how[key] = [of_one_output(key, how[key], names)]
        return dataclasses.replace(self, loss=loss, compile_options=how)

    def fresh_optimizer(self) -> keras.optimizers.Optimizer:
        """Return a new, unbuilt optimizer of the chosen configuration."""
        optimizer = self.optimizer
        if optimizer is None and self.optimizer_state_from is not None:
            optimizer = getattr(self.optimizer_state_from, "optimizer", None)
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None:
            return keras.optimizers.Adam(1e-3)
        return unbuilt_copy(keras.optimizers.get(optimizer))


def weighted(samples: Samples, loss: Any) -> Samples:
    """Return samples with the weights that a loss gives to the points of each.

    Outputs without weight become 0, so that no fill value can overflow.
    """
    if not isinstance(loss, WeightedMeanSquaredError):
        if samples.weights is None:
            return samples
        return dataclasses.replace(samples, weights=None)  # it trains without them
    shape = samples.y.shape[1:]
    try:
        weights = np.broadcast_to(loss.weights, shape)
    except ValueError as error:
        raise ValueError(
            "Expected weights of the loss that broadcast to the shape of a sample of "
            f"y, {shape}. Received shape {loss.weights.shape}: weights of the points "
            "of a grid need an axis for the channels, weights[..., None]."
        ) from error
    y = np.where(weights > 0.0, samples.y, np.zeros_like(samples.y))
    return dataclasses.replace(samples, y=y, weights=weights / np.mean(weights))


def _refuse_moved_weights(samples: Samples, symmetries: Sequence[Any]) -> None:
    if samples.weights is None:
        return
    one = samples.subset(slice(0, 1))
    x, y = one.raw()
    weights = samples.weights[None].astype(np.result_type(y, np.float32))
    for symmetry in symmetries:
        one.image(symmetry)  # its errors say more
        ends = (image_of(symmetry, x, w)[1] for w in (weights, 0.0 * weights))
        moved = np.abs(np.subtract(*ends))
        moved *= np.max(weights) / (np.max(moved) or 1.0)
        if not np.allclose(moved, weights, atol=1e-5 * np.max(weights)):
            raise ValueError(
                f"The symmetry {symmetry!r:.100} moves points to places of other "
                "weights, such as land to the ocean. Leave it out."
            )


def listed(callbacks: Any) -> list[Any]:
    """Return callbacks, given as one, several or None, as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


_READ = (Samples, tuple, list, str, os.PathLike)  # validation data that are read here


def _normalized_pair(validation: Any, statistics: Any) -> Any:
    weights: tuple[Any, ...] = ()
    if isinstance(validation, tuple | list) and len(validation) == 3:
        given, validation = validation[2], validation[:2]
        weights = () if given is None else (given,)
    elif statistics is None and not isinstance(validation, _READ):
        return validation  # a dataset, which Keras reads
    samples = Samples.of(validation, "validation_data").normalized(statistics)
    return (samples.x, samples.y, *weights)


def _check_fit_options(options: Mapping[str, Any]) -> None:
    refused = [name for name in _NOT_FORWARDED if name in options]
    if refused:
        raise TypeError(
            f"Received fit option(s) {', '.join(refused)}, which retraining sets "
            "itself: pass the samples as target_data; every epoch sees all of them. "
            "Points may have weights: loss=losses.WeightedMeanSquaredError(weights)."
        )
    known = {*inspect.signature(keras.Model.fit).parameters, *_COMPILE} - {"self"}
    known |= {*RetrainOptions.__annotations__}
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            if name == "learning_rate":
                hint = " Pass optimizer=keras.optimizers.Adam(learning_rate)."
            raise TypeError(
                f"Neither retrain, model.compile nor model.fit knows {name!r}.{hint}"
            )
    for name in ("batch_size", "epochs"):
        if options.get(name) is not None:
            whole_number(name, options[name], at_least=1)
    for callback in listed(options.get("callbacks")):
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                "Expected callbacks as a keras.callbacks.Callback or a list of them. "
                f"Received {callback!r:.100}."
            )
