"""Planted layers: the teacher differs where it should, and by what it should."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import keras_spectral_tl as kst

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def planted():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("score_planted")
        for name in ("score_planted", "planted_networks"):
            sys.modules.pop(name)


def test_the_split_is_the_one_written_down(planted):
    settings = planted.planted_settings()
    assert len({setting.label for setting in settings}) == len(settings) == 108
    chosen = [s for s in settings if s.used_for_choices]
    assert {(s.architecture, s.seed) for s in chosen} == {("plain", 0), ("plain", 1)}
    assert len(chosen) == 24


@pytest.mark.parametrize("architecture", ["plain", "residual", "u_net"])
def test_networks_are_as_deep_as_they_say(planted, architecture):
    for depth in planted.DEPTHS:
        model = planted.ARCHITECTURES[architecture](depth)
        names = list(kst.layers_with_weights(model, trainable=True))
        assert sorted(names) == sorted(f"conv_{i}" for i in range(1, depth + 1))
        assert model.output_shape == (None, 32, 32, 1)


@pytest.mark.parametrize(
    ("architecture", "change"), [("plain", "rescaled"), ("u_net", "reinitialised")]
)
def test_the_target_is_the_base_network_with_one_layer_changed(
    planted, architecture, change
):
    case, again = planted.planted(
        [planted.PlantedSetting(architecture, 4, change, 2)] * 2
    )
    assert case.label == again.label
    for first, second in ((case.base, again.base), (case.target, again.target)):
        # The networks answer in single precision.
        assert second[0] == pytest.approx(first[0], abs=0)
        assert second[1] == pytest.approx(first[1], abs=1e-5)
    errors = {
        name: kst.metrics.relative_rmse(y, case.model.predict(x, verbose=0))
        for name, (x, y) in (("base", case.base), ("target", case.target))
    }
    assert errors["base"] == pytest.approx(planted.NOISE, rel=0.05)
    assert errors["target"] > 5.0 * planted.NOISE
    assert case.layer in kst.layers_with_weights(case.model)
    assert len(case.target[0]) == planted.NUM_TARGET


def test_every_channel_of_a_calibrated_network_is_of_size_one(planted):
    case = planted.plant(planted.PlantedSetting("residual", 6, "rescaled", 0))
    spectra = kst.activation_spectra(case.model, case.base[0]).pre_activation
    for name in list(kst.layers_with_weights(case.model, trainable=True)):
        # A spectrum sums to the mean square.
        assert spectra[name].sum() == pytest.approx(1.0, rel=1e-3)
        assert spectra[name][0] < 0.5


@pytest.mark.parametrize("change", ["rescaled", "filtered", "reinitialised"])
def test_changes_are_what_they_are_called(planted, change):
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((5, 5, 6, 8))
    changed = planted.CHANGES[change](kernel, rng)
    ratio = changed / kernel
    response = np.abs(
        np.fft.fft2(changed, axes=(0, 1)) / np.fft.fft2(kernel, axes=(0, 1))
    )
    if change == "rescaled":
        assert ratio == pytest.approx(np.broadcast_to(ratio[:1, :1], ratio.shape))
        assert np.std(np.log(ratio[0, 0])) == pytest.approx(0.3, abs=0.1)
    elif change == "filtered":
        assert np.linalg.norm(changed) == pytest.approx(np.linalg.norm(kernel))
        # One response for all kernels, falling with the wavenumber.
        assert response == pytest.approx(
            np.broadcast_to(response[..., :1, :1], response.shape)
        )
        assert np.all(np.diff(response[:3, 0, 0, 0]) < 0.0)
    else:
        kept = np.all(changed == kernel, axis=(0, 1))
        assert np.count_nonzero(~kept) == 6
        assert np.std(changed[..., ~kept]) == pytest.approx(1.0, abs=0.2)


def test_a_change_of_whole_channels_has_no_one_home(planted):
    """Why kernels are changed one by one: scaling moves through ReLU."""
    here, there = (planted.ARCHITECTURES["plain"](4) for _ in range(2))
    there.set_weights(here.get_weights())
    scale = np.exp(np.random.default_rng(0).standard_normal(8))
    kernel, bias = here.get_layer("conv_2").get_weights()
    here.get_layer("conv_2").set_weights([kernel * scale, bias * scale])
    kernel, bias = there.get_layer("conv_3").get_weights()
    there.get_layer("conv_3").set_weights([kernel * scale[:, None], bias])
    x = np.random.default_rng(1).standard_normal((2, 32, 32, 2)).astype("float32")
    first, second = (m.predict(x, verbose=0) for m in (here, there))
    assert second == pytest.approx(first, abs=1e-4 * float(np.ptp(first)))
