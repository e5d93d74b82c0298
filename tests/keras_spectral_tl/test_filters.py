"""Principal filters: planted ones come back as theory says, none are found in noise."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_spectral_tl.freezing import FiltersOf
from keras_spectral_tl.spectra import change_consistency, principal_filters
from keras_spectral_tl.spectra._convolutions import convolution_kernel, rms_transfer

pytestmark = pytest.mark.once

POINTS = np.arange(5) - 2.0
X, Y = np.meshgrid(POINTS, POINTS, indexing="ij")
GAUSSIAN = np.exp(-(X**2 + Y**2) / 2)
LAPLACIAN = np.zeros((5, 5))
LAPLACIAN[1:4, 1:4] = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
PATTERNS = {
    "low-pass": GAUSSIAN,
    "gradient": X * GAUSSIAN,
    "Laplacian": LAPLACIAN,
}
# Singular vectors of float64 matrices.
ROUND_OFF = 1e-10


def orthonormal(patterns: list[np.ndarray]) -> np.ndarray:
    """(patterns, 25), by Gram and Schmidt: the first is kept as it is."""
    basis, triangle = np.linalg.qr(np.stack([p.ravel() for p in patterns], axis=-1))
    return (basis * np.sign(np.diag(triangle))).T


def planted(
    strengths: list[float], shape: tuple[int, int], seed: int, noise: float = 1.0
) -> np.ndarray:
    """Patterns with these singular values in white noise of standard deviation 1."""
    rng = np.random.default_rng(seed)
    count = shape[0] * shape[1]
    left, _ = np.linalg.qr(rng.normal(size=(count, len(strengths))))
    right = orthonormal(list(PATTERNS.values())[: len(strengths)])
    rows = left * strengths @ right + noise * rng.normal(size=(count, 25))
    return rows.T.reshape(5, 5, *shape)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("shape", [(2, 16), (8, 8)])
def test_noise_has_a_filter_as_often_as_the_level_says(shape, uneven) -> None:
    """Also where kernels differ in size, which flips of signs keep."""
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(200):
        kernels = rng.normal(size=(5, 5, *shape))
        if uneven:
            kernels *= rng.lognormal(0.0, 1.0, size=shape)
        filters = principal_filters(kernels, level=0.05, seed=trial)
        found += bool(filters.significant.any())
    # Binomial(200, 0.05): 10 +- 3.1; three standard deviations.
    assert found <= 19


def test_no_filter_too_many_is_found_beside_planted_ones() -> None:
    shape, count = (8, 8), 64
    threshold = (count * 25) ** 0.25
    strengths = [6 * threshold, 4 * threshold, 3 * threshold]
    numbers = [
        principal_filters(
            planted(strengths, shape, seed), level=0.05, seed=seed
        ).significant.sum()
        for seed in range(100)
    ]
    assert min(numbers) == 3
    # A fourth by chance: Binomial(100, 0.05), three standard deviations.
    assert np.sum(np.array(numbers) > 3) <= 11


@pytest.mark.parametrize("shape", [(2, 16), (16, 16), (64, 64)])
@pytest.mark.parametrize("strength", [1.5, 2.0, 4.0])
def test_a_planted_filter_is_recovered_as_far_as_random_matrices_allow(
    shape, strength
) -> None:
    """Benaych-Georges and Nadakuditi, https://doi.org/10.1016/j.jmva.2012.04.019.

    Of n x p white noise and one pattern of singular value t sqrt(n), c = p / n, the
    squared cosine to the pattern is 1 - c (1 + t^2) / (t^2 (t^2 + c)).
    """
    n, ratio = shape[0] * shape[1], 25 / (shape[0] * shape[1])
    t = strength * ratio**0.25  # in units of the least that can be seen
    cosines = []
    for seed in range(20):
        kernels = planted([t * np.sqrt(n)], shape, seed)
        found = principal_filters(kernels, level=0.05)
        pattern = orthonormal([GAUSSIAN])[0]
        cosines.append(float(found.filters[0].ravel() @ pattern) ** 2)
    expected = 1 - ratio * (1 + t**2) / (t**2 * (t**2 + ratio))
    # The limit of many points, of which a kernel has 25: off by the order of 1 / 25,
    # and by four standard errors of the mean.
    error = 4 * np.std(cosines, ddof=1) / np.sqrt(len(cosines)) + 1 / 25
    assert abs(np.mean(cosines) - expected) < error


def test_what_is_weaker_than_noise_allows_is_not_found() -> None:
    n = 16 * 16
    weakest = (n * 25) ** 0.25
    found = []
    for strength in (0.5, 2.0):
        trials = (planted([strength * weakest], (16, 16), seed) for seed in range(30))
        found.append([bool(principal_filters(k).significant[0]) for k in trials])
    assert sum(found[0]) <= 3
    assert sum(found[1]) == 30


def test_planted_filters_have_their_class_parity_and_share() -> None:
    strengths = [100.0, 70.0, 40.0]
    kernels = planted(strengths, (16, 16), 0, noise=0.1)
    found = principal_filters(kernels)
    assert found.significant.tolist()[:4] == [True, True, True, False]
    assert found.classes[:3].tolist() == list(PATTERNS)
    total = np.sum(kernels**2)
    np.testing.assert_allclose(
        found.shares[:3], np.square(strengths) / total, rtol=0.01
    )
    assert found.shares.sum() == pytest.approx(1.0)
    # Even under all symmetries, odd under inversion, even under all.
    parities = found.parities[:3, [0, 4, 0]]
    assert np.all(np.diag(parities) > 0.99)
    peaks = found.profiles[:3].argmax(axis=1)
    assert peaks[0] == 0 < peaks[1] < peaks[2]


@pytest.mark.parametrize(
    ("pattern", "name", "symmetry"),
    [
        (np.ones((5, 5)), "low-pass", 0),
        ((X + Y) * GAUSSIAN, "gradient", 4),
        ((X**2 - Y**2) * GAUSSIAN, "saddle", 2),
        (X * Y * GAUSSIAN, "saddle", 3),
        (X * Y * (X**2 - Y**2), "unstructured", 1),
        ((X**2 + Y**2 - 2) * GAUSSIAN, "Laplacian", 0),
        (GAUSSIAN * (-1.0) ** (X + Y), "high-pass", 0),
        (GAUSSIAN * np.cos(1.6 * X), "Gabor", 0),
    ],
)
def test_classes_and_symmetries_of_known_patterns(pattern, name, symmetry) -> None:
    found = principal_filters(-3.0 * pattern[..., None, None], number=1)
    assert found.classes.tolist() == [name]
    assert found.parities[0].argmax() == symmetry
    assert found.parities[0].sum() == pytest.approx(1.0)
    assert not found.significant[0]  # one kernel is no evidence


def test_the_first_filters_are_the_best_approximation() -> None:
    """Eckart and Young: what r filters leave is the energy of the others."""
    kernels = np.random.default_rng(0).normal(size=(5, 3, 4, 6))
    found = principal_filters(kernels)
    np.testing.assert_allclose(found.kernels(15), kernels, atol=ROUND_OFF)
    total = np.sum(kernels**2)
    for number in (0, 1, 4):
        left = np.sum((kernels - found.kernels(number)) ** 2) / total
        assert left == pytest.approx(found.shares[number:].sum(), rel=1e-9)
    flat = found.filters.reshape(15, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(15), atol=ROUND_OFF)
    assert found.parities.shape == (15, 2)  # not square: even and odd
    assert found.kernels().shape == kernels.shape


def test_turned_kernels_have_turned_filters() -> None:
    kernels = planted([60.0, 40.0], (8, 8), 1)
    turned = np.rot90(kernels)
    first, second = principal_filters(kernels), principal_filters(turned)
    np.testing.assert_allclose(second.shares, first.shares, rtol=1e-9)
    np.testing.assert_allclose(second.parities, first.parities, atol=1e-8)
    np.testing.assert_array_equal(
        first.shares, principal_filters(kernels.copy()).shares
    )


def model(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(12, 5, name="conv_1"),
            keras.layers.SeparableConv2D(6, 3, name="separable"),
            keras.layers.Conv2D(3, 1, name="pointwise"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, name="dense"),
        ]
    )


def test_layers_and_changes_of_models() -> None:
    base = model()
    kernel, bias = base.get_layer("conv_1").get_weights()
    found = principal_filters(base, "conv_1")
    np.testing.assert_array_equal(found.shares, principal_filters(kernel).shares)
    assert principal_filters(base, 0).coefficients.shape == (24, 2, 12)
    assert principal_filters(base, "separable").filters.shape == (9, 3, 3)
    after = keras.models.clone_model(base)
    after.set_weights(base.get_weights())
    rng = np.random.default_rng(0)
    change = GAUSSIAN[..., None, None] * rng.normal(size=(2, 12))
    after.get_layer("conv_1").set_weights([kernel + change, bias])
    moved = principal_filters(base, after, "conv_1")
    assert moved.shares[0] == pytest.approx(1.0, abs=1e-9)
    assert moved.significant.tolist()[:2] == [True, False]
    assert moved.classes[0] == "low-pass"
    np.testing.assert_allclose(moved.kernels(1), change, atol=1e-6)
    same = principal_filters(kernel, kernel + change)
    np.testing.assert_allclose(same.filters[0], moved.filters[0], atol=1e-6)


def test_channels_by_themselves() -> None:
    """A filter planted in one input channel is found there and nowhere else."""
    rng = np.random.default_rng(0)
    kernels = rng.normal(size=(5, 5, 3, 40))
    kernels[:, :, 1] += 2 * GAUSSIAN[..., None] * rng.normal(size=40)
    found = principal_filters(kernels, per="input")
    assert [bool(f.significant.any()) for f in found] == [False, True, False]
    outputs = principal_filters(kernels, per="output", number=2)
    assert len(outputs) == 40 and outputs[0].filters.shape == (2, 5, 5)


@pytest.mark.filterwarnings("error")
def test_a_channel_of_zeros_has_no_share_and_no_filter_that_stands_out() -> None:
    kernels = planted([60.0], (2, 16), 0)
    kernels[:, :, 1] = 0.0
    first, second = principal_filters(kernels, per="input")
    assert first.significant[0]
    assert not second.significant.any()
    np.testing.assert_array_equal(second.shares, 0.0)
    np.testing.assert_array_equal(second.kernels(len(second.filters)), 0.0)


@pytest.mark.parametrize("size", [(9,), (3, 3, 3), (5, 3)])
def test_kernels_with_other_axes(size) -> None:
    rng = np.random.default_rng(0)
    kernels = 0.1 * rng.normal(size=(*size, 8, 8)) + rng.normal(size=(8, 8))
    found = principal_filters(kernels)
    assert found.classes[0] == "low-pass"
    assert found.significant.tolist()[:2] == [True, False]
    assert found.parities[0, 0] > 0.95


def test_a_result_can_be_read_kept_and_drawn() -> None:
    found = principal_filters(planted([60.0, 40.0], (8, 8), 1))
    assert len(str(found).splitlines()) <= 25
    assert "low-pass" in str(found).splitlines()[1]
    assert json.dumps(found.to_dict())
    frame = found.to_frame()
    assert len(frame) == 25 and frame["classes"][0] == "low-pass"
    axes = found.plot()
    assert [a.get_title() for a in axes[:2]] == [
        f"low-pass\n{found.shares[0]:.0%}",
        f"gradient\n{found.shares[1]:.0%}",
    ]
    assert len(axes[-1].patches) == 25


def test_what_has_no_filters_is_refused() -> None:
    base, kernels = model(), np.random.default_rng(0).normal(size=(5, 5, 2, 3))
    with pytest.raises(ValueError, match=r"dense \(Dense\)"):
        principal_filters(base, "dense")
    with pytest.raises(ValueError, match="a single point"):
        principal_filters(base, "pointwise")
    with pytest.raises(ValueError, match="conv_1, separable"):
        principal_filters(base, ["conv_1", "separable"])
    with pytest.raises(ValueError, match=r"25 points .*number=26"):
        principal_filters(kernels, number=26)
    with pytest.raises(ValueError, match=r"\(5, 5, 2, 3\) and \(5, 5, 3, 2\)"):
        principal_filters(kernels, kernels.swapaxes(2, 3))
    with pytest.raises(ValueError, match="did not change"):
        principal_filters(kernels, kernels)
    with pytest.raises(ValueError, match="1 values that are NaN"):
        kernels[0, 0, 0, 0] = np.nan
        principal_filters(kernels)
    with pytest.raises(ValueError, match=r"shape \(5, 5\)"):
        principal_filters(np.ones((5, 5)))
    with pytest.raises(TypeError, match=r"principal_filters\(model, layer\)"):
        principal_filters(base)
    with pytest.raises(TypeError, match="belongs to models"):
        principal_filters(np.ones((5, 5, 1, 1)), None, "conv_1")
    with pytest.raises(ValueError, match="Did you mean 'input'"):
        principal_filters(np.ones((5, 5, 1, 1)), per="inputs")


def _planted_change() -> tuple[keras.Model, keras.Model, np.ndarray]:
    """A linear layer and what a change of two filters makes of it."""
    keras.utils.set_random_seed(1)
    before = keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 3, padding="same", name="conv")]
    )
    after = keras.models.clone_model(before)
    kernel, bias = before.get_layer("conv").get_weights()
    rng = np.random.default_rng(5)
    rows = orthonormal([rng.normal(size=9) for _ in range(2)])
    # Rank two, of unequal sizes, the larger one first.
    change = rows.T * [2.0, 0.5] @ np.linalg.qr(rng.normal(size=(4, 4)))[0][:2]
    moved = kernel + change.reshape(kernel.shape)
    after.get_layer("conv").set_weights([moved, bias + 0.1])
    return before, after, rng.normal(size=(3, 6, 6, 2)).astype("float32")


def _negative_error(true: np.ndarray, predicted: np.ndarray) -> float:
    return -float(np.mean((true - predicted) ** 2))


def test_all_filters_are_the_change_and_fewer_are_what_they_leave() -> None:
    before, after, x = _planted_change()
    y = after.predict(x, verbose=0)
    found = principal_filters(before, after, "conv").effects(
        before, after, "conv", (x, y), numbers=(0, 1, 2, 9), metric=_negative_error
    )
    np.testing.assert_allclose(found.effects[2:], 1.0, atol=1e-5)
    # By hand: the kernel lacks the second filter; no filter leaves the bias alone.
    change = principal_filters(before, after, "conv")
    for number, effect in zip((0, 1), found.effects[:2], strict=True):
        kernel, bias = after.get_layer("conv").get_weights()
        lacking = keras.models.clone_model(before)
        left = change.kernels(2) - change.kernels(number)
        lacking.get_layer("conv").set_weights([kernel - left, bias])
        error = _negative_error(y, lacking.predict(x, verbose=0))
        assert effect == pytest.approx(1 - error / found.before, abs=1e-5)
    assert found.effects[0] < found.effects[1] < 1.0
    assert str(found).splitlines()[2].split() == ["0", f"{found.effects[0]:.2f}"]
    assert len(found.plot().lines) == 1
    kernels = [model.get_layer("conv").get_weights()[0] for model in (before, after)]
    np.testing.assert_allclose(
        kernels[1] - kernels[0], change.kernels(2), atol=1e-6
    )  # neither model was changed


@pytest.mark.parametrize("kind", [list, dict])
def test_effects_of_a_layer_of_a_network_with_several_inputs(kind) -> None:
    before, after, x = _planted_change()

    def with_mean(model: keras.Model) -> keras.Model:
        fields = keras.Input((6, 6, 2), name="fields")
        mean = keras.Input((1, 1, 1), name="mean")
        outputs = keras.layers.Add()([model.get_layer("conv")(fields), mean])
        every = {"fields": fields, "mean": mean}
        return keras.Model(every if kind is dict else list(every.values()), outputs)

    both = {"fields": x, "mean": np.ones((3, 1, 1, 1), "float32")}
    inputs = both if kind is dict else list(both.values())
    first, second = with_mean(before), with_mean(after)
    data = inputs, second.predict(inputs, verbose=0)
    change = principal_filters(before, after, "conv")
    found = change.effects(first, second, "conv", data, numbers=(2,))
    np.testing.assert_allclose(found.effects, 1.0, atol=1e-5)


def test_effects_of_a_retrained_low_rank_update_and_of_none() -> None:
    before, after, x = _planted_change()
    y = after.predict(x, verbose=0)
    updated = keras.models.clone_model(before)
    updated.set_weights(before.get_weights())
    layer = updated.get_layer("conv")
    FiltersOf("conv", number=9).prepare({"conv": layer})
    layer.lora_kernel_b.assign(0.1 * np.ones(layer.lora_kernel_b.shape))
    with pytest.raises(ValueError, match="gains nothing"):
        principal_filters(after, before, "conv").effects(
            after, before, "conv", (x, y), metric=_negative_error
        )
    y = updated.predict(x, verbose=0)
    found = principal_filters(before, updated, "conv").effects(
        before, updated, "conv", (x, y), numbers=(9,), metric=_negative_error
    )
    assert found.effects[0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("outputs", [2, 3])
def test_effects_of_a_transposed_layer_run_from_the_old_kernel_to_the_new(
    outputs,
) -> None:
    """Without a bias no filter is the network before, and all are the one after."""
    keras.utils.set_random_seed(1)
    layer = keras.layers.Conv2DTranspose(
        outputs, 3, padding="same", use_bias=False, name="conv"
    )
    before = keras.Sequential([keras.Input((6, 6, 2)), layer])
    after = keras.models.clone_model(before)
    rng = np.random.default_rng(3)
    (kernel,) = before.get_weights()
    after.set_weights([kernel + rng.normal(size=kernel.shape)])
    x = rng.normal(size=(3, 6, 6, 2)).astype("float32")
    found = principal_filters(before, after, "conv").effects(
        before, after, "conv", (x, after.predict(x, verbose=0)), numbers=(0, 9)
    )
    np.testing.assert_allclose(found.effects, [0.0, 1.0], atol=1e-5)


def convolution(kernels: np.ndarray) -> keras.Model:
    layer = keras.layers.Conv2D(kernels.shape[-1], 5, use_bias=False, name="conv")
    model = keras.Sequential([keras.Input((16, 16, kernels.shape[-2])), layer])
    model.set_weights([kernels])
    return model


def test_a_filter_alone_is_as_consistent_as_the_change_that_it_makes() -> None:
    """One planted filter: the same power as `change_consistency` of the kernels."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=(5, 5, 4, 6)).astype("float32")
    after = before + GAUSSIAN[..., None, None] * np.abs(rng.normal(size=(4, 6)))
    nets = [convolution(kernels) for kernels in (before, after)]
    found = principal_filters(*nets, "conv")
    falling = -np.arange(17.0)
    first = found.consistency(nets[0], "conv", falling, (32, 32))[0]
    rows = (np.moveaxis(k, (2, 3), (0, 1)).reshape(24, 5, 5) for k in (before, after))
    whole = change_consistency(*rows, falling, (32, 32))
    np.testing.assert_allclose(first.power_changes, whole.power_changes, atol=1e-5)
    assert first.correlation == pytest.approx(whole.correlation, abs=0.02)
    assert first.p_value == whole.p_value == 0.001
    assert found.kernels(1).shape == before.shape


