"""Statistics and content hash of a generated dataset, for its metadata."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from turbulence_data._checks import check_example
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.diagnostics import (
    energy_spectrum,
    layer_spectra,
    variance_spectrum,
)
from turbulence_data.generation._ensemble import (
    EnsembleConfig,
    config_hash,
    plain_config,
)
from turbulence_data.generation._trajectory import HISTORY, Trajectory
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import truncated_modes

_DISTRIBUTION = "keras-spectral-tl"
_LIBRARIES = ("numpy", "scipy", "pyfftw", "tensorflow-datasets")


def package_version() -> str:
    """Return the installed version, or "0+unknown" if it is not installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


__version__ = package_version()


class ContentHash:
    """SHA-256 of decoded examples, in order, updated example by example.

    Names, types, shapes and bytes count. Unlike a hash of the files it does not depend
    on the file format, on compression or on how features are laid out.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, example: Mapping[str, Any]) -> None:
        """Add one example, of NumPy arrays, eager tensors or plain numbers."""
        check_example(example)
        for name in sorted(example):
            array = np.asarray(example[name])
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            self._digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            self._digest.update(array.tobytes())

    def hexdigest(self) -> str:
        """Return the hash of the examples so far."""
        return self._digest.hexdigest()


def content_hash(examples: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of decoded examples, in order; see `ContentHash`.

    Args:
        examples: decoded examples, of NumPy arrays, eager tensors or plain numbers.

    Example:
        >>> content_hash([{"time": 0.5}]) == content_hash([{"time": 0.25}])
        False
    """
    content = ContentHash()
    for example in examples:
        content.add(example)
    return content.hexdigest()


