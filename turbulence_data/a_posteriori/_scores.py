"""Metrics of an ensemble of LES against filtered DNS: pure functions of fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    check_positive,
    check_whole,
    is_finite_number,
    real_array,
)
from turbulence_data.diagnostics import energy_spectrum

Lengths = tuple[float, float]
Spectrum = NDArray[np.float64]
Bands = Mapping[str, tuple[float, float]]
"""Name -> (lowest, highest) wavenumber, both included."""


def mean_spectrum(
    fields: ArrayLike,
    lengths: Lengths = (TWO_PI, TWO_PI),
    spectrum: Callable[..., tuple[Spectrum, Spectrum]] = energy_spectrum,
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the mean spectrum of fields; NaN ones are left out.

    Args:
        fields: vorticity, shape `(..., nx, ny)`.
        lengths: domain size.
        spectrum: `diagnostics.energy_spectrum`, `enstrophy_spectrum`, or another
            `(field, lengths) -> wavenumbers, spectrum`.

    Returns:
        NaN everywhere where no field is finite.
    """
    values = real_array("fields", fields)
    flat = values.reshape(-1, *values.shape[-2:])
    pairs = [spectrum(field, lengths) for field in flat if np.isfinite(field[0, 0])]
    if not pairs:
        wavenumbers, one = spectrum(np.zeros(values.shape[-2:]), lengths)
        return wavenumbers, np.full_like(one, np.nan)
    return pairs[0][0], np.mean([pair[1] for pair in pairs], axis=0)


def thirds(num_points: int, first: float = 1.0) -> dict[str, tuple[float, float]]:
    """Return three bands of wavenumbers below Nyquist, equally wide on a log axis.

    Example:
        >>> thirds(128)
        {'large scales': (1.0, 3.0), 'middle scales': (4.0, 15.0), 'small scales': \
(16.0, 63.0)}
    """
    check_whole("num_points", num_points, at_least=1)
    check_positive("first", first)
    last = float((num_points - 1) // 2)
    one, two = (math.floor(first ** (1 - p) * last**p) for p in (1 / 3, 2 / 3))
    if not first <= one < two < last:
        raise ValueError(
            f"first must leave wavenumbers to three bands up to {last:g}, the last one "
            f"below Nyquist on {num_points} points; received {first!r}, for bands up "
            f"to {one}, {two} and {last:g}."
        )
    return {
        "large scales": (first, float(one)),
        "middle scales": (one + 1.0, float(two)),
        "small scales": (two + 1.0, last),
    }


def band_errors(
    wavenumbers: Spectrum, spectrum: Spectrum, reference: Spectrum, bands: Bands
) -> dict[str, float]:
    """Return the mean over the shells of each band of `|S / S_reference - 1|`.

    Example:
        >>> k = np.arange(1.0, 5.0)
        >>> band_errors(k, 1.5 * k, k, {"all": (1, 4)})
        {'all': 0.5}
    """
    errors = {}
    for name, (low, high) in bands.items():
        chosen = (wavenumbers >= low - 1e-9) & (wavenumbers <= high + 1e-9)
        if not chosen.any():
            raise ValueError(
                f"the band {name!r} from {low:g} to {high:g} holds none of the "
                f"wavenumbers {wavenumbers[0]:g} ... {wavenumbers[-1]:g}. Give bands "
                "in units of 1 / length, not as numbers of waves."
            )
        ratio = spectrum[chosen] / reference[chosen]
        errors[name] = float(np.mean(np.abs(ratio - 1.0)))
    return errors


def correlations(fields: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return the correlation over the points of each pair of fields, shape `(...)`."""
    a, b = real_array("fields", fields), real_array("reference", reference)
    a = a - a.mean((-2, -1), keepdims=True)
    b = b - b.mean((-2, -1), keepdims=True)
    norms = np.sqrt(np.sum(a**2, (-2, -1)) * np.sum(b**2, (-2, -1)))
    result: NDArray[np.float64] = np.sum(a * b, (-2, -1)) / np.where(norms, norms, 1.0)
    return result


def decorrelation_times(
    times: ArrayLike, correlation: ArrayLike, threshold: float = 0.5
) -> NDArray[np.float64]:
    """Return when each member's correlation falls below a threshold for good measure.

    The first crossing, linear between the times; NaN correlations of members that have
    blown up count as lost. inf where it stays above.

    Example:
        >>> decorrelation_times([0, 1, 2], [[1, 1], [0.8, 1], [0.4, 0.9]]).tolist()
        [1.75, inf]
    """
    moments = real_array("times", times)
    values = real_array("correlation", correlation)
    if moments.ndim != 1 or values.ndim != 2 or len(values) != len(moments):
        raise ValueError(
            "times and correlation must have the shapes (T,) and (T, E); received "
            f"{moments.shape} and {values.shape}."
        )
    if not is_finite_number(threshold):
        raise ValueError(f"threshold must be a finite number; received {threshold!r}.")
    lost = np.full(values.shape[1], math.inf)
    for member, series in enumerate(values.T):
        below = np.flatnonzero(~(series >= threshold))
        if below.size:
            lost[member] = _crossing(moments, series, int(below[0]), threshold)
    return lost


def _crossing(
    times: NDArray[np.float64], series: NDArray[np.float64], at: int, threshold: float
) -> float:
    if at == 0 or not np.isfinite(series[at]):
        return float(times[at])
    part = (series[at - 1] - threshold) / (series[at - 1] - series[at])
    return float(times[at - 1] + part * (times[at] - times[at - 1]))


def tail_probability(fields: ArrayLike, threshold: float) -> float:
    """Return the part of all finite values with `|value| > threshold`.

    Example:
        >>> tail_probability([[0.0, 1.0], [-3.0, 2.0]], 1.5)
        0.5
    """
    if not is_finite_number(threshold):
        raise ValueError(f"threshold must be a finite number; received {threshold!r}.")
    values = real_array("fields", fields, at_least=0)
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan
    return float(np.mean(np.abs(values) > threshold))


def jackknife_error(without: Sequence[float]) -> float:
    """Return the standard error of a statistic of E members by the jackknife.

        sqrt((E - 1) / E sum_i (s_i - mean(s))^2)

    NaN for less than two members.

    Source: Efron and Stein, Annals of Statistics 9 (1981), doi:10.1214/aos/1176345462.

    Example:
        >>> members = np.array([1.0, 2.0, 4.0])
        >>> means = [np.delete(members, i).mean() for i in range(3)]
        >>> by_theory = members.std(ddof=1) / np.sqrt(3)
        >>> bool(np.isclose(jackknife_error(means), by_theory))
        True
    """
    values = np.asarray(without, np.float64)
    if len(values) < 2 or not np.all(np.isfinite(values)):
        return math.nan
    return float(np.sqrt((len(values) - 1) * np.var(values)))


def integral_series(
    vorticity: ArrayLike, lengths: Lengths = (TWO_PI, TWO_PI)
) -> dict[str, NDArray[np.float64]]:
    """Return energy and enstrophy per unit area of each field, shape `(...)`."""
    values = real_array("vorticity", vorticity)
    flat = values.reshape(-1, *values.shape[-2:])
    energies = [
        energy_spectrum(field, lengths)[1].sum() if np.isfinite(field[0, 0]) else np.nan
        for field in flat
    ]
    shape = values.shape[:-2]
    return {
        "energy": np.reshape(np.asarray(energies), shape),
        "enstrophy": 0.5 * np.mean(values**2, (-2, -1)),
    }
