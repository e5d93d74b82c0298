"""FreezeLayers: callback that changes the trainable layers during one fit."""

import dataclasses
import warnings
from collections.abc import Mapping
from itertools import dropwhile
from typing import Any, NoReturn

import keras
import numpy as np

from keras_spectral_tl import _optimizer_state as optimizer_state
from keras_spectral_tl import freezing
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.layers import ModelLayers
from keras_spectral_tl._keras_internals import (
    callbacks_of_fit,
    initial_epoch,
    own_statistics,
    set_initial_epoch,
)
from keras_spectral_tl.callbacks import _freeze_schedules as freeze_schedules
from keras_spectral_tl.callbacks._checked_backup import (
    CheckedBackup,
    SavedSchedule,
    swaps_averages,
)
from keras_spectral_tl.freezing._changes import (
    TrainableFlags,
    hash_of,
    set_trainable,
    trainable_choice,
)

_STATE = "freeze_layers_state"  # attribute of the optimizer during the fit
_OWN = freeze_schedules.OWN_FLAGS


@dataclasses.dataclass
class _Run:
    """State of one fit; a phase is a selection or the model's own flags.

    `entered` is the epoch for which the schedule gave the current phase. `due` is an
    epoch and its phase, which starts once accumulated gradients are applied. `frozen`
    holds the hashes of the weights that are frozen in this phase, by path.
    """

    model: keras.Model
    flags: TrainableFlags
    layers: tuple[str, ...]
    original: Any
    view: optimizer_state.OptimizerView
    saved: SavedSchedule
    history: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)
    phase: Any = _OWN
    entered: int | None = None
    due: tuple[int, Any] | None = None
    waited: int = 0
    begun: bool = False
    changed: bool = False
    frozen: dict[str, str] = dataclasses.field(default_factory=dict)
    checked: bool = False


