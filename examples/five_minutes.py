# %% [markdown]
"""
# Five minutes

A network learns the subgrid forcing of one flow, the base. On another flow, the
target, it is wrong, and few snapshots of that are at hand. Which layer should be
retrained? The scores say it from those snapshots; retraining every layer in turn says
whether they were right.

The flows are tiny, so that all of this takes a minute: it shows how things work, not
what turbulence does. `examples/quickstart.py` is the same at a size that means
something.
"""

# %% tags=["remove-cell"]
import sys

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

# %%
import keras
import tensorflow_datasets as tfds

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl import plotting
from keras_spectral_tl.metrics import pattern_correlation

BASE, TARGET = "tiny_forced_re2e2_kf8", "tiny_forced_re2e2_kf4"
EPOCHS = 20

# %% [markdown]
# ## Data
#
# The first `tfds.load` of a flow simulates it; later ones read the result. Inputs are
# (streamfunction, vorticity), the output is the subgrid forcing, each normalized by its
# own train split. Splits are by simulation.


# %%
def system(name):
    train, test = tfds.load(
        f"turbulence_data/{name}", split=["train", "test"], data_dir="data"
    )
    x, y = turbulence_data.to_arrays(train)
    normalization = turbulence_data.Normalization.from_arrays(x, y)
    test = turbulence_data.to_arrays(test, normalization)
    return normalization.normalize(x, y), test


(base, base_test), (target, target_test) = system(BASE), system(TARGET)
few = tuple(part[::4] for part in target)  # 8 of 32 snapshots, of every simulation
print(f"base {base[0].shape}, target {few[0].shape}")

# %% [markdown]
# ## Base network
#
# Plain Keras.

# %%
keras.utils.set_random_seed(0)
model = kst.build_sgs_cnn(base[0].shape[1:], num_layers=4, num_filters=8)
model.compile(keras.optimizers.Adam(2e-3), "mse")
model.fit(*base, batch_size=4, epochs=2 * EPOCHS, verbose=0)


def correlation(network, data):
    return pattern_correlation(data[1], network.predict(data[0], verbose=0))


print(f"CC on the base {correlation(model, base_test):.3f}")
print(f"CC on the target {correlation(model, target_test):.3f}")

# %% [markdown]
# ## Which layer?

# %%
scores = kst.score_layers(model, base, few, epochs=EPOCHS, batch_size=4)
print(scores.reason)

# %% [markdown]
# ## Was that right?
#
# Each layer retrained alone. `changed` lists the layers whose weights have another
# SHA-256 than before: the chosen one and no other.

# %%
sweep = {}
for layer in kst.layers_with_weights(model):
    result = kst.retrain(model, few, layer, epochs=EPOCHS, batch_size=4)
    sweep[layer] = correlation(result.model, target_test)
    print(f"{layer}: CC {sweep[layer]:.3f}, changed {result.changed}")

# %%
axes = plotting.plot_scores_against_sweep(scores.scores, sweep)
print("figure:", plotting.save_figure(axes, "five_minutes.png"))
axes[0].figure
