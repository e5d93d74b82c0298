"""Jacobian products of one layer: adjoint, exact, blind to flags and batches."""

import keras
import numpy as np
import pytest

from keras_spectral_tl.linearization import LayerFunction, LayerLinearization
from keras_spectral_tl.loss_landscape import LayerLoss
from keras_spectral_tl.models import build_sgs_cnn

# Both products accumulate a few thousand terms in single precision.
SINGLE = 1e-4


def fields(num_samples=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, 12, 10, 2)).astype("float32")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x)).astype(np.float64)


def network():
    return build_sgs_cnn((12, 10, 2), num_layers=3, num_filters=4, kernel_size=3)


def nested():
    inner = build_sgs_cnn((12, 10, 2), num_layers=2, num_filters=3, kernel_size=3)
    inputs = keras.Input((12, 10, 2))
    outer = keras.layers.Conv2D(1, 3, padding="same", name="outer")(inner(inputs))
    return keras.Model(inputs, outer)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Conv2D(3, 3, padding="same", activation="tanh")
        self.second = keras.layers.Conv2D(1, 1)

    def call(self, inputs):
        return self.second(self.first(inputs))


@pytest.mark.parametrize("layer", ["conv_1", "conv_2", "conv_3"])
def test_the_two_products_are_adjoint(layer):
    jacobian, x = LayerLinearization(network(), layer, batch_size=2), fields()
    rng = np.random.default_rng(1)
    direction = rng.standard_normal(jacobian.num_parameters)
    image = jacobian.apply(direction, x)
    cotangent = rng.standard_normal(image.shape)
    pulled = jacobian.apply_transpose(cotangent, x)
    scale = np.linalg.norm(image) * np.linalg.norm(cotangent)
    assert abs(np.sum(image * cotangent) - pulled @ direction) < SINGLE * scale


def test_the_last_layer_is_linear_so_its_linearization_is_exact():
    model, x = network(), fields()
    jacobian = LayerLinearization(model, "conv_3")
    direction = np.random.default_rng(2).standard_normal(jacobian.num_parameters)
    before = outputs(model, x)
    kernel, bias = model.get_layer("conv_3").get_weights()
    change = np.split(direction, [kernel.size])
    model.get_layer("conv_3").set_weights(
        [kernel + change[0].reshape(kernel.shape), bias + change[1]]
    )
    moved = outputs(model, x) - before
    assert np.allclose(moved, jacobian.apply(direction, x), atol=SINGLE * moved.std())


def test_a_product_is_the_derivative_along_a_direction():
    model, x = Subclassed(), fields()  # tanh: smooth, so differences converge
    model(x)
    name = next(iter(model._layers)).name
    jacobian = LayerLinearization(model, name)
    direction = np.random.default_rng(3).standard_normal(jacobian.num_parameters)
    kernel, bias = model.first.get_weights()
    parts = np.split(direction, [kernel.size])

    def output_at(step):
        model.first.set_weights(
            [kernel + step * parts[0].reshape(kernel.shape), bias + step * parts[1]]
        )
        return outputs(model, x)

    # Central difference: error step^2 + round-off / step, both near 1e-4 at 1e-2.
    difference = (output_at(1e-2) - output_at(-1e-2)) / 2e-2
    model.first.set_weights([kernel, bias])
    expected = jacobian.apply(direction, x)
    error = np.linalg.norm(difference - expected) / np.linalg.norm(expected)
    assert error < 1e-2


def test_batches_do_not_matter():
    model, x = network(), fields(5)
    one, many = (LayerLinearization(model, "conv_2", n) for n in (2, 5))
    direction = np.random.default_rng(4).standard_normal(one.num_parameters)
    first, second = one.apply(direction, x), many.apply(direction, x)
    assert np.allclose(first, second, atol=SINGLE * first.std())


def test_frozen_flags_and_nesting_do_not_matter():
    model, x = nested(), fields()
    name = "sgs_cnn/conv_1"
    direction = np.random.default_rng(5).standard_normal(
        LayerLinearization(model, name).num_parameters
    )
    free = LayerLinearization(model, name).apply(direction, x)
    model.trainable = False
    frozen = LayerLinearization(model, name).apply(direction, x)
    assert np.array_equal(free, frozen)
    assert np.abs(free).max() > 0


def test_the_model_is_not_changed():
    model, x = network(), fields()
    before = [weight.copy() for weight in model.get_weights()]
    jacobian = LayerLinearization(model, "conv_1")
    jacobian.apply_transpose(np.ones((3, 12, 10, 1)), x)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_unknown_layer_is_refused_with_near_names():
    with pytest.raises(KeyError, match="conv_2"):
        LayerLinearization(network(), "conv2")


def test_layer_without_trainable_weights_is_refused():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Normalization(mean=0.0, variance=1.0)]
    )
    model.add(keras.layers.BatchNormalization(center=False, scale=False, name="norm"))
    with pytest.raises(ValueError, match=r"'norm'.*no\s+trainable weights"):
        LayerLinearization(model, "norm")


