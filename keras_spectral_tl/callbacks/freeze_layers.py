"""Change which layers train while a fit is running."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl import freezing, introspection

_AVERAGE = "_model_variables_moving_average"
_NOT_SLOTS = ("_variables", "_trainable_variables")


@dataclasses.dataclass
class _Run:
    """What one fit needs to remember."""

    model: keras.Model
    flags: freezing.TrainableFlags
    phases: Mapping[int, tuple[str, ...]]
    current: tuple[str, ...] | None = None
    optimizer: Any = None
    slots: dict[int, dict[str, NDArray[Any]]] = dataclasses.field(default_factory=dict)


class FreezeLayers(keras.callbacks.Callback):
    """Trains other layers from given epochs on, inside one `fit`.

    Keras fixes the trainable weights when a fit begins. At the beginning of a scheduled
    epoch this callback sets the flags, gives the model a new optimizer for the weights
    that train now, with the state of the old one (iterations, learning rate, moments),
    and has the training function made anew, without `compile`. Frozen weights stay as
    they are, bit for bit; their moments are kept and used again if they train later.
    When the fit ends all flags are as they were before, and the optimizer covers the
    weights it covered before.

    A layer that trains for the first time late in a fit starts with zero moments while
    `iterations` is large already, so Adam does not correct their bias: its first steps
    are up to three times the learning rate.

    An exception inside `fit` ends it without a word to callbacks. The flags are then
    put back by the next `fit` with this callback, or by calling `restore()`.

    Args:
        schedule: The layers that are trainable from an epoch on, by epoch (counted from
            0): `{0: "conv_2", 10: ["conv_1", "conv_2"], 20: None}`. A value is a
            selector of `freezing.select_layers`; None means all layers. Before the
            first epoch given the model trains with its own flags.

    Raises:
        TypeError: If the schedule is not a mapping from int; when the fit begins, if
            the optimizer holds another one (`LossScaleOptimizer` of mixed_float16,
            `MultiOptimizer`) or state that belongs to no weight.
        ValueError: If the schedule is empty or an epoch negative; when the fit begins,
            if a phase would train nothing.
        KeyError: When the fit begins, if the model has no such layer.

    Example:
        >>> import keras, numpy as np
        >>> layers = [keras.layers.Dense(1, name=name) for name in ("first", "last")]
        >>> model = keras.Sequential([keras.Input((2,)), *layers])
        >>> model.compile("adam", "mse")
        >>> x, y = np.ones((4, 2)), np.zeros((4, 1))
        >>> callback = FreezeLayers({0: "first", 1: "last"})
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        >>> len(model.trainable_weights)
        4
    """

    def __init__(self, schedule: Mapping[int, freezing.Selector | None]) -> None:
        super().__init__()
        self.schedule = _checked(schedule)
        self._run: _Run | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resolve all selectors, so that a mistake is told before any training."""
        self.restore()
        model = self.model
        _refuse_unknown_state(model.optimizer)
        phases = {}
        for epoch, selector in self.schedule.items():
            selection = freezing.select_layers(model, selector)
            if not selection.num_trainable:
                raise ValueError(
                    f"From epoch {epoch} on nothing would train: the layers "
                    f"{', '.join(selection.names)} have no trainable weights."
                )
            phases[epoch] = selection.names
        self._run = _Run(model, freezing.TrainableFlags.of(model), phases)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Enter the phase of this epoch, also when a fit resumes in the middle."""
        run = self._run
        if run is None:
            return
        due = [start for start in run.phases if start <= epoch]
        if due and run.phases[max(due)] != run.current:
            run.current = run.phases[max(due)]
            freezing.set_trainable(run.model, run.current)
            _renew_optimizer(run)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put all flags back."""
        self.restore()

    def restore(self) -> None:
        """Put all flags back as they were before the fit; does nothing if they are."""
        run, self._run = self._run, None
        if run is not None and run.current is not None:
            run.flags.restore()
            _renew_optimizer(run)


