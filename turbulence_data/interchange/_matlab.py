"""Examples from MATLAB v7.3 files (HDF5), and a check of their conventions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from turbulence_data._checks import (
    TWO_PI,
    as_lengths,
    check_example,
    check_moments,
    real_array,
)
from turbulence_data.closures import GradientModel2
from turbulence_data.diagnostics._spectra import SQUARE, Lengths
from turbulence_data.generation._records import FIELDS, SCALARS
from turbulence_data.interchange._export import require
from turbulence_data.interchange._tables import Example
from turbulence_data.solver._grid import Grid, to_spectral


class ConventionError(ValueError):
    """Streamfunction and vorticity are inconsistent."""


@dataclass(frozen=True)
class ConventionReport:
    """Result of a check of conventions.

    Attributes:
        num_examples: number of examples checked.
        laplacian_residual: `rms(lap(psi) + vorticity) / rms(vorticity)`, 0 when right.
        laplacian_factor: c of the best fit `lap(psi) = c vorticity`, -1 when right.
        fit_residual: rms residual of that fit relative to the rms of lap(psi).
        gradient_model_correlation: correlation of sgs_forcing with the gradient model,
            positive if the sign is right; NaN if one of them is constant.
    """

    num_examples: int
    laplacian_residual: float
    laplacian_factor: float
    fit_residual: float
    gradient_model_correlation: float

    @property
    def sgs_forcing_sign_looks_wrong(self) -> bool:
        """True if the correlation with the gradient model is negative.

        Then `sgs_forcing_sign` or the order of x and y is wrong. Snapshots cannot tell
        which, because exchanging x and y changes the sign of the advection.
        """
        return self.gradient_model_correlation < 0.0


def check_conventions(
    examples: Iterable[Example], lengths: Lengths = SQUARE, tolerance: float = 1e-2
) -> ConventionReport:
    """Check streamfunction and vorticity against each other.

    `lap(streamfunction) = -vorticity` must hold, also for filtered fields. A negative
    correlation of sgs_forcing with `GradientModel2`, below -.2, is told in a warning.
    Of one plane; two layers are refused.

    Args:
        examples: examples with this package's features.
        lengths: domain size.
        tolerance: largest relative residual; single precision gives about 1e-5.

    Raises:
        ConventionError: for a larger residual; the message says which convention fits.
        ValueError: if there are no examples, or examples of two layers.
    """
    sums, forcings, models = _moments_of(examples, lengths)
    if not forcings or not sums[0] > 0.0 or not sums[2] > 0.0:
        raise ValueError(
            f"expected examples whose fields vary; received {len(forcings)} examples "
            f"with mean squares of laplacian and vorticity {sums[0]}, {sums[2]}."
        )
    laplacian_square, product, vorticity_square = (float(value) for value in sums)
    residual = max(0.0, laplacian_square + 2.0 * product + vorticity_square)
    unfit = max(0.0, laplacian_square - product**2 / vorticity_square)
    with np.errstate(invalid="ignore"):  # NaN where one of them is constant
        correlation = np.corrcoef(np.ravel(forcings), np.ravel(models))[0, 1]
    report = ConventionReport(
        num_examples=len(forcings),
        laplacian_residual=float(np.sqrt(residual / vorticity_square)),
        laplacian_factor=product / vorticity_square,
        fit_residual=float(np.sqrt(unfit / laplacian_square)),
        gradient_model_correlation=float(correlation),
    )
    if report.laplacian_residual > tolerance:
        raise ConventionError(_explanation(report, tolerance))
    if report.gradient_model_correlation < _AGAINST:
        warnings.warn(
            "sgs_forcing is against the gradient model, correlation "
            f"{report.gradient_model_correlation:.2f}, where filtered flows have a "
            "positive one: its sign is the opposite (give sgs_forcing_sign=-1), or x "
            "and y are exchanged (give the axes of the file in their order).",
            stacklevel=2,
        )
    return report


def _moments_of(
    examples: Iterable[Example], lengths: Lengths
) -> tuple[NDArray[Any], list[NDArray[Any]], list[NDArray[Any]]]:
    """Return squares and product of laplacian and vorticity; forcings; their models."""
    sums = np.zeros(3)
    forcings, models = [], []
    for example in examples:
        check_example(example)
        if "streamfunction_upper" in example:
            raise ValueError(
                "examples must be of one plane; received some of two layers, with "
                "'streamfunction_upper'. Compare those with Simulation(flow)."
                "streamfunction(state) and filtered_layers of your potential vorticity."
            )
        check_example(example, ["streamfunction", "vorticity", "sgs_forcing"])
        vorticity, streamfunction, sgs_forcing = (
            real_array(name, example[name])
            for name in ("vorticity", "streamfunction", "sgs_forcing")
        )
        grid = Grid((vorticity.shape[0], vorticity.shape[1]), lengths)
        laplacian = to_spectral(streamfunction) * -grid.k_squared
        without_mean = to_spectral(vorticity) * (grid.k_squared > 0.0)
        sums += [
            float(np.sum(grid.hermitian_weights * (np.conj(a) * b).real))
            for a, b in combinations_with_replacement((laplacian, without_mean), 2)
        ]
        forcings.append(sgs_forcing)
        models.append(GradientModel2(lengths=lengths)(vorticity, vorticity))
    return sums, forcings, models


def _explanation(report: ConventionReport, tolerance: float) -> str:
    factor = report.laplacian_factor
    if report.fit_residual > tolerance:
        hint = (
            f"No factor corrects it (the best, {factor:.4g}, leaves "
            f"{report.fit_residual:.3g}): the axes are in another order, the names "
            "belong to other fields, or the sides are of other lengths."
        )
    elif abs(factor - 1.0) <= tolerance:
        hint = (
            "laplacian(streamfunction) = +vorticity holds instead: give the other "
            "laplacian_sign."
        )
    else:
        sign = "" if factor < 0.0 else " and the other laplacian_sign"
        hint = (
            f"laplacian(streamfunction) = {factor:.6g} vorticity holds instead: were "
            "the fields normalized each by its own standard deviation, give the std of "
            f"each{sign}; are they physical, the sides are {abs(factor) ** 0.5:.6g} "
            f"times as long as the lengths given{sign}."
        )
    return (
        "laplacian(streamfunction) = -vorticity does not hold: relative residual "
        f"{report.laplacian_residual:.3g}, expected at most {tolerance:.3g}. {hint}"
    )


Path = str | os.PathLike[str]
# Examples read at once, because the chunks of a file span many examples.
_BLOCK = 64
_AXES = ("example", "x", "y")
# Correlation with the gradient model below which sign or axes must be wrong.
_AGAINST = -0.2


@dataclass(frozen=True)
class MatlabVariable:
    """An array of a file: `physical value = mean + std * stored value`.

    Attributes:
        name: name of the array in the file.
        mean: mean of the normalization; 0 if values are physical.
        std: standard deviation of the normalization; 1 if values are physical.

    Raises:
        ValueError: for a mean that is not finite or a std that is not positive.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        check_moments(self.name, self.mean, self.std)


