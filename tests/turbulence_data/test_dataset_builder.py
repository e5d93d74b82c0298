"""The dataset through TFDS: the same content on every way in and out."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

import turbulence_data
from turbulence_data import (
    Builder,
    EnsembleConfig,
    FlowConfig,
    Normalization,
    TrajectoryFailedError,
    TurbulenceConfig,
    to_arrays,
)
from turbulence_data._files import DamagedFileError
from turbulence_data.generation import (
    InProcessExecutor,
    _records,
    content_hash,
    process_pool,
    sample_trajectory,
)
from turbulence_data.generation._records import FIELDS, PLANE, SCALARS
from turbulence_data.generation._store import TrajectoryStore

TINY = EnsembleConfig(
    flow=FlowConfig((32, 48), reynolds=100.0, beta=0.1),
    num_points_les=(16, 24),
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=0.2,
    interval=0.05,
    time_step=0.01,
    seed=7,
)
CONFIG = TurbulenceConfig(name="tiny", ensemble=TINY)
SPLITS = ["train", "validation", "test"]


class BuilderTest(tfds.testing.DatasetBuilderTestCase):
    """What TFDS asks of every dataset."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = [CONFIG]  # noqa: RUF012
    EXAMPLE_DIR = str(Path(__file__).parent)
    SPLITS = {"train": 6, "validation": 3, "test": 3}  # noqa: RUF012

    def _make_builder(self, config=None):
        return Builder(
            data_dir=self.tmp_dir, config=config, executor=InProcessExecutor()
        )

    def test_session(self, *args, **kwargs):
        return super().test_session(*args, **kwargs)

    test_session.__test__ = False  # TensorFlow's helper, whatever its name


