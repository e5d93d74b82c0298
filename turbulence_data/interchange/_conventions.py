"""Check of the conventions of foreign fields, by recomputing them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from turbulence_data._checks import check_example, real_array
from turbulence_data.closures import GradientModel2
from turbulence_data.diagnostics._spectra import SQUARE, Lengths
from turbulence_data.interchange._source import Example
from turbulence_data.solver._grid import Field, Grid, to_spectral


class ConventionError(ValueError):
    """Streamfunction and vorticity that do not belong together."""


@dataclass(frozen=True)
class ConventionReport:
    """Result of a check of conventions.

    Attributes:
        num_examples: number of examples checked.
        laplacian_residual: `rms(lap(psi) + vorticity) / rms(vorticity)`, 0 when right.
        laplacian_factor: c of the best fit `lap(psi) = c vorticity`, -1 when right.
        fit_residual: what the best fit leaves of lap(psi), relative to its rms.
        gradient_model_correlation: of sgs_forcing with the gradient model, which has
            its sign; NaN where one of them is constant.
    """

    num_examples: int
    laplacian_residual: float
    laplacian_factor: float
    fit_residual: float
    gradient_model_correlation: float

    @property
    def sgs_forcing_sign_looks_wrong(self) -> bool:
        """True for a negative correlation with the gradient model.

        Then either `sgs_forcing_sign` or the order of x and y is wrong: exchanging x
        and y changes the sign of the advection, so snapshots cannot tell the two apart.
        """
        return self.gradient_model_correlation < 0.0


def check_conventions(
    examples: Iterable[Example], lengths: Lengths = SQUARE, tolerance: float = 1e-2
) -> ConventionReport:
    """Check streamfunction and vorticity against each other.

    `lap(streamfunction) = -vorticity` must hold, also for filtered fields. The sign of
    sgs_forcing is only reported, by its correlation with `GradientModel2`.

    Args:
        examples: examples of this package's features.
        lengths: domain size.
        tolerance: largest relative residual; single precision leaves about 1e-5.

    Raises:
        ConventionError: for a larger residual; says which convention would fit.
        ValueError: when there are no examples.
    """
    sums = np.zeros(3)
    forcings, models = [], []
    for example in examples:
        check_example(example)
        vorticity = real_array("vorticity", example["vorticity"])
        grid = Grid((vorticity.shape[0], vorticity.shape[1]), lengths)
        laplacian, vorticity_hat = (
            to_spectral(np.asarray(example[name], np.float64)) * factor
            for name, factor in (
                ("streamfunction", -grid.k_squared),
                ("vorticity", grid.k_squared > 0.0),
            )
        )
        pairs = [laplacian, laplacian, vorticity_hat], [laplacian, *[vorticity_hat] * 2]
        sums += [
            float(np.sum(grid.hermitian_weights * (np.conj(a) * b).real))
            for a, b in zip(*pairs, strict=True)
        ]
        forcings.append(np.asarray(example["sgs_forcing"], np.float64))
        models.append(GradientModel2(lengths=lengths)(vorticity, vorticity))
    if not forcings or not sums[0] > 0.0 or not sums[2] > 0.0:
        raise ValueError(
            f"expected examples whose fields vary; received {len(forcings)} examples "
            f"with mean squares of laplacian and vorticity {sums[0]}, {sums[2]}."
        )
    laplacian_square, product, vorticity_square = (float(value) for value in sums)
    residual = max(0.0, laplacian_square + 2.0 * product + vorticity_square)
    unfit = max(0.0, laplacian_square - product**2 / vorticity_square)
    report = ConventionReport(
        num_examples=len(forcings),
        laplacian_residual=float(np.sqrt(residual / vorticity_square)),
        laplacian_factor=product / vorticity_square,
        fit_residual=float(np.sqrt(unfit / laplacian_square)),
        gradient_model_correlation=_correlation(forcings, models),
    )
    if report.laplacian_residual > tolerance:
        raise ConventionError(_explanation(report, tolerance))
    return report


def _correlation(first: list[Field], second: list[Field]) -> float:
    a, b = (np.stack(fields) - np.mean(fields) for fields in (first, second))
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / norm if norm > 0.0 else float("nan")


def _explanation(report: ConventionReport, tolerance: float) -> str:
    factor = report.laplacian_factor
    if report.fit_residual > tolerance:
        hint = (
            f"No factor mends it (the best, {factor:.4g}, leaves "
            f"{report.fit_residual:.3g}): the axes are in another order, the names "
            "belong to other fields, or the sides are of other lengths."
        )
    elif abs(factor - 1.0) <= tolerance:
        hint = (
            "laplacian(streamfunction) = +vorticity holds instead: give the other "
            "laplacian_sign."
        )
    else:
        sign = "" if factor < 0.0 else " and the other laplacian_sign"
        hint = (
            f"laplacian(streamfunction) = {factor:.6g} vorticity holds instead: were "
            "the fields normalized each by its own standard deviation, give the std of "
            f"each{sign}; are they physical, the sides are {abs(factor) ** 0.5:.6g} "
            f"times as long as the lengths given{sign}."
        )
    return (
        "laplacian(streamfunction) = -vorticity does not hold: relative residual "
        f"{report.laplacian_residual:.3g}, expected at most {tolerance:.3g}. {hint}"
    )
