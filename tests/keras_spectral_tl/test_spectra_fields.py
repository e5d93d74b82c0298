"""Spectra of fields and predictions: Parseval, single modes, x and y told apart."""

import numpy as np
import pytest

from keras_spectral_tl._shells import shell_indices, shell_sum_matrix
from keras_spectral_tl.spectra import (
    coherence,
    radial_spectrum,
    spectral_ratio,
    spectrum_rmse,
)
from keras_spectral_tl.spectra._fields import cross_spectrum, mean_spectrum

pytestmark = pytest.mark.once

# Sums of up to 1,000 float64 terms: a few units of round-off.
ROUND_OFF = 1e-13
SHAPES = [(16, 16), (16, 12), (9, 14), (12, 9), (7, 7), (1, 8)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_parseval_holds_on_every_grid(shape: tuple[int, int]) -> None:
    field = noise(*shape) + 0.3
    spectrum = radial_spectrum(field)
    assert spectrum.sum() == pytest.approx(np.mean(field**2), rel=ROUND_OFF)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_mode_of_the_full_plane_is_in_one_shell(shape: tuple[int, int]) -> None:
    kx, ky = (np.fft.fftfreq(n, d=1 / n) for n in shape)
    shells = np.floor(np.hypot(kx[:, None], ky[None, :]) + 0.5).astype(int)
    counts = shell_sum_matrix(*shape).sum(axis=1)
    np.testing.assert_array_equal(counts, np.bincount(shells.ravel()))


@pytest.mark.parametrize("shape", SHAPES)
def test_half_plane_sum_equals_the_sum_over_the_full_plane(
    shape: tuple[int, int],
) -> None:
    field = noise(*shape)
    kx, ky = (np.fft.fftfreq(n, d=1 / n) for n in shape)
    shells = np.floor(np.hypot(kx[:, None], ky[None, :]) + 0.5).astype(int)
    power = np.abs(np.fft.fft2(field) / field.size) ** 2
    expected = np.bincount(shells.ravel(), weights=power.ravel())
    np.testing.assert_allclose(radial_spectrum(field), expected, atol=ROUND_OFF)


@pytest.mark.parametrize(("kx", "ky"), [(3, 0), (0, 5), (2, 4), (-4, 3)])
def test_one_mode_fills_one_shell(kx: int, ky: int) -> None:
    nx, ny = 20, 14
    x = 2 * np.pi * np.arange(nx)[:, None] / nx
    y = 2 * np.pi * np.arange(ny)[None, :] / ny
    spectrum = radial_spectrum(2.0 * np.cos(kx * x + ky * y))
    expected = np.zeros_like(spectrum)
    expected[int(np.floor(np.hypot(kx, ky) + 0.5))] = 2.0
    np.testing.assert_allclose(spectrum, expected, atol=ROUND_OFF)


def test_axes_choose_space_and_keep_the_rest() -> None:
    batch = noise(3, 12, 8, 2)
    spectra = radial_spectrum(batch, axes=(1, 2))
    assert spectra.shape == (3, 2, shell_indices(12, 8).max() + 1)
    for sample in range(3):
        for channel in range(2):
            single = radial_spectrum(batch[sample, :, :, channel])
            np.testing.assert_allclose(spectra[sample, channel], single, atol=ROUND_OFF)


def test_swapping_x_and_y_changes_nothing() -> None:
    field = noise(12, 8)
    swapped = radial_spectrum(field.T)
    np.testing.assert_allclose(radial_spectrum(field), swapped, atol=ROUND_OFF)


def test_float32_input_is_transformed_in_float64_and_left_alone() -> None:
    field = noise(8, 8).astype(np.float32)
    before = field.copy()
    spectrum = radial_spectrum(field)
    assert spectrum.dtype == np.float64
    np.testing.assert_array_equal(spectrum, radial_spectrum(field.astype(np.float64)))
    np.testing.assert_array_equal(field, before)


def test_cross_spectrum_sums_to_the_mean_product() -> None:
    first, second = noise(4, 12, 9, seed=1), noise(4, 12, 9, seed=2)
    total = cross_spectrum(first, second).sum(axis=-1)
    np.testing.assert_allclose(
        total, np.mean(first * second, axis=(1, 2)), atol=ROUND_OFF
    )


def test_cross_spectrum_with_itself_is_the_spectrum() -> None:
    field = noise(8, 10)
    np.testing.assert_allclose(
        cross_spectrum(field, field), radial_spectrum(field), atol=ROUND_OFF
    )


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_spectrum_rmse_of_a_pure_gain(gain: float) -> None:
    truth = noise(5, 16, 16, 1)
    error = spectrum_rmse(truth, gain * truth)
    assert error == pytest.approx(abs(gain**2 - 1), abs=1e-12)


def test_spectrum_rmse_sees_lost_small_scales_that_correlation_misses() -> None:
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32, 1 / 32), np.arange(17), indexing="ij"))
    steep_hat = np.fft.rfft2(noise(4, 32, 32)) * np.where(k > 0, 1 / (1 + k**3), 0)
    truth = np.fft.irfft2(steep_hat, s=(32, 32))
    smooth = np.fft.irfft2(np.where(k < 8, steep_hat, 0), s=(32, 32))
    correlation = np.corrcoef(truth.ravel(), smooth.ravel())[0, 1]
    assert correlation > 0.99
    # Shells 8 .. 15 of 1 .. 15 are empty (8 loses only those modes beyond |k| = 8).
    assert 7 / 15 <= spectrum_rmse(truth, smooth) <= 8 / 15


