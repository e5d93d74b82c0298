"""`python -m keras_spectral_tl`: on files, with right and with wrong input."""

import io
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.commands import main, parser
from keras_spectral_tl.reporting import Study


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small network and samples of two systems."""
    folder = tmp_path_factory.mktemp("files")
    keras.utils.set_random_seed(0)
    model = kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
    model.save(folder / "base.keras")
    rng = np.random.default_rng(0)
    for name, scale in (("base", 1.0), ("target", 3.0), ("test", 3.0)):
        x = scale * rng.normal(size=(6, 8, 8, 2)).astype("float32")
        np.savez(folder / f"{name}.npz", x=x, y=np.roll(x[..., :1], 1, axis=1))
    return folder


@pytest.fixture(scope="module")
def run_dir(files):
    """What score and retrain leave behind."""
    out = files / "run"
    data = ["--target", str(files / "target.npz"), "--out", str(out)]
    data += ["--base", str(files / "base.npz")]
    model = str(files / "base.keras")
    assert main(["score", model, *data, "--max-layers", "2"]) in (0, 1)
    test = ["--test", str(files / "test.npz"), "--layers", "conv_2", "--sweep"]
    assert main(["retrain", model, *data, *test, "--epochs", "1"]) == 0
    return out


def test_help_imports_no_keras():
    script = (
        "import sys; from keras_spectral_tl.commands import main\n"
        "try: main(['retrain', '--help'])\n"
        "except SystemExit: print([m for m in ('keras', 'tensorflow', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_example_of_every_command_is_one(capsys):
    for command in ("score", "retrain", "spectra", "report"):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        example = capsys.readouterr().out.split("example:\n")[1].split()
        parser().parse_args(example[3:])


def test_scores_are_those_of_the_function(files, run_dir):
    with np.load(files / "base.npz") as base, np.load(files / "target.npz") as target:
        pairs = [
            kst.transfer.ChannelStatistics.of((f["x"], f["y"])).normalize(
                f["x"], f["y"]
            )
            for f in (base, target)
        ]
    model = keras.models.load_model(files / "base.keras")
    scores = kst.score_layers(model, *pairs, max_layers=2)
    found = json.loads((run_dir / "scores.json").read_text())
    assert found["ranking"] == list(scores.ranking)
    for name, values in scores.scores.items():
        assert found["scores"][name] == pytest.approx(values, rel=1e-5)
    assert found["recommended"] == list(scores.recommended)
    together = found["together"]["values"]
    assert together == pytest.approx(scores.together.values, rel=1e-5)


def test_the_retrained_network_differs_in_one_layer(files, run_dir):
    networks = (
        keras.models.load_model(files / "base.keras"),
        kst.transfer.load_retrained(run_dir / "retrained"),
    )
    before, after = map(kst.layer_hashes, networks)
    assert [name for name in before if before[name] != after[name]] == ["conv_2"]


def test_what_is_left_behind_is_a_whole_study(run_dir, capsys):
    study = Study.read(run_dir)
    assert study.missing == ("a_posteriori",)
    assert [row["layer"] for row in study.sweep["rows"]] == ["conv_1", "conv_2"]
    assert {row["network"] for row in study.a_priori} == {"base", "conv_2 retrained"}
    assert set(study.provenance) == {"score", "retrain"}
    pytest.importorskip("jinja2")
    assert main(["report", str(run_dir), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["missing"] == ["a_posteriori"]
    assert document["bytes"] == (run_dir / "report.html").stat().st_size


def test_spectra_are_those_of_the_function(files, capsys):
    assert main(["spectra", str(files / "base.keras"), "--json"]) == 0
    (curves,) = json.loads(capsys.readouterr().out)["kernels"]["conv_1"].values()
    model = keras.models.load_model(files / "base.keras")
    expected = kst.kernel_spectra(model, 8).layers["conv_1"].mean_profile
    np.testing.assert_allclose(curves, expected)
    data = ["--data", str(files / "target.npz"), "--num-samples", "2"]
    assert main(["spectra", str(files / "base.keras"), *data]) == 0
    assert "activations" in capsys.readouterr().out


def test_zarr_files_are_read_as_npz_files(files):
    zarr = pytest.importorskip("zarr")
    from keras_spectral_tl.commands.samples import read_samples

    with np.load(files / "target.npz") as file:
        group = zarr.open_group(files / "target.zarr", mode="w")
        for name in "xy":
            group.create_array(name, data=file[name])
    found = [read_samples(str(files / f"target.{end}")) for end in ("npz", "zarr")]
    assert found[0].data.fingerprint() == found[1].data.fingerprint()
    few = read_samples(str(files / "target.npz"), num_samples=3).data
    np.testing.assert_array_equal(few.y, found[0].data.y[[0, 2, 5]])


def test_no_recommendation_is_exit_code_1(files, capsys):
    """One sample cannot tell how samples differ."""
    out = files / "abstained"
    data = ["--target", str(files / "target.npz"), "--out", str(out)]
    one = ["--base", str(files / "base.npz"), "--num-samples", "1"]
    model = str(files / "base.keras")
    assert main(["score", model, *data, *one]) == 1
    assert "add samples" in capsys.readouterr().out
    assert main(["retrain", model, *data]) == 1
    assert not (out / "retrained").exists()


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
    for name, arrays in wrong.items():
        np.savez(files / f"{name}.npz", **arrays)
    for name in ("base.keras", "target.npz"):
        whole = (files / name).read_bytes()
        (files / f"cut_{name}").write_bytes(whole[: len(whole) // 2])
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        (files / f"flipped_{name}").write_bytes(flipped)
    (files / "text.keras").write_text("hello")
    (files / "data.csv").write_text("1,2")
    diverged = keras.models.load_model(files / "base.keras")
    diverged.layers[-1].set_weights(
        [np.nan * w for w in diverged.layers[-1].get_weights()]
    )
    diverged.save(files / "diverged.keras")
    dangerous = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Lambda(abs)])
    dangerous.save(files / "lambda.keras")
    return files


WRONG_DATA = {
    "missing.npz": "no file",
    "no_y.npz": "lacks the array(s) y",
    "gap.npz": "NaN",
    "channels.npz": "takes inputs of shape (8, 8, 2)",
    "flat.npz": "y[..., None]",
    "short.npz": "one length",
    "constant.npz": "standard deviation positive",
    "objects.npz": "allow_pickle=False",
    "cut_target.npz": "not a whole npz file",
    "flipped_target.npz": "not a whole npz file",
    "missing.zarr": "no file",
    "data.csv": "NAME/CONFIG",
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


def one_line(capsys, *arguments):
    assert main([str(part) for part in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    line = captured.err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("name", "part"), WRONG_DATA.items(), ids=list(WRONG_DATA))
def test_wrong_data_are_one_line_and_exit_code_2(damaged, name, part, capsys):
    arguments = ["--base", damaged / "base.npz", "--target", damaged / name]
    line = one_line(capsys, "score", damaged / "base.keras", *arguments)
    assert part in line


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


def test_figures_on_different_samples_are_kept_apart(files, tmp_path, capsys):
    options = ["--layers", "conv_1", "--epochs", "1", "--out", tmp_path / "run"]
    first = [files / "base.keras", "--target", files / "target.npz", *options]
    assert main([str(part) for part in ("retrain", *first)]) == 0
    assert main([str(part) for part in ("retrain", *first)]) == 0  # the same again
    before = (tmp_path / "run" / "provenance.json").read_bytes()
    capsys.readouterr()
    other = [files / "base.keras", "--target", files / "base.npz", *options]
    line = one_line(capsys, "retrain", *other)
    assert "another target" in line
    line = one_line(capsys, "retrain", *first, "--normalize", "none")
    assert "another normalization" in line
    assert (tmp_path / "run" / "provenance.json").read_bytes() == before


def test_findings_on_two_networks_are_kept_apart(files, run_dir, capsys):
    other = files / "other.keras"
    kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2).save(other)
    line = one_line(capsys, "spectra", other, "--out", run_dir)
    assert "another network" in line


SCORE = ["score", "m.keras", "--base", "a", "--target", "b"]
WRONG_USAGE = {
    "no command": [],
    "unknown command": ["train"],
    "no samples": [*SCORE, "--num-samples", "0"],
    "negative seed": [*SCORE, "--seed", "-1"],
    "no layers": [*SCORE, "--max-layers", "0"],
    "no epochs": ["retrain", "m.keras", "--target", "b", "--out", "c", "--epochs", "0"],
    "no number": ["spectra", "m.keras", "--num-points", "many"],
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=list(WRONG_USAGE))
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "error: " in capsys.readouterr().err


def test_libraries_do_not_write_between_the_json(files, monkeypatch):
    """Whatever is printed while a command works goes to stderr."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(
        "keras_spectral_tl.commands.spectra.prepared", lambda _: print("noise")
    )
    assert main(["spectra", str(files / "base.keras"), "--json"]) == 0
    assert "kernels" in json.loads(out.getvalue())
