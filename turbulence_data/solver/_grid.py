"""The doubly periodic grid: transforms, derivatives, advection, checks of fields.

Coefficients are normalized: `field(x) = sum_k field_hat(k) exp(i k.x)`, so they do not
depend on the number of grid points, and Parseval's theorem is
`mean(field^2) = sum_k |field_hat(k)|^2`. Single precision is preserved; operators on
coefficients are exact up to round-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_array,
    as_lengths,
    as_pair,
    check_wavenumbers,
)

Field = NDArray[np.float64]
FieldHat = NDArray[np.complex128]


@dataclass(frozen=True)
class Grid:
    """Equidistant points on `[0, Lx) x [0, Ly)`, periodic in both directions.

    Axis 0 of every field is x, axis 1 is y. Spectral arrays have the layout of a real
    transform over y: shape `(nx, ny // 2 + 1)`.

    Attributes:
        num_points: `(nx, ny)`.
        lengths: `(Lx, Ly)`, 2 pi by default, so that wavenumbers are whole numbers.

    Raises:
        ValueError: if `k^4` or `1 / k^4` of a wavenumber is beyond floating point.

    Example:
        >>> grid = Grid((8, 6))
        >>> grid.kx.ravel().astype(int).tolist()
        [0, 1, 2, 3, -4, -3, -2, -1]
        >>> grid.ky.ravel().astype(int).tolist()
        [0, 1, 2, 3]
    """

    num_points: tuple[int, int]
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_pair(self.num_points))
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        check_wavenumbers(self.num_points, self.lengths)

    @cached_property
    def spacing(self) -> tuple[float, float]:
        """Grid spacing `(Lx / nx, Ly / ny)`."""
        (nx, ny), (length_x, length_y) = self.num_points, self.lengths
        return length_x / nx, length_y / ny

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Coordinates along axis 0, shape `(nx, 1)`."""
        numbers = np.arange(self.num_points[0], dtype=np.float64)
        return (numbers * self.spacing[0])[:, None]

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Coordinates along axis 1, shape `(1, ny)`."""
        numbers = np.arange(self.num_points[1], dtype=np.float64)
        return (numbers * self.spacing[1])[None, :]

    @cached_property
    def kx(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 0, shape `(nx, 1)`, both signs."""
        modes = mode_numbers(self.num_points[0])
        return (modes * (TWO_PI / self.lengths[0]))[:, None]

    @cached_property
    def ky(self) -> NDArray[np.float64]:
        """Wavenumbers along axis 1, shape `(1, ny // 2 + 1)`, from 0 up."""
        modes = np.arange(self.num_points[1] // 2 + 1, dtype=np.float64)
        return (modes * (TWO_PI / self.lengths[1]))[None, :]

    @cached_property
    def k_squared(self) -> NDArray[np.float64]:
        """`kx^2 + ky^2`, shape `(nx, ny // 2 + 1)`."""
        return self.kx**2 + self.ky**2

    @cached_property
    def inverse_k_squared(self) -> NDArray[np.float64]:
        """`1 / k^2`, and 0 at the mean: the inverse of minus the Laplacian."""
        return inverse_or_zero(self.k_squared)

    @cached_property
    def hermitian_weights(self) -> NDArray[np.float64]:
        """Multiplicity of a stored coefficient in the full spectrum: 1 or 2.

        Shape `(1, ny // 2 + 1)`; with it a sum over stored modes is a sum over all.
        """
        ny = self.num_points[1]
        weights = np.full((1, ny // 2 + 1), 2.0)
        weights[0, 0] = 1.0
        if ny % 2 == 0:
            weights[0, -1] = 1.0
        return weights

    @cached_property
    def shell_width(self) -> float:
        """Width of a spectral shell: the coarser of the two wavenumber spacings."""
        return TWO_PI / min(self.lengths)

    @cached_property
    def shells(self) -> NDArray[np.intp]:
        """Shell number of every mode: n holds `|k| / dk` in `[n - 1/2, n + 1/2)`."""
        scaled = np.sqrt(self.k_squared) / self.shell_width
        # The offset assigns the lower edge to its shell despite round-off.
        return np.floor(scaled + (0.5 + 1e-9)).astype(np.intp)


def mode_numbers(n: int) -> NDArray[np.float64]:
    """Return the mode numbers of n points, both signs, as exactly whole numbers."""
    # n (1 / n) differs from 1 by round-off for some n, of which 49 is the smallest.
    return np.asarray(np.rint(np.fft.fftfreq(n, 1.0 / n)), np.float64)


def inverse_or_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `1 / values`, and 0 where a value is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0.0)


def to_spectral(field: Field) -> FieldHat:
    """Return the coefficients of real fields, shape `(..., nx, ny // 2 + 1)`.

    Example:
        >>> x = np.arange(8) * 2 * np.pi / 8
        >>> to_spectral(np.cos(3 * x)[:, None] * np.ones((1, 8)))[3, 0].real.round(12)
        np.float64(0.5)
    """
    return np.asarray(scipy.fft.rfft2(field, norm="forward"))


def to_physical(field_hat: FieldHat, num_points: tuple[int, int]) -> Field:
    """Return real fields of shape `(..., nx, ny)`; the argument is left unchanged."""
    return np.asarray(scipy.fft.irfft2(field_hat, s=num_points, norm="forward"))


def resample(field: Field, num_points: tuple[int, int]) -> Field:
    """Return the trigonometric interpolant of a field on a grid of another resolution.

    Fewer points mean a sharp truncation; see `resize` for the Nyquist wavenumber.
    """
    nx, ny = field.shape[-2:]
    return to_physical(resize(to_spectral(field), (nx, ny), num_points), num_points)


def resize(
    field_hat: FieldHat, from_points: tuple[int, int], to_points: tuple[int, int]
) -> FieldHat:
    """Move coefficients to another grid, by zero padding or sharp truncation.

    Only wavenumbers with `|k| < n / 2` of the smaller grid are kept in each direction:
    derivatives are undefined at the Nyquist wavenumber of an even grid, so it is set to
    zero. Missing columns, as in the layout of `Modes`, count as zeros.
    """
    kept_x = (min(from_points[0], to_points[0]) - 1) // 2
    columns = min((min(from_points[1], to_points[1]) + 1) // 2, field_hat.shape[-1])
    shape = (*field_hat.shape[:-2], to_points[0], to_points[1] // 2 + 1)
    resized = np.zeros(shape, field_hat.dtype)
    for rows in (slice(kept_x + 1), slice(-kept_x, None)):
        resized[..., rows, :columns] = field_hat[..., rows, :columns]
    return resized


def field_shape(field: ArrayLike, name: str = "vorticity") -> tuple[int, int]:
    """Return the shape of one plane field."""
    shape = np.shape(field)
    if len(shape) != 2:
        layers = " Of two layers see filtered_layers and diagnostics.layer_spectra."
        raise ValueError(
            f"{name} must be one plane field of shape (nx, ny); received the shape "
            f"{shape}. Pass one field at a time, without batch and channel axes."
            f"{layers if len(shape) == 3 and shape[0] == 2 else ''}"
        )
    return as_pair(shape, f"the shape of {name}")


def check_field(
    name: str, values: ArrayLike, shape: tuple[int, int], scale: float = 0.0
) -> Field:
    """Check a vorticity field of a periodic domain and return it as float64.

    Its mean must be zero but for round-off, relative to its largest value or `scale`.
    """
    field = as_array(name, values)
    if field.shape != shape:
        raise ValueError(
            f"{name} must have the shape (nx, ny) = {shape} of the flow; "
            f"received {field.shape}. Change num_points or resample the field."
        )
    if not (np.issubdtype(field.dtype, np.floating) or field.dtype.kind in "iu"):
        raise ValueError(f"{name} must be real; received dtype {field.dtype}.")
    field = field.astype(np.float64)
    num_bad = int(np.count_nonzero(~np.isfinite(field)))
    if num_bad:
        raise ValueError(
            f"{name} must be finite; {num_bad} of {field.size} values are NaN or "
            "infinite."
        )
    mean, largest = float(field.mean()), float(np.abs(field).max())
    if abs(mean) > 1e-6 * max(largest, scale):
        raise ValueError(
            f"the mean {name} of a periodic domain is zero; received a field with "
            f"mean {mean:.6g}. Subtract the mean."
        )
    return field


def check_layers(name: str, values: ArrayLike, shape: tuple[int, int]) -> Field:
    """Return fields of two layers as float64, shape `(2, nx, ny)`, checked."""
    if np.shape(values) != (2, *shape):
        raise ValueError(
            f"{name} must have the shape (2, nx, ny) = {(2, *shape)} of the flow, "
            f"upper layer first; received {np.shape(values)}."
        )
    layers = zip(("upper", "lower"), as_array(name, values), strict=True)
    return np.stack(
        [check_field(f"{name} of the {layer} layer", v, shape) for layer, v in layers]
    )


def check_coarser(coarse: Grid, fine: Grid, name: str = "num_points") -> None:
    """Raise ValueError unless an LES grid is coarser than that of its DNS."""
    points = zip(coarse.num_points, fine.num_points, strict=True)
    if any(les >= dns for les, dns in points):
        raise ValueError(
            f"the LES must be coarser than the DNS: {name} must be smaller in both "
            f"directions; received {coarse.num_points} and {fine.num_points}."
        )


def check_response(name: str, response: ArrayLike, grid: Grid) -> NDArray[Any]:
    """Return a transfer function on the modes of a grid, checked."""
    transfer, shape = np.asarray(response), grid.k_squared.shape
    if transfer.shape != shape or not np.all(np.isfinite(transfer)):
        raise ValueError(
            f"{name} must return finite values for the modes of the fine grid; "
            f"expected shape {shape}, that of its k_squared, received shape "
            f"{transfer.shape} with {np.count_nonzero(~np.isfinite(transfer))} values "
            "not finite."
        )
    return transfer


def streamfunction_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Solve `lap(streamfunction) = -vorticity`; the mean of both is zero."""
    return np.asarray(vorticity_hat * grid.inverse_k_squared)


def velocity_hat(streamfunction: FieldHat, grid: Grid) -> tuple[FieldHat, FieldHat]:
    """Return `u = d psi / dy` and `v = -d psi / dx`."""
    return 1j * grid.ky * streamfunction, -1j * grid.kx * streamfunction


def padded_points(num_points: tuple[int, int]) -> tuple[int, int]:
    """Return a grid on which products of two fields are free of aliasing.

    A product of modes up to K reaches 2 K; on n points it is aliased to n - 2 K, which
    must stay above K: `n > 3 K`, the 3/2 rule of Orszag (1971),
    doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2.
    """
    nx, ny = (
        int(scipy.fft.next_fast_len(3 * ((n - 1) // 2) + 1, real=True))
        for n in num_points
    )
    return nx, ny


def on_padded_grid(grid: Grid, *fields_hat: FieldHat) -> list[Field]:
    """Return fields on the grid of `padded_points`, to be multiplied."""
    points = padded_points(grid.num_points)
    return [to_physical(resize(f, grid.num_points, points), points) for f in fields_hat]


def from_padded_grid(grid: Grid, product: Field) -> FieldHat:
    """Return the coefficients of products, truncated to the grid."""
    points = padded_points(grid.num_points)
    return resize(to_spectral(product), points, grid.num_points)


def jacobian_hat(vorticity_hat: FieldHat, grid: Grid) -> FieldHat:
    """Return the advection `J = u . grad(vorticity)`, free of aliasing.

    With an incompressible velocity `J = (d_xx - d_yy)(u v) + d_xy(v^2 - u^2)`. The
    products are formed on a grid padded by 3/2 and truncated to `grid`, so J is the
    exact advection of the given modes, restricted to the modes of the grid. Nyquist
    wavenumbers are ignored and zero in the result.
    """
    psi_hat = streamfunction_hat(vorticity_hat, grid)
    u, v = on_padded_grid(grid, *velocity_hat(psi_hat, grid))
    product_hat = from_padded_grid(grid, u * v)
    difference_hat = from_padded_grid(grid, v**2 - u**2)
    factor = grid.ky**2 - grid.kx**2
    return np.asarray(factor * product_hat - grid.kx * grid.ky * difference_hat)


def advection_hat(
    streamfunction_hat: FieldHat, tracer_hat: FieldHat, grid: Grid
) -> FieldHat:
    """Return `div(u q)` of any field q, free of aliasing as in `jacobian_hat`.

    The velocity is `u = (d psi / dy, -d psi / dx)` of a streamfunction psi, which may
    be independent of q.
    """
    velocity = velocity_hat(streamfunction_hat, grid)
    u, v, tracer = on_padded_grid(grid, *velocity, tracer_hat)
    flux_x, flux_y = (from_padded_grid(grid, part * tracer) for part in (u, v))
    return np.asarray(1j * (grid.kx * flux_x + grid.ky * flux_y))


def streamfunction_of(vorticity: Field, grid: Grid) -> Field:
    """Return the streamfunction of a physical vorticity field."""
    return to_physical(
        streamfunction_hat(to_spectral(vorticity), grid), grid.num_points
    )
