"""The programs as installed, and what one in a process of its own writes."""

import configparser
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.__main__ import main

SCRIPT = "import sys; from keras_spectral_tl.__main__ import main; sys.exit(main())"


@pytest.mark.slow
def test_a_program_of_its_own_prints_nothing_but_its_result(files):
    """No log lines of TensorFlow, which come from C++, on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "spectra", str(files / "base.keras")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "conv_1" in done.stdout


@pytest.mark.slow
def test_a_program_that_follows_a_forecast_writes_no_bar_into_a_pipe(files, tmp_path):
    recipe = {"layers": ["conv_1"], "learning_rate": 1e-3, "steps": 1}
    recipe |= {"epochs": 1, "batch_size": 8}
    forecast = {"best": "conv_1", "recipes": {"conv_1": recipe}}
    (tmp_path / "forecast.json").write_text(json.dumps(forecast))
    arguments = ["retrain", files / "base.keras", "--target", files / "target.npz"]
    arguments += ["--out", tmp_path]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.once
def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["keras-spectral-tl", kst.__version__]


@pytest.mark.once
def test_both_programs_are_installed_under_their_names():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    scripts = dict(line.split(" = ") for line in lines if line)
    assert set(scripts) == {"keras-spectral-tl", "turbulence-data"}
    for name, place in scripts.items():
        entry = importlib.metadata.EntryPoint(name, place, "console_scripts")
        assert callable(entry.load())
