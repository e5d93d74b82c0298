"""Schedules of the FreezeLayers callback: the layers that train in each epoch.

A schedule is a pure function of the epoch, of the names of the layers that can train
(bottom first) and of the logs of the epochs so far. It keeps no state: to resume an
interrupted fit, it is called again with the same arguments.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from keras_spectral_tl import freezing
from keras_spectral_tl._checks import one_of, real_number, whole_number


class OwnFlags:
    """Type of the constant `OWN_FLAGS`."""

    def __repr__(self) -> str:
        return "OWN_FLAGS"


#: Phase in which the model trains with the flags it had before the fit.
OWN_FLAGS: Final = OwnFlags()

Phase = freezing.Selector | None | OwnFlags
History = Mapping[int, Mapping[str, float]]


class FreezeSchedule(Protocol):
    """Protocol of a schedule: a callable that returns the layers of an epoch.

    It may also have a method `phases(layers)` that returns all possible phases. These
    are then checked before training, and the optimizer keeps its state for these layers
    instead of all.
    """

    def __call__(self, epoch: int, layers: Sequence[str], history: History) -> Phase:
        """Return the layers that train in an epoch.

        Args:
            epoch: The epoch that begins, counted from 0.
            layers: Names of all layers that can train, starting at the input.
            history: The logs of the previous epochs, by epoch.

        Returns:
            A selector of `freezing.select_layers` (None: all layers), or `OWN_FLAGS`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LayersByEpoch:
    """Schedule of chosen layers from given epochs on; before, the model's own flags."""

    by_epoch: Mapping[int, freezing.Selector | None]

    def __post_init__(self) -> None:
        if not isinstance(self.by_epoch, Mapping):
            raise TypeError(
                "Expected schedule as a mapping from epoch to layers, for example "
                "{0: 'conv_2', 10: None}, or as a callable (epoch, layers, history) "
                f"-> layers. Received {self.by_epoch!r}."
            )
        if not self.by_epoch:
            raise ValueError("Expected at least one epoch in schedule. Received {}.")
        for epoch in self.by_epoch:
            whole_number("epoch", epoch, at_least=0)

    def __call__(self, epoch: int, layers: Sequence[str], history: History) -> Phase:
        """Return the layers given for the last epoch up to this one."""
        begun = [start for start in self.by_epoch if start <= epoch]
        return self.by_epoch[max(begun)] if begun else OWN_FLAGS

    def phases(self, layers: Sequence[str]) -> tuple[Phase, ...]:
        """Return the layers of every phase."""
        return tuple(self.by_epoch.values())


@dataclasses.dataclass(frozen=True)
class LayerByLayer:
    """Schedule that adds or removes one trainable layer every few epochs.

    - "unfreeze_from_top": the last layer first, then one more each time (gradual
      unfreezing, Howard and Ruder 2018, https://doi.org/10.18653/v1/P18-1031, 3.3);
    - "unfreeze_from_bottom": the first layer first, then one more each time;
    - "freeze_from_bottom": all layers first, then one fewer each time, the last stays
      (freeze-out, Brock et al. 2017, https://doi.org/10.48550/arXiv.1706.04983, here
      with equal steps and without its learning rates).

    Args:
        change: One of these strings.
        every_n_epochs: Epochs between two changes, at least 1.

    Raises:
        TypeError: If the number is not an int.
        ValueError: If it is below 1, or the change unknown.

    Example:
        >>> schedule = LayerByLayer("unfreeze_from_top", every_n_epochs=2)
        >>> [schedule(epoch, ("a", "b", "c"), {}) for epoch in (0, 1, 2, 9)]
        [('c',), ('c',), ('b', 'c'), ('a', 'b', 'c')]
    """

    change: str
    every_n_epochs: int = 1

    def __post_init__(self) -> None:
        known = ("unfreeze_from_top", "unfreeze_from_bottom", "freeze_from_bottom")
        one_of("change", self.change, known)
        whole_number("every_n_epochs", self.every_n_epochs, at_least=1)

    def __call__(self, epoch: int, layers: Sequence[str], history: History) -> Phase:
        """Return the layers that train in an epoch."""
        turn = epoch // self.every_n_epochs
        if self.change == "unfreeze_from_top":
            return tuple(layers[-1 - turn :])
        if self.change == "unfreeze_from_bottom":
            return tuple(layers[: 1 + turn])
        return tuple(layers[min(turn, len(layers) - 1) :])

    def phases(self, layers: Sequence[str]) -> tuple[Phase, ...]:
        """Return all layers, the largest phase."""
        return (tuple(layers),)


