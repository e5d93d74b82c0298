"""Spectral shifts between data or networks, and whether kernels follow them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

import keras_spectral_tl
from keras_spectral_tl._checks import real_array, whole_number
from keras_spectral_tl._results import ByLayer, Result
from keras_spectral_tl._shells import last_complete_shell, shell_indices
from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.spectra._activations import (
    ModelActivationSpectra,
    Spectra,
    activation_spectra,
)
from keras_spectral_tl.spectra._convolutions import (
    Array,
    ConvolutionKernel,
    Grid,
    grid_shape,
    points_of,
)


@dataclass(frozen=True)
class SpectralShift(Result):
    """Difference of two spectra of one layer, split into gain and shape.

    Attributes:
        gain: ``log(sum(target) / sum(base))``: the logarithm of the ratio of energies.
        shape: ``target / sum(target) - base / sum(base)`` by wavenumber, which is the
            index; sums to 0.
        distance: ``sum(|shape|) / 2`` in [0, 1]: the share of the energy that is at
            other wavenumbers. It is 0 for a pure gain.
    """

    gain: float
    shape: Array
    distance: float

    def summary(self) -> dict[str, float]:
        """Return gain and distance."""
        return {"gain": self.gain, "distance": self.distance}


class ModelShifts(ByLayer[SpectralShift]):
    """Spectral shifts of the layers of a model."""

    def plot(self, ax: Any = None) -> Any:
        """Draw gains and distances in two panels, and return their axes."""
        rows = {n: {"shift": (s.gain, s.distance)} for n, s in self.items()}
        return keras_spectral_tl.plotting.plot_spectral_shifts(rows, ax=ax)


def spectral_shift(
    base: ModelActivationSpectra | Mapping[str, Array],
    target: ModelActivationSpectra | Mapping[str, Array],
) -> ModelShifts:
    """Compare each layer's spectrum between two data sets or two models.

    Gain (ratio of energies) and shape (difference of the spectra, each normalized to
    sum 1) are independent: scaling either spectrum changes only the gain. Spectra
    recorded on two grids are compared (including the gain) on the shells that are
    complete on both: k = 0 .. ``(min(n) - 1) // 2`` over all sides n.

    Args:
        base: Activation spectra, of which the pre-activations are compared, or any
            mapping of layer names to spectra by wavenumber. A mapping does not hold its
            grid, so both spectra of a layer must have one length, and the caller must
            ensure that they are from one grid.
        target: The same for the other data or the other model.

    Returns:
        Layer name to its shift, in the order of ``base``.

    Raises:
        ValueError: If the layers differ, sizes differ and the grids are not known, a
            spectrum has no energy, or a mapping holds anything but spectra.

    Example:
        >>> flat = {"conv": np.array([1.0, 1.0])}
        >>> steep = {"conv": np.array([3.0, 1.0])}
        >>> shift = spectral_shift(flat, steep)["conv"]
        >>> shift.shape, shift.distance, round(float(np.exp(shift.gain)), 12)
        (array([ 0.25, -0.25]), 0.25, 2.0)
    """
    first, first_grids = _spectra_on_grids(base)
    second, second_grids = _spectra_on_grids(target)
    if set(first) != set(second):
        raise ValueError(
            "base and target must hold the same layers. Only in one of them: "
            f"{sorted(set(first) ^ set(second))}."
        )
    shifts = {}
    for name in first:
        grids = first_grids.get(name, ()), second_grids.get(name, ())
        two_grids = len(grids[0]) == len(grids[1]) and grids[0] != grids[1]
        kept = last_complete_shell(*grids[0], *grids[1]) + 1 if two_grids else None
        shifts[name] = _shift(name, first[name][:kept], second[name][:kept])
    return ModelShifts(shifts)


def _spectra_on_grids(
    spectra: ModelActivationSpectra | Mapping[str, Array],
) -> tuple[Spectra, dict[str, tuple[int, ...]]]:
    """Return the spectra to compare, and their grids if they are known."""
    if isinstance(spectra, ModelActivationSpectra):
        grids = {name: layer.grid for name, layer in spectra.items()}
        return spectra.pre_activation, grids
    if not isinstance(spectra, Mapping):
        raise TypeError(
            "Expected a result of activation_spectra, or a mapping of layer names to "
            f"spectra. Received {type(spectra).__name__}."
        )
    values_by_name: Mapping[str, Any] = spectra
    arrays = {n: real_array(str(n), values) for n, values in values_by_name.items()}
    for name, values in arrays.items():
        if values.ndim != 1:
            raise ValueError(
                "Expected a spectrum, one value a wavenumber, for each layer. Received "
                f"the shape {values.shape} for {name!r}."
            )
    return arrays, {}


def _shift(name: str, base: Array, target: Array) -> SpectralShift:
    if base.shape != target.shape:
        raise ValueError(
            f"The spectra of layer {name!r} have shapes {base.shape} and "
            f"{target.shape}, from grids that are not known. Pass results of "
            "activation_spectra, which know theirs, or spectra from one grid."
        )
    energies = float(base.sum()), float(target.sum())
    if not all(np.isfinite(energy) and energy > 0 for energy in energies):
        raise ValueError(
            f"Layer {name!r} needs a finite energy above 0 in both spectra. Received "
            f"{energies[0]} (base) and {energies[1]} (target)."
        )
    shape = target / energies[1] - base / energies[0]
    gain = float(np.log(energies[1] / energies[0]))
    return SpectralShift(gain, shape, float(np.abs(shape).sum() / 2))


@dataclass(frozen=True)
class RetrainingShift(Result):
    """Shifts of one layer's pre-activation spectrum by data and by retraining.

    Attributes:
        data: From base data to target data, in the network before retraining.
        retraining: From the network before to the network after, on target data.
        both: From base data before to target data after: the sum of both. Its gain and
            its shape are the sums of the other two if all grids agree.
    """

    data: SpectralShift
    retraining: SpectralShift
    both: SpectralShift

    @property
    def alignment(self) -> float:
        """Cosine of the two changes of shape: -1 if retraining undoes the data's shift.

        0 if they are unrelated or one of them is zero; 1 if retraining shifts further
        in the same direction.
        """
        count = min(len(self.data.shape), len(self.retraining.shape))
        first, second = self.data.shape[:count], self.retraining.shape[:count]
        norm = float(np.linalg.norm(first) * np.linalg.norm(second))
        return float(first @ second) / norm if norm > 0 else 0.0

    def summary(self) -> dict[str, float]:
        """Return gains and distances of the data and of retraining, and alignment."""
        return {
            "data gain": self.data.gain,
            "data distance": self.data.distance,
            "retraining gain": self.retraining.gain,
            "retraining distance": self.retraining.distance,
            "alignment": self.alignment,
        }


class ModelRetrainingShifts(ByLayer[RetrainingShift]):
    """Shifts by data and by retraining of the layers of a model."""

    def plot(self, ax: Any = None) -> Any:
        """Draw gains and distances in two panels, and return their axes."""
        rows = {
            name: {
                "target data": (shift.data.gain, shift.data.distance),
                "retraining": (shift.retraining.gain, shift.retraining.distance),
            }
            for name, shift in self.items()
        }
        return keras_spectral_tl.plotting.plot_spectral_shifts(rows, ax=ax)


def retraining_shifts(
    before: keras.Model,
    after: keras.Model,
    base_x: Any,
    target_x: Any,
    layers: Selector | None = None,
) -> ModelRetrainingShifts:
    """Compare the shift of spectra by target data with the shift by retraining.

    Base and target data pass through the network before retraining, target data also
    through the network after it. For layers before the first retrained one,
    ``retraining`` is zero.

    Args:
        before: The network before retraining.
        after: The network after retraining, with the same layer names.
        base_x: Inputs of the base, as in `activation_spectra`.
        target_x: Inputs of the target, read twice: an array or re-iterable batches.
        layers: A selector or names, as in `activation_spectra`; by default all with
            a 2-D spatial output.

    Returns:
        Layer name to its shifts.

    Raises:
        ValueError: If the two networks do not have the same layers.

    Example:
        >>> conv = keras.layers.Conv2D(2, 3, name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> shift = retraining_shifts(model, model, x, 2 * x)["conv"]
        >>> round(float(np.exp(shift.data.gain)), 4), shift.retraining.gain
        (4.0, 0.0)
    """
    runs = (before, base_x), (before, target_x), (after, target_x)
    base, target, retrained = (activation_spectra(*run, layers) for run in runs)
    data, retraining = spectral_shift(base, target), spectral_shift(target, retrained)
    both = spectral_shift(base, retrained)
    return ModelRetrainingShifts(
        {n: RetrainingShift(data[n], retraining[n], both[n]) for n in data}
    )


@dataclass(frozen=True)
class ChangeConsistency(Result):
    """Comparison of a layer's change of power by wavenumber with a spectral difference.

    Attributes:
        wavenumbers: (shells,) 1 .. the last complete shell of the grid.
        power_changes: (shells,) ``log(P_1 / P_0)``, P the MEAN over a shell and over
            the kernels of ``|F[K](k)|^2``, before (0) and after (1).
        correlation: Spearman's rank correlation of ``power_changes`` with the
            difference, over the wavenumbers, after subtracting the polynomial.
        p_value: Two-sided: fraction of random changes (each kernel's with its own norm
            and a random direction) whose ``power_changes`` have at least as large a
            covariance with the difference. It uses the covariance because kernels of
            few points change neighbouring wavenumbers together: random changes often
            correlate perfectly, but are small.
    """

    wavenumbers: NDArray[np.intp]
    power_changes: Array
    correlation: float
    p_value: float

    def plot(self, ax: Any = None) -> Any:
        """Plot the change of power by wavenumber and return the axes."""
        ratio = np.concatenate([[np.nan], np.exp(self.power_changes)])
        lines = {"power after / before": {"kernels": ratio}}
        return keras_spectral_tl.plotting.plot_wavenumber_ratios(
            lines, "ratio of power", ax=ax
        )


def change_consistency(
    before: ArrayLike,
    after: ArrayLike,
    difference: ArrayLike,
    num_points: int | Grid,
    *,
    degree: int = 0,
    num_draws: int = 999,
    seed: int = 0,
) -> ChangeConsistency:
    """Compare the kernels' gain in power by wavenumber with a spectral difference.

    If filters adapt to a spectral difference, they gain power where the target has more
    than the base: the correlation is positive, and the p-value small.

    Args:
        before: Kernels K_0, (kernels, *size), without dilation.
        after: Kernels K_1, of the same shape.
        difference: (num_shells,) logarithm of the ratio of two spectra on the grid,
            target over base; the wavenumber is the index.
        num_points: Points of the grid along each axis; one number for two equal axes.
        degree: Degree of a polynomial in k subtracted from both curves first, by least
            squares: 0 for their means, 1 to ignore a common slope.
        num_draws: Number of random changes.
        seed: Seed of the random changes.

    Raises:
        ValueError: If the shapes do not fit, nothing changed, or at a compared
            wavenumber the difference is not finite or the kernels have no power.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = rng.normal(size=(50, 5, 5))
        >>> x = np.exp(-(np.arange(5) - 2.0) ** 2 / 4)
        >>> after = before + np.outer(x, x)  # a low-pass filter added to all
        >>> falling = -np.arange(17.0)
        >>> found = change_consistency(before, after, falling, (32, 32))
        >>> found.correlation > 0.9, found.p_value
        (True, 0.001)
    """
    first, second = (real_array("kernels", kernels) for kernels in (before, after))
    if first.shape != second.shape or first.ndim < 2:
        raise ValueError(
            "Expected two stacks (kernels, *size) of one shape. Received "
            f"{first.shape} and {second.shape}."
        )
    if np.array_equal(first, second):
        raise ValueError("The kernels did not change: there is nothing to compare.")
    compare = _Comparison(first, difference, grid_shape(num_points), degree)
    start = first.reshape(len(first), -1)
    change = second.reshape(len(second), -1) - start
    lengths = np.linalg.norm(change, axis=1, keepdims=True)

    def gram(moved: Array) -> Array:
        return np.asarray((start + moved).T @ (start + moved))

    def draw(rng: np.random.Generator) -> Array:
        drawn = rng.standard_normal(change.shape)
        return gram(drawn * lengths / np.linalg.norm(drawn, axis=1, keepdims=True))

    return compare.result(gram(change), draw, num_draws, seed)


def filter_consistency(
    kernel: ConvolutionKernel,
    filters: Array,
    coefficients: Array,
    difference: ArrayLike,
    num_points: Grid,
    degree: int,
    seed: int,
) -> tuple[ChangeConsistency, ...]:
    """Return `change_consistency` for each filter of a change separately.

    Each, of filters (r, *size) with coefficients (r, kernels), is tested against 999
    random filters with its norm and coefficients.
    """
    kernels = kernel.stacked()
    compare = _Comparison(kernels, difference, num_points, degree, kernel.dilation)
    start, power = kernels.reshape(len(kernels), -1), compare.power

    def result(pattern: Array, its: Array, seed: int) -> ChangeConsistency:
        beside, length = start.T @ its, float(its @ its)
        norm = np.linalg.norm(pattern)

        def gram(row: Array) -> Array:
            crossed = np.outer(beside, row)
            return np.asarray(power + crossed + crossed.T + length * np.outer(row, row))

        def draw(rng: np.random.Generator) -> Array:
            drawn = rng.standard_normal(pattern.size)
            return gram(drawn * norm / np.linalg.norm(drawn))

        return compare.result(gram(pattern.ravel()), draw, 999, seed)

    pairs = zip(filters, coefficients, strict=True)
    return tuple(result(*pair, seed + place) for place, pair in enumerate(pairs))


class _Comparison:
    """Compares changes of given kernels with a spectral difference.

    Its ``power`` is the sum of ``K K^T`` over the kernels before, (points, points).
    """

    def __init__(
        self,
        kernels: Array,
        difference: ArrayLike,
        num_points: Grid,
        degree: int,
        dilation: Grid | None = None,
    ) -> None:
        shells = np.arange(1, last_complete_shell(*num_points) + 1)
        wanted = real_array("difference", difference)[1 : len(shells) + 1]
        whole_number("degree", degree, 0, len(shells) - 2)
        if len(wanted) < len(shells) or not np.isfinite(wanted).all():
            raise ValueError(
                f"The difference must be finite at k = 1 .. {len(shells)}. Received "
                f"{wanted.tolist()} there."
            )
        if np.ptp(wanted) == 0:
            raise ValueError(
                "The difference is the same at every wavenumber, a gain: it has no "
                f"shape that a change could follow. Received {wanted[0]} throughout."
            )
        start = kernels.reshape(len(kernels), -1)
        self.power = start.T @ start
        points = points_of(kernels.shape[1:], dilation)
        self._forms = _shell_forms(points, num_points)[shells]
        self._shells, self._wanted, self._degree = shells, wanted, degree

    def result(
        self,
        after: Array,
        draw: Callable[[np.random.Generator], Array],
        num_draws: int,
        seed: int,
    ) -> ChangeConsistency:
        """Compare the change to ``after`` with that to random draws.

        ``after`` and the draws have the form of ``power``.
        """
        terms = np.vander(self._shells / self._shells[-1], self._degree + 1)
        basis = np.linalg.qr(terms)[0]

        def shells(gram: Array) -> Array:
            return np.asarray(np.einsum("sab,ab->s", self._forms, gram))

        before = shells(self.power)
        for when, power in (("before", before), ("after", shells(after))):
            if not (power > 0).all():
                raise ValueError(
                    "A logarithm of the ratio of powers needs kernels with power at "
                    f"k = 1 .. {len(power)}. Received the powers {power.tolist()} "
                    f"{when} the change: leave out kernels of zeros or NaN."
                )

        def response(moved: Array) -> Array:
            return np.asarray(np.log(shells(moved) / before))

        def rest(curve: Array) -> Array:
            return np.asarray(curve - basis @ (basis.T @ curve))

        weights, observed = rest(self._wanted), response(after)
        covariance = abs(float(weights @ observed))
        rng = np.random.default_rng(seed)
        reached = sum(
            abs(float(weights @ response(draw(rng)))) >= covariance
            for _ in range(num_draws)
        )
        return ChangeConsistency(
            self._shells,
            observed,
            float(stats.spearmanr(rest(observed), weights).statistic),
            (1 + reached) / (1 + num_draws),
        )


def _shell_forms(points: Array, grid: Grid) -> Array:
    """Return the shell MEAN of ``cos(k . (x_a - x_b))``, (num_shells, points, points).

    ``|F[K](k)|^2`` is this quadratic form of K, so a shell's power needs no transform.
    """
    frequencies = np.meshgrid(*map(np.fft.fftfreq, grid), indexing="ij")
    vectors = 2 * np.pi * np.stack([axis.ravel() for axis in frequencies], axis=-1)
    waves = np.exp(-1j * vectors @ points.T)
    shell = shell_indices(*grid, half_plane=False).ravel()
    forms = np.zeros((shell.max() + 1, len(points), len(points)))
    for number in range(len(forms)):
        inside = waves[shell == number]
        forms[number] = np.real(inside.T @ inside.conj()) / len(inside)
    return forms
