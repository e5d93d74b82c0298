# %% [markdown]
"""
# Your own model: a U-Net, and a network of Keras

For each model: see what a selection holds and costs, retrain it on the target data
with proof that nothing else moved, and measure what every candidate gives when it is
retrained alone. Made-up data and hardly trained networks, so that it takes less than
a minute on a CPU: the figures show that it works, not what is best.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, transfer

EPOCHS = 4


# %% [markdown]
# ## Two models and their systems


# %%
def u_net(num_points: int) -> keras.Model:
    """Two resolutions, a skip connection, normalization in between."""
    options = {"padding": "same", "activation": "relu"}
    inputs = keras.Input((num_points, num_points, 2))
    fine = keras.layers.Conv2D(8, 3, name="down", **options)(inputs)
    coarse = keras.layers.MaxPooling2D()(fine)
    coarse = keras.layers.Conv2D(16, 3, name="bottom", **options)(coarse)
    coarse = keras.layers.BatchNormalization(name="norm")(coarse)
    up = keras.layers.Conv2DTranspose(8, 2, strides=2, name="up")(coarse)
    joined = keras.layers.Concatenate()([fine, up])
    outputs = keras.layers.Conv2D(1, 3, padding="same", name="out")(joined)
    return keras.Model(inputs, outputs, name="u_net")


def fields(count: int, num_points: int, shift: int, seed: int) -> Any:
    """Noise, and a nonlinear function of its neighbourhood; the shift is the system."""
    x = np.random.default_rng(seed).normal(size=(count, num_points, num_points, 2))
    y = np.roll(x[..., :1], shift, axis=1) * x[..., 1:] - 0.5 * x[..., :1]
    return x.astype("float32"), y.astype("float32")


def mobile_net() -> keras.Model:
    """A network of Keras with random weights."""
    model = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, weights=None, classes=4
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # so that a few steps make its statistics
    return model


def pictures(count: int, brightness: float, seed: int) -> Any:
    """Noise of four brightnesses, and which it is."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    x = rng.normal(size=(count, 32, 32, 3)) + brightness * labels[:, None, None, None]
    return x.astype("float32"), np.eye(4, dtype="float32")[labels]


# %% [markdown]
# ## The workflow, the same for any model


# %%
def workflow(
    model: keras.Model, target: Any, test: Any, layers: Any, candidates: Any, loss: str
) -> transfer.SweepResult:
    """Select, retrain, and compare candidates and controls; print what was found."""
    options = {"epochs": EPOCHS, "batch_size": 8, "loss": loss}
    print(f"\n== {model.name} ==\n{kst.select_layers(model, layers)}")
    result = kst.retrain(
        model, target, layers, early_stopping=transfer.HeldOutStopping(), **options
    )
    print(f"moved: {', '.join(result.changed_weights)}")
    sweep = kst.oracle_sweep(model, target, test, layers=candidates, **options)
    controls = transfer.baselines(
        model, target, test, include=["unchanged", "gain_only"], **options
    )
    for row in (*sweep.rows, *controls.rows):
        error, count = row["relative_rmse"], row["num_parameters"]
        print(f"{row['layer']:24} relative rmse {error:6.3f}  {count:7,} parameters")
    return sweep


def main() -> None:
    """Run the workflow on both models."""
    keras.utils.set_random_seed(0)
    model = u_net(16)
    model.compile("adam", "mse")
    model.fit(*fields(64, 16, shift=1, seed=1), epochs=EPOCHS, verbose=0)
    target, test = (fields(32, 16, shift=0, seed=seed) for seed in (2, 3))
    parts = [freezing.KernelsOf("bottom"), "up"]
    candidates = ["down", "bottom", "norm", "up", "out", ("bottom", "up")]
    workflow(model, target, test, parts, candidates, "mean_squared_error")

    model = mobile_net()
    model.compile("adam", "categorical_crossentropy")
    model.fit(*pictures(64, brightness=1.0, seed=6), epochs=EPOCHS, verbose=0)
    head = [freezing.NormalizationOf("conv_pw_13_bn"), freezing.Depth(-1)]
    candidates = ["conv_pw_12", "conv_pw_13", "conv_preds"]
    target, test = (pictures(32, brightness=2.0, seed=seed) for seed in (4, 5))
    workflow(model, target, test, head, candidates, "categorical_crossentropy")


# %%
if __name__ == "__main__":
    main()