def test_filters_of_a_dilated_layer_change_the_power_of_its_own_transfer() -> None:
    """P is the square of the rms transfer, so its change is twice that of the log."""
    rng = np.random.default_rng(2)
    layer = keras.layers.Conv2D(4, 5, dilation_rate=(2, 3), use_bias=False, name="conv")
    before = keras.Sequential([keras.Input((32, 32, 2)), layer])
    after = keras.models.clone_model(before)
    (kernel,) = before.get_weights()
    after.set_weights([kernel + 0.1 * rng.normal(size=kernel.shape)])
    filters = principal_filters(before, after, "conv", number=1)
    falling = -np.arange(17.0)
    found = filters.consistency(before, "conv", falling, (32, 32))[0]
    first = convolution_kernel(before.get_layer("conv"))
    second = dataclasses.replace(first, weights=first.weights + filters.kernels(1))
    transfer = [rms_transfer("conv", one, (32, 32)) for one in (first, second)]
    expected = 2 * np.log(transfer[1] / transfer[0])[1:16]
    np.testing.assert_allclose(found.power_changes, expected, atol=ROUND_OFF)


def test_p_values_of_random_filters_are_uniform() -> None:
    """At or below 0.1 in a tenth of 75 filters, within three standard deviations."""
    rng = np.random.default_rng(1)
    p_values = []
    for trial in range(3):
        before = rng.normal(size=(5, 5, 3, 9))
        change = rng.normal(size=(5, 5, 3, 9))
        nets = [convolution(kernels) for kernels in (before, before + 0.3 * change)]
        found = principal_filters(*nets, "conv")
        rows = found.consistency(
            nets[0], "conv", -(np.arange(17.0) ** 0.5), (32, 32), degree=1, seed=trial
        )
        p_values += [row.p_value for row in rows]
    assert len(p_values) == 75
    assert np.sum(np.array(p_values) <= 0.1) <= 7.5 + 3 * np.sqrt(75 * 0.1 * 0.9)
