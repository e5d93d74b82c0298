"""Small networks of three architectures, and random fields to run through them.

The networks are not trained: kernels are drawn as by He, and then each channel of each
convolution is scaled and shifted so that its pre-activations on the base inputs have
mean 0 and variance 1, layer after layer (layer-sequential unit variance, Mishkin &
Matas 2016, arXiv:1511.06422). Without that, signals of a deep random network collapse
and no layer matters but the last ones.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl.spectra import read_calls

NUM_POINTS = 32
NUM_FILTERS = 8
KERNEL_SIZE = 5


def convolution(number: int, filters: int = NUM_FILTERS, **options) -> keras.Layer:
    """The convolution number `number` of a network, with ReLU unless told otherwise."""
    options = {"activation": "relu", **options}
    return kst.layers.PeriodicConv2D(
        filters, KERNEL_SIZE, name=f"conv_{number}", **options
    )


def plain_cnn(depth: int) -> keras.Model:
    """Convolutions one after the other."""
    shape = NUM_POINTS, NUM_POINTS, 2
    return kst.build_sgs_cnn(shape, depth, NUM_FILTERS, KERNEL_SIZE)


def residual_cnn(depth: int) -> keras.Model:
    """A stem, blocks `h + conv(conv(h))`, one more convolution if odd, and a head."""
    inputs = keras.Input((NUM_POINTS, NUM_POINTS, 2))
    hidden = convolution(1)(inputs)
    for number in range(2, depth - 1, 2):
        inner = convolution(number)(hidden)
        branch = convolution(number + 1, activation=None)(inner)
        hidden = keras.layers.Add()([hidden, branch])
    if depth % 2:
        hidden = convolution(depth - 1)(hidden)
    return keras.Model(inputs, convolution(depth, 1, activation=None)(hidden))


# For each depth the convolutions on each level on the way down and up, without those
# that halve the grid; the head comes on top.
_U_NETS: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    4: ((1, 0), (1,)),
    6: ((1, 2), (1,)),
    8: ((2, 2), (2,)),
    11: ((2, 1, 2), (1, 2)),
}


def u_net(depth: int) -> keras.Model:
    """Strided convolutions down, nearest neighbours up, skips by concatenation."""
    down, up = _U_NETS[depth]
    inputs = hidden = keras.Input((NUM_POINTS, NUM_POINTS, 2))
    number, skips = 1, []
    for level, count in enumerate(down):
        if level:
            skips.append(hidden)
            hidden = convolution(number, strides=2)(hidden)
            number += 1
        for _ in range(count):
            hidden = convolution(number)(hidden)
            number += 1
    for count in up:
        finer = keras.layers.UpSampling2D(2, interpolation="nearest")(hidden)
        hidden = keras.layers.Concatenate()([finer, skips.pop()])
        for _ in range(count):
            hidden = convolution(number)(hidden)
            number += 1
    return keras.Model(inputs, convolution(number, 1, activation=None)(hidden))


ARCHITECTURES: Mapping[str, Callable[[int], keras.Model]] = {
    "plain": plain_cnn,
    "residual": residual_cnn,
    "u_net": u_net,
}
DEPTHS = tuple(_U_NETS)


def random_fields(count: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth Gaussian fields and minus their Laplacians, each of variance 1.

    The energy spectrum of the first is that of a streamfunction whose vorticity, the
    second, has as much at all wavenumbers up to 6 and little beyond.

    Returns:
        (count, 32, 32, 2), single precision.
    """
    k = np.fft.fftfreq(NUM_POINTS, 1.0 / NUM_POINTS)
    square = k[:, None] ** 2 + k[: NUM_POINTS // 2 + 1] ** 2
    noise = rng.standard_normal((count, NUM_POINTS, NUM_POINTS))
    shape = np.exp(-square / 72.0) / np.sqrt(np.sqrt(square) + 1.0)
    vorticity_hat = np.fft.rfft2(noise) * shape
    vorticity_hat[:, 0, 0] = 0.0
    pair = vorticity_hat / np.where(square > 0.0, square, 1.0), vorticity_hat
    fields = [np.fft.irfft2(hat, (NUM_POINTS, NUM_POINTS)) for hat in pair]
    return np.stack([f / f.std() for f in fields], axis=-1).astype("float32")


def calibrate(model: keras.Model, x: np.ndarray, rng: np.random.Generator) -> None:
    """Draws weights, and gives every channel mean 0 and variance 1 on `x`, in place."""
    for name, layer in kst.layers_with_weights(model).items():
        kernel = rng.standard_normal(layer.kernel.shape)
        layer.set_weights([kernel, np.zeros(kernel.shape[-1])])
        calls = []
        read_calls(model, x, lambda _, call, seen=calls: seen.append(call), [name])
        fields = np.concatenate([call.pre_activation for call in calls])
        mean, spread = fields.mean(axis=(0, 2, 3)), fields.std(axis=(0, 2, 3))
        layer.set_weights([kernel / spread, -mean / spread])
