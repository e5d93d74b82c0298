"""LES time steps, single and unrolled, as differentiable Keras layers.

Internally, fields are real tensors (batch, nx, ny), and Fourier coefficients are pairs
`(real, imaginary)` of the full plane in float32: `field = sum_k field_hat exp(i k.x)`.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.fft
from keras import ops
from numpy.typing import NDArray

from keras_spectral_tl._checks import real_number, whole_number
from keras_spectral_tl._shells import mode_numbers

Tensor = Any
Pair = tuple[Tensor, Tensor]
Table = NDArray[np.complex128]
Shape = tuple[int | None, ...]
_FIELDS = ("streamfunction", "vorticity", "sgs_forcing")
_PARAMETERS = (
    "num_points",
    "reynolds",
    "linear_drag",
    "beta",
    "hyperviscosity",
    "hyperviscosity_order",
    "forcing_wavenumber",
    "forcing_amplitude",
    "lengths",
)


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class LESStep(keras.layers.Layer):
    """Advances the vorticity of an LES by one time step, differentiably.

        d(w)/dt + J = nu lap(w) - nu_h (-lap)^p w - beta v - drag w - f + Pi(w, psi)

    The equation, the alias-free Jacobian (3/2 padding) and the scheme (integrating
    factor and classical Runge-Kutta of order four) are those of a spectral solver that
    keeps all wavenumbers below Nyquist, in float32. Pi is a network from normalized
    (streamfunction, vorticity) to the normalized subgrid forcing. Gradients flow
    through the whole step on TensorFlow, JAX and torch.

    Args:
        flow: The parameters of the LES as plain values: "num_points" (a pair) and
            "reynolds"; if not 0 also "linear_drag", "beta", "hyperviscosity" (of order
            "hyperviscosity_order"), "forcing_wavenumber" with "forcing_amplitude"; and
            "lengths" if the domain is not 2 pi.
        time_step: Length of the time step.
        closure: Network (batch, nx, ny, 2) to (batch, nx, ny, 1), or None for Pi = 0.
        statistics: "streamfunction", "vorticity" and "sgs_forcing" to `(mean, std)`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, nx, ny, 1): physical vorticity, axis 1 is x.

    Output shape:
        The same as the input shape.

    Raises:
        TypeError: If the flow is no mapping, or the time step no number.
        ValueError: If the flow is not one of one plane, a closure has no statistics,
            the time step is not positive, or the input is not on the grid of the flow.

    Example:
        A wave decays as exp(-nu t):

        >>> step = LESStep({"num_points": (8, 8), "reynolds": 10.0}, time_step=0.5)
        >>> wave = np.cos(2 * np.pi * np.arange(8) / 8)[None, :, None, None]
        >>> start = np.tile(wave, (1, 1, 8, 1)).astype("float32")
        >>> end = ops.convert_to_numpy(step(start))
        >>> bool(np.allclose(end, start * np.exp(-0.05), atol=1e-6))
        True
    """

    def __init__(
        self,
        flow: Mapping[str, Any],
        time_step: float,
        closure: keras.Model | None = None,
        statistics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        _check_flow(flow)
        missing = [n for n in _FIELDS if n not in (statistics or {})]
        if closure is not None and missing:
            raise ValueError(
                "A closure needs the statistics it was trained with, (mean, std) of "
                f"{_FIELDS}. Received {statistics!r} without {missing}."
            )
        self.flow = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in flow.items()
        }
        self.time_step = real_number("time_step", time_step, above=0)
        self.closure = closure
        self.statistics = (
            {name: tuple(map(float, statistics[name])) for name in _FIELDS}
            if statistics
            else None
        )
        self._tables = _tables(self.flow, self.time_step)

    def call(self, inputs: Tensor) -> Tensor:
        points = self._tables["points"]
        if len(inputs.shape) != 4 or tuple(inputs.shape[1:]) != (*points, 1):
            raise ValueError(
                f"LESStep advances vorticity of shape (batch, {points[0]}, {points[1]},"
                f" 1), as its flow says. Received {tuple(inputs.shape)}."
            )
        vorticity = ops.cast(inputs[..., 0], "float32")
        start = _times(_to_spectral(vorticity), self._tables["resolved"])
        end = self._runge_kutta(start)
        field, _ = _to_physical_two(end, _scaled(end, 0.0))
        return ops.expand_dims(field, -1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        closure = self.closure
        return {
            **config,
            "flow": self.flow,
            "time_step": self.time_step,
            "closure": closure and keras.saving.serialize_keras_object(closure),
            "statistics": self.statistics,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LESStep":
        closure = config["closure"]
        closure = closure and keras.saving.deserialize_keras_object(closure)
        return cls(**{**config, "closure": closure})

    def _runge_kutta(self, w: Pair) -> Pair:
        """Advance by IF-RK4, in which the linear terms are exact."""
        h, half = self.time_step, self._tables["half"]
        first = self._terms(w)
        decayed = _times(w, half)
        second = self._terms(_times(_plus(w, _scaled(first, 0.5 * h)), half))
        third = self._terms(_plus(decayed, _scaled(second, 0.5 * h)))
        fourth = self._terms(_times(_plus(decayed, _scaled(third, h)), half))
        middle = _plus(_scaled(second, h / 3.0), _scaled(third, h / 3.0))
        start = _times(_plus(w, _scaled(first, h / 6.0)), half)
        return _plus(_times(_plus(start, middle), half), _scaled(fourth, h / 6.0))

    def _terms(self, w: Pair) -> Pair:
        """Return the nonlinear terms: advection, forcing and closure."""
        t = self._tables
        wide = [_resized(_times(w, t[name]), t["quadrature"]) for name in ("u", "v")]
        u, v = _to_physical_two(*wide)
        products = [
            _resized(_to_spectral(field), t["points"])
            for field in (u * u - v * v, u * v)
        ]
        parts = [_times(products[0], t["squares"]), _times(products[1], t["product"])]
        total = _plus(*parts, _constant(t["forcing"]))
        closure = self.closure
        return total if closure is None else _plus(total, self._subgrid(closure, w))

    def _subgrid(self, closure: keras.Model, w: Pair) -> Pair:
        """Return the Fourier coefficients of Pi."""
        t, statistics = self._tables, self.statistics or {}
        fields = _to_physical_two(_times(w, t["inverse"]), w)
        channels = [
            (field - statistics[name][0]) / statistics[name][1]
            for name, field in zip(_FIELDS[:2], fields, strict=True)
        ]
        output = ops.cast(closure(ops.stack(channels, axis=-1)), "float32")
        mean, std = statistics["sgs_forcing"]
        return _times(_to_spectral(output[..., 0] * std + mean), t["resolved"])


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class UnrolledLES(keras.layers.Layer):
    """The trajectory of an LES from a vorticity field, differentiable end to end.

    Trained on trajectories of filtered DNS, the closure inside `step` learns to keep
    the LES accurate for `num_snapshots * steps_between` steps, not just to match the
    forcing:

        model = keras.Model(inputs, UnrolledLES(step, num_snapshots=4)(inputs))
        model.compile("adam", "mse")
        model.fit(start_vorticity, vorticity_later)

    Memory grows with the number of steps: each stores four forward passes.

    Args:
        step: The time step, with its closure.
        num_snapshots: Number of fields to return, at least 1.
        steps_between: Steps between consecutive fields, at least 1.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, nx, ny, 1).

    Output shape:
        (batch, num_snapshots, nx, ny, 1), without the start.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If it is below 1.

    Example:
        >>> step = LESStep({"num_points": (8, 8), "reynolds": 10.0}, time_step=0.1)
        >>> tuple(UnrolledLES(step, num_snapshots=3)(ops.zeros((2, 8, 8, 1))).shape)
        (2, 3, 8, 8, 1)
    """

    def __init__(
        self, step: LESStep, num_snapshots: int, steps_between: int = 1, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.step = step
        self.num_snapshots = whole_number("num_snapshots", num_snapshots, 1)
        self.steps_between = whole_number("steps_between", steps_between, 1)

    def call(self, inputs: Tensor) -> Tensor:
        vorticity, snapshots = inputs, []
        for _ in range(self.num_snapshots):
            for _ in range(self.steps_between):
                vorticity = self.step(vorticity)
            snapshots.append(vorticity)
        return ops.stack(snapshots, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], self.num_snapshots, *input_shape[1:]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "step": keras.saving.serialize_keras_object(self.step),
            "num_snapshots": self.num_snapshots,
            "steps_between": self.steps_between,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UnrolledLES":
        step = keras.saving.deserialize_keras_object(config["step"])
        return cls(**{**config, "step": step})


def _check_flow(flow: Any) -> None:
    if not isinstance(flow, Mapping):
        raise TypeError(
            "flow must be a mapping of parameters to plain values, such as flow."
            f"to_dict() of a flow in one plane. Received {type(flow).__name__}: "
            f"{flow!r:.100}."
        )
    missing = [name for name in ("num_points", "reynolds") if name not in flow]
    if missing:
        raise ValueError(
            "flow must have 'num_points' and 'reynolds', of a flow in one plane: two "
            f"layers have no LESStep. Received {sorted(flow)} without {missing}."
        )
    unknown = [name for name in flow if name not in _PARAMETERS]
    if unknown:
        raise ValueError(
            f"flow has parameters that LESStep does not know: {unknown}. Expected some "
            f"of {list(_PARAMETERS)}."
        )


def _tables(flow: Mapping[str, Any], time_step: float) -> dict[str, Any]:
    """Return all constant arrays, on the full plane (nx, ny)."""
    points = tuple(int(n) for n in np.broadcast_to(flow["num_points"], 2))
    lengths = flow.get("lengths", (2.0 * np.pi, 2.0 * np.pi))
    numbers = np.meshgrid(*map(mode_numbers, points), indexing="ij")
    kx, ky = (2.0 * np.pi / side * n for n, side in zip(numbers, lengths, strict=True))
    k2 = kx**2 + ky**2
    resolved = np.ones(points, bool)
    for number, n in zip(numbers, points, strict=True):
        resolved &= np.abs(number) <= (n - 1) // 2
    resolved &= k2 > 0.0
    inverse = np.where(resolved, 1.0 / np.where(k2 > 0.0, k2, 1.0), 0.0)
    order = flow.get("hyperviscosity_order", 2)
    linear = 1j * flow.get("beta", 0.0) * kx * inverse - (
        k2 / flow["reynolds"]
        + flow.get("hyperviscosity", 0.0) * k2**order
        + flow.get("linear_drag", 0.0)
    )
    tables: dict[str, Table] = {
        "resolved": resolved.astype(complex),
        "inverse": inverse.astype(complex),
        "u": 1j * ky * inverse,
        "v": -1j * kx * inverse,
        "squares": -(kx * ky * resolved).astype(complex),
        "product": ((kx**2 - ky**2) * resolved).astype(complex),
        "half": np.exp(0.5 * time_step * linear) * resolved,
        "forcing": _forcing_hat(flow, kx * resolved, ky * resolved),
    }
    # Products of modes up to K need more than 3 K points.
    quadrature = tuple(scipy.fft.next_fast_len(3 * ((n - 1) // 2) + 1) for n in points)
    return {**tables, "points": points, "quadrature": quadrature}


def _forcing_hat(flow: Mapping[str, Any], kx: NDArray[Any], ky: NDArray[Any]) -> Table:
    """Return the coefficients of `-amplitude k_f [cos(k_f x) + cos(k_f y)]`.

    The wavenumbers are 0 for modes that are not resolved.
    """
    hat = np.zeros(kx.shape, complex)
    wavenumber = flow.get("forcing_wavenumber")
    if wavenumber is not None:
        one = np.isclose(np.abs(kx), wavenumber) & (ky == 0.0)
        other = np.isclose(np.abs(ky), wavenumber) & (kx == 0.0)
        if not (one.any() and other.any()):
            raise ValueError(
                f"forcing_wavenumber={wavenumber!r} is no mode of both axes below the "
                f"Nyquist wavenumbers of {kx.shape} points. Take more points, or a "
                "smaller wavenumber."
            )
        hat[one | other] = -0.5 * wavenumber * flow.get("forcing_amplitude", 1.0)
    return hat


def _to_spectral(field: Tensor) -> Pair:
    """Return the Fourier coefficients of real fields."""
    nx, ny = (int(size) for size in field.shape[-2:])
    real, imag = ops.fft2((field, ops.zeros_like(field)))
    return real / float(nx * ny), imag / float(nx * ny)


def _to_physical_two(first: Pair, second: Pair) -> Pair:
    """Return two real fields by a single transform of `first + i second`."""
    nx, ny = (int(size) for size in first[0].shape[-2:])
    (a, b), (c, d) = first, second
    real, imag = ops.ifft2((a - d, b + c))
    return real * float(nx * ny), imag * float(nx * ny)


def _constant(table: Table) -> Pair:
    """Return constants as tensors: NumPy deprecates mixing its arrays with torch's."""
    real, imag = (
        ops.convert_to_tensor(part, "float32") for part in (table.real, table.imag)
    )
    return real, imag


