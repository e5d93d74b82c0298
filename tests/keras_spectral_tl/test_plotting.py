"""Figures: they show the numbers they were given, on axes that say what they are."""

import itertools
import math
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from keras_spectral_tl import plotting
from keras_spectral_tl.plotting._scores import plot_bars
from keras_spectral_tl.plotting._style import line_looks
from tests.keras_spectral_tl.common import rendered

pytestmark = pytest.mark.once

FALLING = 1.0 / np.arange(1.0, 20.0) ** 3
SCORES = {"probe": {"conv_1": 0.3, "conv_2": 0.9, "conv_3": 0.1}}


def test_maps_have_x_to_the_right_and_a_scale_symmetric_about_zero() -> None:
    field = np.zeros((8, 8))
    field[6, 1] = -3.0
    all_axes = plotting.plot_fields({"vorticity": field, "sgs_forcing": -2 * field})
    assert [axes.get_title() for axes in all_axes] == [
        "vorticity",
        "sgs forcing",
    ]
    image = all_axes[0].get_images()[0]
    assert image.get_array()[1, 6] == -3.0
    assert image.origin == "lower"
    low, high = image.get_clim()
    assert low == -high < 0
    assert all_axes[0].get_aspect() == 1.0
    assert rendered(all_axes).std() > 0


def test_zero_and_constant_fields_can_be_drawn() -> None:
    rendered(plotting.plot_fields({"zero": np.zeros((4, 4)), "one": np.ones((4, 4))}))


def test_predictions_share_one_scale_a_row() -> None:
    truth = np.random.default_rng(0).normal(size=(4, 8, 8, 1))
    all_axes = plotting.plot_predictions(truth, 3 * truth, num_samples=2)
    panels = [axes.get_images()[0] for axes in all_axes]
    assert len(panels) == 6
    assert len({image.get_clim() for image in panels[:3]}) == 1
    np.testing.assert_allclose(panels[2].get_array(), 2 * truth[0, :, :, 0].T)
    rendered(all_axes)


def test_energy_spectra_draw_k_from_one_on_logarithmic_axes() -> None:
    axes = plotting.plot_energy_spectra({"base": FALLING, "target": 2 * FALLING})
    base, target = axes.get_lines()
    np.testing.assert_array_equal(base.get_xdata(), np.arange(1, 19))
    np.testing.assert_array_equal(target.get_ydata(), 2 * FALLING[1:])
    labels = axes.get_xlabel(), axes.get_ylabel()
    assert labels == ("wavenumber k (domain 2π)", "energy spectrum E(k)")
    rendered(axes)


def test_empty_shells_are_gaps() -> None:
    spectrum = np.where(np.arange(19) > 12, 0.0, FALLING)
    axes = plotting.plot_energy_spectra({"truncated": spectrum})
    drawn = axes.get_lines()[0].get_ydata()
    assert np.isnan(drawn[12:]).all()
    rendered(axes)


def test_kernel_panels_mark_the_peak_of_the_mean() -> None:
    k = np.arange(20.0)
    profiles = np.exp(-((k - 7) ** 2) / 20) * np.linspace(1, 2, 6)[:, None]
    all_axes = plotting.plot_kernel_spectra({"a": profiles.reshape(2, 3, 20), "b": k})
    *_, mean, peak = all_axes[0].get_lines()
    np.testing.assert_allclose(mean.get_ydata(), profiles.mean(axis=0))
    assert peak.get_xdata()[0] == 7
    assert len(all_axes) == 2
    rendered(all_axes)


def test_many_kernels_are_thinned_out() -> None:
    all_axes = plotting.plot_kernel_spectra({"a": np.ones((64, 64, 10))})
    assert len(all_axes[0].get_lines()) <= 2 * 60 + 2


def test_a_label_has_one_colour_in_all_panels_and_figures() -> None:
    lines = {"target": FALLING, "base": 2 * FALLING, "retrained": 3 * FALLING}
    some = {"base": FALLING, "retrained": FALLING}
    all_axes = plotting.plot_activation_spectra({"conv_1": lines, "conv_2": some})
    found = {
        (line.get_label(), line.get_color())
        for axes in all_axes
        for line in axes.get_lines()
    }
    other = plotting.plot_energy_spectra(some).get_lines()
    found |= {(line.get_label(), line.get_color()) for line in other}
    assert len(found) == 3
    assert len({colour for _, colour in found}) == 3
    rendered(all_axes)


