"""Statistics of ensembles of LES, and metrics against filtered DNS."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import real_array
from turbulence_data.a_posteriori._measures import measures_of
from turbulence_data.a_posteriori._reference import EnsembleRun, Reference
from turbulence_data.closures import evaluate
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.diagnostics import probability_density
from turbulence_data.diagnostics._distributions import Distribution
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._grid import Grid

Spectrum = NDArray[np.float64]
Bands = Mapping[str, tuple[float, float]]
"""Name -> (lowest, highest) wavenumber, both included."""


def default_bands(flow: FlowConfig | TwoLayerConfig) -> Bands:
    """Return three bands, equal on a log axis, of wavenumbers below Nyquist.

    Example:
        >>> default_bands(FlowConfig(16, reynolds=10, lengths=(np.pi, np.pi)))
        {'large scales': (2.0, 2.0), 'middle scales': (4.0, 6.0), 'small scales': \
(8.0, 14.0)}
    """
    width = Grid(flow.shape, flow.lengths).shell_width
    sides = zip(flow.shape, flow.lengths, strict=True)
    most = min((n - 1) // 2 * 2.0 * np.pi / length for n, length in sides)
    last = int(most / width + 1e-9)
    if last < 3:
        raise ValueError(
            "three bands need at least 3 wavenumbers below Nyquist, so 7 points; "
            f"received {flow.shape} points. Give bands, or use more points."
        )
    one, two = (math.floor(last**part) for part in (1 / 3, 2 / 3))
    return {
        "large scales": (width, one * width),
        "middle scales": ((one + 1) * width, two * width),
        "small scales": ((two + 1) * width, last * width),
    }


def band_errors(
    wavenumbers: Spectrum, spectrum: Spectrum, reference: Spectrum, bands: Bands
) -> dict[str, float]:
    """Return the mean over the shells of each band of `|S / S_reference - 1|`."""
    errors = {}
    for name, (low, high) in bands.items():
        # Edges belong to their band despite round-off, in any unit of length.
        from_low = wavenumbers >= low * (1.0 - 1e-9)
        chosen = from_low & (wavenumbers <= high * (1.0 + 1e-9))
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
    """Return the correlation over all points of each pair of fields, shape `(...)`."""
    a, b = real_array("fields", fields), real_array("reference", reference)
    a = a - a.mean((-2, -1), keepdims=True)
    b = b - b.mean((-2, -1), keepdims=True)
    norms = np.sqrt(np.sum(a**2, (-2, -1)) * np.sum(b**2, (-2, -1)))
    return np.asarray(np.sum(a * b, (-2, -1)) / np.where(norms, norms, 1.0))


def decorrelation_times(
    times: NDArray[np.float64], correlation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the time at which each member's correlation falls below 1/2.

    This is the first crossing, interpolated linearly. NaN correlations of members that
    have blown up count as below. inf if the correlation stays above.

    Args:
        times: shape `(T,)`.
        correlation: shape `(T, E)`.
    """
    lost = np.full(correlation.shape[1], math.inf)
    for member, series in enumerate(correlation.T):
        below = np.flatnonzero(~(series >= 0.5))
        if below.size:
            at = below[0]
            lost[member] = times[at]
            if at > 0 and np.isfinite(series[at]):
                part = (series[at - 1] - 0.5) / (series[at - 1] - series[at])
                lost[member] = times[at - 1] + part * (times[at] - times[at - 1])
    return lost


def tail_probability(fields: NDArray[np.floating], threshold: float) -> float:
    """Return the fraction of all finite values with `|value| > threshold`."""
    values = fields[np.isfinite(fields)]
    return float(np.mean(np.abs(values) > threshold)) if values.size else math.nan


