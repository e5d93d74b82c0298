"""The figures of online_les.py: one panel for networks, one for classic closures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_spectral_tl import plotting
from turbulence_data.a_posteriori import Comparison

TRUTH = "filtered DNS"
Curve = tuple[np.ndarray, np.ndarray]


class Curves:
    """The curve of every closure in every figure, `(x, y)`."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.statistics = comparison.statistics
        truth = self.statistics[TRUTH]
        self.shells = slice(1, len(truth.wavenumbers) * 2 // 3)

    def spectrum(self, quantity: str) -> Callable[[str], Curve]:
        def curve(name: str) -> Curve:
            found = self.statistics[name]
            return found.wavenumbers[self.shells], getattr(found, quantity)[self.shells]

        return curve

    def history(self, quantity: str) -> Callable[[str], Curve]:
        def curve(name: str) -> Curve:
            found = self.statistics[name]
            turnover = self.comparison.turnover_time
            return found.times / turnover, getattr(found, quantity).mean(axis=1)

        return curve

    def density(self, name: str) -> Curve:
        found = self.statistics[name].distribution
        if found is None:
            return np.zeros(0), np.zeros(0)
        return found.centres, np.where(found.density, found.density, np.nan)

    def correlation(self, name: str) -> Curve:
        times = self.statistics[name].times / self.comparison.turnover_time
        if name == TRUTH:
            return times, np.ones_like(times)
        return times, np.nan_to_num(self.comparison.correlation[name]).mean(axis=1)


def draw(
    out: Path, comparison: Comparison, groups: Mapping[str, Sequence[str]]
) -> None:
    """Writes a PNG file a figure.

    Args:
        out: the folder.
        comparison: what is shown.
        groups: title of a panel -> names of its closures.
    """
    curves = Curves(comparison)
    time = "time in eddy turnovers"
    energy, enstrophy, transfer = map(
        curves.spectrum, ("energy_spectrum", "enstrophy_spectrum", "enstrophy_transfer")
    )
    figures: dict[str, tuple[Callable[[str], Curve], str, str, str]] = {
        "energy_spectra": (energy, "k", "E(k)", "xy"),
        "enstrophy_spectra": (enstrophy, "k", "Z(k)", "xy"),
        "transfer": (transfer, "k", "enstrophy given by the closure", "x"),
        "vorticity_pdf": (curves.density, "vorticity / std of DNS", "density", "y"),
        "correlation": (curves.correlation, time, "correlation with filtered DNS", ""),
        "energy": (curves.history("energy"), time, "energy", ""),
        "enstrophy": (curves.history("enstrophy"), time, "enstrophy", ""),
    }
    for name, (curve, *labels) in figures.items():
        panels = {
            title: {label: curve(label) for label in [TRUTH, *names]}
            for title, names in groups.items()
        }
        axes = plotting.plot_curves(panels, *labels)
        plotting.save_figure(axes, out / f"{name}.png")
