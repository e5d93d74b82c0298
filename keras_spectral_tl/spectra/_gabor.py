"""Gabor functions fitted to kernels, and the dictionary of atoms to start from."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from keras_spectral_tl._checks import check_finite, real_array
from keras_spectral_tl._results import Result
from keras_spectral_tl.plotting._kernels import plot_wavenumber_plane
from keras_spectral_tl.spectra._convolutions import Array, Grid, points_of

_NUM_WIDTHS = 5
# Values of the product kernels x atoms held at once, 8 MB.
_VALUES_AT_ONCE = 1_000_000
# A sine whose norm falls below this after projection adds no second direction.
_INDEPENDENT = 1e-6
# Carriers k and -k give the same atom.
_SAME = 1e-9
# Number of widths; each kernel is fitted from its best atoms of these.
_NUM_STARTS = 3
# Evaluations of the misfit from every start, and then from the best result.
_FIRST_CALLS, _LAST_CALLS = 10, 60
_CONVERGED = 1e-5
# Indices of the parameters that have bounds.
_BOUNDED = [0, 1, 5, 6]
_MIN_WIDTH = 0.3
# Starts are moved away from k = 0 and the zone corners by this, in radians per point.
_NUDGE = 0.2


@dataclass(frozen=True)
class GaborFits(Result):
    """Gabor functions fitted to kernels, one row per kernel.

    ``A exp(-x'^2 / (2 s1^2) - y'^2 / (2 s2^2)) cos(k . (x - c) + phase)`` with x' along
    the longer axis of the envelope and y' across it, both from the centre c. Lengths
    are in kernel points, wavenumbers in radians per kernel point; divide these by the
    dilation for radians per grid spacing.

    Attributes:
        size: Points of the kernels along each axis.
        amplitudes: (kernels,) A >= 0.
        wavenumbers: (kernels, rank) k, components in [-pi, pi]; the sign makes the last
            nonzero component positive.
        phases: (kernels,) in [-pi, pi].
        angles: (kernels,) angle of x' in [0, pi), from axis 0 towards axis 1; 0 for
            kernels with one axis.
        widths: (kernels, rank) s1 >= s2.
        centres: (kernels, rank) c, relative to the point that "same" padding centres.
        residuals: (kernels,) ``|kernel - fit| / |kernel|`` in [0, 1]; 1 for zeros.
    """

    size: Grid
    amplitudes: Array
    wavenumbers: Array
    phases: Array
    angles: Array
    widths: Array
    centres: Array
    residuals: Array

    @property
    def moduli(self) -> Array:
        """(kernels,) ``|k|``."""
        return np.asarray(np.linalg.norm(self.wavenumbers, axis=1))

    def kernels(self) -> Array:
        """Return the fitted functions at the kernel points, (kernels, *size)."""
        distance = points_of(self.size)[None] - self.centres[:, None]
        phase = np.einsum("npj,nj->np", distance, self.wavenumbers)
        x, y = distance[..., 0], distance[..., -1] if len(self.size) == 2 else 0.0
        cosine, sine = np.cos(self.angles)[:, None], np.sin(self.angles)[:, None]
        along, across = x * cosine + y * sine, y * cosine - x * sine
        widths = self.widths[..., None]
        exponent = (along / widths[:, 0]) ** 2 + (across / widths[:, -1]) ** 2
        values = np.exp(-0.5 * exponent) * np.cos(phase + self.phases[:, None])
        values = self.amplitudes[:, None] * values
        return np.asarray(values.reshape(-1, *self.size))

    def plot(self, ax: Any = None) -> Any:
        """Plot the carriers in the wavenumber plane and return the axes."""
        return plot_wavenumber_plane("Gabor carriers", self.wavenumbers, ax=ax)


def fit_gabor(kernels: Array) -> GaborFits:
    """Fit a Gabor function to each kernel by least squares.

    Each fit starts from the best atoms of three widths out of a dictionary (1,530 atoms
    for 5 x 5 points), found for all kernels by one matrix product, and is refined by
    Levenberg-Marquardt (`scipy.optimize.least_squares`) with amplitude and phase
    eliminated (variable projection, https://doi.org/10.1137/0710036). The centre stays
    inside the kernel, the widths between 0.3 points and four times the kernel size. A
    fit takes about 15 ms and is deterministic.

    A low-pass kernel is fitted with a carrier near 0, a Laplacian with one near
    (pi, pi). With nine parameters, a fit to few points says little: white noise leaves
    a residual of about 0.7 on 5 x 5 points, and 0.4 on 3 x 3 points.

    Args:
        kernels: (kernels, points) or (kernels, nx, ny), real.

    Raises:
        ValueError: If there are no kernels, they do not have one or two axes, or they
            contain NaN or infinity.

    Example:
        >>> x = np.arange(5) - 2.0
        >>> wave = np.exp(-x**2 / 4) * np.cos(1.5 * x)
        >>> fits = fit_gabor(np.outer(wave, np.exp(-x**2 / 8))[None])
        >>> fits.wavenumbers.round(2), fits.widths.round(2), bool(fits.residuals < 1e-3)
        (array([[1.5, 0. ]]), array([[2.  , 1.41]]), True)
    """
    values = real_array("kernels", kernels)
    if values.ndim not in (2, 3) or values.size == 0:
        raise ValueError(
            "A Gabor function is fitted to kernels of shape (kernels, points) or "
            f"(kernels, nx, ny). Received shape {values.shape}; select a plane of a "
            "kernel with three axes."
        )
    check_finite("kernels", values, " Expected finite weights.")
    size = values.shape[1:]
    flat = values.reshape(len(values), -1)
    norms = np.linalg.norm(flat, axis=1)
    scaled = flat / np.where(norms > 0, norms, 1.0)[:, None]
    problem = _Problem(size)
    atoms = atom_parameters(size)[explained_shares(values, _NUM_STARTS)[1]]
    fits = [problem.fit(*pair) for pair in zip(scaled, atoms, strict=True)]
    parameters, coefficients, residuals = map(np.array, zip(*fits, strict=True))
    residuals[norms == 0] = 1.0
    coefficients = coefficients * norms[:, None]
    return _described(size, parameters, coefficients, np.minimum(residuals, 1.0))


class _Problem:
    """Least squares of one kernel; parameters (x0, y0, kx, ky, angle, log s1, log s2).

    Bounded parameters are written as ``low + (high - low) (1 + sin u) / 2``, so that
    MINPACK's unbounded algorithm applies; carriers have a period of 2 pi.
    """

    def __init__(self, size: Grid) -> None:
        self.rank = len(size)
        points = points_of(size)
        self.points = np.column_stack([points, np.zeros(len(points))])[:, :2]
        reach = np.abs(self.points).max(axis=0) + 0.5
        widths = np.log([_MIN_WIDTH, 4 * reach.max()])
        self.low = np.array([*-reach, widths[0], widths[0]])
        self.high = np.array([*reach, widths[1], widths[1]])
        two = self.rank == 2
        self.free = np.flatnonzero([True, two, True, two, two, True, two])

    def fit(self, kernel: Array, atoms: Array) -> tuple[Array, Array, float]:
        """Return parameters, the two amplitudes and the residual's norm."""
        if not kernel.any():
            return self._start(kernel, atoms[0]), np.zeros(2), 1.0
        short = [
            self._descend(kernel, self._start(kernel, atom), _FIRST_CALLS)
            for atom in atoms
        ]
        nearest = min(short, key=lambda found: found[1])[0]
        best, best_norm = self._descend(kernel, nearest, _LAST_CALLS)
        if np.all(np.abs(np.sin(best[2 : 2 + self.rank])) < _NUDGE / 2):
            # At carriers of 0 and pi the sine vanishes and the misfit is even in k: no
            # step leaves this saddle.
            found, norm = self._descend(kernel, self._off_symmetry(best), _LAST_CALLS)
            if norm < best_norm:
                best, best_norm = found, norm
        residual, coefficients = self.project(kernel, best)
        return best, coefficients, float(np.linalg.norm(residual))

    def _start(self, kernel: Array, atom: Array) -> Array:
        """Return the parameters of an atom, rotated to the kernel's axes of inertia.

        A round envelope along the grid's axes would be a saddle point.
        """
        rank = self.rank
        start = np.zeros(7)
        start[:rank], start[2 : 2 + rank] = atom[:rank], atom[rank : 2 * rank]
        x, y = (self.points - start[:2]).T
        xx, yy, xy = (kernel**2 @ values for values in (x * x, y * y, x * y))
        start[4] = 0.5 * np.arctan2(2 * xy, xx - yy) if rank == 2 else 0.0
        # Unequal widths make the angle matter from the first step on.
        start[5:] = np.log(atom[-1]) + (np.array([0.1, -0.1]) if rank == 2 else 0.0)
        return start

    def _off_symmetry(self, parameters: Array) -> Array:
        """Move the carrier away from 0 and pi, and stretch the envelope along it."""
        moved = parameters.copy()
        carrier = moved[2 : 2 + self.rank]
        inwards = np.where(np.cos(carrier) > 0, 1.0, -np.sign(carrier))
        moved[2 : 2 + self.rank] += _NUDGE * inwards
        if self.rank == 2:
            moved[4] = np.arctan2(inwards[1], inwards[0])
            moved[5:] += _NUDGE, -_NUDGE
        return moved

    def _descend(
        self, kernel: Array, start: Array, max_calls: int
    ) -> tuple[Array, float]:
        span = self.high - self.low
        inner = start.copy()
        share = np.clip((start[_BOUNDED] - self.low) / span, 0.005, 0.995)
        inner[_BOUNDED] = np.arcsin(2 * share - 1)

        def angles(free: Array) -> Array:
            parameters = inner.copy()
            parameters[self.free] = free
            return parameters

        def outer(free: Array) -> Array:
            parameters = angles(free)
            sines = (1 + np.sin(parameters[_BOUNDED])) / 2
            parameters[_BOUNDED] = self.low + span * sines
            return parameters

        def slopes(free: Array) -> Array:
            rows = self.slopes(kernel, outer(free))
            rows[_BOUNDED] *= (span * np.cos(angles(free)[_BOUNDED]) / 2)[:, None]
            return rows[self.free].T

        found = optimize.least_squares(
            lambda free: self.project(kernel, outer(free))[0],
            inner[self.free],
            slopes,
            # MINPACK requires at least as many points as parameters.
            method="lm" if len(kernel) >= len(self.free) else "trf",
            ftol=_CONVERGED,
            xtol=_CONVERGED,
            max_nfev=max_calls,
        )
        parameters = outer(found.x)
        parameters[2:4] = np.arctan2(np.sin(parameters[2:4]), np.cos(parameters[2:4]))
        return parameters, float(np.sqrt(2 * found.cost))

    def project(self, kernel: Array, parameters: Array) -> tuple[Array, Array]:
        """Return the residual and the best amplitudes of cosine and sine."""
        first, second, *_ = self._waves(parameters)
        pair = _amplitudes(first, second, kernel)
        return kernel - pair[0] * first - pair[1] * second, pair

    def slopes(self, kernel: Array, parameters: Array) -> Array:
        """Return the derivatives (7, points) of the residual after Kaufman.

        https://doi.org/10.1007/BF01932995: derivatives of the amplitudes are neglected;
        instead the result is projected orthogonally to the two waves.
        """
        _, _, kx, ky, angle, log_s1, log_s2 = parameters
        first, second, x, y, along, across = self._waves(parameters)
        a, b = _amplitudes(first, second, kernel)
        model, turned = a * first + b * second, b * first - a * second
        cosine, sine = math.cos(angle), math.sin(angle)
        by_along = -along * math.exp(-2 * log_s1) * model
        by_across = -across * math.exp(-2 * log_s2) * model
        rows = np.stack(
            [
                by_across * sine - by_along * cosine - kx * turned,
                -by_along * sine - by_across * cosine - ky * turned,
                x * turned,
                y * turned,
                by_along * across - by_across * along,
                -along * by_along,
                -across * by_across,
            ]
        )
        basis, _ = np.linalg.qr(np.stack([first, second], axis=1))
        return np.asarray(rows @ basis @ basis.T - rows)

    def _waves(self, parameters: Array) -> tuple[Array, ...]:
        """Return cosine and sine under the envelope, x, y, along and across it."""
        x0, y0, kx, ky, angle, log_s1, log_s2 = parameters
        x, y = self.points[:, 0] - x0, self.points[:, 1] - y0
        cosine, sine = math.cos(angle), math.sin(angle)
        along, across = x * cosine + y * sine, y * cosine - x * sine
        exponent = (along * math.exp(-log_s1)) ** 2 + (across * math.exp(-log_s2)) ** 2
        envelope, phase = np.exp(-0.5 * exponent), kx * x + ky * y
        first, second = envelope * np.cos(phase), envelope * np.sin(phase)
        return first, second, x, y, along, across


def _amplitudes(first: Array, second: Array, kernel: Array) -> Array:
    """Solve least squares with two columns; a sine that vanishes has amplitude 0."""
    aa, ab, bb = first @ first, first @ second, second @ second
    a, b = first @ kernel, second @ kernel
    determinant = aa * bb - ab * ab
    if determinant > _INDEPENDENT**2 * max(aa, bb) ** 2 > 0:
        return np.array([bb * a - ab * b, aa * b - ab * a]) / determinant
    if aa >= bb:
        return np.array([a / aa if aa > 0 else 0.0, 0.0])
    return np.array([0.0, b / bb])


def _described(
    size: Grid, parameters: Array, coefficients: Array, residuals: Array
) -> GaborFits:
    """Return the fits with the unique choice of equivalent parameters."""
    rank = len(size)
    carrier, sine = parameters[:, 2 : 2 + rank], coefficients[:, 1]
    last = np.where(carrier[:, -1] != 0, carrier[:, -1], carrier[:, 0])
    sign = np.where(last < 0, -1.0, 1.0)
    angle, widths = parameters[:, 4], np.exp(parameters[:, 5 : 5 + rank])
    angle = np.where(widths[:, 0] < widths[:, -1], angle + np.pi / 2, angle)
    return GaborFits(
        size=size,
        amplitudes=np.hypot(coefficients[:, 0], sine),
        wavenumbers=carrier * sign[:, None],
        phases=np.arctan2(-sine * sign, coefficients[:, 0]),
        angles=angle - np.pi * np.floor(angle / np.pi),
        widths=-np.sort(-widths, axis=1),
        centres=parameters[:, :rank],
        residuals=residuals,
    )


@lru_cache(maxsize=16)
def atom_parameters(size: Grid) -> Array:
    """Return the parameters of the atoms for kernels of one size.

    An atom is the pair ``exp(-|x - c|^2 / (2 s^2)) cos(k . (x - c))`` and ``... sin``.
    Centres c are the middle of the kernel and its neighbours, carriers k a grid of
    spacing pi / 4 over half the Brillouin zone (pi / 2 with three axes), widths s five
    values in geometric progression from 0.3 to 0.6 of the largest size. Read-only
    (atoms, 2 rank + 1): centre, carrier, width; in kernel points.
    """
    rank = len(size)
    steps = 4 if rank < 3 else 2
    line = np.arange(-steps + 1, steps + 1) * np.pi / steps
    carriers = [k for k in itertools.product(line, repeat=rank) if _is_first(k)]
    reach = [(-1.0, 0.0, 1.0) if points > 2 else (0.0,) for points in size]
    centres = list(itertools.product(*reach))
    widths = np.geomspace(0.3, max(0.6 * max(size), 0.3), _NUM_WIDTHS)
    # Of atoms that fit equally well, argmax takes the first: central and smooth.
    centres.sort(key=np.linalg.norm)
    carriers.sort(key=np.linalg.norm)
    parameters = np.array(
        [
            [*centre, *carrier, width]
            for centre, carrier, width in itertools.product(centres, carriers, widths)
        ]
    )
    parameters.flags.writeable = False
    return parameters


def explained_shares(
    kernels: Array, num_best: int = 1
) -> tuple[Array, NDArray[np.intp]]:
    """Return the share of each kernel's energy that its best atoms explain.

    ``share = |projection of the kernel on (cos, sin)|^2 / |kernel|^2``: amplitude and
    phase are linear, so each atom is fitted exactly, and one matrix product fits all
    atoms to all kernels. The best atoms differ in width, so that they are different
    starts for a fit. Returned are shares in [0, 1], (kernels, num_best), best first,
    and their rows in `atom_parameters`.
    """
    flat = kernels.reshape(len(kernels), -1)
    basis = _orthonormal_basis(kernels.shape[1:])
    num_atoms = basis.shape[1] // 2
    energy = np.sum(flat**2, axis=1)
    shares = np.zeros((len(flat), num_best))
    best = np.zeros((len(flat), num_best), np.intp)
    step = max(1, _VALUES_AT_ONCE // basis.shape[1])
    for start in range(0, len(flat), step):
        rows = slice(start, start + step)
        products = flat[rows] @ basis
        np.square(products, out=products)
        explained = products[:, :num_atoms] + products[:, num_atoms:]
        by_width = explained.reshape(len(explained), -1, _NUM_WIDTHS)
        place = by_width.argmax(axis=1)
        values = np.take_along_axis(by_width, place[:, None], axis=1)[:, 0]
        order = np.argsort(-values, axis=1, kind="stable")[:, :num_best]
        shares[rows] = np.take_along_axis(values, order, axis=1)
        best[rows] = np.take_along_axis(place, order, axis=1) * _NUM_WIDTHS + order
    safe = np.where(energy > 0, energy, 1.0)
    return np.minimum(shares / safe[:, None], 1.0), best


@lru_cache(maxsize=16)
def _orthonormal_basis(size: Grid) -> Array:
    """Return (points, 2 atoms): first directions of all atoms, then second ones."""
    rank = len(size)
    centre, carrier, width = np.split(atom_parameters(size), [rank, 2 * rank], axis=1)
    distance = points_of(size)[None] - centre[:, None]
    envelope = np.exp(-0.5 * np.sum(distance**2, axis=-1) / width**2)
    phase = np.einsum("apr,ar->ap", distance, carrier)
    first = envelope * np.cos(phase)
    second = envelope * np.sin(phase)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    length = np.linalg.norm(second, axis=1, keepdims=True)
    second -= np.sum(first * second, axis=1, keepdims=True) * first
    left = np.linalg.norm(second, axis=1, keepdims=True)
    independent = left > _INDEPENDENT * np.maximum(length, 1.0)
    second = np.where(independent, second / np.where(independent, left, 1.0), 0.0)
    return np.ascontiguousarray(np.concatenate([first, second]).T)


def _is_first(carrier: tuple[float, ...]) -> bool:
    """Return whether a carrier, rather than its negative, represents the pair."""
    mirrored = tuple(math.pi if abs(k - math.pi) < _SAME else -k for k in carrier)
    return tuple(carrier) >= mirrored
