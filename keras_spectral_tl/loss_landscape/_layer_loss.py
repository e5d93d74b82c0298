"""The loss of a model as a function of the weights of one layer."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import check_finite
from keras_spectral_tl._graph.calls import check_names
from keras_spectral_tl._graph.copies import called, fewest_samples, mask_of
from keras_spectral_tl._graph.layers import (
    axes_of_filter,
    batches,
    is_kernel,
    rows_of,
    trainable_layer_names,
)
from keras_spectral_tl._results import ByLayer
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.linearization import (
    LayerFunction,
    LayerLinearization,
    backend,
    flatten,
    refusal,
)
from keras_spectral_tl.loss_landscape._landscapes import (
    HessianEnds,
    LayerLandscape,
    hessian_ends,
)

Array = NDArray[np.float64]
Loss = Callable[[Any, Any], Any]

# Keras' losses of the difference of outputs and targets, which it may broadcast.
_POINTWISE: tuple[Any, ...] = (
    keras.losses.mean_squared_error,
    keras.losses.mean_absolute_error,
    keras.losses.MeanSquaredError,
    keras.losses.MeanAbsoluteError,
    keras.losses.Huber,
    keras.losses.LogCosh,
)


class LayerLoss:
    """Loss, gradient and Hessian products in the weights of one layer of a model.

        L(theta + d) = mean over samples of loss(y, f(x; theta + d))

    with d a flat vector and all other weights fixed, in inference mode, so without
    dropout, and without regularization of layers. Sums over batches are in double
    precision, each batch in the model's own. The model is not changed. Make a new
    object after other layers change: on JAX, each method keeps their weights from its
    first call.

    Args:
        model: A built Keras model.
        layer: Name of a layer with trainable weights.
        x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        y: Targets, shape `(samples, ...)`.
        loss: `(y, outputs) -> values`, whose mean over a batch is taken; a Keras loss
            or the name of one.
        batch_size: Samples computed at once.

    Raises:
        KeyError: If there is no such layer.
        ValueError: If the layer has no weights that training changes, `x` and `y` are
            empty, differ in their numbers of samples, are not finite or are a dict of
            other names than the inputs, `y` has other sizes than the outputs, these
            have a mask, or the loss is a sum over samples.

    Example:
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((1,)), dense])
        >>> dense.set_weights([np.array([[2.0]])])
        >>> x = np.array([[1.0], [3.0]], "float32")
        >>> loss = LayerLoss(model, "linear", x, 0 * x)  # L = 5 (2 + d)^2
        >>> loss.value(), loss.gradient(), loss.hessian_product(np.ones(1))
        (20.0, array([20.]), array([10.]))
    """

    def __init__(
        self,
        model: keras.Model,
        layer: str,
        x: Any,
        y: Any,
        loss: Loss | str = keras.losses.mean_squared_error,
        batch_size: int = 32,
    ) -> None:
        loss = keras.losses.get(loss) if isinstance(loss, str) else loss
        if getattr(loss, "reduction", None) == "sum":
            raise ValueError(
                "Expected a loss that is a mean over samples, since batches are "
                "averaged. Received one with reduction='sum': use "
                "'sum_over_batch_size'."
            )
        self.function = LayerFunction(model, layer)
        self.layer = layer
        self._model, self._checked = model, False
        self.batch_size = batch_size
        check_names(model, x)
        self._x = keras.tree.map_structure(np.asarray, x)
        self._y = np.asarray(y)
        self._num_samples = _checked_count(self._x, self._y)
        _check_outputs(model, self._x, self._y, loss)

        def mean_loss(outputs: Any, targets: Any) -> Any:
            return keras.ops.mean(loss(keras.ops.cast(targets, outputs.dtype), outputs))

        self._value, self._gradient, self._product = backend().derivatives(
            self.function, mean_loss
        )

    @property
    def weights(self) -> Array:
        """The layer's weights theta, flat."""
        return flatten(self.function.values)

    def value(self, change: Array | None = None) -> float:
        """Return `L(theta + change)`."""
        return float(self._mean(self._value, self._moved(change))[0])

    def gradient(self, change: Array | None = None) -> Array:
        """Return the gradient of L at `theta + change`, flat."""
        return self._mean(self._gradient, self._moved(change))

    def hessian_product(self, direction: Array, change: Array | None = None) -> Array:
        """Return `H direction`, H the Hessian of L at `theta + change`.

        Kinks of activations are ignored: for a ReLU network with a squared error H is
        the Gauss-Newton matrix.

        Raises:
            ValueError: If the backend lacks a second derivative of an operation.
        """
        tangents = self.function.split(direction)
        self._check_backend()
        try:
            return self._mean(self._product, self._moved(change), tangents)
        except (LookupError, NotImplementedError) as error:
            raise ValueError(refusal("failed to compute", self.layer)) from error

    def hessian_ends(
        self,
        count: int = 3,
        scales: Array | None = None,
        *,
        tolerance: float = 1e-3,
        seed: int = 0,
    ) -> HessianEnds:
        """Compute the extreme eigenvalues of the Hessian of the layer's weights.

        The matrix is ``D H D`` with D the diagonal of ``scales``. Without scales it is
        H itself, whose eigenvalues change when ReLU layers are rescaled without
        changing the function. With `filter_scales` they are curvatures for changes
        relative to the filters, which are invariant: compare layers by these.

        The method is Lanczos iteration (ARPACK,
        https://doi.org/10.1137/1.9780898719628) on Hessian products. The smallest
        eigenvalue follows from the largest of ``largest - H``, so its error is also
        relative to the largest.

        Args:
            count: Number of largest eigenvalues.
            scales: (num_parameters,); by default ones.
            tolerance: Relative error at which the iteration stops; products are in
                single precision.
            seed: Seed of the start vector.

        Raises:
            ValueError: If there are fewer weights than ``count``.
            RuntimeError: If the iteration does not converge.

        Example:
            >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
            >>> model = keras.Sequential([keras.Input((2,)), dense])
            >>> x = np.array([[2.0, 0.0], [0.0, 1.0]], "float32")
            >>> ends = LayerLoss(model, "linear", x, np.ones((2, 1))).hessian_ends(1)
            >>> ends.largest.round(5), round(ends.smallest, 5)  # mean of x^2, twice
            (array([4.]), 1.0)
        """
        number = self.function.num_parameters
        if not 1 <= count <= number:
            raise ValueError(
                f"Layer {self.layer!r} has {number} weights and so as many "
                f"eigenvalues. Received count={count}."
            )
        diagonal = np.ones(number) if scales is None else scales
        return hessian_ends(self.hessian_product, diagonal, count, tolerance, seed)

    def filter_scales(self) -> Array:
        """Return for each weight the norm of the filter it belongs to, flat.

        A filter is the weights of one output channel (or of one channel of a depthwise
        kernel), after Li et al. 2018, https://arxiv.org/abs/1712.09913. Biases and
        other vectors get 0, so that the directions of this class do not change them,
        unless the layer has nothing else; then each vector counts as one filter.

        Example:
            >>> dense = keras.layers.Dense(2, name="dense")
            >>> model = keras.Sequential([keras.Input((2,)), dense])
            >>> dense.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]]), np.ones(2)])
            >>> ones = np.ones((1, 2))
            >>> LayerLoss(model, "dense", ones, ones).filter_scales()
            array([5., 1., 5., 1., 0., 0.])
        """
        return self._filter_norms(self.weights)

    def random_direction(self, seed: int = 0) -> Array:
        """Draw a random flat direction whose filters have the norms of the layer's."""
        draws = np.random.default_rng(seed).standard_normal(
            self.function.num_parameters
        )
        return self._normalized(draws)

    def gradient_direction(self) -> Array:
        """Return the gradient, each filter scaled to the norm of the layer's filter.

        The gradient of each filter keeps its direction. The loss initially increases
        along it, since ``<gradient, d> = sum |gradient of filter| |filter|``. It is 0
        where the gradient is 0.
        """
        return self._normalized(self.gradient())

    def surface(self, first: Array, second: Array, steps: Array) -> Array:
        """Compute the loss on a plane through the model.

        Args:
            first: Direction of axis 0, flat.
            second: Direction of axis 1, flat.
            steps: (steps,) along each.

        Returns:
            ``L(theta + steps[i] first + steps[j] second)``, (steps, steps).
        """
        return np.array(
            [[self.value(a * first + b * second) for b in steps] for a in steps]
        )

    def landscape(
        self,
        steps: Array | None = None,
        *,
        num_random: int = 2,
        num_eigenvalues: int = 3,
        seed: int = 0,
    ) -> LayerLandscape:
        """Compute the loss along the gradient and random directions, and its curvature.

        Args:
            steps: Increasing, at least three; by default 17 in [-1, 1].
            num_random: Number of random directions.
            num_eigenvalues: Number of largest eigenvalues of the Hessian.
            seed: Seed of the directions.

        Raises:
            ValueError: If the loss is not finite along a line, and as `hessian_ends`.
        """
        places = np.linspace(-1, 1, 17) if steps is None else np.asarray(steps)
        directions = {"gradient": self.gradient_direction()}
        for number in range(num_random):
            directions[f"random {number + 1}"] = self.random_direction(seed + number)
        lines = {
            name: np.array([self.value(step * direction) for step in places])
            for name, direction in directions.items()
        }
        size = self.function.num_parameters
        count = min(num_eigenvalues, size)
        curvature = self.hessian_ends(count, self.filter_scales(), seed=seed)
        return LayerLandscape(size, self.value(), places, lines, curvature)

    def _normalized(self, direction: Array) -> Array:
        """Scale each filter of a direction to the norm of the layer's filter."""
        size = self._filter_norms(direction)
        unit = direction / np.where(size > 0, size, 1.0)
        return np.asarray(np.where(size > 0, unit, 0.0) * self.filter_scales())

    def _filter_norms(self, flat: Array) -> Array:
        """Return for each weight the norm of its filter in a flat vector."""
        function = self.function
        every = list(zip(function.variables, function.values, strict=True))
        has_filters = any(is_kernel(variable) for variable, _ in every)
        norms, start = [], 0
        for variable, value in every:
            part = flat[start : start + value.size].reshape(value.shape)
            start += value.size
            axes = axes_of_filter(function.layers[0], variable)
            squares = np.sum(part**2, axis=axes, keepdims=True)
            is_moved = is_kernel(variable) or not has_filters
            size = np.broadcast_to(np.sqrt(squares) * is_moved, value.shape)
            norms.append(size.ravel())
        return np.concatenate(norms)

    def _check_backend(self) -> None:
        """Raise ValueError if TensorFlow would silently set second derivatives to 0."""
        if not self._checked and keras.backend.backend() == "tensorflow":
            first = next(batches(self._x, self.batch_size))[1]
            jacobian = LayerLinearization(self._model, self.layer, self.batch_size)
            jacobian.apply(np.zeros(self.function.num_parameters), first)
        self._checked = True

    def _moved(self, change: Array | None) -> list[NDArray[Any]]:
        if change is None:
            return self.function.values
        return self.function.split(self.weights + change)

    def _mean(self, compute: Callable[..., Any], *weights: Any) -> Array:
        """Return the mean over samples of the results of `compute` for each batch."""
        total: Array = np.zeros(1)
        for rows, x in batches(self._x, self.batch_size):
            y = self._y[rows]
            total = total + flatten(compute(*weights, x, y)) * len(y)
        return total / self._num_samples


