"""Wrong files, networks and usage: one line on stderr, and exit code 2."""

import json
import sys

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.__main__ import main
from tests.keras_spectral_tl.common import one_line

pytestmark = pytest.mark.once


WRONG_FORECASTS = {
    "no such array": (["--groups", "number"], "has no array 'number'"),
    "no label a sample": (["--groups", "x"], "one label for each of the 6 samples"),
    "one group": (["--groups", "trajectory", "--num-samples", "1"], "two or more"),
    "nothing to keep": (["--keep", "0.5"], "--keep needs --base DATA."),
}


@pytest.mark.parametrize(
    ("options", "part"), WRONG_FORECASTS.values(), ids=list(WRONG_FORECASTS)
)
def test_a_forecast_that_cannot_be_made_is_refused(files, options, part, capsys):
    target = ["--target", files / "target.npz", *options]
    assert part in one_line(capsys, "forecast", files / "base.keras", *target)


WRONG_LABELS = {
    "unlabelled": np.array([0, 0, 1, 1, np.nan, 2]),
    "few_labels": np.zeros(5),
    "paths": np.zeros((6, 2)),
    "one_label": np.array(4.0),
}


@pytest.fixture(scope="module")
def damaged(files):
    """Files that are not what they should be."""
    with np.load(files / "target.npz") as file:
        x, y = file["x"], file["y"]
    gap = x.copy()
    gap[1, 2, 3, 0] = np.nan
    wrong = {
        "no_y": {"x": x},
        "gap": {"x": gap, "y": y},
        "channels": {"x": x[..., :1], "y": y},
        "flat": {"x": x, "y": y[..., 0]},
        "short": {"x": x, "y": y[:2]},
        "constant": {"x": 0 * x, "y": y},
        "objects": {"x": np.array([object()] * 6), "y": y},
    }
    wrong["short_split"] = {"x": x, "y": y, "split": ["train"] * 3}
    (files / "pointer.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    for name, labels in WRONG_LABELS.items():
        wrong[name] = {"x": x, "y": y, "trajectory": labels}
    for name, arrays in wrong.items():
        np.savez(files / f"{name}.npz", **arrays)
    for name in ("base.keras", "target.npz"):
        whole = (files / name).read_bytes()
        (files / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        (files / f"flipped_{name}").write_bytes(flipped)
    (files / "text.keras").write_text("hello")
    for name in ("data.csv", "data.nc"):
        (files / name).write_text("1,2")
    diverged = keras.models.load_model(files / "base.keras")
    diverged.layers[-1].set_weights(
        [np.nan * w for w in diverged.layers[-1].get_weights()]
    )
    diverged.save(files / "diverged.keras")
    dangerous = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Lambda(abs)])
    dangerous.save(files / "lambda.keras")
    return files


WRONG_DATA = {
    "missing.npz": "write it with numpy.savez('missing.npz', x=inputs, y=outputs)",
    "no_y.npz": "lacks the array(s) y",
    "gap.npz": "gap.npz has 1 NaN or infinite values, the first in sample 1",
    "channels.npz": "takes samples of shape (8, 8, 2)",
    "flat.npz": "np.asarray(y)[..., None]",
    "short.npz": "one length",
    "constant.npz": "standard deviation positive",
    "objects.npz": "array of Python objects",
    "unlabelled.npz": "Received nan for 1 of them, first at row 4",
    "few_labels.npz": "one label for each of the 6 samples",
    "paths.npz": "an array of shape (6, 2): give each the label",
    "one_label.npz": "an array of shape ()",
    "pointer.npz": "begins with b'version https://git-lfs",
    "short_split.npz@train": "split of each of the 6 samples. Received an array of sh",
    "cut_target.npz": "not a whole npz file",
    "flipped_target.npz": "not a whole npz file",
    "missing.zarr": "write it with turbulence-data export FLOW missing.zarr",
    "target.npz@train": "no split 'train'; it has none: leave @train out, or add an a",
    "missing.nc": "There is no file ",
    "data.csv": "NAME/CONFIG",
    "data.nc": "ds.assign_attrs(inputs='q u v', outputs='pr').to_zarr('data.zarr')",
    "base.keras": "NAME/CONFIG",
}
WRONG_MODELS = {
    "missing.keras": "no file",
    "cut_base.keras": "not a whole .keras file",
    "flipped_base.keras": "flipped_base.keras",
    "text.keras": "not a whole .keras file",
    "data.csv": "must be a .keras file",
    "lambda.keras": "safe mode",
    "diverged.keras": "NaN or infinite weights in conv_2",
}


@pytest.mark.parametrize(("name", "part"), WRONG_DATA.items(), ids=list(WRONG_DATA))
def test_wrong_data_are_one_line_and_exit_code_2(damaged, name, part, capsys):
    arguments = ["--base", damaged / "base.npz", "--target", damaged / name]
    line = one_line(capsys, "score", damaged / "base.keras", *arguments)
    assert part in line


