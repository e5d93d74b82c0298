"""Deterministic fit, with bitwise equal weights of equal calls; gain in closed form."""

import dataclasses
import math
import numbers
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.copies import unmasked
from keras_spectral_tl._graph.feeding import (
    fed_for_validation,
    fed_to_fit,
    predicted,
)
from keras_spectral_tl._graph.layers import fetch, layers_with_weights, own_weights
from keras_spectral_tl._optimizer_state import batches_a_step, plain_optimizer
from keras_spectral_tl._progress import watched
from keras_spectral_tl.freezing import OutputGain
from keras_spectral_tl.freezing._parts import items_of
from keras_spectral_tl.metrics import least_squares_gain
from keras_spectral_tl.transfer._options import RetrainOptions, listed
from keras_spectral_tl.transfer._samples import Samples

_MEND = (
    "Use a smaller learning rate or clip gradients, for example "
    "optimizer=keras.optimizers.Adam(1e-4, clipnorm=1.0), and check that the target "
    "data have the scale the model was trained with. No model is returned."
)

_PLAIN = {"epochs", "verbose"}  # options of a fit that all epochs can share


def samples_an_epoch(count: int, replay: Any) -> int:
    """Return the number of samples in an epoch: target samples, twice with replay."""
    return count if replay is None else 2 * count


