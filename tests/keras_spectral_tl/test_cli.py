"""`python -m keras_spectral_tl`: on files, with right and with wrong input."""

import io
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.__main__ import main, parser
from keras_spectral_tl.report import Study
from keras_spectral_tl.scoring import default_arms
from keras_spectral_tl.transfer._arms import layers_from_json
from tests.keras_spectral_tl.common import one_line, run

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def run_dir(files):
    """What score and retrain leave behind."""
    out = files / "run"
    data = ["--target", str(files / "target.npz"), "--out", str(out)]
    data += ["--base", str(files / "base.npz")]
    model = str(files / "base.keras")
    steps = ["--steps", "40", "--batch-size", "4"]  # in groups by themselves
    assert main(["forecast", model, *data, *steps]) in (0, 1)
    how = ["--max-layers", "2", "--epochs", "30", "--groups", "trajectory"]
    assert main(["score", model, *data, *how]) in (0, 1)
    test = ["--test", str(files / "test.npz"), "--layers", "conv_2", "--sweep"]
    assert main(["retrain", model, *data, *test, "--epochs", "1"]) == 0
    return out


def test_help_imports_no_keras():
    script = (
        "import sys; from keras_spectral_tl.__main__ import main\n"
        "try: main(['retrain', '--help'])\n"
        "except SystemExit: print([m for m in ('keras', 'tensorflow', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_example_of_every_command_is_one(capsys):
    for command in ("forecast", "score", "retrain", "spectra", "report"):
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
        how = {"epochs": 30, "batch_size": 32, "groups": target["trajectory"]}
    model = keras.models.load_model(files / "base.keras")
    scores = kst.score_layers(model, *pairs, max_layers=2, **how)
    found = json.loads((run_dir / "scores.json").read_text())
    assert found["ranking"] == list(scores.ranking)
    for name, values in scores.scores.items():
        assert found["scores"][name] == pytest.approx(values, rel=1e-5)
    assert found["recommended"] == list(scores.recommended)
    groups = {k: found["provenance"][k] for k in ("groups", "num_groups")}
    assert groups == {"groups": "given", "num_groups": 3}
    together = found["together"]["values"]
    assert together == pytest.approx(scores.together.values, rel=1e-5)


def test_a_forecast_is_that_of_the_function(files, run_dir):
    pairs = []
    for name in ("base", "target"):
        with np.load(files / f"{name}.npz") as file:
            pair, groups = (file["x"], file["y"]), file["trajectory"]
        pairs.append(kst.transfer.ChannelStatistics.of(pair).normalize(*pair))
    model = keras.models.load_model(files / "base.keras")
    result = kst.forecast(model, *pairs, groups=groups, steps=40, batch_size=4)
    found = json.loads((run_dir / "forecast.json").read_text())
    assert found["best"] == result.best_row.label
    assert list(found["arms"]) == [row.label for row in result.rows]
    for row in result.rows:
        known = found["arms"][row.label]
        assert known["correlation"] == pytest.approx(row.correlation, rel=1e-5)
        assert (known["steps"], known["batch_size"]) == (row.steps, row.batch_size)
        assert known["base_correlation"] == pytest.approx(
            row.base_correlation, rel=1e-5
        )
    assert found["provenance"]["num_tested"] == result.provenance["num_tested"]
    # The trajectories of the file, without being asked for.
    assert found["provenance"]["groups"] == "of the target data"
    assert found["provenance"]["num_groups"] == result.provenance["num_groups"] == 3


def test_a_forecast_is_printed_with_its_trials_where_asked(files, monkeypatch, capsys):
    """Without base samples, whose skill is then not known; of a few arms."""
    labels = ["unchanged", "output gain", "conv_1"]
    monkeypatch.setattr(
        "keras_spectral_tl.scoring._forecast.default_arms",
        lambda model: [arm for arm in default_arms(model) if arm.label in labels],
    )
    target = ["--target", files / "target.npz", "--steps", 10, "--progress"]
    code = run("forecast", files / "base.keras", *target, "--normalize", "none")
    captured = capsys.readouterr()
    table = captured.out.splitlines()
    assert table[0].startswith("base network: CC ")
    (head,) = [place for place, line in enumerate(table) if line.startswith("arm ")]
    rows = table[head + 1 :]
    assert all(any(row.startswith(label) for row in rows) for label in labels)
    (best,) = [row for row in rows if row.endswith("<- best")]
    assert code == int(best.startswith("unchanged"))
    told = [line for line in captured.err.splitlines() if " CC " in line]
    assert len(told) >= len(rows)
    assert told[0].split()[0].startswith("1/")


def test_groups_are_those_of_the_samples_taken(files, tmp_path):
    from keras_spectral_tl.cli._samples import read_groups, read_samples

    with np.load(files / "target.npz") as file:
        arrays = dict(file)
    splits = np.array(["train", "test", "train", "train", "test", "train"])
    name = f"{tmp_path / 'split.npz'}@train"
    np.savez(tmp_path / "split.npz", **arrays, split=splits, number=np.arange(6))
    samples, _ = read_samples(name, num_samples=3)
    numbers = read_groups(name, "number", 3)
    np.testing.assert_array_equal(samples.x, arrays["x"][numbers])
    assert set(splits[numbers]) == {"train"}
    assert samples.groups is None  # each is of another trajectory
    every, _ = read_samples(name)
    np.testing.assert_array_equal(every.groups, ["first", "second", "second", "third"])


def test_the_retrained_network_differs_in_one_layer(files, run_dir):
    networks = (
        keras.models.load_model(files / "base.keras"),
        kst.transfer.load_retrained(run_dir / "retrained"),
    )
    before, after = map(kst.layer_hashes, networks)
    assert [name for name in before if before[name] != after[name]] == ["conv_2"]


def retrained_from(forecast, files, out, *options):
    """Retrains what a forecast says that lies in a folder; returns code and record."""
    out.mkdir()
    (out / "forecast.json").write_text(json.dumps(forecast))
    data = ["--target", files / "target.npz", "--out", out]
    code = run("retrain", files / "base.keras", *data, *options)
    record = out / "provenance.json"
    return code, json.loads(record.read_text())["retrain"] if record.exists() else {}


def test_a_forecast_is_followed_with_its_rate_and_steps(files, run_dir, tmp_path):
    """The best arm, or one by its label; numbers on the command line go first."""
    forecast = json.loads((run_dir / "forecast.json").read_text())
    forecast["best"] = "conv_2"
    code, record = retrained_from(forecast, files, tmp_path / "best")
    recipe = forecast["recipes"]["conv_2"]
    assert code == 0
    assert record["arm"] == "conv_2"
    for name in ("learning_rate", "steps", "epochs", "batch_size"):
        assert record[name] == recipe[name]
    label = ["--arm", "biases", "--epochs", 2 * recipe["epochs"]]
    code, record = retrained_from(forecast, files, tmp_path / "arm", *label)
    assert code == 0
    assert record["epochs"] == 2 * recipe["epochs"]
    assert record["steps"] == 2 * recipe["steps"]
    smaller = ["--batch-size", 2]  # three steps an epoch, of six samples
    code, record = retrained_from(forecast, files, tmp_path / "smaller", *smaller)
    assert code == 0
    assert record["steps"] == recipe["steps"]
    assert record["epochs"] == -(-recipe["steps"] // 3)
    before = keras.models.load_model(files / "base.keras")
    after = kst.transfer.load_retrained(tmp_path / "arm" / "retrained")
    for one, other in zip(before.layers, after.layers, strict=False):
        for old, new in zip(one.weights, other.weights, strict=True):
            same = np.array_equal(*map(keras.ops.convert_to_numpy, (old, new)))
            assert same == (old.name != "bias")


@pytest.mark.parametrize("pull", [0.0, 3.0])
def test_the_forecast_retraining_is_that_of_python(files, run_dir, tmp_path, pull):
    with np.load(files / "target.npz") as file:
        pair = file["x"], file["y"]
    statistics = kst.transfer.ChannelStatistics.of(pair)
    forecast = json.loads((run_dir / "forecast.json").read_text())
    recipe = forecast["recipes"]["conv_2"]
    assert recipe["pull"] == 0.0
    recipe["pull"] = pull
    code, record = retrained_from(forecast, files, tmp_path / "run", "--arm", "conv_2")
    assert code == 0 and record["pull"] == pull
    rate = keras.optimizers.schedules.CosineDecay(
        recipe["learning_rate"], recipe["steps"]
    )
    expected = kst.retrain(
        keras.models.load_model(files / "base.keras"),
        pair,
        layers_from_json(recipe["layers"]),
        optimizer=keras.optimizers.Adam(rate),
        epochs=recipe["epochs"],
        batch_size=recipe["batch_size"],
        normalization=statistics,
        pull=pull,
    )
    found = kst.transfer.load_retrained(tmp_path / "run" / "retrained")
    for one, other in zip(expected.model.weights, found.weights, strict=True):
        np.testing.assert_allclose(
            *map(keras.ops.convert_to_numpy, (one, other)), atol=1e-5
        )


def test_a_recipe_that_holds_what_is_not_known_is_refused(
    files, run_dir, tmp_path, capsys
):
    forecast = json.loads((run_dir / "forecast.json").read_text())
    forecast["recipes"]["conv_2"] |= {"dropout": 0.5}
    code, record = retrained_from(forecast, files, tmp_path / "new", "--arm", "conv_2")
    assert (code, record) == (2, {})
    said = capsys.readouterr().err
    assert "the recipe of 'conv_2'" in said.lower() and "has dropout, which" in said


def test_a_forecast_of_nothing_or_without_the_arm_retrains_nothing(
    files, run_dir, tmp_path, capsys
):
    forecast = json.loads((run_dir / "forecast.json").read_text())
    forecast["best"] = "unchanged"
    assert retrained_from(forecast, files, tmp_path / "none") == (1, {})
    assert "Nothing is recommended" in capsys.readouterr().out
    code, _ = retrained_from(forecast, files, tmp_path / "other", "--arm", "conv_9")
    assert code == 2
    assert "no recipe of an arm 'conv_9'" in capsys.readouterr().err
    data = ["--target", files / "target.npz", "--out", tmp_path / "empty"]
    empty = ["--arm", "biases"]
    assert "no forecast.json" in one_line(
        capsys, "retrain", files / "base.keras", *data, *empty
    )


def test_what_is_left_behind_is_a_whole_study(run_dir, capsys):
    study = Study.read(run_dir)
    assert study.missing == ("a_posteriori",)
    assert [row["layer"] for row in study.sweep["rows"]] == ["conv_1", "conv_2"]
    assert {row["network"] for row in study.a_priori} == {"base", "conv_2 retrained"}
    assert set(study.provenance) == {"forecast", "score", "retrain"}
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


@pytest.mark.parametrize("names", [[0, 1], ["0", "1"]])
def test_splits_may_be_numbers(files, tmp_path, names):
    from keras_spectral_tl.cli._samples import read_groups, read_samples

    with np.load(files / "target.npz") as file:
        x, y = file["x"], file["y"]
    split = np.array([names[number % 2] for number in range(len(y))])
    path = tmp_path / "split.npz"
    np.savez(path, x=x, y=y, split=split, run=np.arange(len(y)))
    some, _ = read_samples(f"{path}@1")
    np.testing.assert_array_equal(some.y, y[1::2])
    groups = read_groups(f"{path}@0", "run", None)
    np.testing.assert_array_equal(groups, np.arange(len(y))[::2])


def test_signs_that_a_terminal_lacks_are_replaced(files):
    script = "import sys; from keras_spectral_tl.__main__ import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-c", script, "spectra", str(files / "base.keras")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert b"?" in done.stdout


def test_zarr_files_are_read_as_npz_files(files):
    zarr = pytest.importorskip("zarr")
    from keras_spectral_tl.cli._samples import read_samples

    with np.load(files / "target.npz") as file:
        group = zarr.open_group(files / "target.zarr", mode="w")
        for name in "xy":
            group.create_array(name, data=file[name])
    found = [read_samples(str(files / f"target.{end}"))[0] for end in ("npz", "zarr")]
    assert found[0].fingerprint() == found[1].fingerprint()
    group.create_array("split", data=np.array([0, 1, 0, 0, 1, 0]))
    group["split"].attrs["flag_meanings"] = "train test"
    some, _ = read_samples(f"{files / 'target.zarr'}@test")
    np.testing.assert_array_equal(some.y, found[0].y[[1, 4]])
    few, _ = read_samples(str(files / "target.npz"), num_samples=3)
    np.testing.assert_array_equal(few.y, found[0].y[[0, 2, 5]])


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory):
    """A network of two inputs by name, and samples for it."""
    folder = tmp_path_factory.mktemp("two_inputs")
    one, two = keras.Input((4,), name="one"), keras.Input((3,), name="two")
    joined = keras.layers.Concatenate()([one, two])
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(joined)
    network = keras.Model([one, two], keras.layers.Dense(2, name="last")(hidden))
    network.save(folder / "base.keras")
    rng = np.random.default_rng(0)
    for name in ("target", "test"):
        x, z = rng.normal(size=(8, 4)), rng.normal(size=(8, 3))
        arrays = {"x_one": x, "x_two": z, "y": x[:, :2] * z[:, 1:]}
        np.savez(folder / f"{name}.npz", split=["train", "test"] * 4, **arrays)
    return folder


def test_several_inputs_are_arrays_by_their_names(two_inputs, tmp_path, capsys):
    target = f"{two_inputs / 'target.npz'}@train"
    data = ["--target", target, "--test", two_inputs / "test.npz", "--layers", "hidden"]
    how = ["--normalize", "none", "--epochs", 1, "--out", tmp_path / "run"]
    assert run("retrain", two_inputs / "base.keras", *data, *how) == 0
    assert "changed: hidden" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "options", "part"),
    [
        (("x_one", "x_two", "y"), [], "add --normalize none"),
        (("x_one", "y"), ["--normalize", "none"], "but x has no two"),
        (("x", "y"), ["--normalize", "none"], "Write them as x_one, x_two"),
        (("x_one", "x_two"), ["--normalize", "none"], "lacks the array(s) y"),
        (("x_one", "x_two", "x_oz", "y"), ["--normalize", "none"], "leave out oz."),
    ],
)
def test_inputs_that_do_not_fit_the_network_are_told_by_name(
    two_inputs, tmp_path, arrays, options, part, capsys
):
    with np.load(two_inputs / "target.npz") as file:
        known = {**file, "x": file["x_one"], "x_oz": file["x_one"]}
    np.savez(tmp_path / "other.npz", **{name: known[name] for name in arrays})
    data = ["--target", tmp_path / "other.npz", "--layers", "hidden"]
    command = [two_inputs / "base.keras", *data, "--out", tmp_path / "run", *options]
    assert part in one_line(capsys, "retrain", *command)


