"""What retraining changed in the kernels of one layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.spectra.kernels.change_noise import (
    ChangeSignificance,
    change_significance,
    sign_flip_p_value,
)
from keras_spectral_tl.spectra.kernels.classes import KERNEL_CLASSES, classify_kernels
from keras_spectral_tl.spectra.kernels.transforms import (
    fine_grid,
    mode_weights,
    transform_chunks,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayerKernelChanges:
    """Kernels K_0 before and K_1 after retraining; row = input * outputs + output.

    ``|.|`` is the Frobenius norm; by Parseval ``|K|^2`` is the mean of ``|F[K](k)|^2``
    over the Brillouin zone.

    Attributes:
        shape: (inputs, outputs).
        norms_before: (kernels,) ``|K_0|``.
        norms_after: (kernels,) ``|K_1|``.
        change_norms: (kernels,) ``|K_1 - K_0|``, the RMS change of the transform.
        spectral_distances: (kernels,) what no gain g explains of the new spectrum,
            ``min_g | |F[K_1]| - g |F[K_0]| | / | |F[K_1]| |``: the sine of the angle
            between the two transfer functions. 0 if both are zero, 1 if one is.
        power_changes: (half plane of the fine grid) mean over the kernels of
            ``|F[K_1]|^2 - |F[K_0]|^2``: where the layer gained or lost.
        classes_before: (kernels,) strings, see `classify_kernels`.
        classes_after: (kernels,) the same after retraining.
        significance: Against a reseeded retraining, or None.
    """

    shape: tuple[int, int]
    norms_before: Array
    norms_after: Array
    change_norms: Array
    spectral_distances: Array
    power_changes: Array
    classes_before: NDArray[np.str_]
    classes_after: NDArray[np.str_]
    significance: ChangeSignificance | None

    @property
    def relative_changes(self) -> Array:
        """(kernels,) ``|K_1 - K_0| / |K_0|``, infinite if a zero kernel changed."""
        return _ratio(self.change_norms, self.norms_before)

    @property
    def norm_changes(self) -> Array:
        """(kernels,) ``|K_1| / |K_0| - 1``, infinite if a zero kernel changed."""
        return _ratio(self.norms_after - self.norms_before, self.norms_before)

    @property
    def relative_change(self) -> float:
        """``|K_1 - K_0| / |K_0|`` of all kernels of the layer as one vector."""
        norms = map(np.linalg.norm, (self.change_norms, self.norms_before))
        return float(_ratio(*(np.atleast_1d(norm) for norm in norms))[0])

    def by_class(self) -> dict[str, dict[str, float]]:
        """Means over the kernels of each class before retraining, classes with any.

        Returns:
            Class to ``count``, ``stayed`` (share still in the class), and the means
            ``relative_change``, ``norm_change``, ``spectral_distance``; with a reseeded
            retraining also ``agreement`` and its sign-flip ``p_value``.
        """
        table = {}
        for name in KERNEL_CLASSES:
            chosen = self.classes_before == name
            if not chosen.any():
                continue
            table[name] = {
                "count": float(chosen.sum()),
                "stayed": float(np.mean(self.classes_after[chosen] == name)),
                "relative_change": float(self.relative_changes[chosen].mean()),
                "norm_change": float(self.norm_changes[chosen].mean()),
                "spectral_distance": float(self.spectral_distances[chosen].mean()),
            }
            if self.significance is not None:
                agreements = self.significance.agreements[chosen]
                table[name]["agreement"] = float(agreements.mean())
                table[name]["p_value"] = sign_flip_p_value(agreements)
        return table

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        numbers = {
            name: values.tolist() if isinstance(values, np.ndarray) else values
            for name, values in vars(self).items()
        }
        numbers["shape"] = list(self.shape)
        noise = self.significance
        numbers["significance"] = None if noise is None else noise.to_dict()
        return {**numbers, "by_class": self.by_class()}


def layer_kernel_changes(
    before: Array,
    after: Array,
    reseeded: Array | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dilation: tuple[int, ...] | None = None,
    seed: int = 0,
) -> LayerKernelChanges:
    """Compares the kernels of one layer before and after retraining.

    Args:
        before: (kernels, *size) K_0.
        after: K_1, of the same shape.
        reseeded: K_2 of a retraining with another seed.
        shape: (inputs, outputs); by default (1, kernels).
        dilation: Grid spacings between the kernel points; by default 1.
        seed: Of the sign-flip test.

    Returns:
        The changes.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> before = np.random.default_rng(0).normal(size=(4, 5, 5))
        >>> changes = layer_kernel_changes(before, -3 * before)
        >>> changes.norm_changes.round(6), changes.spectral_distances.round(6)
        (array([2., 2., 2., 2.]), array([0., 0., 0., 0.]))
    """
    others = [after] if reseeded is None else [after, reseeded]
    if any(other.shape != before.shape for other in others):
        raise ValueError(
            "Kernels before and after retraining must have one shape. Received "
            f"{before.shape} and {[other.shape for other in others]}."
        )
    distances, power_changes = _spectral_changes(before, after, dilation)
    noise = None
    if reseeded is not None:
        noise = change_significance(after - before, reseeded - before, seed)
    return LayerKernelChanges(
        shape=shape or (1, len(before)),
        norms_before=_norms(before),
        norms_after=_norms(after),
        change_norms=_norms(after - before),
        spectral_distances=distances,
        power_changes=power_changes,
        classes_before=classify_kernels(before, dilation),
        classes_after=classify_kernels(after, dilation),
        significance=noise,
    )


def _spectral_changes(
    before: Array, after: Array, dilation: tuple[int, ...] | None
) -> tuple[Array, Array]:
    """Sine of the angle between transfer functions; mean change of power."""
    steps = dilation or (1,) * (before.ndim - 1)
    pairs = zip(before.shape[1:], steps, strict=True)
    grid = fine_grid(tuple((size - 1) * step + 1 for size, step in pairs))
    modes = mode_weights(grid)
    distances, total = np.empty(len(before)), np.zeros(len(modes))
    old_chunks = transform_chunks(before, grid, steps)
    new_chunks = transform_chunks(after, grid, steps)
    for (rows, old_hat), (_, new_hat) in zip(old_chunks, new_chunks, strict=True):
        old, new = (np.abs(f).reshape(len(f), -1) for f in (old_hat, new_hat))
        total += np.sum(new**2 - old**2, axis=0)
        old_unit, new_unit = (_unit(values * np.sqrt(modes)) for values in (old, new))
        # The chord keeps digits that the cosine of a small angle loses.
        chord = np.linalg.norm(old_unit - new_unit, axis=1)
        sine = chord * np.sqrt(np.maximum(1 - chord**2 / 4, 0.0))
        one_is_zero = np.any(old_unit, axis=1) != np.any(new_unit, axis=1)
        distances[rows] = np.where(one_is_zero, 1.0, np.minimum(sine, 1.0))
    shape = (*grid[:-1], grid[-1] // 2 + 1)
    return distances, (total / len(before)).reshape(shape)


def _unit(rows: Array) -> Array:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def _norms(kernels: Array) -> Array:
    return np.asarray(np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1))


def _ratio(change: Array, base: Array) -> Array:
    """Relative change; of nothing it is 0 or infinite."""
    infinite = np.where(change != 0, np.inf, 0.0)
    return np.divide(change, base, out=infinite, where=base > 0)
