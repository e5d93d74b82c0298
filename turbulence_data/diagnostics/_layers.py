"""Spectra and budgets of two-layer flow by wavenumber, which add up to the integrals.

They are per unit mass: layers are weighted by their depth fractions `d_i = H_i / H`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import check_kind
from turbulence_data.config import TwoLayerConfig
from turbulence_data.diagnostics._spectra import Spectrum
from turbulence_data.solver._grid import FieldHat, check_layers
from turbulence_data.solver._modes import Modes, layers_hat, transport_hat

_PLANE = " Of one plane see energy_spectrum, energy_budget and enstrophy_budget."


@dataclass(frozen=True)
class LayerSpectra:
    """Spectra of two layers: sums over shells `[k - dk/2, k + dk/2)`.

    Attributes:
        wavenumbers: of the shells, 0, dk, 2 dk ...
        kinetic_energy: `1/2 k^2 |psi_i|^2` of each layer, shape `(2, n)`; sums to
            `1/2 <u_i^2 + v_i^2>`, without the weight of the layer.
        potential_energy: `1/2 d_1 d_2 |psi_1 - psi_2|^2 / rd^2`, shape `(n,)`.
        enstrophy: `1/2 |q_i|^2` of each layer, shape `(2, n)`.
    """

    wavenumbers: Spectrum
    kinetic_energy: Spectrum
    potential_energy: Spectrum
    enstrophy: Spectrum

    def energy(self, flow: TwoLayerConfig) -> Spectrum:
        """Return the total energy in each shell, `1/2 sum_i d_i <psi_i q_i>` in sum."""
        upper, lower = flow.depth_fractions
        kinetic = upper * self.kinetic_energy[0] + lower * self.kinetic_energy[1]
        return np.asarray(kinetic + self.potential_energy)


@dataclass(frozen=True)
class SpectralBudget:
    """The terms of dE/dt or dZ/dt in each shell, with their sign in that equation.

    Attributes:
        wavenumbers: wavenumbers of the shells, 0, dk, 2 dk ...
        terms: name -> contribution of the term to each shell.
    """

    wavenumbers: Spectrum
    terms: Mapping[str, Spectrum]

    @property
    def total(self) -> Spectrum:
        """The time derivative in each shell: the sum of all terms."""
        return np.asarray(np.sum(list(self.terms.values()), axis=0))

    def integrals(self) -> dict[str, float]:
        """Return each term summed over all wavenumbers; transfers sum to 0."""
        return {name: float(np.sum(term)) for name, term in self.terms.items()}


def layer_spectra(potential_vorticity: ArrayLike, flow: TwoLayerConfig) -> LayerSpectra:
    """Return the spectra of energy and enstrophy of two layers.

    Args:
        potential_vorticity: physical field, shape `(2, nx, ny)`, upper layer first.
        flow: physics and grid.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for a field that does not fit the flow.

    Example:
        >>> flow = TwoLayerConfig(16, 15e3, beta=1.5e-11, bottom_drag=0.0)
        >>> x = np.arange(16) * 2 * np.pi / 16
        >>> wave = 1e-6 * np.cos(3 * x)[:, None] * np.ones((2, 1, 16))
        >>> layer_spectra(wave, flow).enstrophy.argmax(axis=1).tolist()
        [3, 3]
    """
    modes, q_hat, psi_hat = _spectral(potential_vorticity, flow)
    upper, lower = flow.depth_fractions
    stretching = 0.5 * upper * lower / flow.deformation_radius**2
    difference = np.abs(psi_hat[0] - psi_hat[1])
    wavenumbers, potential = _shell_sum(stretching * difference**2, modes)
    kinetic, enstrophy = (
        np.array([_shell_sum(one, modes)[1] for one in densities])
        for densities in (
            0.5 * modes.k_squared * np.abs(psi_hat) ** 2,
            0.5 * np.abs(q_hat) ** 2,
        )
    )
    return LayerSpectra(wavenumbers, kinetic, potential, enstrophy)


def layer_energy_budget(
    potential_vorticity: ArrayLike,
    flow: TwoLayerConfig,
    sgs_forcing: ArrayLike | None = None,
) -> SpectralBudget:
    """Return the terms of `dE/dt = sum_i d_i Re(conj(psi_i) dq_i/dt)` in each shell.

        kinetic_transfer    advection of relative vorticity
        potential_transfer  advection of the vortex stretching
        generation          energy from the mean shear
        bottom_drag, hyperviscosity, subgrid

    The transfers sum to zero. The terms are `KEflux`, `APEflux`, `APEgenspec`,
    `KEfrictionspec` and `paramspec` of pyqg, summed over shells; they do not depend on
    the sign of the streamfunction. The exponential filter of a flow is not included.

    Args:
        potential_vorticity: physical field, shape `(2, nx, ny)`, upper layer first.
        flow: physics and grid; it determines whether products are free of aliasing.
        sgs_forcing: subgrid forcing added to the right-hand side, same shape.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for fields that do not fit the flow.
    """
    modes, q_hat, psi_hat = _spectral(potential_vorticity, flow)
    vorticity_hat = modes.k_squared * psi_hat
    transfers = {
        "kinetic_transfer": -transport_hat(psi_hat, vorticity_hat, modes),
        "potential_transfer": -transport_hat(psi_hat, q_hat - vorticity_hat, modes),
    }
    shear = -1j * modes.kx * np.reshape(flow.mean_velocities, (2, 1, 1)) * q_hat
    terms = transfers | {"generation": shear}
    terms |= _losses(q_hat, psi_hat, flow, modes, sgs_forcing)
    return _budget(psi_hat, terms, flow, modes)


def layer_enstrophy_budget(
    potential_vorticity: ArrayLike,
    flow: TwoLayerConfig,
    sgs_forcing: ArrayLike | None = None,
) -> SpectralBudget:
    """Return the terms of `dZ/dt = sum_i d_i Re(conj(q_i) dq_i/dt)` in each shell.

        transfer     advection of potential vorticity, which sums to zero
        generation   -<q_i v_i> times the mean gradients of potential vorticity
        bottom_drag, hyperviscosity, subgrid

    Z is the potential enstrophy `1/2 sum_i d_i <q_i^2>`; transfer is pyqg's `ENSflux`.

    Args:
        potential_vorticity: physical field, shape `(2, nx, ny)`, upper layer first.
        flow: physics and grid.
        sgs_forcing: what an LES adds to the right-hand side, likewise.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for fields that are not of the flow.
    """
    modes, q_hat, psi_hat = _spectral(potential_vorticity, flow)
    gradients = np.reshape(flow.mean_gradients, (2, 1, 1))
    terms = {
        "transfer": -transport_hat(psi_hat, q_hat, modes),
        "generation": 1j * modes.kx * gradients * psi_hat,
    } | _losses(q_hat, psi_hat, flow, modes, sgs_forcing)
    return _budget(q_hat, terms, flow, modes)


def barotropic_conversion(
    potential_vorticity: ArrayLike, flow: TwoLayerConfig
) -> tuple[Spectrum, Spectrum]:
    """Return wavenumbers and the energy conversion to the barotropic flow by shell.

        C(k) = -sum over the shell of Re(conj(psi_b) (sum_i d_i J_i - J_b)),
        J_i = div((u_i + U_i) q_i) + Q_i v_i,  J_b = div(u_b zeta_b),
        psi_b = sum_i d_i psi_i

    The energy comes from the baroclinic flow and the shear; the self-interaction of the
    barotropic flow, J_b, only moves energy between shells.

    Args:
        potential_vorticity: physical field, shape `(2, nx, ny)`, upper layer first.
        flow: physics and grid.

    Raises:
        TypeError: for a flow of another type.
        ValueError: for a field that is not one of the flow.
    """
    modes, q_hat, psi_hat = _spectral(potential_vorticity, flow)
    weights = np.reshape(flow.depth_fractions, (2, 1, 1))
    gradients = np.reshape(flow.mean_gradients, (2, 1, 1))
    advection = transport_hat(psi_hat, q_hat, modes, flow.mean_velocities)
    advection -= 1j * modes.kx * gradients * psi_hat
    barotropic = np.sum(weights * psi_hat, axis=0)
    both = np.stack([barotropic] * 2)
    own = transport_hat(both, modes.k_squared * both, modes)[0]
    conversion = np.sum(weights * advection, axis=0) - own
    return _shell_sum(-(barotropic.conj() * conversion).real, modes)


def _shell_sum(density: NDArray[np.float64], modes: Modes) -> tuple[Spectrum, Spectrum]:
    """Return the wavenumbers of shells and the sum over the resolved modes of each."""
    grid, mask = modes.quadrature, modes.mask
    shells = grid.shells[:, : modes.shape[1]][mask]
    sums = np.bincount(shells, (density * modes.hermitian_weights)[mask])
    wavenumbers = np.arange(sums.size, dtype=np.float64) * grid.shell_width
    return wavenumbers, np.asarray(sums, np.float64)


def _spectral(
    potential_vorticity: ArrayLike, flow: TwoLayerConfig
) -> tuple[Modes, FieldHat, FieldHat]:
    """Return modes, and coefficients of potential vorticity and streamfunction."""
    check_kind("flow", flow, TwoLayerConfig, _PLANE)
    fields = check_layers("potential_vorticity", potential_vorticity, flow.shape)
    return layers_hat(fields, flow)


def _losses(
    q_hat: FieldHat,
    psi_hat: FieldHat,
    flow: TwoLayerConfig,
    modes: Modes,
    sgs_forcing: ArrayLike | None,
) -> dict[str, FieldHat]:
    """Return the contributions of drag, hyperviscosity and subgrid to `dq/dt`."""
    drag = np.zeros_like(q_hat)
    drag[1] = -flow.bottom_drag * modes.k_squared * psi_hat[1]
    steep = flow.hyperviscosity * modes.k_squared**flow.hyperviscosity_order
    terms = {"bottom_drag": drag, "hyperviscosity": -steep * q_hat}
    if sgs_forcing is not None:
        forcing = check_layers("sgs_forcing", sgs_forcing, flow.shape)
        terms["subgrid"] = modes.from_physical(forcing)
    return terms


def _budget(
    by_hat: FieldHat, terms: dict[str, FieldHat], flow: TwoLayerConfig, modes: Modes
) -> SpectralBudget:
    weights, sums = np.reshape(flow.depth_fractions, (2, 1, 1)), {}
    for name, term in terms.items():
        density = np.sum(weights * (by_hat.conj() * term).real, axis=0)
        wavenumbers, sums[name] = _shell_sum(density, modes)
    return SpectralBudget(wavenumbers, sums)
