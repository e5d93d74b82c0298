"""Channel gains, the span of filters, small output gains: exact, proved, saved."""

import re

import keras
import numpy as np
import pytest

from keras_spectral_tl import freezing, layers, models, spectra, transfer
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl.freezing import (
    BiasesOf,
    ChannelGainsOf,
    FiltersOf,
    LowRankOf,
    OutputGain,
    select_layers,
)
from keras_spectral_tl.freezing._kernel_parts import smooth_filters
from keras_spectral_tl.scoring._network_parts import PartedNetwork
from keras_spectral_tl.transfer._retrain import Trainee
from tests.keras_spectral_tl.common import noise

SINGLE = 1e-5  # float32 against float64
RNG = np.random.default_rng(8)
QUICK = {"epochs": 2, "batch_size": 2}


def _cnn():
    keras.utils.set_random_seed(2)
    return models.build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=4)


X = RNG.normal(size=(6, 8, 8, 2)).astype("float32")
Y = 2.0 * X[..., :1]


def _one(layer, shape):
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input(shape), layer])


def _outputs(model, x):
    return keras.ops.convert_to_numpy(model(x))


LAYERS = {
    "Conv1D": (lambda **o: keras.layers.Conv1D(3, 3, **o), (6, 2)),
    "Conv2D": (lambda **o: keras.layers.Conv2D(3, 3, **o), (6, 6, 2)),
    "grouped": (lambda **o: keras.layers.Conv2D(4, 3, groups=2, **o), (6, 6, 2)),
    "Conv3D": (lambda **o: keras.layers.Conv3D(3, 3, **o), (4, 4, 4, 2)),
    "periodic": (lambda **o: layers.PeriodicConv2D(3, 3, **o), (6, 6, 2)),
    "Dense": (lambda **o: keras.layers.Dense(3, **o), (4,)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_channel_gain_is_a_kernel_scaled_by_output_channel(kind, use_bias):
    build, shape = LAYERS[kind]
    options = {"use_bias": use_bias, "activation": "tanh", "name": "layer"}
    model = _one(build(**options), shape)
    layer = model.layers[-1]
    x = RNG.normal(size=(2, *shape)).astype("float32")
    before, kernel = _outputs(model, x), fetch(layer.kernel).copy()
    part = ChannelGainsOf("layer")
    part.prepare({"layer": layer})
    np.testing.assert_array_equal(_outputs(model, x), before)
    selection = select_layers(model, part)
    expected = ("layer/bias",) * use_bias + ("layer/channel_gain",)
    assert selection.variables == expected
    gains = RNG.normal(size=kernel.shape[-1:]).astype("float32")
    layer.channel_gain.assign(gains)
    scaled = _one(build(**options), shape)
    scaled.layers[-1].kernel.assign(kernel * gains)
    np.testing.assert_allclose(_outputs(model, x), _outputs(scaled, x), atol=SINGLE)
    np.testing.assert_array_equal(fetch(layer._kernel), kernel)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "Dense"])
def test_kernels_move_only_in_the_span_of_the_filters(kind):
    build, shape = LAYERS[kind]
    model = _one(build(name="layer"), shape)
    layer = model.layers[-1]
    kernel = fetch(layer.kernel).copy()
    size = kernel.shape[:-2]
    filters = RNG.normal(size=(2, *size))
    part = FiltersOf("layer", filters)
    part.prepare({"layer": layer})
    chosen = select_layers(model, part)
    assert chosen.variables == ("layer/bias", "layer/lora_kernel_b")
    assert chosen.num_trainable == 2 * kernel[..., :, :].size // np.prod(size) + len(
        fetch(layer.bias)
    )
    coefficients = RNG.normal(size=layer.lora_kernel_b.shape)
    layer.lora_kernel_b.assign(coefficients)
    change = np.asarray(keras.ops.convert_to_numpy(layer.kernel)) - kernel
    # By hand: sum over filters, each with coefficients (inputs, outputs) of its own.
    basis = np.linalg.qr(filters.reshape(2, -1).T)[0].T
    each = coefficients.reshape(2, *kernel.shape[-2:])
    expected = np.einsum("rp,rio->pio", basis, each).reshape(kernel.shape)
    np.testing.assert_allclose(change, expected, atol=SINGLE)
    np.testing.assert_array_equal(fetch(layer._kernel), kernel)


