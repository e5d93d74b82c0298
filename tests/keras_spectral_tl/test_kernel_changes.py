"""What retraining changed: identities of the measures, and power of the tests."""

import json

import keras
import numpy as np
import pytest

from keras_spectral_tl.spectra._kernel_changes import (
    change_significance,
    kernel_changes,
    layer_kernel_changes,
)
from keras_spectral_tl.spectra._kernels import analyse_kernels

pytestmark = pytest.mark.once

# Sums of squares in float64.
ROUND_OFF = 1e-9

RNG = np.random.default_rng(0)
BEFORE = RNG.normal(size=(60, 5, 5))


def model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            keras.layers.Conv2D(4, 5, name="first"),
            keras.layers.Conv2D(3, 3, name="second"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="dense"),
        ]
    )


def copy_with(base: keras.Model, change: dict[str, np.ndarray]) -> keras.Model:
    copy = keras.models.clone_model(base)
    copy.set_weights(base.get_weights())
    for name, values in change.items():
        kernel, bias = copy.get_layer(name).get_weights()
        copy.get_layer(name).set_weights([kernel + values, bias])
    return copy


def test_a_gain_changes_norms_and_no_spectrum() -> None:
    gains = RNG.uniform(0.2, 3.0, 60) * RNG.choice([-1, 1], 60)
    changes = layer_kernel_changes(BEFORE, gains[:, None, None] * BEFORE)
    np.testing.assert_allclose(changes.norm_changes, np.abs(gains) - 1, atol=ROUND_OFF)
    np.testing.assert_allclose(changes.relative_changes, np.abs(gains - 1))
    np.testing.assert_allclose(changes.spectral_distances, 0.0, atol=ROUND_OFF)
    np.testing.assert_array_equal(changes.classes_before, changes.classes_after)


def test_a_shift_changes_the_kernel_and_no_spectrum() -> None:
    before, after = np.zeros((2, 1, 7, 7))
    values = RNG.normal(size=(4, 4))
    before[0, :4, :4], after[0, 2:6, 3:] = values, values
    changes = layer_kernel_changes(before, after)
    assert changes.relative_changes[0] > 0.5
    np.testing.assert_allclose(changes.spectral_distances, 0.0, atol=ROUND_OFF)
    np.testing.assert_allclose(changes.power_changes, 0.0, atol=ROUND_OFF)


def test_power_changes_sum_to_the_change_of_energy() -> None:
    """Parseval: the mean over the zone of |F|^2 is the squared norm."""
    after = BEFORE + 0.3 * RNG.normal(size=BEFORE.shape)
    changes = layer_kernel_changes(BEFORE, after)
    half = changes.power_changes
    full_mean = (2 * half.sum() - half[:, 0].sum() - half[:, -1].sum()) / 32**2
    energies = changes.norms_after**2 - changes.norms_before**2
    assert full_mean == pytest.approx(energies.mean(), rel=1e-9)
    total = np.linalg.norm(after - BEFORE) / np.linalg.norm(BEFORE)
    assert changes.relative_change == pytest.approx(total, rel=1e-12)


def test_spectral_distance_is_the_least_squares_residual() -> None:
    after = BEFORE + RNG.normal(size=BEFORE.shape)
    found = layer_kernel_changes(BEFORE, after).spectral_distances
    old, new = (
        np.abs(np.fft.fft2(k, s=(32, 32))).reshape(60, -1) for k in (BEFORE, after)
    )
    gain = np.sum(old * new, axis=1) / np.sum(old**2, axis=1)
    left = np.linalg.norm(new - gain[:, None] * old, axis=1)
    np.testing.assert_allclose(found, left / np.linalg.norm(new, axis=1), rtol=1e-9)


def test_zeros_are_defined() -> None:
    kernels = np.zeros((3, 5, 5))
    after = kernels.copy()
    kernels[1], after[2] = 1.0, 1.0
    changes = layer_kernel_changes(kernels, after, after)
    assert changes.spectral_distances.tolist() == [0.0, 1.0, 1.0]
    assert changes.relative_changes.tolist() == [0.0, 1.0, np.inf]
    assert changes.significance.ratios.tolist() == [1.0, np.inf, np.inf]
    assert changes.significance.p_values[0] == 1.0


def test_classes_before_sum_up_all_kernels() -> None:
    after = BEFORE + 0.1 * RNG.normal(size=BEFORE.shape)
    changes = layer_kernel_changes(BEFORE, after, after + BEFORE)
    table = changes.by_class()
    assert sum(row["count"] for row in table.values()) == 60
    weighted = sum(row["count"] * row["relative_change"] for row in table.values())
    assert weighted / 60 == pytest.approx(changes.relative_changes.mean())
    assert all(0.0 < row["p_value"] <= 1.0 for row in table.values())
    assert "agreement" not in next(
        iter(layer_kernel_changes(BEFORE, after).by_class().values())
    )


def test_p_values_of_pure_noise_are_uniform() -> None:
    """Independent changes: a share alpha of the p-values lies below alpha."""
    noise = np.random.default_rng(1).normal(size=(2, 2000, 5, 5))
    found = change_significance(*noise)
    for alpha in (0.05, 0.25, 0.5):
        # Four standard errors of a share of 2,000.
        error = 4 * np.sqrt(alpha * (1 - alpha) / 2000)
        assert abs(np.mean(found.p_values < alpha) - alpha) < error
    assert found.significant().sum() == 0
    assert np.median(found.ratios) == pytest.approx(1.0, abs=0.05)


