"""Levenberg-Marquardt steps for the Gabor fits of many kernels at once.

Parameters, one row a kernel: (x0, y0, kx, ky, theta, log s1, log s2), theta the angle
of the envelope. Amplitude and phase are linear and eliminated (variable projection,
https://doi.org/10.1137/0710036, with Kaufman's Jacobian,
https://doi.org/10.1007/BF01932995).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_WIDTH = 0.3
# Steps that gain less than this share of the remaining misfit end the fit, and so does
# a misfit below the round-off of the kernel's energy.
_CONVERGED = 1e-4
_ROUND_OFF = 1e-24
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-9, 1e6
# Quadratures closer than this to parallel are one direction.
_PARALLEL = 1e-7
NUM_PARAMETERS = 7
_X0, _Y0, _KX, _KY, _THETA, _LOG_S1, _LOG_S2 = range(NUM_PARAMETERS)


def improve(
    kernels: Array,
    points: Array,
    parameters: Array,
    is_free: NDArray[np.bool_],
    max_steps: int,
) -> tuple[Array, Array]:
    """Takes Levenberg-Marquardt steps until no kernel gains.

    Args:
        kernels: (kernels, points).
        points: (points, 2) coordinates.
        parameters: (kernels, 7) start; not changed.
        is_free: (7,) which parameters may move.
        max_steps: Steps at most.

    Returns:
        The parameters and the squared misfit of each kernel.
    """
    reach = np.abs(points).max(axis=0) + 0.5
    best = _projected_on_bounds(parameters, reach)
    misfit = np.sum(project(kernels, points, best)[0] ** 2, axis=1)
    floor = _ROUND_OFF * np.sum(kernels**2, axis=1)
    damping = np.full(len(kernels), _FIRST_DAMPING)
    active = np.flatnonzero(misfit > floor)
    for _ in range(max_steps):
        if active.size == 0:
            break
        step = _step(kernels[active], points, best[active], damping[active], is_free)
        trial = _projected_on_bounds(best[active] + step, reach)
        residual = project(kernels[active], points, trial)[0]
        after, before = np.sum(residual**2, axis=1), misfit[active]
        gained = after < before
        taken = active[gained]
        best[taken], misfit[taken] = trial[gained], after[gained]
        damping[active] *= np.where(gained, 0.2, 5.0)
        damping[active] = np.maximum(damping[active], _LEAST_DAMPING)
        done = gained & (before - after < _CONVERGED * before)
        done |= (misfit[active] <= floor[active]) | (damping[active] > _MOST_DAMPING)
        active = active[~done]
    return best, misfit


def project(
    kernels: Array, points: Array, parameters: Array
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Fits the two linear amplitudes of each kernel.

    Args:
        kernels: (kernels, points).
        points: (points, 2).
        parameters: (kernels, 7).

    Returns:
        Residuals (kernels, points); coefficients (kernels, 2) of cosine and sine; the
        two orthonormal directions, each (kernels, points), zero where there is none.
    """
    envelope, phase = _waves(points, parameters)[:2]
    first, second = envelope * np.cos(phase), envelope * np.sin(phase)
    length = np.linalg.norm(first, axis=1, keepdims=True)
    # An envelope between the points may leave the cosine nothing.
    length = np.where(length > 0, length, 1.0)
    first /= length
    overlap = np.sum(first * second, axis=1, keepdims=True)
    rest = second - overlap * first
    left = np.linalg.norm(rest, axis=1, keepdims=True)
    independent = left > _PARALLEL * np.linalg.norm(envelope, axis=1, keepdims=True)
    left = np.where(independent, left, 1.0)
    rest = np.where(independent, rest / left, 0.0)
    along_first = np.sum(first * kernels, axis=1, keepdims=True)
    along_rest = np.sum(rest * kernels, axis=1, keepdims=True)
    residual = kernels - along_first * first - along_rest * rest
    sine = along_rest / left
    cosine = (along_first - sine * overlap) / length
    return residual, np.concatenate([cosine, sine], axis=1), (first, rest)


def _step(
    kernels: Array,
    points: Array,
    parameters: Array,
    damping: Array,
    is_free: NDArray[np.bool_],
) -> Array:
    """One damped Gauss-Newton step of the projected problem."""
    residual, coefficients, directions = project(kernels, points, parameters)
    slopes = _slopes(points, parameters, coefficients)[:, is_free]
    for direction in directions:
        overlap = slopes @ direction[..., None]
        slopes -= overlap * direction[:, None]
    normal = slopes @ slopes.transpose(0, 2, 1)
    diagonal = np.einsum("njj->nj", normal).copy()
    # The floor keeps a parameter without any effect (theta of a round blob) in place.
    floor = 1e-8 * diagonal.max(axis=1, keepdims=True) + np.finfo(float).tiny
    index = np.arange(diagonal.shape[1])
    normal[:, index, index] += damping[:, None] * diagonal + floor
    downhill = slopes @ residual[..., None]
    step = np.zeros_like(parameters)
    step[:, is_free] = np.linalg.solve(normal, downhill)[..., 0]
    return step


class _Waves(NamedTuple):
    """What the Gabor function is made of, each (kernels, points)."""

    envelope: Array
    phase: Array
    x: Array
    y: Array
    along: Array
    across: Array


def _waves(points: Array, parameters: Array) -> _Waves:
    x0, y0, kx, ky, theta, log_s1, log_s2 = parameters.T[:, :, None]
    x, y = points[:, 0] - x0, points[:, 1] - y0
    cosine, sine = np.cos(theta), np.sin(theta)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    exponent = (along * np.exp(-log_s1)) ** 2 + (across * np.exp(-log_s2)) ** 2
    return _Waves(np.exp(-0.5 * exponent), kx * x + ky * y, x, y, along, across)


def _slopes(points: Array, parameters: Array, coefficients: Array) -> Array:
    """Derivatives (kernels, 7, points) of the model at fixed amplitudes."""
    envelope, phase, x, y, along, across = _waves(points, parameters)
    cosine, sine = np.cos(phase), np.sin(phase)
    a, b = coefficients[:, :1], coefficients[:, 1:]
    model = envelope * (a * cosine + b * sine)
    turned = envelope * (b * cosine - a * sine)
    _, _, kx, ky, theta, log_s1, log_s2 = parameters.T[:, :, None]
    by_along = -along * np.exp(-2 * log_s1) * model
    by_across = -across * np.exp(-2 * log_s2) * model
    cosine, sine = np.cos(theta), np.sin(theta)
    slopes = np.empty((len(parameters), NUM_PARAMETERS, len(points)))
    slopes[:, _X0] = by_across * sine - by_along * cosine - kx * turned
    slopes[:, _Y0] = -by_along * sine - by_across * cosine - ky * turned
    slopes[:, _KX] = x * turned
    slopes[:, _KY] = y * turned
    slopes[:, _THETA] = by_along * across - by_across * along
    slopes[:, _LOG_S1] = -along * by_along
    slopes[:, _LOG_S2] = -across * by_across
    return slopes


def _projected_on_bounds(parameters: Array, reach: Array) -> Array:
    """Centre inside the kernel, carrier inside the Brillouin zone, widths sane."""
    bounded = parameters.copy()
    bounded[:, :_KX] = np.clip(bounded[:, :_KX], -reach, reach)
    bounded[:, _KX:_THETA] = np.clip(bounded[:, _KX:_THETA], -np.pi, np.pi)
    limits = np.log([MIN_WIDTH, 4 * reach.max()])
    bounded[:, _LOG_S1:] = np.clip(bounded[:, _LOG_S1:], *limits)
    return bounded
