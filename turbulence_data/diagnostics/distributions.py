"""How the values of a field are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import real_array


@dataclass(frozen=True)
class Distribution:
    """A probability density, constant in each bin; `sum(density * widths) = 1`.

    Attributes:
        edges: of the bins, shape `(m + 1,)`.
        density: probability per unit of the values, shape `(m,)`.
        rule: how the bins were chosen.
        num_values: how many values lie in the bins.
        num_outside: how many do not; only given edges leave any.
    """

    edges: NDArray[np.float64]
    density: NDArray[np.float64]
    rule: str
    num_values: int
    num_outside: int

    @property
    def widths(self) -> NDArray[np.float64]:
        """Widths of the bins, shape `(m,)`."""
        return np.diff(self.edges)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middles of the bins, shape `(m,)`."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])


def probability_density(
    values: ArrayLike, bins: int | str | Sequence[float] | NDArray[np.float64]
) -> Distribution:
    """Returns the probability density of all values of an array, as a histogram.

    Args:
        values: fields of any shape; several snapshots make one distribution.
        bins: a number of equal bins from the smallest to the largest value, the name of
            one of NumPy's rules ("fd", "scott", ...; see `numpy.histogram_bin_edges`),
            or edges. To compare two distributions give both the same edges.

    Raises:
        ValueError: for values that are not finite, fewer than two edges, or when no
            value lies in the bins.

    Example:
        >>> pdf = probability_density([0.0, 1.0, 2.0, 4.0], bins=2)
        >>> pdf.edges.tolist(), pdf.density.tolist(), pdf.rule
        ([0.0, 2.0, 4.0], [0.25, 0.25], '2 equal bins')
    """
    flat = _finite(values)
    if isinstance(bins, str):
        rule = f"numpy {bins!r}"
    elif isinstance(bins, int | np.integer):
        rule = f"{bins} equal bins"
    else:
        rule = "given edges"
        bins = real_array("bins, as edges,", bins, at_least=2)
    counts, edges = np.histogram(flat, bins)
    inside = int(counts.sum())
    if inside == 0:
        raise ValueError(
            f"no value lies in the bins from {edges[0]} to {edges[-1]}; the values "
            f"reach from {flat.min()} to {flat.max()}. Give edges that cover them."
        )
    edges = edges.astype(np.float64)
    density = counts / (inside * np.diff(edges))
    return Distribution(edges, density, rule, inside, flat.size - inside)


def skewness(values: ArrayLike) -> float:
    """Returns `<(a - <a>)^3> / <(a - <a>)^2>^(3/2)`: 0 where symmetric.

    Raises:
        ValueError: for values that are not finite, or all equal.
    """
    return _standardised_moment(values, 3)


def kurtosis(values: ArrayLike) -> float:
    """Returns `<(a - <a>)^4> / <(a - <a>)^2>^2`: 3 for a Gaussian, not its excess.

    Raises:
        ValueError: for values that are not finite, or all equal.

    Example:
        >>> kurtosis([-1.0, 1.0])
        1.0
    """
    return _standardised_moment(values, 4)


def _standardised_moment(values: ArrayLike, order: int) -> float:
    flat = _finite(values)
    if flat.min() == flat.max():
        raise ValueError(
            "values that are all equal have no standardised moments; expected some "
            f"spread, but all are {flat[0]}."
        )
    centred = flat - flat.mean()
    centred /= np.sqrt(np.mean(centred**2))
    return float(np.mean(centred**order))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = real_array("values", values, at_least=0).ravel()
    wrong = int(np.count_nonzero(~np.isfinite(flat)))
    if wrong or not flat.size:
        raise ValueError(
            "expected at least one value and only finite ones; received "
            f"{flat.size} values, {wrong} of them not finite."
        )
    return flat