def builder(data_dir, ensemble=TINY, executor=None, **kwargs):
    return Builder(
        config=TurbulenceConfig(name="tiny", ensemble=ensemble),
        data_dir=data_dir,
        executor=executor or InProcessExecutor(),
        **kwargs,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """In both formats, as for a reader with TensorFlow and one without."""
    made = builder(tmp_path_factory.mktemp("data"))
    made.download_and_prepare()
    made.download_and_prepare(file_format="array_record")
    return made


@pytest.fixture(scope="module")
def decoded(prepared):
    return [e for split in SPLITS for e in prepared.as_data_source(split)]


def test_examples_are_the_trajectories_bit_for_bit_and_in_order(decoded):
    expected = [
        (trajectory, number)
        for split in SPLITS
        for trajectory in (
            sample_trajectory(TINY, i) for i in TINY.trajectory_ids(split)
        )
        for number in range(3)
    ]
    assert len(decoded) == len(expected)
    for example, (trajectory, number) in zip(decoded, expected, strict=True):
        assert example["trajectory"] == trajectory.trajectory_id
        assert example["time"] == trajectory.times[number]
        for name in FIELDS:
            stored = getattr(trajectory, name)[number]
            assert example[name].dtype == np.float32
            assert example[name].tobytes() == stored.tobytes()


def test_scalars_keep_all_their_digits(decoded):
    for name, (dtype, _) in SCALARS.items():
        assert np.asarray(decoded[0][name]).dtype == dtype
    assert decoded[0]["beta"] == 0.1  # not the nearest float32
    assert decoded[0]["seed"] == 7
    assert decoded[0]["forcing_wavenumber"] == 4
    assert decoded[0]["filter_width"] == TINY.width


def test_an_inviscid_flow_has_infinite_reynolds_number(tmp_path):
    flow = replace(TINY.flow, reynolds=np.inf, forcing_wavenumber=None)
    made = builder(tmp_path, replace(TINY, flow=flow), file_format="array_record")
    made.download_and_prepare()
    example = next(iter(made.as_data_source("test")))
    assert example["reynolds"] == np.inf
    assert example["forcing_wavenumber"] == 0


def test_the_metadata_hold_the_hash_of_what_is_read_back(prepared, decoded):
    assert content_hash(decoded) == prepared.info.metadata["content_sha256"]
    written = json.loads((prepared.data_path / "statistics.json").read_text())
    assert written == dict(builder(prepared.data_dir_root).info.metadata)


def test_tensorflow_reads_the_same_content(prepared, decoded):
    datasets = tfds.load(
        "turbulence_data",
        split=SPLITS,
        data_dir=prepared.data_dir_root,
        builder_kwargs={"config": CONFIG},
    )
    read = [e for dataset in datasets for e in tfds.as_numpy(dataset)]
    assert content_hash(read) == content_hash(decoded)


def read_by_others(prepared):
    """A builder that knows the files only, as on a machine without this package."""
    return tfds.builder_from_directory(prepared.data_dir)


def test_builders_without_the_code_read_the_same_content(prepared, decoded):
    for read in (
        [
            e
            for s in SPLITS
            for e in tfds.as_numpy(read_by_others(prepared).as_dataset(split=s))
        ],
        [e for s in SPLITS for e in read_by_others(prepared).as_data_source(s)],
    ):
        assert content_hash(read) == content_hash(decoded)


def test_a_version_can_be_named(prepared, decoded):
    read = tfds.load("turbulence_data/tiny:1.0.0", data_dir=prepared.data_dir_root)
    assert content_hash(
        e for s in SPLITS for e in tfds.as_numpy(read[s])
    ) == content_hash(decoded)


def test_one_builder_reads_both_ways_in_any_order(prepared, decoded):
    for _ in range(2):
        assert len(list(prepared.as_dataset(split="train"))) == 6
        assert content_hash(prepared.as_data_source("train")) == content_hash(
            decoded[:6]
        )


def test_the_data_source_of_the_default_directory(prepared):
    # Here TFDS itself asks the builder for array_record.
    again = builder(prepared.data_dir_root, file_format="array_record")
    assert len(again.as_data_source("train")) == 6
    with pytest.raises(ValueError, match=r"tfrecord.*received 'riegeli'"):
        builder(prepared.data_dir_root, file_format="riegeli")


READERS = {
    "tfrecord": lambda b, split: tfds.as_numpy(b.as_dataset(split=split)),
    "array_record": lambda b, split: b.as_data_source(split),
}


@pytest.mark.parametrize("first", READERS)
def test_a_dataset_has_the_format_asked_for_and_another_when_asked(
    first, tmp_path, decoded
):
    (other,) = set(READERS) - {first}
    made = builder(tmp_path, file_format=first)
    made.download_and_prepare()
    assert made.file_formats == [first]
    assert not list(made.data_path.glob(f"*{other}*"))
    with pytest.raises(NotImplementedError, match=rf'file_format="{other}"'):
        READERS[other](made, "train")
    builder(tmp_path, executor=Forbidden(), file_format=other).download_and_prepare()
    for reader in (made, builder(tmp_path), read_by_others(made)):
        examples = [e for split in SPLITS for e in READERS[other](reader, split)]
        assert content_hash(examples) == content_hash(decoded)
    assert builder(tmp_path).file_formats == ["tfrecord", "array_record"]


OWN_FLOW_BY_NAME = """
import pickle, sys
import numpy as np, tensorflow_datasets as tfds
import turbulence_data

name = "turbulence_data/tiny"
sources = [
    tfds.data_source(name, split="train"),
    tfds.data_source(name, split="train", data_dir=sys.argv[1]),
    tfds.data_source(
        name, split="train", data_dir=sys.argv[1],
        builder_kwargs={"file_format": "array_record"},
    ),
    turbulence_data.Builder(config="tiny").as_data_source("train"),
]
assert [len(source) for source in sources] == [6] * 4
assert sources[0][5]["vorticity"].shape == (16, 24)
assert len(list(tfds.load(name, split="train"))) == 6
assert tfds.builder(name).info.metadata["config"]["seed"] == 7
again = pickle.loads(pickle.dumps(sources[0]))  # as for a worker of a DataLoader
assert np.array_equal(again[5]["vorticity"], sources[0][5]["vorticity"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", READERS)
def test_an_own_flow_is_read_by_its_name_in_a_new_process(first, tmp_path):
    made = builder(tmp_path, file_format=first)
    made.download_and_prepare()
    if first == "array_record":
        builder(tmp_path, file_format="tfrecord").download_and_prepare()
    done = subprocess.run(
        [sys.executable, "-c", OWN_FLOW_BY_NAME, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TFDS_DATA_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "custom data configuration" not in done.stderr
    assert "deprecated" not in done.stderr


def test_an_own_flow_that_is_not_there_is_unknown_by_its_name(tmp_path):
    with pytest.raises(ValueError, match=rf"'mine': there are no data.*{tmp_path}"):
        Builder(config="mine", data_dir=tmp_path)


def test_reading_as_a_data_source_needs_no_tensorflow(prepared):
    code = (
        "import sys, tensorflow_datasets as tfds\n"
        f"source = tfds.builder_from_directory({str(prepared.data_dir)!r})"
        ".as_data_source('train')\n"
        "assert source[5]['vorticity'].shape == (16, 24)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.slow
def test_two_processes_give_the_same_content(prepared, tmp_path):
    with process_pool(2) as pool:
        made = builder(tmp_path, executor=pool)
        made.download_and_prepare()
    for key in ("content_sha256", "fields", "spectra", "energy_history"):
        assert made.info.metadata[key] == prepared.info.metadata[key]


def test_parts_of_a_split_and_some_features_can_be_read(prepared, decoded):
    part = prepared.as_dataset(
        split="train[2:4]",
        decoders=tfds.decode.PartialDecoding({"vorticity": True}),
    )
    assert part.cardinality() == 2
    for example, expected in zip(tfds.as_numpy(part), decoded[2:4], strict=True):
        assert set(example) == {"vorticity"}
        np.testing.assert_array_equal(example["vorticity"], expected["vorticity"])


def test_supervised_pairs_are_inputs_and_output(prepared, decoded):
    pairs = prepared.as_dataset(split="validation", as_supervised=True)
    inputs, output = next(iter(tfds.as_numpy(pairs)))
    assert set(inputs) == {"streamfunction", "vorticity"}
    np.testing.assert_array_equal(output, decoded[6]["sgs_forcing"])


def test_shuffled_reading_holds_every_example(prepared, decoded):
    config = tfds.ReadConfig(shuffle_seed=1)
    shuffled = prepared.as_dataset(
        split="train", shuffle_files=True, read_config=config
    )
    times = [(e["trajectory"], e["time"]) for e in tfds.as_numpy(shuffled)]
    ordered = [(e["trajectory"], e["time"]) for e in decoded[:6]]
    assert times != ordered
    assert sorted(times) == ordered


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({}, True),
        ({"shuffle_reshuffle_each_iteration": False}, False),
        ({"assert_cardinality": False}, True),
    ],
    ids=["by default", "as asked", "unknown size"],
)
def test_examples_are_mixed_anew_in_every_epoch_unless_asked(
    prepared, options, differs
):
    config = tfds.ReadConfig(shuffle_seed=1, **options)
    shuffled = prepared.as_dataset(
        split="train", shuffle_files=True, read_config=config
    )

    def epoch():
        return [(e["trajectory"], e["time"]) for e in tfds.as_numpy(shuffled)]

    epochs = [epoch() for _ in range(4)]
    assert all(sorted(one) == sorted(epochs[0]) for one in epochs)
    assert (len({*map(tuple, epochs)}) > 1) == differs
    assert any(one != sorted(one) for one in epochs)


def test_more_than_memory_may_hold_is_mixed_in_part(prepared, decoded, monkeypatch):
    monkeypatch.setattr(
        _records,
        "_SHUFFLE_BYTES",
        2 * prepared.info.dataset_size // 12,
    )
    config = tfds.ReadConfig(shuffle_seed=1)
    shuffled = prepared.as_dataset(
        split="train", shuffle_files=True, read_config=config
    )
    times = [(e["trajectory"], e["time"]) for e in tfds.as_numpy(shuffled)]
    ordered = [(e["trajectory"], e["time"]) for e in decoded[:6]]
    assert times != ordered
    assert sorted(times) == ordered
    # With two examples held, the n-th to come is among the first n + 1 of the file.
    assert all(ordered.index(time) <= place + 1 for place, time in enumerate(times))


def test_no_bucket_of_a_split_larger_than_memory_becomes_large(
    tmp_path, prepared, monkeypatch
):
    # TFDS reads bucket by bucket; it keeps up to 1000 MiB of a split without any.
    held, read = [], shuffle._Bucket.read_values

    def counted(bucket):
        held.append(len(bucket))
        return read(bucket)

    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    monkeypatch.setattr(shuffle._Bucket, "read_values", counted)
    made = builder(tmp_path, file_format="array_record")
    made.download_and_prepare()
    assert sum(held) == 12
    assert max(held) == 1
    for split in SPLITS:
        first, second = (b.as_data_source(split) for b in (made, prepared))
        for one, other in zip(first, second, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in other)


def test_examples_can_carry_their_id(prepared):
    config = tfds.ReadConfig(add_tfds_id=True)
    dataset = prepared.as_dataset(split="test", read_config=config)
    ids = [example["tfds_id"].decode() for example in tfds.as_numpy(dataset)]
    assert [name.split("__")[1] for name in ids] == ["0", "1", "2"]


def test_extra_fields_are_features(tmp_path):
    ensemble = replace(TINY, extra_fields=("velocity", "tau", "sigma"))
    made = builder(tmp_path, ensemble, file_format="array_record")
    made.download_and_prepare()
    (example, *_) = made.as_data_source("test")
    (number,) = TINY.trajectory_ids("test")
    expected = sample_trajectory(made.ensemble, number).extra_fields
    for name, channels in PLANE.extra_fields.items():
        assert made.info.features[name].shape == (16, 24, channels)
        assert example[name].tobytes() == expected[name][0].tobytes()
        assert made.info.metadata["fields"][name]["std"] > 0.0


def test_the_normalization_is_that_of_the_train_split(prepared):
    normalization = Normalization.from_metadata(prepared.info.metadata)
    x, y = to_arrays(prepared.as_data_source("train"), normalization)
    for channel in (x[..., 0], x[..., 1], y):
        assert channel.mean(dtype=float) == pytest.approx(0, abs=1e-6)  # float32
        assert channel.std(dtype=float) == pytest.approx(1, abs=1e-6)


class Forbidden(Executor):
    def submit(self, fn, /, *args, **kwargs):
        raise RuntimeError("nothing should be simulated")


def test_data_that_are_there_are_not_made_again(prepared):
    again = builder(prepared.data_dir_root, executor=Forbidden())
    again.download_and_prepare()
    assert len(again.as_data_source("train")) == 6


def test_each_trajectory_is_read_once_while_the_dataset_is_written(
    tmp_path, monkeypatch, capsys
):
    read, load = [], TrajectoryStore.load

    def counted(store, number):
        trajectory = load(store, number)
        read.append(number)
        return trajectory

    monkeypatch.setattr(TrajectoryStore, "load", counted)
    builder(tmp_path).download_and_prepare()
    assert read == [0, 1, 100_000, 200_000]
    told = capsys.readouterr().out
    assert "nothing is downloaded, some 0 MB are written" in told
    assert "Unknown size" not in told


class DiesAfter(InProcessExecutor):
    """Runs a few calls, then behaves as a process that is killed."""

    def __init__(self, calls):
        self.calls = calls

    def submit(self, fn, /, *args, **kwargs):
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        return super().submit(fn, *args, **kwargs)


def test_an_interrupted_generation_goes_on_where_it_was(prepared, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        builder(tmp_path, executor=DiesAfter(3)).download_and_prepare()
    assert not builder(tmp_path).is_prepared()
    # What a kill leaves behind, beside the finished trajectories.
    leftover = tmp_path / "turbulence_data" / "tiny" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    made = builder(tmp_path, executor=DiesAfter(1))  # one is left to do
    made.download_and_prepare()
    assert (
        made.info.metadata["content_sha256"]
        == (prepared.info.metadata["content_sha256"])
    )
    kept = {path.name for path in (tmp_path / "turbulence_data").iterdir()}
    assert kept == {"tiny", ".config"}
    assert not leftover.exists()


def test_a_complete_dataset_leaves_nothing_of_abandoned_configs(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        other = replace(TINY, seed=8)
        builder(tmp_path, other, executor=DiesAfter(1)).download_and_prepare()
    folder = tmp_path / "turbulence_data" / "tiny"
    assert list(folder.glob(".trajectories-*"))
    builder(tmp_path).download_and_prepare()
    assert not list(folder.glob(".trajectories-*"))


def test_a_flow_that_blows_up_leaves_no_dataset(tmp_path):
    unstable = replace(TINY, time_step=1.0, spin_up=2.0, interval=1.0)
    with pytest.raises(TrajectoryFailedError, match=r"trajectory 0 .*CFL"):
        builder(tmp_path, unstable).download_and_prepare()
    assert not builder(tmp_path, unstable).is_prepared()
    assert not list(tmp_path.glob("**/dataset_info.json"))
    assert not list(tmp_path.glob("**/*.npz"))


def test_an_unknown_config_lists_the_names(tmp_path):
    with pytest.raises(ValueError, match=r"'no_flow'.*mini_forced_re2e3_kf16"):
        tfds.load("turbulence_data/no_flow", data_dir=tmp_path)
    with pytest.raises(TypeError, match="received 3"):
        Builder(config=3, data_dir=tmp_path)
    with pytest.raises(TypeError, match="EnsembleConfig; received 'tiny'"):
        TurbulenceConfig(name="x", ensemble="tiny")


def test_a_name_cannot_stand_for_two_ensembles(prepared):
    with pytest.raises(ValueError, match=r"another ensemble .*seed=8"):
        builder(prepared.data_dir_root, replace(TINY, seed=8))


def test_data_that_appear_after_the_builder_was_made_are_found_and_checked(tmp_path):
    early = builder(tmp_path, executor=Forbidden())
    other = builder(tmp_path, replace(TINY, seed=8), executor=Forbidden())
    made = builder(tmp_path)
    made.download_and_prepare()
    early.download_and_prepare()
    assert dict(early.info.metadata) == dict(made.info.metadata)
    assert len(list(early.as_dataset(split="train"))) == 6
    with pytest.raises(ValueError, match=r"another ensemble .*seed=8"):
        other.download_and_prepare()


@pytest.mark.parametrize("name", sorted(turbulence_data.NAMED_FLOWS))
def test_every_named_flow_has_a_builder(name, tmp_path):
    named = tfds.builder(f"turbulence_data/{name}", data_dir=tmp_path)
    assert named.ensemble == turbulence_data.named_flow(name)
    # Flows of two layers have a feature a layer.
    shapes = [
        feature.shape
        for key, feature in named.info.features.items()
        if "sgs_forcing" in key
    ]
    assert shapes
    assert set(shapes) == {named.ensemble.les_shape}


def test_the_default_flow_is_one_a_laptop_can_make(tmp_path):
    assert Builder(data_dir=tmp_path).builder_config.name.startswith("mini_")


def test_changed_metadata_are_noticed(prepared, tmp_path):
    copy = tmp_path / "turbulence_data" / "tiny" / "1.0.0"
    shutil.copytree(prepared.data_path, copy)
    builder(tmp_path)
    path = copy / "metadata.json"
    text = path.read_text()
    place = text.index('"std"')
    digit = next(i for i in range(place, len(text)) if text[i].isdigit())
    path.write_text(text[:digit] + str(9 - int(text[digit])) + text[digit + 1 :])
    with pytest.raises(DamagedFileError, match=r"metadata .* checksum does not match"):
        builder(tmp_path)
