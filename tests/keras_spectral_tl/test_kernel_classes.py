"""Planted filters are classified and fitted right, at noise levels derived before."""

import numpy as np
import pytest
from scipy import stats

from keras_spectral_tl.spectra._gabor import explained_shares, fit_gabor
from keras_spectral_tl.spectra._kernel_shapes import (
    HALF_POWER,
    KERNEL_CLASSES,
    class_counts,
    classify_kernels,
    kernel_shapes,
    noise_share,
)

pytestmark = pytest.mark.once

POINTS = np.arange(5) - 2.0
X, Y = np.meshgrid(POINTS, POINTS, indexing="ij")
DELTA = np.where((X == 0) & (Y == 0), 1.0, 0.0)
# |F|^2 of 5 x 5 points is a trigonometric polynomial with 9 x 9 coefficients; of its
# 81 independent samples 41 are different, so a maximum over k is one of 41 values.
NUM_MODES = 41


def gabors(count: int, rng: np.random.Generator, carrier: tuple[float, float]):
    """Gabor functions of any orientation and phase, 1.2 to 1.6 points wide."""
    angle, phase = rng.uniform(0, np.pi, count), rng.uniform(0, 2 * np.pi, count)
    kappa = np.pi * rng.uniform(*carrier, count)
    widths = rng.uniform(1.2, 1.6, (2, count))
    angle, phase, kappa, s1, s2 = (
        v[:, None, None] for v in (angle, phase, kappa, *widths)
    )
    along = X * np.cos(angle) + Y * np.sin(angle)
    across = Y * np.cos(angle) - X * np.sin(angle)
    envelope = np.exp(-((along / s1) ** 2 + (across / s2) ** 2) / 2)
    return envelope * np.cos(kappa * along + phase)


def gaussians(count: int, rng: np.random.Generator) -> np.ndarray:
    s1, s2 = rng.uniform(0.8, 1.6, (2, count))[:, :, None, None]
    return np.exp(-((X / s1) ** 2 + (Y / s2) ** 2) / 2)


def high_passes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Laplacians of five and of nine points and chequered Gaussians."""
    cross = np.where(np.abs(X) + np.abs(Y) == 1, 1.0, 0.0)
    diagonal = np.where(np.abs(X * Y) == 1, 1.0, 0.0)
    smooth = gaussians(count, rng)
    kinds = np.stack(
        [
            np.broadcast_to(cross - 4 * DELTA, smooth.shape),
            np.broadcast_to(4 * cross + diagonal - 20 * DELTA, smooth.shape),
            smooth * (-1.0) ** (X + Y),
        ]
    )
    return kinds[rng.integers(0, 3, count), np.arange(count)]


def differences_to_the_mean(count: int, rng: np.random.Generator) -> np.ndarray:
    """Delta minus a Gaussian mean: high-pass, with a plateau instead of a peak."""
    smooth = gaussians(count, rng)
    return DELTA - smooth / smooth.sum(axis=(1, 2), keepdims=True)


def planted(count: int, seed: int) -> dict[str, np.ndarray]:
    """Kernels of norm 1 of each class."""
    rng = np.random.default_rng(seed)
    kernels = {
        "low-pass": gaussians(count, rng),
        "band-pass": gabors(count, rng, (0.45, 0.6)),
        "high-pass": high_passes(count, rng),
    }
    return {
        name: values / np.linalg.norm(values, axis=(1, 2), keepdims=True)
        for name, values in kernels.items()
    }


def noisy(kernels: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """White noise whose norm is this share of the kernel's, in the mean square."""
    rng = np.random.default_rng(seed)
    return kernels + noise / 5 * rng.normal(size=kernels.shape)


def chance_of_error(kernels: np.ndarray, noise: float) -> np.ndarray:
    """Upper bound of the chance that noise changes the class, kernel by kernel.

    With |F(k*)| = a and |F(end)| = r a, r^2 a share, the class is right unless noise
    moves r past sqrt(1/2). If no mode of the noise exceeds t, r a moves by at most t
    and sqrt(1/2) a by at most sqrt(1/2) t: an error needs
    ``t >= a |r - sqrt(1/2)| / (1 + sqrt(1/2))``. A mode of white noise of mean square
    norm e^2 has ``P(|N(k)| > t) <= 2 exp(-t^2 / (2 e^2))`` (real at k = 0, less
    elsewhere); the union bound multiplies by the number of modes.

    To be called unstructured, the best atom's share s of the kernel must fall to the
    level s_0 of noise, which takes noise of norm ``(sqrt(s) - sqrt(s_0)) /
    (1 + sqrt(s_0))`` at least; 25 |N|^2 / e^2 is chi-squared, 25 degrees of freedom.
    """
    shapes = kernel_shapes(kernels)
    peak = peak_amplitudes(kernels)
    ends = np.sqrt(np.stack([shapes.dc_shares, shapes.edge_shares]))
    gap = np.abs(ends - np.sqrt(HALF_POWER)).min(axis=0)
    t = peak * gap / (1 + np.sqrt(HALF_POWER))
    wrong_end = 2 * NUM_MODES * np.exp(-(t**2) / (2 * noise**2))
    level = np.sqrt(noise_share((5, 5)))
    norm = (np.sqrt(explained_shares(kernels)[0][:, 0]) - level) / (1 + level)
    drowned = stats.chi2.sf(25 * norm**2 / noise**2, 25)
    return np.minimum(wrong_end + drowned, 1.0)


