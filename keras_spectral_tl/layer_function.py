"""A network as a function of the weights of some layers, free of side effects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.introspection import (
    fetch,
    layers_with_weights,
    own_trainable_variables,
    resolve_layer_name,
)

Array = NDArray[np.float64]


class LayerFunction:
    """`(weights of some layers, x) -> output` of a model in inference mode.

    Args:
        model: a built Keras model; not changed.
        layers: name of a layer with trainable weights, see
            `layers_with_weights`, or several.

    Attributes:
        layers: the layers.
        label: their names, for messages.
        variables: the weights that training changes, frozen or not.
        values: their values when this was made.
        compiled: what was compiled of it, for whoever needs the same again.

    Raises:
        KeyError: if there is no such layer.
        ValueError: if the layers have no weights that training changes.

    Example:
        >>> dense = keras.layers.Dense(1, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> function = LayerFunction(model, "linear")
        >>> [part.shape for part in function.split(np.zeros(function.num_parameters))]
        [(2, 1), (1,)]
    """

    def __init__(
        self,
        model: keras.Model,
        layers: str | Sequence[str],
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        names = [layers] if isinstance(layers, str) else layers
        self.layers: tuple[keras.Layer, ...] = ()
        if variables is None:
            named = layers_with_weights(model)
            self.layers = tuple(named[resolve_layer_name(model, n)] for n in names)
            variables = [v for la in self.layers for v in own_trainable_variables(la)]
        own = set(map(id, variables))
        # Frozen flags move variables between Keras's two lists, so ask for all.
        self.variables = [v for v in model.variables if id(v) in own]
        self.label = ", ".join(map(repr, names))
        if not self.variables:
            raise ValueError(
                f"Layer {self.label} of model {model.name!r} holds statistics but no "
                "trainable weights, so there is nothing to linearise. Choose another."
            )
        # Copies: on some backends `fetch` gives a view that training writes to.
        self.values = [np.array(fetch(variable)) for variable in self.variables]
        self.compiled: dict[str, Any] = {}
        self._model = model
        self._sizes = [int(np.prod(value.shape)) for value in self.values]

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return sum(self._sizes)

    def __call__(self, values: Sequence[Any], x: Any) -> Any:
        """Returns the output for these values of the weights, in single precision."""
        # Not stateless_call: it hands `training` to models that do not take it.
        mapping = list(zip(self.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            outputs = self._model(x, training=False)
        # Mixed precision models answer in half precision; sums of products need more.
        return keras.ops.cast(outputs, "float32")

    def split(self, flat: Array) -> list[NDArray[Any]]:
        """Returns a flat vector as arrays of the shapes and type of the weights."""
        dtype = keras.backend.standardize_dtype(self.variables[0].dtype)
        pieces = np.split(flat.astype(dtype), np.cumsum(self._sizes)[:-1])
        return [
            piece.reshape(value.shape)
            for piece, value in zip(pieces, self.values, strict=True)
        ]

    def outputs(self, values: Array, x: Any, batch_size: int) -> Array:
        """Returns the output for flat values of the weights, in double precision."""
        parts = [keras.ops.convert_to_tensor(part) for part in self.split(values)]
        fetched = [
            keras.ops.convert_to_numpy(self(parts, batch))
            for _, batch in batches(x, batch_size)
        ]
        return np.concatenate(fetched).astype(np.float64)


def flatten(parts: Sequence[Any]) -> Array:
    """Returns arrays as one flat vector in double precision."""
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


def batches(x: Any, batch_size: int) -> Iterator[tuple[slice, Any]]:
    """Yields rows and inputs of each batch; `x` is an array or a nest of arrays."""
    num_samples = len(keras.tree.flatten(x)[0])
    for start in range(0, num_samples, batch_size):
        rows = slice(start, start + batch_size)
        yield rows, keras.tree.map_structure(operator.itemgetter(rows), x)


def for_backend(makers: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Returns the maker of derivatives for the Keras backend in use.

    Raises:
        ValueError: if there is none.
    """
    backend = keras.backend.backend()
    if backend not in makers:
        raise ValueError(
            f"the Keras backend {backend!r} has no automatic differentiation here; "
            f"expected one of {sorted(makers)}. Set KERAS_BACKEND."
        )
    return makers[backend]


def torch_inputs(x: Any) -> Any:
    """Returns a batch as tensors, a single sample twice.

    PyTorch refuses ("grad_weight must be contiguous") the gradient of a convolution to
    one channel where the batch has one sample and the kernel three points a side.
    """

    def doubled(part: Any) -> Any:
        tensor = keras.ops.convert_to_tensor(part)
        return keras.ops.concatenate([tensor] * 2) if len(tensor) == 1 else tensor

    return keras.tree.map_structure(doubled, x)


def densified(gradients: Sequence[Any]) -> list[Any]:
    """Returns TensorFlow's gradients as tensors: that of an embedding is sparse."""
    import tensorflow as tf

    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def traced_by_tensorflow(product: Callable[..., Any], *batched: bool) -> Any:
    """Compiles a function on its first call, for any number of samples.

    Args:
        product: the function.
        *batched: for each argument, whether its arrays have samples on axis 0.
    """
    import tensorflow as tf

    compiled: list[Any] = []

    def specification(argument: Any, free: bool) -> Any:
        def of_array(part: NDArray[Any]) -> Any:
            shape = (None, *part.shape[1:]) if free else part.shape
            return tf.TensorSpec(shape, part.dtype)

        return keras.tree.map_structure(of_array, argument)

    def call(*arguments: Any) -> Any:
        if not compiled:
            signature = list(map(specification, arguments, batched))
            compiled.append(tf.function(product, input_signature=signature))
        return compiled[0](*arguments)

    return call
