"""Whether a change of kernels follows a difference of spectra."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.fields import last_complete_shell, shell_indices
from keras_spectral_tl.spectra.kernels.transforms import Grid, point_offsets

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ChangeConsistency:
    """The change of a layer's power by wavenumber beside a difference of spectra.

    Attributes:
        wavenumbers: (shells,) 1 .. the last complete shell of the grid.
        power_changes: (shells,) ``log(P_1 / P_0)``, P the MEAN over a shell and over
            the kernels of ``|F[K](k)|^2``, before (0) and after (1).
        correlation: Spearman's rank correlation of ``power_changes`` with the
            difference, over the wavenumbers.
        p_value: Two-sided: share of changes of random direction, each kernel's as long
            as its own, whose ``power_changes`` have a covariance with the difference at
            least as large. A covariance and not a correlation: a few points a kernel
            make neighbouring wavenumbers move together, so that random changes, too,
            often correlate perfectly, but by little.
    """

    wavenumbers: NDArray[np.intp]
    power_changes: Array
    correlation: float
    p_value: float


def change_consistency(
    before: ArrayLike,
    after: ArrayLike,
    difference: ArrayLike,
    num_points: Grid,
    *,
    num_draws: int = 999,
    seed: int = 0,
) -> ChangeConsistency:
    """Compares, by wavenumber, what kernels gained with how two systems differ.

    Filters that answer a spectral difference gain power where the target has more than
    the base: the correlation is positive, and the p-value small.

    Args:
        before: (kernels, *size) K_0.
        after: K_1, of the same shape.
        difference: (num_shells,) by wavenumber, which is the index: the logarithm of
            the ratio of two spectra on the grid, target over base.
        num_points: Points of the grid along each axis.
        num_draws: Random changes.
        seed: Of these.

    Returns:
        The comparison.

    Raises:
        ValueError: If the shapes do not fit, nothing changed, or the difference is not
            finite at a wavenumber that is compared.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = rng.normal(size=(50, 5, 5))
        >>> x = np.exp(-(np.arange(5) - 2.0) ** 2 / 4)
        >>> after = before + np.outer(x, x)  # a low-pass filter added to all
        >>> falling = -np.arange(17.0)
        >>> found = change_consistency(before, after, falling, (32, 32))
        >>> found.correlation > 0.9, found.p_value
        (True, 0.001)
    """
    first, second = (real_array("kernels", kernels) for kernels in (before, after))
    shells = np.arange(1, last_complete_shell(*num_points) + 1)
    wanted = real_array("difference", difference)[1 : len(shells) + 1]
    _check(first, second, wanted, shells)
    start = first.reshape(len(first), -1)
    change = second.reshape(len(second), -1) - start
    forms = _shell_forms(first.shape[1:], num_points)[shells]

    def response(moved: Array) -> Array:
        return np.asarray(np.log(_power(start + moved, forms) / _power(start, forms)))

    observed = response(change)
    correlation = float(stats.spearmanr(observed, wanted).statistic)
    weights = wanted - wanted.mean()
    covariance = abs(float(weights @ observed))
    rng = np.random.default_rng(seed)
    lengths = np.linalg.norm(change, axis=1, keepdims=True)
    reached = 0
    for _ in range(num_draws):
        drawn = rng.standard_normal(change.shape)
        drawn *= lengths / np.linalg.norm(drawn, axis=1, keepdims=True)
        reached += abs(float(weights @ response(drawn))) >= covariance
    p_value = (1 + reached) / (1 + num_draws)
    return ChangeConsistency(shells, observed, correlation, float(p_value))


def _check(
    first: Array, second: Array, wanted: Array, shells: NDArray[np.intp]
) -> None:
    if first.shape != second.shape or first.ndim < 2:
        raise ValueError(
            "Expected two stacks (kernels, *size) of one shape. Received "
            f"{first.shape} and {second.shape}."
        )
    if np.array_equal(first, second):
        raise ValueError("The kernels did not change: there is nothing to compare.")
    if len(wanted) < len(shells) or not np.isfinite(wanted).all():
        raise ValueError(
            f"The difference must be finite at k = 1 .. {len(shells)}. Received "
            f"{wanted.tolist()} there."
        )
    if np.ptp(wanted) == 0:
        raise ValueError(
            "The difference is the same at every wavenumber, a gain: it has no shape "
            f"that a change could follow. Received {wanted[0]} throughout."
        )


def _power(flat: Array, forms: Array) -> Array:
    """Mean power in each shell of kernels (kernels, points)."""
    return np.asarray(np.einsum("sab,ab->s", forms, flat.T @ flat)) / len(flat)


def _shell_forms(size: tuple[int, ...], grid: Grid) -> Array:
    """(num_shells, points, points): shell MEAN of ``cos(k . (x_a - x_b))``.

    ``|F[K](k)|^2`` is this form of K, so that a shell's power needs no transform.
    """
    axes = np.meshgrid(*map(point_offsets, size), indexing="ij")
    points = np.stack([axis.ravel() for axis in axes], axis=-1)
    frequencies = np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")
    vectors = 2 * np.pi * np.stack([axis.ravel() for axis in frequencies], axis=-1)
    waves = np.exp(-1j * vectors @ points.T)
    half = shell_indices(*grid)
    columns = np.arange(grid[-1])
    mirror = np.where(columns < half.shape[-1], columns, grid[-1] - columns)
    # |k| is the same for k and -k, and for each sign of a component.
    shell = half[..., mirror].ravel()
    forms = np.zeros((shell.max() + 1, len(points), len(points)))
    for number in range(len(forms)):
        inside = waves[shell == number]
        forms[number] = np.real(inside.T @ inside.conj()) / len(inside)
    return forms
