"""Changes of kernels by retraining: size, spectrum, significance, consistency."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from keras_spectral_tl._checks import real_number
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl.spectra._convolutions import (
    Array,
    Grid,
    convolution_kernels,
    extent_of,
    fine_grid,
    mode_weights,
    spacings,
    transfer_chunks,
)
from keras_spectral_tl.spectra._kernel_shapes import KERNEL_CLASSES, classify_kernels

# Fraction of the energy that is float32 round-off of weights, which is not random.
_ROUND_OFF = 1e-12
_NUM_FLIPS = 999
# Random signs held at once: 999 x 4,096 of them take 33 MB.
_SIGNS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class ChangeSignificance(Result):
    """Comparison of two retrainings: ``d_1 = K_1 - K_0`` and ``d_2 = K_2 - K_0``.

    Both start from the same kernels K_0 and use the same data; only the seed differs.
    Without a common cause the two directions are independent.

    Attributes:
        agreements: (kernels,) cosine of the angle between d_1 and d_2; 0 where one of
            them is zero.
        ratios: (kernels,) ``|d_1 + d_2| / |d_1 - d_2|``, common part over noise: 1 for
            independent directions of equal length, infinite for equal changes; 1 where
            both are zero.
        p_values: (kernels,) one-sided p-values of the agreement if d_2 had a uniformly
            random direction: ``t = c sqrt((n - 1) / (1 - c^2))`` has n - 1 degrees of
            freedom for kernels of n points. 1 where a change is zero. For smooth inputs
            the points of a kernel change together, so there are fewer independent
            directions than n and these p-values are too small: rely on
            `layer_p_value`, which does not depend on n.
        layer_agreement: Mean of ``agreements``.
        layer_p_value: One-sided p-value of the mean agreement in a sign-flip test: the
            sign of every kernel's d_2 is drawn at random, 999 times. It only assumes
            that without a common cause d_2 and -d_2 are equally likely for each kernel.
    """

    agreements: Array
    ratios: Array
    p_values: Array
    layer_agreement: float
    layer_p_value: float

    def significant(self, false_share: float = 0.05) -> NDArray[np.bool_]:
        """Return which kernels have a reproducible change (Benjamini-Hochberg).

        Args:
            false_share: False discovery rate, in (0, 1).

        Returns:
            (kernels,) booleans, see https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
        """
        level = real_number("false_share", false_share, above=0, below=1)
        adjusted = stats.false_discovery_control(self.p_values)
        return np.asarray(adjusted <= level)


def change_significance(
    first_changes: Array, second_changes: Array, seed: int = 0
) -> ChangeSignificance:
    """Compare two retrainings d_1, d_2 (kernels, *size) of the same kernels."""
    first, second = (
        changes.reshape(len(changes), -1) for changes in (first_changes, second_changes)
    )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    moved = lengths > 0
    dots = np.sum(first * second, axis=1)
    cosines = np.divide(dots, lengths, out=np.zeros(len(first)), where=moved)
    cosines = np.clip(cosines, -1.0, 1.0)
    common = np.linalg.norm(first + second, axis=1)
    noise = np.linalg.norm(first - second, axis=1)
    ratios = np.divide(common, noise, out=np.full(len(first), np.inf), where=noise > 0)
    ratios[(common == 0) & (noise == 0)] = 1.0
    return ChangeSignificance(
        agreements=cosines,
        ratios=ratios,
        p_values=np.where(moved, _p_values(cosines, first.shape[1]), 1.0),
        layer_agreement=float(cosines.mean()),
        layer_p_value=sign_flip_p_value(cosines, seed),
    )


def sign_flip_p_value(agreements: Array, seed: int = 0) -> float:
    """Return the p-value of the mean in a sign-flip test with 999 random flips.

    ``(1 + number of flips with a mean at least as large) / (1 + 999)``, so at least
    0.001, and larger for very few kernels.
    """
    rng = np.random.default_rng(seed)
    observed = agreements.sum() - 1e-12 * np.abs(agreements).sum()
    rows = max(1, _SIGNS_AT_ONCE // max(len(agreements), 1))
    reached = 0
    for start in range(0, _NUM_FLIPS, rows):
        count = min(rows, _NUM_FLIPS - start)
        signs = rng.integers(0, 2, size=(count, len(agreements)), dtype=np.int8)
        sums = 2.0 * (signs @ agreements) - agreements.sum()
        reached += int(np.count_nonzero(sums >= observed))
    return (1 + reached) / (1 + _NUM_FLIPS)


def filters_against_noise(
    rows: Array, left: Array, singular: Array, right: Array, level: float, seed: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the energy shares that noise reaches, and which filters exceed them."""
    draws = int(np.ceil(1 / level)) - 1
    rng = np.random.default_rng(seed)
    total = float(np.sum(singular**2))
    noise = np.full(len(singular), np.nan)
    significant = np.zeros(len(singular), bool)
    for step in range(len(singular)):
        rest = rows - (left[:, :step] * singular[:step]) @ right[:step]
        if singular[step] ** 2 <= _ROUND_OFF * total:
            break
        largest = max(_flipped_norm(rest, rng) for _ in range(draws))
        noise[step] = (largest * _edge_ratio(rows.shape, step)) ** 2 / total
        significant[step] = singular[step] ** 2 / total > noise[step] * (1 + 1e-9)
        if not significant[step]:
            break
    return noise, significant


