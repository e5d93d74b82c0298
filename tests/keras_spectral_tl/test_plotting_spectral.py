"""Figures of kernels, ratios and landscapes: they show the numbers they were given."""

import numpy as np
import pytest

from keras_spectral_tl import plotting
from keras_spectral_tl.spectra import radial_spectrum
from keras_spectral_tl.spectra._convolutions import kernel_transform
from tests.keras_spectral_tl.common import rendered

pytestmark = pytest.mark.once


def test_a_transfer_function_lies_where_its_waves_are() -> None:
    """A difference along x is largest at kx = +-n / 4, whatever ky."""
    kernel = np.array([[1.0], [0.0], [-1.0]])
    half = np.abs(kernel_transform(kernel, (16, 12)))
    (axes,) = plotting.plot_transfer_functions({"d/dx": half}, (16, 12))
    image = axes.get_images()[0]
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (-8.5, 7.5, -6.5, 5.5)
    drawn = np.asarray(image.get_array())
    assert drawn.shape == (12, 16)  # rows are ky
    columns = np.arange(-8, 8)[drawn[0] > 1.99]
    assert set(columns) == {-4, 4}
    np.testing.assert_allclose(drawn, np.broadcast_to(drawn[0], drawn.shape), atol=1e-9)
    rendered(axes)


def test_bars_of_classes_add_up_and_follow_the_layers() -> None:
    shares = {"a": {"low-pass": 0.25, "high-pass": 0.75}, "b": {"low-pass": 1.0}}
    axes = plotting.plot_kernel_classes(shares)
    widths = [[bar.get_width() for bar in row] for row in axes.containers]
    assert widths == [[0.25, 1.0], [0.75, 0.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    rendered(axes)


def test_clusters_fits_and_changes_are_drawn_as_given() -> None:
    centres = np.random.default_rng(0).random((3, 8, 8))
    all_axes = plotting.plot_kernel_clusters(centres, [5, 3, 2])
    drawn = [np.asarray(axes.get_images()[0].get_array()) for axes in all_axes]
    # The edge of an even number of modes, -pi, is also at pi.
    whole = np.pad(centres, ((0, 0), (0, 1), (0, 1)), mode="wrap")
    np.testing.assert_array_equal(drawn, whole.swapaxes(1, 2))
    rendered(all_axes)
    kernels = np.random.default_rng(1).normal(size=(4, 5, 5))
    all_axes = plotting.plot_gabor_fits(kernels, 0.5 * kernels, [0.5] * 4)
    top, bottom = (all_axes[i].get_images()[0] for i in (1, 5))
    np.testing.assert_allclose(bottom.get_array(), 0.5 * np.asarray(top.get_array()))
    assert top.get_clim()[0] == -top.get_clim()[1]
    rendered(all_axes)
    kinds = np.array(["low-pass", "high-pass", "high-pass"])
    moved, alike = np.array([0.1, 0.2, 0.4]), np.array([0.9, 0.0, -0.5])
    (axes,) = plotting.plot_kernel_changes({"conv": (moved, alike, kinds)})
    high = axes.get_lines()[1]
    np.testing.assert_array_equal(high.get_xydata(), [[0.2, 0.0], [0.4, -0.5]])
    rendered(axes)


def test_ratios_and_coherence_leave_k_0_out() -> None:
    ratio = np.array([9.0, 2.0, 0.0, 4.0])
    (axes,) = plotting.plot_wavenumber_ratios({"conv": {"gain": ratio}})
    line = axes.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, np.nan, 4.0])
    rendered(axes)
    axes = plotting.plot_coherence({"base": ratio / 9, "retrained": ratio / 8})
    np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), ratio[1:] / 8)
    rendered(axes)