@dataclass(frozen=True)
class MatlabLayout:
    """Names, axes, signs and scales of the arrays of a MATLAB v7.3 file.

    The defaults are the conventions of this package, with arrays of `size` `[nx ny n]`.
    MATLAB stores the first index fastest, so h5py shows the axes in reverse order.

    Attributes:
        streamfunction: the array of the streamfunction.
        vorticity: the array of the vorticity, dv/dx - du/dy.
        sgs_forcing: the array of the subgrid forcing.
        axes: "x", "y" and "example", in the order of MATLAB's `size`.
        laplacian_sign: s of `laplacian(streamfunction) = s vorticity` in the file; -1
            here, +1 in many codes.
        sgs_forcing_sign: +1 if the stored forcing is added to the right-hand side,
            J(filtered) - filter(J), as here; -1 if it is subtracted.
        lengths: domain size `(Lx, Ly)`.

    Raises:
        ValueError: for axes or signs other than these.

    Example:
        >>> MatlabLayout(axes=("y", "x", "example")).h5py_axes
        ('example', 'x', 'y')
    """

    streamfunction: MatlabVariable = field(default=MatlabVariable("Psi"))
    vorticity: MatlabVariable = field(default=MatlabVariable("W"))
    sgs_forcing: MatlabVariable = field(default=MatlabVariable("PI"))
    axes: tuple[str, str, str] = ("x", "y", "example")
    laplacian_sign: int = -1
    sgs_forcing_sign: int = 1
    lengths: tuple[float, float] = (TWO_PI, TWO_PI)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        if not isinstance(self.axes, tuple) or sorted(self.axes) != sorted(_AXES):
            raise ValueError(
                f"axes must name each of {_AXES} once, in the order of MATLAB's size; "
                f"received {self.axes!r}."
            )
        for name in ("laplacian_sign", "sgs_forcing_sign"):
            if getattr(self, name) not in (1, -1):
                raise ValueError(
                    f"{name} must be 1 or -1; received {getattr(self, name)!r}."
                )

    @property
    def h5py_axes(self) -> tuple[str, str, str]:
        """The axes in the order in which h5py shows them."""
        first, second, third = self.axes
        return third, second, first