@pytest.mark.parametrize("usual", [[], ["base"], ["base", "target", "retrained"]])
def test_no_two_lines_of_a_figure_look_the_same(usual: list[str]) -> None:
    looks = line_looks([*usual, *map(str, range(20 - len(usual)))])
    pairs = {(look["color"], look["linestyle"]) for look in looks.values()}
    assert len(pairs) == 20
    few = line_looks([*usual, "a", "b", "c", "d"]).values()
    assert len({look["color"] for look in few}) == len(usual) + 4


def test_figures_are_drawn_in_the_axes_given() -> None:
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    assert plotting.plot_energy_spectra({"base": FALLING}, ax=left) is left
    assert left.get_xlabel().startswith("wavenumber k")
    assert left.get_legend() is not None
    lines = {"conv_1": {"base": FALLING}, "conv_2": {"base": FALLING}}
    left.clear()
    drawn = plotting.plot_activation_spectra(lines, ax=[left, right])
    assert drawn == [left, right] and len(right.get_lines()) == 1
    with pytest.raises(ValueError, match=r"has 2 panels.*Received 1"):
        plotting.plot_activation_spectra(lines, ax=left)


@pytest.mark.parametrize(
    "draw", [plotting.plot_energy_spectra, plotting.plot_coherence]
)
def test_a_figure_of_one_panel_keeps_the_title_of_the_axes_given(draw) -> None:
    axes = Figure().add_subplot()
    axes.set_title("mine")
    draw({"base": FALLING}, ax=axes)
    assert axes.get_title() == "mine"


def test_a_saved_figure_has_220_dots_an_inch(tmp_path) -> None:
    axes = plot_bars({"conv_1": 0.5, "conv_2": 0.1}, "relative change")
    path = plotting.save_figure(axes, tmp_path / "bars.png")
    inches = axes.figure.get_size_inches()[0]
    assert imread(path).shape[1] > 0.8 * 220 * inches


def test_scores_against_sweep_give_the_rank_correlation() -> None:
    sweep = {"conv_1": 0.5, "conv_2": 0.8, "conv_3": 0.4}
    reverse = {name: -value for name, value in sweep.items()}
    all_axes = plotting.plot_scores_against_sweep(
        {**SCORES, "wrong": reverse}, {**sweep, "conv_4": 0.1}
    )
    titles = [axes.get_title() for axes in all_axes]
    assert titles == ["probe (τ = 1.00)", "wrong (τ = -1.00)"]
    points = all_axes[0].get_lines()[0]
    np.testing.assert_array_equal(points.get_ydata(), list(sweep.values()))
    rendered(all_axes)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_names_of_eleven_layers_never_overlap(spread: float) -> None:
    rng = np.random.default_rng(0)
    sweep = {f"conv_{n}": 0.9 + spread * rng.uniform() for n in range(1, 12)}
    scores = {name: spread * rng.uniform() for name in sweep}
    all_axes = plotting.plot_scores_against_sweep({"a": scores, "b": sweep}, sweep)
    rendered(all_axes)
    for axes in all_axes:
        boxes = [Text.get_window_extent(name) for name in axes.texts]
        assert len(boxes) == 11
        boxes.sort(key=lambda box: box.y0)
        assert all(a.y1 <= b.y0 for a, b in itertools.pairwise(boxes))


