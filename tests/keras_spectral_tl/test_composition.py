"""Composition: exact where the network is linear, Parseval and adjoints elsewhere."""

import keras
import numpy as np
import pytest

from keras_spectral_tl._shells import shell_indices
from keras_spectral_tl.layers import PeriodicConv2D
from keras_spectral_tl.models import build_sgs_cnn
from keras_spectral_tl.spectra._composition import (
    linear_composition,
    measured_composition,
    transfer_matrices,
)
from keras_spectral_tl.spectra._convolutions import (
    ConvolutionKernel,
    convolution_kernel,
    mode_wavenumbers,
)
from tests.keras_spectral_tl.common import noise

# Networks run in float32, a few thousand terms are added.
SINGLE = 1e-4
# Products of matrices in float64.
ROUND_OFF = 1e-10


def chain() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((10, 8, 2)),
            PeriodicConv2D(4, 3),
            PeriodicConv2D(6, 3, groups=2),
            PeriodicConv2D(3, (3, 2), dilation_rate=2),
        ]
    )


def test_linear_network_is_the_product_of_its_transfer_matrices() -> None:
    model = chain()
    exact = linear_composition(model.layers, (10, 8))
    measured = measured_composition(model, noise(1, 10, 8, 2))
    scale = exact.gains.max()
    np.testing.assert_allclose(measured.gains, exact.gains, atol=SINGLE * scale)
    np.testing.assert_allclose(exact.moved_shares, 0.0, atol=ROUND_OFF)


def test_transfer_matrices_move_the_fourier_modes_of_a_layer() -> None:
    model, x = chain(), noise(3, 10, 8, 2)
    field = x
    for layer in model.layers:
        kernel = convolution_kernel(layer)
        matrices = transfer_matrices(kernel, mode_wavenumbers((10, 8)))
        outputs = np.asarray(keras.ops.convert_to_numpy(layer(field)), float)
        before = np.fft.rfft2(field.astype(float), axes=(1, 2)).reshape(
            3, -1, field.shape[3]
        )
        after = np.fft.rfft2(outputs, axes=(1, 2)).reshape(3, -1, outputs.shape[3])
        predicted = np.einsum("koi,nki->nko", matrices, before)
        assert np.abs(predicted - after).max() < SINGLE * np.abs(after).max()
        field = outputs.astype("float32")


def test_depthwise_and_transposed_layers() -> None:
    rng = np.random.default_rng(1)
    k = mode_wavenumbers((6, 6))
    depthwise = ConvolutionKernel(rng.normal(size=(3, 3, 2, 3)), (1, 1), depthwise=True)
    matrices = transfer_matrices(depthwise, k)
    assert matrices.shape == (len(k), 6, 2)
    assert np.all(matrices[:, :3, 1] == 0) and np.all(matrices[:, 3:, 0] == 0)
    weights = rng.normal(size=(3, 3, 2, 3))
    forward, backward = (
        transfer_matrices(ConvolutionKernel(w, (1, 1), transposed=t), k)
        for w, t in ((weights, False), (weights.swapaxes(2, 3), True))
    )
    # The transposed layer is the adjoint.
    np.testing.assert_allclose(backward, forward.conj().swapaxes(1, 2), atol=ROUND_OFF)


def test_blocks_of_modes_do_not_matter(monkeypatch) -> None:
    layers = chain().layers
    whole = linear_composition(layers, (10, 8))
    monkeypatch.setattr("keras_spectral_tl.spectra._composition._ENTRIES_AT_ONCE", 64)
    parts = linear_composition(layers, (10, 8))
    np.testing.assert_allclose(parts.gains, whole.gains, rtol=1e-12)


def test_lines_and_volumes() -> None:
    rng = np.random.default_rng(2)
    line = ConvolutionKernel(rng.normal(size=(3, 2, 2)), (1,))
    gains = linear_composition([line], (8,)).gains
    # Mean over the full plane of |T|^2 is the energy of the kernels (Parseval).
    counts = np.bincount(shell_indices(8), [1, 2, 2, 2, 1]) / 8
    total = gains[0].sum(axis=0) @ counts
    assert total == pytest.approx(np.sum(line.weights[:, 0] ** 2), rel=1e-12)
    volume = ConvolutionKernel(rng.normal(size=(2, 2, 2, 1, 1)), (1, 1, 1))
    assert linear_composition([volume], (4, 4, 4)).gains.shape == (1, 4, 4)


