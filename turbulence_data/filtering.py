"""Filters: fields, subgrid terms and forcing of an LES, computed from its DNS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_pair,
    check_filter_width,
    check_finite,
    check_kind,
    check_positive,
)
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.solver._forcing import Drive, Forcing, ForcingLike, as_forcing
from turbulence_data.solver._grid import (
    Field,
    FieldHat,
    Grid,
    check_coarser,
    check_field,
    check_response,
    field_shape,
    from_padded_grid,
    jacobian_hat,
    on_padded_grid,
    resize,
    streamfunction_hat,
    to_physical,
    to_spectral,
    velocity_hat,
)
from turbulence_data.solver._modes import Modes, truncated_modes

Filter = Callable[[Grid, float], NDArray[np.float64]]
"""`(grid, width) -> transfer function` on the grid's modes."""


def gaussian_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Return the transfer function `exp(-k^2 width^2 / 24)` (Pope 2000, table 13.2)."""
    return np.asarray(np.exp(-grid.k_squared * (width**2 / 24.0)))


def box_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Return that of a mean over a square, `sinc(kx width / 2) sinc(ky width / 2)`."""
    scale = width / TWO_PI  # np.sinc(x) = sin(pi x) / (pi x)
    return np.asarray(np.sinc(grid.kx * scale) * np.sinc(grid.ky * scale))


def sharp_filter(grid: Grid, width: float) -> NDArray[np.float64]:
    """Return that of a sharp cut-off: 1 for `|k| < pi / width` in each direction."""
    # The offset makes round-off irrelevant: the wavenumber pi / width is removed.
    cutoff = np.pi / width * (1.0 - 1e-12)
    kept = np.maximum(np.abs(grid.kx), np.abs(grid.ky)) < cutoff
    return kept.astype(np.float64)


FILTERS: dict[str, Filter] = {
    "gaussian": gaussian_filter,
    "box": box_filter,
    "sharp": sharp_filter,
}


def filter_response(
    filter: str | Filter, grid: Grid, width: float
) -> NDArray[np.float64]:
    """Return the checked transfer function of a filter on the modes of a grid."""
    check_filter_width(width, grid.lengths)
    if not (callable(filter) or (isinstance(filter, str) and filter in FILTERS)):
        raise ValueError(
            f"unknown filter {filter!r}; expected one of {sorted(FILTERS)} or a "
            "callable (grid, width) -> transfer function."
        )
    response = filter if callable(filter) else FILTERS[filter]
    return check_response("a filter", response(grid, width), grid)


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


@dataclass(frozen=True)
class SubgridStresses:
    """Filtered velocity and the subgrid stresses on the LES grid, float64.

    Attributes:
        velocity: filtered `(u, v)`, shape `(nx, ny, 2)`.
        tau: subgrid stress `(tau_xx, tau_xy, tau_yy)`, shape `(nx, ny, 3)`.
        sigma: subgrid flux of vorticity `(sigma_x, sigma_y)`, shape `(nx, ny, 2)`.
    """

    velocity: Field
    tau: Field
    sigma: Field


def filtered_dns(
    vorticity: ArrayLike,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
    lengths: tuple[float, float] = (TWO_PI, TWO_PI),
) -> FilteredFields:
    """Filter a DNS field and compute the exact subgrid forcing of its LES.

        Pi = J(filtered psi, filtered omega) - filter(J(psi, omega))

    Both Jacobians are free of aliasing (3/2 padding). The filter acts in spectral
    space; then wavenumbers at and above the LES Nyquist wavenumber are cut off.

    Args:
        vorticity: DNS vorticity, shape `(nx, ny)`, axis 0 is x.
        num_points: LES points, one number or a pair, fewer than the DNS has.
        filter: "gaussian", "box", "sharp", or a callable `(grid, width) -> transfer
            function` of the shape of the grid's modes.
        filter_width: width of the filter; two LES cells by default.
        lengths: domain size.

    Raises:
        ValueError: for an invalid field, an LES grid that is not coarser, an unknown
            filter, or a width that is not positive or exceeds the domain.

    Example:
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> single_mode = np.cos(3 * x)[:, None] * np.ones((1, 32))
        >>> pi = filtered_dns(single_mode, 16).sgs_forcing  # J = 0 for a single mode
        >>> bool(np.abs(pi).max() < 1e-14)
        True
    """
    pair = _FilteredPair(vorticity, num_points, filter, filter_width, lengths)
    coarse = pair.coarse
    sgs_forcing_hat = jacobian_hat(pair.resolved_hat, coarse) - pair.filtered(
        jacobian_hat(pair.vorticity_hat, pair.fine)
    )
    psi_hat = streamfunction_hat(pair.resolved_hat, coarse)
    hats = psi_hat, pair.resolved_hat, sgs_forcing_hat
    return FilteredFields(*(to_physical(hat, coarse.num_points) for hat in hats))


