"""An LES that ignores the subgrid scales."""

from __future__ import annotations

from dataclasses import dataclass

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import FieldHat
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class NoClosure(ClassicClosure):
    """No subgrid forcing: `Pi = 0`.

    The floor of every comparison. Unlike `closure=None`, which makes a DNS with a third
    of its wavenumbers cut off, this is an LES on all wavenumbers below Nyquist.

    Example:
        >>> import numpy as np
        >>> fields = np.ones((2, 8, 8))
        >>> NoClosure()(*fields).any()
        np.False_
    """

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Returns zeros."""
        return 0.0 * vorticity_hat

    def on(self, modes: Modes) -> AddForcing:
        """Returns a function that does nothing."""
        return lambda vorticity_hat, out: None
