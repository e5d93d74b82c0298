"""Symmetries of the flow, as transformations of the samples of a network.

Streamfunction, vorticity and sgs_forcing are pseudoscalars: they rotate with the plane
and change sign under reflections. Velocities are vectors, whose components transform
too: name their channels in `vectors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import TWO_PI, as_array, as_pair, check_whole
from turbulence_data.config import FlowConfig, TwoLayerConfig
from turbulence_data.flows import named_flow
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.solver._forcing import ForcingLike, drive_of
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import truncated_modes

__all__ = ["Symmetry", "of", "quarter_turns", "square"]

_NAMES = {
    (0, False): "identity",
    (1, False): "quarter turn",
    (2, False): "half turn",
    (3, False): "three-quarter turn",
    (0, True): "reflection y -> -y",
    (1, True): "reflection x <-> y",
    (2, True): "reflection x -> -x",
    (3, True): "reflection x <-> -y",
}


@dataclass(frozen=True)
class Symmetry:
    """A rotation or reflection of the plane, and perhaps a shift: `(x, y) -> (x, y)`.

    It applies to samples of shape `(n, nx, ny, channels)`, in this order: the
    reflection `y -> -y`, under which pseudoscalars change sign; quarter turns,
    counter-clockwise about the point (0, 0); the shift. All move values between grid
    points of the periodic domain and change only their sign. Channels of x, except
    `vectors`, and of y are pseudoscalars.

    Attributes:
        turns: number of quarter turns, 0 to 3.
        reflected: whether the plane is reflected.
        shift: along x and y, as fractions of the sides of the domain.
        vectors: pairs of channels of x that are the components of a vector along x and
            y, such as velocities: ((0, 2), (1, 3)) for u1, u2, v1, v2.

    Raises:
        ValueError: for other turns, or invalid pairs. When called: for samples that
            are not arrays of fields or lack a channel, a quarter turn of fields that
            are not square, a shift by a fraction of a point, or a change of sign of
            unsigned integers.

    Example:
        >>> x = np.zeros((1, 4, 4, 2))
        >>> x[0, 1, 0] = 5.0  # at (x, y) = (1, 0)
        >>> turned, _ = Symmetry(turns=1)(x, x[..., :1])
        >>> turned[0, 0, 1].tolist()  # at (0, 1)
        [5.0, 5.0]
        >>> print(Symmetry(turns=2, reflected=True))
        reflection x -> -x
    """

    turns: int = 0
    reflected: bool = False
    shift: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    vectors: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        check_whole("turns", self.turns, at_least=0)
        if self.turns > 3:
            raise ValueError(f"turns must be 0, 1, 2 or 3; received {self.turns!r}.")
        along_x, along_y = map(Fraction, self.shift)
        object.__setattr__(self, "shift", (along_x, along_y))
        pairs = tuple(map(tuple, self.vectors))
        channels = [channel for pair in pairs for channel in pair]
        if any(len(pair) != 2 for pair in pairs) or len({*channels}) < len(channels):
            raise ValueError(
                "vectors must be pairs of channels, each channel once, such as "
                f"((0, 2), (1, 3)); received {self.vectors!r}."
            )
        for channel in channels:
            check_whole("a channel of vectors", channel, at_least=0)
        object.__setattr__(self, "vectors", pairs)

    def __str__(self) -> str:
        shifted = f", shift by ({self.shift[0]}, {self.shift[1]}) of the sides"
        return _NAMES[self.turns, self.reflected] + (shifted if any(self.shift) else "")

    def __call__(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return inputs and targets, both transformed."""
        moved = self._moved("x", x)
        for pair in self.vectors:
            if max(pair) >= moved.shape[-1]:
                raise ValueError(
                    f"vectors name the channels {pair}; received x of shape "
                    f"{moved.shape}, whose last axis has {moved.shape[-1]}."
                )
            along_x, along_y = (moved[..., channel] for channel in pair)
            if self.reflected:  # pseudoscalars have changed sign, u does not
                along_x = -along_x
            for _ in range(self.turns):
                along_x, along_y = -along_y, along_x
            moved[..., pair] = np.stack([along_x, along_y], axis=-1)
        return moved, self._moved("y", y)

    def fits(self, num_points: int | tuple[int, int]) -> bool:
        """Return whether it maps the points of a grid to points of the grid."""
        nx, ny = as_pair(num_points)
        is_whole = all(
            (part * n).denominator == 1
            for part, n in zip(self.shift, (nx, ny), strict=True)
        )
        return is_whole and (nx == ny or self.turns % 2 == 0)

    def _moved(self, name: str, samples: ArrayLike) -> NDArray[Any]:
        fields = as_array(name, samples)
        if fields.ndim != 4:
            raise ValueError(
                f"{name} must be samples of shape (n, nx, ny, channels); received the "
                f"shape {fields.shape}."
            )
        turned = self.reflected or (name == "x" and self.vectors and self.turns)
        if fields.dtype.kind in "ub" and turned:
            raise ValueError(
                f"{self} changes signs, which {fields.dtype} does not hold; received "
                f"{name} of this dtype. Convert it to float32."
            )
        nx, ny = fields.shape[1:3]
        if not self.fits((nx, ny)):
            raise ValueError(
                f"{self} does not take {nx} x {ny} points to themselves; received "
                f"{name} of shape {fields.shape}. symmetries.of(flow, num_points) "
                "lists those that do."
            )
        if self.reflected:
            fields = -_mirrored(fields, axis=2)
        for _ in range(self.turns):
            fields = _mirrored(np.swapaxes(fields, 1, 2), axis=1)
        shift = [int(part * n) for part, n in zip(self.shift, (nx, ny), strict=True)]
        return np.ascontiguousarray(np.roll(fields, shift, axis=(1, 2)))