def subgrid_stresses(
    vorticity: ArrayLike,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
    lengths: tuple[float, float] = (TWO_PI, TWO_PI),
) -> SubgridStresses:
    """Filter a DNS field and compute the exact subgrid stresses of its LES.

        tau_ij  = filter(u_i u_j)   - filter(u_i) filter(u_j)
        sigma_i = filter(u_i omega) - filter(u_i) filter(omega)

    Every product is free of aliasing (3/2 padding) and restricted to the modes of the
    LES grid, as in `filtered_dns`, so that both hold to round-off:

        sgs_forcing = -div(sigma) = -curl(div(tau)),   curl(a) = d_x a_y - d_y a_x

    Args:
        vorticity: DNS vorticity, shape `(nx, ny)`, axis 0 is x.
        num_points: LES points, one number or a pair, fewer than the DNS has.
        filter: as in `filtered_dns`.
        filter_width: as there; two LES cells by default.
        lengths: domain size.

    Raises:
        ValueError: as `filtered_dns`.

    Example:
        >>> x = np.arange(32) * 2 * np.pi / 32
        >>> shear = np.cos(3 * x)[:, None] * np.ones((1, 32))  # v(x): no flux along x
        >>> stresses = subgrid_stresses(shear, 16)
        >>> stresses.tau.shape, bool(np.abs(stresses.sigma[..., 0]).max() < 1e-14)
        ((16, 16, 3), True)
    """
    pair = _FilteredPair(vorticity, num_points, filter, filter_width, lengths)
    coarse = pair.coarse
    stresses_hat = pair.filtered(_products_hat(pair.vorticity_hat, pair.fine))
    stresses_hat -= _products_hat(pair.resolved_hat, coarse)
    psi_hat = streamfunction_hat(pair.resolved_hat, coarse)
    stresses = _channels_last(stresses_hat, coarse)
    return SubgridStresses(
        velocity=_channels_last(np.stack(velocity_hat(psi_hat, coarse)), coarse),
        tau=stresses[..., :3],
        sigma=stresses[..., 3:],
    )


def _products_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Return coefficients of `u u, u v, v v, u omega, v omega` on the grid's modes."""
    velocity = velocity_hat(streamfunction_hat(vorticity_hat, grid), grid)
    u, v, omega = on_padded_grid(grid, *velocity, vorticity_hat)
    products = np.stack([u * u, u * v, v * v, u * omega, v * omega])
    return from_padded_grid(grid, products)


def _channels_last(fields_hat: FieldHat, grid: Grid) -> Field:
    fields: NDArray[np.float64] = to_physical(fields_hat, grid.num_points)
    return np.ascontiguousarray(np.moveaxis(fields, 0, -1))


class _FilteredPair:
    """A DNS field and its filtered field, as coefficients on their grids."""

    def __init__(
        self,
        vorticity: ArrayLike,
        num_points: int | tuple[int, int],
        filter: str | Filter,
        filter_width: float | None,
        lengths: tuple[float, float],
    ) -> None:
        self.fine = Grid(field_shape(vorticity), lengths)
        self.coarse = Grid(as_pair(num_points), lengths)
        check_coarser(self.coarse, self.fine)
        width = width_of(self.coarse, filter_width)
        self._transfer = filter_response(filter, self.fine, width)
        field = check_field("vorticity", vorticity, self.fine.num_points)
        self.vorticity_hat = to_spectral(field)
        self.resolved_hat = self.filtered(self.vorticity_hat)

    def filtered(self, field_hat: FieldHat) -> FieldHat:
        """Return coefficients filtered and truncated to the LES grid."""
        points = self.fine.num_points, self.coarse.num_points
        return resize(self._transfer * field_hat, *points)


