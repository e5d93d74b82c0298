"""How much of a change of kernels is more than the noise of training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_NUM_FLIPS = 999
# Signs held at once: 999 x 4,096 of them take 33 MB.
_SIGNS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class ChangeSignificance:
    """Changes ``d_1 = K_1 - K_0``, ``d_2 = K_2 - K_0`` of two retrainings compared.

    Both start from the same kernels K_0 and see the same data; only the seed differs.
    Without a common cause the two directions are independent.

    Attributes:
        agreements: (kernels,) cosine of the angle between d_1 and d_2; 0 where one of
            them is zero.
        ratios: (kernels,) ``|d_1 + d_2| / |d_1 - d_2|``, common part over noise: 1 for
            independent directions of equal length, infinite for equal changes; 1 where
            both are zero.
        p_values: (kernels,) one-sided, of an agreement as large or larger if d_2 points
            anywhere with equal chance: ``t = c sqrt((n - 1) / (1 - c^2))`` has n - 1
            degrees of freedom, n points of a kernel. 1 where a change is zero. A
            kernel's points move together (smooth inputs), so a p-value is too small
            where n counts more than the directions that training uses: trust
            `layer_p_value`, which does not rest on n.
        layer_agreement: Mean of ``agreements``.
        layer_p_value: One-sided, of the sign-flip test: the mean agreement against that
            with the sign of every kernel's d_2 drawn anew, 999 times. It assumes no
            more than that without a common cause d_2 and -d_2 are as likely, kernel by
            kernel.
    """

    agreements: Array
    ratios: Array
    p_values: Array
    layer_agreement: float
    layer_p_value: float

    def significant(self, false_share: float = 0.05) -> NDArray[np.bool_]:
        """Kernels whose change is reproducible, by Benjamini and Hochberg.

        Args:
            false_share: Expected share of false ones among them, in (0, 1).

        Returns:
            (kernels,) booleans, see https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
        """
        if not 0.0 < false_share < 1.0:
            raise ValueError(
                f"false_share must lie between 0 and 1. Received {false_share}."
            )
        ordered = np.sort(self.p_values)
        levels = false_share * np.arange(1, len(ordered) + 1) / len(ordered)
        passing = ordered[ordered <= levels]
        largest = passing[-1] if passing.size else -1.0
        return np.asarray(self.p_values <= largest)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {
            name: values.tolist() if isinstance(values, np.ndarray) else values
            for name, values in vars(self).items()
        }


def change_significance(
    first_changes: Array, second_changes: Array, seed: int = 0
) -> ChangeSignificance:
    """Compares two retrainings of the same kernels.

    Args:
        first_changes: (kernels, *size) d_1.
        second_changes: (kernels, *size) d_2.
        seed: Of the sign flips.

    Returns:
        The agreement of each kernel and of all.

    Example:
        >>> common = np.random.default_rng(0).normal(size=(50, 5, 5))
        >>> noise = np.random.default_rng(1).normal(size=(2, 50, 5, 5))
        >>> change_significance(common + noise[0], common + noise[1]).layer_p_value
        0.001
    """
    first = first_changes.reshape(len(first_changes), -1)
    second = second_changes.reshape(len(second_changes), -1)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    moved = lengths > 0
    products = np.sum(first * second, axis=1)
    cosines = np.clip(products / np.where(moved, lengths, 1.0), -1.0, 1.0)
    common = np.linalg.norm(first + second, axis=1)
    noise = np.linalg.norm(first - second, axis=1)
    ratios = np.divide(common, noise, out=np.full(len(first), np.inf), where=noise > 0)
    ratios[(common == 0) & (noise == 0)] = 1.0
    return ChangeSignificance(
        agreements=cosines,
        ratios=ratios,
        p_values=np.where(moved, _p_values(cosines, first.shape[1]), 1.0),
        layer_agreement=float(cosines.mean()),
        layer_p_value=sign_flip_p_value(cosines, seed),
    )


def sign_flip_p_value(agreements: Array, seed: int = 0) -> float:
    """Chance of so large a mean agreement if every sign were drawn at random.

    ``(1 + number of flips with a mean at least as large) / (1 + 999)``, so at least
    0.001, and larger for a few kernels alone.

    Args:
        agreements: (kernels,).
        seed: Of the signs.

    Example:
        >>> sign_flip_p_value(np.full(20, 0.3)), sign_flip_p_value(np.full(20, -0.3))
        (0.001, 1.0)
    """
    rng = np.random.default_rng(seed)
    observed = agreements.sum() - 1e-12 * np.abs(agreements).sum()
    rows = max(1, _SIGNS_AT_ONCE // max(len(agreements), 1))
    reached = 0
    for start in range(0, _NUM_FLIPS, rows):
        count = min(rows, _NUM_FLIPS - start)
        signs = rng.integers(0, 2, size=(count, len(agreements)), dtype=np.int8)
        sums = 2.0 * (signs @ agreements) - agreements.sum()
        reached += int(np.count_nonzero(sums >= observed))
    return (1 + reached) / (1 + _NUM_FLIPS)


def _p_values(cosines: Array, num_points: int) -> Array:
    """Upper tail of the cosine to a random direction in as many dimensions."""
    if num_points < 2:  # Two numbers agree in sign or not.
        return np.where(cosines > 0, 0.5, 1.0)
    with np.errstate(divide="ignore"):
        t = cosines * np.sqrt((num_points - 1) / (1 - cosines**2))
    return np.asarray(special.stdtr(num_points - 1, -t))
