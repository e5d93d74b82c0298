"""Fields, coefficients, the nonlinear term `-J` and closures in JAX.

With `z = u + i v` and complex wavenumber `kappa = kx + i ky` Basdevant's form of the
advection needs one field each way, since `z^2 = (u^2 - v^2) + 2 i u v`:

    z_hat = kappa psi_hat,   -J_hat = Hermitian part of m Q,   Q = F[z^2],
    m = -(i / 2) conj(kappa)^2.

The Hermitian part, the transform of the real part, is `(m Q(k) + conj(m Q(-k))) / 2`,
since m is even. Leading axes are a batch. Closures are traced, by their formula if they
have one, or else called back on the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.closures._formulas import SpectralOperators
from turbulence_data.closures._models import ClassicClosure
from turbulence_data.solver._equation import check_forcing
from turbulence_data.solver._grid import padded_points, velocity_hat
from turbulence_data.solver._modes import Modes

_logger = logging.getLogger(__name__)

Points = tuple[int, int]


class Layout(NamedTuple):
    """Layout of the resolved modes of a flow, see `solver.Modes`.

    Attributes:
        points: points of the grid of the physical fields.
        quadrature: points of the grid of the products.
        cutoff: largest resolved mode numbers.
    """

    points: Points
    quadrature: Points
    cutoff: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the coefficients."""
        return self.quadrature[0], self.cutoff[1] + 1


def layout_of(modes: Modes) -> Layout:
    """Return the layout of modes, a value for which programs are compiled."""
    return Layout(modes.grid.num_points, modes.quadrature.num_points, modes.cutoff)


