"""Both ends of the spectrum of a Hessian, by Lanczos iteration."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from keras_spectral_tl._results import Result
from keras_spectral_tl.loss_landscape._layer_loss import LayerLoss

Array = NDArray[np.float64]

# As few columns as this cost less than a Lanczos iteration.
_DENSE = 32


@dataclass(frozen=True)
class HessianEnds(Result):
    """Eigenvalues of a Hessian: the largest, and the smallest.

    Attributes:
        largest: (count,) the largest eigenvalues, falling.
        vectors: (parameters, count) their eigenvectors, of norm 1.
        smallest: The smallest (most negative) eigenvalue.
        num_products: Hessian products that it took.
    """

    largest: Array
    vectors: Array
    smallest: float
    num_products: int

    @property
    def negative_share(self) -> float:
        """``max(-smallest, 0) / max |eigenvalue|``: 0 if locally convex, at most 1.

        0 of a Hessian of zeros.
        """
        scale = max(abs(float(self.largest[0])), abs(self.smallest))
        return max(-self.smallest, 0.0) / scale if scale > 0 else 0.0


def hessian_ends(
    loss: LayerLoss,
    count: int = 3,
    scales: Array | None = None,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> HessianEnds:
    """Compute the extreme eigenvalues of the Hessian of one layer's weights.

    ``D H D`` with D the diagonal of ``scales``. Without scales this is H itself, whose
    eigenvalues change when a ReLU network is rescaled from layer to layer without
    changing what it computes. With `filter_scales` they are the curvatures for changes
    relative to the filters, which do not: compare layers by these.

    Lanczos iteration (ARPACK) on Hessian products. The smallest eigenvalue is that of
    ``largest - H`` from its large end, so its error, too, is relative to the largest.

    Args:
        loss: The loss of the layer.
        count: Number of largest eigenvalues.
        scales: (num_parameters,); by default ones.
        tolerance: Relative error at which the iteration stops; products are in single
            precision.
        seed: Of the start vector.

    Returns:
        The eigenvalues.

    Raises:
        ValueError: If there are fewer weights than ``count``.
        RuntimeError: If the iteration does not converge.

    References:
        Lehoucq, Sorensen and Yang, ARPACK Users' Guide (1998),
        https://doi.org/10.1137/1.9780898719628

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(1, use_bias=False, name="linear")
        >>> model = keras.Sequential([keras.Input((2,)), dense])
        >>> x = np.array([[2.0, 0.0], [0.0, 1.0]], "float32")
        >>> ends = hessian_ends(LayerLoss(model, "linear", x, np.ones((2, 1))), 1)
        >>> ends.largest.round(5), round(ends.smallest, 5)  # mean of x^2, twice
        (array([4.]), 1.0)
    """
    number = loss.function.num_parameters
    if not 1 <= count <= number:
        raise ValueError(
            f"Layer {loss.layer!r} has {number} weights and so as many eigenvalues. "
            f"Received count={count}."
        )
    products = _Products(loss, np.ones(number) if scales is None else scales)
    start = np.random.default_rng(seed).standard_normal(number)
    if number <= max(_DENSE, 2 * count):
        columns = np.stack([products(row) for row in np.eye(number)])
        values, vectors = np.linalg.eigh((columns + columns.T) / 2)
        smallest = float(values[0])
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    elif not np.any(products(start)):
        values, vectors, smallest = np.zeros(count), np.eye(number)[:, :count], 0.0
    else:
        values, vectors = _largest(products, count, start, tolerance)
        top = max(float(values[0]), 0.0)
        # Of top - H the largest is top - smallest. Without curvature upwards -H does.
        turned, _ = _largest(
            lambda v: top * np.ravel(v) - products(v), 1, start, tolerance
        )
        smallest = top - float(turned[0])
    return HessianEnds(
        np.ascontiguousarray(values),
        np.ascontiguousarray(vectors),
        smallest,
        products.count,
    )


class _Products:
    """``D H D v``, counted."""

    def __init__(self, loss: LayerLoss, scales: Array) -> None:
        self._loss, self._scales, self.count = loss, scales, 0

    def __call__(self, vector: Array) -> Array:
        self.count += 1
        # Of length 1: the loss may be huge or tiny, and single precision has an end.
        flat = np.ravel(vector) * self._scales
        length = float(np.linalg.norm(flat)) or 1.0
        product = self._loss.hessian_product(flat / length)
        return np.asarray(product * length * self._scales)


def _largest(
    products: "_Products | object", count: int, start: Array, tolerance: float
) -> tuple[Array, Array]:
    """The largest eigenvalues, falling, and their vectors."""
    number = len(start)
    operator = LinearOperator((number, number), matvec=products, dtype=np.float64)
    try:
        values, vectors = eigsh(
            operator, k=count, which="LA", v0=start, tol=tolerance, maxiter=50 * count
        )
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"The Lanczos iteration found {len(error.eigenvalues)} of {count} "
            f"eigenvalues of {number} x {number}. Ask for fewer, or pass a larger "
            f"tolerance than {tolerance}."
        ) from error
    order = np.argsort(-values)
    return values[order], vectors[:, order]
