"""Maps of fields, and of truth and prediction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl._checks import whole_number
from keras_spectral_tl.plotting._style import SIGNS, draw_map, panels, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TWO_PI = 2 * np.pi


def plot_fields(
    fields: Mapping[str, ArrayLike], unit: str = "", *, ax: Any = None
) -> "list[Axes]":
    """Draw maps of fields on [0, 2 pi)^2, each on its own symmetric scale.

    Args:
        fields: Label to field (nx, ny), axis 0 along x (drawn to the right).
        unit: Label of the colour scale, such as "standard deviations".
        ax: Axes to draw in, one per field; by default a new figure.

    Raises:
        ValueError: If there is no field, or one is not 2-D.

    Example:
        >>> wave = np.sin(_TWO_PI * np.arange(16) / 16)
        >>> all_axes = plot_fields({"vorticity": np.outer(wave, wave)})
        >>> all_axes[0].get_xlabel()
        'x'
    """
    maps = {label: np.asarray(field, float) for label, field in fields.items()}
    require(bool(maps), "plot_fields needs at least one field. Received none.")
    for label, field in maps.items():
        require(
            field.ndim == 2,
            f"Field {label!r} must have shape (nx, ny). Received {field.shape}.",
        )
    columns = 2 if len(maps) == 4 else 3
    figure, all_axes = panels(len(maps), columns, (3.6, 3.1), ax)
    for axes, (label, field) in zip(all_axes, maps.items(), strict=True):
        image = _draw_field(axes, field, symmetric_limit(field))
        figure.colorbar(image, ax=axes, shrink=0.85, label=unit)
        axes.set_title(str(label).replace("_", " "), fontsize=10)
    return all_axes


def plot_predictions(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    num_samples: int = 3,
    title: str = "",
    *,
    ax: Any = None,
) -> "list[Axes]":
    """Draw truth, prediction and their difference, one row and scale per sample.

    Args:
        y_true: True sgs_forcing, (samples, nx, ny) or (samples, nx, ny, 1).
        y_pred: Predicted sgs_forcing, same shape.
        num_samples: Largest number of rows.
        title: Title of the figure, such as network and flow.
        ax: Axes to draw in, three per row; by default a new figure.

    Raises:
        ValueError: If the shapes differ or are not as above.

    Example:
        >>> truth = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> all_axes = plot_predictions(truth, 0.5 * truth)
        >>> [axes.get_title() for axes in all_axes[:3]]
        ['truth', 'prediction', 'prediction − truth']
    """
    truth, prediction = (np.asarray(values, float) for values in (y_true, y_pred))
    require(
        truth.shape == prediction.shape and truth.size > 0,
        "y_true and y_pred must have one shape and not be empty. Received "
        f"{truth.shape} and {prediction.shape}.",
    )
    if truth.ndim == 4 and truth.shape[-1] == 1:
        truth, prediction = truth[..., 0], prediction[..., 0]
    require(
        truth.ndim == 3,
        "Expected (samples, nx, ny) or (samples, nx, ny, 1). Received shape "
        f"{truth.shape}.",
    )
    rows = min(whole_number("num_samples", num_samples, 1), len(truth))
    figure, all_axes = panels(3 * rows, 3, (2.9, 2.7), ax)
    titles = ("truth", "prediction", "prediction − truth")
    for row in range(rows):
        limit = symmetric_limit(truth[row])
        maps = (truth[row], prediction[row], prediction[row] - truth[row])
        row_panels = all_axes[3 * row : 3 * row + 3]
        for axes, field, name in zip(row_panels, maps, titles, strict=True):
            image = _draw_field(axes, field, limit)
            axes.set_title(name if row == 0 else "")
            axes.label_outer()
        figure.colorbar(image, ax=row_panels, label="sgs forcing", extend="both")
    if title and ax is None:
        figure.suptitle(title)
    return all_axes


def _draw_field(axes: "Axes", field: NDArray[np.float64], limit: float) -> Any:
    """Draw one map with x to the right, colours symmetric about 0."""
    extent = (0, _TWO_PI, 0, _TWO_PI)
    image = draw_map(axes, field, extent=extent, cmap=SIGNS, vmin=-limit, vmax=limit)
    ticks, names = (0, np.pi, _TWO_PI), ("0", "π", "2π")
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_xlabel("x")
    axes.set_ylabel("y", rotation=0)
    return image


def symmetric_limit(field: NDArray[np.float64]) -> float:
    """Return a colour limit that is robust to a few extreme points."""
    limit = float(np.nanpercentile(np.abs(field), 99.5))
    return limit if np.isfinite(limit) and limit > 0 else 1.0
