"""`python -m turbulence_data`: what is printed, written and answered."""

import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

from turbulence_data import NAMED_FLOWS, Builder, TurbulenceConfig, few_shot, to_arrays
from turbulence_data.__main__ import main, parser
from turbulence_data.generation import InProcessExecutor

FLOW = "tiny_forced_re2e2_kf4"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(data_dir):
    arguments = ["generate", FLOW, "--data-dir", data_dir, "--processes", "1"]
    assert main(arguments) == 0
    assert main([*arguments, "--file-format", "array_record"]) == 0
    return Builder(config=FLOW, data_dir=data_dir)


def printed(capsys, *arguments):
    """The exit code and the JSON document on stdout."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_list_shows_every_flow_and_imports_no_tensorflow():
    script = (
        "import sys; from turbulence_data.__main__ import main; main(['list']);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert [name for name in NAMED_FLOWS if f"{name} " not in done.stdout] == []


def test_the_listed_size_is_that_on_disk(made, capsys):
    _, rows = printed(capsys, "list")
    (row,) = [row for row in rows if row["flow"] == FLOW]
    # 3 fields of 32 x 32 float32 in 6 x 8 snapshots.
    assert row["megabytes"] == pytest.approx(3 * 32 * 32 * 4 * 48 / 1e6, abs=0.05)
    files = Path(made.data_dir).rglob("*tfrecord*")
    size = sum(path.stat().st_size for path in files if path.is_file())
    assert 1.0 < size / 1e6 / row["megabytes"] < 1.3


def test_info_tells_what_the_metadata_tell(made, data_dir, capsys):
    code, document = printed(capsys, "info", FLOW, "--data-dir", data_dir, "--check")
    assert code == 0
    assert document["is_unchanged"]
    assert document["examples"] == {"train": 32, "validation": 8, "test": 8}
    assert document["statistics"] == dict(made.info.metadata)
    assert main(["info", f"turbulence_data/{FLOW}", "--data-dir", data_dir]) == 0
    assert made.info.metadata["content_sha256"] in capsys.readouterr().out


def test_other_content_than_was_made_is_told(made, data_dir, capsys, monkeypatch):
    monkeypatch.setattr("turbulence_data.__main__.content_hash", lambda _: "other")
    assert main(["info", FLOW, "--data-dir", data_dir, "--check"]) == 1
    assert "NOT WHAT WAS MADE" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_records_are_told(made, data_dir, kind, damage, tmp_path, capsys):
    place = Path(made.data_dir).relative_to(data_dir)
    shutil.copytree(made.data_dir, tmp_path / place)
    (file,) = tmp_path.rglob(f"*train*{kind}*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    assert main(["info", FLOW, "--data-dir", str(tmp_path), "--check"]) == 1
    told = capsys.readouterr().out
    assert re.search(rf"content read: (CANNOT|NOT).*\({kind}\)", told)


def test_a_fault_of_the_program_is_not_the_users(monkeypatch, capsys):
    def broken(self, options):
        raise AssertionError("a fault")

    monkeypatch.setattr("turbulence_data.__main__.List.run", broken)
    assert main(["list"]) == 3
    assert "AssertionError: a fault" in capsys.readouterr().err


def test_whoever_has_read_enough_sees_no_error():
    command = f"{sys.executable} -m turbulence_data list --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["info", "export"])
def test_data_that_are_not_there_are_exit_code_1(command, tmp_path, capsys):
    more = [str(tmp_path / "x.npz")] if command == "export" else []
    code = main([command, FLOW, *more, "--data-dir", str(tmp_path / "none")])
    assert code == 1
    assert f"generate {FLOW}" in capsys.readouterr().out


def test_npz_holds_the_arrays_that_a_network_takes(made, data_dir, tmp_path, capsys):
    path = tmp_path / "some.npz"
    splits = ["test", "validation"]
    arguments = [FLOW, str(path), "--data-dir", data_dir, "--mix-splits", *splits]
    code, document = printed(capsys, "export", *arguments)
    assert code == 0
    assert document["bytes"] == path.stat().st_size
    pairs = [to_arrays(made.as_data_source(split)) for split in splits]
    with np.load(path) as file:
        for name, parts in zip("xy", zip(*pairs, strict=True), strict=True):
            np.testing.assert_array_equal(file[name], np.concatenate(parts))
        assert file["split"].tolist() == ["test"] * 8 + ["validation"] * 8
        assert json.loads(str(file["metadata"]))["pi_convention"] == "rhs_add"


def test_one_split_is_exported_and_training_samples_stay_apart(
    made, data_dir, tmp_path, capsys
):
    held = {}
    for split in ("train", "validation"):
        path = tmp_path / f"{split}.npz"
        chosen = [] if split == "train" else ["--split", split]
        arguments = [FLOW, str(path), "--data-dir", data_dir, *chosen]
        assert printed(capsys, "export", *arguments)[1]["splits"] == [split]
        with np.load(path) as file:
            held[split] = set(file["trajectory"].tolist())
            assert set(file["split"].tolist()) == {split}
            assert json.loads(str(file["metadata"]))["outputs"] == "sgs_forcing"
    assert held == {"train": {0, 1, 2, 3}, "validation": {100_000}}


@pytest.fixture(scope="module")
def own(made, data_dir):
    """An own flow on disk, known by its name alone."""
    ensemble = replace(
        made.ensemble, num_trajectories=(1, 1, 1), num_snapshots=2, spin_up=0.1
    )
    config = TurbulenceConfig(name="mine", ensemble=ensemble)
    builder = Builder(config=config, data_dir=data_dir, executor=InProcessExecutor())
    builder.download_and_prepare()
    return builder


def test_an_own_flow_is_known_by_its_name(own, data_dir, tmp_path, capsys):
    code, document = printed(capsys, "info", "mine", "--data-dir", data_dir, "--check")
    assert code == 0
    assert document["is_unchanged"]
    assert document["examples"] == {"train": 2, "validation": 1 * 2, "test": 2}
    path = tmp_path / "mine.npz"
    arguments = ["mine", str(path), "--data-dir", data_dir]
    assert printed(capsys, "export", *arguments)[0] == 0
    with np.load(path) as file:
        np.testing.assert_array_equal(file["y"], to_arrays(own.read("train"))[1])
    assert main(["info", "mien", "--data-dir", data_dir]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'mine'?" in error
    assert f"own flows in {data_dir}/turbulence_data: ['mine']" in error


@pytest.mark.parametrize("ending", [".zarr", ".nc"])
def test_xarray_reads_what_is_exported(made, data_dir, tmp_path, ending):
    path = tmp_path / f"all{ending}"
    arguments = ["--mix-splits", "train", "validation", "test", "--features"]
    arguments += ["streamfunction", "sgs_forcing"]
    assert main(["export", FLOW, str(path), "--data-dir", data_dir, *arguments]) == 0
    engine = {"engine": "h5netcdf"} if ending == ".nc" else {"consolidated": False}
    with xarray.open_dataset(path, **engine) as dataset:
        assert dataset.sizes["trajectory"] == 6
        assert "vorticity" not in dataset
        assert dataset.attrs["inputs"].split() == ["streamfunction", "vorticity"]
        assert dataset.attrs["outputs"].split() == ["sgs_forcing"]


WRONG = {
    "unknown flow": (["generate", "tiny_forced_re2e2_kf5"], "Did you mean"),
    "no processes": (["generate", FLOW, "--processes", "0"], "at least 1"),
    "unknown ending": (["export", FLOW, "data.csv"], ".zarr, .nc, .npz"),
    "unwritable": (["generate", FLOW, "--data-dir", "/dev/null/data"], "/dev/null"),
}


@pytest.mark.parametrize(("arguments", "part"), WRONG.values(), ids=list(WRONG))
def test_wrong_input_is_one_line_and_exit_code_2(arguments, part, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()[-1:]
    assert line.startswith("error: ")
    assert part in line
    assert "Traceback" not in captured.err


def test_an_npz_file_needs_the_features_of_x_and_y(made, data_dir, tmp_path, capsys):
    path = tmp_path / "some.npz"
    arguments = ["export", FLOW, str(path), "--data-dir", data_dir, "--features"]
    assert main([*arguments, "sgs_forcing"]) == 2
    error = capsys.readouterr().err
    assert "must name all of streamfunction vorticity sgs_forcing" in error
    assert "Writing" not in error and not path.exists()
    assert main([*arguments, "vorticity", "streamfunction", "sgs_forcing"]) == 0
    with np.load(path) as file:
        assert file["x"].shape[-1] == 2


def test_an_existing_file_is_kept(made, data_dir, tmp_path, capsys):
    path = tmp_path / "data.npz"
    path.write_text("mine")
    assert main(["export", FLOW, str(path), "--data-dir", data_dir]) == 2
    assert path.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


def test_the_example_of_every_command_is_one(capsys):
    for command in ("list", "generate", "info", "export"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        example = capsys.readouterr().out.split("example:\n")[1].split()
        parser().parse_args(example[3:])


def test_one_split_or_a_mix_is_exported_not_both(tmp_path, capsys):
    both = ["--split", "test", "--mix-splits", "train", "test"]
    with pytest.raises(SystemExit, match="2"):
        main(["export", FLOW, str(tmp_path / "x.npz"), *both])
    assert "--mix-splits: not allowed with argument --split" in capsys.readouterr().err


def test_readers_of_the_builder_find_its_few_shot_order(made):
    examples = list(made.as_data_source("train"))
    times = [
        [e["time"] for e in pick(examples, 5)] for pick in (made.few_shot, few_shot)
    ]
    assert times[0] == times[1]


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    version = importlib.metadata.version("keras-spectral-tl")
    assert capsys.readouterr().out.split() == ["turbulence-data", version]


def test_missing_data_are_to_be_made_where_they_are_missing(tmp_path, capsys):
    place = tmp_path / "my data"
    assert main(["info", FLOW, "--data-dir", str(place)]) == 1
    shown = capsys.readouterr()
    command = (shown.out + shown.err).split("python -m turbulence_data ")[1]
    words = shlex.split(command.splitlines()[0])
    options = parser().parse_args(words)
    assert Path(options.data_dir) == place
