# %% [markdown]
"""
# Your own data: npz, Zarr, xarray

Everything in `keras_spectral_tl` takes pairs `(x, y)` of NumPy arrays, samples first
and channels last, or a batched `tf.data.Dataset` of such pairs, so any library may
read your files. Here the same made-up samples go through three formats; a network is
trained on one system, and scored and retrained on the other. xarray and Zarr come with
the extra `interchange`.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
import tempfile
from pathlib import Path

import keras
import numpy as np
import xarray

import keras_spectral_tl as kst
from keras_spectral_tl.transfer import ChannelStatistics, RefitOnTarget

EPOCHS = 15

# %% [markdown]
# ## Samples
#
# Two fields on a periodic grid, and a product of one with the gradient of the other:
# fine scales in one system, coarse ones in the other.


# %%
def system(peak_wavenumber, count, seed):
    """Random fields around a wavenumber, (count, n, n, 2), and what to learn."""
    n, rng = 32, np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(n, 1 / n)], indexing="ij"))
    band = np.exp(-((k - peak_wavenumber) ** 2) / 4)[None, :, :, None]
    noise_hat = np.fft.fft2(rng.normal(size=(count, n, n, 2)), axes=(1, 2))
    fields = np.fft.ifft2(noise_hat * band, axes=(1, 2)).real
    fields /= fields.std()
    slope = (np.roll(fields, -1, axis=1) - np.roll(fields, 1, axis=1))[..., 1:]
    return fields.astype("float32"), (fields[..., :1] * slope).astype("float32")


base = system(peak_wavenumber=6, count=64, seed=0)
target = system(peak_wavenumber=3, count=8, seed=1)
test = system(peak_wavenumber=3, count=16, seed=2)

# %% [markdown]
# ## npz
#
# NumPy's own archive. With the names `x` and `y`, every function also takes the path
# in place of the arrays, and workers of a sweep then read the file themselves.

# %%
folder = Path(tempfile.mkdtemp())
np.savez(folder / "base.npz", x=base[0], y=base[1])
with np.load(folder / "base.npz") as file:
    base = file["x"], file["y"]
print("npz:", base[0].shape, base[1].shape)

# %% [markdown]
# ## Zarr and netCDF, by xarray
#
# One variable a channel, with names; `to_array` stacks them, `transpose` puts the
# channels last.

# %%
dims = ("sample", "x", "y")
stored = xarray.Dataset(
    {
        "velocity": (dims, target[0][..., 0]),
        "tracer": (dims, target[0][..., 1]),
        "flux": (dims, target[1][..., 0]),
    }
)
stored.to_zarr(folder / "target.zarr", consolidated=False)
stored.to_netcdf(folder / "target.nc", engine="h5netcdf")


def channels(dataset, names):
    """The named variables as one array, channels last."""
    stacked = dataset[list(names)].to_array("channel")
    return stacked.transpose(*dims, "channel").to_numpy()


for opened in (
    xarray.open_zarr(folder / "target.zarr", consolidated=False),
    xarray.open_dataset(folder / "target.nc", engine="h5netcdf"),
):
    with opened as dataset:
        x = channels(dataset, ("velocity", "tracer"))
        y = channels(dataset, ("flux",))
    print("xarray:", x.shape, y.shape, bool(np.array_equal(x, target[0])))
target = x, y

# %% [markdown]
# ## Train, score, retrain
#
# Whose statistics normalize the target is a choice that changes every result. Here each
# system is normalized by its own.

# %%
keras.utils.set_random_seed(0)
statistics = ChannelStatistics.of(base)
model = kst.build_sgs_cnn((32, 32, 2), num_layers=3, num_filters=8)
model.compile(keras.optimizers.Adam(3e-3), "mse")
model.fit(*statistics.normalize(*base), batch_size=8, epochs=2 * EPOCHS, verbose=0)

own = ChannelStatistics.of(target, source="target")
scores = kst.score_layers(
    model,
    statistics.normalize(*base),
    own.normalize(*target),
    epochs=EPOCHS,
    batch_size=4,
)
print(scores.reason)

# %% [markdown]
# Given a normalization, `retrain` takes data in physical units and its figures of merit
# are in physical units too.

# %%
options = {"normalization": RefitOnTarget(), "epochs": EPOCHS, "batch_size": 4}
for layer in kst.layers_with_weights(model):
    result = kst.retrain(model, target, layer, **options)
    row = result.row(test)
    print(
        f"{row['layer']}: CC {row['cc']:.3f}, relative RMSE {row['relative_rmse']:.3f}"
    )
