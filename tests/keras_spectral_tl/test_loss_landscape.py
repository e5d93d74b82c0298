"""Loss landscapes of one layer against closed forms: values, Hessians, convexity."""

import json

import keras
import numpy as np
import pytest

from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl.loss_landscape import LayerLoss, loss_landscapes
from keras_spectral_tl.loss_landscape._landscapes import line_convexity
from keras_spectral_tl.models import build_sgs_cnn
from tests.keras_spectral_tl.common import noise

# Sums of a few hundred terms in single precision.
SINGLE = 1e-4
# Lanczos iteration stops here, relative to the largest eigenvalue.
LANCZOS = 1e-3


def linear_model(num_inputs, num_outputs):
    dense = keras.layers.Dense(num_outputs, name="linear")
    model = keras.Sequential([keras.Input((num_inputs,)), dense])
    dense.set_weights([noise(num_inputs, num_outputs, seed=1), noise(num_outputs)])
    return model


def linear_hessian(x, num_outputs):
    """Of the mean squared error of x W + b: 2 / (samples outputs) kron(X^T X, 1)."""
    columns = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
    return (
        2 / (len(x) * num_outputs) * np.kron(columns.T @ columns, np.eye(num_outputs))
    )


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 2), (12, 4)])  # dense, Lanczos
def test_a_linear_model_has_the_hessian_of_least_squares(inputs, outputs):
    x, y = noise(10, inputs), noise(10, outputs, seed=2)
    loss = LayerLoss(linear_model(inputs, outputs), "linear", x, y, batch_size=4)
    exact = linear_hessian(x, outputs)
    direction = noise(len(exact), seed=3).astype(np.float64)
    product = loss.hessian_product(direction)
    np.testing.assert_allclose(
        product, exact @ direction, atol=SINGLE * np.linalg.norm(product)
    )
    values = np.linalg.eigvalsh(exact)[::-1]
    ends = loss.hessian_ends(3)
    np.testing.assert_allclose(ends.largest, values[:3], rtol=2 * LANCZOS)
    assert abs(ends.smallest - values[-1]) < 2 * LANCZOS * values[0]
    residual = exact @ ends.vectors - ends.vectors * ends.largest
    assert np.linalg.norm(residual) < 0.05 * values[0]
    assert ends.negative_share < 2 * LANCZOS


def test_a_quadratic_loss_is_the_quadratic_along_every_line():
    """L(a d) = L(0) + a <g, d> + a^2 <d, H d> / 2, exactly."""
    x, y = noise(9, 5), noise(9, 3, seed=2)
    loss = LayerLoss(linear_model(5, 3), "linear", x, y, batch_size=4)
    direction, exact = loss.random_direction(4), linear_hessian(x, 3)
    steps = np.linspace(-2, 2, 9)
    found = np.array([loss.value(step * direction) for step in steps])
    slope, curvature = loss.gradient() @ direction, direction @ exact @ direction
    expected = loss.value() + steps * slope + steps**2 * curvature / 2
    np.testing.assert_allclose(found, expected, rtol=SINGLE)
    gradient = loss.gradient_direction()
    surface = loss.surface(direction, gradient, steps[::4])
    np.testing.assert_allclose(surface[:, 1], found[::4], rtol=SINGLE)
    assert surface.shape == (3, 3)


def two_layers(num_hidden, activation):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(num_hidden, activation=activation, name="hidden"),
        keras.layers.Dense(1, name="out"),
    ]
    return keras.Sequential([keras.Input((6,)), *layers])


def hidden_hessian(model, x, y):
    """Of the mean squared error of v . tanh(x W + b) + c in (W, b), in closed form."""
    weights, bias = (w.astype(np.float64) for w in model.layers[0].get_weights())
    out, shift = (w.astype(np.float64) for w in model.layers[1].get_weights())
    z = np.tanh(x @ weights + bias)
    error = (z @ out + shift - y)[:, 0]
    inputs = np.concatenate([x, np.ones((len(x), 1))], axis=1).astype(np.float64)
    first = out[:, 0] * (1 - z**2)
    second = -2 * z * first
    jacobian = np.einsum("ni,nh->nih", inputs, first).reshape(len(x), -1)
    hessian = 2 * jacobian.T @ jacobian / len(x)
    for unit in range(len(bias)):
        at = np.arange(inputs.shape[1]) * len(bias) + unit
        curved = (
            2
            * np.einsum("n,ni,nj->ij", error * second[:, unit], inputs, inputs)
            / len(x)
        )
        hessian[np.ix_(at, at)] += curved
    return hessian


