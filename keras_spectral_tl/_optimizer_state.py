"""The state and rates of optimizers, for some weights or copied to another optimizer.

Keras builds an optimizer once, for the weights that are trainable at that time. Here it
keeps the state (slots) of all of them but iterates only over the weights that train
now. Its variables are not moved, so a checkpoint of the optimizer is complete and
always has the same layout.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl._keras_internals import (
    ACCUMULATED_GRADIENTS,
    MOVING_AVERAGES,
    excluded_from_weight_decay,
    learning_rate_of,
    optimizer_batches,
    optimizer_slots,
    optimizer_weights,
    set_optimizer_batches,
    set_optimizer_weights,
)


class OptimizerView:
    """Variables and slots of a built optimizer and of the optimizers it wraps."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        # The weights it was built for, and its lists with one entry per weight.
        self.variables = optimizer_weights(optimizer)
        self.slots = optimizer_slots(optimizer)
        # Inside a `LossScaleOptimizer` or a `MultiOptimizer`.
        self.parts = [OptimizerView(inner) for inner in _inner_optimizers(optimizer)]

    def covers(self, variables: Iterable[keras.Variable]) -> bool:
        known = {id(variable) for variable in self.variables}
        return all(id(variable) in known for variable in variables)

    def show(self, variables: Sequence[keras.Variable]) -> None:
        """Make the optimizer update these weights, in this order, with their slots."""
        for view in self._all():
            place = {id(variable): i for i, variable in enumerate(view.variables)}
            shown = [place[id(v)] for v in variables if id(v) in place]
            weights = [view.variables[i] for i in shown]
            slots = {n: [each[i] for i in shown] for n, each in view.slots.items()}
            set_optimizer_weights(view.optimizer, weights, slots)

    def show_all(self) -> None:
        """Make the optimizer update all the weights it was built for."""
        for view in self._all():
            set_optimizer_weights(view.optimizer, view.variables, view.slots)

    def start_averages(self, variables: Iterable[keras.Variable]) -> None:
        """Set the moving averages of these weights to the weights."""
        wanted = {id(variable) for variable in variables}
        for view in self._all():
            averages = view.slots.get(MOVING_AVERAGES, ())
            for variable, average in zip(view.variables, averages, strict=False):
                if id(variable) in wanted and average is not None:
                    average.assign(fetch(variable))

    def steps_per_update(self) -> int:
        """Return the number of batches after which all gradients are applied."""
        steps = [view.optimizer.gradient_accumulation_steps for view in self._all()]
        return math.lcm(*(step or 1 for step in steps))

    def holds_gradients(self) -> bool:
        """Return whether accumulated gradients have not been applied yet."""
        return any(
            optimizer_batches(view.optimizer)
            % (view.optimizer.gradient_accumulation_steps or 1)
            for view in self._all()
        )

    def _all(self) -> tuple["OptimizerView", ...]:
        return (self, *(view for part in self.parts for view in part._all()))


def rebuilt(optimizer: Any, model: keras.Model, variables: Sequence[Any]) -> Any:
    """Return an optimizer like this one, with its state, built for other weights."""
    kind = type(optimizer).__name__
    way_out = (
        "The schedule trains weights that were frozen when the optimizer was built, so "
        "it must be built again. Make all layers of the schedule trainable before "
        "model.compile, then it is used as it is."
    )
    _refuse_unknown_state(optimizer, way_out)
    try:
        with building_scope(model):
            new = type(optimizer).from_config(optimizer.get_config())
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"FreezeLayers cannot make a {kind} again from its configuration. {way_out}"
        ) from error
    if len(_inner_optimizers(new)) != len(_inner_optimizers(optimizer)):
        raise TypeError(f"A {kind} made from its configuration differs. {way_out}")
    _copy_settings(optimizer, new)
    with building_scope(model):
        new.build(variables)
    carry_state(optimizer, new)
    return new


