"""Closures on the device: by their formula, traced, or else called back on the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from turbulence_data.closures._formulas import ClassicClosure, SpectralOperators
from turbulence_data.solver._equation import check_forcing
from turbulence_data.solver._grid import padded_points
from turbulence_data.solver.jax._advection import (
    Layout,
    from_physical,
    place_modes,
    to_physical,
)

_logger = logging.getLogger(__name__)

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
        for _ in range(vorticity.ndim - 2):  # a closure sees one field at a time
            traceable = jax.vmap(traceable)
        return from_physical(layout, traceable(vorticity, streamfunction))

    return of_fields


def _by_formula(closure: ClassicClosure, layout: Layout) -> ForcingHat:
    made = closure.operators(layout.points)
    operators = JaxOperators(made.grid, made.filter_width)
    wide = layout.quadrature[0], layout.cutoff[1] + 1

    def of_coefficients(vorticity_hat: jax.Array, _: jax.Array) -> jax.Array:
        given: Any = place_modes(vorticity_hat, layout.cutoff, operators.shape)
        forcing: Any = closure.forcing_hat(given, operators)
        return place_modes(forcing, layout.cutoff, wide)

    return of_coefficients


class JaxOperators(SpectralOperators):
    """Operators of the formulas of closures, on arrays of JAX."""

    @property
    def array_namespace(self) -> Any:
        """The module of `sqrt` and `maximum`."""
        return jnp

    @property
    def shape(self) -> tuple[int, int]:
        """Of coefficients."""
        nx, ny = self.grid.num_points
        return nx, ny // 2 + 1

    @property
    def cutoff(self) -> tuple[int, int]:
        """The largest mode numbers below Nyquist."""
        nx, ny = self.grid.num_points
        return (nx - 1) // 2, (ny - 1) // 2

    @cached_property
    def test_level(self) -> JaxOperators:
        """The operators of a grid of half the points and a filter twice as wide."""
        made = SpectralOperators(self.grid, self.filter_width).test_level
        return JaxOperators(made.grid, made.filter_width)

    def to_physical(self, field_hat: Any) -> Any:
        """Return real fields."""
        return jnp.fft.irfft2(field_hat, s=self.grid.num_points, norm="forward")

    def to_spectral(self, field: Any) -> Any:
        """Return coefficients, zero at Nyquist wavenumbers."""
        hat = jnp.fft.rfft2(field, norm="forward")
        return place_modes(hat, self.cutoff, self.shape)

    def test_filtered(self, field_hat: Any) -> Any:
        """Return the coefficients at the test level: filtered, then truncated."""
        test = self.test_level
        return place_modes(field_hat * self.test_response, test.cutoff, test.shape)

    def jacobian_hat(self, vorticity_hat: Any) -> Any:
        """Return `J = u . grad(vorticity)` of the flow of a vorticity, alias-free."""
        kx, ky = self.grid.kx, self.grid.ky
        u, v = (self._padded(hat) for hat in self.velocity_hat(vorticity_hat))
        product_hat, difference_hat = map(self._truncated, (u * v, (v - u) * (v + u)))
        return (ky**2 - kx**2) * product_hat - kx * ky * difference_hat

    def product_hat(self, a_hat: Any, b_hat: Any) -> Any:
        """Return the coefficients of `a b`, formed on a grid padded by 3/2."""
        return self._truncated(self._padded(a_hat) * self._padded(b_hat))

    def _padded(self, hat: Any) -> jax.Array:
        nx, ny = padded_points(self.grid.num_points)
        wide = place_modes(hat, self.cutoff, (nx, ny // 2 + 1))
        field: jax.Array = jnp.fft.irfft2(wide, s=(nx, ny), norm="forward")
        return field

    def _truncated(self, product: jax.Array) -> jax.Array:
        hat = jnp.fft.rfft2(product, norm="forward")
        return place_modes(hat, self.cutoff, self.shape)


def on_device(closure: Callable[..., Any], like: jax.Array) -> Callable[..., jax.Array]:
    """Return a closure as JAX can use it: traced, or else called back on the host."""
    field: Any = jax.eval_shape(lambda: jnp.zeros(like.shape[-2:], like.dtype))
    try:
        result = jax.eval_shape(closure, field, field)
    except Exception as error:  # whatever NumPy, a framework or a model makes of it
        reason = type(error).__name__
        _logger.info("closure %r runs on the host: not traceable (%s)", closure, reason)
        return _called_back(closure, field)
    check_forcing(result, field.shape)
    return closure


def _called_back(
    closure: Callable[..., Any], field: Any
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Fields travel as bits: in the thread of a callback JAX may be in float32."""

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