ADDED = [
    (ChannelGainsOf("conv_2"), {"conv_2/bias", "conv_2/channel_gain"}),
    (FiltersOf("conv_2"), {"conv_2/bias", "conv_2/lora_kernel_b"}),
    (
        [FiltersOf("conv_1", number=3), ChannelGainsOf("conv_2"), OutputGain()],
        {
            "conv_1/bias",
            "conv_1/lora_kernel_b",
            "conv_2/bias",
            "conv_2/channel_gain",
            "output_gain/output_gain",
        },
    ),
    (
        [FiltersOf(["conv_1", "conv_3"]), BiasesOf("conv_2")],
        {f"conv_{n}/bias" for n in (1, 2, 3)}
        | {f"conv_{n}/lora_kernel_b" for n in (1, 3)},
    ),
]


@pytest.mark.parametrize(("part", "free"), ADDED)
def test_retraining_moves_the_part_and_nothing_else(part, free):
    model = _cnn()
    before = freezing.weight_hashes(model)
    result = transfer.retrain(model, (X, Y), part, **QUICK)
    assert freezing.weight_hashes(model) == before == result.weight_hashes_before
    assert set(result.changed_weights) == free & set(before)
    assert set(result.provenance["weights"]) == free
    after = result.weight_hashes_after
    assert all(after[path] == before[path] for path in set(before) - free)
    assert result.history["loss"][-1] < result.history["loss"][0]


@pytest.mark.parametrize("part", [part for part, _ in ADDED])
def test_a_retrained_part_is_copied_saved_and_loaded(part, tmp_path):
    model = _cnn()
    result = transfer.retrain(model, (X, Y), part, **QUICK)
    outputs = result.model.predict(X, verbose=0)
    copy = models.copy_model(result.model)
    np.testing.assert_array_equal(copy.predict(X, verbose=0), outputs)
    loaded = transfer.load_retrained(result.save(tmp_path))
    np.testing.assert_allclose(loaded.predict(X, verbose=0), outputs, atol=SINGLE)


@pytest.mark.parametrize("part", [ADDED[0][0], ADDED[1][0], ADDED[3][0]])
def test_a_part_goes_on_from_where_it_was(part):
    first = transfer.retrain(_cnn(), (X, Y), part, **QUICK)
    again = transfer.retrain(first.model, (X, Y), part, **QUICK)
    kernels = {path for path in again.weight_hashes_before if path.endswith("kernel")}
    assert not kernels & set(again.changed_weights)
    assert again.history["loss"][0] < first.history["loss"][0]


def test_gains_keep_the_bits_of_the_kernel_in_a_saved_model(tmp_path):
    result = transfer.retrain(_cnn(), (X, Y), ChannelGainsOf(), **QUICK)
    loaded = transfer.load_retrained(result.save(tmp_path))
    assert freezing.weight_hashes(loaded) == freezing.weight_hashes(result.model)


def test_all_smooth_filters_are_the_whole_kernel():
    """One step of plain descent: an orthonormal basis does not change the gradient."""
    options = {"optimizer": keras.optimizers.SGD(0.1), "epochs": 1, "batch_size": 6}
    whole = transfer.retrain(_cnn(), (X, Y), "conv_2", **options)
    part = transfer.retrain(_cnn(), (X, Y), FiltersOf("conv_2", number=25), **options)
    kernels = [
        keras.ops.convert_to_numpy(result.model.get_layer("conv_2").kernel)
        for result in (whole, part)
    ]
    np.testing.assert_allclose(*kernels, atol=SINGLE)


@pytest.mark.parametrize("size", [(5, 5), (3,), (3, 3, 3), (4, 2)])
def test_smooth_filters_are_an_orthonormal_basis(size):
    points = int(np.prod(size))
    rows = smooth_filters(size, points).reshape(points, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(points), atol=1e-12)
    np.testing.assert_allclose(rows[0], points**-0.5)
    few = smooth_filters(size)
    assert len(few) == {1: 3, 2: 6 - (min(size) == 2), 3: 10}[len(size)]


