# %% [markdown]
"""
# A closure in one dimension: Kuramoto-Sivashinsky

    u_t + (u^2 / 2)_x + u_xx + nu u_xxxx = 0,    x periodic

is chaotic. Filtered to a coarser grid it lacks a term, the closure

    Pi = P (v^2 / 2)_x - filter((u^2 / 2)_x),    v = filter(u),

which goes on the right-hand side (P cuts off what the coarse grid cannot hold). A
one-dimensional network learns Pi from v for one viscosity, and is then to work for
another one. Nothing here knows of turbulence: layers, scores and spectra are for any
network and any number of dimensions.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl import plotting
from keras_spectral_tl.layers import PeriodicPadding1D
from keras_spectral_tl.metrics import pattern_correlation

LENGTH, FINE, COARSE = 32 * np.pi, 256, 64
EPOCHS = 15

# %% [markdown]
# ## Data
#
# A pseudo-spectral solver in a few lines: the linear terms are solved exactly by an
# integrating factor, the product is dealiased by the 2/3 rule, time steps are of fourth
# order.

# %%
k = 2 * np.pi / LENGTH * np.arange(FINE // 2 + 1)
resolved = np.arange(FINE // 2 + 1) < FINE / 3


def advection_hat(u_hat):
    """Spectrum of (u^2 / 2)_x, free of aliasing."""
    return 0.5j * k * resolved * np.fft.rfft(np.fft.irfft(u_hat, FINE) ** 2)


def advanced(u_hat, viscosity, steps, h=0.02):
    """Takes steps of RK4 with integrating factor."""
    half = np.exp(h / 2 * (k**2 - viscosity * k**4))
    for _ in range(steps):
        a = -h * advection_hat(u_hat)
        b = -h * advection_hat(half * (u_hat + a / 2))
        c = -h * advection_hat(half * u_hat + b / 2)
        d = -h * advection_hat(half * (half * u_hat + c))
        u_hat = half**2 * (u_hat + a / 6) + half * (b + c) / 3 + d / 6
    return u_hat


def snapshots(viscosity, trajectories, count, seed):
    """Fields on the attractor, (trajectories * count, FINE), 10 time units apart."""
    noise = np.random.default_rng(seed).normal(size=(trajectories, FINE))
    u_hat = np.fft.rfft(noise) * np.exp(-(k**2)) * (k > 0)
    fields, u_hat = [], advanced(u_hat, viscosity, 5000)
    for _ in range(count):
        u_hat = advanced(u_hat, viscosity, 500)
        fields.append(np.fft.irfft(u_hat, FINE))
    return np.concatenate(fields)


def cut(hat):
    """The field on the coarse grid, without its Nyquist wavenumber."""
    kept = hat[..., : COARSE // 2 + 1] * (np.arange(COARSE // 2 + 1) < COARSE // 2)
    return np.fft.irfft(kept, COARSE) * COARSE / FINE


def samples(viscosity, trajectories, count, seed):
    """Inputs (v, dv/dx) and output Pi, channels last."""
    u_hat = np.fft.rfft(snapshots(viscosity, trajectories, count, seed))
    gaussian = np.exp(-(k**2) * (2 * LENGTH / COARSE) ** 2 / 24)
    keep = np.arange(FINE // 2 + 1) < COARSE // 2
    v_hat = gaussian * u_hat * keep
    closure = cut(advection_hat(v_hat)) - cut(gaussian * advection_hat(u_hat))
    x = np.stack([cut(v_hat), cut(1j * k * v_hat)], axis=-1)
    scale = x.std(axis=(0, 1)), closure.std()
    y = closure[..., None] / scale[1]
    return (x / scale[0]).astype("float32"), y.astype("float32")


base = samples(1.0, trajectories=8, count=16, seed=0)
target = samples(0.5, trajectories=4, count=4, seed=1)
test = samples(0.5, trajectories=8, count=8, seed=2)
print("base", base[0].shape, "target", target[0].shape)

# %% [markdown]
# ## Network, scores, retraining

# %%
keras.utils.set_random_seed(0)
network = keras.Sequential([keras.Input((COARSE, 2))])
for number in range(1, 5):
    last = number == 4
    network.add(PeriodicPadding1D(2))
    network.add(
        keras.layers.Conv1D(
            1 if last else 16, 5, activation=None if last else "relu",
            name=f"conv_{number}",
        )
    )  # fmt: skip
network.compile(keras.optimizers.Adam(3e-3), "mse")
network.fit(*base, batch_size=8, epochs=2 * EPOCHS, verbose=0)


def correlation(model):
    return pattern_correlation(test[1], model.predict(test[0], verbose=0))


print(f"CC on the target, before: {correlation(network):.3f}")
scores = kst.score_layers(network, base, target, epochs=2 * EPOCHS, batch_size=4)
print(scores.reason)

# %%
for layer in scores.ranking:
    result = kst.retrain(network, target, layer, epochs=2 * EPOCHS, batch_size=4)
    print(f"{layer} retrained alone: CC {correlation(result.model):.3f}")

# %% [markdown]
# ## What the kernels let through, wavenumber by wavenumber

# %%
spectra = kst.kernel_spectra(network, COARSE).layers
axes = plotting.plot_kernel_spectra(
    {name: layer.profiles for name, layer in spectra.items()}
)
print("figure:", plotting.save_figure(axes, "closure_1d.png"))
axes[0].figure