quarter_turns: tuple[Symmetry, ...] = tuple(Symmetry(turns) for turns in range(4))
"""The four rotations of the square, including the identity."""

square: tuple[Symmetry, ...] = (
    *quarter_turns,
    *(Symmetry(turns, reflected=True) for turns in range(4)),
)
"""All eight rotations and reflections of the square.

The map from a DNS field to its filtered fields and `sgs_forcing` has all of these
symmetries for every flow: they map exact pairs of input and target to exact pairs.
"""


def of(
    flow: str | EnsembleConfig | FlowConfig | TwoLayerConfig,
    num_points: int | tuple[int, int] | None = None,
    forcing: ForcingLike | None = None,
    vectors: Sequence[tuple[int, int]] = (),
) -> tuple[Symmetry, ...]:
    """Return the symmetries that map every solution of a flow to a solution.

    Only these preserve the distribution of the samples; any other of `square` makes
    exact pairs of fields and sgs_forcing, but of another flow.

    - Unforced, or driven by isotropic noise, on a square: all eight.
    - With the cosines of `forcing_wavenumber`: quarter turns, and reflections combined
      with a shift by half a wavelength along both axes, which restores the forcing.
    - With beta, or for two layers with their shear along x: `y -> -y`.
    - On a domain or a grid that is not square: no odd number of quarter turns.

    Args:
        flow: the flow; or an ensemble of it, or the name of one (`named_flow`).
        num_points: points of the samples, by default those of the flow, or
            `num_points_les` of an ensemble. Symmetries that do not map these points to
            themselves are left out.
        forcing: steady or stochastic forcing of the flow, as in `evolve`; by default
            that of the ensemble.
        vectors: pairs of channels of x that are vectors, see `Symmetry`.

    Raises:
        KeyError: for a name that is not in `NAMED_FLOWS`.
        TypeError: for a flow of another type.
        ValueError: for a forcing that changes in time, whose symmetries are unknown.

    Example:
        >>> flow = FlowConfig(64, reynolds=1e3, forcing_wavenumber=4)
        >>> len(of(flow)), len(of(FlowConfig(64, 1e3, forcing_wavenumber=4, beta=2.0)))
        (8, 2)
        >>> print(of(flow)[4])
        reflection y -> -y, shift by (1/8, 1/8) of the sides
        >>> len(of(flow, num_points=12))  # an eighth of 12 points is no whole number
        4
        >>> len(of("tiny_forced_re2e2_kf4"))
        8
    """
    if isinstance(flow, str):
        flow = named_flow(flow)
    if isinstance(flow, EnsembleConfig):
        forcing = flow.forcing if forcing is None else forcing
        num_points = flow.num_points_les if num_points is None else num_points
        flow = flow.flow
    if not isinstance(flow, FlowConfig | TwoLayerConfig):
        raise TypeError(
            "flow must be the name of a flow, such as 'mini_forced_re2e3_kf4', an "
            "EnsembleConfig, a FlowConfig or a TwoLayerConfig; received "
            f"{type(flow).__name__}: {flow!r:.80}."
        )
    is_square = len(set(flow.shape)) == 1 and len(set(flow.lengths)) == 1
    is_isotropic = isinstance(flow, FlowConfig) and flow.beta == 0.0
    found = [
        symmetry
        for symmetry in square
        if (is_isotropic or symmetry.turns == 0)
        and (is_square or symmetry.turns % 2 == 0)
    ]
    if isinstance(flow, FlowConfig):
        found = _keeping_the_forcing(found, flow, forcing)
    points = flow.shape if num_points is None else num_points
    return tuple(
        replace(symmetry, vectors=tuple(vectors))
        for symmetry in found
        if symmetry.fits(points)
    )


def _keeping_the_forcing(
    found: list[Symmetry], flow: FlowConfig, forcing: ForcingLike | None
) -> list[Symmetry]:
    """Return those that keep the forcing of a flow, with the shift they need."""
    modes = truncated_modes(Grid(flow.shape, flow.lengths))
    drive = drive_of(flow, forcing, modes)
    if drive.varying is not None:
        raise ValueError(
            "the symmetries of a forcing that changes in time cannot be found from "
            f"its values at single times; received {forcing!r}. Choose among those "
            "of the flow without a forcing, or use a SteadyForcing."
        )
    if flow.forcing_wavenumber is not None:
        # Half a wavelength along both axes changes the sign of the cosines.
        waves = [flow.forcing_wavenumber * side / TWO_PI for side in flow.lengths]
        half, other = (Fraction(1, 2 * round(number)) for number in waves)
        found = [
            replace(symmetry, shift=(half, other)) if symmetry.reflected else symmetry
            for symmetry in found
        ]
    elif drive.steady is not None:
        source = modes.to_physical(drive.steady)
        found = [symmetry for symmetry in found if _keeps(symmetry, source)]
    if drive.noise is not None:  # noise of both signs is equally likely
        covariance = modes.to_physical(drive.noise.variance.astype(complex))
        found = [
            symmetry
            for symmetry in found
            if _keeps(symmetry, covariance, sign=-1.0 if symmetry.reflected else 1)
        ]
    return found


def _keeps(symmetry: Symmetry, field: NDArray[Any], sign: float = 1.0) -> bool:
    samples = field[None, :, :, None]
    change = sign * symmetry(samples, samples)[0] - samples
    return bool(np.abs(change).max() <= 1e-10 * np.abs(samples).max())


def _mirrored(fields: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return fields reflected along an axis: index i becomes -i modulo the size."""
    return np.roll(np.flip(fields, axis), 1, axis)
