"""What a resumed fit must know of a schedule, saved wherever the optimizer is saved."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import introspection

_KEY = "json"
_RANDOM = "random_state_"
_TORCH = "torch_random_state_"


class SavedSchedule(keras.Layer):
    """Where a fit stands in its schedule, as part of every file of weights.

    Keras saves each object that a model or optimizer holds as an attribute. Kept there,
    the state is in the same file as the weights it belongs to, so no kill can part the
    two. It is a layer only because layers may say how they are saved. The states of the
    random generators (of dropout) are saved too, which Keras leaves out; on torch also
    those of torch itself, from which Keras draws where a layer has no seed.

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
        for i, state in enumerate(_torch_states()):
            store[f"{_TORCH}{i}"] = state

    def load_own_variables(self, store: Any) -> None:
        """Read the state; a file written without the callback has none."""
        if _KEY in store.keys():  # noqa: SIM118 (the store is no mapping)
            self._loaded = np.asarray(store[_KEY], dtype=np.uint8).tobytes().decode()
            for i, variable in enumerate(self._random_states()):
                variable.assign(store[f"{_RANDOM}{i}"])
            _set_torch_states(store)


def _torch_states() -> list[np.ndarray]:
    """Return the states of torch's own generators: of the CPU, then of each GPU."""
    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return [state.cpu().numpy() for state in states]


def _set_torch_states(store: Any) -> None:
    states = []
    while f"{_TORCH}{len(states)}" in store.keys():  # noqa: SIM118
        states.append(np.asarray(store[f"{_TORCH}{len(states)}"], np.uint8))
    if keras.backend.backend() != "torch" or not states:
        return
    import torch

    torch.set_rng_state(torch.from_numpy(states[0]))
    if len(states) - 1 == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in states[1:]])
