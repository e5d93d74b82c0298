"""The two systems, and how their spectra differ."""

from typing import Any

from keras_spectral_tl.reporting.blocks import Chart, Section, Table
from keras_spectral_tl.reporting.study import Study

_TITLE = "The two systems"


def systems(study: Study) -> Section:
    """Samples, statistics and mean spectra of base and target."""
    if not study.systems:
        return Section("systems", _TITLE, ("Nothing is known of the systems' data.",))
    rows = [
        {
            "system": name,
            "data": record["source"],
            "samples": record["num_samples"],
            "shape of x": " × ".join(map(str, record["x_shape"])),
            "shape of y": " × ".join(map(str, record["y_shape"])),
            "normalized by": record["normalization"],
        }
        for name, record in study.systems.items()
    ]
    charts = [
        chart for side in ("x", "y") for chart in _charts(study.systems, side, side)
    ]
    text = (
        "Mean spectra of the samples, channel by channel, as the network gets them: "
        "sums over the shells [k − 1/2, k + 1/2), so that a spectrum sums to the mean "
        "square."
    )
    return Section("systems", _TITLE, (text,), (Table.of_rows("Data", rows), *charts))


def _charts(records: Any, side: str, symbol: str) -> list[Chart]:
    found = {name: record[f"{side}_spectra"] for name, record in records.items()}
    channels = max(len(spectra) for spectra in found.values())
    what = {"x": "input", "y": "output"}[side]
    return [
        Chart.of_spectra(
            f"{what} channel {channel}",
            {name: s[channel] for name, s in found.items() if channel < len(s)},
            f"spectrum of {symbol}",
        )
        for channel in range(channels)
    ]
