"""One test sample of one number has no correlation: nan, which sorts last."""

import math
import re

import keras
import numpy as np
import pytest

from keras_spectral_tl import forecast, transfer
from keras_spectral_tl.report import Study
from keras_spectral_tl.report._page import html as html_of
from tests.keras_spectral_tl.common import noise, run

X = noise(6, 3)
Y = (X[:, :1] * X[:, 1:2]).astype("float32")
ONE = noise(1, 3, seed=1), np.full((1, 1), 0.7, "float32")


def build():
    layers = [keras.Input((3,)), keras.layers.Dense(4, "tanh", name="first")]
    return keras.Sequential([*layers, keras.layers.Dense(1, name="last")])


def test_the_correlation_of_one_number_is_not_defined():
    result = transfer.retrain(build(), (X, Y), "last", epochs=1)
    row = result.row(ONE)
    assert math.isnan(row["cc"])
    predicted = result.model.predict(ONE[0], verbose=0)
    expected = abs(predicted - 0.7).item() / 0.7
    assert row["relative_rmse"] == pytest.approx(expected, rel=1e-5)
    two = (noise(2, 3, seed=1), np.array([[0.7], [0.1]]))
    assert abs(result.row(two)["cc"]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.once
def test_a_sweep_of_one_number_takes_the_least_error_and_a_report_leaves_gaps(
    tmp_path, capsys
):
    build().save(tmp_path / "base.keras")
    for name, (x, y) in {"target": (X, Y), "test": ONE}.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    data = ["--target", tmp_path / "target.npz", "--test", tmp_path / "test.npz"]
    how = ["--layers", "first", "--sweep", "--normalize", "none", "--epochs", 1]
    command = ["retrain", tmp_path / "base.keras", *data, *how]
    assert run(*command, "--out", tmp_path / "run") == 0
    lines = capsys.readouterr().out.splitlines()
    study = Study.read(tmp_path / "run")
    rows = sorted(study.sweep["rows"], key=lambda row: row["relative_rmse"])
    start = next(n for n, line in enumerate(lines) if "each layer alone" in line) + 1
    printed = [line.split()[:2] for line in lines[start : start + 2]]
    assert printed == [[row["layer"], "nan"] for row in rows]
    assert f"best: {rows[0]['layer']}" in lines
    text = html_of(study)
    shown = re.sub(r"base64,[^\"]+", "", text.split("<main")[1].split("<script")[0])
    assert re.search(r"\b(nan|NaN|None|null)\b", shown) is None


@pytest.mark.once
def test_of_many_numbers_all_are_fitted():
    """The forecast of a linear regression is that of least squares, in the mean."""
    count, differences = 400, []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        base, target = rng.standard_normal((2, 24))
        layer = keras.layers.Dense(1, name="only")
        model = keras.Sequential([keras.Input((24,)), layer])
        model.set_weights([base[:, None], np.zeros(1)])
        x = rng.standard_normal((count + 10_000, 24))
        y = (x @ target + 3.0 * rng.standard_normal(len(x)))[:, None]
        found = forecast(model, None, (x[:count], y[:count]), ["only"], progress=False)
        fitted = np.linalg.lstsq(x[:count], y[:count], rcond=None)[0]
        expected = np.corrcoef((x[count:] @ fitted).ravel(), y[count:].ravel())[0, 1]
        differences.append(found["only"].correlation - expected)
    assert abs(np.mean(differences)) < 0.03
    assert found.sample_curve("only").num_samples[-1] == count
