"""What is exported reads back bit for bit, and says by itself what it is."""

import json
import sys
import weakref

import numpy as np
import pytest
import xarray

from turbulence_data import Builder, EnsembleConfig, FlowConfig, TurbulenceConfig
from turbulence_data.generation import InProcessExecutor, content_hash
from turbulence_data.generation._records import SCALARS
from turbulence_data.interchange import ExportSource, export

ENSEMBLE = EnsembleConfig(
    flow=FlowConfig((32, 48), 100.0, beta=0.1, lengths=(2 * np.pi, 4 * np.pi)),
    num_points_les=(16, 24),
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=0.1,
    interval=0.05,
    time_step=0.01,
    extra_fields=("velocity", "tau"),
)
METADATA = {"pi_convention": "rhs_add"}
SUFFIXES = ("nc", "zarr")


def opened(path):
    if path.suffix == ".zarr":
        return xarray.open_zarr(path, consolidated=False, chunks=None)
    return xarray.open_dataset(path, engine="h5netcdf")


def snapshots(trajectory=0, times=(0.0, 0.5), shape=(8, 6), **scalars):
    rng = np.random.default_rng(trajectory)
    return [
        {
            "trajectory": np.int64(trajectory),
            "time": np.float64(time),
            "vorticity": rng.standard_normal(shape).astype(np.float32),
            **scalars,
        }
        for time in times
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    made = Builder(
        config=TurbulenceConfig(name="tiny", ensemble=ENSEMBLE),
        data_dir=tmp_path_factory.mktemp("data"),
        executor=InProcessExecutor(),
    )
    made.download_and_prepare()
    return made


@pytest.fixture(scope="module", params=SUFFIXES)
def exported(prepared, request, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / f"tiny.{request.param}"
    export(ExportSource.from_builder(prepared), path)
    return path


def test_a_dataset_reads_back_bit_for_bit(prepared, exported):
    """Names, types, shapes, bytes and order: all of them are in the hash."""
    with opened(exported) as dataset:
        read = content_hash(ExportSource.examples_of(dataset))
    assert read == prepared.info.metadata["content_sha256"]


def test_each_split_reads_back_alone(prepared, exported):
    with opened(exported) as dataset:
        for split in ("train", "validation", "test"):
            expected = content_hash(prepared.read(split))
            assert content_hash(ExportSource.examples_of(dataset, split)) == expected
        with pytest.raises(ValueError, match=r"'dev'.*'validation'"):
            next(ExportSource.examples_of(dataset, "dev"))


def test_dimensions_and_coordinates_are_those_of_the_grid(exported):
    with opened(exported) as dataset:
        assert dataset["vorticity"].dims == ("trajectory", "time", "x", "y")
        assert dataset["tau"].dims == (*dataset["vorticity"].dims, "tau_channel")
        assert dataset["reynolds"].dims == dataset["split"].dims == ("trajectory",)
        assert dataset["trajectory"].values.tolist() == [0, 1, 100_000, 200_000]
        assert dataset["split"].values.tolist() == [0, 0, 1, 2]
        np.testing.assert_allclose(dataset["x"], np.arange(16) * 2 * np.pi / 16)
        np.testing.assert_allclose(dataset["y"], np.arange(24) * 4 * np.pi / 24)
        np.testing.assert_allclose(dataset["time"], [0.1, 0.15, 0.2])
        one = dataset["vorticity"].sel(trajectory=100_000, time=0.1)
        assert one.shape == (16, 24)


def test_every_variable_is_described_after_cf(exported):
    with opened(exported) as dataset:
        assert dataset.attrs["Conventions"] == "CF-1.11"
        for name, variable in dataset.variables.items():
            assert variable.attrs["long_name"], name
            assert name == "split" or variable.attrs["units"] == "1"
            assert "_FillValue" not in variable.encoding
        axes = {n: dataset[n].attrs["axis"] for n in ("x", "y", "time")}
        assert axes == {"x": "X", "y": "Y", "time": "T"}
        assert dataset["beta"].attrs["long_name"] == SCALARS["beta"][1].rstrip(".")
        flags = dataset["split"].attrs
        assert flags["flag_meanings"] == "train validation test"
        assert list(flags["flag_values"]) == [0, 1, 2]


def test_global_attributes_say_how_the_data_were_made(prepared, exported):
    metadata = prepared.info.metadata
    with opened(exported) as dataset:
        attributes = dataset.attrs
    for name in ("pi_convention", "config_hash", "content_sha256"):
        assert attributes[name] == metadata[name]
    for name in ("config", "versions", "conventions", "fields"):
        assert json.loads(attributes[name]) == metadata[name]
    assert "turbulence_data/tiny" in attributes["title"]


def test_the_hash_of_all_splits_is_left_out_where_some_are(prepared):
    source = ExportSource.from_builder(prepared, "test")
    assert "content_sha256" not in source.attributes()
    assert list(source.examples) == ["test"]


def test_chosen_features_read_back_without_the_others(prepared, tmp_path):
    path = tmp_path / "some.zarr"
    export(ExportSource.from_builder(prepared, ["test"], ["sgs_forcing"]), path)
    with xarray.open_zarr(path, consolidated=False) as dataset:
        assert "content_sha256" not in dataset.attrs  # that of all features
        found = list(ExportSource.examples_of(dataset))
    expected = list(prepared.read("test"))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert set(one) == {"trajectory", "time", "sgs_forcing"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_part_of_a_dataset_says_what_it_lacks(exported):
    with opened(exported) as dataset:
        for part in (dataset.isel(trajectory=0), dataset[["vorticity"]]):
            with pytest.raises(ValueError, match="without"):
                next(ExportSource.examples_of(part))
        for part in (dataset.isel(trajectory=[1]), dataset[["vorticity", "split"]]):
            assert "vorticity" in next(ExportSource.examples_of(part))


def test_examples_without_a_time_are_refused_in_every_format(tmp_path):
    source = ExportSource({"a": [{"trajectory": 0}]}, METADATA)
    with pytest.raises(ValueError, match=r"without \['time'\]"):
        export(source, tmp_path / "x.npz")


@pytest.mark.parametrize("wrong", [["voricity"], "vorticity", []])
def test_features_that_are_not_there_are_refused(prepared, wrong):
    with pytest.raises(ValueError, match=r"names of \[.*'sgs_forcing'.*received"):
        ExportSource.from_builder(prepared, features=wrong)


def test_a_dataset_that_is_not_there_is_refused(tmp_path):
    config = TurbulenceConfig(name="absent", ensemble=ENSEMBLE)
    absent = Builder(config=config, data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"absent.*not prepared.*download_and_prep"):
        ExportSource.from_builder(absent)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_awkward_values_survive(suffix, tmp_path):
    """Infinities, NaN, -0, denormals, the ends of int64; other types."""
    awkward = np.array([[np.inf, np.nan, -0.0, 1e-45, -np.inf, 3.4e38]] * 8, np.float32)
    given = snapshots(
        reynolds=np.float64(np.inf), seed=np.int64(-(2**63)), level=np.uint8(255)
    )
    given = [{**example, "vorticity": awkward} for example in given]
    path = tmp_path / f"awkward.{suffix}"
    export(ExportSource({"all": given}, METADATA), path)
    with opened(path) as dataset:
        assert content_hash(ExportSource.examples_of(dataset)) == content_hash(given)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_more_than_two_trajectories_are_in_memory(suffix, tmp_path):
    alive: list[weakref.ref] = []
    most = 0

    def stream():
        nonlocal most
        for trajectory in range(8):
            for example in snapshots(trajectory):
                alive.append(weakref.ref(example["vorticity"]))
                most = max(most, sum(ref() is not None for ref in alive))
                yield example
                del example

    source = ExportSource({"train": stream()}, METADATA)
    export(source, tmp_path / f"stream.{suffix}")
    assert len(alive) == 16
    assert most <= 4  # two trajectories of two snapshots


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_export_leaves_nothing_and_nothing_is_overwritten(suffix, tmp_path):
    path = tmp_path / "made" / f"data.{suffix}"
    bad = ExportSource({"a": [*snapshots(0), *snapshots(1, (0.0, 0.7))]}, METADATA)
    with pytest.raises(ValueError, match="same times"):
        export(bad, path)
    assert list(path.parent.iterdir()) == []
    export(ExportSource({"a": snapshots()}, METADATA), path)
    with pytest.raises(FileExistsError, match=f"data.{suffix} exists already"):
        export(ExportSource({"a": snapshots()}, METADATA), path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([*snapshots(0), *snapshots(1), *snapshots(0)], "trajectory 0 comes in two"),
        (snapshots(0, (0.0, 0.0)), r"trajectory 0 must increase.*\[0.0, 0.0\]"),
        ([*snapshots(0), *snapshots(1, (0.0,))], "those of trajectory 1 are"),
        ([*snapshots(0), *snapshots(1, beta=0.0)], "same features.*beta"),
        ([*snapshots(0, (0.0,), beta=1.0), *snapshots(0, beta=2.0)[1:]], "'beta' chan"),
        ([{"trajectory": 0, "time": 0.0}], r"field of shape \(nx, ny\); received"),
        (snapshots(shape=(8,)), r"'vorticity' of shape \(8,\)"),
        ([], r"\['all'\] hold no examples.*generator.*once"),
        (snapshots(x=0.0, split=1), r"\['split', 'x'\] have names of coordinates"),
        ([{"trajectory": 0, "vorticity": np.zeros((8, 8))}], r"without \['time'\]"),
        (snapshots(coarse=np.zeros((4, 4))), r"one grid.*\(8, 6\).*\(4, 4\)"),
    ],
)
def test_examples_that_do_not_fit_together_are_refused(examples, message, tmp_path):
    source = ExportSource({"all": examples}, METADATA)
    with pytest.raises(ValueError, match=message):
        export(source, tmp_path / "data.nc")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a b": []}, METADATA), r"without blanks.*\['a b'\]"),
        (([], METADATA), "received <class 'list'>"),
        (({"a": []}, {"title": "x"}), r"'pi_convention'.*\['title'\]"),
        (({"a": []}, METADATA, (1.0, -1.0)), "lengths.*-1.0"),
    ],
)
def test_incomplete_sources_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExportSource(*arguments)


def test_metadata_that_no_file_can_hold_are_refused():
    with pytest.raises(ValueError, match=r"'what'.*object"):
        ExportSource({"a": []}, {**METADATA, "what": object()}).attributes()
    with pytest.raises(ValueError, match=r"'long' is 70000 characters"):
        ExportSource({"a": []}, {**METADATA, "long": "x" * 70_000}).attributes()


@pytest.mark.parametrize(
    ("suffix", "missing"), [("zarr", "xarray"), ("zarr", "zarr"), ("nc", "h5netcdf")]
)
def test_a_missing_library_is_named_with_the_extra(
    suffix, missing, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*keras-spectral-tl\[interch"):
        export(ExportSource({"a": snapshots()}, METADATA), tmp_path / f"x.{suffix}")
