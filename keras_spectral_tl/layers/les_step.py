"""One time step of an LES as a differentiable layer, with a network as its closure."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.fft
from keras import ops

from keras_spectral_tl.layers.spectral_pairs import (
    Pair,
    Table,
    Tensor,
    constant,
    padded,
    plus,
    scaled,
    times,
    to_physical_two,
    to_spectral,
    truncated,
)

Shape = tuple[int | None, ...]
_FIELDS = ("streamfunction", "vorticity", "sgs_forcing")


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class LESStep(keras.layers.Layer):
    """Advances the vorticity of an LES by one step, so that training sees the dynamics.

        d(w)/dt + J = nu lap(w) - nu_h (-lap)^p w - beta v - drag w - f + Pi(w, psi)

    The equation, the alias-free Jacobian (3/2 padding) and the scheme (integrating
    factor and classical Runge-Kutta of order four) are those of a spectral solver that
    keeps all wavenumbers below Nyquist, in float32. Pi is a network from normalized
    (streamfunction, vorticity) to the normalized subgrid forcing. Gradients flow
    through all of it on TensorFlow, JAX and torch.

    Args:
        flow: The parameters of the LES as plain values: "num_points" (a pair) and
            "reynolds"; and where they are not 0 "linear_drag", "beta",
            "hyperviscosity" (of order "hyperviscosity_order"), "forcing_wavenumber"
            with "forcing_amplitude"; "lengths" where the domain is not 2 pi.
        time_step: Its length.
        closure: Network (batch, nx, ny, 2) to (batch, nx, ny, 1), or None for Pi = 0.
        statistics: "streamfunction", "vorticity" and "sgs_forcing" to `(mean, std)`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, nx, ny, 1): physical vorticity, axis 1 is x.

    Output shape:
        The same.

    Raises:
        ValueError: If a closure comes without statistics, the step is not positive, or
            the input is not on the grid of the flow.

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
        if not time_step > 0.0:
            raise ValueError(f"time_step must be positive. Received {time_step!r}.")
        missing = [n for n in _FIELDS if n not in (statistics or {})]
        if closure is not None and missing:
            raise ValueError(
                "A closure needs the statistics it was trained with, (mean, std) of "
                f"{_FIELDS}. Received {statistics!r} without {missing}."
            )
        self.flow = {key: _plain(value) for key, value in flow.items()}
        self.time_step = float(time_step)
        self.closure = closure
        self.statistics = (
            {name: tuple(map(float, statistics[name])) for name in _FIELDS}
            if statistics
            else None
        )
        self._tables = _tables(self.flow, self.time_step)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the vorticity one time step later."""
        points = self._tables["points"]
        if len(inputs.shape) != 4 or tuple(inputs.shape[1:]) != (*points, 1):
            raise ValueError(
                f"LESStep advances vorticity of shape (batch, {points[0]}, {points[1]},"
                f" 1), as its flow says. Received {tuple(inputs.shape)}."
            )
        vorticity = ops.cast(inputs[..., 0], "float32")
        start = times(to_spectral(vorticity), self._tables["resolved"])
        end = self._runge_kutta(start)
        field, _ = to_physical_two(end, scaled(end, 0.0))
        return ops.expand_dims(field, -1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this layer again."""
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
        """Return the layer of a configuration."""
        closure = config.pop("closure")
        closure = closure and keras.saving.deserialize_keras_object(closure)
        return cls(closure=closure, **config)

    def _runge_kutta(self, w: Pair) -> Pair:
        """IF-RK4: the linear terms are exact."""
        h, half = self.time_step, self._tables["half"]
        first = self._terms(w)
        decayed = times(w, half)
        second = self._terms(times(plus(w, scaled(first, 0.5 * h)), half))
        third = self._terms(plus(decayed, scaled(second, 0.5 * h)))
        fourth = self._terms(times(plus(decayed, scaled(third, h)), half))
        middle = plus(scaled(second, h / 3.0), scaled(third, h / 3.0))
        start = times(plus(w, scaled(first, h / 6.0)), half)
        return plus(times(plus(start, middle), half), scaled(fourth, h / 6.0))

    def _terms(self, w: Pair) -> Pair:
        """Advection, forcing and closure."""
        t = self._tables
        wide = [padded(times(w, t[name]), t["quadrature"]) for name in ("u", "v")]
        u, v = to_physical_two(*wide)
        products = [
            truncated(to_spectral(field), t["points"])
            for field in (u * u - v * v, u * v)
        ]
        parts = [times(products[0], t["squares"]), times(products[1], t["product"])]
        total = plus(*parts, constant(t["forcing"]))
        closure = self.closure
        return total if closure is None else plus(total, self._subgrid(closure, w))

    def _subgrid(self, closure: keras.Model, w: Pair) -> Pair:
        """Coefficients of Pi."""
        t, statistics = self._tables, self.statistics or {}
        fields = to_physical_two(times(w, t["inverse"]), w)
        channels = [
            (field - statistics[name][0]) / statistics[name][1]
            for name, field in zip(_FIELDS[:2], fields, strict=True)
        ]
        output = ops.cast(closure(ops.stack(channels, axis=-1)), "float32")
        mean, std = statistics["sgs_forcing"]
        return times(to_spectral(output[..., 0] * std + mean), t["resolved"])


def _tables(flow: Mapping[str, Any], time_step: float) -> dict[str, Any]:
    """Everything that is constant, on the full plane (nx, ny)."""
    points = tuple(int(n) for n in np.broadcast_to(flow["num_points"], 2))
    lengths = flow.get("lengths", (2.0 * np.pi, 2.0 * np.pi))
    numbers = np.meshgrid(*(np.fft.fftfreq(n, 1.0 / n) for n in points), indexing="ij")
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
        "forcing": _forcing_hat(flow, points, kx, ky),
    }
    # Products of modes up to K need more than 3 K points.
    quadrature = tuple(scipy.fft.next_fast_len(3 * ((n - 1) // 2) + 1) for n in points)
    return {**tables, "points": points, "quadrature": quadrature}


def _forcing_hat(
    flow: Mapping[str, Any], points: tuple[int, ...], kx: Any, ky: Any
) -> Table:
    """`-amplitude k_f [cos(k_f x) + cos(k_f y)]`."""
    hat = np.zeros(points, complex)
    wavenumber = flow.get("forcing_wavenumber")
    if wavenumber is not None:
        one = np.isclose(np.abs(kx), wavenumber) & (ky == 0.0)
        other = np.isclose(np.abs(ky), wavenumber) & (kx == 0.0)
        hat[one | other] = -0.5 * wavenumber * flow.get("forcing_amplitude", 1.0)
    return hat


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
