"""Clusters of kernels: planted families come back, gain and sign do not count."""

import sys

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from keras_spectral_tl.spectra._clusters import cluster_kernels, count_spectra

pytestmark = pytest.mark.once

# Transforms of float64 kernels.
ROUND_OFF = 1e-12

POINTS = np.arange(5) - 2.0
X, Y = np.meshgrid(POINTS, POINTS, indexing="ij")
SMOOTH = np.exp(-(X**2 + Y**2) / 3)
FAMILIES = np.stack(
    [
        SMOOTH,
        SMOOTH * (-1) ** (X + Y),
        SMOOTH * np.cos(1.6 * X),
        SMOOTH * np.sin(1.6 * Y),
    ]
)


def planted(counts: tuple[int, ...], noise: float = 0.05) -> tuple:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    gains = rng.uniform(0.5, 2.0, len(labels)) * rng.choice([-1, 1], len(labels))
    scale = noise * np.linalg.norm(SMOOTH) / 5
    kernels = FAMILIES[labels] + scale * rng.normal(size=(len(labels), 5, 5))
    return gains[:, None, None] * kernels, labels


def test_planted_families_are_found_and_their_number_too() -> None:
    kernels, labels = planted((60, 40, 30, 20))
    found = cluster_kernels(kernels)
    assert adjusted_rand_score(labels, found.labels) == 1.0
    assert found.sizes.tolist() == [60, 40, 30, 20]
    assert max(found.silhouettes, key=found.silhouettes.get) == 4
    assert sorted(found.silhouettes) == [2, 3, 4, 5, 6, 7, 8]
    assert found.num_samples == 150


def test_centres_are_images_of_the_transfer_function() -> None:
    kernels, _ = planted((30, 20, 10), noise=0.0)
    found = cluster_kernels(kernels, num_clusters=(2,), seeds=(0, 1))
    assert found.centres.shape == (2, 16, 16)
    found = cluster_kernels(kernels + 1e-5 * np.eye(5), num_clusters=(3,))
    for label, image in enumerate(found.centres):
        transfer = np.abs(np.fft.fft2(FAMILIES[label] + 1e-5 * np.eye(5), s=(16, 16)))
        expected = np.fft.fftshift(transfer) / np.sqrt(np.mean(transfer**2))
        # The small matrix makes the kernels of a family differ, by their gains.
        np.testing.assert_allclose(image, expected, atol=1e-4)
        assert np.mean(image**2) == pytest.approx(1.0, abs=1e-6)


def test_gain_and_sign_do_not_count() -> None:
    kernels, _ = planted((20, 20, 20))
    signs = np.random.default_rng(1).choice([-3.0, 0.1, 2.0], len(kernels))
    first = cluster_kernels(kernels)
    second = cluster_kernels(signs[:, None, None] * kernels)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_the_same_again_and_stable_where_there_are_clusters() -> None:
    kernels, _ = planted((50, 40))
    first, second = cluster_kernels(kernels), cluster_kernels(kernels)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.centres, second.centres)
    assert first.stability == 1.0
    noise = cluster_kernels(
        np.random.default_rng(2).normal(size=(200, 5, 5)), num_clusters=(6,)
    )
    assert noise.stability < 0.9
    assert noise.silhouettes[6] < 0.2


def test_large_layers_are_sampled_and_labelled_as_a_whole() -> None:
    kernels, labels = planted((800, 700))
    found = cluster_kernels(kernels, num_clusters=(2, 3))
    assert found.num_samples == 1000
    assert adjusted_rand_score(labels, found.labels) == 1.0
    assert found.sizes.sum() == 1500


def test_zeros_have_no_cluster() -> None:
    kernels, _ = planted((10, 10))
    kernels[3] = 0.0
    found = cluster_kernels(kernels)
    assert found.labels[3] == -1
    assert found.sizes.sum() == 19
    assert found.to_dict()["labels"][3] == -1


@pytest.mark.parametrize(("size", "image"), [((7,), (64,)), ((3, 3, 3), (8, 8, 8))])
def test_one_and_three_axes(size: tuple, image: tuple) -> None:
    kernels = np.random.default_rng(3).normal(size=(30, *size))
    found = cluster_kernels(kernels, num_clusters=(3,))
    assert found.centres.shape == (3, *image)
    for axis in range(1, len(image) + 1):  # |F| is even in k; index n // 2 is k = 0
        mirrored = np.roll(np.flip(found.centres, axis=axis), 1, axis=axis)
        assert mirrored.shape == found.centres.shape
    everywhere = tuple(range(1, len(image) + 1))
    even = np.roll(np.flip(found.centres, everywhere), (1,) * len(image), everywhere)
    np.testing.assert_allclose(even, found.centres, atol=ROUND_OFF)


def test_what_cannot_be_clustered_is_refused() -> None:
    kernels, _ = planted((10, 10))
    assert count_spectra(np.ones((9, 1, 1))) == 1
    with pytest.raises(ValueError, match="1 different kernels of 9"):
        cluster_kernels(np.ones((9, 1, 1)))
    with pytest.raises(ValueError, match=r"seeds=\(0,\)"):
        cluster_kernels(kernels, seeds=(0,))
    with pytest.raises(ValueError, match=r"num_clusters=\(1, 2\)"):
        cluster_kernels(kernels, num_clusters=(1, 2))


def test_without_scikit_learn_the_error_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        cluster_kernels(planted((10, 10))[0])
