"""Gabor fits: exact on Gabor functions, never worse than the truth under noise."""

import numpy as np
import pytest

from keras_spectral_tl.spectra._gabor import (
    _Problem,
    atom_parameters,
    explained_shares,
    fit_gabor,
)

pytestmark = pytest.mark.once

# The fit of an exact Gabor stops when a step gains less than 1e-5 of the misfit left.
EXACT = 1e-3
# Central differences with a step of 1e-6.
DIFFERENCES = 1e-6

POINTS = np.arange(5) - 2.0
X, Y = np.meshgrid(POINTS, POINTS, indexing="ij")


def planted(count: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Centred Gabor functions of norm 1, with what they are made of."""
    rng = np.random.default_rng(seed)
    truth = {
        "theta": rng.uniform(0, np.pi, count),
        "kappa": np.pi * rng.uniform(0.4, 0.65, count),
        "phase": rng.uniform(-np.pi, np.pi, count),
        "s1": rng.uniform(1.0, 1.5, count),
        "s2": rng.uniform(1.0, 1.5, count),
    }
    theta, kappa, phase, s1, s2 = (v[:, None, None] for v in truth.values())
    along = X * np.cos(theta) + Y * np.sin(theta)
    across = Y * np.cos(theta) - X * np.sin(theta)
    envelope = np.exp(-((along / s1) ** 2 + (across / s2) ** 2) / 2)
    kernels = envelope * np.cos(kappa * along + phase)
    return kernels / np.linalg.norm(kernels, axis=(1, 2), keepdims=True), truth


def test_parameters_of_exact_gabors_are_recovered() -> None:
    kernels, truth = planted(400)
    fits = fit_gabor(kernels)
    right = fits.residuals < EXACT
    assert right.mean() >= 0.99
    np.testing.assert_allclose(
        fits.moduli[right], truth["kappa"][right], atol=0.02 * np.pi
    )
    np.testing.assert_allclose(fits.centres[right], 0.0, atol=0.1)
    angle = np.arctan2(*fits.wavenumbers.T[::-1])
    turn = np.abs((angle - truth["theta"] + np.pi / 2) % np.pi - np.pi / 2)
    assert np.quantile(turn[right], 0.99) < 0.02


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.2])
def test_the_fit_is_closer_than_the_noise(noise: float) -> None:
    """Least squares from the right start leaves no more than the truth would leave.

    With residual <= |noise| the fit is within 2 |noise| of the truth (triangle
    inequality); fitted parameters take up noise, so the bounds are not tight.
    """
    kernels, truth = planted(400, seed=1)
    rng = np.random.default_rng(2)
    noisy = kernels + noise / 5 * rng.normal(size=kernels.shape)
    fits = fit_gabor(noisy)
    size = np.linalg.norm(noisy - kernels, axis=(1, 2))
    left = fits.residuals * np.linalg.norm(noisy, axis=(1, 2))
    assert np.mean(left <= size) >= 0.99
    away = np.linalg.norm(fits.kernels() - kernels, axis=(1, 2))
    assert np.mean(away <= 2 * size) >= 0.99
    # A carrier of 16 points under the envelope: its error is of the order of the noise.
    error = np.abs(fits.moduli - truth["kappa"])
    assert np.median(error) < noise * np.pi / 2


def test_residual_is_that_of_the_described_function() -> None:
    kernels = 3.0 * np.random.default_rng(3).normal(size=(100, 5, 4))
    fits = fit_gabor(kernels)
    norms = np.linalg.norm(kernels, axis=(1, 2))
    residuals = np.linalg.norm(kernels - fits.kernels(), axis=(1, 2)) / norms
    np.testing.assert_allclose(residuals, fits.residuals, atol=1e-9)
    assert np.all((fits.angles >= 0) & (fits.angles < np.pi))
    assert np.all(fits.widths[:, 0] >= fits.widths[:, 1])
    assert np.all(fits.amplitudes >= 0)
    assert np.all(fits.wavenumbers[:, 1] >= 0)
    assert np.all(np.abs(fits.wavenumbers) <= np.pi)


def test_kernels_with_one_axis() -> None:
    line = np.arange(9) - 4.0
    kernels = np.stack(
        [np.exp(-((line - 1) ** 2) / 8) * np.cos(1.3 * line + 0.4), np.exp(-(line**2))]
    )
    fits = fit_gabor(kernels)
    assert np.all(fits.residuals < EXACT)
    assert fits.moduli[0] == pytest.approx(1.3, abs=0.01)
    np.testing.assert_allclose(fits.kernels(), kernels, atol=EXACT)
    assert fits.widths.shape == fits.centres.shape == (2, 1)
    assert np.all(fits.angles == 0.0)


def test_low_and_high_pass_filters_are_limits_of_gabors() -> None:
    smooth = np.exp(-(X**2 + 2 * Y**2 + X * Y) / 2)
    checked = smooth * (-1.0) ** (X + Y)
    delta = (X == 1) & (Y == -1)
    fits = fit_gabor(np.stack([smooth, checked, 2.0 * delta]))
    assert np.all(fits.residuals < 2e-2)
    assert fits.moduli[0] < 0.2 * np.pi
    np.testing.assert_allclose(np.abs(fits.wavenumbers[1]), np.pi, atol=0.1)
    np.testing.assert_allclose(fits.centres[2], [1.0, -1.0], atol=0.2)


def test_noise_is_fitted_worse_than_any_planted_filter() -> None:
    fits = fit_gabor(np.random.default_rng(4).normal(size=(200, 5, 5)))
    assert np.quantile(fits.residuals, 0.05) > 0.5
    kernels, _ = planted(300)
    assert np.quantile(fit_gabor(kernels).residuals, 0.99) < 0.01


@pytest.mark.parametrize("size", [(5, 5), (9,)])
def test_slopes_are_those_of_the_misfit(size: tuple[int, ...]) -> None:
    """Kaufman's Jacobian J of the residual r has the exact gradient J^T r."""
    rng = np.random.default_rng(5)
    problem = _Problem(size)
    for _ in range(8):
        parameters, kernel = rng.uniform(0.1, 0.9, 7), rng.normal(size=np.prod(size))
        residual, _ = problem.project(kernel, parameters)
        gradient = 2 * problem.slopes(kernel, parameters) @ residual

        def misfit(values: np.ndarray, kernel: np.ndarray = kernel) -> float:
            return float(np.sum(problem.project(kernel, values)[0] ** 2))

        for index in problem.free:
            step = np.zeros(7)
            step[index] = 1e-6
            difference = (misfit(parameters + step) - misfit(parameters - step)) / 2e-6
            scale = max(np.abs(gradient).max(), 1.0)
            assert abs(gradient[index] - difference) < DIFFERENCES * scale


def test_every_atom_explains_itself() -> None:
    parameters = atom_parameters((5, 5))[::37]
    distance = np.stack([X, Y])[None] - parameters[:, :2, None, None]
    phase = np.einsum("naxy,na->nxy", distance, parameters[:, 2:4])
    width = parameters[:, 4, None, None]
    atoms = np.exp(-np.sum(distance**2, axis=1) / (2 * width**2)) * np.cos(phase + 0.3)
    shares, best = explained_shares(atoms, num_best=3)
    np.testing.assert_allclose(shares[:, 0], 1.0, atol=1e-9)
    assert np.all(np.diff(shares, axis=1) <= 1e-12)
    widths = atom_parameters((5, 5))[best][..., 4]
    assert all(len(set(row)) == 3 for row in widths)


def test_the_result_is_the_same_again_and_kernel_by_kernel() -> None:
    kernels = np.random.default_rng(6).normal(size=(70, 5, 5))
    fits, again = fit_gabor(kernels), fit_gabor(kernels)
    np.testing.assert_array_equal(fits.residuals, again.residuals)
    alone = fit_gabor(kernels[60:63])
    np.testing.assert_allclose(alone.residuals, fits.residuals[60:63], rtol=1e-6)


def test_a_kernel_of_zeros_and_single_points() -> None:
    fits = fit_gabor(np.zeros((2, 5, 5)))
    assert fits.residuals.tolist() == [1.0, 1.0]
    assert fits.amplitudes.tolist() == [0.0, 0.0]
    assert fit_gabor(np.full((1, 1, 1), -2.0)).residuals[0] < 1e-9
    assert fits.to_dict()["size"] == [5, 5]


def test_bad_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3, 3\)"):
        fit_gabor(np.ones((2, 3, 3, 3)))
    with pytest.raises(ValueError, match="1 values that are NaN"):
        fit_gabor(np.array([[1.0, np.nan, 0.0]]))
