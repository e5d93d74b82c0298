"""Carry the moments of one optimizer into another, weight by weight."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_spectral_tl import introspection

_NOT_SLOTS = ("_variables", "_trainable_variables")


def carry_state(
    source: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    same: Mapping[int, tuple[str, keras.Variable]],
) -> tuple[str, ...]:
    """Copy step count and, weight by weight, moments from the optimizer of `source`.

    The step count decides the bias correction of Adam and the place in a schedule.
    Weights that the source did not train start with zero moments.

    Args:
        source: A compiled model that has been trained.
        optimizer: A built optimizer of the same class; changed in place.
        same: For the id of each weight of `optimizer`: its path, and the weight of
            `source` that corresponds to it.

    Returns:
        The paths of the weights whose moments were carried.

    Raises:
        TypeError: If the classes differ or the state is not kept weight by weight.
        ValueError: If the source has no optimizer, or one that was never used.
    """
    given = _plain(getattr(source, "optimizer", None))
    new = _plain(optimizer)
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
    old_slots, new_slots = _slots(given), _slots(new)
    places = {id(v): place for place, v in enumerate(given._trainable_variables)}
    carried = []
    for place, variable in enumerate(new._trainable_variables):
        path, origin = same[id(variable)]
        if id(origin) in places:
            carried.append(path)
            for name in new_slots:
                entry = old_slots[name][places[id(origin)]]
                if entry is not None:
                    new_slots[name][place].assign(introspection.fetch(entry))
    new.iterations.assign(introspection.fetch(given.iterations))
    return tuple(carried)


def _plain(optimizer: Any) -> Any:
    return getattr(optimizer, "inner_optimizer", optimizer)


def _slots(optimizer: Any) -> dict[str, list[Any]]:
    # A slot list has one entry a weight, in the order the optimizer was built with.
    count = len(optimizer._trainable_variables)
    slots = {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, list)
        and name not in _NOT_SLOTS
        and len(value) == count
        and any(isinstance(entry, keras.Variable) for entry in value)
    }
    known = {id(entry) for value in slots.values() for entry in value}
    known |= {id(v) for v in vars(optimizer).values() if isinstance(v, keras.Variable)}
    lost = [v.path for v in optimizer.variables if id(v) not in known]
    if lost:
        raise TypeError(
            f"The state of a {type(optimizer).__name__} cannot be carried: it is not "
            f"known to which weight {', '.join(lost)} belong. Use another optimizer."
        )
    return slots
