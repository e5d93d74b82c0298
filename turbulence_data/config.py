"""The physics of flows in one plane or two layers, as checked, immutable values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_lengths,
    as_pair,
    check_at_least_zero,
    check_finite,
    check_positive,
    check_wavenumbers,
    check_whole,
    is_finite_number,
    plain,
    real_array,
)

# Plausible deformation radii: at least in grid spacings, at most in domain lengths.
_FINEST, _WIDEST = 0.05, 10.0
# Drag in use over the rates of shear and waves, and waves over shear: at most this.
_STRONGEST, _FASTEST = 1000.0, 100.0


@dataclass(frozen=True)
class _Flow:
    """Base of flows: grid points, and conversion of parameters to plain values."""

    num_points: int | tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """`num_points` as the pair `(nx, ny)`."""
        return as_pair(self.num_points)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as plain values, in the order of the signature."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the config from the values of `to_dict`, or of metadata.

        Lists become tuples, and "inf", which JSON has as text, the number.
        """
        return cls(**{name: _from_json(value) for name, value in values.items()})

    def _store(self, check: Callable[[str, Any], None], *names: str) -> None:
        """Check numbers, and store them as floats, since NumPy's are not JSON-ready."""
        for name in names:
            check(name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))

    def _store_whole(self, name: str, at_least: int) -> None:
        check_whole(name, getattr(self, name), at_least)
        object.__setattr__(self, name, int(getattr(self, name)))


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value == "inf":
        return math.inf
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class FlowConfig(_Flow):
    """A flow on a doubly periodic domain: resolution and physical parameters.

        d(vorticity)/dt + J = nu lap(vorticity) - nu_h (-lap)^p vorticity
                              - beta v - drag vorticity - f,
        f = amplitude k_f [cos(k_f x) + cos(k_f y)],   nu = 1 / reynolds

    Attributes:
        num_points: points per direction, one number or `(nx, ny)`; stored as a pair.
        reynolds: inverse viscosity; `math.inf` for an inviscid flow.
        linear_drag: rate of the linear drag, at least 0.
        forcing_wavenumber: k_f, a wavenumber of the domain; None for no forcing, or for
            one passed to `evolve` or an ensemble.
        beta: gradient of the Coriolis parameter along y.
        hyperviscosity: coefficient nu_h, at least 0.
        hyperviscosity_order: power p of the Laplacian, at least 2.
        lengths: domain size `(Lx, Ly)`.
        forcing_amplitude: factor of the forcing; less than 1 for filtered equations,
            see `filtering.les_flow`.

    Raises:
        ValueError: if a value is out of range or values contradict each other.

    Example:
        >>> FlowConfig(num_points=256, reynolds=2000, forcing_wavenumber=16).viscosity
        0.0005
    """

    reynolds: float
    linear_drag: float = 0.1
    forcing_wavenumber: int | None = 4
    beta: float = 0.0
    hyperviscosity: float = 0.0
    hyperviscosity_order: int = 2
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)
    forcing_amplitude: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_pair(self.num_points))
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        if self.reynolds != math.inf:
            check_positive("reynolds (math.inf where inviscid)", self.reynolds)
        object.__setattr__(self, "reynolds", float(self.reynolds))
        self._store(check_at_least_zero, "linear_drag", "hyperviscosity")
        self._store(check_finite, "beta", "forcing_amplitude")
        self._store_whole("hyperviscosity_order", at_least=2)
        self._check_damping()
        if self.forcing_wavenumber is not None:
            self._store_whole("forcing_wavenumber", at_least=1)
            self._check_forcing()

    def _check_damping(self) -> None:
        """Raise ValueError if the damping of a resolved mode is beyond floats."""
        largest = check_wavenumbers(self.shape, self.lengths)
        try:
            rate = float(self.damping_rate(largest**2))
        except OverflowError:
            rate = math.inf
        if not math.isfinite(rate):
            raise ValueError(
                f"reynolds={self.reynolds!r}, hyperviscosity={self.hyperviscosity!r} "
                f"and hyperviscosity_order={self.hyperviscosity_order} damp the "
                f"largest wavenumber, {largest:.3g}, at a rate beyond floating point. "
                "Raise reynolds, or lower the others."
            )

    def _check_forcing(self) -> None:
        check_positive("forcing_wavenumber", self.forcing_wavenumber)
        wavenumber = float(self.forcing_wavenumber or 0)
        for n, length in zip(self.shape, self.lengths, strict=True):
            mode = wavenumber * length / TWO_PI
            if not math.isfinite(mode) or abs(mode - round(mode)) > 1e-9:
                raise ValueError(
                    f"forcing_wavenumber={self.forcing_wavenumber} is not periodic on "
                    f"a side of length {length:g}; choose a multiple of "
                    f"{TWO_PI / length:g}."
                )
            if round(mode) > (n - 1) // 3:
                raise ValueError(
                    f"forcing_wavenumber={self.forcing_wavenumber} is not resolved: "
                    f"{n} points hold wavenumbers up to {(n - 1) // 3} after "
                    f"dealiasing. Lower it, or use at least {3 * round(mode) + 1} "
                    "points."
                )

    @property
    def viscosity(self) -> float:
        """`nu = 1 / reynolds`."""
        return 1.0 / self.reynolds

    def damping_rate(self, k_squared: Any) -> Any:
        """Return `nu k^2 + nu_h k^2p + drag`, the linear decay rate of a mode."""
        return (
            self.viscosity * k_squared
            + self.hyperviscosity * k_squared**self.hyperviscosity_order
            + self.linear_drag
        )