def test_coherence_is_blind_to_gain_and_sees_sign_and_noise() -> None:
    truth, other = noise(64, 12, 12, seed=1), noise(64, 12, 12, seed=2)
    np.testing.assert_allclose(coherence(truth, 7 * truth), 1.0, atol=ROUND_OFF)
    np.testing.assert_allclose(coherence(truth, -truth), -1.0, atol=ROUND_OFF)
    # At least 64 independent values a shell: unrelated noise stays below 4 / 8.
    assert np.all(np.abs(coherence(truth, other)) < 0.5)
    half = coherence(truth, truth + other)
    np.testing.assert_allclose(half[1:6], np.sqrt(0.5), atol=0.1)


def test_coherence_of_a_shell_without_energy_is_zero() -> None:
    flat = np.ones((1, 8, 8))
    np.testing.assert_array_equal(coherence(flat, flat), [1, 0, 0, 0, 0, 0, 0])
    # Only k = 3 is in both; round-off in the other shells is no energy.
    angle = 2 * np.pi * np.arange(16)[None, :, None] / 16
    truth = np.sin(3 * angle) + np.zeros((1, 1, 16))
    found = coherence(truth, truth + 0.5 * np.sin(5 * angle))
    assert found[3] == pytest.approx(1.0)
    assert np.all(np.delete(found, 3) == 0.0)


@pytest.mark.parametrize("shape", [(9,), (8,), (4, 6, 5), (5, 4, 8)])
def test_one_and_three_axes_obey_parseval_and_count_every_mode(shape) -> None:
    field, axes = noise(*shape), tuple(range(len(shape)))
    wavenumbers = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij")
    shells = np.floor(np.sqrt(sum(k**2 for k in wavenumbers)) + 0.5).astype(int)
    power = np.abs(np.fft.fftn(field) / field.size) ** 2
    expected = np.bincount(shells.ravel(), weights=power.ravel())
    np.testing.assert_allclose(radial_spectrum(field, axes), expected, atol=ROUND_OFF)
    stacked = np.stack([field, 2 * field], axis=1)
    spectra = radial_spectrum(stacked, tuple(a + (a > 0) for a in axes))
    np.testing.assert_allclose(spectra[1], 4 * expected, atol=ROUND_OFF)


def test_ratio_of_spectra_is_the_gain_of_each_wavenumber() -> None:
    truth = noise(3, 12, 12, 1)
    hat = np.fft.rfft2(truth, axes=(1, 2))
    k = np.hypot(np.fft.fftfreq(12, 1 / 12)[:, None], np.arange(7)[None, :])
    hat *= np.where(k < 3.5, 2.0, 0.5)[None, :, :, None]
    louder = np.fft.irfft2(hat, s=(12, 12), axes=(1, 2))
    spectra = [mean_spectrum(field, (1, 2)) for field in (louder, truth)]
    gain = spectral_ratio(*spectra)
    np.testing.assert_allclose(gain, [4.0] * 4 + [0.25] * 5, rtol=1e-12)
    flat = radial_spectrum(np.ones((8, 8)))
    np.testing.assert_array_equal(spectral_ratio(flat, flat)[:3], [1.0] + 2 * [np.nan])


def test_complex_field_is_refused() -> None:
    with pytest.raises(TypeError, match="complex128"):
        radial_spectrum(np.ones((4, 4), complex))


@pytest.mark.parametrize("axes", [(0, 0), (-1, 1), (0, 2), ()])
def test_bad_axes_are_refused(axes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"axes=\(.*shape \(4, 4\)"):
        radial_spectrum(np.ones((4, 4)), axes=axes)


def test_empty_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no points: shape \(0, 4\)"):
        radial_spectrum(np.ones((0, 4)))


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(4, 5\)"):
        cross_spectrum(np.ones((4, 4)), np.ones((4, 5)))
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) and \(2, 4, 4\)"):
        spectrum_rmse(np.ones((1, 4, 4)), np.ones((2, 4, 4)))


def test_relative_error_of_an_empty_shell_is_refused() -> None:
    x = 2 * np.pi * np.arange(8) / 8
    truth = np.broadcast_to(np.sin(x)[:, None], (1, 8, 8))
    with pytest.raises(ValueError, match=r"none at k=\[2, 3\]"):
        spectrum_rmse(truth, truth)
    assert spectrum_rmse(truth, 2 * truth, wavenumbers=[1]) == pytest.approx(3.0)


def test_wavenumbers_off_the_grid_are_refused() -> None:
    truth = noise(1, 8, 8)
    with pytest.raises(ValueError, match=r"between 0 and 6.*\[7\]"):
        spectrum_rmse(truth, truth, wavenumbers=[7])


def test_fields_without_a_complete_shell_are_refused() -> None:
    truth = noise(1, 2, 8)
    with pytest.raises(ValueError, match=r"\(2, 8\) points.*at least 3 points"):
        spectrum_rmse(truth, truth)
    assert spectrum_rmse(truth, truth, wavenumbers=[1]) == 0.0
    assert spectrum_rmse(noise(1, 3, 8), noise(1, 3, 8)) == 0.0


def test_nan_is_refused_with_its_count() -> None:
    broken = noise(1, 8, 8)
    broken[0, 0, :3] = np.nan
    with pytest.raises(ValueError, match="y_pred has 3 values"):
        coherence(noise(1, 8, 8), broken)
