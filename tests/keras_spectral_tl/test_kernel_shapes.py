"""Shapes of transfer functions: analytic cases, and no grid in sight."""

import numpy as np
import pytest

from keras_spectral_tl.spectra._convolutions import (
    fine_grid,
    kernel_transform,
    mode_weights,
)
from keras_spectral_tl.spectra._kernel_shapes import kernel_shapes, refine_peaks

pytestmark = pytest.mark.once

# Transforms of float64 kernels.
ROUND_OFF = 1e-12
# Newton's method stops where a step no longer gains: half the digits of the power.
PEAK = 1e-7

POINTS = np.arange(5) - 2.0
X, Y = np.meshgrid(POINTS, POINTS, indexing="ij")


def wave(kx: float, ky: float, width: float, phase: float = 0.0) -> np.ndarray:
    return np.exp(-(X**2 + Y**2) / (2 * width**2)) * np.cos(kx * X + ky * Y + phase)


def test_mean_over_the_zone_obeys_parseval_on_every_number_of_axes() -> None:
    rng = np.random.default_rng(0)
    for size in ((5,), (5, 4), (3, 4, 2)):
        kernel = rng.normal(size=(1, *size))
        grid = fine_grid(size)
        power = np.abs(kernel_transform(kernel, grid)).reshape(-1) ** 2
        assert power @ mode_weights(grid) == pytest.approx(np.sum(kernel**2), rel=1e-12)


def test_peak_of_a_derivative_is_at_half_the_nyquist_wavenumber() -> None:
    """F = 2 i sin(kx) exactly; along ky the ridge is flat and ky = 0 is taken."""
    kernel = np.zeros((1, 5, 5))
    kernel[0, 1, 2], kernel[0, 3, 2] = -1.0, 1.0
    shapes = kernel_shapes(kernel)
    np.testing.assert_allclose(shapes.peak_wavenumbers, [[np.pi / 2, 0.0]], atol=PEAK)
    np.testing.assert_allclose(shapes.dc_shares, 0.0, atol=ROUND_OFF)
    np.testing.assert_allclose(shapes.edge_shares, 1.0, atol=1e-9)  # at (pi/2, pi)


def test_peak_lies_between_the_points_of_the_fine_grid() -> None:
    """|sum_a cos(k0 a) e^(-ika)| on many points peaks at k0, whatever k0."""
    line = np.arange(81) - 40.0
    for k0 in (0.5, 1.0, 2.2):
        kernel = (np.exp(-(line**2) / 60) * np.cos(k0 * line))[None]
        shapes = kernel_shapes(kernel)
        # The mirror image at -k0 has exp(-30 (2 k0)^2 / 2) of the amplitude here.
        assert shapes.peak_moduli[0] == pytest.approx(k0, abs=1e-5), k0


def test_refinement_only_climbs() -> None:
    rng = np.random.default_rng(1)
    kernels = rng.normal(size=(200, 5, 5))
    starts = rng.uniform(-np.pi, np.pi, size=(200, 2))
    powers = [refine_peaks(kernels, starts, 0.0)[1]]
    peaks, power = refine_peaks(kernels, starts, 0.2)
    assert np.all(power >= powers[0])
    waves = np.exp(
        -1j * (X[None] * peaks[:, 0, None, None] + Y * peaks[:, 1, None, None])
    )
    evaluated = np.abs(np.sum(kernels * waves, axis=(1, 2))) ** 2
    np.testing.assert_allclose(evaluated, power, rtol=1e-10)


def test_bandwidth_of_a_gaussian_envelope() -> None:
    """Power exp(-s^2 (k - k0)^2) has standard deviation 1 / (sqrt(2) s)."""
    line = np.arange(61) - 30.0
    kernel = np.exp(-(line**2) / (2 * 5.0**2)) * np.cos(1.5 * line)
    shapes = kernel_shapes(kernel[None])
    assert shapes.bandwidths[0] == pytest.approx(1 / (np.sqrt(2) * 5.0), rel=1e-6)
    assert shapes.mean_wavenumbers[0] == pytest.approx(1.5, rel=1e-6)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120])