def test_the_sign_flip_test_keeps_its_level() -> None:
    rng = np.random.default_rng(2)
    rejected = [
        change_significance(*rng.normal(size=(2, 20, 3)), seed=n).layer_p_value <= 0.1
        for n in range(200)
    ]
    # 0.1 of 200 and four standard errors of 0.02.
    assert np.mean(rejected) < 0.1 + 4 * 0.0212


def test_a_common_change_is_significant_as_it_must_be() -> None:
    """cos = 1 / (1 + e^2) for noise e of the size of the common part.

    With e = 0.5 that is 0.8: t = 0.8 sqrt(24) / 0.6 = 6.5, p < 1e-6 a kernel.
    """
    rng = np.random.default_rng(3)
    common = rng.normal(size=(100, 5, 5))
    first, second = common + 0.5 * rng.normal(size=(2, 100, 5, 5))
    found = change_significance(first, second)
    assert found.layer_agreement == pytest.approx(0.8, abs=0.03)
    # |2 c + n_1 + n_2| / |n_1 - n_2| = sqrt((4 + 0.5) / 0.5) = 3
    assert np.median(found.ratios) == pytest.approx(3.0, rel=0.1)
    assert found.significant(0.01).mean() >= 0.99
    assert found.layer_p_value == 0.001
    mixed = change_significance(
        np.concatenate([first, first]),
        np.concatenate([second, rng.normal(size=first.shape)]),
    )
    assert mixed.significant(0.05)[:100].mean() >= 0.99
    assert mixed.significant(0.05)[100:].mean() <= 0.15


def test_models_are_compared_layer_by_layer() -> None:
    base = model()
    change = np.zeros((3, 3, 4, 3))
    change[:, :, 2, 1] = 0.5
    retrained = copy_with(base, {"second": change})
    found = kernel_changes(base, retrained)
    assert list(found.layers) == ["first", "second"]
    assert found.layers["first"].relative_change == 0.0
    largest = found.largest(1)[0]
    assert largest[:3] == ("second", 2, 1)
    assert largest.change_norm == pytest.approx(1.5, rel=1e-6)
    assert len(found.largest(100)) == 8 + 12
    assert json.dumps(found.to_dict())


def test_frozen_layers_are_allowed_beside_a_reseeded_one() -> None:
    base, rng = model(), np.random.default_rng(4)
    changes = rng.normal(size=(2, 5, 5, 2, 4))
    one, two = (copy_with(base, {"first": change}) for change in changes)
    found = kernel_changes(base, one, two).layers
    assert found["second"].significance.layer_p_value == 1.0
    assert found["first"].significance is not None
    with pytest.raises(ValueError, match="'first' of the reseeded model equals"):
        kernel_changes(base, one, one)


def test_bad_models_and_shapes_are_refused() -> None:
    other = keras.Sequential([keras.Input((12, 12, 2)), keras.layers.Conv2D(1, 3)])
    with pytest.raises(ValueError, match="same convolution layers"):
        kernel_changes(model(), other)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="same convolution layers"):
        kernel_changes(dense, dense)
    with pytest.raises(ValueError, match=r"false_share=1\.5"):
        change_significance(BEFORE, BEFORE).significant(1.5)


def test_analysis_of_a_model_joins_the_parts() -> None:
    found = analyse_kernels(model(1))
    assert list(found) == ["first", "second"]
    layer = found["first"]
    assert layer.shape == (2, 4)
    assert len(layer.classes) == len(layer.gabor.residuals) == 8
    assert layer.clusters.sizes.sum() == 8
    assert json.dumps(layer.to_dict())
    some = analyse_kernels(model(1), 0, with_clusters=False, num_fits=3)["first"]
    assert some.fitted.tolist() == [0, 4, 7]  # of 0 .. 7, rounded to even
    np.testing.assert_allclose(
        some.gabor.residuals, layer.gabor.residuals[some.fitted], rtol=1e-6
    )
    only = analyse_kernels(model(1), ["second"], with_clusters=False)
    assert list(only) == ["second"]
    assert only["second"].clusters is None


def test_analysis_takes_layers_that_have_no_fit_or_no_clusters() -> None:
    pointwise = keras.layers.Conv2D(8, 1, name="pointwise")
    flat = keras.Sequential([keras.Input((4, 4, 2)), pointwise])
    layer = analyse_kernels(flat)["pointwise"]
    assert layer.clusters is None
    assert set(layer.classes) == {"all-pass"}
    volume = keras.layers.Conv3D(2, 3, name="volume")
    deep = analyse_kernels(keras.Sequential([keras.Input((5, 5, 5, 3)), volume]))
    assert deep["volume"].gabor is None
    assert deep["volume"].to_dict()["gabor"] is None


def test_analysis_refuses_what_is_no_convolution() -> None:
    with pytest.raises(ValueError, match=r"\['dense'\]"):
        analyse_kernels(model(), ["dense"])
    with pytest.raises(KeyError, match="first"):
        analyse_kernels(model(), ["frist"])
