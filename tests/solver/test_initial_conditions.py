"""Random start fields: their energy, spectrum, reproducibility."""

import re

import numpy as np
import pytest

from turbulence_data.diagnostics import energy, energy_spectrum
from turbulence_data.diagnostics._spectra import shell_sum
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import truncated_modes

# 200 fields of 2 pi k modes: 3 % at k = 6, plus the curvature inside a shell.
SAMPLING_ERROR = 0.15
GRIDS = [Grid((64, 64)), Grid((63, 48)), Grid((64, 48), (3.0, 7.5))]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("target", [0.5, 3.0])
def test_energy_is_exact_and_the_mean_zero(grid, target):
    field = RandomVorticity(target, 6.0)(grid, np.random.default_rng(0))
    assert field.shape == grid.num_points
    assert energy(field, grid.lengths) == pytest.approx(target, rel=1e-12)
    assert abs(field.mean()) < 1e-14 * np.abs(field).max()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_only_resolved_modes_are_set(grid):
    # Its spectrum reaches twice as far as the last mode that the smallest grid holds.
    field = RandomVorticity(0.5, 15.0)(grid, np.random.default_rng(0))
    modes = truncated_modes(grid)
    kept = modes.to_physical(modes.from_physical(field))
    assert np.abs(kept - field).max() < 1e-13 * np.abs(field).max()


def test_mean_spectrum_has_the_stated_shape_and_peak():
    grid, draw = Grid((64, 64)), RandomVorticity(0.5, 6.0)
    rng = np.random.default_rng(3)
    spectra = [energy_spectrum(draw(grid, rng))[1] for _ in range(200)]
    mean = np.mean(spectra, axis=0)
    wavenumbers = np.arange(mean.size, dtype=float)
    ratio = wavenumbers / 6.0
    shape = ratio**4 * np.exp(-2 * ratio**2)
    assert wavenumbers[mean.argmax()] == 6.0
    # A shell holds 2 pi k modes up to the scatter of the lattice: count them instead.
    _, count = shell_sum(np.ones(grid.k_squared.shape), grid)
    density, held = mean / count * 2 * np.pi * wavenumbers, slice(3, 13)
    relative = density[held] / shape[held] * (shape[6] / density[6])
    assert np.all(np.abs(relative - 1.0) < SAMPLING_ERROR)


def test_the_peak_moves_with_its_wavenumber():
    grid = Grid((64, 64))
    for peak in (3.0, 9.0):
        rng, draw = np.random.default_rng(4), RandomVorticity(0.5, peak)
        mean = sum(energy_spectrum(draw(grid, rng))[1] for _ in range(50))
        assert abs(mean.argmax() - peak) <= 1


def test_no_direction_is_preferred():
    grid, draw = Grid((48, 48)), RandomVorticity()
    rng, modes = np.random.default_rng(5), truncated_modes(Grid((48, 48)))
    along = np.zeros(2)
    for _ in range(50):
        hat = modes.from_physical(draw(grid, rng))
        density = modes.hermitian_weights * np.abs(hat) ** 2 * modes.inverse_k_squared
        along += (density * modes.kx**2).sum(), (density * modes.ky**2).sum()
    assert along[0] / along[1] == pytest.approx(1.0, abs=0.05)


def test_same_generator_same_bits_other_seed_other_field():
    grid, draw = Grid((32, 32)), RandomVorticity()
    first, again, other = (
        draw(grid, np.random.default_rng(seed)) for seed in (7, 7, 8)
    )
    assert np.array_equal(first, again)
    correlation = np.sum(first * other) / np.sum(first**2)
    assert abs(correlation) < 0.3


@pytest.mark.parametrize("name", ["energy", "peak_wavenumber"])
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, "6", True, None])
def test_unusable_parameters_are_refused(name, bad):
    with pytest.raises(ValueError, match=f"{name}.*{re.escape(repr(bad))}"):
        RandomVorticity(**{name: bad})


def test_a_peak_far_below_the_smallest_wavenumber_is_refused_with_its_value():
    # exp(-2 (k / k_p)^2) underflows on every mode: there is nothing to scale.
    with pytest.raises(ValueError, match=r"0\.01"):
        RandomVorticity(0.5, 0.01)(Grid((32, 32)), np.random.default_rng(0))