def test_no_recommendation_is_exit_code_1(files, capsys):
    """One sample cannot tell how samples differ."""
    out = files / "abstained"
    data = ["--target", str(files / "target.npz"), "--out", str(out)]
    one = ["--base", str(files / "base.npz"), "--num-samples", "1"]
    model = str(files / "base.keras")
    assert main(["score", model, *data, *one]) == 1
    assert "dd samples" in capsys.readouterr().out
    assert main(["retrain", model, *data]) == 1
    assert not (out / "retrained").exists()


def test_filters_are_those_of_the_last_retraining(files, tmp_path):
    data = ["--target", files / "target.npz", "--epochs", 1, "--out", tmp_path]
    for layer in ("conv_1", "conv_2"):
        assert run("retrain", files / "base.keras", *data, "--layers", layer) == 0
    assert list(Study.read(tmp_path).spectra["filters"]) == ["conv_2"]


def test_findings_on_two_networks_are_kept_apart(files, run_dir, capsys):
    other = files / "other.keras"
    kst.build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2).save(other)
    line = one_line(capsys, "spectra", other, "--out", run_dir)
    assert "another network" in line


def test_libraries_do_not_write_between_the_json(files, monkeypatch):
    """Whatever is printed while a command works goes to stderr."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(
        "keras_spectral_tl.cli._folder.prepared", lambda _: print("noise")
    )
    assert main(["spectra", str(files / "base.keras"), "--json"]) == 0
    assert "kernels" in json.loads(out.getvalue())


SHIFT, SCALE = 5.0, 1000.0


@pytest.fixture(scope="module")
def far_files(files):
    """Base, target and test samples of mean 5 and standard deviation 1000."""
    for name in ("base", "target", "test"):
        with np.load(files / f"{name}.npz") as file:
            arrays = {side: SHIFT + SCALE * file[side] for side in "xy"}
        np.savez(files / f"far_{name}.npz", **arrays)
    return files


@pytest.mark.parametrize("choice", ["own", "base", "none"])
def test_every_normalization_gives_the_numbers_of_python(far_files, choice, tmp_path):
    """Scores, retraining, sweep and report, on data far from mean 0 and deviation 1."""
    paths = {role: far_files / f"far_{role}.npz" for role in ("base", "target", "test")}
    data = {}
    for role, path in paths.items():
        with np.load(path) as file:
            data[role] = file["x"], file["y"]
    model = keras.models.load_model(far_files / "base.keras")
    own = {role: kst.transfer.ChannelStatistics.of(pair) for role, pair in data.items()}
    used = {
        "own": {"base": own["base"], "target": own["target"]},
        "base": dict.fromkeys(("base", "target"), own["base"]),
        "none": dict.fromkeys(("base", "target")),
    }[choice]
    how = {"epochs": 2, "batch_size": 4}
    arguments = ["--target", paths["target"], "--base", paths["base"]]
    arguments += ["--normalize", choice, "--out", tmp_path]
    command = [far_files / "base.keras", *arguments]
    command += ["--epochs", how["epochs"], "--batch-size", how["batch_size"]]
    assert run("score", *command) in (0, 1)
    test = ["--test", paths["test"], "--layers", "conv_2", "--sweep"]
    assert run("retrain", *command, *test) == 0
    found = Study.read(tmp_path)

    pairs = [
        data[role] if used[role] is None else used[role].normalize(*data[role])
        for role in ("base", "target")
    ]
    scores = kst.score_layers(model, *pairs, **how).scores
    for name, values in found.scores["scores"].items():
        assert values == pytest.approx(scores[name], rel=1e-4, nan_ok=True)
    by_hand = pairs[1], data["test"]
    if used["target"] is not None:
        by_hand = pairs[1], used["target"].normalize(*data["test"])
    sweep = kst.oracle_sweep(model, *by_hand, **how)
    for row, expected in zip(found.sweep["rows"], sweep.rows, strict=True):
        assert row["cc"] == pytest.approx(expected["cc"], abs=1e-5)
    rows = {row["network"]: row for row in found.a_priori if "test" in row["data"]}
    retrained = rows["conv_2 retrained"]
    for name in ("cc", "relative_rmse"):
        assert found.sweep["rows"][1][name] == pytest.approx(retrained[name], abs=1e-5)
    base = kst.metrics.pattern_correlation(
        by_hand[1][1], model.predict(by_hand[1][0], verbose=0)
    )
    assert rows["base"]["cc"] == pytest.approx(base, abs=1e-5)
    words = {"own": "its own", "base": "the base", "none": "nothing"}[choice]
    assert words in found.systems["target"]["normalization"]


def test_a_sweep_is_printed_best_layer_first(files, run_dir, capsys):
    """With the best layer and what retraining the chosen one loses against it."""
    data = ["--target", files / "target.npz", "--test", files / "test.npz"]
    how = ["--base", files / "base.npz", "--layers", "conv_2", "--sweep"]
    arguments = [files / "base.keras", *data, *how, "--epochs", 1, "--out", run_dir]
    assert run("retrain", *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    sweep = Study.read(run_dir).sweep
    best = sweep["best"]
    first = lines.index(next(line for line in lines if "each layer alone" in line)) + 1
    assert lines[first].split()[0] == best
    cc = {row["layer"]: row["cc"] for row in sweep["rows"]}
    (verdict,) = [line for line in lines if line.startswith("best:")]
    assert verdict.startswith(f"best: {best}; ")
    assert f"loses {cc[best] - cc['conv_2']:.4f}" in verdict


def test_a_base_network_that_does_not_work_is_told(far_files, capsys):
    """Its CC first; a warning where it is low, and where the units differ."""
    data = ["--base", far_files / "base.npz", "--target", far_files / "far_target.npz"]
    arguments = [far_files / "base.keras", *data, "--num-samples", 1]
    assert run("score", *arguments) == 1
    captured = capsys.readouterr()
    assert re.match(r"base network: CC -?\d\.\d+ on base samples, CC ", captured.out)
    assert "on its own base samples" in captured.err
    assert "times the standard deviation of the base" in captured.err


@pytest.mark.slow
def test_layers_of_ones_own_are_imported_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_own_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Doubling(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
    )
    monkeypatch.chdir(tmp_path)
    make = (
        "import keras, my_own_layers\n"
        "keras.Sequential([keras.Input((8, 8, 2)), my_own_layers.Doubling(),"
        " keras.layers.Conv2D(1, 3)]).save('own.keras')\n"
    )
    subprocess.run([sys.executable, "-c", make], check=True, capture_output=True)
    line = one_line(capsys, "spectra", "own.keras")
    assert "the class 'Doubling'" in line and "--import MODULE" in line
    line = one_line(capsys, "spectra", "own.keras", "--import", "no_such_module")
    assert "no_such_module" in line
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run("spectra", "own.keras", "--import", "my_own_layers") == 0
    assert "conv2d" in capsys.readouterr().out
    sys.modules.pop("my_own_layers")


def test_the_loss_is_chosen_by_name(files, tmp_path, capsys):
    data = ["--target", files / "target.npz", "--layers", "conv_1", "--epochs", 1]
    arguments = [files / "base.keras", *data]
    out = ["--out", tmp_path / "run"]
    assert run("retrain", *arguments, *out, "--loss", "mean_absolute_error") == 0
    study = Study.read(tmp_path / "run")
    assert study.retraining["provenance"]["loss"] == "mean_absolute_error"
    capsys.readouterr()
    other = ["--out", tmp_path / "other", "--loss", "no_loss"]
    assert "no_loss" in one_line(capsys, "retrain", *arguments, *other)