def test_both_ends_of_a_hessian_that_is_not_convex():
    model = two_layers(8, "tanh")
    x, y = noise(20, 6), 5 * noise(20, 1, seed=1)
    exact = hidden_hessian(model, x, y)
    values = np.linalg.eigvalsh(exact)
    ends = LayerLoss(model, "hidden", x, y, batch_size=7).hessian_ends(2)
    assert values[0] < -0.1 * values[-1]  # else nothing would be tested
    np.testing.assert_allclose(ends.largest, values[:-3:-1], rtol=2 * LANCZOS)
    assert abs(ends.smallest - values[0]) < 2 * LANCZOS * values[-1]
    scale = max(-values[0], values[-1])
    assert ends.negative_share == pytest.approx(-values[0] / scale, abs=3 * LANCZOS)


def test_rescaling_a_relu_network_changes_no_landscape():
    """Filters times c, the next layer over c: the same function, another Hessian."""
    x, y = noise(12, 6), noise(12, 1, seed=1)
    model, rescaled = two_layers(8, "relu"), two_layers(8, "relu")
    rescaled.layers[0].set_weights([4 * w for w in rescaled.layers[0].get_weights()])
    kernel, bias = rescaled.layers[1].get_weights()
    rescaled.layers[1].set_weights([kernel / 4, bias])
    for layer in ("hidden", "out"):
        one, other = (LayerLoss(m, layer, x, y).landscape() for m in (model, rescaled))
        for name, line in one.lines.items():
            np.testing.assert_allclose(other.lines[name], line, rtol=1e-3)
        np.testing.assert_allclose(
            one.curvature.largest, other.curvature.largest, rtol=5 * LANCZOS
        )
    plain, moved = (
        LayerLoss(m, "hidden", x, y).hessian_ends(1).largest[0]
        for m in (model, rescaled)
    )
    assert moved < plain / 8


def kernel_of(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer])
    outputs = model.compute_output_shape((None, *shape))[1:]
    loss = LayerLoss(model, layer.name, noise(2, *shape), noise(2, *outputs))
    return loss, [value.shape for value in loss.function.values]


@pytest.mark.parametrize(
    ("layer", "filters"),
    [
        (keras.layers.Conv2D(4, 3, name="c"), (0, 1, 2)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="c"), (0, 1)),
        (keras.layers.Conv2DTranspose(4, 3, name="c"), (0, 1, 3)),
        (keras.layers.Dense(4, name="c"), (0,)),
    ],
)
def test_filters_are_what_makes_one_output(layer, filters):
    loss, (kernel, bias) = kernel_of(layer, (6, 6, 2))
    size = int(np.prod(kernel))
    for flat in (loss.random_direction(), loss.gradient_direction()):
        moved = np.linalg.norm(flat[:size].reshape(kernel), axis=filters[:2] or None)
        assert not flat[size:].any()
        assert len(flat) == size + bias[0]
        assert moved.min() > 0
        own = loss.weights[:size].reshape(kernel)
        np.testing.assert_allclose(
            np.sqrt(np.sum(flat[:size].reshape(kernel) ** 2, axis=filters)),
            np.sqrt(np.sum(own**2, axis=filters)),
            rtol=1e-6,
        )


def test_filters_of_attention_are_those_of_each_head():
    """A kernel of c inputs for d heads of e channels has d e output channels."""
    layer = keras.layers.EinsumDense("abc,cde->abde", (5, 2, 3), name="query")
    loss, (kernel,) = kernel_of(layer, (5, 4))
    assert kernel == (4, 2, 3)
    norms = np.linalg.norm(loss.weights.reshape(kernel), axis=0)
    scales = np.broadcast_to(norms, kernel).ravel()
    np.testing.assert_allclose(loss.filter_scales(), scales, rtol=1e-12)


def test_a_layer_of_vectors_moves_as_one_filter():
    layer = keras.layers.LayerNormalization(name="norm")
    loss, shapes = kernel_of(layer, (5,))
    assert shapes == [(5,), (5,)]
    np.testing.assert_allclose(loss.filter_scales(), [np.sqrt(5)] * 5 + [0.0] * 5)


def test_the_loss_rises_along_the_gradient_and_batches_do_not_matter():
    model, x, y = two_layers(5, "tanh"), noise(7, 6), noise(7, 1, seed=1)
    one, many = (LayerLoss(model, "hidden", x, y, batch_size=n) for n in (3, 7))
    assert one.value() == pytest.approx(many.value(), rel=SINGLE)
    np.testing.assert_allclose(one.gradient(), many.gradient(), atol=SINGLE)
    uphill = one.gradient_direction()
    assert one.gradient() @ uphill > 0
    assert one.value(1e-3 * uphill) > one.value() > one.value(-1e-3 * uphill)
    assert one.value() == pytest.approx(
        float(np.mean((keras.ops.convert_to_numpy(model(x)) - y) ** 2)), rel=SINGLE
    )