@pytest.mark.parametrize("labels", WRONG_LABELS.values(), ids=list(WRONG_LABELS))
def test_wrong_labels_in_a_zarr_file_are_refused_too(files, labels, tmp_path):
    zarr = pytest.importorskip("zarr")
    from keras_spectral_tl.cli._samples import read_samples

    with np.load(files / "target.npz") as file:
        arrays = dict(file) | {"trajectory": labels}
    group = zarr.open_group(tmp_path / "labels.zarr", mode="w")
    for name, values in arrays.items():
        group.create_array(name, data=values)
    with pytest.raises(ValueError, match=r"labels.zarr must be one label for each"):
        read_samples(str(tmp_path / "labels.zarr"))


def test_a_zarr_file_that_is_damaged_or_of_unequal_fields_is_named(files, tmp_path):
    zarr = pytest.importorskip("zarr")
    from keras_spectral_tl.cli._samples import read_samples

    group = zarr.open_group(tmp_path / "fields.zarr", mode="w")
    group.attrs.update(inputs="u v", outputs="w")
    for name, count in (("u", 2), ("v", 3), ("w", 2)):
        group.create_array(name, data=np.ones((1, count, 8, 8)))
    with pytest.raises(
        ValueError, match=r"fields.zarr must have one shape.*'v': \(1, 3"
    ):
        read_samples(str(tmp_path / "fields.zarr"))
    chunks = [p for p in (tmp_path / "fields.zarr" / "u").rglob("*") if p.is_file()]
    for path in chunks:
        if "zarr" not in path.name and not path.name.startswith("."):
            path.write_bytes(path.read_bytes()[:4])
    with pytest.raises(ValueError, match=r"u of .*fields.zarr cannot be read"):
        read_samples(str(tmp_path / "fields.zarr"))


@pytest.mark.parametrize(("name", "part"), WRONG_MODELS.items(), ids=list(WRONG_MODELS))
def test_wrong_networks_are_one_line_and_exit_code_2(damaged, name, part, capsys):
    assert part in one_line(capsys, "spectra", damaged / name)


def test_code_in_a_model_file_is_not_run(damaged, monkeypatch, capsys):
    """A Lambda layer holds marshalled code; loading the file must not reach it."""
    monkeypatch.setattr("marshal.loads", lambda *_: pytest.fail("code was loaded"))
    one_line(capsys, "spectra", damaged / "lambda.keras")


def test_folders_are_refused_before_any_work(files, capsys):
    data = ["--base", "none.npz", "--target", "none.npz"]
    out = ["--out", "/dev/null/run"]
    line = one_line(capsys, "score", files / "base.keras", *data, *out)
    assert "Nothing can be written to --out" in line
    assert "no folder" in one_line(capsys, "report", files / "none")


FORECAST = ["forecast", "m.keras", "--target", "b"]
SCORE = ["score", "m.keras", "--base", "a", "--target", "b"]
WRONG_USAGE = {
    "no command": [],
    "unknown command": ["train"],
    "no samples": [*SCORE, "--num-samples", "0"],
    "negative seed": [*SCORE, "--seed", "-1"],
    "no layers": [*SCORE, "--max-layers", "0"],
    "no epochs": ["retrain", "m.keras", "--target", "b", "--out", "c", "--epochs", "0"],
    "no share": [*FORECAST, "--keep", "2"],
    "steps and epochs": [*FORECAST, "--steps", "1", "--epochs", "1"],
    "no number": ["spectra", "m.keras", "--num-points", "many"],
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=list(WRONG_USAGE))
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


def test_the_old_spelling_is_refused_with_the_new_one(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["spectra", "m.keras", "--normalise", "none"])
    assert "--normalise is now spelled --normalize" in capsys.readouterr().err


def test_base_statistics_need_base_samples(files, capsys):
    target = ["--target", files / "target.npz", "--out", files / "none"]
    arguments = [files / "base.keras", *target, "--layers", "conv_1"]
    line = one_line(capsys, "retrain", *arguments, "--normalize", "base")
    assert "add --base" in line


def test_target_and_test_may_not_share_samples(files, tmp_path, capsys):
    with np.load(files / "target.npz") as one, np.load(files / "test.npz") as other:
        mixed = {side: np.concatenate([other[side], one[side][:2]]) for side in "xy"}
    np.savez(tmp_path / "mixed.npz", **mixed)
    data = ["--target", files / "target.npz", "--test", tmp_path / "mixed.npz"]
    how = ["--layers", "conv_1", "--out", tmp_path / "run"]
    line = one_line(capsys, "retrain", files / "base.keras", *data, *how)
    assert "share 2 samples" in line


def test_shared_samples_are_found_in_any_type_of_numbers(files, tmp_path, capsys):
    """In float64, also of the other byte order, and in arrays of Fortran's order."""
    with np.load(files / "target.npz") as file:
        known = {side: file[side] for side in "xy"}
    double = {side: array.astype(">f8") for side, array in known.items()}
    fortran = {side: np.asfortranarray(array) for side, array in known.items()}
    for number, arrays in enumerate((double, fortran)):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **arrays)
        data = ["--target", files / "target.npz", "--test", path]
        how = ["--layers", "conv_1", "--out", tmp_path / "run"]
        line = one_line(capsys, "retrain", files / "base.keras", *data, *how)
        assert "share 6 samples" in line


