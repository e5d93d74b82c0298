"""Start fields: the properties their formulas promise."""

import numpy as np
import pytest

from turbulence_data import FlowConfig, evolve
from turbulence_data.diagnostics import energy
from turbulence_data.solver.grid import Grid
from turbulence_data.solver.initial_conditions import RandomVorticity
from turbulence_data.solver.start_fields import (
    LambDipole,
    MergingVortices,
    TaylorGreen,
)

ROUND_OFF = 1e-12
RNG = np.random.default_rng(0)
FIELDS = [TaylorGreen(), LambDipole(), MergingVortices()]


def free_flow(num_points, reynolds=1e9):
    return FlowConfig(num_points, reynolds, linear_drag=0.0, forcing_wavenumber=None)


@pytest.mark.parametrize("start", FIELDS)
@pytest.mark.parametrize("shape", [(64, 64), (48, 63)])
def test_the_mean_is_zero_and_the_shape_right(start, shape):
    field = start(Grid(shape), RNG)
    assert field.shape == shape
    assert abs(field.mean()) < ROUND_OFF


@pytest.mark.parametrize("wavenumber", [1, 3])
def test_taylor_green_is_an_exact_decaying_solution(wavenumber):
    start = TaylorGreen(wavenumber, velocity=0.7)(Grid((32, 32)), RNG)
    end = evolve(start, free_flow(32, reynolds=20.0), 0.5, 0.01)
    decay = np.exp(-2 * wavenumber**2 * 0.5 / 20.0)
    assert np.abs(end - decay * start).max() < ROUND_OFF


def test_taylor_green_has_the_velocity_asked_for():
    # u = U cos(x) sin(y), v = -U sin(x) cos(y): kinetic energy U^2 / 4.
    assert energy(TaylorGreen(2, 0.7)(Grid((32, 32)), RNG)) == pytest.approx(0.7**2 / 4)


def test_the_lamb_dipole_travels_along_x_at_its_speed():
    """Images in a periodic box of 12 radii slow it by about (R / L)^2, under 3 %."""
    dipole = LambDipole(speed=1.0, radius=0.5, center=(0.3, 0.5))
    start = dipole(Grid((128, 128)), RNG)
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


def test_the_circulation_of_two_vortices_is_twice_that_of_one():
    grid = Grid((128, 128))
    start = MergingVortices(circulation=2.0, radius=0.35, separation=1.0)
    field = start(grid, RNG)
    background = field.min()  # far away there is only the mean taken out
    circulation = np.sum(field - background) * np.prod(grid.spacing)
    assert circulation == pytest.approx(4.0, rel=1e-6)


def test_close_vortices_merge_and_distant_ones_do_not():
    def num_peaks(separation):
        start = MergingVortices(2.0, 0.35, separation)(Grid((96, 96)), RNG)
        end = evolve(start, free_flow(96, reynolds=1000.0), 30.0, 0.02)
        inner = end > 0.5 * end.max()
        from scipy import ndimage

        return ndimage.label(inner)[1]

    assert num_peaks(0.8) == 1
    assert num_peaks(2.0) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaylorGreen(0), r"wavenumber.*0"),
        (lambda: TaylorGreen(1, -1.0), r"velocity.*-1.0"),
        (lambda: LambDipole(radius=0.0), r"radius.*0.0"),
        (lambda: LambDipole(center=(0.5, np.nan)), r"center.*nan"),
        (lambda: MergingVortices(separation=-1.0), r"separation.*-1.0"),
        (lambda: LambDipole(radius=4.0)(Grid((16, 16)), RNG), r"radius.*4"),
        (lambda: MergingVortices(radius=2.0)(Grid((16, 16)), RNG), r"4 radius.*9"),
        (lambda: RandomVorticity(energy=0.0), r"energy.*0.0"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
