"""Flows with a known structure: they decay, travel and merge as theory says."""

import numpy as np
import pytest
import scipy

from turbulence_data import FlowConfig, evolve
from turbulence_data.diagnostics import energy
from turbulence_data.solver import Grid

ROUND_OFF = 1e-12


def free_flow(num_points, reynolds=1e9):
    return FlowConfig(num_points, reynolds, linear_drag=0.0, forcing_wavenumber=None)


def taylor_green(grid, wavenumber=1, velocity=1.0):
    """Vortices `2 k U cos(k x) cos(k y)`: they decay as `exp(-2 k^2 nu t)`.

    Taylor & Green (1937), doi:10.1098/rspa.1937.0036.
    """
    waves = np.cos(wavenumber * grid.x) * np.cos(wavenumber * grid.y)
    return 2.0 * wavenumber * velocity * waves


def offsets(grid, center):
    """Shortest way from a point, in parts of the sides, along x and along y."""
    for position, part, length in zip(
        (grid.x, grid.y), center, grid.lengths, strict=True
    ):
        away = position - part * length
        yield away - length * np.round(away / length)


def lamb_dipole(grid, speed=1.0, radius=0.5, center=(0.5, 0.5)):
    """A dipole that travels along x: `psi ~ J1(k r) sin(theta)`, `k R = 3.83`.

    Meleshko & van Heijst (1994), doi:10.1017/S0022112094004428.
    """
    dx, dy = np.broadcast_arrays(*offsets(grid, center))
    r = np.hypot(dx, dy)
    zero = scipy.special.jn_zeros(1, 1)[0]
    k = zero / radius
    sine = np.divide(dy, r, out=np.zeros_like(r), where=r > 0.0)
    inside = 2.0 * speed * k / -scipy.special.j0(zero)
    field = np.where(r < radius, inside * scipy.special.j1(k * r) * sine, 0.0)
    return field - field.mean()


def two_vortices(grid, circulation=2.0, radius=0.35, separation=1.0):
    """Gaussian vortices that merge when `separation < 3.3 radius`.

    Le Dizes & Verga (2002), doi:10.1017/S0022112002001532.
    """
    shift = 0.5 * separation / grid.lengths[0]
    field = np.zeros(grid.num_points)
    for center in ((0.5 - shift, 0.5), (0.5 + shift, 0.5)):
        dx, dy = offsets(grid, center)
        field += np.exp(-(dx**2 + dy**2) / radius**2)
    field *= circulation / (np.pi * radius**2)
    return field - field.mean()


@pytest.mark.parametrize("wavenumber", [1, 3])
def test_taylor_green_is_an_exact_decaying_solution(wavenumber):
    start = taylor_green(Grid((32, 32)), wavenumber, velocity=0.7)
    end = evolve(start, free_flow(32, reynolds=20.0), 0.5, 0.01)
    decay = np.exp(-2 * wavenumber**2 * 0.5 / 20.0)
    assert np.abs(end - decay * start).max() < ROUND_OFF


@pytest.mark.parametrize("num_points", [96, 98])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_shortest_resolved_wave_decays_alike_along_both_axes(num_points, axis):
    # On 98 points, n (1 / n) is not 1 in floating point.
    grid = Grid((num_points, num_points))
    k = (num_points - 1) // 3
    start = np.cos(k * (grid.x, grid.y)[axis]) * np.ones(grid.num_points)
    end = evolve(start, free_flow(num_points, reynolds=100.0), 0.01, 0.01)
    assert np.abs(end - np.exp(-(k**2) * 0.01 / 100.0) * start).max() < ROUND_OFF


def test_taylor_green_has_the_energy_of_its_velocity():
    # u = U cos(x) sin(y), v = -U sin(x) cos(y): kinetic energy U^2 / 4.
    assert energy(taylor_green(Grid((32, 32)), 2, 0.7)) == pytest.approx(0.7**2 / 4)


def test_the_lamb_dipole_travels_along_x_at_its_speed():
    """Images in a periodic box of 12 radii slow it by about (R / L)^2, under 3 %."""
    start = lamb_dipole(Grid((128, 128)), speed=1.0, radius=0.5, center=(0.3, 0.5))
    duration = 1.0
    end = evolve(start, free_flow(128, reynolds=1e5), duration)
    assert _centroid_x(end) - _centroid_x(start) == pytest.approx(duration, rel=0.03)
    # It keeps its shape: shifted back by whole cells, it is nearly what it was.
    cells = round(duration / (2 * np.pi / 128))
    returned = np.roll(end, -cells, axis=0)
    assert np.corrcoef(returned.ravel(), start.ravel())[0, 1] > 0.97
    assert start[:, 64:].min() > -0.1 * start.max()  # positive above, negative below


def _centroid_x(vorticity):
    """Mean position along x, weighted by squared vorticity, on a circle."""
    angle = 2 * np.pi * np.arange(len(vorticity)) / len(vorticity)
    weight = (vorticity**2).sum(axis=1)
    return np.angle(np.sum(weight * np.exp(1j * angle))) % (2 * np.pi)


@pytest.mark.slow
def test_close_vortices_merge_and_distant_ones_do_not():
    def num_peaks(separation):
        start = two_vortices(Grid((96, 96)), separation=separation)
        end = evolve(start, free_flow(96, reynolds=1000.0), 30.0, 0.02)
        inner = end > 0.5 * end.max()
        return scipy.ndimage.label(inner)[1]

    assert num_peaks(0.8) == 1
    assert num_peaks(2.0) == 2
