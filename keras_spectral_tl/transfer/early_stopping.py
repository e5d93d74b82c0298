"""Stop training when samples held out of the target data say so."""

import dataclasses
import numbers
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.transfer._samples import Samples


@dataclasses.dataclass(frozen=True)
class HeldOutStopping:
    """Stops when the loss on held-out target samples no longer falls.

    The held-out samples are drawn at random, by the seed of the training. The weights
    returned are those of the epoch with the lowest held-out loss, also where training
    goes on to its last epoch.

    Args:
        fraction: Part of the target samples to hold out, at least one sample.
        patience: Epochs without improvement before training stops.
        min_delta: Smallest fall of the loss that counts.

    Raises:
        ValueError: If a number is out of range; on use, if no samples are left.

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
        if not 0.0 < self.fraction < 1.0:
            raise ValueError(
                f"Expected 0 < fraction < 1. Received fraction={self.fraction!r}."
            )
        patience: Any = self.patience
        if not isinstance(patience, numbers.Integral) or patience < 1:
            raise ValueError(
                f"Expected patience as an int >= 1. Received patience={patience!r}."
            )
        if not self.min_delta >= 0.0:
            raise ValueError(
                f"Expected min_delta >= 0. Received min_delta={self.min_delta!r}."
            )

    def split(self, data: Samples, seed: int) -> tuple[Samples, Any]:
        """Return the samples to train with, and the pair (x, y) of those held out."""
        held_out = max(1, round(self.fraction * len(data)))
        if held_out >= len(data):
            raise ValueError(
                f"Holding out {self.fraction} of {len(data)} samples leaves none to "
                "train with. Pass more samples or a smaller fraction."
            )
        # Three words: another stream than the order of the samples, (seed, epoch).
        order = np.random.default_rng((seed, 0, held_out)).permutation(len(data))
        kept, rest = np.sort(order[held_out:]), np.sort(order[:held_out])
        return Samples(*data.take(kept)), data.take(rest)

    def callback(self) -> keras.callbacks.Callback:
        """Return the Keras callback that stops and restores the best weights."""
        return keras.callbacks.EarlyStopping(
            monitor="val_loss",
            mode="min",
            patience=self.patience,
            min_delta=self.min_delta,
            restore_best_weights=True,
        )
