# %% [markdown]
"""
# Attached to a training script that exists

Somebody's training script, any Keras model. Three lines are added: an import, and a
callback or two in the list that `fit` is given anyway. Nothing else of the package is
used, the model is only read, and weights end up as they would have without the lines.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
import keras
import numpy as np

from keras_spectral_tl.callbacks import FreezeLayers, KernelSpectra  # added

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(128, 16, 16, 1)).astype("float32")
y = x - np.roll(x, 1, axis=1)


def build():
    options = {"padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(8, 5, name="first", **options),
            keras.layers.Conv2D(8, 5, name="second", **options),
            keras.layers.Conv2D(1, 5, padding="same", name="last"),
        ]
    )


model = build()
model.compile("adam", "mse")
spectra = KernelSpectra(16, most_share=None)  # added: spectra of every kernel
history = model.fit(
    x, y, epochs=4, verbose=0,
    callbacks=[
        keras.callbacks.TerminateOnNaN(),
        spectra,  # added
    ],
)  # fmt: skip
for name, values in history.history.items():
    print(f"{name:24}", " ".join(f"{value:.3f}" for value in values))

# %% [markdown]
# `log_dir="runs/log"` writes TensorBoard event files, `directory="runs/arrays"` arrays;
# without `most_share=None` records take at most one percent of the time of the fit.
#
# A freezing schedule is one more line of the same kind: here the last layer alone for
# two epochs, then everything. No second `compile` is needed.

# %%
model = build()
model.compile("adam", "mse")
before = {layer.name: layer.get_weights()[0].copy() for layer in model.layers}
model.fit(x, y, epochs=2, verbose=0, callbacks=[FreezeLayers({0: "last", 2: None})])
moved = [
    layer.name
    for layer in model.layers
    if not np.array_equal(layer.get_weights()[0], before[layer.name])
]
print("moved in the first two epochs:", moved)
