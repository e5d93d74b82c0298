"""The equation of motion of a flow, its closure, and the protocols of engines."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from turbulence_data._checks import (
    as_array,
    by_shapes,
    check_callable,
    check_kind,
    check_object,
)
from turbulence_data.filtering import FilteredFields
from turbulence_data.solver._forcing import Drive, ForcingLike
from turbulence_data.solver._grid import Field, FieldHat, Grid, check_field
from turbulence_data.solver._modes import Modes, padded_modes, truncated_modes
from turbulence_data.solver._schemes import Scheme

Closure = Callable[[Field, Field], Field]
"""`(vorticity, streamfunction) -> sgs_forcing`, physical fields of one shape."""
CLOSURE_FORM = "(vorticity, streamfunction) -> sgs_forcing"

AddForcing = Callable[[FieldHat, FieldHat], None]
"""`(vorticity_hat, out)`: adds the coefficients of sgs_forcing to `out`.

In a simulation `out` then holds the advection `-J` of the same vorticity, and no more.
"""


class Integrals(NamedTuple):
    """Budget of one moment, per unit area.

    Attributes:
        energy: kinetic energy.
        enstrophy: half the mean squared vorticity.
        enstrophy_dissipation: loss of enstrophy to viscosity, hyperviscosity and drag,
            in one plane at most 0.
        work: work of the forcing; for a stochastic one the expected injection.
        dissipation: loss of energy to viscosity, hyperviscosity and drag, at most 0.
    """

    energy: float
    enstrophy: float
    enstrophy_dissipation: float
    work: float
    dissipation: float


class LayerTerms(NamedTuple):
    """Inversion, stretching and linear coupling of two layers, by their coefficients.

    Attributes:
        inversion: the streamfunctions of q, real, shape (2, 2, nx, Ky + 1).
        stretching: F_1 and F_2 of `q_i = -lap(psi_i) + F_i (psi_i - psi_j)`.
        coupling: linear change of layer i by q_j, complex, shape (2, nx, Ky + 1).
    """

    inversion: NDArray[np.floating]
    stretching: tuple[float, float]
    coupling: NDArray[np.complexfloating]


class Operations(Protocol):
    """The nonlinear operations of an equation, which an engine implements."""

    modes: Modes

    def advection(self, vorticity_hat: FieldHat, out: FieldHat) -> None:
        """Write `-J(streamfunction, vorticity)` into `out`."""

    def advection_rate(self, vorticity_hat: FieldHat) -> float:
        """Return `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""

    def layered_advection(
        self, terms: LayerTerms, q_hat: FieldHat, out: FieldHat
    ) -> None:
        """Write `-div(u_i q_i) + coupling_i q_j` of two layers; `q_hat` is kept."""


class Equation(ABC):
    """`d(state)/dt = linear_operator * state + nonlinear_terms + closure + drive`.

    An equation is only a description; engines provide the transforms. Subclasses
    implement the abstract methods; docs/architecture.md lists the steps.

    Attributes:
        flow: physical parameters.
        modes: resolved wavenumbers; their dtype is the precision of the computation.
        closure: subgrid forcing, or None.
        forcing: forcing given instead of the flow's own, or None.
        drive: the forcing on these modes.
        linear_operator: the diagonal of the linear terms, shape `shape`, or one that
            broadcasts to it; real if there are no waves.
        layers: leading axes of one state, `()` for a single plane.
        step_part: fraction of the stability limit with an accuracy of about 1e-6.

    Raises:
        TypeError: for a closure that is not callable.
        ValueError: for a closure of another domain, also within a wrapper.
    """

    layers: ClassVar[tuple[int, ...]] = ()
    step_part: ClassVar[float] = 0.125
    linear_operator: NDArray[np.inexact]

    def __init__(
        self,
        flow: Any,
        modes: Modes,
        drive: Drive,
        closure: Closure | None = None,
        forcing: ForcingLike | None = None,
    ) -> None:
        if closure is not None:
            check_callable("closure", closure, f"{CLOSURE_FORM}, or None for a DNS")
            _check_layers(closure, math.prod(self.layers))
            for part in parts_of(closure, "any_domain"):
                check_domain(part, modes.grid.lengths)
        self.flow, self.modes, self.drive = flow, modes, drive
        self.closure, self.forcing = closure, forcing

    @classmethod
    def modes_of(cls, flow: Any, is_les: bool, dtype: DTypeLike) -> Modes:
        """Return the modes on which a flow is solved, all below Nyquist for an LES."""
        grid = Grid(flow.shape, flow.lengths)
        return padded_modes(grid, dtype) if is_les else truncated_modes(grid, dtype)

    @abstractmethod
    def nonlinear_terms(
        self, operations: Operations, state_hat: FieldHat, out: FieldHat
    ) -> None:
        """Write all terms except linear operator, closure and drive into `out`."""

    @abstractmethod
    def advection_rate(self, operations: Operations, state_hat: FieldHat) -> float:
        """Return `max(|u| Kx + |v| Ky)`: the fastest frequency of the advection."""

    @abstractmethod
    def streamfunction_hat(self, state_hat: FieldHat) -> FieldHat:
        """Return the streamfunction of states, shape `(..., *shape)`."""

    @abstractmethod
    def energy(self, state_hat: FieldHat) -> float:
        """Return the kinetic energy of one state per unit area."""

    @abstractmethod
    def integrals(self, state_hat: FieldHat, time: float) -> Integrals:
        """Return the budget of one state."""

    @property
    @abstractmethod
    def wave_rate(self) -> float:
        """The highest frequency of linear waves, which time steps must resolve."""

    def longest_time_step(self, advection_rate: float) -> float:
        """Return the longest automatic time step at an advection rate, 0 at rest."""
        return 0.01

    def end_step(self, state_hat: FieldHat) -> None:  # noqa: B027
        """Change a state in place after a whole step; by default do nothing."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the coefficients of one state."""
        return (*self.layers, *self.modes.shape)

    def check_start(self, field: ArrayLike) -> Field:
        """Return one physical start field as float64, checked.

        Raises:
            ValueError: for a wrong shape, complex or non-finite values, nonzero mean.
        """
        return check_field("vorticity", field, self.modes.grid.num_points)

    def source_damping(self, time: float) -> float:
        """Return the rate at which linear terms damp the modes of the source.

        It is the mean over these modes, weighted by the power of the source at `time`.
        """
        source_hat = self.drive.source(self.modes, time, self.layers)
        return self._mean_damping(np.abs(source_hat) ** 2)

    def noise_damping(self) -> float:
        """Return the same for the modes of a stochastic forcing; 0 without one."""
        noise = self.drive.noise
        return 0.0 if noise is None else self._mean_damping(noise.variance)

    def _mean_damping(self, power: NDArray[np.floating]) -> float:
        weighted = self.modes.hermitian_weights * power
        total = float(weighted.sum())
        if total == 0.0:
            return 0.0
        return float(np.sum(weighted * -self.linear_operator.real)) / total


class RightHandSide:
    """The right-hand side of an equation on an engine, for time-stepping schemes.

    Args:
        equation: the equation.
        operations: operations of the engine.
        num_fields: number of states along a first axis, 1 for none. A closure gets them
            all at once, so several need one of physical fields.

    Attributes:
        linear_operator: linear operator of all states.
    """

    def __init__(
        self, equation: Equation, operations: Operations, num_fields: int = 1
    ) -> None:
        self._is_one, self._drive = num_fields == 1, equation.drive
        self._nonlinear_terms = partial(equation.nonlinear_terms, operations)
        self.linear_operator = equation.linear_operator
        if not self._is_one:
            shape = (num_fields, *equation.shape)
            tiled = np.broadcast_to(equation.linear_operator, shape)
            self.linear_operator = np.ascontiguousarray(tiled)
        self._add_forcing: AddForcing | None = None
        on_modes = getattr(equation.closure, "on", None)
        if on_modes is not None:
            self._add_forcing = on_modes(equation.modes)
        elif equation.closure is not None:
            self._add_forcing = partial(_add_forcing, equation, equation.closure)

    def nonlinear_terms(self, state_hat: FieldHat, time: float, out: FieldHat) -> None:
        """Write advection, closure and drive to `out`, not changing the argument."""
        states, results = ([state_hat], [out]) if self._is_one else (state_hat, out)
        for state, result in zip(states, results, strict=True):
            self._nonlinear_terms(state, result)
        if self._add_forcing is not None:
            self._add_forcing(state_hat, out)
        for result in results:
            self._drive.add_source(result, time)


def _add_forcing(
    equation: Equation, closure: Closure, state_hat: FieldHat, out: FieldHat
) -> None:
    """Add the coefficients of the forcing of a closure of physical fields."""
    modes = equation.modes
    vorticity = modes.to_physical(state_hat)
    streamfunction = modes.to_physical(equation.streamfunction_hat(state_hat))
    num_axes = len(equation.shape)
    out += modes.from_physical(evaluate(closure, vorticity, streamfunction, num_axes))


def parts_of(closure: Any, whole: str = "any_layers") -> Iterator[Any]:
    """Yield a closure and what it wraps, as `closure` or `closures`.

    What is within one with a true attribute of the name `whole` is left out.
    """
    yield closure
    if getattr(closure, whole, False):
        return
    inner = getattr(closure, "closures", ())
    for one in (getattr(closure, "closure", None), *inner):
        if one is not None:
            yield from parts_of(one, whole)


def _check_layers(closure: Closure, expected: int) -> None:
    """Raise TypeError for a class, or a closure of more or of fewer layers."""
    for part in parts_of(closure):
        check_object("a closure", part)
        layers = getattr(part, "layers", expected)
        if isinstance(layers, int) and layers != expected:
            raise TypeError(
                f"the closure must be of {expected} layer(s) of fluid, as the flow is; "
                f"received {part!r} of {layers}. A network of {expected} is "
                f"KerasClosure(model, statistics, layers={expected}); ByLayer takes "
                "one of one plane to each layer."
            )


def check_domain(closure: Any, lengths: tuple[float, float]) -> None:
    """Raise ValueError if a closure has other domain lengths than a flow.

    A closure with `any_domain = True` fits all.
    """
    own = getattr(closure, "lengths", lengths)
    if not (getattr(closure, "any_domain", False) or np.array_equal(own, lengths)):
        raise ValueError(
            f"{type(closure).__name__} was made for a domain of {own}; the one here is "
            f"{lengths}. Give it, and what wraps it, lengths=flow.lengths; one that "
            "fits every domain has an attribute any_domain = True."
        )


def evaluate(
    closure: Closure, vorticity: Field, streamfunction: Field, num_axes: int = 2
) -> Field:
    """Return the sgs_forcing of fields of shape `(..., nx, ny)`, checked.

    A closure with `accepts_batches = True`, such as those of this package and network
    closures, receives all fields at once, any other closure one after another.

    Args:
        closure: `(vorticity, streamfunction) -> sgs_forcing`.
        vorticity: physical fields.
        streamfunction: their streamfunctions.
        num_axes: axes of one field; 2 except for several layers.

    Raises:
        TypeError: for fields that are not NumPy arrays.
        ValueError: if the result is not real or has another shape.

    Example:
        >>> fields = np.ones((3, 4, 4))
        >>> evaluate(lambda vorticity, psi: -0.5 * vorticity, fields, fields).shape
        (3, 4, 4)
    """
    for name, field in (("vorticity", vorticity), ("streamfunction", streamfunction)):
        check_kind(name, field, np.ndarray)
        as_array(name, field)

    def one(*pair: Field) -> Field:
        given = as_array("the sgs_forcing of a closure", closure(*pair))
        check_forcing(given, pair[0].shape)
        return given

    if vorticity.ndim == num_axes or getattr(closure, "accepts_batches", False):
        return one(vorticity, streamfunction)
    shape = (-1, *vorticity.shape[-num_axes:])
    pairs = zip(vorticity.reshape(shape), streamfunction.reshape(shape), strict=True)
    return np.stack([one(*pair) for pair in pairs]).reshape(vorticity.shape)


def check_forcing(given: Any, shape: tuple[int, ...]) -> None:
    """Check the result of a closure, an array or its abstract shape and dtype."""
    received = getattr(given, "shape", None), getattr(given, "dtype", type(given))
    if received[0] != shape or np.iscomplexobj(given):
        raise ValueError(
            "a closure must return real sgs_forcing on the grid of its arguments; "
            f"expected shape {shape}, received {received[0]} of dtype {received[1]}."
        )


@dataclass(frozen=True)
class State:
    """The state of a simulation at one time, from which it continues bit for bit.

    Attributes:
        vorticity_hat: coefficients of the resolved modes.
        time: time.
        step_number: number of steps so far, which selects the random numbers of a
            stochastic forcing.
    """

    vorticity_hat: FieldHat
    time: float = 0.0
    step_number: int = 0

    __repr__ = by_shapes


class Integrator(Protocol):
    """One flow on one engine.

    Coefficients have the layout of `Modes`, as NumPy arrays or arrays of the engine; it
    accepts both. Leading axes are several fields.
    """

    def steps(
        self, vorticity_hat: FieldHat, since: State, time_step: float, numbers: range
    ) -> FieldHat:
        """Return the coefficients after some steps, each ended by its random kick.

        Args:
            vorticity_hat: coefficients before the first step; may be overwritten.
            since: the state from which steps are counted: its time and step number.
            time_step: length of a step.
            numbers: numbers of the steps, counted from 0 at that state.
        """

    def advection_rates(self, vorticity_hat: FieldHat) -> NDArray[np.float64]:
        """Return `max(|u| Kx + |v| Ky)` of each field, one axis; nan wins."""

    def energy(self, vorticity_hat: FieldHat) -> float:
        """Return the kinetic energy per unit area, the mean over all fields."""

    def to_physical(self, vorticity_hat: FieldHat) -> Field:
        """Return the fields on the grid, as NumPy arrays."""

    def integrals(self, vorticity_hat: FieldHat, time: float) -> Integrals:
        """Return the integrals of one field."""

    def filtered(
        self, vorticity_hat: FieldHat, num_points: tuple[int, int], width: float
    ) -> FilteredFields:
        """Return the filtered fields of one field, as `filtered_dns` does."""


@runtime_checkable
class Engine(Protocol):
    """Protocol of an engine that computes flows, such as `FftwEngine`, `JaxEngine`."""

    def integrator(self, equation: Equation, scheme: Scheme) -> Integrator:
        """Return an equation, ready to be advanced by a scheme."""