def building_scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Return the scope in which variables of a model's optimizer must be created."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def carry_state(source: Any, target: Any) -> None:
    """Copy counters and, for the weights known to both optimizers, slots."""
    for name, variable in _globals(source).items():
        getattr(target, name).assign(fetch(variable))
    _carry_slots(source, target, lambda variable: variable)
    pairs = zip(_inner_optimizers(source), _inner_optimizers(target), strict=True)
    for inner_source, inner_target in pairs:
        carry_state(inner_source, inner_target)


def carry_moments(
    source: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    same: Mapping[int, tuple[str, keras.Variable | None]],
) -> tuple[str, ...]:
    """Copy the step count and moments of weights from the optimizer of `source`.

    The step count determines the bias correction of Adam and the position in a
    schedule. Weights that the source did not train start with zero moments, and so do
    accumulated gradients, which are not those of the new data. `same` maps
    the id of each weight of the optimizer to its path and to the corresponding weight
    of `source`, if any. Returns the paths of the weights with copied moments.
    """
    given, new = (
        plain_optimizer(getattr(source, "optimizer", None)),
        plain_optimizer(optimizer),
    )
    if given is None or not given.built:
        raise ValueError(
            f"optimizer_state_from={source.name!r} has no moments: its optimizer is "
            f"{given!r}. Pass a model that was compiled and trained."
        )
    if type(given) is not type(new) or getattr(given, "optimizers", None):
        raise TypeError(
            f"The moments of a {type(given).__name__} cannot be carried into a "
            f"{type(new).__name__}. Use the same, single optimizer, or leave "
            "`optimizer` out to take its configuration too."
        )
    _refuse_unknown_state(given, "Use another optimizer.")
    carried = _carry_slots(
        given, new, lambda variable: same[id(variable)][1], (ACCUMULATED_GRADIENTS,)
    )
    steps = int(fetch(given.iterations)) * (new.gradient_accumulation_steps or 1)
    set_optimizer_batches(new, steps)
    return tuple(same[id(variable)][0] for variable in carried)


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule = keras.saving.deserialize_keras_object(schedule)
        self.factor = factor

    def __call__(self, step: Any) -> Any:
        return self.factor * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "factor": self.factor}


def unbuilt_copy(optimizer: Any, **changed: Any) -> Any:
    """Return a new optimizer of this configuration, for the weights of another model.

    `exclude_from_weight_decay`, which no configuration holds, is copied.

    Raises:
        ValueError: If it excludes variables, which the other model does not have.
    """
    new = type(optimizer).from_config({**optimizer.get_config(), **changed})
    _copy_exclusions(optimizer, new)
    return new


def scaled_optimizer(pattern: Any, factor: float) -> Any:
    """Return a copy of an optimizer with its rate or schedule times `factor`."""
    config = pattern.get_config()
    inner = plain_optimizer(pattern)
    if inner is not pattern:
        scaled = scaled_optimizer(inner, factor)
        changed = {"inner_optimizer": keras.saving.serialize_keras_object(scaled)}
    else:
        rate = _rate_in(config, pattern)
        constant = isinstance(rate, (int, float))
        scaled = rate * factor if constant else ScaledSchedule(rate, factor)
        changed = {"learning_rate": scaled}
    return unbuilt_copy(pattern, **changed)


def first_rate(optimizer: Any) -> float:
    """Return the learning rate of the first step."""
    optimizer = plain_optimizer(optimizer)
    rate = _rate_in(optimizer.get_config(), optimizer)
    if isinstance(rate, (int, float)):
        return float(rate)
    return float(keras.optimizers.schedules.deserialize(rate)(0))


def _rate_in(config: Mapping[str, Any], optimizer: Any) -> Any:
    """Return the learning rate of a configuration: a number, or a schedule's own."""
    if "learning_rate" not in config:
        raise TypeError(
            "Expected an optimizer with one learning rate, such as Adam, to scale it. "
            f"Received {type(optimizer).__name__}."
        )
    return config["learning_rate"]


