"""Spectral callbacks: what they record is what the model is, and they only read it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_spectral_tl.callbacks import ActivationSpectra, KernelSpectra
from keras_spectral_tl.callbacks._spectra import write_arrays
from keras_spectral_tl.spectra import activation_spectra, kernel_spectra
from tests.keras_spectral_tl.common import noise

SHAPE = (8, 6, 2)


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv_1"),
            keras.layers.Dropout(0.1, seed=3),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Conv2D(1, 3, padding="same", name="conv_2"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 4):
    x, y = noise(6, *SHAPE, seed=1), noise(6, 8, 6, 1, seed=2)
    options = {"batch_size": 3, "epochs": epochs, "verbose": 0, "shuffle": False}
    return model.fit(x, y, callbacks=list(callbacks), **options)


def make_both(directory: object = None, every: int = 1, **options: object):
    """Both callbacks, without a limit of time unless one is given."""
    options = {"most_share": None, **options}
    probe = noise(2, *SHAPE, seed=5)
    return (
        KernelSpectra(8, every, directory, **options),
        ActivationSpectra(probe, every, directory=directory, **options),
    )


def test_last_record_is_that_of_the_trained_model_and_records_change() -> None:
    model = build()
    kernels, activations = make_both()
    fit(model, kernels, activations)
    final = kernel_spectra(model, 8).layers
    for name, profile in kernels.history[3].items():
        np.testing.assert_array_equal(profile, final[name].mean_profile)
        assert not np.array_equal(profile, kernels.history[2][name])
    after = activation_spectra(model, activations.x)
    for name, spectrum in activations.history[3].pre_activation.items():
        np.testing.assert_array_equal(spectrum, after.pre_activation[name])


def test_training_is_bitwise_the_same_with_and_without() -> None:
    plain, watched = build(), build()
    fit(plain)
    activations = [layer.activation for layer in (watched.layers[0], watched.layers[3])]
    fit(watched, *make_both())
    for one, other in zip(plain.weights, watched.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    restored = [layer.activation for layer in (watched.layers[0], watched.layers[3])]
    assert all(a is b for a, b in zip(activations, restored, strict=True))
    assert all(layer.trainable for layer in watched.layers)


def test_scalars_reach_the_history_of_the_fit() -> None:
    model = build()
    kernels, activations = make_both()
    history = fit(model, kernels, activations, epochs=2).history
    peaks = kernel_spectra(model, 8).layers["conv_1"].peak_wavenumbers
    assert history["conv_1/peak_wavenumber"][-1] == pytest.approx(peaks.mean())
    energy = activations.history[1].pre_activation["conv_2"].sum()
    assert history["conv_2/pre_activation_energy"][-1] == pytest.approx(energy)


def test_the_history_of_a_fit_with_few_records_is_a_table() -> None:
    """One value an epoch in every column, NaN where nothing was recorded."""
    pandas = pytest.importorskip("pandas")
    model = build()
    history = fit(model, *make_both(every=2), epochs=5)
    frame = pandas.DataFrame(history.history)
    assert len(frame) == 5
    columns = [name for name in frame if name != "loss"]
    assert len(columns) == 2 + 4  # kernels of two layers, activations of four
    recorded = frame[columns].notna().to_numpy()
    assert recorded[[1, 3]].all() and not recorded[[0, 2, 4]].any()


def test_a_line_at_the_end_says_which_epochs_were_recorded(capsys) -> None:
    kernels, activations = make_both(every=2)
    x, y = noise(6, *SHAPE, seed=1), noise(6, 8, 6, 1, seed=2)
    build().fit(x, y, epochs=5, verbose=2, callbacks=[kernels, activations])
    printed = capsys.readouterr().out
    assert "KernelSpectra recorded epochs 2, 4.\n" in printed
    assert "ActivationSpectra recorded epochs 2, 4.\n" in printed
    kernels.skipped = [1]
    assert "1 more were due" in kernels._summary()
    fit(build(), kernels)
    assert capsys.readouterr().out == ""  # verbose=0


def test_interval_counts_whole_epochs() -> None:
    kernels, activations = make_both(every=2)
    fit(build(), kernels, activations, epochs=5)
    assert list(kernels.history) == list(activations.history) == [1, 3]


def test_history_starts_anew_with_every_fit() -> None:
    model = build()
    kernels, activations = make_both()
    fit(model, kernels, activations, epochs=3)
    fit(model, kernels, activations, epochs=1)
    assert list(kernels.history) == list(activations.history) == [0]


def test_files_hold_the_records_and_nothing_else_is_left(tmp_path: Path) -> None:
    model = build()
    kernels, activations = make_both(tmp_path / "new" / "folder", every=2)
    fit(model, kernels, activations)
    found = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert found == [
        "activation_spectra_epoch_0002.npz",
        "activation_spectra_epoch_0004.npz",
        "kernel_spectra_epoch_0002.npz",
        "kernel_spectra_epoch_0004.npz",
    ]
    final = kernel_spectra(model, 8).layers["conv_1"]
    with np.load(tmp_path / "new" / "folder" / found[3]) as file:
        np.testing.assert_array_equal(file["conv_1/profiles"], final.profiles)
        np.testing.assert_array_equal(file["conv_1/classes"], final.classes)
    with np.load(tmp_path / "new" / "folder" / found[1]) as file:
        spectrum = activations.history[3].post_activation["conv_1"]
        np.testing.assert_array_equal(file["conv_1/post_activation"], spectrum)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    class Unreadable:
        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            raise ValueError("nothing to write")

    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.arange(3)})
    with pytest.raises(ValueError, match="nothing to write"):
        write_arrays(path, {"a": Unreadable()})
    assert [entry.name for entry in tmp_path.iterdir()] == ["arrays.npz"]
    with np.load(tmp_path / "arrays.npz") as file:
        np.testing.assert_array_equal(file["a"], np.arange(3))


def test_files_hold_the_arrays_given_and_no_other(tmp_path, monkeypatch) -> None:
    """NumPy 2.0 takes every keyword of savez for an array."""
    kept: dict[str, Any] = {}

    def savez(file: Path, **arrays: Any) -> None:
        kept.update(arrays)
        file.touch()

    monkeypatch.setattr(np, "savez", savez)
    write_arrays(tmp_path / "arrays.npz", {"a": np.arange(3)})
    assert list(kept) == ["a"]


def test_one_layer_can_be_chosen() -> None:
    chosen = ActivationSpectra(noise(1, *SHAPE), layers=["conv_2"])
    fit(build(), chosen, epochs=1)
    assert list(chosen.history[0].pre_activation) == ["conv_2"]


def test_works_on_a_subclassed_model() -> None:
    class Small(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv = keras.layers.Conv2D(1, 3, padding="same", name="conv")

        def call(self, inputs: object) -> object:
            return self.conv(inputs)

    model = Small()
    model.compile("sgd", "mse")
    kernels, activations = make_both()
    fit(model, kernels, activations, epochs=1)
    assert list(kernels.history[0]) == list(activations.history[0].pre_activation)


def profiles() -> tuple[keras.Model, dict[str, np.ndarray]]:
    """A 1-D network of two inputs, and samples for it."""
    one, two = keras.Input((9, 2), name="one"), keras.Input((9, 1), name="two")
    joined = keras.layers.Concatenate(name="both")([one, two])
    model = keras.Model([one, two], keras.layers.Conv1D(1, 3, name="conv")(joined))
    model.compile("sgd", "mse")
    return model, {"one": noise(4, 9, 2), "two": noise(4, 9, 1, seed=1)}


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: [x["one"], x["two"]],
        lambda x: [{k: v[:3] for k, v in x.items()}, {k: v[3:] for k, v in x.items()}],
    ],
    ids=["dict", "list of inputs", "list of batches"],
)
def test_profiles_of_several_inputs_are_recorded_every_epoch(form, tmp_path) -> None:
    model, x = profiles()
    spectra = ActivationSpectra(form(x), most_share=None, rank=1)
    model.fit(x, noise(4, 7, 1), epochs=2, verbose=0, callbacks=[spectra])
    assert list(spectra.history) == [0, 1]
    final = activation_spectra(model, x, rank=1).pre_activation
    assert list(final) == ["both", "conv"]
    for name, spectrum in spectra.history[1].pre_activation.items():
        np.testing.assert_allclose(spectrum, final[name], rtol=1e-6)
    spectra.log_dir = tmp_path  # images, of channels by wavenumber
    assert [tag.split("/")[0] for tag in spectra.record().images] == ["both", "conv"]


def test_a_rank_that_no_layer_has_is_mended_by_the_one_of_the_error() -> None:
    model, x = profiles()
    with pytest.raises(ValueError, match=r"outputs with 1: pass rank=1\.$"):
        model.fit(x, noise(4, 7, 1), verbose=0, callbacks=[ActivationSpectra(x)])


def test_bad_arguments_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="Received every_n_epochs=0"):
        KernelSpectra(8, every_n_epochs=0)
    with pytest.raises(TypeError, match="every_n_epochs='two'"):
        ActivationSpectra(noise(1, *SHAPE), every_n_epochs="two")
    with pytest.raises(TypeError, match="num_points='large'"):
        KernelSpectra("large")
    with pytest.raises(TypeError, match="Received generator"):
        ActivationSpectra(batch for batch in ())
    with pytest.raises(TypeError, match="Received NoneType"):
        ActivationSpectra(None)
    with pytest.raises(ValueError, match="Received rank=4"):
        ActivationSpectra(noise(1, *SHAPE), rank=4)


def test_kernels_are_recorded_on_the_grid_of_their_layer_by_default() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(3, 3, strides=2, padding="same", name="first"),
            layers.Conv2D(1, 3, padding="same", name="behind_the_stride"),
            layers.UpSampling2D(2),
        ]
    )
    model.compile("sgd", "mse")
    callback = KernelSpectra(most_share=None)
    fit(model, callback, epochs=1)
    found = kernel_spectra(model)
    assert [found[name].grid for name in callback.history[0]] == [(8, 6), (4, 3)]
    for name, profile in callback.history[0].items():
        np.testing.assert_array_equal(profile, found[name].mean_profile)


def test_an_open_grid_is_refused_before_training() -> None:
    conv = keras.layers.Conv2D(1, 3, padding="same")
    model = keras.Sequential([keras.Input((None, None, SHAPE[-1])), conv])
    model.compile("sgd", "mse")
    callback = KernelSpectra()
    with pytest.raises(ValueError, match="Pass num_points, such as num_points=64"):
        fit(model, callback, epochs=1)
    assert callback.history == {}


def test_model_without_convolutions_is_refused_before_training() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"only \(Dense\)"):
        model.fit(noise(2, 2), noise(2, 1), verbose=0, callbacks=[KernelSpectra(8)])
