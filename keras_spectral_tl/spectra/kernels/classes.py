"""Low-, band- and high-pass kernels, told apart in the same way on every grid."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_array
from keras_spectral_tl.spectra.kernels.gabor_atoms import explained_shares
from keras_spectral_tl.spectra.kernels.shapes import KernelShapes, kernel_shapes

KERNEL_CLASSES = ("low-pass", "band-pass", "high-pass", "all-pass", "unstructured")

# The usual edge of a passband, -3 dB.
HALF_POWER = 0.5
# Of white-noise kernels, this share is called structured by mistake.
_LEVEL = 0.01
_NUM_NOISE = 2000
# Where noise is explained to this share, structure cannot be told from it.
_INDISTINCT = 0.9


def classify_kernels(
    kernels: NDArray[np.float64],
    dilation: tuple[int, ...] | None = None,
    shapes: KernelShapes | None = None,
) -> NDArray[np.str_]:
    """Class of each kernel by what its passband contains.

    The passband is where ``|F(k)|^2`` is at least half its maximum. A kernel is

    - unstructured, if its best Gabor atom explains no more of its energy than that of
      99 % of white-noise kernels of its size does (`noise_share`), or if it is zero;
    - low-pass, if its passband contains k = 0 but no point of the edge of the Brillouin
      zone, the Nyquist wavenumber of one of the axes;
    - high-pass, if it contains a point of the edge but not k = 0;
    - band-pass (the class of oriented Gabor filters), if it contains neither;
    - all-pass, if it contains both: a delta, or a smoothing along one axis alone.

    k is in radians a grid spacing and F the continuous transform, sampled on
    `kernel_transforms.fine_grid`, so the class does not depend on any grid of fields.

    Args:
        kernels: (kernels, *size) with one to three axes of points.
        dilation: Grid spacings between the kernel points; by default 1.
        shapes: `kernel_shapes` of the same kernels, if at hand.

    Returns:
        (kernels,) strings, each one of `KERNEL_CLASSES`.

    Example:
        >>> x = np.arange(5) - 2.0
        >>> smooth = np.exp(-np.add.outer(x**2, x**2) / 2)
        >>> checked = smooth * (-1) ** np.add.outer(x, x)
        >>> classify_kernels(np.stack([smooth, checked])).tolist()
        ['low-pass', 'high-pass']
    """
    values = real_array("kernels", kernels)
    measured = shapes or kernel_shapes(values, dilation)
    passes_dc = measured.dc_shares >= HALF_POWER
    passes_edge = measured.edge_shares >= HALF_POWER
    index = np.array([[1, 2], [0, 3]])[passes_dc.astype(int), passes_edge.astype(int)]
    shares = explained_shares(values)[0][:, 0]
    unstructured = (shares <= noise_share(values.shape[1:])) | (shares == 0)
    index[unstructured] = KERNEL_CLASSES.index("unstructured")
    return np.asarray(np.array(KERNEL_CLASSES)[index])


@lru_cache(maxsize=32)
def noise_share(size: tuple[int, ...]) -> float:
    """Share of its energy that the best atom explains of a white-noise kernel.

    The quantile 0.99 over 2,000 kernels (seeded), see
    `kernel_gabor_atoms.explained_shares`. Kernels of few points always look like some
    atom: where the quantile is above 0.9, as for 5 or 3 x 3 points, 0 is returned, and
    no kernel of that size is called unstructured.

    Args:
        size: Points of the kernel along each axis.

    Example:
        >>> round(noise_share((5, 5)), 1), noise_share((3, 3))
        (0.6, 0.0)
    """
    noise = np.random.default_rng(0).standard_normal((_NUM_NOISE, *size))
    share = float(np.quantile(explained_shares(noise)[0], 1 - _LEVEL))
    return share if share <= _INDISTINCT else 0.0


def class_counts(classes: NDArray[np.str_]) -> dict[str, int]:
    """Number of kernels in each class.

    Args:
        classes: What `classify_kernels` returns, of any shape.

    Example:
        >>> class_counts(np.array(["low-pass", "low-pass"]))["low-pass"]
        2
    """
    return {name: int(np.count_nonzero(classes == name)) for name in KERNEL_CLASSES}
