"""What the data card of a generated dataset says in numbers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.diagnostics import energy_spectrum, variance_spectrum
from turbulence_data.sampling import SPLITS, EnsembleConfig, Trajectory
from turbulence_data.trajectory_store import FIELDS, config_hash, plain_config

_DISTRIBUTION = "keras-spectral-tl"
_LIBRARIES = ("numpy", "scipy", "pyfftw", "tensorflow-datasets")
_CONVENTIONS = {
    "axes": "axis 0 is x, axis 1 is y",
    "velocity": "u = d(streamfunction)/dy, v = -d(streamfunction)/dx",
    "streamfunction": "laplacian(streamfunction) = -vorticity",
    "filter": "gaussian exp(-k^2 filter_width^2 / 24), then spectral truncation",
    "spectra": "sum over the shell [k - 1/2, k + 1/2)",
}


def package_version() -> str:
    """Returns the installed version, or "0+unknown" where nothing is installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def content_hash(examples: Iterable[Mapping[str, Any]]) -> str:
    """Returns the SHA-256 of decoded examples, in order.

    Names, types, shapes and bytes count. Unlike a hash of the files it does not depend
    on the file format, on compression or on how features are laid out.

    Args:
        examples: decoded examples, of NumPy arrays, eager tensors or plain numbers.
    """
    digest = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            array = np.asarray(example[name])
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def ensemble_statistics(
    ensemble: EnsembleConfig, load: Callable[[int], Trajectory]
) -> dict[str, Any]:
    """Returns statistics, conventions and versions as JSON-ready values.

    Moments and spectra are those of the train split alone; the largest Courant ratio
    and the energy history cover every split. One trajectory is in memory at a time.

    Args:
        ensemble: what was simulated.
        load: returns a trajectory of a given number.
    """
    moments = {name: _Moments() for name in FIELDS}
    spectra = _MeanSpectra(ensemble.flow.lengths)
    history: list[dict[str, Any]] = []
    courant = 0.0
    correlations: list[float] = []
    rates: list[float] = []
    for split in SPLITS:
        for trajectory_id in ensemble.trajectory_ids(split):
            trajectory = load(trajectory_id)
            courant = max(courant, float(trajectory.history[:, 3].max()))
            history.append({"split": split, **energy_levels(ensemble, trajectory)})
            if split != "train":
                continue
            for name, moment in moments.items():
                moment.add(getattr(trajectory, name))
            spectra.add(trajectory)
            correlations += _successive_correlations(trajectory.vorticity)
            sampling = trajectory.history[:, 0] >= ensemble.spin_up
            rates.append(float(np.sqrt(2.0 * trajectory.history[sampling, 2].mean())))
    return {
        "pi_convention": "rhs_add",
        "conventions": _CONVENTIONS,
        "fields": {name: moment.to_dict() for name, moment in moments.items()},
        "spectra": spectra.to_dict(),
        "largest_courant_ratio": courant,
        "energy_history": history,
        "interval_in_turnover_times": ensemble.interval * float(np.mean(rates)),
        "correlation_of_successive_snapshots": (
            float(np.mean(correlations)) if correlations else None
        ),
        "config": plain_config(ensemble),
        "config_hash": config_hash(ensemble),
        "versions": _versions(),
    }


def energy_levels(ensemble: EnsembleConfig, trajectory: Trajectory) -> dict[str, Any]:
    """Returns the evidence that the energy of a DNS had levelled off.

    Two means of the energy, over the last quarter of the spin-up and over the sampling
    period; their ratio is near 1 for a statistically steady flow. The first is None
    when the spin-up is too short to have been looked at.
    """
    time, energy = trajectory.history[:, 0], trajectory.history[:, 1]
    last_quarter = (time >= 0.75 * ensemble.spin_up) & (time < ensemble.spin_up)
    sampling = float(energy[time >= ensemble.spin_up].mean())
    before = float(energy[last_quarter].mean()) if last_quarter.any() else None
    return {
        "trajectory": trajectory.trajectory_id,
        "energy_end_of_spin_up": before,
        "energy_sampling": sampling,
        "ratio": sampling / before if before else None,
    }


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

    def __init__(self, lengths: tuple[float, float]) -> None:
        self.lengths = lengths
        self.count = 0
        self.wavenumbers: list[float] = []
        self.sums: dict[str, NDArray[np.float64]] = {}

    def add(self, trajectory: Trajectory) -> None:
        for vorticity, sgs_forcing in zip(
            trajectory.vorticity, trajectory.sgs_forcing, strict=True
        ):
            wavenumbers, energy = energy_spectrum(vorticity, self.lengths)
            _, variance = variance_spectrum(sgs_forcing, self.lengths)
            self.wavenumbers = [float(k) for k in wavenumbers]
            for name, one in (("energy", energy), ("sgs_forcing", variance)):
                self.sums[name] = one + self.sums.get(name, 0.0)
            self.count += 1

    def to_dict(self) -> dict[str, list[float]]:
        means = {name: total / self.count for name, total in self.sums.items()}
        return {
            "wavenumbers": self.wavenumbers,
            **{name: [float(entry) for entry in mean] for name, mean in means.items()},
        }


def _successive_correlations(fields: NDArray[np.floating]) -> list[float]:
    pairs = itertools.pairwise(fields)
    return [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs]


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {
        "turbulence_data": package_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        **versions,
    }
