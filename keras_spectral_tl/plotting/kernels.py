"""Kernels: transfer functions, classes, clusters, Gabor fits and what changed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from keras_spectral_tl.plotting.images import centred_plane
from keras_spectral_tl.plotting.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    SKY,
    label_outer,
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
# Hatches tell the classes apart in grey, too.
_CLASS_HATCHES = {"low-pass": "//", "high-pass": "\\\\", "all-pass": ".."}
_CLASS_MARKERS = {"low-pass": "v", "band-pass": "o", "high-pass": "^", "all-pass": "s"}
# An even map from dark to bright, the same to the colour blind.
_MAGNITUDES = "cividis"


def plot_transfer_functions(
    halves: Mapping[str, ArrayLike], num_points: tuple[int, int]
) -> "list[Axes]":
    """Transfer functions over the plane of wavenumbers, k = 0 in the middle.

    Args:
        halves: Label to ``|F|`` (nx, ny // 2 + 1), as ``mean_transfer`` of
            `keras_spectral_tl.kernel_spectra`.
        num_points: (nx, ny) of the grid.

    Returns:
        The axes of the maps, one a label.

    Raises:
        ValueError: If there is none, or one does not fit the grid.

    Example:
        >>> half = np.ones((8, 5))
        >>> plot_transfer_functions({"conv_1": half}, (8, 8))[0].get_xlabel()
        '$k_x$'
    """
    require(bool(halves), "plot_transfer_functions needs at least one label.")
    nx, ny = num_points
    figure, all_axes = panels(len(halves), columns=4, size=(2.5, 2.3))
    for axes, (label, half) in zip(all_axes, halves.items(), strict=False):
        values = np.asarray(half, float)
        require(
            values.shape == (nx, ny // 2 + 1),
            f"{label!r} must have shape {(nx, ny // 2 + 1)} on a grid of {num_points}. "
            f"Received {values.shape}.",
        )
        extent = (-nx / 2 - 0.5, nx / 2 - 0.5, -ny / 2 - 0.5, ny / 2 - 0.5)
        image = axes.imshow(
            centred_plane(values, ny).T,
            origin="lower",
            extent=extent,
            cmap=_MAGNITUDES,
            vmin=0,
        )
        figure.colorbar(image, ax=axes, shrink=0.8)
        axes.set_title(label)
        axes.set_xlabel("$k_x$")
        axes.set_ylabel("$k_y$")
    return all_axes


def plot_kernel_classes(shares: Mapping[str, Mapping[str, float]]) -> "Axes":
    """Share of the kernels of each class, a bar a layer.

    Args:
        shares: Layer name to {class: share}, as ``class_shares``.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> axes = plot_kernel_classes({"conv_1": {"low-pass": 0.4, "high-pass": 0.6}})
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['low-pass', 'high-pass']
    """
    require(bool(shares), "plot_kernel_classes needs at least one layer.")
    kinds = list(dict.fromkeys(kind for row in shares.values() for kind in row))
    _, (axes,) = panels(1, columns=1, size=(5.6, 0.35 * len(shares) + 1.2))
    rows = np.arange(len(shares))
    left = np.zeros(len(shares))
    for kind in kinds:
        widths = np.array([row.get(kind, 0.0) for row in shares.values()])
        axes.barh(
            rows,
            widths,
            left=left,
            color=_CLASS_COLOURS.get(kind, PINK),
            hatch=_CLASS_HATCHES.get(kind),
            edgecolor="white",
            label=kind,
        )
        left += widths
    axes.set_yticks(rows, list(shares))
    axes.invert_yaxis()
    axes.margins(x=0)
    axes.set_xlabel("share of the kernels")
    axes.legend(
        ncols=len(kinds), loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False,
        fontsize=8,
    )  # fmt: skip
    return axes


def plot_kernel_clusters(centres: ArrayLike, sizes: Sequence[int]) -> "list[Axes]":
    """Centres of clusters of transfer functions over the plane, k = 0 in the middle.

    Args:
        centres: (clusters, n, n), as ``KernelClusters.centres``.
        sizes: (clusters,) kernels in each.

    Returns:
        The axes of the maps, one a cluster.

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
    figure, all_axes = panels(len(images), columns=4, size=(1.9, 2.0))
    for axes, image, size in zip(all_axes, images, sizes, strict=True):
        shown = axes.imshow(
            image.T,
            origin="lower",
            cmap=_MAGNITUDES,
            extent=(-1, 1, -1, 1),
            vmin=0,
            vmax=images.max(),
        )
        axes.set_title(f"{size} kernels", fontsize=10)
        axes.set_xticks((-1, 0, 1), ("-π", "0", "π"))
        axes.set_yticks((-1, 0, 1), ("-π", "0", "π"))
    figure.colorbar(shown, ax=all_axes, label="|F| / rms |F|")
    return all_axes


def plot_gabor_fits(
    kernels: ArrayLike, fits: ArrayLike, residuals: ArrayLike
) -> "list[Axes]":
    """Kernels above, the Gabor functions fitted to them below.

    Args:
        kernels: (kernels, nx, ny).
        fits: The same of the fits, as ``GaborFits.kernels()``.
        residuals: (kernels,) ``|kernel - fit| / |kernel|``, written above each pair.

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
    _, all_axes = panels(2 * count, columns=count, size=(1.1, 1.25))
    for place, axes in enumerate(all_axes):
        row, column = divmod(place, count)
        limit = float(np.abs(rows[0][column]).max()) or 1.0
        axes.imshow(
            rows[row][column].T, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit
        )
        axes.set_xticks([])
        axes.set_yticks([])
        if row == 0:
            axes.set_title(f"{names[column]:.2f}", fontsize=9)
    all_axes[0].set_ylabel("kernel")
    all_axes[count].set_ylabel("Gabor fit")
    return all_axes


def plot_kernel_changes(
    changes: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
) -> "list[Axes]":
    """How far each kernel moved, and whether a reseeded retraining moved it alike.

    Args:
        changes: Layer name to (relative change, agreement, class) of its kernels, as
            ``relative_changes``, ``significance.agreements``, ``classes_before``.

    Returns:
        The axes of the panels, one a layer.

    Raises:
        ValueError: If there is no layer, or its three arrays differ in length.

    Example:
        >>> moved = np.array([0.1, 0.2])
        >>> found = plot_kernel_changes({"conv": (moved, moved, ["low-pass"] * 2)})
        >>> found[0].get_title()
        'conv'
    """
    require(bool(changes), "plot_kernel_changes needs at least one layer.")
    figure, all_axes = panels(len(changes), columns=3, size=(4.2, 3.2))
    drawn: dict[str, Any] = {}
    for axes, (layer, arrays) in zip(all_axes, changes.items(), strict=False):
        moved, agreement, kinds = (np.ravel(np.asarray(values)) for values in arrays)
        require(
            len(moved) == len(agreement) == len(kinds),
            f"Layer {layer!r} has {len(moved)} changes, {len(agreement)} agreements "
            f"and {len(kinds)} classes.",
        )
        for kind, colour in _CLASS_COLOURS.items():
            chosen = kinds == kind
            if chosen.any():
                marker = _CLASS_MARKERS.get(kind, "x")
                (drawn[kind],) = axes.plot(
                    moved[chosen], agreement[chosen], marker, color=colour,
                    markersize=4, alpha=0.7, linestyle="none",
                )  # fmt: skip
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_xlim(left=0)
        axes.set_ylim(-1.05, 1.05)
        axes.set_title(layer)
    label_outer(
        figure, all_axes, "relative change |K₁ − K₀| / |K₀|", "agreement of two seeds"
    )
    figure.legend(
        drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn),
        frameon=False, fontsize=8,
    )  # fmt: skip
    return all_axes