def plain_optimizer(optimizer: Any) -> Any:
    """Return the optimizer within a LossScaleOptimizer, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def batches_a_step(optimizer: Any) -> int:
    """Return of how many batches an optimizer adds the gradients before a step."""
    found = (
        getattr(one, "gradient_accumulation_steps", None)
        for one in (optimizer, plain_optimizer(optimizer))
    )
    return max(int(count or 1) for count in found)


def had_rate(optimizer: Any) -> bool:
    """Return whether any step of an optimizer had a learning rate other than 0.

    A schedule is asked at a few steps of the fit, since it may start or end at 0.
    """
    plain = plain_optimizer(optimizer)
    for part in getattr(plain, "optimizers", None) or [plain]:
        rate = learning_rate_of(part)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            last = max(optimizer_batches(part) - 1, 0)
            rates = [rate(step) for step in np.linspace(0, last, 8).astype(int)]
        else:
            rates = [part.learning_rate]
        if any(float(fetch(one)) for one in rates):
            return True
    return False


def _carry_slots(
    source: Any,
    target: Any,
    origin: Callable[[keras.Variable], keras.Variable | None],
    without: Collection[str] = (),
) -> list[keras.Variable]:
    """Copy the slots of all weights known to the source; return these weights."""
    old, new = optimizer_slots(source), optimizer_slots(target)
    places = {id(v): place for place, v in enumerate(optimizer_weights(source))}
    carried = []
    for place, variable in enumerate(optimizer_weights(target)):
        before = places.get(id(origin(variable)))
        if before is None:
            continue
        carried.append(variable)
        for name, entries in old.items():
            if name not in without and entries[before] is not None:
                new[name][place].assign(fetch(entries[before]))
    return carried


def _copy_settings(old: Any, new: Any) -> None:
    # Copy settings made by methods, such as exclude_from_weight_decay.
    for name, value in vars(old).items():
        items = value if isinstance(value, list) else [value]
        is_state = any(isinstance(item, keras.Variable) for item in items)
        if name not in vars(new) and not is_state:
            setattr(new, name, value)
    for inner_old, inner_new in zip(
        _inner_optimizers(old), _inner_optimizers(new), strict=True
    ):
        _copy_settings(inner_old, inner_new)


def _copy_exclusions(old: Any, new: Any) -> None:
    variables, pattern = excluded_from_weight_decay(old)
    if variables:
        raise ValueError(
            f"The {type(old).__name__} excludes {len(variables)} variable(s) from "
            "weight decay, which are not those of the copy of the model that trains. "
            "Give names: optimizer.exclude_from_weight_decay(var_names=['bias'])."
        )
    if pattern is not None:
        new.exclude_from_weight_decay(var_names=[pattern])
    pairs = zip(_inner_optimizers(old), _inner_optimizers(new), strict=True)
    for one, other in pairs:
        _copy_exclusions(one, other)


def _inner_optimizers(optimizer: Any) -> list[Any]:
    found = {
        id(item): item
        for value in vars(optimizer).values()
        for item in (value if isinstance(value, list | tuple) else [value])
        if isinstance(item, keras.optimizers.Optimizer)
    }
    return list(found.values())


def _globals(optimizer: Any) -> dict[str, keras.Variable]:
    values = vars(optimizer).items()
    return {name: value for name, value in values if isinstance(value, keras.Variable)}


def _refuse_unknown_state(optimizer: Any, way_out: str) -> None:
    known = {id(value) for value in _globals(optimizer).values()}
    for entries in optimizer_slots(optimizer).values():
        known.update(id(entry) for entry in entries)
    for inner in _inner_optimizers(optimizer):
        _refuse_unknown_state(inner, way_out)
        known.update(id(variable) for variable in inner.variables)
    lost = [v.path for v in optimizer.variables if id(v) not in known]
    if lost:
        kind = type(optimizer).__name__
        raise TypeError(
            f"The state of a {kind} cannot be carried over: it is not known to which "
            f"weight {', '.join(lost)} belong. {way_out}"
        )
