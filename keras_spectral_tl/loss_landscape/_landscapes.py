"""Loss landscapes, layer by layer: directions, lines, planes, curvature, convexity."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import require
from keras_spectral_tl._graph.layers import trainable_layer_names
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.loss_landscape._hessian import HessianEnds, hessian_ends
from keras_spectral_tl.loss_landscape._layer_loss import LayerLoss

Array = NDArray[np.float64]

_DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def filter_scales(loss: LayerLoss) -> Array:
    """Return for each weight the norm of the filter it belongs to.

    A filter is what makes one output: the weights of one output channel (of one channel
    of a depthwise kernel). Biases and other vectors are not moved by the directions of
    this module and get 0, unless the layer has nothing else; then each vector counts as
    one filter.

    Args:
        loss: The loss whose layer is meant.

    Returns:
        Flat, (num_parameters,).

    References:
        Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural
        Nets (2018), https://arxiv.org/abs/1712.09913

    Example:
        >>> dense = keras.layers.Dense(2, name="dense")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> dense.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]]), np.ones(2)])
        >>> filter_scales(LayerLoss(model, "dense", np.ones((1, 2)), np.ones((1, 2))))
        array([5., 1., 5., 1., 0., 0.])
    """
    return _filter_norms(loss, loss.weights)


def random_direction(loss: LayerLoss, seed: int = 0) -> Array:
    """Draw a random direction, every filter as long as the filter it moves.

    Args:
        loss: The loss whose layer is meant.
        seed: Of the direction.

    Returns:
        Flat, (num_parameters,).

    Example:
        >>> dense = keras.layers.Dense(2, use_bias=False, name="dense")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> dense.set_weights([np.array([[3.0, 0.0], [4.0, 1.0]])])
        >>> loss = LayerLoss(model, "dense", np.ones((1, 2)), np.ones((1, 2)))
        >>> np.linalg.norm(random_direction(loss).reshape(2, 2), axis=0).round(6)
        array([5., 1.])
    """
    draws = np.random.default_rng(seed).standard_normal(loss.function.num_parameters)
    return normalized(loss, draws)


def gradient_direction(loss: LayerLoss) -> Array:
    """Return the direction of steepest ascent in units of the filters it moves.

    The gradient of each filter keeps its direction; how the filters share the step is
    that of the normalization. The loss rises along it (at first), as
    ``<gradient, d> = sum |gradient of filter| |filter|``. 0 where the gradient is.

    Args:
        loss: The loss whose layer is meant.

    Returns:
        Flat, (num_parameters,).
    """
    return normalized(loss, loss.gradient())


def normalized(loss: LayerLoss, direction: Array) -> Array:
    """Scale each filter of a direction to the norm of the filter it moves."""
    size = _filter_norms(loss, direction)
    unit = direction / np.where(size > 0, size, 1.0)
    return np.asarray(np.where(size > 0, unit, 0.0) * filter_scales(loss))


def _filter_norms(loss: LayerLoss, flat: Array) -> Array:
    """Return for each weight the norm of its filter in a flat vector; 0 for vectors."""
    function = loss.function
    has_filters = any(value.ndim > 1 for value in function.values)
    norms, start = [], 0
    for variable, value in zip(function.variables, function.values, strict=True):
        part = flat[start : start + value.size].reshape(value.shape)
        start += value.size
        axes = _axes_within(function.layers[0], variable.name, value.ndim)
        squares = np.sum(part**2, axis=axes, keepdims=True)
        is_moved = value.ndim > 1 or not has_filters
        size = np.broadcast_to(np.sqrt(squares) * is_moved, value.shape)
        norms.append(size.ravel())
    return np.concatenate(norms)


def _axes_within(layer: keras.Layer, name: str, rank: int) -> tuple[int, ...]:
    """The axes of a weight along which one filter extends; all of a vector's."""
    outputs = {rank - 1} if rank > 1 else set()
    if isinstance(layer, _DEPTHWISE) or name == "depthwise_kernel":
        outputs = {rank - 2, rank - 1}
    elif isinstance(layer, _TRANSPOSED):
        outputs = {rank - 2}
    return tuple(axis for axis in range(rank) if rank == 1 or axis not in outputs)


_NUM_STEPS = 17