def width_of(coarse: Grid, filter_width: float | None) -> float:
    """Return the filter width, by default two cells of the LES grid."""
    return 2.0 * max(coarse.spacing) if filter_width is None else filter_width


_Flow = TypeVar("_Flow", bound=FlowConfig | TwoLayerConfig)


def les_flow(
    flow: _Flow,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
) -> _Flow:
    """Return the flow that an LES of the filtered fields obeys, on its own grid.

    Filtering the equation also filters its forcing: the amplitude becomes that of
    `filter(f)`, `exp(-k_f^2 width^2 / 24)` for the Gaussian filter. At k_f = 16 on 64
    points this is 0.66; without it the forcing would be 50 % too strong. A filter that
    treats the cosines along x and along y differently, or moves them, leaves more than
    an amplitude: then, as for a forcing passed to `evolve`, use `les_forcing`.
    Two-layer flow is driven by its shear, which filters do not change: only the grid
    differs, and filter and width have no effect.

    Args:
        flow: the flow of the DNS.
        num_points: LES points.
        filter: as in `filtered_dns`.
        filter_width: as in `filtered_dns`.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for a grid that does not hold the forcing, or a filter that changes
            more of it than its amplitude.

    Example:
        >>> flow = FlowConfig(256, 1000.0, forcing_wavenumber=16)
        >>> round(les_flow(flow, 64).forcing_amplitude / flow.forcing_amplitude, 2)
        0.66
    """
    if isinstance(flow, TwoLayerConfig):
        return replace(flow, num_points=as_pair(num_points))
    check_kind("flow", flow, FlowConfig)
    coarse = Grid(as_pair(num_points), flow.lengths)
    amplitude = flow.forcing_amplitude
    try:
        replace(flow, num_points=coarse.num_points)
    except ValueError as error:  # for a forcing that is not resolved
        waves = float(flow.forcing_wavenumber or 0) * np.array(flow.lengths) / TWO_PI
        if any(2.0 * np.round(waves) >= coarse.num_points):
            raise
        raise ValueError(
            f"{error} An LES keeps all wavenumbers below Nyquist, so it holds this one "
            f"as a forcing of its own: {_AS_FORCING}"
        ) from None
    if flow.forcing_wavenumber is not None:
        fine, width = Grid(flow.shape, flow.lengths), width_of(coarse, filter_width)
        transfer = filter_response(filter, fine, width)
        amplitude *= _response_of_cosines(transfer, flow.forcing_wavenumber, fine)
    return replace(flow, num_points=coarse.num_points, forcing_amplitude=amplitude)


_AS_FORCING = (
    "give it as a forcing, FlowConfig(..., forcing_wavenumber=None) and les_forcing("
    "SteadyForcing(lambda x, y: -a * k_f * (cos(k_f * x) + cos(k_f * y))), flow, "
    "num_points, filter, width), a its forcing_amplitude."
)


def _response_of_cosines(transfer: NDArray[Any], k: int, grid: Grid) -> float:
    """Return the factor of `cos(k x)` and `cos(k y)` by a transfer function."""
    along_x, along_y = (round(k * length / TWO_PI) for length in grid.lengths)
    modes = (along_x, 0), (-along_x, 0), (0, along_y)
    responses = np.array([transfer[mode] for mode in modes])
    factor = float(responses[-1].real)
    if np.abs(responses - factor).max() > 1e-9 * np.abs(responses).max():
        raise ValueError(
            "an LES of this flow needs a filter with one real response to the modes "
            f"(k_f, 0), (-k_f, 0) and (0, k_f) of its forcing, k_f = {k}; received "
            f"{responses.tolist()}. Otherwise the filtered forcing is no longer that "
            f"of a FlowConfig: {_AS_FORCING}"
        )
    return factor