@dataclass(frozen=True)
class TwoLayerConfig(_Flow):
    """Two layers of quasi-geostrophic flow under a steady shear, in SI units.

        d(q_i)/dt + u_i . grad(q_i) + U_i d(q_i)/dx + Q_i v_i
            = -bottom_drag zeta_2 [i = 2] - nu_h (-lap)^p q_i + closure
        q_1 = zeta_1 + F_1 (psi_1 - psi_2),   q_2 = zeta_2 + F_2 (psi_2 - psi_1)
        Q_1 = beta + F_1 (U_1 - U_2),         Q_2 = beta + F_2 (U_2 - U_1)
        F_1 = rd^-2 / (1 + delta),  F_2 = delta F_1,  delta = H_1 / H_2

    Layer 1 is the upper one. As elsewhere in this package `lap(psi) = -zeta`,
    `u = d(psi)/dy`, `v = -d(psi)/dx`: psi has the opposite sign as in pyqg, q and the
    velocities are the same. Fields have the shape `(2, nx, ny)`; axis 1 is x.
    Equations as in pyqg (Abernathey et al., doi:10.5281/zenodo.6563667); see Vallis
    (2017), section 5.3.2.

    Attributes:
        num_points: points per direction, one number or `(nx, ny)`; stored as a pair.
        deformation_radius: rd in m.
        beta: gradient of the Coriolis parameter along y, 1 / (m s).
        bottom_drag: rate of the linear drag on the lower layer's velocity, 1 / s.
        layer_ratio: delta, the depth of the upper layer over that of the lower one.
        mean_velocities: constant (U_1, U_2) along x in m / s.
        length: side of the domain in m; `(Lx, Ly)` if they differ.
        hyperviscosity: coefficient nu_h, at least 0; `rate / k_max^(2p)` damps the
            largest wavenumber at that rate. Named flows use 1e-4 / s at the largest
            wavenumber of a DNS along x, k_max = `2 pi / Lx ((nx - 1) // 3)`.
        hyperviscosity_order: power p of the Laplacian, at least 2.
        exponential_filter: strength a of the factor `exp(-a (s - 0.65 pi)^4)` on modes
            with `s = |k| dx > 0.65 pi` after every step, the small-scale dissipation of
            pyqg (23.6 there); 0 for none. Its effect depends on the time step.
        aliased_products: form products on the grid itself and keep all wavenumbers
            below Nyquist, as pyqg does; for comparisons. By default the upper third of
            the wavenumbers is cut off, and products are exact.

    Warns about values that may be in other units: a deformation radius below a
    twentieth of the grid spacing or above ten times the domain; a bottom drag a
    thousand times faster than shear and waves; waves 100 times faster than the shear.

    Raises:
        ValueError: if a value is out of range.

    Example:
        >>> eddies = TwoLayerConfig(64, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
        >>> round(eddies.stretching[0] * 1e9, 6)
        3.555556
    """

    deformation_radius: float
    beta: float
    bottom_drag: float
    layer_ratio: float = 0.25
    mean_velocities: tuple[float, float] = (0.025, 0.0)
    length: float | tuple[float, float] = 1e6
    hyperviscosity: float = 0.0
    hyperviscosity_order: int = 2
    exponential_filter: float = 0.0
    aliased_products: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_points", as_pair(self.num_points))
        self._store(check_positive, "deformation_radius", "layer_ratio")
        self._store(check_at_least_zero, "bottom_drag", "hyperviscosity")
        self._store(check_at_least_zero, "exponential_filter")
        self._store(check_finite, "beta")
        self._store_whole("hyperviscosity_order", at_least=2)
        if not isinstance(self.aliased_products, bool):
            raise ValueError(
                "aliased_products must be True or False; received "
                f"{self.aliased_products!r}."
            )
        self._store_pairs()
        self._check_coefficients()
        self._warn_of_units()

    def _warn_of_units(self) -> None:
        """Warn about values that are implausible compared with others."""
        self._warn_of_radius()
        upper, lower = self.mean_velocities
        shear = abs(upper - lower) / self.deformation_radius
        waves = abs(self.beta) * self.deformation_radius
        if self.bottom_drag > _STRONGEST * max(shear, waves) > 0.0:
            warnings.warn(
                f"bottom_drag={self.bottom_drag:g} 1/s stops the lower layer within "
                f"{1.0 / self.bottom_drag:.3g} s, more than {_STRONGEST:g} times faster"
                f" than anything moves it, at {max(shear, waves):.3g} 1/s. Expected a "
                "rate in 1/s, such as 5.787e-7 for 20 days.",
                stacklevel=4,
            )
        if waves > _FASTEST * shear > 0.0:
            warnings.warn(
                f"beta={self.beta:g} 1/(m s) gives waves, at {waves:.3g} 1/s, more than"
                f" {_FASTEST:g} times faster than the shear, at {shear:.3g} 1/s, which "
                "then makes nothing grow without drag. Expected SI units, such as "
                "beta=1.5e-11 and mean_velocities=(0.025, 0.0).",
                stacklevel=4,
            )

    def _warn_of_radius(self) -> None:
        """Warn about an implausible deformation radius, such as one given in km."""
        pairs = zip(self.lengths, self.shape, strict=True)
        spacing, longest = min(side / n for side, n in pairs), max(self.lengths)
        if _FINEST * spacing <= self.deformation_radius <= _WIDEST * longest:
            return
        few = self.deformation_radius < spacing
        far = "far below the spacing of the grid" if few else "far beyond the domain"
        move = "as one" if few else "each on its own"
        warnings.warn(
            f"deformation_radius={self.deformation_radius:g} m is {far}, so that the "
            f"layers move {move}: length={longest:g} m and points {spacing:g} m apart. "
            "Expected a radius between; give lengths in m, such as "
            "deformation_radius=15e3 and length=1e6.",
            stacklevel=5,
        )

    def _check_coefficients(self) -> None:
        """Raise ValueError if coefficients derived from the values are not finite."""
        try:
            first, second = self.stretching
            upper, lower = self.depth_fractions
            sides, points = self.lengths, self.shape
            squares = [(TWO_PI / max(sides)) ** 2, (math.pi * max(points)) ** 2]
            squares[1] /= min(sides) ** 2
            positive = {"F_1": first, "F_2": second, "H_1 / H": upper, "H_2 / H": lower}
            # Inversion divides by this for every wavenumber k.
            positive |= {
                f"k^2 (k^2 + F_1 + F_2) for k^2 = {square:.3g}": square
                * (square + first + second)
                for square in squares
            }
        except (OverflowError, ZeroDivisionError):
            positive = {"F_1 = rd^-2 / (1 + delta) or k^2": math.inf}
        for name, value in positive.items():
            if not (value > 0.0 and math.isfinite(value)):
                raise ValueError(
                    f"{name} must be positive and finite; it is {value:.3g} for "
                    f"deformation_radius={self.deformation_radius!r}, layer_ratio="
                    f"{self.layer_ratio!r} and length={self.length!r}. Give lengths "
                    "in m, such as 15e3 and 1e6, and layer_ratio as H_1 / H_2, such "
                    "as 0.25."
                )
        waves = [gradient / squares[0] for gradient in self.mean_gradients]
        if not all(map(math.isfinite, waves)):
            raise ValueError(
                f"mean gradients (Q_1, Q_2) must give finite speeds of waves, "
                f"Q / k^2; received beta={self.beta!r}, mean_velocities="
                f"{self.mean_velocities!r}, deformation_radius="
                f"{self.deformation_radius!r}. Give SI units, such as beta=1.5e-11."
            )

    def _store_pairs(self) -> None:
        """Check and store values for each layer or direction as pairs of floats."""
        velocities: Any = plain(self.mean_velocities)
        if (
            not isinstance(velocities, Sequence)
            or len(velocities) != 2
            or not all(map(is_finite_number, velocities))
        ):
            raise ValueError(
                "mean_velocities must be two finite numbers (U_1, U_2), of the upper "
                f"and the lower layer; received {velocities!r}."
            )
        pair = tuple(float(velocity) for velocity in velocities)
        object.__setattr__(self, "mean_velocities", pair)
        given: Any = plain(self.length)
        sides = given if isinstance(given, Sequence) else [given] * 2
        if len(sides) != 2:
            raise ValueError(
                f"length must be one number or a pair (Lx, Ly); received "
                f"{self.length!r}."
            )
        for side in sides:
            check_positive("length", side)
        object.__setattr__(self, "length", (float(sides[0]), float(sides[1])))

    @property
    def lengths(self) -> tuple[float, float]:
        """`length` as the pair `(Lx, Ly)`."""
        return as_lengths(self.length)

    @property
    def stretching(self) -> tuple[float, float]:
        """`(F_1, F_2)` in 1 / m^2."""
        first = self.deformation_radius**-2 / (1.0 + self.layer_ratio)
        return first, self.layer_ratio * first

    @property
    def depth_fractions(self) -> tuple[float, float]:
        """`(H_1, H_2)` over their sum."""
        upper = self.layer_ratio / (1.0 + self.layer_ratio)
        return upper, 1.0 - upper

    @property
    def mean_gradients(self) -> tuple[float, float]:
        """`(Q_1, Q_2)`: gradients along y of the mean potential vorticity."""
        (first, second), (upper, lower) = self.stretching, self.mean_velocities
        shear = upper - lower
        return self.beta + first * shear, self.beta - second * shear

    def growth_rates(self, kx: ArrayLike, ky: ArrayLike) -> NDArray[np.float64]:
        """Return how fast small waves `exp(i (kx x + ky y))` grow, in 1 / s.

        The larger real part of the two eigenvalues of the linear equations of each
        wavenumber, with shear, beta, drag and hyperviscosity: negative where both
        decay, 0 for no wave.

        Args:
            kx: wavenumbers along x in 1 / m, such as those of a `Grid`.
            ky: along y; both broadcast.

        Raises:
            ValueError: for wavenumbers that are not finite.

        Example:
            >>> eddies = TwoLayerConfig(64, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
            >>> modes = np.arange(1, 20)
            >>> rates = eddies.growth_rates(2 * np.pi / 1e6 * modes, 0.0)
            >>> int(modes[rates.argmax()]), round(1 / rates.max() / 86400)  # days
            (7, 148)
        """
        along_x, along_y = np.broadcast_arrays(
            real_array("kx", kx), real_array("ky", ky)
        )
        k_squared = np.asarray(along_x**2 + along_y**2)
        if not np.all(np.isfinite(k_squared)):
            raise ValueError("kx and ky must be finite wavenumbers in 1 / m.")
        inverse = 1.0 / np.where(k_squared > 0.0, k_squared, np.inf)
        matrix = wave_matrix(self, along_x, k_squared, inverse)
        by_wave = np.moveaxis(matrix, (0, 1), (-2, -1))
        # Adding 0 makes 0 of -0, the rate of a mode without waves.
        return np.asarray(np.linalg.eigvals(by_wave).real.max(axis=-1) + 0.0)


