"""Two-layer quasi-geostrophic flow: potential vorticity, inversion, shear and drag."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from turbulence_data.coarsening import small_scale_filter
from turbulence_data.config import TwoLayerConfig, inversion, wave_matrix
from turbulence_data.solver._equation import (
    Closure,
    Equation,
    Integrals,
    LayerTerms,
    Operations,
    parts_of,
)
from turbulence_data.solver._forcing import Drive, ForcingLike
from turbulence_data.solver._grid import Field, FieldHat, Grid, check_layers
from turbulence_data.solver._modes import Modes, aliased_modes

# An unforced flow has no time scale of its own; use a day.
_DAY = 86400.0


class TwoLayerEquation(Equation):
    """Potential vorticity of two layers, advected by anomalies and a steady shear.

        d(q_i)/dt = -div(u_i q_i) - U_i d(q_i)/dx - Q_i v_i - drag - hyperviscosity

    The linear terms of a mode are a 2 x 2 matrix. Its diagonal, with the mean advection
    and most of waves and drag, is solved exactly by the schemes; the coupling of the
    layers is treated like a nonlinear term. See `TwoLayerConfig` for all terms. A
    closure acts on potential vorticity, on fields `(2, nx, ny)`.
    """

    layers = (2,)
    step_part = 0.0625
    flow: TwoLayerConfig

    def __init__(
        self,
        flow: TwoLayerConfig,
        modes: Modes,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
    ) -> None:
        if forcing is not None:
            raise ValueError(
                "two-layer flow is driven by its shear and takes no forcing; received "
                f"{forcing!r}. Change mean_velocities instead."
            )
        _check_closure(closure)
        super().__init__(flow, modes, Drive(), closure)
        matrix = linear_matrix(flow, modes)
        diagonal = np.stack([matrix[0, 0], matrix[1, 1]])
        self.linear_operator = diagonal.astype(modes.complex_dtype)
        matrix = linear_matrix(replace(flow, hyperviscosity=0.0), modes)
        coupling = np.stack([matrix[0, 1], matrix[1, 0]])
        psi_of_q = inversion(flow, modes.k_squared, modes.inverse_k_squared)
        self._terms = LayerTerms(
            psi_of_q.astype(modes.dtype),
            flow.stretching,
            coupling.astype(modes.complex_dtype),
        )
        advection = -1j * modes.kx * np.reshape(flow.mean_velocities, (2, 1, 1))
        waves = np.stack([matrix[0, 0], matrix[1, 1]]) - modes.mask * advection
        exchange = math.sqrt(np.abs(coupling[0] * coupling[1]).max(initial=0.0))
        self._wave_rate = float(max(np.abs(waves).max(initial=0.0), exchange))
        self._filter: NDArray[np.floating] | None = None
        if flow.exponential_filter != 0.0:
            given = modes.grid.spacing, flow.exponential_filter
            self._filter = small_scale_filter(modes, *given).astype(modes.dtype)

    @classmethod
    def modes_of(cls, flow: TwoLayerConfig, is_les: bool, dtype: DTypeLike) -> Modes:
        """Return the modes of the flow, those of pyqg for aliased products."""
        if flow.aliased_products:
            return aliased_modes(Grid(flow.shape, flow.lengths), dtype)
        return super().modes_of(flow, is_les, dtype)

    def nonlinear_terms(
        self, operations: Operations, state_hat: FieldHat, out: FieldHat
    ) -> None:
        """Write `-div(u_i q_i)` and the linear coupling of the layers."""
        operations.layered_advection(self._terms, state_hat, out)

    def end_step(self, state_hat: FieldHat) -> None:
        """Apply the exponential filter, in place."""
        if self._filter is not None:
            state_hat *= self._filter

    def advection_rate(self, operations: Operations, state_hat: FieldHat) -> float:
        """Return `max(|u_i| Kx + |v_i| Ky) + max|U_i| Kx` over both layers."""
        vorticity_hat = self.streamfunction_hat(state_hat) * self.modes.k_squared
        rates = [operations.advection_rate(layer) for layer in vorticity_hat]
        mean = max(map(abs, self.flow.mean_velocities))
        return float(np.max(rates)) + mean * self.modes.largest_wavenumbers[0]

    def streamfunction_hat(self, state_hat: FieldHat) -> FieldHat:
        """Return the streamfunctions of states, shape `(..., 2, nx, Ky + 1)`."""
        first, second = state_hat[..., 0, :, :], state_hat[..., 1, :, :]
        (a, b), (c, d) = self._terms.inversion
        return np.stack([a * first + b * second, c * first + d * second], axis=-3)

    def check_start(self, field: ArrayLike) -> Field:
        """Return the physical potential vorticity `(2, nx, ny)` as float64, checked."""
        return check_layers("potential_vorticity", field, self.modes.grid.num_points)

    def energy(self, state_hat: FieldHat) -> float:
        """Return kinetic and available potential energy per unit mass of one state."""
        return 0.5 * self._product(self.streamfunction_hat(state_hat), state_hat)

    def integrals(self, state_hat: FieldHat, time: float) -> Integrals:
        """Return the budget of one state.

        The energy is `1/2 sum_i (H_i / H) <psi_i q_i>`, kinetic and available potential
        energy; the enstrophy `1/2 sum_i (H_i / H) <q_i^2>`. The work is that of the
        mean shear. The losses do not include the exponential filter.
        """
        streamfunction = self.streamfunction_hat(state_hat)
        velocities = np.reshape(self.flow.mean_velocities, (2, 1, 1))
        shear = -1j * self.modes.kx * velocities * state_hat
        loss = -self.flow.hyperviscosity * (
            self.modes.k_squared**self.flow.hyperviscosity_order * state_hat
        )
        loss[1] -= self.flow.bottom_drag * self.modes.k_squared * streamfunction[1]
        return Integrals(
            self.energy(state_hat),
            0.5 * self._product(state_hat, state_hat),
            self._product(state_hat, loss),
            self._product(streamfunction, shear),
            self._product(streamfunction, loss),
        )

    @property
    def wave_rate(self) -> float:
        """The fastest frequency of linear waves, relative to the mean flow."""
        return self._wave_rate

    def longest_time_step(self, advection_rate: float) -> float:
        """Return a fiftieth of the time the shear takes to cross a deformation radius.

        It does not depend on the eddies. Without a shear it follows waves, or is a day.
        """
        upper, lower = self.flow.mean_velocities
        speed = max(
            abs(upper - lower), abs(self.flow.beta) * self.flow.deformation_radius**2
        )
        return 0.02 * self.flow.deformation_radius / speed if speed > 0.0 else _DAY

    def _product(self, a_hat: FieldHat, b_hat: FieldHat) -> float:
        """Return `sum_i (H_i / H) <a_i b_i>`, means over the area."""
        by_layer = np.reshape(self.flow.depth_fractions, (2, 1, 1))
        density = by_layer * (a_hat.conj() * b_hat).real
        return float(np.sum(self.modes.hermitian_weights * density))


def _check_closure(closure: Closure | None) -> None:
    """Refuse closures of one plane, wrapped or not."""
    for part in parts_of(closure):
        if hasattr(part, "on") and not getattr(part, "any_layers", False):
            raise TypeError(
                f"{part!r} is a closure of one plane, of its vorticity; for two "
                "layers pass closures.ByLayer(closure, lengths=flow.lengths), or a "
                "callable (potential_vorticity, streamfunction) -> sgs_forcing of "
                "fields (2, nx, ny)."
            )


def linear_matrix(flow: TwoLayerConfig, modes: Modes) -> NDArray[np.complex128]:
    """Return the matrix of the linear terms of each mode, 0 where not resolved."""
    matrix = wave_matrix(flow, modes.kx, modes.k_squared, modes.inverse_k_squared)
    return np.where(modes.mask, matrix, 0.0)