class Batches(keras.utils.PyDataset):
    """Batches of all samples once per epoch, in an order set by (seed, epoch) alone.

    They are of `num_epochs` consecutive epochs, starting at the one that was set; the
    last batch of an epoch may be smaller. See `RetrainOptions` for all else.
    """

    def __init__(
        self,
        data: Samples,
        batch_size: int,
        seed: int,
        shuffle: bool,
        num_epochs: int = 1,
        symmetries: Sequence[Any] = (),
        replay: Samples | None = None,
    ) -> None:
        super().__init__()
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.shuffle, self.num_epochs = shuffle, num_epochs
        self.symmetries, self.replay = tuple(symmetries), replay
        for symmetry in self.symmetries:  # raise errors here, not during a fit
            data.image(symmetry)
        self._samples_an_epoch = samples_an_epoch(len(data), replay)
        self._batches_an_epoch = -(-self._samples_an_epoch // batch_size)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self.num_epochs * self._batches_an_epoch

    def __getitem__(self, index: int) -> tuple[Any, NDArray[Any]]:
        epoch, batch = divmod(index, self._batches_an_epoch)
        epoch += self._epoch
        order = np.arange(self._samples_an_epoch)
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        start, count = batch * self.batch_size, len(self.data)
        rows = order[start : start + self.batch_size]
        own = self._images(rows[rows < count], epoch)
        if self.replay is None:
            return own
        # Four words, so the stream differs from that of the shuffling, (seed, epoch).
        rng = np.random.default_rng((self.seed, epoch, 0, 2))
        drawn = np.resize(rng.permutation(len(self.replay)), count)
        base = self.replay.take(drawn[rows[rows >= count] - count])
        x, y = keras.tree.map_structure(lambda *parts: np.concatenate(parts), own, base)
        return x, y

    def _images(self, rows: NDArray[np.intp], epoch: int) -> tuple[Any, NDArray[Any]]:
        """Return samples, each transformed by the symmetry drawn for it."""
        x, y = self.data.take(rows)
        if not self.symmetries:
            return x, y
        rng = np.random.default_rng((self.seed, epoch, 0, 1))
        drawn = rng.integers(len(self.symmetries) + 1, size=len(self.data))[rows]
        for number, symmetry in enumerate(self.symmetries, start=1):
            chosen = np.flatnonzero(drawn == number)
            if len(chosen):
                image = self.data.subset(rows[chosen]).image(symmetry)
                parts = keras.tree.flatten((x, y))
                for part, new in zip(parts, image.arrays, strict=True):
                    part[chosen] = new
        return x, y


class _LowestLoss(keras.callbacks.EarlyStopping):
    """Early stopping that restores the weights of the lowest held-out loss.

    Keras restores those of the last decrease by more than `min_delta`.
    """

    def __init__(self, patience: int, min_delta: float) -> None:
        super().__init__("val_loss", min_delta, patience, mode="min")

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._lowest = math.inf
        self._weights: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        loss = float((logs or {}).get("val_loss", math.inf))
        if loss < self._lowest:
            self._lowest, self._weights = loss, self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        super().on_train_end(logs)
        if self._weights is not None:
            self.model.set_weights(self._weights)


class _EpochLogs(keras.callbacks.Callback):
    """Keeps what each epoch computed; not all have validation, or values of callbacks.

    The last callback, so that `rows` hold what others add.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rows.append(dict(logs or {}))


class _EpochWatch(keras.callbacks.Callback):
    """Tells the batches which epoch it is and stops when the loss is not finite."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.set_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not np.isfinite(loss):
            one = self.batches.num_epochs == 1
            when = f"in epoch {epoch + 1}" if one else "during the training"
            raise FloatingPointError(f"The loss became {loss} {when}. {_MEND}")


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """Outcome of fitting the chosen weights of a network.

    `hashes` are those of each weight after the fit, `refitted` the normalization layers
    that were adapted to the data, `moments` the weights that took over their moments.
    """

    history: dict[str, list[float]]
    hashes: dict[str, str]
    refitted: tuple[str, ...]
    moments: tuple[str, ...]


def fit(
    network: keras.Model, data: Samples, options: RetrainOptions
) -> dict[str, list[float]]:
    """Fit the compiled `network` and return the history."""
    arguments = {"epochs": 50, "verbose": 0, **options.fit_options}
    callbacks = listed(arguments.pop("callbacks", None))
    arguments.pop("batch_size", None)
    stopping = options.early_stopping
    if stopping is None:
        data, validation = _split(data, arguments.pop("validation_split", 0.0))
    else:
        _refuse_backups(callbacks)
        _check_validated(arguments["epochs"], arguments.get("validation_freq", 1))
        data, validation = stopping.split(data, options.seed)
        callbacks.append(_LowestLoss(stopping.patience, stopping.min_delta))
    if validation is not None:
        arguments.setdefault("validation_data", validation)
    order = {
        "batch_size": options.batch_size,
        "seed": options.seed,
        "shuffle": arguments.pop("shuffle", True),
        "symmetries": options.symmetries,
        "replay": options.replay,
    }
    by_epoch = callbacks or arguments["verbose"] or arguments.keys() - _PLAIN
    if not (options.epoch_history or by_epoch):
        order["num_epochs"], arguments["epochs"] = arguments["epochs"], 1
    held_out = arguments.get("validation_data")
    if held_out is not None and not arguments.get("validation_steps"):
        size = arguments.get("validation_batch_size")
        arguments["validation_data"] = fed_for_validation(held_out, size)
    batches = Batches(data, **order)
    computed = _EpochLogs()
    callbacks = [_EpochWatch(batches), *callbacks, computed]
    shown = "verbose" not in options.fit_options and sys.stderr.isatty()
    steps = len(batches) * arguments["epochs"]
    with watched(shown and None, "Retraining", "steps", "loss", steps) as move:

        def tell(batch: int, logs: Any = None) -> None:
            move({"loss": f"loss {float((logs or {}).get('loss', np.nan)):.3g}"})

        if shown:
            callbacks.append(keras.callbacks.LambdaCallback(on_train_batch_end=tell))
        with warnings.catch_warnings():  # expected if only statistics are to change
            warnings.filterwarnings("ignore", ".*does not have any trainable weights")
            fitted = network.fit(
                fed_to_fit(batches), shuffle=False, callbacks=callbacks, **arguments
            )
    return {
        name: [float(row.get(name, math.nan)) for row in computed.rows]
        for name in fitted.history
    }


def check_finite_weights(network: keras.Model) -> None:
    """Raise FloatingPointError if the last step left NaN or infinite weights."""
    for name, layer in layers_with_weights(network).items():
        values = [fetch(v) for v in own_weights(layer)]
        if not all(np.isfinite(value).all() for value in values):
            raise FloatingPointError(
                f"The weights of layer {name!r} are not finite after the last epoch. "
                f"{_MEND}"
            )


def why_unmoved(network: keras.Model) -> str:
    """Explain why a fit has changed no weight, with its number of steps, as text."""
    steps = int(fetch(network.optimizer.iterations))
    dtypes = {variable.dtype for variable in network.trainable_variables}
    optimizer = network.optimizer
    is_scaled = plain_optimizer(optimizer) is not optimizer
    if not steps and is_scaled and batches_a_step(optimizer) == 1:
        why = (
            "the gradients overflow in float16 in every step: give y in other units, "
            "train for more epochs, in which the scale of the loss falls, or take the "
            "dtype policy mixed_bfloat16"
        )
    elif not steps:
        why = (
            "gradients are accumulated over more batches than there were: lower "
            "the optimizer's gradient_accumulation_steps or train for more epochs"
        )
    elif dtypes & {"bfloat16", "float16"}:
        why = (
            f"steps of this size vanish in {', '.join(sorted(dtypes))}: keep the "
            "weights in float32 (dtype policy mixed_bfloat16 or mixed_float16)"
        )
    else:
        why = (
            "their gradients are zero, because the outputs do not depend on them, "
            "the loss is at its minimum, or units are dead; or the learning rate "
            "is below round-off; or y is so small that squares of its gradients vanish "
            "in float32 (normalize it)"
        )
    return f"{steps} step(s): {why}"


def _refuse_backups(callbacks: list[Any]) -> None:
    for callback in callbacks:
        if "backup" in type(callback).__name__.lower():
            raise TypeError(
                "early_stopping keeps the best weights in memory, so a fit resumed "
                f"from a backup would end with others. Received {callback!r:.100}: "
                "leave out one of the two."
            )


def _check_validated(epochs: int, every: Any) -> None:
    """Raise ValueError if no epoch of a fit measures the loss on held-out samples."""
    whole = isinstance(every, numbers.Integral)
    if any(n % every == 0 if whole else n in every for n in range(1, epochs + 1)):
        return
    raise ValueError(
        "early_stopping needs the loss on held-out samples after at least one epoch. "
        f"Received validation_freq={every} with epochs={epochs}: train for more "
        "epochs, or measure it more often."
    )


def _split(data: Samples, fraction: float) -> tuple[Samples, Any]:
    # As Keras does: the last samples, before any shuffling.
    if not fraction:
        return data, None
    kept = int(len(data) * (1.0 - fraction))
    if not 0 < kept < len(data):
        raise ValueError(
            f"validation_split={fraction} of {len(data)} samples leaves {kept} for "
            "training; expected at least one on either side."
        )
    return data.subset(slice(0, kept)), data.take(slice(kept, None))


def closed_form_gain(
    model: keras.Model, samples: Samples, batch_size: int = 32
) -> float:
    """Return the best-fitting gain of a model's outputs m, sum(y m) / sum(m^2)."""
    outputs = predicted(model, samples.x, batch_size).astype(np.float64)
    weights = unmasked(model, samples.x, samples.weights)
    full = np.broadcast_to(1.0 if weights is None else weights, outputs.shape)
    parts = (np.reshape(part, (1, -1)) for part in (samples.y, outputs, full))
    gain = float(least_squares_gain(*parts))
    if not np.isfinite(gain):
        raise ValueError(
            f"No gain fits: the sum of squares of the output of model {model.name!r} "
            f"on the target data is {float(np.sum(outputs**2))}. Expected a finite, "
            "positive number."
        )
    return gain


def from_best_gain(model: keras.Model, layers: Any, samples: Samples) -> Any:
    """Return the selector with the closed-form gain as initial value of OutputGain."""
    items = items_of(layers)
    free = [isinstance(i, OutputGain) and i.initial is None for i in items]
    if not any(free):
        return layers
    gain = closed_form_gain(model, samples)
    if gain == 0.0:
        raise ValueError(
            "The gain that fits the target data best is 0, as y is zero or has nothing "
            "in common with the outputs, and before a gain of 0 no layer can learn. "
            "Received OutputGain(initial=None): give a number, OutputGain(initial=1.0)."
        )
    best = OutputGain(initial=gain)
    return [
        best if is_free else item for item, is_free in zip(items, free, strict=True)
    ]
