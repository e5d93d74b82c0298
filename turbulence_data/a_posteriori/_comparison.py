"""Comparison of LES with several closures: a table of metrics over an ensemble."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._files import write_bytes
from turbulence_data._progress import Progress, check_progress, watched
from turbulence_data.a_posteriori._reference import EnsembleRun, Reference, run_ensemble
from turbulence_data.a_posteriori._statistics import (
    Bands,
    ReferenceStatistics,
    RunStatistics,
    correlations,
    thirds,
)
from turbulence_data.closures import NoClosure
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.generation._ensemble import plain_value
from turbulence_data.solver._equation import Closure
from turbulence_data.solver._grid import Grid

Row = dict[str, float | str]


@dataclass(frozen=True)
class Comparison:
    """Comparison of LES with several closures against filtered DNS.

    Attributes:
        rows: one mapping a closure, metric -> value, see `compare`.
        standard_errors: for each row, metric -> standard error over the members, by the
            jackknife: each in turn left out of the LES and of the filtered DNS.
        runs: closure -> what its ensemble did.
        statistics: closure -> its statistics; "filtered DNS" holds those of the truth.
        correlation: closure -> correlation of the vorticity with the filtered DNS from
            the same start, shape `(T, E)`.
        turnover_time: of the filtered DNS, the unit of the times in `rows`.
        bands: of the spectral errors.
    """

    rows: list[Row]
    standard_errors: list[dict[str, float]]
    runs: Mapping[str, EnsembleRun]
    statistics: Mapping[str, RunStatistics]
    correlation: Mapping[str, NDArray[np.float64]]
    turnover_time: float
    bands: Bands

    def to_markdown(self, columns: list[str] | None = None) -> str:
        """Return the table with standard errors, a line a closure.

        Args:
            columns: which, in order; all by default.
        """
        return markdown_table(self.rows, columns, self.standard_errors)

    def __str__(self) -> str:
        return self.to_markdown([n for n in self.rows[0] if n != "definition"])

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-ready values; infinite ones as strings."""
        names = ("rows", "standard_errors", "turnover_time", "bands")
        values: dict[str, Any] = plain_value({n: getattr(self, n) for n in names})
        return values

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` to a file, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        write_bytes(Path(path), text.encode())

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame, indexed by closure."""
        import pandas

        return pandas.DataFrame(self.rows).set_index("closure")

    def plot(self, ax: Any = None) -> Any:
        """Draw the energy spectra of all closures and of the filtered DNS.

        Args:
            ax: matplotlib axes; new ones by default.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        for name, found in self.statistics.items():
            style = {"color": "black", "linewidth": 2} if name == "filtered DNS" else {}
            ax.loglog(found.wavenumbers, found.energy_spectrum, label=name, **style)
        ax.set(xlabel="wavenumber (2 pi / length)", ylabel="energy in a shell")
        ax.legend()
        return ax


def compare(
    closures: Mapping[str, Closure | None],
    reference: Reference,
    time_step: float | None = None,
    bands: Bands | None = None,
    discard: float = 0.5,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Run an LES with every closure from every start field, and score them.

    Each row holds the name of the closure, what it is (its wrappers included), and

    - `stable`: part of the members that reached the end; `lasted`: mean time until a
      member blew up, or the whole duration, in eddy turnovers;
    - `energy`, `enstrophy`: means over those of the filtered DNS;
    - `E error <band>` and `Z error <band>`: mean over the shells of a band of
      `|S / S_DNS - 1|`, of the spectra of energy and of enstrophy;
    - `tails`: how often `|vorticity| > 3 std` of the filtered DNS, over how often it is
      there; `kurtosis`: over that of the filtered DNS;
    - `decorrelation`: mean over the members of the time, in turnovers, until the
      correlation with the filtered DNS from the same start is below 1/2; inf if one
      stays above;
    - `energy transfer`, `enstrophy transfer`: of the closure in its own flow, over the
      true ones. Positive: the same direction.

    Statistics are over the finite fields after the first part `discard` of the time;
    where a member has blown up, those of the filtered DNS leave out the same ones.
    A turnover is `1 / rms(vorticity)` of the filtered DNS, over all times and members.

    Args:
        closures: name -> closure; None is no closure.
        reference: filtered DNS; its members give the start fields.
        time_step: as in `run_ensemble`, the same for all.
        bands: wavenumbers of the spectral errors; by default `default_bands`.
        discard: part of the duration, at least 0 and below 1.
        progress: None for a bar in terminals where it takes more than two seconds,
            False for none; or a callable, called after each snapshot of each LES with a
            mapping of "closure", "done" and "total", how many snapshots.

    Raises:
        ValueError: without closures, for a part out of range, or a band in which there
            is no wavenumber.
        TypeError: for a progress of another kind.
    """
    check_progress(progress)
    if not closures or not 0.0 <= discard < 1.0:
        raise ValueError(
            "compare needs closures and a part of the time from 0 to below 1 to "
            f"discard; received {list(closures)} and discard={discard!r}."
        )
    bands = bands or default_bands(reference.flow)
    scored = ReferenceStatistics(reference, bands, discard)
    rows: list[Row] = []
    standard_errors = []
    runs, correlation = {}, {}
    statistics = {"filtered DNS": RunStatistics.together(scored.truth)}
    times, lengths = list(reference.times), reference.flow.lengths
    with watched(progress, "LES", "snapshots", "closure") as move:
        for number, (name, closure) in enumerate(closures.items()):
            used = NoClosure(lengths=lengths) if closure is None else closure
            run = run_ensemble(
                reference.start,
                reference.flow,
                used,
                times,
                time_step,
                progress=_moved(move, name, number, len(closures)),
            )
            members = scored.statistics(used, run.vorticity)
            runs[name], statistics[name] = run, RunStatistics.together(members)
            each = correlations(run.vorticity, reference.vorticity)
            correlation[name] = each.reshape(len(times), each.shape[1], -1).mean(-1)
            scores, errors = scored.scores(run, members, correlation[name])
            definition = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(used))  # no addresses
            rows.append({"closure": name, **scores, "definition": definition})
            standard_errors.append(errors)
    found = rows, standard_errors, runs, statistics, correlation
    return Comparison(*found, reference.turnover_time, scored.bands)


def _moved(move: Progress, closure: str, number: int, num_closures: int) -> Progress:
    """Return the progress of one LES as a part of that of all."""
    return lambda row: move(
        {
            "closure": closure,
            "done": number * row["total"] + row["done"],
            "total": num_closures * row["total"],
        }
    )


def default_bands(flow: FlowConfig | TwoLayerConfig) -> Bands:
    """Thirds on a log axis of the wavenumbers below Nyquist of both directions.

    Example:
        >>> default_bands(FlowConfig(16, reynolds=10, lengths=(np.pi, np.pi)))
        {'large scales': (2.0, 2.0), 'middle scales': (4.0, 6.0), 'small scales': \
(8.0, 14.0)}
    """
    width = Grid(flow.shape, flow.lengths).shell_width
    sides = zip(flow.shape, flow.lengths, strict=True)
    last = min((n - 1) // 2 * 2.0 * np.pi / length for n, length in sides)
    shells = thirds(2 * int(last / width + 1e-9) + 1)
    return {name: (low * width, high * width) for name, (low, high) in shells.items()}


def markdown_table(
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    standard_errors: Sequence[Mapping[str, float]] | None = None,
) -> str:
    """Return rows as a Markdown table with aligned columns; three digits a number.

    Args:
        rows: mappings of equal keys.
        columns: which, in order; all by default.
        standard_errors: of some numbers of each row; see `with_uncertainty`.

    Example:
        >>> print(markdown_table([{"closure": "none", "stable": 0.25}]))
        | closure | stable |
        |---------|--------|
        | none    | 0.25   |
    """
    names = list(columns or rows[0])
    errors = standard_errors or [{}] * len(rows)
    cells = [names] + [
        [_cell(row[name], of_row.get(name, math.nan)) for name in names]
        for row, of_row in zip(rows, errors, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join([lines[0], f"|-{rule}-|", *lines[1:]])


def _cell(value: float | str, error: float) -> str:
    return value if isinstance(value, str) else with_uncertainty(value, error)


def with_uncertainty(value: float, error: float) -> str:
    """Return a number with its standard error, rounded to what that leaves certain.

    One digit of the error, two where the first is 1; three digits of the number where
    the error is zero or not finite.

    Example:
        >>> with_uncertainty(0.8604, 0.0031), with_uncertainty(0.04, 0.098)
        ('0.860 ± 0.003', '0.04 ± 0.10')
        >>> with_uncertainty(13.52, 0.0)
        '13.5'
    """
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0.0:
        return f"{value + 0.0:.3g}"  # not -0
    exponent = math.floor(math.log10(error / 0.95))  # 0.096 is 0.10
    digits = 2 if error < 1.95 * 10.0**exponent else 1
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
