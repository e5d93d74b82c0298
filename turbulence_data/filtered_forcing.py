"""The forcing of an LES: the filtered forcing of its DNS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from turbulence_data._checks import as_pair, check_kind, check_positive
from turbulence_data.config import FlowConfig
from turbulence_data.filtering import Filter, filter_response
from turbulence_data.solver._forcing import Drive, Forcing, ForcingLike, as_forcing
from turbulence_data.solver._grid import FieldHat, Grid, resize
from turbulence_data.solver._modes import Modes, truncated_modes


def les_forcing(
    forcing: ForcingLike,
    flow: FlowConfig,
    num_points: int | tuple[int, int],
    filter: str | Filter = "gaussian",
    filter_width: float | None = None,
) -> FilteredForcing:
    """Returns what drives an LES of the filtered fields of a flow with this forcing.

    Filtering the equation filters its forcing too. `filtering.les_flow` does the same
    for the forcing that a flow has of its own.

    Args:
        forcing: what drives the DNS, as of `evolve`.
        flow: the flow of the DNS.
        num_points: LES points.
        filter: as in `filtering.filtered_dns`.
        filter_width: as there; two LES cells by default.

    Raises:
        TypeError: for what is no forcing.
        ValueError: for a width that is not positive.

    Example:
        >>> from turbulence_data.solver._forcing import SteadyForcing
        >>> flow = FlowConfig(64, 1000.0, forcing_wavenumber=None)
        >>> jets = SteadyForcing(lambda x, y: np.sin(4.0 * y))
        >>> filtered = les_forcing(jets, flow, 16, "gaussian", 0.5)
        >>> hat = filtered.on(truncated_modes(Grid((16, 16)))).steady
        >>> bool(np.isclose(2.0 * abs(hat[0, 4]), np.exp(-(4.0**2) * 0.5**2 / 24.0)))
        True
    """
    check_kind("flow", flow, FlowConfig)
    coarse = Grid(as_pair(num_points), flow.lengths)
    if filter_width is None:
        filter_width = 2.0 * max(coarse.spacing)
    return FilteredForcing(as_forcing(forcing), flow.shape, filter, filter_width)


@dataclass(frozen=True)
class FilteredForcing:
    """A forcing as an LES feels it: filtered on the grid of the DNS, then truncated.

    A source that changes in time is evaluated on the grid of the DNS, so that its small
    scales are filtered and not folded onto the large ones. Noise keeps its stream: an
    LES with the same steps meets the filtered kicks of its DNS.

    Attributes:
        forcing: what drives the DNS.
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
        """Returns the filtered forcing on the modes of an LES."""
        fine = truncated_modes(Grid(self.dns_points, modes.grid.lengths))
        drive = self.forcing.on(fine)
        response = filter_response(self.filter, fine.grid, self.filter_width)

        def filtered(source_hat: FieldHat) -> FieldHat:
            full = np.zeros(response.shape, complex)
            full[:, : fine.shape[1]] = source_hat
            full *= response
            wide = resize(full, fine.grid.num_points, modes.quadrature.num_points)
            kept = wide[:, : modes.shape[1]] * modes.mask
            return kept.astype(modes.complex_dtype)

        steady, varying, noise = drive.steady, drive.varying, drive.noise
        return Drive(
            None if steady is None else filtered(steady),
            None if varying is None else lru_cache(1)(lambda t: filtered(varying(t))),
            None if noise is None else noise.filtered(response, modes),
        )

    def for_trajectory(self, ensemble_seed: int, trajectory_id: int) -> FilteredForcing:
        """Returns the filtered forcing of one trajectory of an ensemble."""
        forcing = self.forcing.for_trajectory(ensemble_seed, trajectory_id)
        return replace(self, forcing=forcing)
