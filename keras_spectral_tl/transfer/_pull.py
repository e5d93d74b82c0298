"""Pull of the trained weights to their start (L2-SP)."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.layers import ModelLayers, fetch
from keras_spectral_tl._keras_internals import own_trainable_variables, predicted
from keras_spectral_tl.freezing._selection import LayerSelection
from keras_spectral_tl.transfer._samples import Samples


def loss_before(network: keras.Model, samples: Samples, loss: Any) -> float:
    """Return the loss of a network on samples, in inference mode.

    Args:
        network: A model of one output.
        samples: In the units of the network.
        loss: A loss of Keras, its name or a function.
    """
    measure = keras.losses.get(keras.tree.flatten(loss)[0])
    found = measure(samples.y, predicted(network, samples.x))
    return float(fetch(keras.ops.mean(found)))


def squared_norms(network: ModelLayers, paths: Iterable[str]) -> dict[str, float]:
    """Return |theta_l0|^2 of the layer l of each weight, 1 where all of it is 0.

    Args:
        network: The network as it is at the start.
        paths: Of the weights.
    """
    found: dict[str, float] = {}
    by_layer: dict[str, float] = {}
    for path in paths:
        name = path.rsplit("/", 1)[0]
        if name not in by_layer:
            by_layer[name] = sum(
                float(np.sum(np.square(fetch(v), dtype=float)))
                for v in own_trainable_variables(network.layers[name])
            )
        found[path] = by_layer[name] or 1.0
    return found


@contextlib.contextmanager
def pulled(
    network: ModelLayers, selection: LayerSelection, size: float
) -> Iterator[None]:
    """Add a penalty to the loss of a network for as long as it is trained.

        size / 2 sum over layers l of |w_l - w_l0|^2 / |theta_l0|^2

    with w_l the weights of a layer that train, w_l0 their values now, and theta_l0 all
    trainable weights of the layer, so that biases, often 0, are counted in the units of
    their kernel. Regularizers that weights have of themselves count as before.

    Args:
        network: The network, under the names of the selection.
        selection: The weights to train.
        size: Strength times the loss before; nothing is added where it is 0.
    """
    chosen = [] if size == 0.0 else list(selection.variables)
    before = {path: network.weights[path].regularizer for path in chosen}
    try:
        for path, norm in squared_norms(network, chosen).items():
            variable = network.weights[path]
            variable.regularizer = _Pull(variable, size / norm, before[path])
        yield
    finally:
        for path, own in before.items():
            network.weights[path].regularizer = own


class _Pull:
    """The penalty factor / 2 |w - w0|^2, beside the regularizer of the weight.

    Args:
        variable: The weight, whose value now is w0.
        factor: Its size.
        own: A regularizer that the weight has already, or None.
    """

    def __init__(self, variable: keras.Variable, factor: float, own: Any) -> None:
        self._start = np.array(fetch(variable))
        self._factor, self._own = factor, own

    def __call__(self, weight: Any) -> Any:
        """Return the penalty for a value of the weight."""
        moved = keras.ops.subtract(weight, self._start)
        penalty = self._factor / 2.0 * keras.ops.sum(keras.ops.square(moved))
        return penalty if self._own is None else penalty + self._own(weight)
