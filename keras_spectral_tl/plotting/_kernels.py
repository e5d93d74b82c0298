"""Figures of kernels: transfer functions, classes, clusters, fits and changes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._shells import full_plane
from keras_spectral_tl.plotting._style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MAGNITUDES,
    ORANGE,
    PINK,
    SIGNS,
    SKY,
    draw_map,
    finish,
    new_figure,
    panels,
    require,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLASS_COLOURS = {
    "low-pass": BLUE,
    "band-pass": GREEN,
    "high-pass": ORANGE,
    "all-pass": SKY,
    "unstructured": GREY,
}
# Hatches distinguish the classes in grey, too.
_CLASS_HATCHES = {"low-pass": "//", "high-pass": "\\\\", "all-pass": ".."}
_CLASS_MARKERS = {"low-pass": "v", "band-pass": "o", "high-pass": "^", "all-pass": "s"}


def plot_transfer_functions(
    halves: Mapping[str, ArrayLike], num_points: tuple[int, int], *, ax: Any = None
) -> "list[Axes]":
    """Draw transfer functions over the wavenumber plane, k = 0 in the middle.

    Args:
        halves: Label to ``|F|`` (nx, ny // 2 + 1), as ``mean_transfer`` of
            `keras_spectral_tl.kernel_spectra`.
        num_points: (nx, ny) of the grid.
        ax: Axes to draw in, one per label; by default a new figure.

    Raises:
        ValueError: If there is none, or one does not fit the grid.

    Example:
        >>> half = np.ones((8, 5))
        >>> plot_transfer_functions({"conv_1": half}, (8, 8))[0].get_xlabel()
        '$k_x$'
    """
    require(bool(halves), "plot_transfer_functions needs at least one label.")
    nx, ny = num_points
    figure, all_axes = panels(len(halves), 3, (3.2, 2.4), ax)
    for axes, (label, half) in zip(all_axes, halves.items(), strict=True):
        values = np.asarray(half, float)
        require(
            values.shape == (nx, ny // 2 + 1),
            f"{label!r} must have shape {(nx, ny // 2 + 1)} on a grid of {num_points}. "
            f"Received {values.shape}.",
        )
        extent = [
            edge - n // 2 for n in num_points for edge in (-0.5, n - 0.5)
        ]  # each wavenumber at the centre of its pixel
        plane = full_plane(values, ny)
        image = draw_map(axes, plane, extent=extent, cmap=MAGNITUDES, vmin=0)
        figure.colorbar(image, ax=axes, shrink=0.8, label="mean |F|")
        axes.set(title=label, xlabel="$k_x$", ylabel="$k_y$")
    return all_axes


def plot_wavenumber_plane(
    label: str, wavenumbers: NDArray[np.float64], *, ax: Any = None
) -> "list[Axes]":
    """Draw wavenumbers (kernels, 1 or 2) in the Brillouin zone, in radians/spacing."""
    rank = wavenumbers.shape[1]
    shape = wavenumbers.shape
    require(rank < 3, f"{label!r} must have shape (kernels, 2). Received {shape}.")
    _, (axes,) = panels(1, 1, (2.9, 2.7), ax)
    x, y = wavenumbers[:, 0], wavenumbers[:, 1] if rank == 2 else wavenumbers[:, 0] * 0
    axes.plot(x, y, "o", color=BLUE, markersize=3, alpha=0.5)
    _zone_ticks(axes, np.pi)
    axes.set(title=label, xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), aspect="equal")
    return [axes]


def _draw_zone(
    axes: "Axes", values: NDArray[np.float64], largest: float | None = None
) -> Any:
    """Draw (n, n) wavenumbers, 0 in the middle, on [-1, 1]^2, in units of pi."""
    count = len(values)
    if count % 2 == 0:  # -pi is also at pi
        values = np.pad(values, (0, 1), mode="wrap")
    edge = len(values) / count
    extent = (-edge, edge, -edge, edge)
    return draw_map(axes, values, cmap=MAGNITUDES, extent=extent, vmin=0, vmax=largest)


def _zone_ticks(axes: "Axes", edge: float) -> None:
    axes.set_xticks((-edge, 0, edge), ("-π", "0", "π"))
    axes.set_yticks((-edge, 0, edge), ("-π", "0", "π"))
    axes.set_xlabel("$k_x$")
    axes.set_ylabel("$k_y$")


def plot_kernel_classes(
    shares: Mapping[str, Mapping[str, float]], *, ax: Any = None
) -> "Axes":
    """Draw the share of the kernels in each class, one bar per layer.

    Args:
        shares: Layer name to {class: share}, as ``class_shares``.
        ax: Axes to draw in; by default a new figure.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> axes = plot_kernel_classes({"conv_1": {"low-pass": 0.4, "high-pass": 0.6}})
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['low-pass', 'high-pass']
    """
    require(bool(shares), "plot_kernel_classes needs at least one layer.")
    kinds = list(dict.fromkeys(kind for row in shares.values() for kind in row))
    _, (axes,) = panels(1, 1, (5.6, 0.35 * len(shares) + 1.2), ax)
    rows = np.arange(len(shares))
    left = np.zeros(len(shares))
    for kind in kinds:
        widths = np.array([row.get(kind, 0.0) for row in shares.values()])
        axes.barh(
            rows, widths, left=left, color=_CLASS_COLOURS.get(kind, PINK),
            hatch=_CLASS_HATCHES.get(kind), edgecolor="white", label=kind,
        )  # fmt: skip
        left += widths
    axes.set_yticks(rows, list(shares))
    axes.invert_yaxis()
    axes.margins(x=0)
    axes.set_xlabel("share of the kernels")
    axes.legend(
        ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize=8
    )
    return axes


def plot_kernel_clusters(
    centres: ArrayLike, sizes: Sequence[int], *, ax: Any = None
) -> "list[Axes]":
    """Draw cluster centres of transfer functions over the wavenumber plane.

    Args:
        centres: (clusters, n, n), k = 0 in the middle.
        sizes: (clusters,) number of kernels in each.
        ax: Axes to draw in, one per cluster; by default a new figure.

    Raises:
        ValueError: If the shapes are not as above.

    Example:
        >>> all_axes = plot_kernel_clusters(np.ones((2, 8, 8)), [5, 3])
        >>> [axes.get_title() for axes in all_axes]
        ['5 kernels', '3 kernels']
    """
    images = np.asarray(centres, float)
    require(
        images.ndim == 3 and len(images) == len(sizes) > 0,
        "Expected centres (clusters, n, n) and as many sizes. Received shape "
        f"{images.shape} and {len(sizes)} sizes.",
    )
    figure, all_axes = panels(len(images), 4, (2.2, 2.2), ax)
    for axes, image, size in zip(all_axes, images, sizes, strict=True):
        shown = _draw_zone(axes, image, images.max())
        axes.set_title(f"{size} kernels", fontsize=10)
        _zone_ticks(axes, 1)
    figure.colorbar(shown, ax=all_axes, label="|F| / rms |F|")
    return all_axes


def plot_gabor_fits(
    kernels: ArrayLike, fits: ArrayLike, residuals: ArrayLike, *, ax: Any = None
) -> "list[Axes]":
    """Draw kernels in the upper row, the Gabor functions fitted to them below.

    Args:
        kernels: (kernels, nx, ny).
        fits: (kernels, nx, ny), as ``kernels()`` of `spectra.fit_gabor`'s result.
        residuals: (kernels,) ``|kernel - fit| / |kernel|``, written above each pair.
        ax: Axes to draw in, two per kernel; by default a new figure.

    Returns:
        The axes of the maps: all kernels, then all fits.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> kernel = np.eye(5)[None]
        >>> len(plot_gabor_fits(kernel, kernel, [0.0]))
        2
    """
    rows = [np.asarray(values, float) for values in (kernels, fits)]
    names = np.asarray(residuals, float)
    require(
        rows[0].ndim == 3 and rows[0].shape == rows[1].shape and rows[0].size > 0
        and len(names) == len(rows[0]),
        "Expected kernels and fits (kernels, nx, ny) and a residual each. Received "
        f"{rows[0].shape}, {rows[1].shape} and {names.shape}.",
    )  # fmt: skip
    count = len(names)
    _, all_axes = panels(2 * count, count, (1.1, 1.25), ax)
    for place, axes in enumerate(all_axes):
        row, column = divmod(place, count)
        limit = float(np.abs(rows[0][column]).max()) or 1.0
        draw_map(axes, rows[row][column], cmap=SIGNS, vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[])
        if row == 0:
            axes.set_title(f"{names[column]:.2f}", fontsize=9)
    all_axes[0].set_ylabel("kernel")
    all_axes[count].set_ylabel("Gabor fit")
    return all_axes


def plot_kernel_changes(
    changes: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]], *, ax: Any = None
) -> "list[Axes]":
    """Draw the change of each kernel against its agreement between two retrainings.

    Args:
        changes: Layer name to (relative change, agreement, class) of its kernels, as
            ``relative_changes``, ``significance.agreements``, ``classes_before``.
        ax: Axes to draw in, one per layer; by default a new figure.

    Raises:
        ValueError: If there is no layer, or its three arrays differ in length.

    Example:
        >>> moved = np.array([0.1, 0.2])
        >>> found = plot_kernel_changes({"conv": (moved, moved, ["low-pass"] * 2)})
        >>> found[0].get_title()
        'conv'
    """
    require(bool(changes), "plot_kernel_changes needs at least one layer.")
    _, all_axes = panels(len(changes), 3, (4.2, 3.2), ax)
    drawn: dict[str, Any] = {}
    for axes, (layer, arrays) in zip(all_axes, changes.items(), strict=True):
        moved, agreement, kinds = (np.ravel(np.asarray(values)) for values in arrays)
        require(
            len(moved) == len(agreement) == len(kinds),
            f"Layer {layer!r} has {len(moved)} changes, {len(agreement)} agreements "
            f"and {len(kinds)} classes.",
        )
        # Draw unstructured kernels first, as many of them would cover the few others.
        for place, (kind, colour) in enumerate(_CLASS_COLOURS.items()):
            chosen = kinds == kind
            if chosen.any():
                marker = _CLASS_MARKERS.get(kind, "x")
                (drawn[kind],) = axes.plot(
                    moved[chosen], agreement[chosen], marker, color=colour,
                    markersize=4 if kind == "unstructured" else 6, zorder=8 - place,
                    alpha=0.7, linestyle="none",
                )  # fmt: skip
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlim(left=0)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(layer)
    xlabel = "relative change |K₁ − K₀| / |K₀|"
    finish(all_axes, xlabel, "agreement of two seeds (cosine)", drawn, ax)
    return all_axes


def plot_filters(
    filters: ArrayLike,
    shares: Sequence[float],
    names: Sequence[str],
    noise_shares: Sequence[float],
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw filters as images, their transfer functions below, and all shares.

    There may be more shares than filters; the noise shares are drawn beside them.
    """
    images, heights = np.asarray(filters, float), np.asarray(shares, float)
    require(
        images.ndim == 3 and 0 < len(images) == len(names) <= len(heights),
        "Expected filters (filters, nx, ny), a name each and at least as many shares. "
        f"Received {images.shape}, {len(names)} names and {heights.shape}.",
    )
    count = len(images)
    if ax is None:
        figure = new_figure(max(1.5 * count, 3.5), 5.2)
        grid = figure.add_gridspec(3, count)
        cells = [grid[row, column] for row in (0, 1) for column in range(count)]
        ax = [figure.add_subplot(cell) for cell in (*cells, grid[2, :])]
    _, all_axes = panels(2 * count + 1, count, (1.5, 1.7), ax)
    for place, (image, name) in enumerate(zip(images, names, strict=True)):
        limit = float(np.abs(image).max()) or 1.0
        draw_map(all_axes[place], image, cmap=SIGNS, vmin=-limit, vmax=limit)
        all_axes[place].set_title(f"{name}\n{heights[place]:.0%}", fontsize=8)
        all_axes[place].set(xticks=[], yticks=[])
        transfer = np.abs(np.fft.fftshift(np.fft.fft2(image, s=(64, 64))))
        below = all_axes[count + place]
        _draw_zone(below, transfer)
        below.set_xticks((-1, 0, 1), ("-π", "0", "π"), fontsize=7)
        below.set_yticks((-1, 0, 1), ("-π", "0", "π"), fontsize=7)
    all_axes[0].set_ylabel("filter")
    all_axes[count].set_ylabel("|F|(k)")
    bars = all_axes[-1]
    bars.bar(np.arange(1, len(heights) + 1), heights, color=BLUE)
    places = np.arange(1, len(noise_shares) + 1)
    bars.plot(places, noise_shares, "_", color=BLACK, markersize=9)
    bars.legend(["reached by noise"], fontsize=8)
    bars.set(xlabel="filter", ylabel="share of energy")
    return all_axes