def les_forcing(
    forcing: ForcingLike,
    flow: FlowConfig,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
    start_time: float = 0.0,
) -> FilteredForcing:
    """Return the filtered forcing for an LES of the filtered fields of a flow.

    Filtering the equation also filters its forcing. `les_flow` does the same for the
    flow's own forcing.

    Args:
        forcing: forcing of the DNS, as in `evolve`.
        flow: the flow of the DNS.
        num_points: LES points.
        filter: as in `filtered_dns`.
        filter_width: as there; two LES cells by default.
        start_time: time of the DNS when that of the LES is 0, for a forcing that varies
            in time.

    Raises:
        TypeError: for an invalid forcing.
        ValueError: for a width that is not positive, or a time that is not finite.

    Example:
        >>> from turbulence_data import SteadyForcing
        >>> flow = FlowConfig(64, 1000.0, forcing_wavenumber=None)
        >>> jets = SteadyForcing(lambda x, y: np.sin(4.0 * y))
        >>> filtered = les_forcing(jets, flow, 16, "gaussian", 0.5)
        >>> hat = filtered.on(truncated_modes(Grid((16, 16)))).steady
        >>> bool(np.isclose(2.0 * abs(hat[0, 4]), np.exp(-(4.0**2) * 0.5**2 / 24.0)))
        True
    """
    advice = " Two layers are driven by their shear alone: les_flow is all they need."
    check_kind("flow", flow, FlowConfig, advice)
    width = width_of(Grid(as_pair(num_points), flow.lengths), filter_width)
    check_finite("start_time", start_time)
    of_dns = as_forcing(forcing)
    if start_time != 0.0:
        of_dns = _LaterForcing(of_dns, float(start_time))
    return FilteredForcing(of_dns, flow.shape, filter, width)


@dataclass(frozen=True)
class _LaterForcing:
    """A forcing whose time is `start_time` when the time of a simulation is 0.

    Noise has no time; the `step_number` of a `State` selects its kicks.
    """

    forcing: Forcing
    start_time: float

    def on(self, modes: Modes) -> Drive:
        drive = self.forcing.on(modes)
        varying = drive.varying
        if varying is None:
            return drive
        return replace(drive, varying=lambda time: varying(self.start_time + time))

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> _LaterForcing:
        forcing = self.forcing.for_trajectory(ensemble_seed, trajectory_id)
        return replace(self, forcing=forcing)


@dataclass(frozen=True)
class FilteredForcing:
    """The forcing of an LES: filtered on the grid of the DNS, then truncated.

    A time-dependent source is evaluated on the grid of the DNS, so that its small
    scales are filtered and not aliased. Noise keeps its random stream: an LES with the
    same steps gets the filtered noise of its DNS.

    Attributes:
        forcing: forcing of the DNS.
        dns_points: `(nx, ny)` of the DNS.
        filter: name of a filter, or `(grid, width) -> transfer function`.
        filter_width: its width.
    """

    forcing: Forcing
    dns_points: tuple[int, int]
    filter: str | Filter
    filter_width: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "dns_points", as_pair(self.dns_points, "dns_points"))
        check_positive("filter_width", self.filter_width)

    def on(self, modes: Modes) -> Drive:
        """Return the filtered forcing on the modes of an LES."""
        fine = truncated_modes(Grid(self.dns_points, modes.grid.lengths))
        drive = self.forcing.on(fine)
        response = filter_response(self.filter, fine.grid, self.filter_width)

        def filtered(source_hat: FieldHat) -> FieldHat:
            filtered_hat = source_hat * response[:, : fine.shape[1]]
            points = fine.grid.num_points, modes.quadrature.num_points
            wide = resize(filtered_hat, *points)
            kept = wide[:, : modes.shape[1]] * modes.mask
            return kept.astype(modes.complex_dtype)

        steady, varying, noise = drive.steady, drive.varying, drive.noise
        return Drive(
            None if steady is None else filtered(steady),
            None if varying is None else lru_cache(1)(lambda t: filtered(varying(t))),
            None if noise is None else noise.filtered(response, modes),
        )

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> FilteredForcing:
        """Return the filtered forcing of one trajectory of an ensemble."""
        forcing = self.forcing.for_trajectory(ensemble_seed, trajectory_id)
        return replace(self, forcing=forcing)
