"""L2-SP penalty, which pulls trained weights towards their initial values."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_spectral_tl._graph.copies import unmasked
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import ModelLayers, fetch
from keras_spectral_tl._keras_internals import own_trainable_variables
from keras_spectral_tl.freezing._selection import LayerSelection
from keras_spectral_tl.transfer._samples import Samples


def loss_before(
    network: keras.Model, samples: Samples, loss: Any, batch_size: int = 8
) -> float:
    """Return the loss of a network on samples in its units, in inference mode.

    It is the mean over the samples or, of a loss with reduction="sum", over batches.
    """
    measure = keras.losses.get(keras.tree.flatten(loss)[0])
    outputs = predicted(network, samples.x)
    counted = unmasked(network, samples.x)
    is_sum = getattr(measure, "reduction", None) == "sum"
    batches = -(-len(samples) // batch_size) if is_sum else 1
    if counted is None:
        return float(fetch(keras.ops.mean(measure(samples.y, outputs)))) / batches
    if isinstance(measure, keras.losses.Loss):
        measure = measure.call  # without a mean
    y = samples.y.astype(outputs.dtype) if samples.y.dtype.kind == "f" else samples.y
    found = fetch(measure(*map(keras.ops.convert_to_tensor, (y, outputs))))
    points = counted.max(axis=-1)
    same = points.shape == found.shape
    if is_sum:
        return float(np.sum(found * points if same else found)) / batches
    return float(np.average(found, weights=points if same else None))


def refuse_pull_of_new_weights(pull: float) -> None:
    raise ValueError(
        "A pull draws weights to their initial values, which mean nothing if these are "
        f"new and random. Received pull={pull} with new weights: leave pull out."
    )


def squared_norms(network: ModelLayers, paths: Iterable[str]) -> dict[str, float]:
    """Return |theta_l0|^2 of the layer of each weight, 1 if it is 0."""
    layer_of = {path: path.rsplit("/", 1)[0] for path in paths}
    squares = {
        name: sum(
            float(np.sum(np.square(fetch(v), dtype=float)))
            for v in own_trainable_variables(network.layers[name])
        )
        for name in set(layer_of.values())
    }
    return {path: squares[name] or 1.0 for path, name in layer_of.items()}


@contextlib.contextmanager
def pulled(
    network: ModelLayers, selection: LayerSelection, size: float
) -> Iterator[None]:
    """Context manager that adds the L2-SP penalty to the loss of a network.

        size / 2 sum over layers l of |w_l - w_l0|^2 / |theta_l0|^2

    where w_l are the weights of layer l that train, w_l0 their current values, and
    theta_l0 all trainable weights of the layer, so that biases, often 0, are measured
    in units of their kernel, and size is the strength times the initial loss.
    Regularizers of the weights keep their effect.
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
        if chosen:  # functions that were compiled meanwhile contain the penalty
            model = network.model
            model.train_function = model.test_function = None


class _Pull:
    """Regularizer factor / 2 |w - w0|^2, added to the weight's own regularizer.

    w0 is the current value of the weight.
    """

    def __init__(self, variable: keras.Variable, factor: float, own: Any) -> None:
        self._start = np.array(fetch(variable))
        self._factor, self._own = factor, own

    def __call__(self, weight: Any) -> Any:
        moved = keras.ops.subtract(weight, self._start)
        penalty = self._factor / 2.0 * keras.ops.sum(keras.ops.square(moved))
        return penalty if self._own is None else penalty + self._own(weight)