def test_convexity_of_known_curves():
    x = np.linspace(-1.5, 1.5, 61)
    assert line_convexity(x, np.abs(x)) == 1.0
    assert line_convexity(x, np.zeros(61)) == 1.0
    # Of the concave -x^2 the hull is its chord: the barrier is all the relief.
    assert line_convexity(x, -(x**2)) == pytest.approx(0.0, abs=1e-12)
    wells = (x**2 - 1) ** 2
    expected = 1 - 1 / 1.5625
    assert line_convexity(x, wells) == pytest.approx(expected, abs=1e-12)
    assert line_convexity(7 * x, 3 * wells + 2) == pytest.approx(expected, abs=1e-12)


def test_every_layer_of_a_network_on_the_same_samples_and_nothing_moves():
    keras.utils.set_random_seed(1)
    model = build_sgs_cnn((6, 8, 2), num_layers=3, num_filters=3, kernel_size=3)
    before = model.get_weights()
    model.get_layer("conv_2").trainable = False
    found = loss_landscapes(model, noise(3, 6, 8, 2), noise(3, 6, 8, 1, seed=1))
    assert list(found) == list(layers_with_weights(model))
    # The network is linear in its last layer, so its loss is convex there.
    assert found["conv_3"].convexity == pytest.approx(1.0, abs=1e-3)
    assert found["conv_3"].curvature.negative_share < 5 * LANCZOS
    for landscape in found.values():
        assert 0.0 <= landscape.convexity <= 1.0
        assert set(landscape.to_dict()) >= {"lines", "eigenvalues", "convexity"}
    assert all(
        np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)
    )
    assert model.trainable and not model.get_layer("conv_2").trainable


