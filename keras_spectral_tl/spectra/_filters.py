"""Principal filters (SVD) of kernels: the few patterns that many kernels combine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_spectral_tl import plotting
from keras_spectral_tl._checks import (
    check_one_shape,
    one_of,
    real_array,
    real_number,
    whole_number,
)
from keras_spectral_tl._graph.copies import copy_model
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl._keras_internals import low_rank_base
from keras_spectral_tl._results import Result, text_table
from keras_spectral_tl._shells import shell_sum_matrix
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.metrics._functions import pattern_correlation
from keras_spectral_tl.plotting._kernels import plot_filters
from keras_spectral_tl.spectra._convolutions import (
    Array,
    ConvolutionKernel,
    Grid,
    convolution_kernel,
    fine_grid,
    to_numpy,
    transfer_chunks,
)
from keras_spectral_tl.spectra._kernel_changes import filters_against_noise
from keras_spectral_tl.spectra._kernel_shapes import filter_classes, filter_parities
from keras_spectral_tl.spectra._shifts import ChangeConsistency, filter_consistency

_MOST_DRAWN = 6


@dataclass(frozen=True)
class PrincipalFilters(Result):
    """Principal filters of kernels, the strongest first.

    ``kernel_io = sum_r coefficients[r, i, o] filters[r]``: the filters are the singular
    vectors of the matrix whose rows are the kernels, so each filter explains the
    largest share of the energy left by the previous ones.

    Attributes:
        filters: (r, *size) orthonormal; the entry of largest modulus is positive.
        shares: (r,) shares of the energy ``sum(kernels**2)``.
        noise_shares: (r,) shares of the energy that the first filter of white noise
            exceeds with probability ``level``, after the stronger filters are removed;
            NaN after the first filter that is not significant.
        significant: (r,) whether the filter and all stronger ones exceed noise.
        classes: (r,) strings, each one of low-pass, gradient (odd under inversion),
            Gabor (band-pass, even), saddle (as ``x^2 - y^2`` or ``x y``), Laplacian
            (high-pass as ``|k|^2``, or band-pass and round), high-pass, all-pass, and
            unstructured (no more like a Gabor function than white noise is).
        parities: (r, 5) shares of the symmetries of the square: A1 even under all, A2
            odd under reflections, B1 as ``x^2 - y^2``, B2 as ``x y``, E odd under
            inversion as a gradient. (r, 2), even and odd, unless kernels are square.
        profiles: (r, num_shells) radial MEAN of ``|F|`` on a grid of 32 points per axis
            (16 is the Nyquist wavenumber); more for kernels of more than 8 points.
        coefficients: (r, inputs, outputs) coefficients of the filters in each kernel.
        level: Probability of any significant filter in white noise.
    """

    filters: Array
    shares: Array
    noise_shares: Array
    significant: NDArray[np.bool_]
    classes: NDArray[np.str_]
    parities: Array
    profiles: Array
    coefficients: Array
    level: float

    def kernels(self, number: int | None = None) -> Array:
        """Return the kernels (*size, inputs, outputs) built from the first filters.

        For the filters of a change, add these to the kernels before the change to apply
        only the first filters.

        Args:
            number: Number of filters; by default the significant ones.
        """
        count = int(self.significant.sum()) if number is None else number
        count = whole_number("number", count, 0, len(self.filters))
        return np.tensordot(
            np.moveaxis(self.filters[:count], 0, -1), self.coefficients[:count], 1
        )

    def effects(
        self,
        before: keras.Model,
        after: keras.Model,
        layer: Selector,
        data: tuple[ArrayLike, ArrayLike],
        *,
        numbers: Sequence[int] = (0, 1, 2, 3, 4, 6, 8, 12),
        metric: Callable[[Any, Any], float] = pattern_correlation,
        batch_size: int = 32,
    ) -> "FilterEffects":
        """Measure which fraction of the improvement the first filters of a change give.

        In the network after the change, the kernels of one layer are replaced by those
        before plus the first r filters. Its bias and all other layers are those after
        the change, so r = 0 shows the effect of the bias alone, and all filters give
        the network after the change.

        Args:
            before: The network before the change, such as before retraining.
            after: The network after the change. These must be the filters of its
                change, `principal_filters(before, after, layer)`.
            layer: The convolution layer, with a single kernel (not separable).
            data: Inputs and true outputs to evaluate on.
            numbers: The numbers r; any above the number of filters means all.
            metric: Function of (true, predicted outputs); larger is better.
            batch_size: Samples computed at once.

        Raises:
            TypeError, ValueError: As `principal_filters`; or if the kernels do not fit
                the filters, or the change improves nothing.

        Example:
            >>> from keras_spectral_tl import build_sgs_cnn, retrain
            >>> keras.utils.set_random_seed(0)
            >>> old = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
            >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 2))
            >>> y = np.roll(old.predict(x, verbose=0), 1, axis=1)
            >>> new = retrain(old, (x, y), "conv_2", epochs=20, batch_size=4).model
            >>> found = principal_filters(old, new, "conv_2")
            >>> shares = found.effects(old, new, "conv_2", (x, y), numbers=(25,))
            >>> round(float(shares.effects[0]), 3)
            1.0
        """
        network = copy_model(after)
        target = layers_with_weights(network)[select_layers(network, layer).names[0]]
        base = low_rank_base(target)
        variable = target.kernel if base is None else base
        kernel = _of_layer(before, layer)

        def kept(weights: Array) -> Array:
            # Keras keeps the kernels of transposed layers as (*size, outputs, inputs).
            return weights.swapaxes(-1, -2) if kernel.transposed else weights

        first = kept(kernel.weights)
        if not isinstance(variable, keras.Variable) or variable.shape != first.shape:
            raise ValueError(
                f"Expected a layer with a kernel of its own, such as Conv2D. Received "
                f"{target.name!r} ({type(target).__name__})."
            )
        # A low-rank update stays in place; the base is the kernel without it.
        update = kept(_of_layer(after, layer).weights) - to_numpy(variable)
        x, y = keras.tree.map_structure(np.asarray, data[0]), np.asarray(data[1])

        def score(model: keras.Model) -> float:
            return float(metric(y, predicted(model, x, batch_size)))

        scores = []
        for number in numbers:
            some = self.kernels(min(number, len(self.filters)))
            variable.assign(first + kept(some) - update)
            scores.append(score(network))
        low, high = score(before), score(after)
        if not high > low:
            raise ValueError(
                f"The change gains nothing on these data, so there is nothing to share:"
                f" {low:.4g} before, {high:.4g} after."
            )
        effects = (np.array(scores) - low) / (high - low)
        return FilterEffects(np.array(numbers), np.array(scores), effects, low, high)

    def consistency(
        self,
        before: keras.Model,
        layer: Selector,
        difference: ArrayLike,
        num_points: Grid,
        *,
        degree: int = 0,
        seed: int = 0,
    ) -> tuple[ChangeConsistency, ...]:
        """Compare the effect of each filter on the layer with a spectral difference.

        As `change_consistency`, for the kernels before the change plus one filter,
        tested against random filters of the same norm and coefficients.

        Args:
            before: The network before the change.
            layer: The layer whose change has these filters.
            difference: (num_shells,) logarithm of the ratio of two spectra.
            num_points: Points of the grid along each axis.
            degree: Degree of a polynomial in k subtracted from both curves first; use 1
                to ignore a common slope.
            seed: Seed of the random filters.

        Returns:
            The comparison for each filter, the strongest first.
        """
        kernel = _of_layer(before, layer)
        coefficients = self.coefficients.reshape(len(self.coefficients), -1)
        return filter_consistency(
            kernel, self.filters, coefficients, difference, num_points, degree, seed
        )

    def plot(self, ax: Any = None) -> Any:
        """Plot the significant filters (at least three) and all shares."""
        count = min(max(int(self.significant.sum()), 3), len(self.filters), _MOST_DRAWN)
        names = self.classes[:count].tolist()
        return plot_filters(
            self.filters[:count],
            self.shares.tolist(),
            names,
            self.noise_shares.tolist(),
            ax=ax,
        )

    def __str__(self) -> str:
        rows = [["filter", "share", "noise", "stands out", "class"]]
        for number, share in enumerate(self.shares[:24]):
            noise = self.noise_shares[number]
            shown = "-" if np.isnan(noise) else f"{noise:.3f}"
            answer = "yes" if self.significant[number] else "no"
            its_class = str(self.classes[number])
            rows.append([str(number + 1), f"{share:.3f}", shown, answer, its_class])
        return "\n".join(text_table(rows, str.ljust))


@dataclass(frozen=True)
class FilterEffects(Result):
    """Accuracy of a network with only the first filters of a layer's change.

    Attributes:
        numbers: (n,) how many filters of the change are applied.
        scores: (n,) accuracy with them.
        effects: (n,) share of the gain: ``(score - before) / (after - before)``.
        before: Accuracy of the network before the change.
        after: Accuracy of the network after it.
    """

    numbers: NDArray[np.int_]
    scores: Array
    effects: Array
    before: float
    after: float

    def plot(self, ax: Any = None) -> Any:
        """Plot the share of the gain against the number of filters."""
        curve = {"first filters": (self.numbers, self.effects)}
        return plotting.plot_curves(
            {"": curve}, "filters of the change", "share of the gain", ax=ax
        )[0]

    def __str__(self) -> str:
        lines = [f"before {self.before:.3f}, after {self.after:.3f}", "filters  share"]
        rows = zip(self.numbers, self.effects, strict=True)
        return "\n".join([*lines, *(f"{n:7}  {share:5.2f}" for n, share in rows)][:25])


@overload
def principal_filters(
    kernels: ArrayLike | keras.Model,
    other: Any = None,
    layer: Selector | None = None,
    *,
    number: int | None = None,
    per: Literal["layer"] = "layer",
    level: float = 0.01,
    seed: int = 0,
) -> PrincipalFilters: ...


@overload
def principal_filters(
    kernels: ArrayLike | keras.Model,
    other: Any = None,
    layer: Selector | None = None,
    *,
    number: int | None = None,
    per: Literal["input", "output"],
    level: float = 0.01,
    seed: int = 0,
) -> tuple[PrincipalFilters, ...]: ...


def principal_filters(
    kernels: ArrayLike | keras.Model,
    other: Any = None,
    layer: Selector | None = None,
    *,
    number: int | None = None,
    per: Literal["layer", "input", "output"] = "layer",
    level: float = 0.01,
    seed: int = 0,
) -> PrincipalFilters | tuple[PrincipalFilters, ...]:
    """Find the principal filters of kernels, or of changes of kernels, by SVD.

    Singular value decomposition of the matrix of kernels (rows) by points (columns).
    A filter is significant if its singular value exceeds the largest ones of all of
    ``1 / level - 1`` random matrices. Each is the residual after the stronger filters
    with the sign of every entry drawn at random, which keeps the size of every kernel
    and point (https://arxiv.org/abs/2012.02985), rescaled for the dimensions that the
    stronger filters use. The test ends at the first filter that is not significant, so
    white noise has any significant filter with probability ``level``. Noise that is not
    white, such as that of training on smooth inputs, has filters too: compare with the
    change between two seeds.

    Args:
        kernels: Array (*size, inputs, outputs) such as (5, 5, inputs, outputs), with
            one to three axes of points; or a built model.
        other: With an array, the array after a change, to analyse the difference. With
            a model, a selector of one convolution layer, or the model after a change.
        layer: The layer, if two models are given.
        number: How many filters to return; by default all, one for each point, or for
            each kernel if there are fewer.
        per: "layer" for all kernels together; "input" or "output" for the kernels of
            each input or output channel separately, each tested at the level.
        level: Probability of a false filter in white noise, from 0.001 to 0.5.
        seed: Seed of the random signs.

    Returns:
        The filters; with per="input" or "output" a tuple, one for each channel.

    Raises:
        TypeError: If the arguments do not fit together.
        ValueError: If the layer is not a convolution, kernels have a single point,
            contain NaN or are all zero, shapes differ, or more filters are requested
            than kernels have points.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> kernels = 0.1 * rng.normal(size=(5, 5, 8, 8))
        >>> x = np.exp(-(np.arange(5) - 2.0) ** 2 / 4)
        >>> kernels += rng.normal(size=(8, 8)) * np.outer(x, x)[..., None, None]
        >>> found = principal_filters(kernels)
        >>> found.significant[:3], str(found.classes[0])
        (array([ True, False, False]), 'low-pass')
    """
    weights, dilation = _kernels_of(kernels, other, layer)
    one_of("per", per, ("layer", "input", "output"))
    level = real_number("level", level, at_least=0.001, at_most=0.5)
    points = int(np.prod(weights.shape[:-2]))
    if number is not None:
        number = whole_number("number", number, 1)
        if number > points:
            raise ValueError(
                f"Kernels of {points} points are combinations of {points} filters. "
                f"Received number={number}; expected at most {points}."
            )
    if per == "layer":
        return _found(weights, dilation, number, level, seed)
    axis = -2 if per == "input" else -1
    parts = np.split(weights, weights.shape[axis], axis)
    return tuple(_found(part, dilation, number, level, seed) for part in parts)


def _kernels_of(kernels: Any, other: Any, layer: Any) -> tuple[Array, Grid]:
    """Return kernels or their change, (*size, inputs, outputs), and their dilation."""
    if isinstance(kernels, keras.Model):
        selector = layer if isinstance(other, keras.Model) else other
        if selector is None or (layer is not None and selector is other):
            raise TypeError(
                "Expected principal_filters(model, layer), or (before, after, layer) "
                f"of two models. Received {type(other).__name__} and layer={layer!r}."
            )
        kernel = _of_layer(kernels, selector)
        weights, dilation = kernel.weights, kernel.dilation
        if isinstance(other, keras.Model):
            weights = _change(weights, _of_layer(other, selector).weights)
    else:
        if layer is not None or isinstance(other, keras.Model):
            raise TypeError(
                "layer= belongs to models. Received an array of kernels first; pass "
                "(before, after) as arrays, or two models and the layer."
            )
        weights = real_array("kernels", kernels)
        if other is not None:
            weights = _change(weights, real_array("other", other))
        dilation = (1,) * max(weights.ndim - 2, 0)
    if not 3 <= weights.ndim <= 5 or weights.size == 0:
        raise ValueError(
            "Expected kernels (*size, inputs, outputs) with one to three axes of "
            f"points, such as (5, 5, 64, 64). Received shape {weights.shape}."
        )
    if np.prod(weights.shape[:-2]) == 1:
        raise ValueError(
            f"Kernels of shape {weights.shape} have a single point, a gain: there is "
            "no pattern to find. Choose a layer with wider kernels."
        )
    if not np.isfinite(weights).all() or not weights.any():
        raise ValueError(
            "Expected finite kernels that are not all zero. Received "
            f"{np.count_nonzero(~np.isfinite(weights))} values that are NaN or "
            f"infinite and {np.count_nonzero(weights)} others that are not zero. Zero "
            "is also the change of a layer that did not change."
        )
    return weights, dilation


def _change(before: Array, after: Array) -> Array:
    check_one_shape("kernels before and after a change", before, after)
    change = after - before
    # Round-off of float32 weights is not a change, and not random either.
    left = 2.0**-22 * np.maximum(np.abs(before), np.abs(after))
    return np.asarray(np.where(np.abs(change) <= left, 0.0, change))


def _of_layer(model: keras.Model, selector: Any) -> ConvolutionKernel:
    names = select_layers(model, selector).names
    layer = layers_with_weights(model)[names[0]]
    kernel = convolution_kernel(layer)
    if kernel is None or len(names) > 1:
        raise ValueError(
            f"Expected one convolution layer of model {model.name!r}. Received "
            f"{', '.join(names)} ({type(layer).__name__}), chosen by {selector!r}."
        )
    return kernel


def _found(
    weights: Array, dilation: Grid, number: int | None, level: float, seed: int
) -> PrincipalFilters:
    size, channels = weights.shape[:-2], weights.shape[-2:]
    rows = weights.reshape(-1, int(np.prod(channels))).T
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    noise, significant = filters_against_noise(rows, left, singular, right, level, seed)
    # One channel of several may have kernels of zeros.
    shares = singular**2 / (np.sum(singular**2) or 1.0)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    filters = (right * signs[:, None])[:number].reshape(-1, *size)
    coefficients = (left * singular * signs).T[:number]
    grid = fine_grid(size)
    transfer = np.concatenate([t for _, t in transfer_chunks(filters, grid)])
    summing = shell_sum_matrix(*grid)
    parities = filter_parities(filters)
    return PrincipalFilters(
        filters=filters,
        shares=shares[:number],
        noise_shares=noise[:number],
        significant=significant[:number],
        classes=filter_classes(filters, dilation, transfer, parities),
        parities=parities,
        profiles=(summing @ transfer.T).T / summing.sum(axis=1),
        coefficients=coefficients.reshape(-1, *channels),
        level=level,
    )