def peak_amplitudes(kernels: np.ndarray) -> np.ndarray:
    peaks = kernel_shapes(kernels).peak_wavenumbers[:, :, None, None]
    waves = np.exp(-1j * (peaks[:, 0] * X + peaks[:, 1] * Y))
    return np.abs(np.sum(kernels * waves, axis=(1, 2)))


@pytest.mark.parametrize("name", ["low-pass", "band-pass", "high-pass"])
def test_at_most_one_in_a_hundred_is_wrong_at_five_per_cent_noise(name: str) -> None:
    kernels = planted(1000, seed=1)[name]
    # The claim, before any noise is drawn.
    assert chance_of_error(kernels, 0.05).mean() < 0.01
    classes = classify_kernels(noisy(kernels, 0.05, seed=2))
    assert np.mean(classes == name) >= 0.99


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.2, 0.3])
def test_fewer_are_wrong_than_the_bound_allows(noise: float) -> None:
    families = planted(400, seed=3)
    families["high-pass "] = differences_to_the_mean(400, np.random.default_rng(12))
    for name, values in families.items():
        kernels = values / np.linalg.norm(values, axis=(1, 2), keepdims=True)
        wrong = np.mean(classify_kernels(noisy(kernels, noise, seed=4)) != name.strip())
        bound = chance_of_error(kernels, max(noise, 1e-9)).mean()
        # Three standard errors of a share of 400.
        assert wrong <= bound + 3 * np.sqrt(0.25 * min(4 * bound, 1) / 400)


def test_white_noise_is_unstructured() -> None:
    """At the level 0.01 by construction; the noise here is not that of the quantile."""
    noise = np.random.default_rng(5).normal(size=(2000, 5, 5))
    share = np.mean(classify_kernels(noise) == "unstructured")
    # The quantile comes from 2,000 kernels and is tested on 2,000: 0.01 +- 4 * 0.003.
    assert abs(share - 0.99) < 0.012


@pytest.mark.parametrize("size", [(5, 5), (3, 3)])
def test_nothing_and_no_number_are_unstructured(size) -> None:
    kernels = np.stack([np.zeros(size), np.full(size, np.nan)])
    np.testing.assert_array_equal(classify_kernels(kernels), "unstructured")


def test_planted_filters_drown_in_noise_as_large_as_they_are() -> None:
    shares = []
    for noise in (0.1, 0.5, 1.0, 3.0):
        kernels = np.concatenate(list(planted(200, seed=6).values()))
        classes = classify_kernels(noisy(kernels, noise, seed=7))
        shares.append(np.mean(classes == "unstructured"))
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] > 0.9


def test_gabor_carriers_of_the_classes_lie_where_the_classes_are() -> None:
    kernels = {n: noisy(k, 0.05, seed=8) for n, k in planted(200, seed=9).items()}
    carrier = {
        n: np.abs(fit_gabor(k).wavenumbers).max(axis=1) / np.pi
        for n, k in kernels.items()
    }
    assert np.quantile(carrier["low-pass"], 0.9) < 0.25
    assert np.quantile(carrier["band-pass"], 0.1) > 0.25
    assert np.quantile(carrier["band-pass"], 0.9) < 0.65
    assert np.quantile(carrier["high-pass"], 0.1) > 0.65


def test_class_forgets_gain_sign_orientation_and_padding() -> None:
    kernels = np.concatenate(list(planted(100, seed=10).values()))
    classes = classify_kernels(kernels)
    np.testing.assert_array_equal(classify_kernels(-7 * kernels), classes)
    turned = classify_kernels(kernels.swapaxes(1, 2)[:, ::-1])
    np.testing.assert_array_equal(turned, classes)


def test_the_two_ends() -> None:
    line = np.where(Y == 0, 1.0, 0.0)
    found = classify_kernels(np.stack([DELTA, line, 0 * DELTA]))
    assert found.tolist() == ["all-pass", "all-pass", "unstructured"]


def test_one_and_three_axes() -> None:
    line = np.arange(9) - 4.0
    smooth = np.exp(-(line**2) / 4)
    kernels = [smooth, smooth * np.cos(np.pi / 2 * line), smooth * (-1.0) ** line]
    expected = ["low-pass", "band-pass", "high-pass"]
    assert classify_kernels(np.stack(kernels)).tolist() == expected
    five = np.exp(-(POINTS**2) / 2)
    cube = five[:, None, None] * five[:, None] * five
    sign = (-1.0) ** np.add.outer(np.add.outer(POINTS, POINTS), POINTS)
    found = classify_kernels(np.stack([cube, cube * sign]))
    assert found.tolist() == ["low-pass", "high-pass"]


def test_few_points_are_never_called_unstructured() -> None:
    assert noise_share((3, 3)) == 0.0
    kernels = np.random.default_rng(11).normal(size=(200, 3, 3))
    counts = class_counts(classify_kernels(kernels))
    assert counts["unstructured"] == 0
    assert sum(counts.values()) == 200
    assert tuple(counts) == KERNEL_CLASSES