def dense_jacobian(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """(outputs, inputs) by differences; exact for a ReLU network between its kinks."""
    flat = np.eye(x.size).reshape(-1, *x.shape[1:]) * 1e-3
    outputs = [
        np.asarray(keras.ops.convert_to_numpy(model((x + s * flat).astype("float32"))))
        for s in (1, -1)
    ]
    difference = (outputs[0].astype(float) - outputs[1]) / 2e-3
    return difference.reshape(len(flat), -1).T


def test_relu_network_obeys_parseval_and_the_frobenius_norm() -> None:
    """Sum over all shells of n_i gains[o, i] is ||J||^2, each block ||P_o J P_i||^2."""
    model = build_sgs_cnn((6, 6, 1), num_layers=2, num_filters=4, kernel_size=3)
    x = noise(1, 6, 6, 1, seed=3)
    jacobian = dense_jacobian(model, x)
    shells = shell_indices(6, 6)
    hat = np.fft.fft2(np.eye(36).reshape(36, 6, 6), norm="ortho").reshape(36, 36)
    spectral = hat.T @ jacobian @ hat.conj()
    columns = [0, 1, 2, 3, -2, -1]
    full = shells[:, [abs(c) if c >= 0 else -c for c in columns]]
    full[:, 4:] = shells[(-np.arange(6)) % 6][:, [2, 1]]
    blocks = np.zeros((shells.max() + 1,) * 2)
    np.add.at(
        blocks, (full.ravel()[:, None], full.ravel()[None]), np.abs(spectral) ** 2
    )
    counts = np.bincount(full.ravel())
    probed = measured_composition(model, x, num_probes=200)
    errors = np.abs(probed.gains[0] - blocks / counts)
    # Five standard errors, and the differences' own error beside them.
    assert np.all(errors < 5 * probed.standard_errors[0] + 2e-2 * blocks.max() / 36)
    assert np.sum(probed.gains[0] * counts) == pytest.approx(
        np.sum(jacobian**2), rel=0.1
    )


def test_an_activation_moves_energy_and_a_linear_layer_none() -> None:
    model = build_sgs_cnn((12, 12, 2), num_layers=3, num_filters=6, kernel_size=3)
    found = measured_composition(model, noise(3, 12, 12, 2), [1, 4])
    assert found.gains.shape == (2, shell_indices(12, 12).max() + 1, 2)
    assert np.all(found.moved_shares > 0.1)
    assert np.all(np.isfinite(found.standard_errors))
    np.testing.assert_allclose(found.total_gains, found.gains.sum(axis=1))


def test_the_model_is_only_read_and_the_result_the_same_again() -> None:
    model, x = chain(), noise(1, 10, 8, 2)
    weights = [w.copy() for w in model.get_weights()]
    first = measured_composition(model, x, [0, 3])
    second = measured_composition(model, x, [0, 3], batch_size=1)
    np.testing.assert_allclose(first.gains, second.gains, rtol=1e-5, atol=1e-9)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(weights, after, strict=True))
    assert first.to_dict()["wavenumbers"] == [0, 3]
    assert np.isnan(first.standard_errors).all()


def test_another_output_grid_has_its_own_shells() -> None:
    pool = keras.layers.AveragePooling2D(2)
    model = keras.Sequential([keras.Input((8, 8, 1)), pool])
    found = measured_composition(model, noise(1, 8, 8, 1), [0, 5])
    assert found.gains.shape == (1, shell_indices(4, 4).max() + 1, 2)
    assert found.gains[0, 0, 0] == pytest.approx(1.0, rel=1e-5)
    assert found.moved_shares[0, 1] == 1.0  # shell 5 does not exist on the coarse grid


def test_one_number_is_a_square_grid() -> None:
    kernel = convolution_kernel(chain().layers[0])
    one, pair = (linear_composition([kernel], points) for points in (6, (6, 6)))
    np.testing.assert_array_equal(one.gains, pair.gains)


def test_bad_arguments_are_refused() -> None:
    model, x = chain(), noise(1, 10, 8, 2)
    with pytest.raises(ValueError, match=r"shape \(10, 8, 2\)"):
        measured_composition(model, x[0])
    with pytest.raises(ValueError, match=r"between 0 and 6.*\[7\]"):
        measured_composition(model, x, [7])
    with pytest.raises(ValueError, match="num_probes=0"):
        measured_composition(model, x, num_probes=0)
    flat = keras.Sequential([model, keras.layers.Flatten()])
    with pytest.raises(ValueError, match=r"output of shape \(1, 240\)"):
        measured_composition(flat, x, [0])
    kernel = convolution_kernel(model.layers[0])
    with pytest.raises(ValueError, match=r"Kernel 1 takes 2 channels.*gives 4"):
        linear_composition([kernel, kernel], (10, 8))
    with pytest.raises(ValueError, match=r"sizes \[\(3, 3\)\]"):
        linear_composition([kernel], (10,))
    strided = ConvolutionKernel(kernel.weights, (1, 1), strides=(2, 1))
    with pytest.raises(ValueError, match=r"strides \[\(2, 1\)\]"):
        linear_composition([strided], (10, 8))