def test_landscapes_are_tables_files_and_figures(tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("pandas")
    model = two_layers(4, "tanh")
    chosen = model.layers[1:]  # a layer is a selector, as its name is
    found = loss_landscapes(model, noise(4, 6), noise(4, 1), chosen)
    assert len(found) == 1
    (name,), (landscape,) = found, found.values()
    frame = landscape.to_frame()
    assert list(frame) == list(landscape.lines)
    np.testing.assert_array_equal(frame.index, landscape.steps)
    np.testing.assert_array_equal(frame["gradient"], landscape.lines["gradient"])
    assert found.to_frame().loc[name, "convexity"] == landscape.convexity
    assert json.loads(landscape.to_json(tmp_path / "l.json").read_text()) == (
        landscape.to_dict()
    )
    _, axes = plt.subplots()
    assert landscape.plot(axes) is axes and len(axes.lines) == len(landscape.lines)
    plt.close("all")


def test_a_layer_without_influence_has_a_flat_landscape():
    model = two_layers(8, "tanh")
    model.layers[1].set_weights([np.zeros((8, 1)), np.zeros(1)])
    loss = LayerLoss(model, "hidden", noise(4, 6), noise(4, 1))
    ends = loss.hessian_ends()
    assert not ends.largest.any() and ends.smallest == 0.0
    assert ends.negative_share == 0.0
    assert loss.landscape().convexity == 1.0


def test_bad_input_is_refused():
    model, x, y = linear_model(2, 1), noise(4, 2), noise(4, 1)
    with pytest.raises(KeyError, match="linear"):
        LayerLoss(model, "line", x, y)
    with pytest.raises(ValueError, match=r"\[3, 4\] samples"):
        LayerLoss(model, "linear", x, y[:3])
    with pytest.raises(ValueError, match="1 values that are NaN"):
        LayerLoss(model, "linear", x, np.where(np.arange(4)[:, None] == 2, np.nan, y))
    with pytest.raises(ValueError, match="count=9"):
        LayerLoss(model, "linear", x, y).hessian_ends(9)
    with pytest.raises(ValueError, match="steps that rise"):
        line_convexity([0, 0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="1 values that are NaN"):
        line_convexity([0, 1, 2], [1, np.inf, 3])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_an_operation_without_a_second_derivative_is_refused(interpolation):
    """TensorFlow has no second derivative of bilinear resizing; JAX and torch have."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 8, 1))
    tanh = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", name="conv")
    encoded = tanh(inputs)
    pooled = keras.layers.AveragePooling2D(2)(encoded)
    up = keras.layers.UpSampling2D(interpolation=interpolation)(pooled)
    outputs = keras.layers.Conv2D(1, 1, activation="tanh")(up)
    loss = LayerLoss(
        keras.Model(inputs, outputs), "conv", noise(2, 8, 8, 1), noise(2, 8, 8, 1)
    )
    direction = loss.random_direction()
    if interpolation == "bilinear" and keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match=r"'conv'.*bilinear"):
            loss.hessian_product(direction)
        return
    product = loss.hessian_product(direction)
    # Central difference of the gradient: step^2 + round-off / step, about 1e-4.
    slopes = [loss.gradient(sign * 1e-2 * direction) for sign in (1, -1)]
    difference = (slopes[0] - slopes[1]) / 2e-2
    assert np.linalg.norm(difference - product) < 0.01 * np.linalg.norm(product)


def test_inputs_of_other_names_are_refused():
    """Keras would take them by their places."""
    inputs = {name: keras.Input((2,), name=name) for name in ("one", "two")}
    joined = keras.layers.Add()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(1, name="last")(joined))
    x = {name: noise(4, 2) for name in ("one", "zero", "two")}
    with pytest.raises(ValueError, match="leave out zero"):
        LayerLoss(model, "last", x, noise(4, 1))


def test_several_outputs_and_sums_are_refused():
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(2, name="hidden")(inputs)
    heads = [keras.layers.Dense(1)(hidden) for _ in range(2)]
    x, y = noise(4, 3), np.ones(4, "float32")
    with pytest.raises(ValueError, match="2 outputs"):
        LayerLoss(keras.Model(inputs, heads), "hidden", x, y).value()
    total = keras.losses.MeanSquaredError(reduction="sum")
    with pytest.raises(ValueError, match=r"mean over samples.*sum_over_batch_size"):
        LayerLoss(keras.Model(inputs, heads[0]), "hidden", x, y[:, None], total)


def test_a_loss_may_be_given_by_its_name():
    model, x, y = linear_model(3, 2), noise(4, 3), noise(4, 2, seed=2)
    found = LayerLoss(model, "linear", x, y, loss="mean_absolute_error").value()
    error = np.mean(np.abs(model.predict(x, verbose=0) - y))
    assert found == pytest.approx(error, rel=1e-5)


def test_outputs_that_are_masked_are_refused():
    """Keras would not count them, a mean over all outputs does."""
    layers = [
        keras.layers.Masking(),
        keras.layers.LSTM(2, return_sequences=True),
        keras.layers.Dense(1, name="last"),
    ]
    model = keras.Sequential([keras.Input((4, 3)), *layers])
    with pytest.raises(ValueError, match=r"have a mask .*without padding"):
        LayerLoss(model, "last", noise(2, 4, 3), noise(2, 4, 1))


@pytest.mark.parametrize("shape", [(8, 8, 2), (1,), (8, 1, 1)])
def test_targets_that_would_be_repeated_are_refused(shape):
    conv = keras.layers.Conv2D(1, 1, name="conv", data_format="channels_last")
    model = keras.Sequential([keras.Input((8, 8, 1)), conv])
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\).*Received samples of y"):
        LayerLoss(model, "conv", noise(2, 8, 8, 1), noise(2, *shape))
    LayerLoss(model, "conv", noise(2, 8, 8, 1), noise(2, 8, 8)).value()


def test_losses_that_relate_targets_to_outputs_of_another_size_are_taken():
    model, x = linear_model(3, 2), noise(4, 3)

    def likelihood(y, outputs):  # of a mean and the logarithm of a variance
        mean, log_variance = outputs[:, :1], outputs[:, 1:]
        return 0.5 * (log_variance + (y - mean) ** 2 * keras.ops.exp(-log_variance))

    mean, log_variance = np.split(model.predict(x, verbose=0), 2, axis=1)
    error = (1.0 - mean) ** 2 * np.exp(-log_variance)
    found = LayerLoss(model, "linear", x, np.ones((4, 1)), likelihood).value()
    assert found == pytest.approx(np.mean(log_variance + error) / 2, rel=1e-5)
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert np.isfinite(LayerLoss(model, "linear", x, labels, sparse).value())


@pytest.mark.parametrize(
    ("layer", "name", "num_biases"),
    [
        (keras.layers.GRU(2, name="one"), "one/gru_cell", 12),
        (keras.layers.MultiHeadAttention(2, 3, name="one"), "one/query", 6),
    ],
)
def test_biases_with_two_axes_do_not_move(layer, name, num_biases):
    inputs = keras.Input((4, 3))
    is_attention = isinstance(layer, keras.layers.MultiHeadAttention)
    outputs = layer(inputs, inputs) if is_attention else layer(inputs)
    model = keras.Model(inputs, outputs)
    x = noise(2, 4, 3)
    scales = LayerLoss(model, name, x, model.predict(x, verbose=0)).filter_scales()
    assert np.sum(scales == 0.0) == num_biases


def test_weights_that_act_on_a_number_of_their_own_are_one_filter():
    layer = keras.layers.EinsumDense("abc,bc->abc", (4, 3), name="one")
    model = keras.Sequential([keras.Input((4, 3)), layer])
    x = noise(2, 4, 3)
    scales = LayerLoss(model, "one", x, x).filter_scales()
    np.testing.assert_allclose(scales, np.linalg.norm(layer.kernel), rtol=1e-5)
