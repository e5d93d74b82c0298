"""Features of an example: of which fields and parameters of a flow, by which names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data.coarsening import OPERATORS
from turbulence_data.config import FlowConfig, TwoLayerConfig

FIELDS = ("vorticity", "streamfunction", "sgs_forcing")
"""Fields of every snapshot, float32, shape `(nx, ny)`, or `(2, nx, ny)` of layers."""
EXTRA_FIELDS = {"velocity": 2, "tau": 3, "sigma": 2}
"""Fields on request, float32, shape `(nx, ny, channels)`; the number of channels."""
_ANY_FLOW: dict[str, tuple[type[np.generic], str]] = {
    "trajectory": (np.int64, "Number of the trajectory; no number is in two splits."),
    "time": (np.float64, "Time since the start field."),
    "seed": (np.int64, "Seed of the ensemble; streams are seeded (seed, trajectory)."),
}
SCALARS: dict[str, tuple[type[np.generic], str]] = {
    **_ANY_FLOW,
    "reynolds": (np.float64, "Inverse viscosity; inf for an inviscid flow."),
    "linear_drag": (np.float64, "Rate of the linear drag."),
    "beta": (np.float64, "Gradient of the Coriolis parameter."),
    "filter_width": (np.float64, "Width of the Gaussian filter."),
    "forcing_wavenumber": (
        np.int64,
        "Wavenumber of the cosine forcing; 0 for none, or another forcing.",
    ),
}
"""Scalar features of an example: type and meaning."""
_LAYERS = ("upper", "lower")


@dataclass(frozen=True)
class Features:
    """What the examples of one kind of flow hold.

    Attributes:
        of_field: field of a snapshot -> the features it becomes, one a channel; fields
            that are not named here are features as they are.
        extra_fields: fields on request, with their number of channels.
        scalars: scalar features, type and meaning.
        inputs: features that a network takes.
        outputs: features that it gives.
        conventions: what they mean, for the metadata.
        num_layers: of the flow; fields have this many planes, or are one.
    """

    extra_fields: Mapping[str, int]
    scalars: Mapping[str, tuple[type[np.generic], str]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    conventions: Mapping[str, str]
    of_field: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_layers: int = 1

    def shapes(
        self, les_shape: tuple[int, int], extra_fields: tuple[str, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of every feature that is a field, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name in (*FIELDS, *extra_fields):
            if name in self.of_field:
                shapes |= dict.fromkeys(self.of_field[name], les_shape)
            elif name in FIELDS:
                shapes[name] = les_shape
            else:
                shapes[name] = (*les_shape, self.extra_fields[name])
        return shapes

    def split(self, fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the features of the fields of all snapshots, shape `(n, ...)`."""
        features: dict[str, NDArray[Any]] = {}
        for name, values in fields.items():
            names = self.of_field.get(name)
            if names is None:
                features[name] = values
            else:
                features |= {one: values[:, i] for i, one in enumerate(names)}
        return features


def _by_layer(*fields: str) -> tuple[str, ...]:
    return tuple(f"{field}_{layer}" for field in fields for layer in _LAYERS)


_PLANE_CONVENTIONS = {
    "axes": "axis 0 is x, axis 1 is y",
    "velocity": "u = d(streamfunction)/dy, v = -d(streamfunction)/dx",
    "streamfunction": "laplacian(streamfunction) = -vorticity",
    "filter": "gaussian exp(-k^2 filter_width^2 / 24), then spectral truncation",
    "spectra": "sum over the shell [k - 1/2, k + 1/2)",
    "turnover_time": "1 / rms(vorticity of the DNS)",
    "work": "of a stochastic forcing the expected injection, whatever the flow does",
    "k_max_eta": "nu / eta^2 + nu_h / eta^2p = eta_Z^(1/3), eta_Z: of the enstrophy",
    "tau": "filter(u_i u_j) - filter(u_i) filter(u_j), channels xx, xy, yy",
    "sigma": "filter(u_i omega) - filter(u_i) filter(omega), channels x, y",
}
_PLANE = Features(
    extra_fields=EXTRA_FIELDS,
    scalars=SCALARS,
    inputs=("streamfunction", "vorticity"),
    outputs=("sgs_forcing",),
    conventions=_PLANE_CONVENTIONS,
)
_TWO_LAYERS = Features(
    of_field={
        "vorticity": _by_layer("potential_vorticity"),
        "streamfunction": _by_layer("streamfunction"),
        "sgs_forcing": _by_layer("sgs_forcing"),
        "velocity": ("u_upper", "v_upper", "u_lower", "v_lower"),
        **{
            name: _by_layer(f"{name}_potential_vorticity", f"{name}_sgs_forcing")
            for name in OPERATORS
        },
    },
    extra_fields={"velocity": 4, **dict.fromkeys(OPERATORS, 4)},
    scalars={
        **_ANY_FLOW,
        "deformation_radius": (np.float64, "Deformation radius, m."),
        "beta": (np.float64, "Gradient of the Coriolis parameter, 1 / (m s)."),
        "bottom_drag": (np.float64, "Rate of the drag on the lower layer, 1 / s."),
        "layer_ratio": (np.float64, "Depth of the upper over that of the lower layer."),
        "mean_shear": (np.float64, "Mean velocity, upper minus lower layer, m / s."),
    },
    inputs=(*_by_layer("streamfunction"), *_by_layer("potential_vorticity")),
    outputs=_by_layer("sgs_forcing"),
    conventions={
        "axes": "axis 0 is x, axis 1 is y",
        "units": "SI: m, s",
        "layers": "upper: layer 1, lower: layer 2",
        "velocity": "u = d(psi)/dy, v = -d(psi)/dx, without the mean flow",
        "streamfunction": "q_1 = -lap(psi_1) + F_1 (psi_1 - psi_2): minus that of pyqg",
        "sgs_forcing": "div(u_bar q_bar) - bar(div(u q)), of potential vorticity",
        "operator": "config.operator filters all fields but those named after another",
        "spectra": "sum over shells of the width of the smallest wavenumber, 1/2 |u|^2",
        "turnover_time": "1 / rms(potential vorticity of the DNS), weighted by depth",
        "budget": "energy 1/2 sum (H_i / H) <psi_i q_i>; the work is that of the shear",
    },
    num_layers=2,
)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return features in the order of channels, where TFDS has sorted them by name."""
    given = tuple(names)
    for channels in (_TWO_LAYERS.inputs, _TWO_LAYERS.outputs):
        if set(given) == set(channels):
            return channels
    return given


def features_of_flow(flow: FlowConfig | TwoLayerConfig) -> Features:
    """Return what the examples of a flow hold."""
    return _TWO_LAYERS if isinstance(flow, TwoLayerConfig) else _PLANE


def scalars_of_flow(flow: FlowConfig | TwoLayerConfig, width: float) -> dict[str, Any]:
    """Return the scalar features that are the same in all examples of an ensemble."""
    if isinstance(flow, TwoLayerConfig):
        upper, lower = flow.mean_velocities
        own = ("deformation_radius", "beta", "bottom_drag", "layer_ratio")
        return {name: getattr(flow, name) for name in own} | {
            "mean_shear": upper - lower
        }
    return {
        "reynolds": flow.reynolds,
        "linear_drag": flow.linear_drag,
        "beta": flow.beta,
        "filter_width": width,
        "forcing_wavenumber": flow.forcing_wavenumber or 0,
    }
