"""Samples of several inputs, from files and from datasets that are not batched."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_spectral_tl import transfer
from keras_spectral_tl.cli._inputs import _num_axes
from keras_spectral_tl.cli._samples import _stacked, read_samples
from keras_spectral_tl.transfer import Samples
from tests.keras_spectral_tl.common import noise

QUICK = {"epochs": 2, "batch_size": 4}
X = {"profiles": noise(8, 6, 3), "scalars": noise(8, 2, seed=1)}
Y = noise(8, 6, 1, seed=2)


def build():
    keras.utils.set_random_seed(1)
    inputs = {"profiles": keras.Input((6, 3), name="profiles")}
    inputs["scalars"] = keras.Input((2,), name="scalars")
    repeated = keras.layers.RepeatVector(6)(inputs["scalars"])
    joined = keras.layers.Concatenate()([inputs["profiles"], repeated])
    conv = keras.layers.Conv1D(1, 3, padding="same", name="conv")
    return keras.Model(inputs, conv(joined))


def file_of(folder, **arrays):
    np.savez(folder / "samples.npz", **arrays)
    return folder / "samples.npz"


def test_a_file_of_several_inputs_is_read_as_the_dict_of_them(tmp_path):
    arrays = {f"x_{name}": part for name, part in X.items()}
    path = file_of(tmp_path, **arrays, y=Y, day=np.arange(8))
    found = transfer.retrain(build(), str(path), "conv", **QUICK)
    expected = transfer.retrain(build(), (X, Y), "conv", **QUICK)
    assert found.hashes_after == expected.hashes_after
    assert found.row(path) == expected.row((X, Y)) | {"seconds": found.seconds}


def test_a_file_tells_the_trajectory_of_each_sample(tmp_path):
    x, labels = np.zeros((4, 2)), [5, 5, 3, 3]
    samples = Samples.of(file_of(tmp_path, x=x, y=x, trajectory=labels))
    assert samples.groups.tolist() == labels
    wrong = file_of(tmp_path, x=x, y=x, trajectory=labels[:2])
    with pytest.raises(ValueError, match="one label for each of the 4 samples"):
        Samples.of(wrong)


def test_variables_of_xarray_are_to_become_channels():
    xarray = pytest.importorskip("xarray")
    field = xarray.DataArray(np.zeros((4, 3)), dims=("time", "x"))
    both = xarray.Dataset({"wind": field, "rain": field})
    with pytest.raises(
        TypeError, match="wind, rain: make them the channels"
    ) as refused:
        Samples.of((both, field))
    assert "to_dataarray('channel')" in str(refused.value)
    x = both.to_dataarray("channel").transpose(..., "channel")
    assert Samples.of((x, field)).x.shape == (4, 3, 2)


def test_axes_of_xarray_in_another_order_are_refused():
    xarray = pytest.importorskip("xarray")
    dims = ("time", "lat", "lon", "channel")
    x = xarray.DataArray(np.zeros((4, 6, 6, 2)), dims=dims)
    y = xarray.DataArray(np.zeros((4, 6, 6, 1)), dims=dims)
    assert len(Samples.of((x, y))) == 4
    turned = y.transpose("time", "lon", "lat", "channel")
    with pytest.raises(ValueError, match=r"'lat', 'lon'\] in x .*'lon', 'lat'\] in y"):
        Samples.of((x, turned))


def test_an_axis_without_points_is_refused():
    with pytest.raises(ValueError, match=r"axis without points.*\(3, 0, 2\)"):
        Samples.of((np.zeros((3, 0, 2)), np.zeros((3, 1))))


@pytest.mark.parametrize(
    ("names", "lacks"), [(["x_profiles"], "y"), (["y"], "x"), (["inputs"], "x, y")]
)
def test_a_file_that_lacks_arrays_names_them_and_what_it_holds(names, lacks, tmp_path):
    path = file_of(tmp_path, **dict.fromkeys(names, Y))
    held = rf"lacks the array\(s\) {lacks}; it holds {names[0]}\..*each as x_NAME"
    with pytest.raises(KeyError, match=held):
        Samples.of(path)


@pytest.mark.parametrize("form", [dict, lambda x: tuple(x.values())])
def test_a_dataset_of_single_samples_of_several_inputs_is_to_be_batched(form):
    single = tf.data.Dataset.from_tensor_slices((form(X), Y))
    words = r"shapes \(6, 3\), \(2,\), \(6, 1\), probably single.*dataset\.batch\(32\)"
    with pytest.raises(ValueError, match=words):
        Samples.of(single)
    found, expected = Samples.of(single.batch(8)), Samples.of((form(X), Y))
    assert found.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("names", ["u v", ["u", "v"]])
def test_fields_of_a_zarr_file_are_named_in_a_text_or_a_list(names, tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "fields.zarr", mode="w")
    for name in "uvw":
        group.create_array(name, data=np.full((3, 4, 4), float(ord(name))))
    with pytest.raises(KeyError, match="Name its fields in two attributes"):
        read_samples(str(tmp_path / "fields.zarr"))
    group.attrs.update(inputs=names, outputs=names[-1:])
    samples, channels = read_samples(str(tmp_path / "fields.zarr"))
    assert channels == {"x": ["u", "v"], "y": ["v"]}
    np.testing.assert_array_equal(samples.x[0, 0, 0], [ord("u"), ord("v")])


@pytest.mark.parametrize("metadata", ["run 5 of March", [1, 2], "[1, 2]", {"a": 1}])
def test_metadata_of_ones_own_say_nothing_of_channels(metadata, tmp_path):
    path = file_of(tmp_path, x=Y, y=Y, metadata=np.array(metadata))
    samples, channels = read_samples(str(path))
    assert channels == {}
    assert samples.fingerprint() == Samples.of((Y, Y)).fingerprint()


def test_metadata_of_this_package_name_the_channels(tmp_path):
    known = json.dumps({"inputs": "u", "outputs": "v"})
    path = file_of(tmp_path, x=Y, y=Y, metadata=np.array(known))
    assert read_samples(str(path))[1] == {"x": ["u"], "y": ["v"]}


@pytest.mark.parametrize("points", [(4,), (4, 5), (4, 5, 6)])
@pytest.mark.parametrize("channels", [(), (1,), (2,)])
def test_a_feature_of_a_dataset_ends_with_its_channels(points, channels):
    """One that has as many axes as the network has in space is a channel itself."""
    fields = np.random.default_rng(0).normal(size=(3, *points, *channels))
    found = _stacked([{"u": field} for field in fields], ["u"], len(points))
    np.testing.assert_array_equal(
        found, fields.reshape(3, *points, *(channels or (1,)))
    )
    two = [
        {"u": field, "v": -field} for field in fields.reshape(3, *points, -1)[..., 0]
    ]
    stacked = _stacked(two, ["u", "v"], len(points))
    np.testing.assert_array_equal(stacked.sum(axis=-1), np.zeros((3, *points)))


def test_x_and_y_of_a_network_may_have_other_numbers_of_axes():
    inputs = keras.Input((3,))
    hidden = keras.layers.Reshape((4, 4, 1))(keras.layers.Dense(16)(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(hidden))
    assert _num_axes(model) == (0, 2)
    assert _num_axes(keras.Model(hidden, keras.layers.Flatten()(hidden))) == (2, 0)
    assert _num_axes(keras.Layer()) == (2, 2)


def test_numbers_of_types_that_a_backend_lacks_become_those_it_has():
    """Longer floats than those of TensorFlow, and bfloat16 of TensorFlow and torch."""
    numbers = np.array([[0.5, -3.0], [1.0, 0.15625]])  # exact in every type
    torch = pytest.importorskip("torch")
    given = {
        "float64": numbers.astype(np.longdouble),
        "float32": tf.cast(numbers, tf.bfloat16),
    }
    for dtype, x in given.items():
        samples = Samples.of((x, numbers))
        assert samples.x.dtype == dtype
        np.testing.assert_array_equal(samples.x, numbers)
    x = torch.tensor(numbers, dtype=torch.bfloat16, requires_grad=True)
    samples = Samples.of((x, tf.cast(numbers, tf.bfloat16).numpy()))
    assert samples.x.dtype == samples.y.dtype == "float32"
    np.testing.assert_array_equal(samples.x, samples.y)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="d")])
    result = transfer.retrain(model, (given["float64"], given["float64"]), "d", **QUICK)
    assert result.changed == ("d",)


def test_validation_data_may_be_a_file(tmp_path):
    arrays = {f"x_{name}": part[:4] for name, part in X.items()}
    path = file_of(tmp_path, **arrays, y=Y[:4])
    pair = {name: part[:4] for name, part in X.items()}, Y[:4]
    losses = [
        transfer.retrain(build(), (X, Y), "conv", validation_data=held_out, **QUICK)
        for held_out in (path, pair)
    ]
    assert losses[0].history["val_loss"] == losses[1].history["val_loss"]


@pytest.mark.parametrize(
    "replay", [tuple(X.values()), {"profiles": X["profiles"], "others": X["scalars"]}]
)
def test_samples_to_replay_under_other_names_are_refused(replay):
    with pytest.raises(ValueError, match=r"names of those of the target.*profiles, s"):
        transfer.retrain(build(), (X, Y), "conv", replay=(replay, Y), **QUICK)
