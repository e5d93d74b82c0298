"""An LES step as a layer: exact solutions, gradients, training, files."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_spectral_tl.closure import compiled_forward
from keras_spectral_tl.layers import LESStep, UnrolledLES

TWO_PI = 2.0 * np.pi
# Without it JAX runs operation by operation; TensorFlow compiles longer with it.
JIT = keras.backend.backend() == "jax"
FLOAT32 = 3e-6  # relative; some ten transforms in single precision
STATISTICS = {
    "streamfunction": (0.0, 0.5),
    "vorticity": (0.0, 2.0),
    "sgs_forcing": (0.0, 4.0),
}


def axes(nx, ny, lengths=(TWO_PI, TWO_PI)):
    x = (np.arange(nx) * lengths[0] / nx)[:, None]
    y = (np.arange(ny) * lengths[1] / ny)[None, :]
    return x, y


def advanced(step, field, num_steps=1):
    """NumPy in, NumPy out; the step is compiled once."""
    forward = compiled_forward(keras.Sequential([keras.Input((*field.shape, 1)), step]))
    vorticity = np.asarray(field, "float32")[None, :, :, None]
    for _ in range(num_steps):
        vorticity = forward(vorticity)
    return vorticity[0, :, :, 0]


def closeness(found, exact):
    return np.abs(found - exact).max() / np.abs(exact).max()


def turbulent(nx, ny, seed=0):
    """A smooth random field of mean zero, up to wavenumber 4."""
    rng = np.random.default_rng(seed)
    x, y = axes(nx, ny)
    modes = [(p, q) for p in range(-4, 5) for q in range(5) if p * p + q * q > 0]
    return sum(
        rng.standard_normal() * np.cos(p * x + q * y + rng.uniform(0, TWO_PI))
        for p, q in modes
    ) / np.sqrt(len(modes))


def gain_closure(gain):
    """Pi = gain * vorticity, in normalized channels."""
    model = keras.Sequential(
        [keras.Input((None, None, 2)), keras.layers.Conv2D(1, 1, use_bias=False)]
    )
    # sgs_forcing / 4 = kernel * vorticity / 2
    model.set_weights([np.array([0.0, 0.5 * gain]).reshape(1, 1, 2, 1)])
    return model


def test_a_rossby_wave_travels_and_decays_exactly():
    """J = 0 for one wave; w ~ exp((i beta kx / k^2 - nu k^2 - drag) t)."""
    lengths = (2.0 * TWO_PI, TWO_PI)
    x, y = axes(32, 18, lengths)
    kx, ky, beta, time = 1.5, 2.0, 3.0, 0.8
    k2 = kx**2 + ky**2
    flow = {
        "num_points": (32, 18),
        "reynolds": 50.0,
        "linear_drag": 0.1,
        "beta": beta,
        "hyperviscosity": 1e-3,
        "hyperviscosity_order": 2,
        "lengths": lengths,
    }
    decay = k2 / 50.0 + 0.1 + 1e-3 * k2**2
    phase = kx * x + ky * y
    exact = np.exp(-decay * time) * np.cos(phase + beta * kx / k2 * time)
    found = advanced(LESStep(flow, time / 4), np.cos(phase), 4)
    assert closeness(found, exact) < FLOAT32


@pytest.mark.parametrize("axis", [0, 1])
def test_the_shortest_wave_below_nyquist_decays_alike_along_both_axes(axis):
    # On 98 points, n (1 / n) is not 1 in floating point.
    n, k, time = 98, 48, 0.05
    wave = np.cos(k * axes(n, n)[axis]) * np.ones((n, n))
    found = advanced(LESStep({"num_points": (n, n), "reynolds": 1e3}, time), wave, 1)
    assert closeness(found, np.exp(-(k**2) * time / 1e3) * wave) < FLOAT32


def test_forcing_and_drag_balance():
    """w = -A / (nu k^2 + drag) k_f cos(k_f x) ... is steady, and its J is 0."""
    n, wavenumber, amplitude = 24, 3, 0.7
    x, y = axes(n, n)
    flow = {
        "num_points": (n, n),
        "reynolds": 20.0,
        "linear_drag": 0.3,
        "forcing_wavenumber": wavenumber,
        "forcing_amplitude": amplitude,
    }
    damping = wavenumber**2 / 20.0 + 0.3
    shape = np.cos(wavenumber * x) + np.cos(wavenumber * y)
    steady = -amplitude * wavenumber / damping * shape
    assert closeness(advanced(LESStep(flow, 0.05), steady, 8), steady) < 1e-5


def test_a_manufactured_nonlinear_step_is_of_fourth_order():
    """Against itself with small steps: the error of a step of length h is O(h^5)."""
    flow = {"num_points": (16, 18), "reynolds": 40.0}
    start = 4.0 * turbulent(16, 18)
    exact = advanced(LESStep(flow, 0.2 / 64), start, 64)
    errors = [
        closeness(advanced(LESStep(flow, 0.2 / n), start, n), exact) for n in (2, 4)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - 4.0) < 0.5
    assert closeness(exact, start) > 0.1  # something has happened


def test_advection_conserves_energy_and_enstrophy():
    flow = {"num_points": (24, 20), "reynolds": np.inf}
    start = turbulent(24, 20)
    end = advanced(LESStep(flow, 0.02), start, 10)
    assert abs(np.mean(end**2) / np.mean(start**2) - 1.0) < 1e-5
    assert closeness(end, start) > 0.05


def test_a_closure_that_is_a_drag_acts_as_one():
    flow = {"num_points": (16, 16), "reynolds": 100.0}
    start = turbulent(16, 16)
    closure = LESStep(flow, 0.01, gain_closure(-0.5), STATISTICS)
    drag = LESStep({**flow, "linear_drag": 0.5}, 0.01)
    assert closeness(advanced(closure, start, 5), advanced(drag, start, 5)) < 1e-5


def test_the_gradient_is_that_of_finite_differences():
    """d(loss)/d(gain of the closure), through the stages of a step."""
    flow = {"num_points": (10, 8), "reynolds": 100.0}
    start = turbulent(10, 8)[None, :, :, None].astype("float32")

    step = LESStep(flow, 0.2, gain_closure(0.5), STATISTICS)
    model = keras.Sequential([keras.Input((10, 8, 1)), step])
    forward = compiled_forward(model)

    def loss(gain):
        model.set_weights([np.array([0.0, 0.5 * gain]).reshape(1, 1, 2, 1)])
        return np.mean(forward(start) ** 2, dtype=float)

    by_difference = (loss(0.6) - loss(0.4)) / 0.2
    loss(0.5)
    rate = 1e-3
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=JIT)
    before = model.get_weights()[0].ravel()[1]
    model.train_on_batch(start, np.zeros((1, 10, 8, 1), "float32"))
    after = model.get_weights()[0].ravel()[1]
    gradient = (before - after) / rate * 0.5  # the weight is half the gain
    assert abs(gradient / by_difference - 1.0) < 0.02


@pytest.mark.slow
def test_training_on_trajectories_finds_the_closure():
    """The data come from a drag of 0.5; the closure starts from none."""
    flow = {"num_points": (10, 10), "reynolds": 100.0}
    truth = UnrolledLES(LESStep({**flow, "linear_drag": 0.5}, 0.1), 2)
    x = np.stack([turbulent(10, 10, seed) for seed in range(4)])[..., None]
    x = x.astype("float32")
    y = ops.convert_to_numpy(truth(x))
    network = gain_closure(0.0)
    inputs = keras.Input((10, 10, 1))
    step = LESStep(flow, 0.1, network, STATISTICS)
    model = keras.Model(inputs, UnrolledLES(step, 2)(inputs))
    assert [w.path for w in model.trainable_variables] == [
        w.path for w in network.trainable_variables
    ]
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=JIT)
    model.fit(x, y, batch_size=4, epochs=60, verbose=0)
    psi_gain, vorticity_gain = network.get_weights()[0].ravel()
    assert abs(vorticity_gain * 2.0 + 0.5) < 0.05
    assert abs(psi_gain) < 0.05


def test_it_comes_back_from_a_file(tmp_path):
    flow = {"num_points": (12, 12), "reynolds": 100.0, "lengths": (TWO_PI, TWO_PI)}
    step = LESStep(flow, 0.05, gain_closure(0.3), STATISTICS)
    inputs = keras.Input((12, 12, 1))
    model = keras.Model(inputs, UnrolledLES(step, 1)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = turbulent(12, 12)[None, ..., None].astype("float32")
    assert np.array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    for layer in (step, model.layers[-1]):  # a config is read any number of times
        config = layer.get_config()
        for _ in range(2):
            assert type(layer).from_config(config).get_config().keys() == config.keys()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda flow: LESStep(flow, 0.0), "above 0"),
        (lambda flow: LESStep(flow, 0.1, gain_closure(0.0)), "statistics"),
        (lambda flow: UnrolledLES(LESStep(flow, 0.1), 0), "at least 1"),
        (lambda flow: LESStep(flow, 0.1)(np.zeros((1, 8, 9, 1), "f4")), "as its flow"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make({"num_points": (8, 8), "reynolds": 10.0})


def test_a_flow_that_is_no_mapping_of_one_plane_is_refused():
    with pytest.raises(TypeError, match=r"mapping .* flow\.to_dict\(\).*int: 64"):
        LESStep(64, 0.1)
    layers = {"num_points": (8, 8), "deformation_radius": 15e3}
    with pytest.raises(ValueError, match=r"two layers .*without \['reynolds'\]"):
        LESStep(layers, 0.1)
    flow = {"num_points": (8, 8), "reynolds": 10.0}
    with pytest.raises(ValueError, match=r"does not know: \['drag'\]"):
        LESStep({**flow, "drag": 0.1}, 0.1)


@pytest.mark.parametrize("wavenumber", [4, 5, 1.5])
def test_a_forcing_between_or_above_the_modes_of_the_grid_is_refused(wavenumber):
    """The largest wavenumber of 8 points is 3: the Nyquist wave 4 has no phase."""
    flow = {"num_points": (8, 8), "reynolds": 10.0}
    LESStep({**flow, "forcing_wavenumber": 3}, 0.1)
    with pytest.raises(ValueError, match=f"forcing_wavenumber={wavenumber} is no mode"):
        LESStep({**flow, "forcing_wavenumber": wavenumber}, 0.1)