@dataclass(frozen=True)
class LayerLandscape(Result):
    """The loss L around a model, one layer moving by ``step * direction``.

    Every filter of a direction is as long as the filter it moves, so that a step of 1
    changes each by its own norm, in every layer.

    Attributes:
        num_parameters: Weights of the layer.
        loss: L at the model itself.
        steps: (steps,) along the lines.
        lines: Direction ("gradient", "random 1", ...) to the losses (steps,).
        curvature: Ends of the spectrum of the Hessian in units of the filters.
    """

    num_parameters: int
    loss: float
    steps: Array
    lines: dict[str, Array]
    curvature: HessianEnds

    @property
    def convexity(self) -> float:
        """Mean of `line_convexity` over the lines: 1 if all are convex."""
        values = [line_convexity(self.steps, line) for line in self.lines.values()]
        return float(np.mean(values))

    def summary(self) -> dict[str, float]:
        """Return the numbers that sum up the layer."""
        return {
            "convexity": self.convexity,
            "largest_eigenvalue": float(self.curvature.largest[0]),
            "smallest_eigenvalue": self.curvature.smallest,
            "loss": self.loss,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as lists, for JSON."""
        return {
            "num_parameters": self.num_parameters,
            "loss": self.loss,
            "steps": self.steps.tolist(),
            "lines": {name: line.tolist() for name, line in self.lines.items()},
            "eigenvalues": self.curvature.largest.tolist(),
            "smallest_eigenvalue": self.curvature.smallest,
            "negative_share": self.curvature.negative_share,
            "convexity": self.convexity,
        }

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a column for each line, indexed by step."""
        pandas = require("pandas", "Data frames", "pandas")
        return pandas.DataFrame(self.lines, pandas.Index(self.steps, name="step"))

    def plot(self, ax: Any = None) -> Any:
        """Draw the lines and return the axes."""
        from keras_spectral_tl.plotting import plot_loss_lines

        (axes,) = plot_loss_lines(self.steps, {"": self.lines}, ax=ax)
        return axes


def layer_landscape(
    loss: LayerLoss,
    steps: Array | None = None,
    *,
    num_random: int = 2,
    num_eigenvalues: int = 3,
    seed: int = 0,
) -> LayerLandscape:
    """Compute the loss along the gradient and random directions, and its curvature.

    Args:
        loss: The loss of the layer.
        steps: Rising, at least three; by default 17 in [-1, 1].
        num_random: Number of random directions.
        num_eigenvalues: Number of largest eigenvalues of the Hessian.
        seed: Of the directions.

    Returns:
        The landscape.

    Raises:
        ValueError: If the loss is not finite along a line, and as in `hessian_ends`.

    Example:
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
        >>> loss = LayerLoss(model, "linear", x, np.ones((8, 1)))
        >>> around = layer_landscape(loss, num_eigenvalues=1)
        >>> sorted(around.lines), round(around.convexity, 4)
        (['gradient', 'random 1', 'random 2'], 1.0)
    """
    places = np.linspace(-1, 1, _NUM_STEPS) if steps is None else np.asarray(steps)
    directions = {"gradient": gradient_direction(loss)}
    for number in range(num_random):
        directions[f"random {number + 1}"] = random_direction(loss, seed + number)
    lines = {
        name: np.array([loss.value(step * direction) for step in places])
        for name, direction in directions.items()
    }
    count = min(num_eigenvalues, loss.function.num_parameters)
    curvature = hessian_ends(loss, count, filter_scales(loss), seed=seed)
    return LayerLandscape(
        loss.function.num_parameters, loss.value(), places, lines, curvature
    )


def loss_landscapes(
    model: keras.Model,
    x: Any,
    y: Any,
    layers: Selector | None = None,
    *,
    loss: Callable[[Any, Any], Any] = keras.losses.mean_squared_error,
    batch_size: int = 32,
    seed: int = 0,
) -> ByLayer[LayerLandscape]:
    """Compute `layer_landscape` of several layers of a model, on the same samples.

    Args:
        model: A built model.
        x: Inputs, shape `(samples, ...)`, or a nest of such arrays.
        y: Targets.
        layers: A selector of layers; by default all with trainable weights.
        loss: `(y, outputs) -> values`, see `LayerLoss`.
        batch_size: Samples computed at once.
        seed: Of the directions.

    Returns:
        Layer name to its landscape, in the order of the model.
    """
    chosen = select_layers(model, layers).names
    return ByLayer(
        {
            name: layer_landscape(
                LayerLoss(model, name, x, y, loss, batch_size), seed=seed
            )
            for name in trainable_layer_names(model)
            if name in chosen
        }
    )


def loss_surface(loss: LayerLoss, first: Array, second: Array, steps: Array) -> Array:
    """Compute the loss on a plane through the model.

    Args:
        loss: The loss of a layer.
        first: Direction of axis 0, flat.
        second: Direction of axis 1, flat.
        steps: (steps,) along each.

    Returns:
        ``L(theta + steps[i] first + steps[j] second)``, (steps, steps).
    """
    return np.array(
        [[loss.value(a * first + b * second) for b in steps] for a in steps]
    )


def line_convexity(steps: ArrayLike, losses: ArrayLike) -> float:
    """Return the convexity of samples of a function of one variable.

    ``1 - max(L - hull) / (max L - min L)``, where ``hull`` is the largest convex
    function below the samples (their lower convex hull). 1 if the samples are those of
    a convex function, smaller the higher a barrier stands above the chord under it,
    relative to all the relief there is, and at least 0. It does not change with the
    units of either axis, so it compares layers. 1 where the losses are constant.

    Args:
        steps: (points,) places, rising, at least three.
        losses: (points,) values there, finite.

    Returns:
        The convexity, in [0, 1].

    Raises:
        ValueError: If the shapes are not as above, or values are not finite.

    Example:
        >>> steps = np.linspace(-1.5, 1.5, 31)
        >>> line_convexity(steps, steps**2)
        1.0
        >>> round(line_convexity(steps, (steps**2 - 1) ** 2), 2)  # barrier 1 of 1.5625
        0.36
    """
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3 or not np.all(np.diff(x) > 0):
        raise ValueError(
            "A line needs steps that rise and a loss at each, at least three. Received "
            f"shapes {x.shape} and {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(
            f"The losses hold {int(np.count_nonzero(~np.isfinite(y)))} values that are "
            "NaN or infinite. Take shorter steps."
        )
    relief = float(np.ptp(y))
    if relief == 0.0:
        return 1.0
    corners: list[int] = []
    for point in range(len(x)):
        while len(corners) > 1 and _is_above(x, y, corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    hull = np.interp(x, x[corners], y[corners])
    # Round-off of the interpolation is no barrier.
    barrier = float(np.max(y - hull))
    return 1.0 - barrier / relief if barrier > 1e-12 * relief else 1.0


def _is_above(x: np.ndarray, y: np.ndarray, first: int, middle: int, last: int) -> bool:
    """Return whether the middle point lies on or above the chord of the others."""
    rise = (y[last] - y[first]) * (x[middle] - x[first])
    return bool((y[middle] - y[first]) * (x[last] - x[first]) >= rise)