def jackknife_error(without: Sequence[float]) -> float:
    """Return the standard error of a statistic of E members by the jackknife.

        sqrt((E - 1) / E sum_i (s_i - mean(s))^2)

    NaN for fewer than two members.

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


Fields = NDArray[np.floating]
ForcingOf = Callable[[Fields, NDArray[np.bool_], int], Fields]

_MEANS = (
    "energy_spectrum",
    "enstrophy_spectrum",
    "energy_transfer",
    "enstrophy_transfer",
    "raw_moments",
    "tails",
)
# Start of the tails and end of the vorticity bins, in standard deviations.
_TAIL, _EDGES = 3.0, np.linspace(-8.0, 8.0, 81)


@dataclasses.dataclass(frozen=True)
class RunStatistics:
    """Statistics over members of an ensemble and over time.

    Spectra are SUMS over shells, averaged over the fields. Time series cover the whole
    run, all other statistics the part after the discarded one. For two layers vorticity
    means potential vorticity, and energy and enstrophy are per unit mass.

    Attributes:
        times: shape `(T,)`.
        energy: per unit area, shape `(T, E)`.
        enstrophy: per unit area, shape `(T, E)`.
        num_fields: number of finite fields in the statistics, which are NaN for 0.
        wavenumbers: wavenumbers of the shells.
        energy_spectrum: mean energy in each shell.
        enstrophy_spectrum: mean enstrophy in each shell.
        energy_transfer: mean energy that the closure puts into each shell.
        enstrophy_transfer: the same for enstrophy.
        distribution: distribution of the vorticity divided by its standard deviation in
            the reference (for each layer by that of the layer).
        raw_moments: means of the first four powers of the same values.
        tails: fraction of the vorticity beyond three of these standard deviations.
    """

    times: NDArray[np.float64]
    energy: NDArray[np.float64]
    enstrophy: NDArray[np.float64]
    num_fields: int
    wavenumbers: Spectrum
    energy_spectrum: Spectrum
    enstrophy_spectrum: Spectrum
    energy_transfer: Spectrum
    enstrophy_transfer: Spectrum
    distribution: Distribution | None
    raw_moments: NDArray[np.float64]
    tails: float

    @property
    def kurtosis(self) -> float:
        """Kurtosis of the vorticity, `<(w - <w>)^4> / <(w - <w>)^2>^2`."""
        one, two, three, four = self.raw_moments
        fourth = four - 4.0 * one * three + 6.0 * one**2 * two - 3.0 * one**4
        return float(fourth / (two - one**2) ** 2)

    @classmethod
    def together(cls, parts: Sequence[RunStatistics]) -> RunStatistics:
        """Return the statistics of several sets of members of one ensemble."""
        finite = [part for part in parts if part.num_fields] or [parts[0]]
        counts = [part.num_fields for part in finite]
        weights = counts if sum(counts) else None
        means: dict[str, Any] = {
            name: np.average([getattr(part, name) for part in finite], 0, weights)
            for name in _MEANS
        }
        return dataclasses.replace(
            parts[0],
            energy=np.concatenate([part.energy for part in parts], axis=1),
            enstrophy=np.concatenate([part.enstrophy for part in parts], axis=1),
            num_fields=sum(counts),
            distribution=_pooled([part.distribution for part in finite]),
            **means,
        )


def _distribution(fields: Fields, edges: NDArray[np.float64]) -> Distribution | None:
    inside = fields.size and fields.min() < edges[-1] and fields.max() > edges[0]
    return probability_density(fields, edges) if inside else None


def _pooled(parts: Sequence[Distribution | None]) -> Distribution | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    counts = [part.num_values for part in known]
    return dataclasses.replace(
        known[0],
        density=np.average([part.density for part in known], 0, counts),
        num_values=sum(counts),
        num_outside=sum(part.num_outside for part in known),
    )


Members = Sequence[RunStatistics]


class ReferenceStatistics:
    """Statistics of one reference, and the metrics of runs against it.

    Attributes:
        truth: statistics of each member of the reference.
    """

    def __init__(self, reference: Reference, bands: Bands, discard: float) -> None:
        self.reference, self.bands = reference, bands
        self._used = reference.times >= discard * reference.times[-1]
        self._used &= reference.times > 0.0
        self._measures = measures_of(reference.flow)
        used = reference.vorticity[self._used].astype(np.float64)
        # Layers differ in amplitude, so each is scaled by its own standard deviation.
        axes = (0, 1, -2, -1)
        std = np.std(used, axes, keepdims=True)[0]
        self._std = np.where(std > 0.0, std, 1.0)
        self.truth = self._of_reference(reference.vorticity)

    def _of_reference(self, vorticity: Fields) -> Members:
        return self._statistics(
            vorticity, lambda _, *chosen: self.reference.sgs_forcing[chosen]
        )

    def statistics(self, closure: Closure, vorticity: Fields) -> Members:
        """Return statistics of each member, with the transfer by the closure."""
        num_axes = 2 + len(self._measures.layers)

        def forcing_of(fields: Fields, *_: object) -> Fields:
            values = fields.astype(np.float64, copy=False)
            psi = self._measures.streamfunction(values)
            return evaluate(closure, values, psi, num_axes)

        return self._statistics(vorticity, forcing_of)

    def _statistics(self, vorticity: Fields, forcing_of: ForcingOf) -> Members:
        """Return statistics of each member of fields `(T, E, ...)`, without NaN ones.

        `forcing_of(fields, times, member)` is called with the fields of one member that
        are finite and used; `times` is their mask.
        """
        return [
            self._of_member(member, vorticity[:, member], forcing_of)
            for member in range(vorticity.shape[1])
        ]

    def _of_member(
        self, member: int, vorticity: Fields, forcing_of: ForcingOf
    ) -> RunStatistics:
        finite = np.isfinite(vorticity[..., 0, 0]).reshape(len(vorticity), -1)
        known = np.asarray(finite.all(axis=-1))
        fields = vorticity[known].astype(np.float64)
        used = self._used[known]
        forcing = np.zeros_like(fields)
        if np.any(used):
            forcing[used] = forcing_of(fields[used], self._used & known, member)
        pairs = zip(fields, forcing, strict=True)
        spectra = np.array([self._measures.spectra(*pair) for pair in pairs])
        nothing = self._measures.spectra(*np.zeros((2, *fields.shape[1:])))
        mean = np.full((len(nothing), nothing.wavenumbers.size), np.nan)
        series = np.full((2, len(known)), np.nan)
        if len(fields):
            series[:, known] = spectra[:, 1:3].sum(axis=-1).T
        if np.any(used):
            mean = spectra[used].mean(axis=0)
        scaled = fields[used] / self._std
        moments = np.full(4, np.nan)
        if scaled.size:
            moments = np.array([np.mean(scaled**power) for power in (1, 2, 3, 4)])
        return RunStatistics(
            self.reference.times,
            series[0][:, None],
            series[1][:, None],
            len(scaled),
            nothing.wavenumbers,
            mean[1],
            mean[2],
            mean[3],
            mean[4],
            _distribution(scaled, _EDGES),
            moments,
            tail_probability(scaled, _TAIL),
        )

    def scores(
        self, run: EnsembleRun, found: Members, correlation: NDArray[np.float64]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the metrics of a run, and the standard error of each over members."""
        truth, there = self.truth, np.isfinite(run.vorticity[..., :1, :1])
        if not there.all():  # leave out the same fields
            known = np.where(there, self.reference.vorticity, np.nan)
            truth = self._of_reference(known)

        def of(members: list[int]) -> dict[str, float]:
            return self._of_members(run, (found, truth), correlation, members)

        everyone = list(range(len(found)))
        values = of(everyone)
        left_out = everyone if len(everyone) > 1 else []
        without = [of([m for m in everyone if m != one]) for one in left_out]
        return values, {
            name: jackknife_error([scores[name] for scores in without])
            for name in values
        }

    def _of_members(
        self,
        run: EnsembleRun,
        statistics: tuple[Members, Members],
        correlation: NDArray[np.float64],
        members: list[int],
    ) -> dict[str, float]:
        here, truth = (
            RunStatistics.together([each[member] for member in members])
            for each in statistics
        )
        turnover, end = self.reference.turnover_time, float(self.reference.times[-1])
        failed = run.failure_times[members]
        lost = decorrelation_times(run.times, correlation[:, members])
        spectral_errors = {
            f"{letter} error {band}": error
            for letter, name in (("E", "energy_spectrum"), ("Z", "enstrophy_spectrum"))
            for band, error in band_errors(
                truth.wavenumbers, getattr(here, name), getattr(truth, name), self.bands
            ).items()
        }
        return {
            "stable": float(np.mean(np.isinf(failed))),
            "lasted": float(np.mean(np.minimum(failed, end))) / turnover,
            "energy": _ratio(here.energy_spectrum, truth.energy_spectrum),
            "enstrophy": _ratio(here.enstrophy_spectrum, truth.enstrophy_spectrum),
            **spectral_errors,
            "tails": here.tails / truth.tails if truth.tails else float("nan"),
            "kurtosis": here.kurtosis / truth.kurtosis,
            "decorrelation": float(np.mean(lost)) / turnover,
            "energy transfer": _ratio(here.energy_transfer, truth.energy_transfer),
            "enstrophy transfer": _ratio(
                here.enstrophy_transfer, truth.enstrophy_transfer
            ),
        }


def _ratio(spectrum: Spectrum, reference: Spectrum) -> float:
    return float(np.sum(spectrum) / np.sum(reference))
