"""Gabor functions fitted to kernels with one or two spatial axes."""

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.kernels.gabor_atoms import (
    atom_parameters,
    explained_shares,
)
from keras_spectral_tl.spectra.kernels.gabor_fits import GaborFits
from keras_spectral_tl.spectra.kernels.gabor_steps import (
    NUM_PARAMETERS,
    improve,
    project,
)
from keras_spectral_tl.spectra.kernels.transforms import point_offsets

# Steps from every start, and then from the one that got furthest.
_NUM_STARTS, _FIRST_STEPS, _LAST_STEPS = 3, 5, 20
# Radians a kernel point by which starts leave k = 0 and the corners of the zone.
_NUDGE = 0.2
# Kernels fitted at once: 512 of 5 x 5 points take 20 MB.
_AT_ONCE = 12_800


def fit_gabor(kernels: NDArray[np.float64]) -> GaborFits:
    """Fits a Gabor function to each kernel by least squares.

    Starts are the best atoms of three widths out of a dictionary (1,530 atoms for 5 x 5
    points, see `kernel_gabor_atoms`), found for all kernels by one matrix product. From
    each, Levenberg-Marquardt steps with amplitude and phase eliminated are taken for
    all kernels together: five from every start, then up to 20 from the best, and again
    from beside it where the carrier sits on 0 or pi, a saddle by symmetry. Bounds: the
    centre inside the kernel, the carrier inside the Brillouin zone, widths of at
    least 0.3 points. Deterministic.

    A low-pass kernel is fitted with a carrier near 0, a Laplacian with one near
    (pi, pi). With nine parameters a fit of a few points says little: 5 x 5 points of
    white noise leave a residual of about 0.7, 3 x 3 points of 0.4.

    Args:
        kernels: (kernels, points) or (kernels, nx, ny), real.

    Returns:
        One row a kernel.

    Raises:
        ValueError: If there are no kernels, they have not one or two axes of points, or
            hold NaN or infinity.

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
    if not np.isfinite(values).all():
        raise ValueError(
            f"The kernels hold {np.count_nonzero(~np.isfinite(values))} values that "
            "are NaN or infinite; expected finite weights."
        )
    step = max(1, _AT_ONCE // values[0].size)
    starts = range(0, len(values), step)
    blocks = [_fit_block(values[start : start + step]) for start in starts]
    parameters, coefficients, residuals = map(np.concatenate, zip(*blocks, strict=True))
    return _described(values.shape[1:], parameters, coefficients, residuals)


def _fit_block(
    kernels: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Parameters (kernels, 7), linear coefficients and relative residuals."""
    size = kernels.shape[1:]
    rank = len(size)
    points = _points(size)
    flat = kernels.reshape(len(kernels), -1)
    norm = np.linalg.norm(flat, axis=1)
    scaled = flat / np.where(norm > 0, norm, 1.0)[:, None]
    is_free = np.array([True, rank == 2] * 2 + [rank == 2, True, rank == 2])
    _, atoms = explained_shares(kernels, _NUM_STARTS)
    best = np.zeros((len(flat), NUM_PARAMETERS))
    misfit = np.full(len(flat), np.inf)

    def climb(rows: NDArray[np.intp], start: NDArray[np.float64], steps: int) -> None:
        found, squares = improve(scaled[rows], points, start, is_free, steps)
        better = squares < misfit[rows]
        best[rows[better]], misfit[rows[better]] = found[better], squares[better]

    every = np.arange(len(flat))
    for start in atoms.T:
        climb(every, _start(size, start, scaled, points), _FIRST_STEPS)
    climb(every, best.copy(), _LAST_STEPS)
    stuck = np.flatnonzero(_is_symmetric(best[:, 2:4]))
    climb(stuck, _off_symmetry(best[stuck], rank), _LAST_STEPS)
    residual, coefficients, _ = project(scaled, points, best)
    relative = np.linalg.norm(residual, axis=1)
    relative[norm == 0] = 1.0
    return best, coefficients * norm[:, None], np.minimum(relative, 1.0)


def _is_symmetric(carriers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether both components are 0 or pi.

    There the sine vanishes and the misfit is even in k: no step would ever leave.
    """
    return np.asarray(np.all(np.abs(np.sin(carriers)) < _NUDGE / 2, axis=1))


def _off_symmetry(parameters: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Moves the carriers away from 0 and pi, and stretches the envelope that way."""
    moved = parameters.copy()
    carriers = moved[:, 2 : 2 + rank]
    inwards = np.where(np.cos(carriers) > 0, 1.0, -np.sign(carriers))
    moved[:, 2 : 2 + rank] += _NUDGE * inwards
    if rank == 2:
        moved[:, 4] = np.arctan2(inwards[:, 1], inwards[:, 0])
        moved[:, 5:] += _NUDGE, -_NUDGE
    return moved


def _start(
    size: tuple[int, ...],
    atoms: NDArray[np.intp],
    kernels: NDArray[np.float64],
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Parameters of the atoms; the envelope is turned to the kernel's axes of inertia.

    A round envelope along the grid's axes would be a saddle to a slanted one.
    """
    rank = len(size)
    rows = atom_parameters(size)[atoms]
    start = np.zeros((len(rows), NUM_PARAMETERS))
    start[:, :rank] = rows[:, :rank]
    start[:, 2 : 2 + rank] = rows[:, rank : 2 * rank]
    centred = points[None] - start[:, None, :2]
    xx, yy = np.einsum("np,npj->jn", kernels**2, centred**2)
    xy = np.einsum("np,np,np->n", kernels**2, centred[..., 0], centred[..., 1])
    start[:, 4] = 0.5 * np.arctan2(2 * xy, xx - yy) if rank == 2 else 0.0
    start[:, 5:] = np.log(rows[:, -1:])
    return start


def _points(size: tuple[int, ...]) -> NDArray[np.float64]:
    """(points, 2) coordinates from the point that "same" padding centres."""
    sizes = (*size, 1)[:2]
    x, y = np.meshgrid(*map(point_offsets, sizes), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def _described(
    size: tuple[int, ...],
    parameters: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    residuals: NDArray[np.float64],
) -> GaborFits:
    """Of all sets of parameters that mean the same function, the agreed one."""
    rank = len(size)
    carrier, sine = parameters[:, 2 : 2 + rank], coefficients[:, 1]
    last = np.where(carrier[:, -1] != 0, carrier[:, -1], carrier[:, 0])
    sign = np.where(last < 0, -1.0, 1.0)
    angle, widths = parameters[:, 4], np.exp(parameters[:, 5 : 5 + rank])
    is_across = widths[:, 0] < widths[:, -1]
    angle = np.where(is_across, angle + np.pi / 2, angle)
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