def unet(interpolation):
    inputs = keras.Input((8, 8, 1))
    encoded = keras.layers.Conv2D(
        3, 3, padding="same", activation="tanh", name="encoder"
    )(inputs)
    pooled = keras.layers.MaxPooling2D()(encoded)
    up = keras.layers.UpSampling2D(interpolation=interpolation)(pooled)
    joined = keras.layers.Concatenate()([encoded, up])
    return keras.Model(inputs, keras.layers.Conv2D(1, 1)(joined))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_an_operation_without_derivative_is_refused_never_left_out(interpolation):
    """TensorFlow has no second derivative of bilinear resizing; JAX has."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 8, 8, 1)).astype("float32")
    jacobian = LayerLinearization(unet(interpolation), "encoder")
    direction = rng.standard_normal(jacobian.num_parameters)
    if interpolation == "bilinear" and keras.backend.backend() == "tensorflow":
        with pytest.raises(ValueError, match=r"'encoder'.*bilinear"):
            jacobian.apply(direction, x)
        return
    image = jacobian.apply(direction, x)
    cotangent = rng.standard_normal(image.shape)
    pulled = jacobian.apply_transpose(cotangent, x)
    scale = np.linalg.norm(image) * np.linalg.norm(cotangent)
    assert scale > 0
    assert abs(np.sum(image * cotangent) - pulled @ direction) < SINGLE * scale


def test_mixed_precision_and_several_inputs():
    policy = keras.DTypePolicy("mixed_bfloat16")
    first, second = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    joined = keras.layers.Concatenate(dtype=policy)([first, second])
    dense = keras.layers.Dense(2, dtype=policy, name="dense")(joined)
    model = keras.Model({"a": first, "b": second}, dense)
    rng = np.random.default_rng(7)
    x = {name: rng.standard_normal((5, 6)).astype("float32") for name in "ab"}
    jacobian = LayerLinearization(model, "dense", batch_size=2)
    direction = rng.standard_normal(jacobian.num_parameters)
    image = jacobian.apply(direction, x)
    kernel, bias = np.split(direction, [24])
    exact = np.concatenate([x["a"], x["b"]], 1) @ kernel.reshape(12, 2) + bias
    # bfloat16 keeps 8 bits.
    assert np.abs(image - exact).max() < 0.03 * np.abs(exact).max()


def test_a_trainable_embedding_has_the_derivatives_of_a_table():
    """f = E[x] w: the gradient scatters into rows of E, on TensorFlow sparsely."""
    rng = np.random.default_rng(3)
    table, weights = rng.normal(size=(5, 3)), rng.normal(size=(3, 1))
    layers = [
        keras.layers.Embedding(5, 3, name="table"),
        keras.layers.Dense(1, use_bias=False, name="out"),
    ]
    model = keras.Sequential([keras.Input((4,), dtype="int32"), *layers])
    layers[0].set_weights([table])
    layers[1].set_weights([weights])
    x = rng.integers(0, 5, size=(6, 4)).astype("int32")
    direction, cotangent = rng.normal(size=(5, 3)), rng.normal(size=(6, 4, 1))
    scattered = np.zeros((5, 3))
    np.add.at(scattered, x, cotangent * weights[:, 0])

    jacobian = LayerLinearization(model, "table", batch_size=4)
    close = {"rtol": SINGLE, "atol": SINGLE}
    np.testing.assert_allclose(
        jacobian.apply(direction.ravel(), x), (direction @ weights)[x], **close
    )
    pulled = jacobian.apply_transpose(cotangent, x)
    np.testing.assert_allclose(pulled, scattered.ravel(), **close)

    function = LayerFunction(model, "table")
    outputs = (table @ weights)[x]
    found = function.gradient(
        table.ravel(), x, outputs - cotangent / 2, np.ones_like(outputs)
    )
    np.testing.assert_allclose(found, scattered.ravel(), **close)

    loss = LayerLoss(
        model, "table", x, outputs - cotangent / 2
    )  # L = |J d|^2 / 24 + ...
    image, curved = (direction @ weights)[x], np.zeros((5, 3))
    np.add.at(curved, x, 2 * image / image.size * weights[:, 0])
    np.testing.assert_allclose(loss.gradient(), scattered.ravel() / image.size, **close)
    np.testing.assert_allclose(
        loss.hessian_product(direction.ravel()), curved.ravel(), **close
    )


@pytest.mark.parametrize("shape", [(4,), (1, 1), (4, 2), (1,)])
def test_a_cotangent_of_another_shape_than_the_output_is_refused(shape):
    dense = keras.layers.Dense(1, name="linear")
    jacobian = LayerLinearization(
        keras.Sequential([keras.Input((2,)), dense]), "linear"
    )
    x = np.ones((4, 2), "float32")
    np.testing.assert_allclose(jacobian.apply_transpose(np.ones((4, 1)), x), [4, 4, 4])
    with pytest.raises(ValueError, match="cotangent of the shape of the output"):
        jacobian.apply_transpose(np.ones(shape), x)


def test_fields_of_another_size_are_linearized_too():
    model = keras.Sequential(
        [
            keras.Input((None, None, 2)),
            keras.layers.Conv2D(3, 3, activation="tanh", name="first"),
            keras.layers.Conv2D(1, 3, name="last"),
        ]
    )
    jacobian = LayerLinearization(model, "first")
    rng = np.random.default_rng(0)
    for size in (8, 12, 8):
        x = rng.normal(size=(2, size, size, 2)).astype("float32")
        direction = rng.normal(size=jacobian.num_parameters)
        cotangent = rng.normal(size=(2, size - 4, size - 4, 1))
        pushed = np.sum(jacobian.apply(direction, x) * cotangent)
        pulled = direction @ jacobian.apply_transpose(cotangent, x)
        assert pushed == pytest.approx(pulled, rel=SINGLE)
