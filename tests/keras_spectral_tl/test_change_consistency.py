"""A change of kernels beside a difference of spectra: power, sense, significance."""

import numpy as np
import pytest

from keras_spectral_tl.spectra import change_consistency, radial_spectrum
from keras_spectral_tl.spectra._convolutions import kernel_transform

pytestmark = pytest.mark.once

GRID = (24, 20)


def random_kernels(count: int = 40, seed: int = 0, size=(5, 3)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *size))


def shell_power(kernels: np.ndarray) -> np.ndarray:
    """Shell MEAN of |F|^2 by padding: the spectrum of the kernel as a field over that
    of a delta, which is flat."""
    fields = np.zeros((len(kernels) + 1, *GRID))
    fields[: len(kernels), :5, :3] = kernels
    fields[-1, 0, 0] = 1.0
    spectra = radial_spectrum(fields, (1, 2))
    return (spectra[:-1] / spectra[-1]).mean(axis=0)


def test_power_is_that_of_the_padded_kernels() -> None:
    before, after = random_kernels(), random_kernels(seed=1)
    found = change_consistency(before, after, np.arange(30.0), GRID, num_draws=1)
    expected = np.log(shell_power(after) / shell_power(before))
    np.testing.assert_array_equal(found.wavenumbers, np.arange(1, 10))
    np.testing.assert_allclose(found.power_changes, expected[1:10], rtol=1e-9)


def test_a_gain_that_follows_the_difference_is_found_in_both_senses() -> None:
    """Kernels filtered towards small scales answer a rising difference."""
    before = random_kernels(60)
    sharpened = before.copy()
    sharpened[:, 1:-1] += 0.4 * (2 * before[:, 1:-1] - before[:, 2:] - before[:, :-2])
    power = [
        np.mean(np.abs(kernel_transform(k, GRID)) ** 2) for k in (before, sharpened)
    ]
    assert power[1] > power[0]
    rising = np.arange(30.0)
    found = change_consistency(before, sharpened, rising, GRID)
    assert found.correlation > 0.8 and found.p_value == 0.001
    against = change_consistency(before, sharpened, -rising, GRID)
    assert against.correlation == pytest.approx(-found.correlation)


def test_p_values_of_random_changes_are_uniform() -> None:
    """No more than a tenth at or below 0.1, within the spread of 60 trials."""
    rng = np.random.default_rng(3)
    before = random_kernels(20)
    p_values = []
    for trial in range(60):
        drawn = rng.normal(size=before.shape)
        after = before + 0.5 * drawn / np.linalg.norm(drawn, axis=(1, 2), keepdims=True)
        difference = -(np.arange(30.0) ** 0.5)
        found = change_consistency(
            before, after, difference, GRID, num_draws=39, seed=trial
        )
        p_values.append(found.p_value)
    # Binomial(60, 0.1): 6 +- 2.3; three standard deviations.
    assert np.count_nonzero(np.array(p_values) <= 0.1) <= 13
    assert 0.3 < np.mean(p_values) < 0.7


def test_bad_input_is_refused() -> None:
    kernels = random_kernels()
    with pytest.raises(ValueError, match="did not change"):
        change_consistency(kernels, kernels, np.arange(30.0), GRID)
    with pytest.raises(ValueError, match=r"finite at k = 1 \.\. 9"):
        change_consistency(kernels, 2 * kernels, np.full(30, np.nan), GRID)
    with pytest.raises(ValueError, match="a gain"):
        change_consistency(kernels, 2 * kernels, np.ones(30), GRID)
    with pytest.raises(ValueError, match=r"\(40, 5, 3\) and \(39, 5, 3\)"):
        change_consistency(kernels, kernels[1:], np.arange(30.0), GRID)


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("when", ["before", "after"])
def test_kernels_without_power_have_no_logarithm_of_it(when, value) -> None:
    kernels = {"before": random_kernels(), "after": random_kernels(seed=1)}
    kernels[when] = np.full_like(kernels[when], value)
    with pytest.raises(ValueError, match=rf"k = 1 \.\. 9\. .* {when} the change"):
        change_consistency(*kernels.values(), np.arange(30.0), GRID)


def test_beyond_a_slope_a_slope_is_nothing_and_a_bump_is_found() -> None:
    """Any slope added to the difference changes neither correlation nor p-value."""
    before = random_kernels(60)
    waves = np.cos(0.55 * np.pi * np.arange(5))[:, None] * np.hanning(5)[1:4]
    after = before + np.sign(before.sum(axis=(1, 2)))[:, None, None] * waves
    k = np.arange(30.0)
    bump = np.exp(-((k - 4.3) ** 2) / 6)
    plain = change_consistency(before, after, bump, GRID, degree=1)
    tilted = change_consistency(before, after, bump - 3 * k, GRID, degree=1)
    assert tilted.correlation == pytest.approx(plain.correlation)
    assert tilted.p_value == plain.p_value
    without = change_consistency(before, after, bump - 3 * k, GRID)
    np.testing.assert_allclose(without.power_changes, plain.power_changes)
    assert without.correlation != pytest.approx(plain.correlation)


def test_the_degree_leaves_two_wavenumbers_at_least() -> None:
    before, after = random_kernels(), random_kernels(seed=1)
    with pytest.raises(ValueError, match="degree"):
        change_consistency(before, after, np.arange(30.0), GRID, degree=8)


def test_one_number_is_a_square_grid() -> None:
    before, after = random_kernels(), random_kernels(seed=1)
    one, pair = (
        change_consistency(before, after, np.arange(23.0), points)
        for points in (32, (32, 32))
    )
    assert one.p_value == pair.p_value and one.correlation == pair.correlation
