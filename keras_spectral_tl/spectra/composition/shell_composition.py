"""How energy goes from input to output wavenumbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShellComposition:
    """Which input wavenumbers feed which output wavenumbers.

    Attributes:
        gains: (input channels, output shells, input shells): energy (mean square,
            summed over output channels) that arrives in an output shell, for a
            perturbation of mean square 1 spread evenly over the modes of an input
            shell of one channel. The sum over the output shells is the whole output
            energy (Parseval).
        standard_errors: Of the gains, over samples and probes; 0 where they are exact,
            NaN where a single probe of a single sample leaves them unknown.
        wavenumbers: The input shells.
    """

    gains: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    wavenumbers: tuple[int, ...]

    @property
    def total_gains(self) -> NDArray[np.float64]:
        """(input channels, input shells) output energy per unit of input energy."""
        return np.asarray(self.gains.sum(axis=1))

    @property
    def moved_shares(self) -> NDArray[np.float64]:
        """(input channels, input shells) share that arrives at other wavenumbers.

        0 for a chain of periodic convolutions; NaN where nothing arrives.
        """
        stayed = np.zeros_like(self.total_gains)
        for column, wavenumber in enumerate(self.wavenumbers):
            if wavenumber < self.gains.shape[1]:
                stayed[:, column] = self.gains[:, wavenumber, column]
        unknown = np.full_like(stayed, np.nan)
        total = self.total_gains
        kept = np.divide(stayed, total, out=unknown, where=total > 0)
        return np.asarray(1.0 - kept)

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {
            "gains": self.gains.tolist(),
            "standard_errors": self.standard_errors.tolist(),
            "wavenumbers": list(self.wavenumbers),
        }