def _times(pair: Pair, table: Table) -> Pair:
    """Multiply by constants; purely real or imaginary tables cost less."""
    a, b = pair
    real, imag = _constant(table)
    if not table.imag.any():
        return a * real, b * real
    if not table.real.any():
        return -b * imag, a * imag
    return a * real - b * imag, a * imag + b * real


def _plus(*pairs: Pair) -> Pair:
    real, imag = pairs[0]
    for a, b in pairs[1:]:
        real, imag = real + a, imag + b
    return real, imag


def _scaled(pair: Pair, factor: float) -> Pair:
    return pair[0] * factor, pair[1] * factor


def _resized(pair: Pair, points: tuple[int, int]) -> Pair:
    """Pad or truncate coefficients to another grid; Nyquist wavenumbers become zero."""
    real, imag = (_along(_along(part, 1, points[0]), 2, points[1]) for part in pair)
    return real, imag


def _along(part: Tensor, axis: int, size: int) -> Tensor:
    length = int(part.shape[axis])
    kept = (min(length, size) - 1) // 2

    def cut(start: int, stop: int) -> Tensor:
        return part[(slice(None),) * axis + (slice(start, stop),)]

    low, high = cut(0, kept + 1), cut(length - kept, length)
    shape = [1, 1, 1]
    shape[axis] = size - 2 * kept - 1
    middle = ops.zeros_like(cut(0, 1)) * ops.zeros(shape, "float32")
    pieces = [low, middle, high] if shape[axis] else [low, high]
    return ops.concatenate(pieces, axis=axis)
