"""Comparison of LES with several closures, as a table of metrics over an ensemble."""

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
    default_bands,
)
from turbulence_data.closures import NoClosure
from turbulence_data.closures._wrappers import with_filter_width
from turbulence_data.generation._ensemble import plain_value
from turbulence_data.solver._equation import Closure

Row = dict[str, float | str]
_TRUTH = "filtered DNS"


@dataclass(frozen=True)
class Comparison:
    """Comparison of LES with several closures against filtered DNS.

    Attributes:
        rows: one mapping per closure, metric -> value, see `compare`.
        standard_errors: for each row, metric -> jackknife standard error over members,
            leaving each member out of the LES and of the filtered DNS.
        runs: closure -> results of its ensemble.
        statistics: closure -> its statistics; "filtered DNS" holds those of the truth.
        correlation: closure -> correlation of the vorticity with the filtered DNS from
            the same start, shape `(T, E)`.
        turnover_time: that of the filtered DNS, the unit of the times in `rows`.
        bands: wavenumber bands of the spectral errors.
    """

    rows: list[Row]
    standard_errors: list[dict[str, float]]
    runs: Mapping[str, EnsembleRun]
    statistics: Mapping[str, RunStatistics]
    correlation: Mapping[str, NDArray[np.float64]]
    turnover_time: float
    bands: Bands

    def to_markdown(self, columns: list[str] | None = None) -> str:
        """Return the table with standard errors, one line per closure.

        Args:
            columns: columns in order; by default all.
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
        """Write `to_dict` to a file atomically."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        write_bytes(Path(path), text.encode())

    def to_frame(self) -> Any:
        """Return the rows as a pandas DataFrame, indexed by closure."""
        import pandas

        return pandas.DataFrame(self.rows).set_index("closure")

    def plot(self, ax: Any = None) -> Any:
        """Plot the energy spectra of all closures and of the filtered DNS.

        Args:
            ax: matplotlib axes; new ones by default.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        for name, found in self.statistics.items():
            style = {"color": "black", "linewidth": 2} if name == _TRUTH else {}
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
    """Run an LES with every closure from every start field, and compute metrics.

    Each row holds the name of the closure, its definition (with wrappers), and

    - `stable`: fraction of members that reached the end; `lasted`: mean time until a
      member blew up, or the whole duration, in eddy turnovers;
    - `energy`, `enstrophy`: means divided by those of the filtered DNS;
    - `E error <band>` and `Z error <band>`: mean over the shells of a band of
      `|S / S_DNS - 1|`, of the spectra of energy and of enstrophy;
    - `tails`: frequency of `|vorticity| > 3 std` of the filtered DNS, divided by that
      in the filtered DNS; `kurtosis`: divided by that of the filtered DNS;
    - `decorrelation`: mean over members of the time, in turnovers, until the
      correlation with the filtered DNS from the same start is below 1/2; inf if one
      stays above;
    - `energy transfer`, `enstrophy transfer`: by the closure in its own flow, divided
      by the true ones. Positive means the same direction.

    Statistics are over the finite fields after the first fraction `discard` of the
    time; if a member has blown up, the same fields are left out of the filtered DNS. A
    turnover is `1 / rms(vorticity)` of the filtered DNS, over all times and members.

    Every LES is driven by the forcing of the reference. Classic closures without a
    `filter_width` of their own, within wrappers too, get that of the reference; the
    definition shows it.

    Args:
        closures: name -> closure; None is no closure.
        reference: filtered DNS; its members give the start fields.
        time_step: as in `run_ensemble`, the same for all.
        bands: wavenumber bands of the spectral errors; by default `default_bands`.
        discard: fraction of the duration, at least 0 and below 1.
        progress: None for a bar in terminals after two seconds, False for none; or a
            callable, called after each snapshot of each LES with a mapping of
            "closure", "done" and "total", numbers of snapshots.

    Raises:
        ValueError: without closures, for one named "filtered DNS", `discard` out of
            range, or an empty band.
        UnstableTimeStepError: as `run_ensemble`.
        TypeError: for an invalid progress.
    """
    check_progress(progress)
    if not closures or not 0.0 <= discard < 1.0:
        raise ValueError(
            "compare needs closures and a part of the time from 0 to below 1 to "
            f"discard; received {list(closures)} and discard={discard!r}."
        )
    if _TRUTH in closures:
        raise ValueError(
            f"{_TRUTH!r} names the reference in statistics and plots; give the closure "
            f"another name. Received {list(closures)}."
        )
    bands = bands or default_bands(reference.flow)
    scored = ReferenceStatistics(reference, bands, discard)
    rows: list[Row] = []
    standard_errors = []
    runs, correlation = {}, {}
    statistics = {_TRUTH: RunStatistics.together(scored.truth)}
    times, no_closure = list(reference.times), NoClosure(lengths=reference.flow.lengths)
    with watched(progress, "LES", "snapshots", "closure") as move:
        for number, (name, closure) in enumerate(closures.items()):
            used = no_closure if closure is None else closure
            used = with_filter_width(used, reference.filter_width)
            run = run_ensemble(
                reference.start,
                reference.flow,
                used,
                times,
                time_step,
                reference.forcing,
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
    """Return a callable that reports the progress of one LES as part of all."""
    return lambda row: move(
        {
            "closure": closure,
            "done": number * row["total"] + row["done"],
            "total": num_closures * row["total"],
        }
    )


def markdown_table(
    rows: Sequence[Row],
    columns: Sequence[str] | None = None,
    standard_errors: Sequence[Mapping[str, float]] | None = None,
) -> str:
    """Return rows as a Markdown table with aligned columns and three-digit numbers.

    Args:
        rows: mappings with equal keys.
        columns: columns in order; by default all.
        standard_errors: those of some numbers of each row; see `with_uncertainty`.

    Example:
        >>> print(markdown_table([{"closure": "none", "stable": 0.25}]))
        | closure | stable |
        |---------|--------|
        | none    | 0.25   |
    """
    names = list(columns or rows[0])
    errors = standard_errors or [{}] * len(rows)
    cells = [names] + [
        [with_uncertainty(row[name], of_row.get(name, 0.0)) for name in names]
        for row, of_row in zip(rows, errors, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join([lines[0], f"|-{rule}-|", *lines[1:]])


def with_uncertainty(value: float | str, error: float) -> str:
    """Return a number with its standard error, rounded to its significant digits.

    The error has one digit, or two if the first is 1; the number has three digits if
    the error is zero or not finite.

    Example:
        >>> with_uncertainty(0.8604, 0.0031), with_uncertainty(0.04, 0.098)
        ('0.860 ± 0.003', '0.04 ± 0.10')
        >>> with_uncertainty(13.52, 0.0)
        '13.5'
    """
    if isinstance(value, str):
        return value
    if not math.isfinite(value) or not math.isfinite(error) or error <= 0.0:
        return f"{value + 0.0:.3g}"  # not -0
    exponent = math.floor(math.log10(error / 0.95))  # 0.096 is 0.10
    digits = 2 if error < 1.95 * 10.0**exponent else 1
    decimals = max(0, digits - 1 - exponent)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