def test_principal_filters_are_a_basis_of_the_significant_ones():
    wave = np.exp(-((np.arange(5) - 2.0) ** 2))
    kernels = 0.01 * RNG.normal(size=(5, 5, 4, 4))
    kernels += RNG.normal(size=(4, 4)) * np.outer(wave, wave)[..., None, None]
    found = spectra.principal_filters(kernels)
    assert found.significant.sum() == 1
    model = _cnn()
    for number, count in ((None, 1), (2, 2)):
        part = FiltersOf("conv_2", found, number)
        result = transfer.retrain(model, (X, Y), part, **QUICK)
        assert result.num_trainable == count * 4 * 4 + 4
        moved = keras.ops.convert_to_numpy(result.model.get_layer("conv_2").kernel)
        change = (moved - fetch(model.get_layer("conv_2").kernel)).reshape(25, -1)
        rows = found.filters[:count].reshape(count, -1)
        outside = change - rows.T @ (rows @ change)
        assert np.abs(outside).max() < SINGLE < np.abs(change).max()


@pytest.mark.parametrize(("part", "free"), ADDED[:2])
def test_a_score_sees_the_gradient_in_the_weights_of_the_part(part, free):
    """One step of plain descent from the gradient is what retraining does."""
    trainee = Trainee.of(_cnn(), part)
    network = PartedNetwork(trainee.network.model, X, 4)
    (cut,) = network.parts({"part": part})
    function, values = cut.function, cut.function.start
    assert function.num_parameters == trainee.selection.num_trainable
    weight = np.full(Y.shape, 1.0 / Y.size)
    moved = values - 0.1 * function.gradient(values, cut.inputs, Y, weight)
    result = transfer.retrain(
        _cnn(), (X, Y), part, epochs=1, batch_size=6,
        optimizer=keras.optimizers.SGD(0.1),
    )  # fmt: skip
    outputs = function.outputs(moved, cut.inputs, 4)
    np.testing.assert_allclose(outputs, result.model.predict(X, verbose=0), atol=SINGLE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FiltersOf(basis="wavelets"), '"smooth".*wavelets'),
        (lambda: FiltersOf(basis=np.ones((2, 3, 3))), "linearly.*rank 1"),
        (lambda: FiltersOf(basis=RNG.normal(size=(2, 3, 3)), number=3), "number 3"),
        (lambda: FiltersOf(basis=np.full((1, 3, 3), np.nan)), "NaN"),
        (lambda: FiltersOf(basis=np.ones(3)), r"\(r, \*size\)"),
        (lambda: FiltersOf(basis=RNG.normal(size=(5, 2, 2))), "4 points"),
        (lambda: FiltersOf(number=0), "number=0"),
    ],
)
def test_a_basis_that_is_none_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _mixed():
    stack = [
        keras.layers.Conv2D(2, 3, name="conv"),
        keras.layers.Conv2D(2, 1, name="point"),
        keras.layers.DepthwiseConv2D(3, name="depthwise"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(),
        keras.layers.Dense(1, name="dense"),
    ]
    return keras.Sequential([keras.Input((6, 6, 2)), *stack])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (FiltersOf("dense"), r"'dense' \(Dense\) has no kernels"),
        (FiltersOf("depthwise"), "'depthwise'.*Conv1D, Conv2D"),
        (FiltersOf("point"), "single points.*ChannelGainsOf"),
        (FiltersOf("conv", number=10), "9 points.*number=10"),
        (FiltersOf("conv", np.ones((1, 5, 5))), r"\(3, 3\).*\(5, 5\)"),
        (ChannelGainsOf("norm"), r"'norm' \(BatchNormalization\).*Expected Dense"),
        (ChannelGainsOf("depthwise"), "'depthwise' .*no subclass"),
    ],
)
def test_layers_that_cannot_have_a_part_are_refused_by_name(part, message):
    y = np.zeros((6, 1), "float32")
    with pytest.raises(ValueError, match=message):
        transfer.retrain(_mixed(), (X[:, :6, :6], y), part)


def test_parts_of_all_layers_are_those_of_layers_that_can_have_them():
    model = _mixed()
    names = [select_layers(model, p.everywhere()).names for p in (
        ChannelGainsOf(), FiltersOf()
    )]  # fmt: skip
    assert names == [("conv", "point", "dense"), ("conv",)]


