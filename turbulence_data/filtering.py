"""From resolved fields to what an LES sees: filtered fields and their sgs_forcing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, as_pair, check_filter_width
from turbulence_data.config import FlowConfig
from turbulence_data.solver._fields import (
    check_vorticity,
    field_shape,
    jacobian_hat,
    streamfunction_hat,
)
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    resize,
    to_physical,
    to_spectral,
)

Filter = Callable[[Grid, float], NDArray[np.float64]]
"""`(grid, width) -> transfer function` on the grid's modes."""


def gaussian_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Transfer function `exp(-k^2 width^2 / 24)` (Pope 2000, table 13.2)."""
    result: NDArray[np.float64] = np.exp(-grid.k_squared * (width**2 / 24.0))
    return result


def box_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Mean over a square of side `width`: `sinc(kx width / 2) sinc(ky width / 2)`."""
    scale = width / TWO_PI  # np.sinc(x) = sin(pi x) / (pi x)
    result: NDArray[np.float64] = np.sinc(grid.kx * scale) * np.sinc(grid.ky * scale)
    return result


def sharp_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Keeps `|k| < pi / width`, in each direction, and nothing else."""
    # The nudge decides round-off: the wavenumber pi / width itself is removed.
    cutoff = np.pi / width * (1.0 - 1e-12)
    kept = np.maximum(np.abs(grid.kx), np.abs(grid.ky)) < cutoff
    return kept.astype(np.float64)


FILTERS: dict[str, Filter] = {
    "gaussian": gaussian_filter,
    "box": box_filter,
    "sharp": sharp_filter,
}


@dataclass(frozen=True)
class FilteredFields:
    """Filtered fields on the LES grid, shape `(nx, ny)`, float64.

    Attributes:
        streamfunction: filtered streamfunction.
        vorticity: filtered vorticity.
        sgs_forcing: Pi = J(filtered fields) - filter(J), to be added to the right-hand
            side of the LES.
    """

    streamfunction: Field
    vorticity: Field
    sgs_forcing: Field


def filtered_dns(
    vorticity: ArrayLike,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
    lengths: tuple[float, float] = (TWO_PI, TWO_PI),
) -> FilteredFields:
    """Filters a DNS field and computes the exact subgrid forcing of its LES.

        Pi = J(filtered psi, filtered omega) - filter(J(psi, omega))

    Both Jacobians are free of aliasing (3/2 padding). The filter acts in spectral
    space; then wavenumbers from the Nyquist wavenumber of the LES grid on are cut off.

    Args:
        vorticity: DNS vorticity, shape `(nx, ny)`, axis 0 is x.
        num_points: LES points, one number or a pair, fewer than the DNS has.
        filter: "gaussian", "box", "sharp", or a callable `(grid, width) -> transfer
            function` of the shape of the grid's modes.
        filter_width: width of the filter; two LES cells by default.
        lengths: domain size.

    Raises:
        ValueError: for an unusable field, an LES grid that is not coarser, an unknown
            filter, a width that is not positive or above the length of the domain.

    Example:
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> single_mode = np.cos(3 * x)[:, None] * np.ones((1, 32))
        >>> pi = filtered_dns(single_mode, 16).sgs_forcing  # J = 0 for a single mode
        >>> bool(np.abs(pi).max() < 1e-14)
        True
    """
    fine = Grid(field_shape(vorticity), lengths)
    coarse = Grid(as_pair(num_points), lengths)
    check_coarser(fine, coarse)
    if filter_width is None:
        filter_width = 2.0 * max(coarse.spacing)
    transfer = filter_response(filter, fine, filter_width)
    vorticity_hat = to_spectral(check_vorticity(vorticity, fine))

    def filtered(field_hat: FieldHat) -> FieldHat:
        return resize(transfer * field_hat, fine.num_points, coarse.num_points)

    filtered_vorticity_hat = filtered(vorticity_hat)
    sgs_forcing_hat = jacobian_hat(filtered_vorticity_hat, coarse) - filtered(
        jacobian_hat(vorticity_hat, fine)
    )
    return FilteredFields(
        *(
            to_physical(field_hat, coarse.num_points)
            for field_hat in (
                streamfunction_hat(filtered_vorticity_hat, coarse),
                filtered_vorticity_hat,
                sgs_forcing_hat,
            )
        )
    )


def check_coarser(fine: Grid, coarse: Grid) -> None:
    """Raises ValueError unless an LES grid is coarser than that of its DNS."""
    if any(c >= f for c, f in zip(coarse.num_points, fine.num_points, strict=True)):
        raise ValueError(
            "the LES grid must be coarser than the DNS grid in both directions; "
            f"received {coarse.num_points} for a field of {fine.num_points} points."
        )


def les_flow(
    flow: FlowConfig,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
) -> FlowConfig:
    """Returns the flow that an LES of the filtered fields obeys, on its own grid.

    Filtering the equation filters its forcing too: the amplitude becomes that of
    `filter(f)`, `exp(-k_f^2 width^2 / 24)` for the Gaussian filter. At k_f = 16 on 64
    points this is 0.66, so leaving it out would over-drive the LES by a half. For a
    forcing given to `evolve` see `filtered_forcing.les_forcing`.

    Args:
        flow: the flow of the DNS.
        num_points: LES points.
        filter: as in `filtered_dns`.
        filter_width: as in `filtered_dns`.
    """
    coarse = Grid(as_pair(num_points), flow.lengths)
    if filter_width is None:
        filter_width = 2.0 * max(coarse.spacing)
    amplitude = flow.forcing_amplitude
    replace(flow, num_points=coarse.num_points)  # refuses an unresolved forcing
    if flow.forcing_wavenumber is not None:
        transfer = filter_response(filter, coarse, filter_width)
        mode = round(flow.forcing_wavenumber * flow.lengths[0] / TWO_PI)
        amplitude *= float(transfer[mode, 0])
    return replace(flow, num_points=coarse.num_points, forcing_amplitude=amplitude)


def filter_response(
    filter: str | Filter, grid: Grid, width: float
) -> NDArray[np.float64]:
    """Returns the transfer function of a filter on the modes of a grid, checked.

    Args:
        filter: as in `filtered_dns`.
        grid: the grid.
        width: width of the filter.

    Raises:
        ValueError: for an unknown filter, one that does not return finite values of
            the shape of the modes, a width that is not positive or above the length of
            the domain.
    """
    check_filter_width(width, grid.lengths)
    transfer = np.asarray(_filter_named(filter)(grid, width))
    shape = grid.k_squared.shape
    if transfer.shape != shape or not np.all(np.isfinite(transfer)):
        raise ValueError(
            "a filter must return finite values for the modes of the grid; expected "
            f"shape {shape}, received shape {transfer.shape} with "
            f"{np.count_nonzero(~np.isfinite(transfer))} values not finite."
        )
    return transfer


def _filter_named(filter_or_name: str | Filter) -> Filter:
    if callable(filter_or_name):
        return filter_or_name
    if not isinstance(filter_or_name, str) or filter_or_name not in FILTERS:
        raise ValueError(
            f"unknown filter {filter_or_name!r}; expected one of {sorted(FILTERS)} or "
            "a callable (grid, width) -> transfer function."
        )
    return FILTERS[filter_or_name]