def inversion(
    flow: TwoLayerConfig,
    k_squared: NDArray[np.float64],
    inverse_k_squared: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the matrix `psi_hat = matrix q_hat` of waves, shape (2, 2, ...).

        1 / (k^2 (k^2 + F_1 + F_2)) [[k^2 + F_2, F_1], [F_2, k^2 + F_1]]

    It is 0 where `inverse_k_squared` is.
    """
    first, second = flow.stretching
    inverse = inverse_k_squared / (k_squared + first + second)
    return np.array(
        [
            [(k_squared + second) * inverse, first * inverse],
            [second * inverse, (k_squared + first) * inverse],
        ]
    )


def wave_matrix(
    flow: TwoLayerConfig,
    kx: NDArray[np.float64],
    k_squared: NDArray[np.float64],
    inverse_k_squared: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Return the linear terms of waves, shape (2, 2, ...): d(q_i)/dt due to q_j.

    The eigenvalues are growth rates and frequencies: `exp(lambda t)`.
    """
    psi_of_q = inversion(flow, k_squared, inverse_k_squared)
    gradients = np.reshape(flow.mean_gradients, (2, 1) + (1,) * k_squared.ndim)
    matrix = 1j * kx * gradients * psi_of_q
    matrix[1] -= flow.bottom_drag * k_squared * psi_of_q[1]
    decay = flow.hyperviscosity * k_squared**flow.hyperviscosity_order
    for layer, velocity in enumerate(flow.mean_velocities):
        matrix[layer, layer] -= 1j * kx * velocity + decay
    return np.asarray(matrix)