TL_FOR_SGS_MODELS = MatlabLayout(axes=("example", "y", "x"), sgs_forcing_sign=-1)
"""Layout of the files that github.com/envfluids/TL_for_SGS_Models reads.

The scripts transpose the arrays of h5py, so that examples are the first axis; their LES
subtracts the network's output from the right-hand side, with a streamfunction of
`laplacian(streamfunction) = -vorticity`. Each field is normalized by its own mean and
standard deviation: set these by `dataclasses.replace`, as `MatlabVariable`s. This
layout was derived only from the scripts, so run `check_conventions` on your files.
"""


class MatlabExamples(Sequence[dict[str, Any]]):
    """Sequence of examples from the fields of MATLAB v7.3 files, read as needed.

    An example holds vorticity, streamfunction and sgs_forcing, float32 of shape
    `(nx, ny)` and with this package's signs, `trajectory`, `time` and the `scalars`.
    Files saved without `-v7.3` are not HDF5; read them with `scipy.io.loadmat`.

    Args:
        paths: one file, or several that together contain the arrays.
        layout: names and conventions of the arrays.
        scalars: scalar features of the dataset by name, each one number or one number
            per example. Files contain no times, so by default `trajectory` is 0 and
            `time` the index of the example.
        num_checked: number of examples for `check_conventions`; 0 for no check.

    Attributes:
        report: result of the check, or None.

    Raises:
        ConventionError: if streamfunction and vorticity contradict the layout.
        ImportError: if h5py is not installed.
        KeyError: for a name that is in no file, or an unknown scalar.
        ValueError: for a file of another format, arrays of other shapes, or one that
            several files hold.
    """

    def __init__(
        self,
        paths: Path | Sequence[Path],
        layout: MatlabLayout | None = None,
        scalars: Mapping[str, ArrayLike] | None = None,
        num_checked: int = 4,
    ) -> None:
        self.layout = layout or MatlabLayout()
        files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self._homes = {
            name: _home(files, getattr(self.layout, name).name) for name in FIELDS
        }
        self._shape = self._common_shape()
        self._scalars = _checked_scalars(scalars or {}, len(self))
        self.report: ConventionReport | None = None
        if num_checked > 0:
            numbers = np.linspace(0, len(self) - 1, num_checked).round().astype(int)
            examples = (self[number] for number in sorted(set(numbers.tolist())))
            self.report = check_conventions(examples, self.layout.lengths)

    def __len__(self) -> int:
        return self._shape[0]

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return one example, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return next(iter(self._block(number, number + 1)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield all examples, with at most one block of them in memory."""
        for start in range(0, len(self), _BLOCK):
            yield from self._block(start, min(start + _BLOCK, len(self)))

    def _block(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        fields = {name: self._read(name, start, stop) for name in FIELDS}
        for row, number in enumerate(range(start, stop)):
            yield {
                **{name: field[row] for name, field in fields.items()},
                **{name: values[number] for name, values in self._scalars.items()},
            }

    def _read(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        variable: MatlabVariable = getattr(self.layout, name)
        path, shape = self._homes[name]
        axes = self.layout.h5py_axes
        examples = slice(start, stop)
        with require("h5py").File(path, "r") as file:
            array = file[variable.name]
            if len(shape) == 2:  # MATLAB drops the last axis for one example
                stored = np.asarray(array)[None]
            else:
                where = [examples if a == "example" else slice(None) for a in axes]
                stored = np.asarray(array[tuple(where)])
        order = [axes.index(axis) for axis in ("example", "x", "y")]
        values = stored.transpose(order).astype(np.float64)
        signs = {
            "streamfunction": -self.layout.laplacian_sign,
            "sgs_forcing": self.layout.sgs_forcing_sign,
        }
        values = signs.get(name, 1) * (variable.mean + variable.std * values)
        if not np.all(np.isfinite(values)):
            raise ValueError(
                f"{variable.name} of {os.fspath(path)} holds values that are not "
                f"finite among the examples {start} to {stop - 1}."
            )
        return np.ascontiguousarray(values, np.float32)

    def _common_shape(self) -> tuple[int, int, int]:
        shapes = {name: home[1] for name, home in self._homes.items()}
        shape = shapes["vorticity"]
        axes = self.layout.h5py_axes
        if len(shape) == 2 and axes[0] == "example":
            shape = (1, *shape)
        if len(shape) != 3 or len(set(shapes.values())) != 1:
            raise ValueError(
                "the arrays must share one shape of three axes, in MATLAB's order "
                f"{self.layout.axes}; received, in that order, "
                f"{ {name: stored[::-1] for name, stored in shapes.items()} }."
            )
        number, nx, ny = (shape[axes.index(axis)] for axis in ("example", "x", "y"))
        return number, nx, ny


def _home(files: Sequence[Path], name: str) -> tuple[Path, tuple[int, ...]]:
    """Return the file that contains an array, and its shape in h5py."""
    h5py = require("h5py")
    held: list[str] = []
    homes = []
    for path in files:
        if not os.path.exists(path):
            raise FileNotFoundError(f"there is no file {os.fspath(path)!r}.")
        if not h5py.is_hdf5(path):
            raise ValueError(
                f"{os.fspath(path)!r} is not a MATLAB v7.3 file. Save it in MATLAB "
                "with save(..., '-v7.3'), or read it with scipy.io.loadmat."
            )
        with h5py.File(path, "r") as file:
            if isinstance(file.get(name), h5py.Dataset):
                homes.append((path, tuple(file[name].shape)))
            held += [key for key in file if isinstance(file[key], h5py.Dataset)]
    if len(homes) == 1:
        return homes[0]
    if homes:
        raise ValueError(
            f"one file should hold the array {name!r}; received "
            f"{[os.fspath(path) for path, _ in homes]}, which all do. Make one "
            "MatlabExamples per file and chain them, as by itertools.chain(a, b)."
        )
    raise KeyError(
        f"no file holds the array {name!r}; they hold {held}. Name it in the layout, "
        "as MatlabVariable(name)."
    )


def _checked_scalars(
    scalars: Mapping[str, ArrayLike], number: int
) -> dict[str, NDArray[Any]]:
    unknown = sorted(set(scalars) - set(SCALARS))
    if unknown:
        raise KeyError(f"unknown scalars {unknown}; known are {sorted(SCALARS)}.")
    given: dict[str, ArrayLike] = {
        "trajectory": 0,
        "time": np.arange(number),
        **scalars,
    }
    for name, values in given.items():
        if np.shape(values) not in ((), (number,)):
            raise ValueError(
                f"{name} must be one number, or one for each of the {number} examples; "
                f"received the shape {np.shape(values)}."
            )
    return {
        name: np.broadcast_to(np.asarray(given[name], kind), (number,))
        for name, (kind, _) in SCALARS.items()
        if name in given
    }
