"""Residuals of the exact identities for every type of convolution layer.

    python benchmarks/identity_table.py

Prints the table of docs/identities.md: each layer has five points an axis, random
weights and a bias that is not 0, and runs on noise. On your own backend and accelerator
it shows in which precision convolutions really run there.
"""

import argparse
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.layers import (
    PeriodicConv2D,
    PeriodicPadding1D,
    PeriodicPadding2D,
    PeriodicPadding3D,
)
from keras_spectral_tl.spectra import convolution_residuals, relu_identity

_PADDINGS = (PeriodicPadding1D, PeriodicPadding2D, PeriodicPadding3D)
# Not one size for all axes, so that swapped axes fail.
_GRIDS = {1: (24,), 2: (16, 12), 3: (8, 6, 10)}
_KERNEL = 5
_CHANNELS = 4
_FILTERS = 6

_CASES: tuple[tuple[type[keras.layers.Layer], dict[str, Any]], ...] = (
    (keras.layers.Conv1D, {}),
    (keras.layers.Conv1D, {"strides": 3, "groups": 2}),
    (keras.layers.Conv1D, {"dilation_rate": 3}),
    (keras.layers.Conv2D, {}),
    (keras.layers.Conv2D, {"strides": (2, 3)}),
    (keras.layers.Conv2D, {"dilation_rate": (1, 2)}),
    (keras.layers.Conv2D, {"groups": 2}),
    (keras.layers.Conv2D, {"data_format": "channels_first"}),
    (PeriodicConv2D, {}),
    (PeriodicConv2D, {"strides": 2, "groups": 2}),
    (keras.layers.Conv3D, {}),
    (keras.layers.Conv3D, {"strides": 2}),
    (keras.layers.DepthwiseConv1D, {"depth_multiplier": 2}),
    (keras.layers.DepthwiseConv2D, {"depth_multiplier": 2}),
    (keras.layers.DepthwiseConv2D, {"strides": 2}),
    (keras.layers.SeparableConv1D, {"depth_multiplier": 2}),
    (keras.layers.SeparableConv2D, {}),
    (keras.layers.SeparableConv2D, {"dilation_rate": 2}),
    (keras.layers.Conv1DTranspose, {"strides": 2}),
    (keras.layers.Conv2DTranspose, {}),
    (keras.layers.Conv2DTranspose, {"strides": (2, 3)}),
    (keras.layers.Conv3DTranspose, {"strides": 2}),
)


@dataclass(frozen=True)
class IdentityRow:
    """The identities through one type of layer.

    Attributes:
        layer: Name of the layer's class.
        options: Its options that matter, as one would write them.
        periodic: Residual of the convolution theorem with periodic padding.
        zero: The same with the layer's own zero padding ("same"); NaN where the layer
            knows only periodic padding.
        relu: Residual of its ReLU as a circular convolution.
        moved: Share of the energy that this ReLU moves between wavenumbers.
    """

    layer: str
    options: str
    periodic: float
    zero: float
    relu: float
    moved: float


def identity_table(seed: int = 0) -> list[IdentityRow]:
    """One row a layer type and option, each from its own stream of random numbers."""
    streams = np.random.default_rng(seed).spawn(len(_CASES))
    return [_row(*case, rng) for case, rng in zip(_CASES, streams, strict=True)]


def _row(
    kind: type[keras.layers.Layer], options: dict[str, Any], rng: np.random.Generator
) -> IdentityRow:
    """Runs one layer type with periodic and with zero padding."""
    rank = int(next(digit for digit in kind.__name__ if digit.isdigit()))
    channels_first = options.get("data_format") == "channels_first"
    grid = _GRIDS[rank]
    shape = (_CHANNELS, *grid) if channels_first else (*grid, _CHANNELS)
    x = rng.normal(size=(2, *shape)).astype("float32")
    name = {"name": "layer", "activation": "relu", **options}
    inside = kind is PeriodicConv2D
    padding = [] if inside else [_padding(kind, options, rank)]
    model = _model([*padding, _layer(kind, name)], shape, rng)
    zero = float("nan")
    if not inside:
        same = _model([_layer(kind, {"padding": "same", **name})], shape, rng)
        zero = convolution_residuals(same, x)["layer"]
    relu = relu_identity(model, x, ["layer"])["layer"]
    return IdentityRow(
        layer=kind.__name__,
        options=", ".join(f"{key}={value!r}" for key, value in options.items()),
        periodic=convolution_residuals(model, x)["layer"],
        zero=zero,
        relu=relu.residual,
        moved=relu.share,
    )


def _padding(
    kind: type[keras.layers.Layer], options: dict[str, Any], rank: int
) -> keras.layers.Layer:
    """Periodic padding that gives a "valid" layer what its kernel reaches."""
    dilation = np.broadcast_to(options.get("dilation_rate", 1), (rank,))
    reach = [int(step) * (_KERNEL - 1) for step in dilation]
    sides = tuple((points // 2, points - points // 2) for points in reach)
    padding = sides[0] if rank == 1 else sides
    return _PADDINGS[rank - 1](padding, data_format=options.get("data_format"))


def _layer(kind: type[keras.layers.Layer], options: dict[str, Any]) -> Any:
    """A layer of five points an axis; depthwise ones have no number of filters."""
    filters = () if kind.__name__.startswith("Depthwise") else (_FILTERS,)
    return kind(*filters, _KERNEL, **options)


def _model(
    layers: list[keras.layers.Layer], shape: tuple[int, ...], rng: np.random.Generator
) -> keras.Model:
    """A model with random weights of order one."""
    model = keras.Sequential([keras.Input(shape), *layers])
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return model


def main() -> None:
    print("| layer | options | periodic | zero | ReLU | moved |")
    print("|---" * 6 + "|")
    for row in identity_table():
        zero = "-" if np.isnan(row.zero) else f"{row.zero:.2f}"
        options = f"`{row.options}`" if row.options else ""
        print(
            f"| `{row.layer}` | {options} | {row.periodic:.0e} | {zero} "
            f"| {row.relu:.0e} | {row.moved:.2f} |"
        )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main()