def test_ticks_of_ratios_are_plain_numbers() -> None:
    (axes,) = plotting.plot_wavenumber_ratios({"conv": {"gain": [1.0, 0.4, 6.0]}})
    rendered(axes)
    texts = [label.get_text() for label in axes.get_yticklabels(which="both")]
    assert {"0.5", "1", "2", "5"} <= set(texts)
    assert not any("10" in text for text in texts if text not in ("10", "0.1"))


def test_the_classes_of_kernels_fit_above_their_bars() -> None:
    kinds = ("low-pass", "band-pass", "high-pass", "all-pass", "unstructured")
    axes = plotting.plot_kernel_classes({"conv_1": dict.fromkeys(kinds, 0.2)})
    rendered(axes)
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().x1 <= axes.get_window_extent().x1


def test_composition_rows_are_shares() -> None:
    field = np.random.default_rng(0).normal(size=(4, 8, 8))
    matrix = radial_spectrum(field, (1, 2))
    matrix[2] = 0.0
    (axes,) = plotting.plot_composition({"network": matrix})
    shares = np.asarray(axes.get_images()[0].get_array())
    np.testing.assert_allclose(shares.sum(axis=1), [1, 1, 0, 1])
    rendered(axes)


def test_shifts_show_gain_and_shape_apart() -> None:
    shifts = {"a": {"data": (np.log(2.0), 0.1)}, "b": {"data": (0.0, 0.3)}}
    gains, shapes = plotting.plot_spectral_shifts(shifts)
    np.testing.assert_allclose(gains.get_lines()[0].get_ydata(), [2.0, 1.0])
    np.testing.assert_allclose(shapes.get_lines()[0].get_ydata(), [0.1, 0.3])
    rendered(gains)


def test_landscapes_share_a_scale_and_put_the_first_direction_to_the_right() -> None:
    steps = np.linspace(-1, 1, 5)
    lines = {"a": {"gradient": 1 + steps**2}, "b": {"gradient": 100 + steps}}
    one, other = plotting.plot_loss_lines(steps, lines)
    assert one.get_ylim() == other.get_ylim()
    np.testing.assert_array_equal(one.get_lines()[0].get_ydata(), 1 + steps**2)
    rendered([one, other])
    surface = 2 + steps[:, None] + 0 * steps
    axes = plotting.plot_loss_surface(steps, surface, ("gradient", "random"))
    assert axes.get_ylabel() == "random direction"
    pixels = rendered(axes).astype(float)[..., :3].sum(axis=-1)
    box = axes.get_window_extent()
    rows = slice(int(box.y0) + 20, int(box.y1) - 20)
    inside = pixels[rows, int(box.x0) + 5 : int(box.x1) - 5]
    # cividis rises in lightness: the right is brighter than the left.
    assert inside[:, -20:].mean() > inside[:, :20].mean()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(8, 5\) on a grid .* \(8, 8\)"):
        plotting.plot_transfer_functions({"a": np.ones((8, 8))}, (8, 8))
    with pytest.raises(ValueError, match="at least one layer"):
        plotting.plot_kernel_classes({})
    with pytest.raises(ValueError, match="and 1 sizes"):
        plotting.plot_kernel_clusters(np.ones((2, 4, 4)), [1])
    with pytest.raises(ValueError, match=r"\(1, 2, 2\), \(1, 3, 2\)"):
        plotting.plot_gabor_fits(np.ones((1, 2, 2)), np.ones((1, 3, 2)), [0])
    with pytest.raises(ValueError, match="2 changes, 1 agreements"):
        plotting.plot_kernel_changes({"a": ([1, 2], [0], ["low-pass"])})
    with pytest.raises(ValueError, match="panels with lines"):
        plotting.plot_wavenumber_ratios({"a": {}})
    with pytest.raises(ValueError, match="matrix"):
        plotting.plot_composition({"a": np.ones(3)})
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        plotting.plot_loss_lines([0, 1, 2], {"a": {"b": [1, 2]}})
    with pytest.raises(ValueError, match="above 0"):
        plotting.plot_loss_surface([0, 1], np.zeros((2, 2)))