def _checked(
    schedule: Mapping[int, freezing.Selector | None],
) -> dict[int, freezing.Selector | None]:
    if not isinstance(schedule, Mapping):
        raise TypeError(
            "Expected schedule as a mapping from epoch to layers, for example "
            f"{{0: 'conv_2', 10: None}}. Received {schedule!r}."
        )
    if not schedule:
        raise ValueError("Expected at least one epoch in schedule. Received {}.")
    for epoch in schedule:
        given: Any = epoch
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)):
            raise TypeError(f"Expected epochs as ints. Received epoch={given!r}.")
        if epoch < 0:
            raise ValueError(f"Epochs count from 0. Received epoch={epoch}.")
    return {int(epoch): schedule[epoch] for epoch in sorted(schedule)}


def _renew_optimizer(run: _Run) -> None:
    """Give the model an optimizer for its current trainable weights, state kept."""
    old = run.model.optimizer
    if old is not run.optimizer and run.optimizer is not None:
        run.slots.clear()  # Compiled again in between: the old moments mean nothing.
    _refuse_unknown_state(old)
    run.slots.update(_slots(old))
    new = type(old).from_config(old.get_config())
    for name, value in vars(old).items():
        if name not in vars(new) and not _holds_variables(value):
            setattr(new, name, value)  # Set by methods: exclude_from_weight_decay.
    new.build(run.model.trainable_variables)
    already = {id(variable) for variable in old._trainable_variables}
    for place, variable in enumerate(new._trainable_variables):
        saved = run.slots.get(id(variable), {})
        if new.use_ema and id(variable) not in already:
            # An average that missed steps would pull the weight towards its past.
            saved = {**saved, _AVERAGE: introspection.fetch(variable)}
        for name, value in saved.items():
            getattr(new, name)[place].assign(value)
    for name, variable in _globals(old).items():
        getattr(new, name).assign(introspection.fetch(variable))
    run.model.optimizer = run.optimizer = new
    run.model.make_train_function(force=True)


def _holds_variables(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, keras.Variable) for item in items)


def _slot_lists(optimizer: Any) -> dict[str, list[Any]]:
    # A slot list has one entry a weight, in the order the optimizer was built with.
    # Names cannot serve: layers of two nested models may have equal variable paths.
    count = len(optimizer._trainable_variables)
    return {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, list)
        and name not in _NOT_SLOTS
        and len(value) == count
        and _holds_variables(value)
    }


def _slots(optimizer: Any) -> dict[int, dict[str, NDArray[Any]]]:
    lists = _slot_lists(optimizer)
    return {
        id(variable): {
            name: np.array(introspection.fetch(entries[place]))
            for name, entries in lists.items()
            if entries[place] is not None
        }
        for place, variable in enumerate(optimizer._trainable_variables)
    }


def _globals(optimizer: Any) -> dict[str, keras.Variable]:
    values = vars(optimizer).items()
    return {name: value for name, value in values if isinstance(value, keras.Variable)}


def _refuse_unknown_state(optimizer: Any) -> None:
    """Refuse an optimizer whose state could not all be carried over."""
    kind = type(optimizer).__name__
    nested = [
        item
        for value in vars(optimizer).values()
        for item in (value if isinstance(value, (list, tuple)) else [value])
        if isinstance(item, keras.optimizers.Optimizer)
    ]
    if nested:
        raise TypeError(
            f"FreezeLayers cannot carry over the state of a {kind}, which wraps "
            f"{', '.join(type(item).__name__ for item in nested)}. Compile the model "
            "with a plain optimizer; under mixed_float16 pass "
            "compile(..., auto_scale_loss=False) or use mixed_bfloat16."
        )
    known = {id(value) for value in _globals(optimizer).values()}
    for entries in _slot_lists(optimizer).values():
        known.update(id(entry) for entry in entries)
    lost = [v.path for v in optimizer.variables if id(v) not in known]
    if lost:
        raise TypeError(
            f"FreezeLayers cannot carry over the state of a {kind}: it is not known to "
            f"which weight {', '.join(lost)} belong. Use another optimizer, or train "
            "the phases in separate fits with transfer.retrain."
        )