def test_a_model_without_the_part_and_one_with_another_update_are_explained():
    model = _cnn()
    for part in (ChannelGainsOf(), FiltersOf()):
        with pytest.raises(ValueError, match=re.escape(f"{part!r}.prepare(")):
            select_layers(model, part)
    layer = {"conv_2": model.get_layer("conv_2")}
    LowRankOf(rank=2).prepare(layer)
    with pytest.raises(ValueError, match="'conv_2' has a low-rank update already"):
        FiltersOf().prepare(layer)
    with pytest.raises(ValueError, match=r"of rank 2 already. Received rank=4"):
        transfer.retrain(model, (X, Y), LowRankOf("conv_2", rank=4), **QUICK)
    with pytest.raises(ValueError, match="chose no layer"):
        select_layers(model, FiltersOf("conv_2"))
    dense = _one(keras.layers.Dense(3, name="layer"), (4,)).layers[-1]
    dense.quantize("int8")
    with pytest.raises(ValueError, match=r"quantized \(int8\)"):
        ChannelGainsOf().prepare({"layer": dense})


@pytest.mark.parametrize("update", [LowRankOf("conv_2", rank=1), FiltersOf("conv_2")])
def test_gains_and_an_update_of_one_layer_are_saved_and_retrained_again(
    update, tmp_path
):
    both = [ChannelGainsOf("conv_2"), update]
    result = transfer.retrain(_cnn(), (X, Y), both, **QUICK)
    loaded = transfer.load_retrained(result.save(tmp_path))
    expected = _outputs(result.model, X)
    np.testing.assert_allclose(_outputs(loaded, X), expected, atol=SINGLE)
    again = transfer.retrain(result.model, (X, Y), both, **QUICK)
    assert again.changed == ("conv_2",)
    assert again.hashes_before["conv_2"] == result.hashes_after["conv_2"]


def test_weights_with_a_low_rank_update_do_not_fit_gains_alone(tmp_path):
    """Nor the other way round: the update would be lost, or missing."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="conv_2")])
    data = noise(4, 4), noise(4, 3)
    gains = transfer.retrain(model, data, ChannelGainsOf("conv_2"), epochs=1).model
    both = keras.models.clone_model(gains)
    both.get_layer("conv_2").enable_lora(2)
    for number, (saved, other) in enumerate([(both, gains), (gains, both)]):
        path = tmp_path / f"{number}.weights.h5"
        saved.save_weights(path)
        with pytest.raises(ValueError, match=r"expected the weights.*low-rank update"):
            other.load_weights(path)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_retraining_from_a_small_gain_does_not_depend_on_the_units_of_y(
    sign, tmp_path
):
    """Steps of Adam are as large as its rate: absolute ones would exceed the gain."""
    model, gain, rate, found = _cnn(), sign * 2.0**-15, 2.0**-9, []
    for first, y in ((sign, Y), (gain, abs(gain) * Y)):
        adam = keras.optimizers.Adam(rate, epsilon=1e-30)
        layers = ["conv_3", OutputGain(initial=first)]
        options = {"optimizer": adam, "epochs": 5, "batch_size": len(X)}
        found.append(transfer.retrain(model, (X, y), layers, **options))
    outputs, small = (result.model.predict(X, verbose=0) for result in found)
    assert np.max(np.abs(outputs - sign * model.predict(X, verbose=0))) > rate
    np.testing.assert_allclose(small / abs(gain), outputs, atol=SINGLE)
    loaded = transfer.load_retrained(found[1].save(tmp_path / "run"))
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), small)


def test_a_gain_saved_without_a_unit_is_the_weight_itself():
    layer = OutputGain(initial=0.25).prepare(_cnn()).layers[-1]
    config = {k: v for k, v in layer.get_config().items() if k != "unit"}
    old = type(layer).from_config(config)
    old.build((None, 8, 8, 1))
    old.gain.assign(3e-5)
    np.testing.assert_allclose(fetch(old(np.float32([2.0]))), 6e-5, rtol=1e-6)


@pytest.mark.parametrize(
    "part", [FiltersOf(), ChannelGainsOf(), LowRankOf(rank=1), OutputGain()]
)
def test_frozen_are_the_weights_of_the_input_model_that_do_not_train(part):
    model = models.build_sgs_cnn((8, 8, 2), 3, 4, kernel_size=5)
    result = transfer.retrain(model, (X, Y), part, epochs=1)
    own = set(result.provenance["weights"]) & set(result.weight_hashes_before)
    biases = 4 + 4 + 1 if own else 0
    assert own == ({f"conv_{n}/bias" for n in (1, 2, 3)} if own else set())
    assert result.num_frozen == model.count_params() - biases
    assert result.label != "conv_1+conv_2+conv_3"
    assert f"{result.num_frozen:,} frozen" in repr(result)