def _checked_count(x: Any, y: NDArray[Any]) -> int:
    counts = {len(part) for part in [*keras.tree.flatten(x), y]}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "A loss needs as many targets as inputs, at least one. Received "
            f"{sorted(counts)} samples."
        )
    for name, parts in (("x", keras.tree.flatten(x)), ("y", [y])):
        for part in parts:
            check_finite(name, part, " A loss needs finite samples.")
    return counts.pop()


def _check_outputs(model: keras.Model, x: Any, y: NDArray[Any], loss: Any) -> None:
    """Raise ValueError unless the mean of a loss over all outputs is meant."""
    outputs = called(model, rows_of(x, slice(0, fewest_samples(model))))
    if mask_of(outputs) is not None:
        raise ValueError(
            f"The outputs of model {model.name!r} have a mask (from Masking, or an "
            "Embedding with mask_zero), but this loss is a mean over all of them. Pass "
            "samples without padding to a model without a mask."
        )
    shape = tuple(getattr(outputs, "shape", ()))[1:]
    is_pointwise = loss in _POINTWISE or type(loss) in _POINTWISE
    if shape and is_pointwise and math.prod(shape) != math.prod(y.shape[1:]):
        raise ValueError(
            f"Expected targets of shape {shape}, as the outputs of model "
            f"{model.name!r}. Received samples of y of shape {y.shape[1:]}."
        )


def loss_landscapes(
    model: keras.Model,
    x: Any,
    y: Any,
    layers: Selector | None = None,
    *,
    loss: Loss | str = keras.losses.mean_squared_error,
    batch_size: int = 32,
    seed: int = 0,
) -> ByLayer[LayerLandscape]:
    """Compute `LayerLoss.landscape` of several layers of a model, on the same samples.

    Args:
        model: A built model.
        x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        y: Targets.
        layers: A selector of layers; by default all with trainable weights.
        loss: `(y, outputs) -> values`, see `LayerLoss`.
        batch_size: Samples computed at once.
        seed: Seed of the directions.

    Returns:
        Layer name to its landscape, in the order of the model.

    Example:
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
        >>> around = loss_landscapes(model, x, np.ones((8, 1)))["linear"]
        >>> sorted(around.lines), round(around.convexity, 4)
        (['gradient', 'random 1', 'random 2'], 1.0)
    """
    chosen = select_layers(model, layers).names
    return ByLayer(
        {
            name: LayerLoss(model, name, x, y, loss, batch_size).landscape(seed=seed)
            for name in trainable_layer_names(model)
            if name in chosen
        }
    )
