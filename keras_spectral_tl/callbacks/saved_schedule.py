"""What a resumed fit must know of a schedule, saved wherever the optimizer is saved."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import introspection

_KEY = "json"
_RANDOM = "random_state_"


class SavedSchedule(keras.Layer):
    """Where a fit stands in its schedule, as part of every file of weights.

    Keras saves each object that a model or optimizer holds as an attribute. Kept there,
    the state is in the same file as the weights it belongs to, so no kill can part the
    two. It is a layer only because layers may say how they are saved. The states of the
    random generators (of dropout) are saved too, which Keras leaves out.

    Args:
        random_states: Returns these states, always in the same order.
        undo: Puts the model back as it was before the fit; for the next fit, should an
            exception end this one.
    """

    def __init__(
        self,
        random_states: Callable[[], Sequence[keras.Variable]],
        undo: Callable[[], None],
    ) -> None:
        super().__init__(name="freeze_layers")
        # As text and as a callable: Keras tracks dicts and variables set on a layer.
        self._text = "{}"
        self._loaded: str | None = None
        self._random_states = random_states
        self.undo = undo

    def note(self, **state: Any) -> None:
        """Set what the next save writes: plain values, as in JSON."""
        self._text = json.dumps(state)

    def take_loaded(self) -> dict[str, Any] | None:
        """Return what was loaded since the last call, None if nothing was."""
        text, self._loaded = self._loaded, None
        return None if text is None else json.loads(text)

    def save_own_variables(self, store: Any) -> None:
        """Write the state as bytes of JSON."""
        store[_KEY] = np.frombuffer(self._text.encode(), dtype=np.uint8)
        for i, variable in enumerate(self._random_states()):
            store[f"{_RANDOM}{i}"] = introspection.fetch(variable)

    def load_own_variables(self, store: Any) -> None:
        """Read the state; a file written without the callback has none."""
        if _KEY in store.keys():  # noqa: SIM118 (the store is no mapping)
            self._loaded = np.asarray(store[_KEY], dtype=np.uint8).tobytes().decode()
            for i, variable in enumerate(self._random_states()):
                variable.assign(store[f"{_RANDOM}{i}"])