def test_numbers_below_those_of_float32_are_not_mistaken_for_equal():
    one, other = (1e-60 * np.arange(1.0, 5.0) for _ in "ab")
    samples = kst.transfer.Samples.of((one, one))
    assert samples.shared_with(kst.transfer.Samples.of((other, other))) == 4
    assert samples.shared_with(kst.transfer.Samples.of((7 * one, one))) == 0


def test_targets_of_one_folder_are_compared_by_content_or_by_name(tmp_path):
    """By name where their numbers differ, and in records that have no SHA-256."""
    from keras_spectral_tl.cli._folder import keep, refuse_other_samples

    def record(name, number, digest):
        known = {"target": {"number": number, "sha256": digest}}
        return {"target": name, "samples": known}

    keep(tmp_path, "forecast", {}, record("a.npz", 4, "0" * 64))
    for same in (record("./a.npz", 4, "0" * 64), record("a.npz", 8, "1" * 64)):
        refuse_other_samples(tmp_path, "retrain", same)
    refuse_other_samples(tmp_path, "forecast", record("b.npz", 8, "1" * 64))  # anew
    for other in (record("a.npz", 4, "1" * 64), {"target": "b.npz"}):
        with pytest.raises(ValueError, match="forecast gave with another target"):
            refuse_other_samples(tmp_path, "retrain", other)


def test_a_module_that_fails_is_named(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "failing_module.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    command = ["spectra", files / "base.keras", "--import", "failing_module"]
    line = one_line(capsys, *command)
    assert "--import failing_module failed (ZeroDivisionError" in line


DAMAGED = {
    "another": (b'{"a": 1}', " lacks ", "received a"),
    "no JSON": (b"{", " is not a JSON file", "property name"),
    "no text": (b"\xff{", " is not a JSON file", "decode"),
    "a list": (b"[1]", " must hold a JSON object", "received list"),
}
_RECORDS = ("forecast", "scores", "sweep", "retrained/retraining")


@pytest.mark.parametrize("name", _RECORDS)
@pytest.mark.parametrize("content", DAMAGED.values(), ids=list(DAMAGED))
def test_a_file_that_is_no_record_is_named_and_how_to_mend_it(
    files, content, name, tmp_path, capsys
):
    text, *parts = content
    path = tmp_path / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    data = ["--target", files / "target.npz", "--out", tmp_path]
    lines = [one_line(capsys, "report", tmp_path)]
    if name in ("forecast", "scores"):
        lines.append(one_line(capsys, "retrain", files / "base.keras", *data))
    for line in lines:
        assert all(part in line for part in (str(path), *parts, "Write it anew"))


def test_a_record_that_is_read_in_passing_is_named_too(files, tmp_path, capsys):
    (tmp_path / "provenance.json").write_bytes(b"\xff")
    data = ["--target", files / "target.npz", "--out", tmp_path]
    line = one_line(capsys, "retrain", files / "base.keras", *data)
    assert "provenance.json is not a JSON file" in line
    (tmp_path / "provenance.json").write_text('{"score": "x"}')
    line = one_line(capsys, "retrain", files / "base.keras", *data)
    assert "provenance.json is damaged, or of another version" in line
    (tmp_path / "provenance.json").unlink()
    (tmp_path / "systems.json").write_text('{"base": 1}')
    assert "systems.json lacks source" in one_line(capsys, "report", tmp_path)


def test_figures_on_different_samples_are_kept_apart(files, tmp_path, capsys):
    options = ["--layers", "conv_1", "--epochs", "1", "--out", tmp_path / "run"]
    first = [files / "base.keras", "--target", files / "target.npz", *options]
    assert main([str(part) for part in ("retrain", *first)]) == 0
    assert main([str(part) for part in ("retrain", *first)]) == 0  # the same again
    before = (tmp_path / "run" / "provenance.json").read_bytes()
    samples = json.loads(before)["retrain"]["samples"]["target"]
    assert samples["number"] == 6 and len(samples["sha256"]) == 64
    capsys.readouterr()
    other = [files / "base.keras", "--target", files / "base.npz", *options]
    line = one_line(capsys, "retrain", *other)
    assert "another target" in line
    line = one_line(capsys, "retrain", *first, "--normalize", "none")
    assert "another normalization" in line
    other = [files / "base.keras", "--target", files / "base.npz", *options[-2:]]
    for command in (["forecast"], ["score", "--base", files / "test.npz"]):
        line = one_line(capsys, *command, *other)
        assert "holds what retrain gave with another target" in line
        assert "base.npz' (6 samples, SHA-256" in line
    assert (tmp_path / "run" / "provenance.json").read_bytes() == before
