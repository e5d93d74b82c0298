"""Images made of arrays alone, where a figure would take too long."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_rgb(
    values: ArrayLike, low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """Return colours of an array from dark blue (lowest) to yellow ("cividis").

    Args:
        values: (height, width).
        low: The value at the dark end; by default the smallest finite one.
        high: The value at the bright end; by default the largest finite one.

    Returns:
        (height, width, 3). Values that are not finite are white.

    Example:
        >>> to_rgb([[0.0, 1.0, np.nan]]).tolist()
        [[[0, 34, 78], [254, 232, 56], [255, 255, 255]]]
    """
    from matplotlib import colormaps

    colours = colormaps["cividis"].colors
    array = np.asarray(values, float)
    finite = np.isfinite(array)
    known = array[finite] if finite.any() else np.zeros(1)
    bottom = float(known.min()) if low is None else low
    top = float(known.max()) if high is None else high
    share = (np.where(finite, array, bottom) - bottom) / ((top - bottom) or 1.0)
    places = np.linspace(0, 1, len(colours))
    channels = [np.interp(share, places, c) for c in np.transpose(colours)]
    image = 255.0 * np.stack(channels, axis=-1)
    image[~finite] = 255.0
    return image.round().astype(np.uint8)


def enlarged(image: NDArray[np.uint8], num_pixels: int = 192) -> NDArray[np.uint8]:
    """Repeats pixels until the longer side has about ``num_pixels``, none are mixed.

    Args:
        image: (height, width, 3).
        num_pixels: Wanted size of the longer side.

    Example:
        >>> enlarged(np.zeros((2, 4, 3), np.uint8), 8).shape
        (4, 8, 3)
    """
    factor = max(1, num_pixels // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def centred_plane(half: ArrayLike, num_columns: int) -> NDArray[np.float64]:
    """The full plane of a function even in k, k = 0 at index n // 2, from its half.

    Args:
        half: (nx, ny // 2 + 1), in the layout of ``numpy.fft.rfft2``.
        num_columns: ny.

    Returns:
        (nx, ny).

    Example:
        >>> kernel = np.array([[0.0, 1.0, 2.0, 0.0], [0.0] * 4])
        >>> full = np.abs(np.fft.fftshift(np.fft.fft2(kernel)))
        >>> half = np.abs(np.fft.rfft2(kernel))
        >>> bool(np.allclose(centred_plane(half, 4), full))
        True
    """
    values = np.asarray(half, float)
    columns = np.arange(values.shape[1], num_columns)
    rows = -np.arange(len(values)) % len(values)
    mirrored = values[rows][:, num_columns - columns]
    return np.fft.fftshift(np.concatenate([values, mirrored], axis=1))
