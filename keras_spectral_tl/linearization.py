"""Gradient and Jacobian of a model with respect to the weights of some layers."""

import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.layers import ModelLayers, batches, fetch
from keras_spectral_tl._keras_internals import own_trainable_variables

Array = NDArray[np.float64]

# Half precision has two to three digits; a missing branch gives larger errors.
_ADJOINT = 0.05

# Layers may keep values of a call as attributes, so one thread at a time runs their
# code, eagerly or to trace it.
_CALLS = threading.RLock()

BACKENDS = ("tensorflow", "jax", "torch")


class LayerFunction:
    """A model as a function `(weights of some layers, x) -> output`, in inference mode.

    `variables` are the weights, if not all weights of the layers; the names of the
    layers are then used only in messages.

    Attributes:
        layers: The layers; empty if `variables` are given.
        label: Their names, for messages.
        variables: The weights that training changes, frozen or not.
        values: Their values at construction.
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
            named = ModelLayers.of(model)
            self.layers = tuple(named.layers[named.known(name)] for name in names)
            variables = [v for la in self.layers for v in own_trainable_variables(la)]
        own = set(map(id, variables))
        # Flags move variables between Keras' two lists, so use both lists.
        self.variables = [v for v in model.variables if id(v) in own]
        self.label = ", ".join(map(repr, names))
        if not self.variables:
            raise ValueError(
                f"Layer {self.label} of model {model.name!r} holds statistics but no "
                "trainable weights, so there is nothing to linearize. Choose another."
            )
        # Copy, because on some backends `fetch` returns a view that training changes.
        self.values = [np.array(fetch(variable)) for variable in self.variables]
        self._model = model
        self._sizes = [int(np.prod(value.shape)) for value in self.values]

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return sum(self._sizes)

    @property
    def start(self) -> Array:
        """The weights at construction, as a flat vector."""
        return flatten(self.values)

    def __call__(self, values: Sequence[Any], x: Any) -> Any:
        """Return the output for these values of the weights, in single precision."""
        # Not stateless_call, which passes `training` to models without this argument.
        mapping = list(zip(self.variables, values, strict=True))
        with _CALLS, keras.StatelessScope(state_mapping=mapping):
            outputs = _only_output(self._model, self._model(x, training=False))
        # Mixed-precision models return half precision; sums of products need more.
        return keras.ops.cast(outputs, "float32")

    def split(self, flat: Array) -> list[NDArray[Any]]:
        """Return a flat vector as arrays of the shapes and type of the weights."""
        dtype = keras.backend.standardize_dtype(self.variables[0].dtype)
        pieces = np.split(flat.astype(dtype), np.cumsum(self._sizes)[:-1])
        return [
            piece.reshape(value.shape)
            for piece, value in zip(pieces, self.values, strict=True)
        ]

    def outputs(self, values: Array, x: Any, batch_size: int) -> Array:
        """Return the output for flat values of the weights, in double precision."""
        parts = [keras.ops.convert_to_tensor(part) for part in self.split(values)]
        found = [fetch(self(parts, batch)) for _, batch in batches(x, batch_size)]
        return np.concatenate(found).astype(np.float64)

    def gradient(self, values: Array, x: Any, y: Array, weight: Array) -> Array:
        """Return the gradient of `sum w (f(x; v) - y)^2` in v, flat, as float64."""
        y, weight = y.astype("float32"), weight.astype("float32")
        gradient = self._gradient
        try:
            return flatten(gradient(self.split(values), x, y, weight))
        except Exception as error:
            raise ValueError(
                f"the {keras.backend.backend()} backend failed to differentiate the "
                f"model in the weights of layer {self.label}: "
                f"{type(error).__name__}: {str(error) or 'no message'!s:.300}"
            ) from error

    @functools.cached_property
    def _gradient(self) -> Callable[..., Any]:
        gradient: Callable[..., Any] = backend().derivatives(self, _squared_error)[1]
        return gradient


def _squared_error(outputs: Any, y: Any, weight: Any) -> Any:
    return keras.ops.sum(weight * (outputs - y) ** 2)


def inner_product(outputs: Any, cotangent: Any) -> Any:
    """Return the sum of products, whose gradient is `J^T cotangent`."""
    return keras.ops.sum(outputs * cotangent)


def backend() -> Any:
    """Return the module with the derivatives for the Keras backend in use."""
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise ValueError(
            f"The Keras backend {name!r} has no automatic differentiation here; "
            f"expected one of {BACKENDS}. Set KERAS_BACKEND before importing keras."
        )
    return importlib.import_module(f"keras_spectral_tl._autodiff.{name}")


def compiled_forward(model: keras.Model) -> Callable[[Any], NDArray[np.float32]]:
    """Return the inference pass of a model as a compiled function of arrays.

    It is compiled on TensorFlow and JAX, eager without gradients on torch. Weights are
    read at each call, so training the model further changes the results.
    """

    def forward(x: Any) -> Any:
        return keras.ops.cast(_only_output(model, model(x, training=False)), "float32")

    if getattr(model, "outputs", None):
        _only_output(model, model.outputs)
    compiled: Callable[[Any], NDArray[np.float32]]
    compiled = backend().inference(forward, lambda: model.variables)
    return compiled


def _only_output(model: keras.Model, outputs: Any) -> Any:
    tensors = keras.tree.flatten(outputs)
    if len(tensors) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(tensors)} outputs; expected one. Make a "
            "model of the one to use: keras.Model(model.inputs, model.outputs[0])"
        )
    return tensors[0]


def flatten(parts: Sequence[Any]) -> Array:
    """Return arrays as one flat vector in double precision."""
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])


class LayerLinearization:
    """The Jacobian J of a model's output with respect to one layer's weights.

        f(x; theta + d) = f(x; theta) + J d + O(|d|^2)

    J is never formed: `apply` uses forward mode, `apply_transpose` reverse mode, each
    at about the cost of two forward passes. Batches are computed one by one, so memory
    holds one batch. Inference mode (no dropout, frozen statistics). The weights are
    those at construction, those of other layers on JAX those at the first product: make
    a new object after they change.

    Args:
        model: A built Keras model; not changed.
        layer: Name of a layer with trainable weights.
        batch_size: Samples computed at once.

    Raises:
        KeyError: If there is no such layer.
        ValueError: If the layer has no weights that training changes; on the first
            product, if the backend cannot differentiate the model.

    Example:
        >>> dense = keras.layers.Dense(1, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> jacobian = LayerLinearization(model, "linear")
        >>> jacobian.apply(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0]]))
        array([[6.]])
    """

    def __init__(self, model: keras.Model, layer: str, batch_size: int = 32) -> None:
        self.batch_size = batch_size
        self._function = LayerFunction(model, layer)
        self._jvp = backend().pushforward(self._function, self._function.values)
        self._vjp = backend().derivatives(self._function, inner_product)[1]
        self._layer, self._checked = layer, False
        self._output_shapes: dict[tuple[Any, ...], tuple[int, ...]] = {}

    @property
    def num_parameters(self) -> int:
        """Number of weights, the length of a direction."""
        return self._function.num_parameters

    def apply(self, direction: Array, x: NDArray[np.floating]) -> Array:
        """Return `J direction`, of the shape of the model's output on `x`.

        Args:
            direction: Flat change of the weights, shape `(num_parameters,)`.
            x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        """
        if not self._checked:
            self._check_products(next(batches(x, self.batch_size))[1])
        tangents = self._function.split(direction)
        parts = [self._jvp(tangents, batch) for _, batch in batches(x, self.batch_size)]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def apply_transpose(self, cotangent: Array, x: NDArray[np.floating]) -> Array:
        """Return `J^T cotangent`, flat, summed over the samples.

        Args:
            cotangent: Array of the shape of the model's output on `x`.
            x: Inputs, shape `(samples, ...)`.

        Raises:
            ValueError: If the cotangent has another shape.
        """
        total, values = np.zeros(self.num_parameters), self._function.values
        inputs = keras.tree.flatten(x)
        grids = tuple(np.shape(part)[1:] for part in inputs)
        if grids not in self._output_shapes:
            one = self._function(values, next(batches(x, 1))[1])
            self._output_shapes[grids] = tuple(one.shape)[1:]
        shape = (len(inputs[0]), *self._output_shapes[grids])
        if np.shape(cotangent) != shape:
            raise ValueError(
                f"Expected a cotangent of the shape of the output, {shape}. Received "
                f"the shape {np.shape(cotangent)}."
            )
        for rows, batch in batches(x, self.batch_size):
            part = cotangent[rows].astype("float32")
            total += flatten(self._vjp(values, batch, part))
        return total

    def _check_products(self, batch: NDArray[np.floating]) -> None:
        def push(direction: Array) -> Array:
            pushed = self._jvp(self._function.split(direction), batch)
            return np.asarray(pushed, np.float64)

        try:
            shape = np.shape(push(np.zeros(self.num_parameters)))
        except Exception as error:
            raise ValueError(refusal("failed to compute", self._layer)) from error
        check_adjoint(
            push, lambda c: self.apply_transpose(c, batch), shape, self._layer
        )
        self._checked = True


def check_adjoint(
    push: Callable[[Array], Array],
    pull: Callable[[Array], Array],
    shape: tuple[int, ...],
    layer: str,
) -> None:
    """Raise ValueError if a backend drops an operation from the forward product.

    With g = J^T r for a random r of the shape of the output, `<r, J g> = |g|^2` holds
    for every J. `push` is `d -> J d`, `pull` is `r -> J^T r`.
    """
    cotangent = np.random.default_rng(0).standard_normal(shape).astype("float32")
    try:
        gradient = pull(cotangent)
        image = np.asarray(push(gradient), np.float64)
    except Exception as error:
        raise ValueError(refusal("failed to compute", layer)) from error
    square = float(gradient @ gradient)
    if abs(float(np.sum(cotangent * image)) - square) > _ADJOINT * square:
        raise ValueError(refusal("wrongly computes", layer))


def refusal(what: str, layer: str) -> str:
    """Return the error message for a derivative that the backend lacks."""
    return (
        f"the {keras.backend.backend()} backend {what} the derivative of the "
        f"output in the direction of layer {layer!r}: it has no second "
        "derivative of some operation behind it, on TensorFlow bilinear resizing "
        "for example. Use another operation (nearest-neighbour resizing, a "
        "transposed convolution) or set KERAS_BACKEND=jax."
    )
