"""The base of closures with a formula: from fields to coefficients and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from turbulence_data._checks import TWO_PI, as_lengths, as_pair, check_positive
from turbulence_data.closures._formulas import SpectralOperators
from turbulence_data.filtering import default_width
from turbulence_data.solver._equation import AddForcing
from turbulence_data.solver._grid import Field, FieldHat, Grid, resize
from turbulence_data.solver._modes import Modes


@dataclass(frozen=True, kw_only=True)
class ClassicClosure(ABC):
    """A closure given by a formula: `(vorticity, streamfunction) -> sgs_forcing`.

    Called with physical fields of shape `(..., nx, ny)`, so with ensembles too. In a
    simulation the solver asks `on(modes)` for a function of coefficients instead, which
    saves the transforms between.

    Attributes:
        filter_width: D, of the filter of the LES; None is two cells of its grid.
        lengths: domain size.
    """

    filter_width: float | None = None
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    accepts_batches = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        if self.filter_width is not None:
            check_positive("filter_width", self.filter_width)

    @abstractmethod
    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Return the coefficients of sgs_forcing, shape `(..., nx, ny // 2 + 1)`."""

    def __call__(self, vorticity: Field, streamfunction: Field) -> Field:
        """Return sgs_forcing, to be added to the right-hand side of the LES."""
        values = np.asarray(vorticity)
        operators = self.operators(as_pair(values.shape[-2:]))
        hat = self.forcing_hat(operators.to_spectral(values), operators)
        return operators.to_physical(hat).astype(values.dtype, copy=False)

    def on(self, modes: Modes) -> AddForcing:
        """Return `(vorticity_hat, out)`, which adds sgs_forcing on these modes."""
        self.check_domain(modes)
        points, wide = modes.grid.num_points, modes.quadrature.num_points
        operators = self.operators(points)
        columns = modes.shape[1]

        def add_forcing(vorticity_hat: FieldHat, out: FieldHat) -> None:
            hat = self.forcing_hat(resize(vorticity_hat, wide, points), operators)
            out += resize(hat, points, wide)[:, :columns]

        return add_forcing

    def check_domain(self, modes: Modes) -> None:
        """Raise ValueError when the domain of the modes is not `lengths`."""
        if modes.grid.lengths != self.lengths:
            raise ValueError(
                f"{type(self).__name__} was made for a domain of {self.lengths}; the "
                f"flow's is {modes.grid.lengths}. Give it lengths=flow.lengths."
            )

    def operators(self, num_points: tuple[int, int]) -> SpectralOperators:
        """Return the operators on a grid of this domain."""
        return _operators(num_points, self.lengths, self.filter_width)


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

    # The flow may have layers, unlike that of a formula for one plane.
    any_layers: ClassVar[bool] = True

    def forcing_hat(
        self, vorticity_hat: FieldHat, operators: SpectralOperators
    ) -> FieldHat:
        """Return zeros."""
        return 0.0 * vorticity_hat

    def on(self, modes: Modes) -> AddForcing:
        """Return a function that does nothing."""
        return lambda vorticity_hat, out: None


@lru_cache(maxsize=16)
def _operators(
    num_points: tuple[int, int],
    lengths: tuple[float, float],
    filter_width: float | None,
) -> SpectralOperators:
    grid = Grid(num_points, lengths)
    return SpectralOperators(grid, filter_width or default_width(grid))
