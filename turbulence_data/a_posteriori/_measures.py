"""Energy, enstrophy and their transfers of a field, in one plane or in two layers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.diagnostics import (
    energy_spectrum,
    enstrophy_spectrum,
    enstrophy_transfer_spectrum,
    layer_energy_budget,
    layer_enstrophy_budget,
    layer_spectra,
    transfer_spectrum,
)
from turbulence_data.solver._grid import Grid, streamfunction_of
from turbulence_data.solver._modes import layers_hat

Array = NDArray[np.float64]


class Spectra(NamedTuple):
    """Spectra of one field, as sums over shells of wavenumbers.

    Attributes:
        wavenumbers: of the shells, shape `(n,)`.
        energy: shape `(n,)`; per unit area, of two layers per unit mass.
        enstrophy: shape `(n,)`, in the same way.
        energy_transfer: energy that the subgrid forcing puts into each shell.
        enstrophy_transfer: enstrophy that it puts into each shell.
    """

    wavenumbers: Array
    energy: Array
    enstrophy: Array
    energy_transfer: Array
    enstrophy_transfer: Array


class _Plane:
    layers: tuple[int, ...] = ()  # leading axes of a field

    def __init__(self, flow: FlowConfig) -> None:
        self._grid = Grid(flow.shape, flow.lengths)

    def spectra(self, field: Array, forcing: Array) -> Spectra:
        """Return the spectra of one field and of the transfers by a forcing."""
        lengths = self._grid.lengths
        wavenumbers, energy = energy_spectrum(field, lengths)
        transfers = transfer_spectrum, enstrophy_transfer_spectrum
        return Spectra(
            wavenumbers,
            energy,
            enstrophy_spectrum(field, lengths)[1],
            *(transfer(field, forcing, lengths)[1] for transfer in transfers),
        )

    def streamfunction(self, fields: Array) -> Array:
        """Return the streamfunctions of fields along a leading axis."""
        return streamfunction_of(fields, self._grid)

    def turnover_rate(self, fields: Array) -> float:
        """Return the root mean square of the relative vorticity of fields."""
        return float(np.sqrt(np.mean(fields**2)))


class _Layers:
    layers: tuple[int, ...] = (2,)

    def __init__(self, flow: TwoLayerConfig) -> None:
        self._flow = flow

    def spectra(self, field: Array, forcing: Array) -> Spectra:
        # Means move nothing; those of closures, and of single precision, are not zero.
        field, forcing = (
            part - part.mean((-2, -1), keepdims=True) for part in (field, forcing)
        )
        found = layer_spectra(field, self._flow)
        budgets = layer_energy_budget, layer_enstrophy_budget
        return Spectra(
            found.wavenumbers,
            found.energy(self._flow),
            np.asarray(np.tensordot(self._flow.depth_fractions, found.enstrophy, 1)),
            *(each(field, self._flow, forcing).terms["subgrid"] for each in budgets),
        )

    def streamfunction(self, fields: Array) -> Array:
        return self._of_streamfunctions(fields, power=0)

    def turnover_rate(self, fields: Array) -> float:
        squares = np.mean(self._of_streamfunctions(fields, power=1) ** 2, (0, 2, 3))
        return float(np.sqrt(np.dot(self._flow.depth_fractions, squares)))

    def _of_streamfunctions(self, fields: Array, power: int) -> Array:
        """Return `(-lap)^power` of the streamfunctions, shape `(n, 2, nx, ny)`."""
        found = np.empty(fields.shape)
        for place, field in enumerate(fields):
            modes, _, psi_hat = layers_hat(field, self._flow)
            found[place] = modes.to_physical(psi_hat * modes.k_squared**power)
        return found


def measures_of(flow: FlowConfig | TwoLayerConfig) -> _Plane | _Layers:
    return _Layers(flow) if isinstance(flow, TwoLayerConfig) else _Plane(flow)
