"""The vorticity equation of several fields at once, so that a network sees a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turbulence_data.closures import NoClosure, evaluate
from turbulence_data.config import FlowConfig
from turbulence_data.solver.equations import Closure, VorticityEquation
from turbulence_data.solver.forcing import ForcingLike
from turbulence_data.solver.modes import Modes
from turbulence_data.solver.transforms import FieldHat


class EnsembleEquation:
    """`VorticityEquation` of E members, one below the other: shape `(E nx, columns)`.

    A closure of physical fields receives all members in one call where it takes
    batches; a closure with a spectral path works member by member.

    Args:
        flow: physical parameters, those of the LES.
        modes: resolved wavenumbers.
        closure: subgrid forcing.
        num_members: E.
        forcing: what drives the flow instead of its own forcing, the same for every
            member; or None.

    Raises:
        ValueError: for a stochastic forcing, which would kick all members alike.
    """

    def __init__(
        self,
        flow: FlowConfig,
        modes: Modes,
        closure: Closure,
        num_members: int,
        forcing: ForcingLike | None = None,
    ) -> None:
        self.modes = modes
        self.num_members = num_members
        spectral = hasattr(closure, "on")
        self._closure = None if spectral else closure
        alone = closure if spectral else NoClosure(lengths=flow.lengths)
        self.member = VorticityEquation(flow, modes, alone, forcing=forcing)
        if self.member.drive.noise is not None:
            raise ValueError(
                "an ensemble of LES takes no stochastic forcing: all members would "
                "receive the same kicks. Run them one by one with `Simulation` and "
                "`forcing.for_trajectory`."
            )
        self.linear_operator: NDArray[np.inexact] = np.tile(
            self.member.linear_operator, (num_members, 1)
        )

    def nonlinear_terms(
        self, vorticity_hat: FieldHat, time: float, out: FieldHat
    ) -> None:
        """Writes advection, closure and forcing into `out`; the argument is kept."""
        members, results = self.split(vorticity_hat), self.split(out)
        for member, result in zip(members, results, strict=True):
            self.member.nonlinear_terms(member, time, result)
        if self._closure is not None:
            modes = self.modes
            vorticity = modes.to_physical(members)
            psi = modes.to_physical(members * modes.inverse_k_squared)
            results += modes.from_physical(evaluate(self._closure, vorticity, psi))

    def split(self, vorticity_hat: FieldHat) -> FieldHat:
        """Returns the same memory as `(E, nx, columns)`."""
        return vorticity_hat.reshape(self.num_members, *self.modes.shape)
