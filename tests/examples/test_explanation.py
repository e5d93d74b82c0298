"""The explanation and the gallery run on any networks; the docs show every figure."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import plotting

ROOT = Path(__file__).parents[2]
# Shown, but drawn elsewhere.
SAVED_BY = {"scores_and_sweep": "quickstart", "forecast": "quickstart"}


@pytest.fixture(scope="module")
def examples():
    """explain.py and gallery.py as modules; their folder is not a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples"))
        yield import_module("explain"), import_module("gallery")
        for path in (ROOT / "examples").glob("*.py"):
            sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def study(examples):
    """Two systems of noise, and a network whose second layer moved in three ways."""
    explain, _ = examples
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)

    x, y = (rng.standard_normal((8, 64, 64, n)).astype("float32") for n in (2, 1))

    smoother = 2 * (x + np.roll(x, 1, axis=1))  # no wave of the highest kx is left

    def system(name, fields, y):
        metadata = {"spectra": {"energy": np.arange(1.0, 34.0) ** -3}}
        data = (fields, y)
        return explain.System(name, data, data, None, metadata)

    model = kst.build_sgs_cnn((64, 64, 2), num_layers=3, num_filters=3, kernel_size=5)
    found = {"base": model}
    common = rng.standard_normal((5, 5, 3, 3))
    for name in explain.NETWORKS[1:]:
        found[name] = keras.models.clone_model(model)
        found[name].set_weights(model.get_weights())
        layer = found[name].get_layer(explain.LAYER)
        kernel, bias = layer.get_weights()
        moved = kernel + 0.1 * common + 0.01 * rng.standard_normal(kernel.shape)
        layer.set_weights([moved, bias])
    return found, system("base", x, y), system("target", smoother, smoother[..., 1:])


def test_numbers_are_complete_and_written(examples, study, monkeypatch, tmp_path):
    explain, _ = examples
    found, base, target = study
    monkeypatch.setattr(explain, "networks", lambda *_: found)
    numbers = json.loads(json.dumps(explain.explain(base, target, 3, tmp_path)))
    # The energy of a mode times 4 (2 + 2 cos kx), 0 to 16, and 8 in the mean.
    shift = numbers["shifts"]["conv_1"]
    assert 4.0 < shift["data gain"] < 16.0
    assert shift["data distance"] > 0.02
    assert shift["retraining gain"] == 1.0
    assert numbers["kernels"]["agreement"] > 0.9
    assert numbers["kernels"]["p_value"] < 0.01
    assert sum(numbers["kernels"]["classes"]["after"].values()) == 9
    text = explain.tables([numbers, numbers])
    assert text.count("| seed 3 | seed 3 |") == text.count("|---|---|---|")
    assert "nan" not in text


def test_a_clone_is_drawn_as_the_network_was():
    """So the gallery can take away what a trained network began with."""
    keras.utils.set_random_seed(0)
    network = kst.build_sgs_cnn((8, 8, 2), num_layers=3, num_filters=4)
    keras.utils.set_random_seed(0)
    clone = keras.models.clone_model(network)
    for first, second in zip(network.get_weights(), clone.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_docs_show_what_the_gallery_draws(examples, study, tmp_path):
    _, gallery = examples
    found, base, target = study
    figures = {
        **gallery.kernel_figures(found),
        **gallery.activation_figures(found, base, target),
        **gallery.prediction_figures(found, base, target),
        **gallery.landscape_figures(found, target),
    }
    text = "".join(
        (ROOT / "docs" / f"{page}.md").read_text()
        for page in ("figures", "explanation")
    )
    shown = set(re.findall(r"\(figures/(\w+)\.png\)", text))
    assert shown == set(figures) | set(SAVED_BY)
    assert all((ROOT / "docs" / "figures" / f"{name}.png").exists() for name in shown)
    described = set(re.findall(r"`(plot_\w+)`", text))
    assert described == {name for name in plotting.__all__ if name.startswith("plot")}
    for name, axes in figures.items():
        plotting.save_figure(axes, tmp_path / f"{name}.png", dpi=30)