def to_physical(layout: Layout, hat: jax.Array) -> jax.Array:
    """Return the fields of resolved modes, on the grid of the physical fields."""
    nx, ny = layout.points
    full = place_modes(hat, layout.cutoff, (nx, ny // 2 + 1))
    return jnp.fft.irfft2(full, s=layout.points, norm="forward")


def from_physical(layout: Layout, field: jax.Array) -> jax.Array:
    """Return the resolved coefficients of fields; their mean is dropped."""
    hat = jnp.fft.rfft2(field, norm="forward").at[..., 0, 0].set(0.0)
    return place_modes(hat, layout.cutoff, layout.shape)


def place_modes(
    hat: jax.Array, cutoff: tuple[int, int], shape: tuple[int, int]
) -> jax.Array:
    """Return the modes up to a cutoff in an array of another shape, zeros elsewhere.

    The cutoff is below Nyquist on both sides.
    """
    kx, ky = cutoff
    kept = hat[..., : ky + 1]
    gap = jnp.zeros((*hat.shape[:-2], shape[0] - 2 * kx - 1, ky + 1), hat.dtype)
    negative = kept[..., hat.shape[-2] - kx :, :]
    rows = jnp.concatenate([kept[..., : kx + 1, :], gap, negative], axis=-2)
    return jnp.pad(rows, [(0, 0)] * (hat.ndim - 1) + [(0, shape[1] - ky - 1)])


class AdvectionTables(NamedTuple):
    """Factors of coefficients, of the shape `(nx, Ky + 1)` of some modes.

    Attributes:
        to_velocity: `(kx + i ky) / k^2`.
        from_products: `m / (2 nx ny)`, 0 where not resolved.
    """

    to_velocity: jax.Array
    from_products: jax.Array


Transforms = Callable[[Points, AdvectionTables, jax.Array], jax.Array]
"""`(points of the products, tables, vorticity_hat) -> -J_hat`."""


def advection_tables(modes: Modes) -> AdvectionTables:
    """Return the tables, computed in double precision and rounded once."""
    kappa = modes.kx + 1j * modes.ky
    num_points = float(np.prod(modes.quadrature.num_points))
    to_velocity = kappa * modes.inverse_k_squared
    from_products = np.conj(kappa) ** 2 * modes.mask * (-0.25j / num_points)
    dtype = modes.complex_dtype
    return AdvectionTables(
        jnp.asarray(to_velocity.astype(dtype)), jnp.asarray(from_products.astype(dtype))
    )


def packed_transforms(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Compute `-J_hat` with one complex 2-D transform each way.

    Both are forward transforms, of a field mirrored at the origin, because inverse ones
    end with a pass over memory that divides by the number of points.
    """
    m, ny, number = tables.from_products, points[1], vorticity_hat.shape[-1]
    positive = tables.to_velocity * vorticity_hat
    # For negative ky z_hat is -kappa(-k) conj(psi_hat(-k)).
    negative = _flip_rows(-tables.to_velocity * vorticity_hat.conj())[..., :0:-1]
    gap = jnp.zeros((*positive.shape[:-1], ny + 1 - 2 * number), positive.dtype)
    z = jnp.fft.fft2(jnp.concatenate([positive, gap, negative], axis=-1))
    at_minus_k = jnp.fft.fft2(z * z)
    halves = [at_minus_k[..., :1], at_minus_k[..., : ny - number : -1]]
    at_k = _flip_rows(jnp.concatenate(halves, axis=-1))
    return m * at_k + (m * at_minus_k[..., :number]).conj()


def velocity(
    points: Points, tables: AdvectionTables, vorticity_hat: jax.Array
) -> jax.Array:
    """Return u and v on the grid of the products, along a new first axis."""
    u_hat = 1j * (tables.to_velocity.imag * vorticity_hat)
    v_hat = -1j * (tables.to_velocity.real * vorticity_hat)
    hats = jnp.stack([u_hat, v_hat])
    missing = points[1] // 2 + 1 - hats.shape[-1]
    padded = jnp.pad(hats, [(0, 0)] * (hats.ndim - 1) + [(0, missing)])
    both: jax.Array = jnp.fft.irfft2(padded, s=points, norm="forward")
    return both


def _flip_rows(hat: jax.Array) -> jax.Array:
    """Move row kx to row -kx."""
    return jnp.concatenate([hat[..., :1, :], hat[..., :0:-1, :]], axis=-2)


ForcingHat = Callable[[jax.Array, jax.Array], jax.Array]
"""`(vorticity_hat, streamfunction_hat) -> sgs_forcing_hat`, of resolved modes."""


def subgrid_forcing(closure: Callable[..., Any], layout: Layout) -> ForcingHat:
    """Return a closure as a function of the coefficients of an LES."""
    if isinstance(closure, ClassicClosure):
        return _by_formula(closure, layout)

    def of_fields(vorticity_hat: jax.Array, streamfunction_hat: jax.Array) -> jax.Array:
        vorticity, streamfunction = (
            to_physical(layout, hat) for hat in (vorticity_hat, streamfunction_hat)
        )
        traceable = on_device(closure, vorticity)
        for _ in range(vorticity.ndim - 2):  # a closure gets one field at a time
            traceable = jax.vmap(traceable)
        return from_physical(layout, traceable(vorticity, streamfunction))

    return of_fields


def _by_formula(closure: ClassicClosure, layout: Layout) -> ForcingHat:
    made = closure.operators(layout.points)
    operators = JaxOperators(made.grid, made.filter_width)

    def of_coefficients(vorticity_hat: jax.Array, _: jax.Array) -> jax.Array:
        given: Any = place_modes(vorticity_hat, layout.cutoff, operators.shape)
        forcing: Any = closure.forcing_hat(given, operators)
        return place_modes(forcing, layout.cutoff, layout.shape)

    return of_coefficients


class JaxOperators(SpectralOperators):
    """The operators of closure formulas on JAX arrays, see the base class."""

    @property
    def array_namespace(self) -> Any:
        return jnp

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of coefficients."""
        nx, ny = self.grid.num_points
        return nx, ny // 2 + 1

    @property
    def cutoff(self) -> tuple[int, int]:
        """The largest mode numbers below Nyquist."""
        nx, ny = self.grid.num_points
        return (nx - 1) // 2, (ny - 1) // 2

    def to_physical(self, field_hat: Any) -> Any:
        return jnp.fft.irfft2(field_hat, s=self.grid.num_points, norm="forward")

    def to_spectral(self, field: Any) -> Any:
        # Also of fields on finer grids.
        hat = jnp.fft.rfft2(field, norm="forward")
        return place_modes(hat, self.cutoff, self.shape)

    def test_filtered(self, field_hat: Any) -> Any:
        test = self.test_level
        return place_modes(field_hat * self.test_response, test.cutoff, test.shape)

    def jacobian_hat(self, vorticity_hat: Any) -> Any:
        kx, ky = self.grid.kx, self.grid.ky
        psi_hat = vorticity_hat * self.grid.inverse_k_squared
        u, v = map(self._padded, velocity_hat(psi_hat, self.grid))
        product_hat, difference_hat = map(self.to_spectral, (u * v, (v - u) * (v + u)))
        return (ky**2 - kx**2) * product_hat - kx * ky * difference_hat

    def _padded(self, hat: Any) -> jax.Array:
        nx, ny = padded_points(self.grid.num_points)
        wide = place_modes(hat, self.cutoff, (nx, ny // 2 + 1))
        field: jax.Array = jnp.fft.irfft2(wide, s=(nx, ny), norm="forward")
        return field


def on_device(closure: Callable[..., Any], like: jax.Array) -> Callable[..., jax.Array]:
    """Return a closure for JAX: traced if possible, else called back on the host."""
    field: Any = jax.eval_shape(lambda: jnp.zeros(like.shape[-2:], like.dtype))
    try:
        result = jax.eval_shape(closure, field, field)
    except Exception as error:  # any error of NumPy, a framework or a model
        reason = type(error).__name__
        _logger.info("closure %r runs on the host: not traceable (%s)", closure, reason)
        return _called_back(closure, field)
    check_forcing(result, field.shape)
    return closure


def _called_back(
    closure: Callable[..., Any], field: Any
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Return a host callback; fields are passed as bits, as JAX may be in float32."""

    def to_bits(array: jax.Array) -> jax.Array:
        return jax.lax.bitcast_convert_type(array, jnp.uint32)

    bits = jax.eval_shape(to_bits, field)

    def on_host(*arguments: Any) -> Any:
        fields = [np.array(a).view(field.dtype).reshape(field.shape) for a in arguments]
        result = np.asarray(closure(*fields))
        check_forcing(result, field.shape)
        made = np.ascontiguousarray(result, field.dtype)
        return made.view(np.uint32).reshape(bits.shape)

    def called(vorticity: jax.Array, streamfunction: jax.Array) -> jax.Array:
        arguments = to_bits(vorticity), to_bits(streamfunction)
        made = jax.pure_callback(on_host, bits, *arguments, vmap_method="sequential")
        forcing: jax.Array = jax.lax.bitcast_convert_type(made, field.dtype)
        return forcing

    return called