def test_orientation_of_a_gabor_is_that_of_its_carrier(degrees: int) -> None:
    angle = np.deg2rad(degrees)
    kernel = wave(1.7 * np.cos(angle), 1.7 * np.sin(angle), 1.3)
    shapes = kernel_shapes(kernel[None])
    found = np.rad2deg(np.arctan2(*shapes.orientations[0][::-1])) % 180
    # Five points cut the envelope along the axes, which turns it a little.
    assert abs((found - degrees + 90) % 180 - 90) < 4
    assert shapes.anisotropies[0] > 0.5
    assert np.argmax(shapes.angular_profiles[0]) == round(degrees / 15)


def test_isotropic_kernels_have_no_anisotropy_and_a_stripe_has_all() -> None:
    round_kernels = [wave(0, 0, 1.0), np.eye(1, 25, 12).reshape(5, 5)]
    shapes = kernel_shapes(np.stack(round_kernels))
    np.testing.assert_allclose(shapes.anisotropies, 0.0, atol=ROUND_OFF)
    # Constant along y over many points: only ky = 0 passes.
    stripe = np.cos(1.5 * (np.arange(64) - 31))[:, None] * np.ones(64)
    # The width 2 pi / 64 of the line in ky over k = 1.5 turns the waves by 4 degrees.
    assert kernel_shapes(stripe[None]).anisotropies[0] > 0.97


def test_flat_transfer_has_a_flat_angular_profile() -> None:
    delta = np.zeros((1, 5, 5))
    delta[0, 2, 2] = -3.0
    np.testing.assert_allclose(kernel_shapes(delta).angular_profiles, 3.0)


def test_turning_a_kernel_turns_its_shape() -> None:
    kernels = np.random.default_rng(2).normal(size=(50, 5, 5))
    shapes, turned = kernel_shapes(kernels), kernel_shapes(kernels.swapaxes(1, 2))
    for name in ("peak_moduli", "mean_wavenumbers", "bandwidths", "anisotropies"):
        np.testing.assert_allclose(
            getattr(turned, name), getattr(shapes, name), atol=PEAK, err_msg=name
        )
    mirrored = (6 - np.arange(12)) % 12  # angle a becomes 90 degrees - a
    np.testing.assert_allclose(
        turned.angular_profiles, shapes.angular_profiles[:, mirrored], rtol=1e-9
    )


def test_gain_sign_and_position_do_not_change_the_shape() -> None:
    kernel = np.zeros((2, 7, 7))
    values = np.random.default_rng(3).normal(size=(4, 4))
    kernel[0, :4, :4], kernel[1, 3:, 2:6] = values, -5 * values
    shapes = kernel_shapes(kernel).to_dict()
    del shapes["angular_profiles"]
    for name, (first, second) in shapes.items():
        np.testing.assert_allclose(first, second, atol=PEAK, err_msg=name)


def test_dilation_divides_the_peak() -> None:
    """|sin(step k)| has several equal peaks; the first is taken."""
    kernel = np.array([[-1.0, 0.0, 1.0]])
    peaks = [kernel_shapes(kernel, (step,)).peak_moduli[0] for step in (1, 2, 3)]
    np.testing.assert_allclose(peaks, np.pi / 2 / np.array([1, 2, 3]), atol=PEAK)


def test_three_axes_and_a_kernel_of_zeros() -> None:
    kernels = np.zeros((2, 3, 3, 3))
    kernels[0, 0, 1, 1], kernels[0, 2, 1, 1] = -1.0, 1.0
    shapes = kernel_shapes(kernels)
    np.testing.assert_allclose(
        shapes.peak_wavenumbers[0], [np.pi / 2, 0.0, 0.0], atol=PEAK
    )
    assert np.abs(shapes.orientations[0]).argmax() == 0
    assert shapes.peak_moduli[1] == 0.0
    assert shapes.angular_profiles is None
    assert all(np.isfinite(v).all() for v in vars(shapes).values() if v is not None)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Received shape \(5,\)"):
        kernel_shapes(np.ones(5))
    with pytest.raises(ValueError, match=r"Received shape \(0, 5, 5\)"):
        kernel_shapes(np.ones((0, 5, 5)))


@pytest.mark.parametrize("dilation", [(0, 1), (1, 0.5), (1,), (1j, 1), (1, True), 2])
def test_a_bad_dilation_is_refused(dilation) -> None:
    with pytest.raises(ValueError, match="dilation"):
        kernel_shapes(np.ones((1, 3, 3)), dilation)


def test_a_kernel_too_wide_for_memory_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 4,194,304"):
        kernel_shapes(np.ones((1, 3, 3)), (10**6, 10**6))
