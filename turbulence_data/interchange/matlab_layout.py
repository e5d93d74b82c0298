"""What the arrays of a MATLAB file mean; nothing of it is guessed."""

from __future__ import annotations

from dataclasses import dataclass, field

from turbulence_data._checks import TWO_PI, as_lengths, check_positive, is_finite_number

_AXES = ("example", "x", "y")


@dataclass(frozen=True)
class MatlabVariable:
    """An array of a file: `physical value = mean + std * stored value`.

    Attributes:
        name: of the array in the file.
        mean: of the normalization; 0 where values are physical.
        std: of the normalization; 1 where values are physical.

    Raises:
        ValueError: for a mean that is not finite or a std that is not positive.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if not is_finite_number(self.mean):
            raise ValueError(f"mean of {self.name} must be finite; got {self.mean!r}.")
        check_positive(f"std of {self.name}", self.std)


@dataclass(frozen=True)
class MatlabLayout:
    """Names, axes, signs and scales of the arrays of a MATLAB v7.3 file.

    By default the conventions of this package, arrays of `size` `[nx ny n]`. MATLAB
    stores the first index fastest, so h5py shows the axes in the reverse order.

    Attributes:
        streamfunction: the array of the streamfunction.
        vorticity: the array of the vorticity, dv/dx - du/dy.
        sgs_forcing: the array of the subgrid forcing.
        axes: "x", "y" and "example", in the order of MATLAB's `size`.
        laplacian_sign: s of `laplacian(streamfunction) = s vorticity` in the file; -1
            here, +1 in many codes.
        sgs_forcing_sign: +1 where the stored forcing is added to the right-hand side,
            J(filtered) - filter(J), as here; -1 where it is subtracted from it.
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
"""The files that the scripts of github.com/envfluids/TL_for_SGS_Models read.

The scripts transpose what h5py shows and find examples first; their LES subtracts the
network's output from the right-hand side and feeds it a streamfunction of
`laplacian(streamfunction) = -vorticity`. Their fields are normalized, each by its own
mean and standard deviation: give these by `dataclasses.replace`, as `MatlabVariable`s.
Derived from the scripts alone, so let `check_conventions` decide for your files.
"""
