"""What a fit of Gabor functions to kernels found."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.kernels.transforms import point_offsets


@dataclass(frozen=True)
class GaborFits:
    """Gabor functions fitted to kernels, one row a kernel.

    ``A exp(-x'^2 / (2 s1^2) - y'^2 / (2 s2^2)) cos(k . (x - c) + phase)`` with x' along
    the longer axis of the envelope and y' across it, both from the centre c. Lengths
    are in kernel points, wavenumbers in radians a kernel point: divide by the dilation
    for the grid's.

    Attributes:
        size: Points of the kernels along each axis.
        amplitudes: (kernels,) A >= 0.
        wavenumbers: (kernels, rank) k, components in [-pi, pi]; of k and -k the one
            with the last component that is not 0 positive.
        phases: (kernels,) in [-pi, pi].
        angles: (kernels,) of x' in [0, pi), from axis 0 towards axis 1; 0 for kernels
            with one axis.
        widths: (kernels, rank) s1 >= s2.
        centres: (kernels, rank) c, from the point that "same" padding centres.
        residuals: (kernels,) ``|kernel - fit| / |kernel|`` in [0, 1]; 1 for zeros.
    """

    size: tuple[int, ...]
    amplitudes: NDArray[np.float64]
    wavenumbers: NDArray[np.float64]
    phases: NDArray[np.float64]
    angles: NDArray[np.float64]
    widths: NDArray[np.float64]
    centres: NDArray[np.float64]
    residuals: NDArray[np.float64]

    @property
    def moduli(self) -> NDArray[np.float64]:
        """(kernels,) ``|k|``."""
        return np.asarray(np.linalg.norm(self.wavenumbers, axis=1))

    def kernels(self) -> NDArray[np.float64]:
        """The fitted functions at the kernel points, (kernels, *size)."""
        grids = np.meshgrid(*map(point_offsets, self.size), indexing="ij")
        points = np.stack([grid.ravel() for grid in grids], axis=-1)
        distance = points[None] - self.centres[:, None]
        phase = np.einsum("npj,nj->np", distance, self.wavenumbers)
        x, y = distance[..., 0], distance[..., -1] if len(self.size) == 2 else 0.0
        cosine, sine = np.cos(self.angles)[:, None], np.sin(self.angles)[:, None]
        along, across = x * cosine + y * sine, y * cosine - x * sine
        widths = self.widths[..., None]
        exponent = (along / widths[:, 0]) ** 2 + (across / widths[:, -1]) ** 2
        values = np.exp(-0.5 * exponent) * np.cos(phase + self.phases[:, None])
        values = self.amplitudes[:, None] * values
        return np.asarray(values.reshape(-1, *self.size))

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        arrays = {
            name: values.tolist()
            for name, values in vars(self).items()
            if isinstance(values, np.ndarray)
        }
        return {"size": list(self.size), **arrays}