class FreezeLayers(keras.callbacks.Callback):
    """Changes which layers train at given epochs, inside one `fit`.

    At the beginning of an epoch this callback asks its schedule, sets the flags, makes
    the optimizer update the weights that train now, and has the training function
    rebuilt without `compile`. Frozen weights stay bitwise equal, and the optimizer
    keeps their moments. When the fit ends, all flags and the optimizer are restored.

    **Checks.** After the first and the last epoch of each phase, hashes of the frozen
    weights are compared with those at its beginning. A layer that changes its own
    weights regardless of its flags, such as `SpectralNormalization` or one that counts
    its calls, ends the fit with an error.

    **Optimizers.** All Keras optimizers, also inside a `LossScaleOptimizer` or a
    `MultiOptimizer`. With gradient accumulation a phase begins at the first batch of
    its epoch without accumulated gradients. A layer that first trains late in a fit
    starts with zero moments while `iterations` is large, so Adam does not correct their
    bias: its first steps are up to three times the learning rate. With `use_ema` the
    average of a layer starts at its weights whenever it is unfrozen; a frozen layer
    keeps its weights, not their average.

    **Resuming.** Put this callback before `CheckedBackup` or `BackupAndRestore`. Phase,
    logs and the states of random generators (of layers; on torch also of torch itself,
    which layers without a seed use) are saved in the weights file. With a backup every
    epoch, an interrupted and resumed fit ends with bitwise the same weights as an
    uninterrupted one, given the same data in each epoch (not with Nadam within a
    `LossScaleOptimizer`, part of whose state Keras does not save). States of other
    callbacks are not saved: as in Keras, `ReduceLROnPlateau` and `EarlyStopping` start
    counting again. With an integer `save_freq` Keras restarts the epoch of the backup
    at its first batch, with the weights, phase and moments of the backup.

    A model saved as a whole during the fit has the optimizer state of all layers of the
    schedule: Keras warns and leaves it out if the loaded model has some of them frozen.

    Callbacks are not notified of an exception inside `fit`. The flags are then restored
    by the next `fit` with a `FreezeLayers`, or by calling `restore()`.

    Args:
        schedule: The layers that are trainable from an epoch on, by epoch (counted from
            0): `{0: "conv_2", 10: ["conv_1", "conv_2"], 20: None}`, where a value is a
            selector of `freezing.select_layers` and None means all layers; or any
            `freeze_schedules.FreezeSchedule`, such as `LayerByLayer`. Before the first
            epoch of a mapping the model trains with its own flags.

    Raises:
        TypeError: If the schedule is neither a mapping from int nor callable; when the
            fit begins, if the schedule trains weights that were frozen when the
            optimizer was built and its state cannot be kept.
        ValueError: If the schedule is empty or an epoch negative; in the fit, if a
            phase would train nothing, if a backup comes first or was written without
            this callback, if a `SwapEMAWeights` that swaps at each epoch comes after
            it, if there are two `FreezeLayers`, or if
            `steps_per_execution` skips every batch at which a phase could begin.
        RuntimeError: In the fit, if a frozen weight has changed.
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

    def __init__(
        self,
        schedule: Mapping[int, freezing.Selector | None]
        | freeze_schedules.FreezeSchedule,
    ) -> None:
        super().__init__()
        if isinstance(schedule, type):
            raise TypeError(
                "Expected a schedule, not its class: pass "
                f"{schedule.__name__}(...). Received schedule={schedule!r}."
            )
        self.schedule: freeze_schedules.FreezeSchedule = (
            schedule if callable(schedule) else freeze_schedules.LayersByEpoch(schedule)
        )
        self._run: _Run | None = None
        self._epoch_before_fit: int | None = None

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._epoch_before_fit = initial_epoch(model)
        # Left over from an earlier fit that ended with an exception.
        self.restore()
        left_behind = getattr(getattr(model, "optimizer", None), _STATE, None)
        if left_behind is not None:
            left_behind.undo()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        if self._run is not None or _STATE in vars(model.optimizer):
            self._refuse(
                "This fit has two FreezeLayers, and the second would overrule the "
                "first. Pass one, with a schedule that holds all phases."
            )
        if first := self._backup_before():
            self._refuse(
                f"{first} comes before FreezeLayers, and so would save and restore an "
                "epoch without its phase. Pass callbacks=[FreezeLayers(...), "
                f"{first}(...)]."
            )
        others = callbacks_of_fit(self)
        if swaps_averages(dropwhile(lambda one: one is not self, others)):
            self._refuse(
                "SwapEMAWeights(swap_on_epoch=True) comes after FreezeLayers, whose "
                "phases would begin with averages as weights. Put it before or, beside "
                "a CheckedBackup, use swap_on_epoch=False."
            )
        layers = called_layers(model)
        flags = TrainableFlags.of(model)
        variables = self._ever_trained(model, layers, flags)
        original, used = _optimizers(model, variables)
        view = optimizer_state.OptimizerView(used)
        saved = SavedSchedule(lambda: _random_states(model), self.restore)
        run = _Run(model, flags, layers, original, view, saved)
        vars(used)[_STATE] = run.saved
        self._run = run
        if used is not original:
            _show(run)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        run = self._run
        if run is None:
            return
        if not run.begun:
            self._resume(run, epoch)
        run.due = epoch, self._phase(run, epoch)
        self._enter_when_possible(run)

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self._run is not None:
            self._enter_when_possible(self._run)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        run = self._run
        if run is not None:
            # Not at the end of the fit: EarlyStopping may have restored older weights.
            if not run.checked or epoch + 1 == self.params.get("epochs"):
                self._check_frozen(run)
            run.history[epoch] = {
                name: float(value)
                for name, value in (logs or {}).items()
                if isinstance(value, int | float | np.number)
            }
            run.saved.note(epoch=epoch + 1, entered=run.entered, history=run.history)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.restore()

    def restore(self) -> None:
        """Restore all flags to their values before the fit, if they have changed."""
        run, self._run = self._run, None
        if run is None:
            return
        run.flags.restore()
        run.view.show_all()
        used = run.view.optimizer
        del vars(used)[_STATE]
        if run.changed and run.model.optimizer is used:
            if used is not run.original:
                optimizer_state.carry_state(used, run.original)
                run.model.optimizer = run.original
            _make_functions_anew(run.model)

    def _refuse(self, message: str) -> NoReturn:
        """Raise ValueError; the next fit begins where this one would have."""
        set_initial_epoch(self.model, self._epoch_before_fit or 0)
        raise ValueError(message)

    def _backup_before(self) -> str:
        """Return the class of a backup before this callback in its fit, if any."""
        for other in callbacks_of_fit(self):
            if other is self:
                break
            if isinstance(other, CheckedBackup | keras.callbacks.BackupAndRestore):
                return type(other).__name__
        return "A callback that resumes" if self._resumed(self.model) else ""

    def _resumed(self, model: keras.Model) -> bool:
        return initial_epoch(model) != self._epoch_before_fit

    def _ever_trained(
        self, model: keras.Model, layers: tuple[str, ...], flags: TrainableFlags
    ) -> list[keras.Variable]:
        """Return all weights trained in any phase, in the order of the model."""
        listed = getattr(self.schedule, "phases", lambda layers: (layers,))
        trained = {id(variable) for variable in model.trainable_variables}
        try:
            for selector in listed(layers):
                flags.restore()
                _set_phase(model, _resolved(model, selector), flags)
                trained.update(id(variable) for variable in model.trainable_variables)
        finally:
            flags.restore()
        return [variable for variable in model.variables if id(variable) in trained]

    def _resume(self, run: _Run, epoch: int) -> None:
        """Enter the phase of a backup, if the fit is resumed from one."""
        run.begun = True
        state, resumed = run.saved.take_loaded(), self._resumed(run.model)
        # Keras has read it; after an error here, the next fit would begin there too.
        set_initial_epoch(run.model, self._epoch_before_fit or 0)
        if state is None and not resumed:
            return
        if state is None or state["epoch"] < epoch:
            raise ValueError(
                f"BackupAndRestore resumes at epoch {epoch}, but its backup holds no "
                "state of FreezeLayers from then: it was written without this "
                "callback, or before it in the list of callbacks. Delete the backup to "
                "begin anew."
            )
        if state["epoch"] > epoch:
            warnings.warn(
                f"The weights of the backup are those of epoch {state['epoch']}, but "
                f"BackupAndRestore resumes at epoch {epoch} and so repeats epochs: the "
                "fit was killed between the two files that Keras writes, or twice in "
                "one epoch with an integer save_freq.",
                stacklevel=2,
            )
        run.history = {int(key): value for key, value in state["history"].items()}
        run.entered = state["entered"]
        if run.entered is not None:
            run.phase = self._phase(run, run.entered)
            _show(run)

    def _phase(self, run: _Run, epoch: int) -> Any:
        history = {key: logs for key, logs in run.history.items() if key < epoch}
        selector = self.schedule(epoch, run.layers, history)
        now = TrainableFlags.of(run.model)
        # A selection may depend on flags, so resolve it with the model's own flags.
        run.flags.restore()
        try:
            return _resolved(run.model, selector)
        finally:
            now.restore()

    def _enter_when_possible(self, run: _Run) -> None:
        if run.due is None:
            return
        epoch, phase = run.due
        if phase != run.phase:
            # With JAX, reading the callback's model writes the current values into it.
            if _must_wait(run, self.model, epoch):
                return
            self._check_frozen(run)
            run.phase, run.entered, run.frozen = phase, epoch, {}
            before = {id(variable) for variable in run.model.trainable_variables}
            _show(run)
            now = run.model.trainable_variables
            # An average that missed steps would pull the weight towards old values.
            run.view.start_averages(v for v in now if id(v) not in before)
        if not run.frozen:
            run.frozen, run.checked = _frozen_hashes(self.model), False
        run.due, run.waited = None, 0
        run.saved.note(epoch=epoch, entered=run.entered, history=run.history)

    def _check_frozen(self, run: _Run) -> None:
        """Raise RuntimeError if frozen weights changed since the phase began."""
        run.checked = True
        named = ModelLayers.of(self.model)
        weights = named.weights
        moved = [p for p, was in run.frozen.items() if hash_of([weights[p]]) != was]
        if not moved:
            return
        self.restore()
        layers = dict.fromkeys(path.rsplit("/", 1)[0] for path in moved)
        held = [f"{name} ({type(named.layers[name]).__name__})" for name in layers]
        raise RuntimeError(
            f"Frozen weights have moved: {', '.join(moved)}. The optimizer did not "
            "update them, so something else did: one of the layers "
            f"{', '.join(held)} or a layer around it (SpectralNormalization and custom "
            "counters or averages change their weights in training mode regardless of "
            "flags), another callback, or a train_step of the model. Let these layers "
            "train in every phase, or make the layer keep its weights while its "
            "`trainable` is False."
        )


def _optimizers(model: keras.Model, variables: list[keras.Variable]) -> tuple[Any, Any]:
    """Return the optimizer to restore later and the one to use, built for all weights.

    They are the same object if the optimizer was already built for all `variables`.
    """
    own = model.trainable_variables
    optimizer = model.optimizer
    if not optimizer.built:
        with optimizer_state.building_scope(model):
            optimizer.build(own)
    if not optimizer_state.OptimizerView(optimizer).covers(own):
        optimizer = optimizer_state.rebuilt(optimizer, model, own)
    used = optimizer
    if not optimizer_state.OptimizerView(optimizer).covers(variables):
        used = optimizer_state.rebuilt(optimizer, model, variables)
    if used is not model.optimizer:
        model.optimizer = used
    return optimizer, used


def _resolved(model: keras.Model, selector: freeze_schedules.Phase) -> Any:
    if isinstance(selector, freeze_schedules.OwnFlags):
        return _OWN
    selection = freezing.select_layers(model, selector)
    if not selection.num_trainable:
        raise ValueError(
            f"In the phase {selector!r} nothing would train: the layers "
            f"{', '.join(selection.names)} have no trainable weights."
        )
    return selection


def _set_phase(model: keras.Model, phase: Any, flags: TrainableFlags) -> None:
    # Start from the model's own flags, so a phase does not depend on earlier ones.
    flags.restore()
    if phase is not _OWN:
        set_trainable(model, phase)


def _show(run: _Run) -> None:
    _set_phase(run.model, run.phase, run.flags)
    run.view.show(run.model.trainable_variables)
    run.changed = True
    _make_functions_anew(run.model)


def _frozen_hashes(model: keras.Model) -> dict[str, str]:
    """Return the hashes of all weights that training must not change."""
    named = ModelLayers.of(model)
    choice = trainable_choice(named)
    moving = {path for paths in choice.values() for path in paths}
    updated = {id(v) for name in choice for v in own_statistics(named.layers[name])}
    return {
        path: hash_of([weight])
        for path, weight in named.weights.items()
        if path not in moving and id(weight) not in updated
    }


def _random_states(model: keras.Model) -> list[keras.Variable]:
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _make_functions_anew(model: keras.Model) -> None:
    model.make_train_function(force=True)
    model.test_function = model.predict_function = None


def _must_wait(run: _Run, model: keras.Model, epoch: int) -> bool:
    if not run.view.holds_gradients():
        return False
    run.waited += 1
    limit = run.view.steps_per_update()
    if run.waited > limit:
        raise ValueError(
            f"The phase of epoch {epoch} cannot begin: gradients are accumulated "
            f"over {limit} batches, and steps_per_execution="
            f"{model.steps_per_execution} skips every batch at which none waits. "
            "Choose a steps_per_execution that divides the number of batches an epoch."
        )
    return True