class EnsembleStatistics:
    """Statistics of a dataset, updated trajectory by trajectory.

    Moments and spectra are of the train split only; the largest Courant ratio, the
    energy history and the budgets cover all splits.
    """

    def __init__(self, ensemble: EnsembleConfig) -> None:
        self._ensemble = ensemble
        names = ensemble.features.shapes(ensemble.les_shape, ensemble.extra_fields)
        self._moments = {name: _Moments() for name in names}
        self._spectra = _MeanSpectra(ensemble)
        self._imbalances: list[tuple[float, float]] = []
        self._levels: list[dict[str, Any]] = []
        self._courant: list[float] = []
        self._autocorrelations: list[NDArray[np.float64]] = []
        self._sampled: list[NDArray[np.float64]] = []

    def add(self, split: str, trajectory: Trajectory) -> None:
        """Add a trajectory of a split."""
        ensemble, history = self._ensemble, trajectory.history
        self._courant.append(float(_column(history, "courant").max()))
        self._levels.append({"split": split, **energy_levels(ensemble, trajectory)})
        rows = history[_column(history, "time") >= ensemble.spin_up]
        self._imbalances.append(_imbalance(rows))
        if split != "train":
            return
        features = ensemble.features.split(trajectory.fields())
        for name, values in features.items():
            self._moments[name].add(values)
        self._spectra.add(trajectory)
        self._autocorrelations.append(autocorrelation(trajectory.vorticity))
        self._sampled.append(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return statistics, conventions and versions as JSON-ready values."""
        ensemble, sampled = self._ensemble, self._sampled
        correlation = _mean_where_defined(np.array(self._autocorrelations))
        residuals = [r for r in map(_relative, self._imbalances) if r is not None]
        total = np.sum(self._imbalances, axis=0).tolist()
        return {
            "pi_convention": "rhs_add",
            "conventions": dict(ensemble.features.conventions),
            "fields": {name: m.to_dict() for name, m in self._moments.items()},
            "spectra": self._spectra.to_dict(),
            "largest_courant_ratio": max(self._courant),
            "largest_budget_residual": max(residuals, default=None),
            "budget_residual_of_the_mean": _relative(total),
            "energy_history": self._levels,
            "k_max_eta": k_max_eta(ensemble, np.concatenate(sampled)),
            **_time_scales(ensemble, sampled, correlation),
            "config": plain_config(ensemble),
            "config_hash": config_hash(ensemble),
            "versions": {
                "turbulence_data": package_version(),
                "python": platform.python_version(),
                "machine": platform.machine(),
                **{name: importlib.metadata.version(name) for name in _LIBRARIES},
            },
        }


def energy_levels(ensemble: EnsembleConfig, trajectory: Trajectory) -> dict[str, Any]:
    """Return evidence that the energy of a DNS is statistically steady and conserved.

    These are the mean energies over the last quarter of the spin-up (its part at full
    resolution) and over the sampling period, whose ratio is near 1 for a statistically
    steady flow. The first is None if the spin-up is too short to have records. For the
    rest see `budget_residual`.
    """
    time = _column(trajectory.history, "time")
    energy = _column(trajectory.history, "energy")
    # Exclude the part at half the resolution, whose energy is that of another grid.
    begin = max(0.75 * ensemble.spin_up, ensemble.coarse_spin_up)
    last_quarter = (time >= begin) & (time < ensemble.spin_up)
    sampling = float(energy[time >= ensemble.spin_up].mean())
    before = float(energy[last_quarter].mean()) if last_quarter.any() else None
    return {
        "trajectory": trajectory.trajectory_id,
        "energy_end_of_spin_up": before,
        "energy_sampling": sampling,
        "ratio": sampling / before if before else None,
        "budget_residual": budget_residual(
            trajectory.history[time >= ensemble.spin_up]
        ),
    }


def budget_residual(history: NDArray[np.float64]) -> float | None:
    """Return the relative residual of the energy budget of a history.

        |E(end) - E(start) - int (work + dissipation) dt|
            / int (|work| + |dissipation|) dt

    Integrals use the trapezoidal rule over the rows of the history; its error, of order
    (interval / turnover time)^2, usually dominates the residual. For a stochastic
    forcing the work is the expected injection: then the random part of the injection, a
    martingale, dominates the residual of one trajectory, and only the mean over
    trajectories, or over a long time, is small. None for a single row, or if no energy
    passed through.
    """
    return _relative(_imbalance(history))


def _imbalance(history: NDArray[np.float64]) -> tuple[float, float]:
    """Return the residual of the energy budget and the energy that passed through."""
    time, energy, work, dissipation = (
        _column(history, name) for name in ("time", "energy", "work", "dissipation")
    )
    through = float(np.trapezoid(np.abs(work) + np.abs(dissipation), time))
    missing = energy[-1] - energy[0] - np.trapezoid(work + dissipation, time)
    return float(missing), through


def _relative(imbalance: Sequence[float]) -> float | None:
    missing, through = imbalance
    return abs(missing) / through if through else None


def k_max_eta(ensemble: EnsembleConfig, history: NDArray[np.float64]) -> float | None:
    """Return the resolution of a DNS: largest wavenumber times dissipation length.

        nu / eta^2 + nu_h / eta^2p = eta_Z^(1/3),
        eta_Z = <(nu k^2 + nu_h k^2p) |vorticity_hat|^2>

    eta is the length at which damping is as fast as the direct enstrophy cascade,
    (nu^3 / eta_Z)^(1/6) without hyperviscosity. Above 1 the dissipation range begins
    within the resolved wavenumbers, up to two thirds of the Nyquist wavenumber. eta_Z
    is the mean enstrophy dissipation in a history, without drag. None if there is no
    damping or no motion.
    """
    flow = ensemble.flow
    if not isinstance(flow, FlowConfig):
        return None
    lost = -_column(history, "enstrophy_dissipation")
    by_drag = 2.0 * flow.linear_drag * _column(history, "enstrophy")
    rate = max(0.0, float(np.mean(lost - by_drag))) ** (1.0 / 3.0)
    both = (flow.viscosity, 1), (flow.hyperviscosity, flow.hyperviscosity_order)
    terms = [(factor, power) for factor, power in both if factor > 0.0]
    if rate == 0.0 or not terms:
        return None
    # The k^2 at which one term alone is as fast.
    k_squared = min((rate / factor) ** (1.0 / power) for factor, power in terms)
    if len(terms) == 2:
        # Each term at that k^2 as a part of the rate, so numbers without units.
        parts = [(factor * k_squared**power / rate, power) for factor, power in terms]

        def excess(ratio: float) -> float:
            return float(sum(part * ratio**power for part, power in parts) - 1.0)

        k_squared *= float(scipy.optimize.brentq(excess, 0.0, 1.001))
    modes = truncated_modes(Grid(flow.shape, flow.lengths))
    return min(modes.largest_wavenumbers) / math.sqrt(k_squared)


def autocorrelation(fields: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean correlation of fields that are 0, 1, 2 ... snapshots apart.

    For fields of shape `(n, nx, ny)` the shape is `(n,)`; the first value is 1. A field
    at rest has no correlation with any: pairs with it do not count, and a value without
    other pairs is NaN.
    """
    flat = np.asarray(fields, np.float64).reshape(len(fields), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1)
    moves = norms > 0.0
    flat /= np.where(moves, norms, 1.0)[:, None]
    means = np.full(len(flat), math.nan)
    for lag in range(len(flat)):
        later = slice(lag, None)
        # Not a matrix product, whose order of sums depends on the number of threads.
        products = np.einsum("ik,ik->i", flat[: len(flat) - lag], flat[later])
        defined = moves[: len(flat) - lag] & moves[later]
        if defined.any():
            means[lag] = products[defined].mean()
    return means


def decorrelation_lag(correlation: NDArray[np.float64]) -> float | None:
    """Return the interpolated lag where a correlation first falls below 1 / e.

    None if it never does, as the true value is above the largest lag, or if it is not
    defined there.
    """
    below = np.flatnonzero(correlation < np.exp(-1.0))
    if not below.size:
        return None
    last = int(below[0]) - 1
    fall = correlation[last] - correlation[last + 1]
    return _defined(last + (correlation[last] - np.exp(-1.0)) / fall)


def _mean_where_defined(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of rows, NaN where all of them are."""
    counts = np.count_nonzero(~np.isnan(rows), axis=0)
    return np.where(counts > 0, np.nansum(rows, axis=0) / np.maximum(counts, 1), np.nan)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _time_scales(
    ensemble: EnsembleConfig,
    sampled: list[NDArray[np.float64]],
    correlation: NDArray[np.float64],
) -> dict[str, float | None]:
    rates = [np.sqrt(2.0 * _column(rows, "enstrophy").mean()) for rows in sampled]
    interval = ensemble.interval * float(np.mean(rates))
    lag = decorrelation_lag(correlation)
    return {
        "interval_in_turnover_times": interval,
        "decorrelation_in_turnover_times": None if lag is None else lag * interval,
        "correlation_of_successive_snapshots": (
            _defined(correlation[1]) if correlation.size > 1 else None
        ),
    }


def _column(history: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    return history[:, HISTORY.index(name)]


class _Moments:
    """Mean and variance of values that come in batches (Chan et al. 1983)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: NDArray[np.floating]) -> None:
        batch = np.asarray(values, np.float64)
        mean = float(batch.mean())
        total = self.count + batch.size
        shift = mean - self.mean
        self.squares += float(np.sum((batch - mean) ** 2))
        self.squares += shift**2 * self.count * batch.size / total
        self.mean += shift * batch.size / total
        self.count = total

    def to_dict(self) -> dict[str, float]:
        variance = self.squares / self.count
        return {
            "mean": self.mean,
            "std": float(np.sqrt(variance)),
            "rms": float(np.sqrt(variance + self.mean**2)),
        }


class _MeanSpectra:
    """Mean spectra over snapshots."""

    def __init__(self, ensemble: EnsembleConfig) -> None:
        self._flow = ensemble.flow
        if isinstance(self._flow, TwoLayerConfig):
            self._flow = replace(self._flow, num_points=ensemble.les_shape)
        self.count = 0
        self.wavenumbers: list[float] = []
        self.sums: dict[str, NDArray[np.float64]] = {}

    def add(self, trajectory: Trajectory) -> None:
        for vorticity, sgs_forcing in zip(
            trajectory.vorticity, trajectory.sgs_forcing, strict=True
        ):
            if isinstance(self._flow, TwoLayerConfig):
                wavenumbers, spectra = _layers(vorticity, sgs_forcing, self._flow)
            else:
                lengths = self._flow.lengths
                wavenumbers, energy = energy_spectrum(vorticity, lengths)
                _, variance = variance_spectrum(sgs_forcing, lengths)
                spectra = {"energy": energy, "sgs_forcing": variance}
            self.wavenumbers = [float(k) for k in wavenumbers]
            for name, one in spectra.items():
                self.sums[name] = one + self.sums.get(name, 0.0)
            self.count += 1

    def to_dict(self) -> dict[str, list[float]]:
        means = {name: total / self.count for name, total in self.sums.items()}
        return {
            "wavenumbers": self.wavenumbers,
            **{name: [float(entry) for entry in mean] for name, mean in means.items()},
        }


def _layers(
    potential_vorticity: NDArray[np.floating],
    sgs_forcing: NDArray[np.floating],
    flow: TwoLayerConfig,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return wavenumbers and the spectra of one snapshot of two layers."""
    centred = potential_vorticity - potential_vorticity.mean((1, 2), keepdims=True)
    of_flow = layer_spectra(centred, flow)
    spectra = {"potential_energy": of_flow.potential_energy}
    size = of_flow.wavenumbers.size
    for number, layer in enumerate(("upper", "lower")):
        spectra[f"energy_{layer}"] = of_flow.kinetic_energy[number]
        _, variance = variance_spectrum(sgs_forcing[number], flow.lengths)
        spectra[f"sgs_forcing_{layer}"] = variance[:size]
    return of_flow.wavenumbers, spectra