def _flipped_norm(rows: Array, rng: np.random.Generator) -> float:
    """Return the largest singular value after flipping the sign of entries randomly."""
    bits = np.frombuffer(rng.bytes(-(-rows.size // 8)), np.uint8)
    signs = np.unpackbits(bits, count=rows.size).reshape(rows.shape)
    flipped = np.where(signs, rows, -rows)
    if len(flipped) < flipped.shape[1]:
        flipped = flipped.T
    return float(np.sqrt(np.linalg.eigvalsh(flipped.T @ flipped)[-1]))


def _edge_ratio(shape: tuple[int, int], removed: int) -> float:
    """Return the ratio of noise edges after and before removing dimensions.

    White noise of energy E in n x p entries has its largest singular value near
    ``sqrt(E / (n p)) (sqrt(n) + sqrt(p))``; random signs fill all dimensions again.
    """
    sizes = np.array([shape, np.subtract(shape, removed)])
    before, after = np.sqrt(sizes).sum(axis=1) / np.sqrt(sizes.prod(axis=1))
    return float(after / before)


def _p_values(cosines: Array, num_points: int) -> Array:
    """Return the upper-tail probability of the cosine to a random direction."""
    if num_points < 2:  # two numbers have equal or opposite signs
        return np.where(cosines > 0, 0.5, 1.0)
    with np.errstate(divide="ignore"):
        t = cosines * np.sqrt((num_points - 1) / (1 - cosines**2))
    return np.asarray(special.stdtr(num_points - 1, -t))


@dataclass(frozen=True)
class LayerKernelChanges(Result):
    """Changes of one layer's kernels from K_0 to K_1 by retraining.

    The row of a kernel is input * outputs + output. ``|.|`` is the Frobenius norm; by
    Parseval ``|K|^2`` is the mean of ``|F[K](k)|^2`` over the Brillouin zone.

    Attributes:
        shape: (inputs, outputs).
        norms_before: (kernels,) ``|K_0|``.
        norms_after: (kernels,) ``|K_1|``.
        change_norms: (kernels,) ``|K_1 - K_0|``, the RMS change of the transform.
        spectral_distances: (kernels,) part of the new spectrum that no gain g explains,
            ``min_g | |F[K_1]| - g |F[K_0]| | / | |F[K_1]| |``: the sine of the angle
            between the two transfer functions. 0 if both are zero, 1 if one is.
        power_changes: (half plane of the fine grid) mean over the kernels of
            ``|F[K_1]|^2 - |F[K_0]|^2``: where the layer gained or lost power.
        classes_before: (kernels,) strings, see `classify_kernels`.
        classes_after: (kernels,) the same after retraining.
        significance: Comparison with a reseeded retraining, or None.
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
        change, before = map(np.linalg.norm, (self.change_norms, self.norms_before))
        return float(_ratio(change, before))

    def by_class(self) -> dict[str, dict[str, float]]:
        """Return means over the kernels of each class (before retraining).

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
        return {**super().to_dict(), "by_class": self.by_class()}

    def summary(self) -> dict[str, Any]:
        """Return the relative change, spectral distance and agreement between seeds."""
        noise = self.significance
        row = {
            "relative change": self.relative_change,
            "spectral distance": float(self.spectral_distances.mean()),
        }
        if noise is not None:
            row |= {"agreement": noise.layer_agreement, "p value": noise.layer_p_value}
        return row


def layer_kernel_changes(
    before: Array,
    after: Array,
    reseeded: Array | None = None,
    *,
    shape: tuple[int, int] | None = None,
    dilation: Grid | None = None,
    seed: int = 0,
) -> LayerKernelChanges:
    """Compare the kernels (kernels, *size) of one layer before and after retraining."""
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
    before: Array, after: Array, dilation: Grid | None
) -> tuple[Array, Array]:
    """Return the sine of the angle between transfer functions and the power change."""
    steps = spacings(dilation, before.ndim - 1)
    grid = fine_grid(extent_of(before.shape[1:], steps))
    modes = mode_weights(grid)
    distances, total = np.empty(len(before)), np.zeros(len(modes))
    chunks = (transfer_chunks(kernels, grid, steps) for kernels in (before, after))
    for (rows, old), (_, new) in zip(*chunks, strict=True):
        total += np.sum(new**2 - old**2, axis=0)
        old_unit, new_unit = (_unit(values * np.sqrt(modes)) for values in (old, new))
        # The chord is more accurate than the cosine for small angles.
        chord = np.linalg.norm(old_unit - new_unit, axis=1)
        sine = chord * np.sqrt(np.maximum(1 - chord**2 / 4, 0.0))
        one_is_zero = np.any(old_unit, axis=1) != np.any(new_unit, axis=1)
        distances[rows] = np.where(one_is_zero, 1.0, np.minimum(sine, 1.0))
    shape = (*grid[:-1], grid[-1] // 2 + 1)
    return distances, (total / len(before)).reshape(shape)


def _unit(rows: Array) -> Array:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1.0))


def _norms(kernels: Array) -> Array:
    return np.asarray(np.linalg.norm(kernels.reshape(len(kernels), -1), axis=1))


def _ratio(change: Any, base: Any) -> Array:
    """Return the relative change, 0 or infinite for a base of 0."""
    infinite = np.where(change != 0, np.inf, 0.0)
    return np.asarray(np.divide(change, base, out=infinite, where=base > 0))


class ChangedKernel(NamedTuple):
    """One kernel and how far it moved."""

    layer: str
    input_channel: int
    output_channel: int
    change_norm: float


class KernelChanges(ByLayer[LayerKernelChanges]):
    """Changes of the kernels of each convolution layer by retraining."""

    def largest(self, count: int = 10) -> list[ChangedKernel]:
        """Return the kernels of all layers with the largest ``|K_1 - K_0|``."""
        found = []
        for name, layer in self.items():
            moved = layer.change_norms
            for row in np.argsort(-moved, kind="stable")[:count]:
                channels = divmod(int(row), layer.shape[1])
                found.append(ChangedKernel(name, *channels, float(moved[row])))
        return sorted(found, key=lambda kernel: -kernel.change_norm)[:count]


def kernel_changes(
    base: keras.Model,
    retrained: keras.Model,
    reseeded: keras.Model | None = None,
    *,
    seed: int = 0,
) -> KernelChanges:
    """Compare the kernels of a model before and after retraining.

    The comparison is per kernel, per class and per layer, in norm and in spectrum. A
    second retraining from the same base and on the same data, but with another seed
    (order of batches, dropout), separates the reproducible part of a change from the
    noise of training.

    Args:
        base: The model before retraining.
        retrained: The model after retraining.
        reseeded: The model after a retraining with another seed.
        seed: Seed of the sign-flip test.

    Returns:
        Layer name to its changes, for every convolution layer.

    Raises:
        ValueError: If the models do not have the same convolution layers, or none, or
            if the reseeded model equals the retrained one.

    Example:
        >>> layer = keras.layers.Conv2D(1, 3, name="conv")
        >>> base = keras.Sequential([keras.Input((8, 8, 1)), layer])
        >>> doubled = keras.models.clone_model(base)
        >>> doubled.set_weights([2 * weight for weight in base.get_weights()])
        >>> change = kernel_changes(base, doubled)["conv"]
        >>> change.norm_changes.round(6), bool(change.spectral_distances < 1e-6)
        (array([1.]), True)
    """
    models = [base, retrained] if reseeded is None else [base, retrained, reseeded]
    kernels = [convolution_kernels(model) for model in models]
    shapes = [{n: k.weights.shape for n, k in found.items()} for found in kernels]
    if not shapes[0] or any(other != shapes[0] for other in shapes[1:]):
        raise ValueError(
            "Kernel changes need models with the same convolution layers, by name and "
            f"shape. Received {' and '.join(map(str, shapes))}. Copies made with "
            "keras.models.clone_model or keras_spectral_tl.retrain have them."
        )
    layers = {}
    for name, before in kernels[0].items():
        stacks = [found[name].stacked() for found in kernels]
        is_frozen = reseeded is not None and np.array_equal(stacks[1], stacks[2])
        if is_frozen and not np.array_equal(stacks[0], stacks[1]):
            raise ValueError(
                f"Layer {name!r} of the reseeded model equals that of the retrained "
                "one, though both differ from the base: expected a retraining with "
                "another seed, received the same one twice. Retrain again with another "
                "seed."
            )
        layers[name] = layer_kernel_changes(
            *stacks, shape=before.channels, dilation=before.dilation, seed=seed
        )
    return KernelChanges(layers)