@dataclasses.dataclass(frozen=True)
class NextPhaseOnPlateau:
    """Schedule that enters the next phase when a monitored quantity stops improving.

    Each phase is judged separately: its first epoch sets the value to improve on. The
    last phase lasts until the fit ends. Epochs without the quantity (such as validation
    every second epoch) do not count; NaN is no improvement.

    Args:
        selectors: The layers of each phase in order, each a selector of
            `freezing.select_layers`; None means all layers.
        monitor: Name of the quantity in the logs.
        patience: Epochs without improvement after which the next phase begins.
        min_delta: Smallest change that counts as an improvement.
        mode: "min" if smaller is better, "max" if larger is.

    Raises:
        TypeError: If `selectors` is not a sequence, `patience` not an int, or
            `min_delta` not a number.
        ValueError: If there are no phases, or another argument is out of its range.
        KeyError: When called, if none of more than `patience` epochs had the quantity.

    Example:
        >>> schedule = NextPhaseOnPlateau(["last", None], monitor="loss", patience=1)
        >>> schedule(1, ("first", "last"), {0: {"loss": 2.0}})
        'last'
        >>> schedule(2, ("first", "last"), {0: {"loss": 2.0}, 1: {"loss": 2.0}}) is None
        True
    """

    selectors: Sequence[freezing.Selector | None]
    monitor: str = "val_loss"
    patience: int = 1
    min_delta: float = 0.0
    mode: str = "min"

    def __post_init__(self) -> None:
        given: Any = self.selectors
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise TypeError(
                "Expected selectors as a sequence with one selector a phase, such as "
                f"['conv_3', ['conv_2', 'conv_3'], None]. Received {given!r}."
            )
        if not given:
            raise ValueError(f"Expected at least one phase. Received {given!r}.")
        whole_number("patience", self.patience, at_least=1)
        real_number("min_delta", self.min_delta, at_least=0)
        one_of("mode", self.mode, ("min", "max"))

    def __call__(self, epoch: int, layers: Sequence[str], history: History) -> Phase:
        """Return the layers of the phase that follows from the logs."""
        logs = [history[key] for key in sorted(history)]
        values = [log[self.monitor] for log in logs if self.monitor in log]
        if len(logs) > self.patience and not values:
            names = ", ".join(sorted({name for log in logs for name in log}))
            raise KeyError(
                f"The schedule waits for {self.monitor!r}, but no epoch had it in its "
                f"logs. There are: {names or 'none'}. Without validation_data only "
                "quantities without the prefix 'val_' exist."
            )
        return self.selectors[self._phase(values)]

    def phases(self, layers: Sequence[str]) -> tuple[Phase, ...]:
        """Return the layers of every phase."""
        return tuple(self.selectors)

    def _phase(self, values: Sequence[float]) -> int:
        sign = 1.0 if self.mode == "min" else -1.0
        phase, waited, best = 0, 0, math.inf
        for value in values:
            # Written so that NaN is no improvement.
            better = sign * value < best - self.min_delta
            best = sign * value if better else best
            waited = 0 if better else waited + 1
            if waited >= self.patience and phase < len(self.selectors) - 1:
                phase, waited, best = phase + 1, 0, math.inf
        return phase