def test_layer_scores_mark_the_best_and_draw_intervals() -> None:
    all_axes = plotting.plot_layer_scores(SCORES, {"probe": {"conv_2": (0.7, 1.1)}})
    lines = all_axes[0].get_lines()
    assert [line.get_marker() for line in lines] == ["o", "None", "D", "o"]
    assert tuple(lines[1].get_xdata()) == (0.7, 1.1)
    rendered(all_axes)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        plotting.plot_fields({})
    with pytest.raises(ValueError, match=r"'a' must have .* \(4,\)"):
        plotting.plot_fields({"a": np.ones(4)})
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) and \(1, 4, 5\)"):
        plotting.plot_predictions(np.ones((1, 4, 4)), np.ones((1, 4, 5)))
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        plotting.plot_predictions(np.ones((4, 4)), np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"'a' must have .* \(2, 3\)"):
        plotting.plot_energy_spectra({"a": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"'probe' .*\['x'\] and \['y'\]"):
        plotting.plot_scores_against_sweep({"probe": {"x": 1.0}}, {"y": 1.0})
    with pytest.raises(ValueError, match="'probe' has no layers"):
        plotting.plot_layer_scores({"probe": {}})


def test_missing_matplotlib_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras-spectral-tl\[plot\]"):
        plotting.plot_fields({"a": np.ones((2, 2))})


def test_a_figure_is_saved_from_its_axes(tmp_path) -> None:
    one = plotting.plot_energy_spectra({"base": FALLING})
    for number, axes in enumerate((one, [one])):
        path = plotting.save_figure(axes, tmp_path / f"{number}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no axes"):
        plotting.save_figure([], tmp_path / "none.png")


def test_curves_of_one_panel_look_different_and_the_truth_is_black() -> None:
    x = np.linspace(1.0, 2.0, 5)
    group = {"filtered DNS": (x, x), **{f"closure {n}": (x, n * x) for n in range(14)}}
    first, second = plotting.plot_curves({"a": group, "b": group}, "x", "y", "xy")
    looks = [(line.get_color(), line.get_linestyle()) for line in first.lines]
    assert len(set(looks)) == len(group)
    assert looks[0][0] == "#000000"
    assert looks == [(line.get_color(), line.get_linestyle()) for line in second.lines]
    assert (first.get_xscale(), first.get_yscale()) == ("log", "log")


def test_curves_that_cannot_be_drawn_are_refused() -> None:
    x = np.ones(3)
    with pytest.raises(ValueError, match="no curves"):
        plotting.plot_curves({"a": {}}, "x", "y")
    with pytest.raises(ValueError, match="one shape"):
        plotting.plot_curves({"a": {"b": (x, x[1:])}}, "x", "y")
    with pytest.raises(ValueError, match="'z'"):
        plotting.plot_curves({"a": {"b": (x, x)}}, "x", "y", "z")


@pytest.mark.parametrize(
    "pair", [("target", "prediction"), ("truth", "filtered DNS"), ("base", "new")]
)
def test_two_lines_of_a_figure_never_look_alike(pair):
    spectra = {label: FALLING for label in pair}
    first, second = plotting.plot_energy_spectra(spectra).get_lines()[:2]
    looks = [(line.get_color(), line.get_linestyle()) for line in (first, second)]
    assert looks[0] != looks[1]


def test_layers_without_a_finite_score_or_result_are_left_out(tmp_path):
    scores = {"s": {"a": math.nan, "b": 0.5, "c": 0.7}}
    (axes,) = plotting.plot_layer_scores(scores)
    (best,) = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert best.get_xdata() == [0.7]
    for sweep in ({"a": 0.1, "b": math.nan, "c": 0.7}, dict.fromkeys("abc", math.nan)):
        found = plotting.plot_scores_against_sweep(scores, sweep)
        plotting.save_figure(found, tmp_path / "figure.png")
        named = {text.get_text() for text in found[0].texts}
        assert named == {name for name in "bc" if math.isfinite(sweep[name])}


@pytest.mark.parametrize("count", [8, 9])
def test_zero_wavenumber_is_in_the_middle_of_its_pixel(count):
    half = np.zeros((count, count // 2 + 1))
    half[0, 0] = 1.0
    centre = np.zeros((1, count, count))
    centre[0, count // 2, count // 2] = 1.0
    figures = (
        plotting.plot_transfer_functions({"a": half}, (count, count)),
        plotting.plot_kernel_clusters(centre, [3]),
    )
    for (axes,) in figures:
        (image,) = axes.get_images()
        values, (low, high, bottom, top) = image.get_array(), image.get_extent()
        row, column = np.unravel_index(np.argmax(values), values.shape)
        assert low + (column + 0.5) * (high - low) / values.shape[1] == pytest.approx(0)
        assert bottom + (row + 0.5) * (top - bottom) / len(values) == pytest.approx(0)


def test_losses_below_zero_have_a_linear_axis():
    steps = np.linspace(-1.0, 1.0, 5)
    (axes,) = plotting.plot_loss_lines(steps, {"a": {"random 1": steps**2 - 0.5}})
    assert axes.get_yscale() == "linear" and axes.get_ylim()[0] < -0.5
    (axes,) = plotting.plot_loss_lines(steps, {"a": {"random 1": steps**2 + 0.5}})
    assert axes.get_yscale() == "log"
    broken = np.array([math.nan, 2.0, 1.0, 2.0, math.inf])
    (axes,) = plotting.plot_loss_lines(steps, {"a": {"random 1": broken}})
    assert axes.get_yscale() == "log"


def test_bad_figures_are_refused_in_words():
    fields = np.ones((2, 4, 4))
    with pytest.raises(ValueError, match=r"each wavenumber.*\(3, 8\)"):
        plotting.plot_coherence({"a": np.ones((3, 8))})
    with pytest.raises(ValueError, match="num_samples"):
        plotting.plot_predictions(fields, fields, num_samples=0)
    assert plotting.plot_fields({1: fields[0]})[0].get_title() == "1"
