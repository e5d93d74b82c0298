"""What retraining changed in the kernels of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_spectral_tl.introspection import layers_with_weights
from keras_spectral_tl.spectra.kernels.layer_changes import (
    LayerKernelChanges,
    layer_kernel_changes,
)
from keras_spectral_tl.spectra.kernels.weights import (
    ConvolutionKernel,
    convolution_kernel,
)


class ChangedKernel(NamedTuple):
    """One kernel and how far it moved."""

    layer: str
    input_channel: int
    output_channel: int
    change_norm: float


@dataclass(frozen=True)
class KernelChanges:
    """What retraining changed in each convolution layer.

    Attributes:
        layers: Layer name to its `LayerKernelChanges`, in execution order.
    """

    layers: Mapping[str, LayerKernelChanges]

    def largest(self, count: int = 10) -> list[ChangedKernel]:
        """The kernels that moved most, by ``|K_1 - K_0|``, over all layers."""
        found = []
        for name, layer in self.layers.items():
            moved = layer.change_norms
            for row in np.argsort(-moved, kind="stable")[:count]:
                channels = divmod(int(row), layer.shape[1])
                found.append(ChangedKernel(name, *channels, float(moved[row])))
        return sorted(found, key=lambda kernel: -kernel.change_norm)[:count]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as lists, for JSON."""
        return {name: layer.to_dict() for name, layer in self.layers.items()}


def kernel_changes(
    base: keras.Model,
    retrained: keras.Model,
    reseeded: keras.Model | None = None,
    *,
    seed: int = 0,
) -> KernelChanges:
    """Compares the kernels of a model before and after retraining.

    Per kernel, per class and per layer, in norm and in spectrum; see
    `LayerKernelChanges` for the definitions. With a second retraining from the same
    base and on the same data, but with another seed (order of batches, dropout), the
    part of a change that both have in common is told from the noise of training.

    Args:
        base: The model before.
        retrained: The model after.
        reseeded: The model after a retraining with another seed.
        seed: Of the sign-flip test.

    Returns:
        One `LayerKernelChanges` for every convolution layer.

    Raises:
        ValueError: If the models do not have the same convolution layers, or none, or
            if the reseeded model equals the retrained one.

    Example:
        >>> import keras
        >>> layer = keras.layers.Conv2D(1, 3, name="conv")
        >>> base = keras.Sequential([keras.Input((8, 8, 1)), layer])
        >>> doubled = keras.models.clone_model(base)
        >>> doubled.set_weights([2 * weight for weight in base.get_weights()])
        >>> change = kernel_changes(base, doubled).layers["conv"]
        >>> change.norm_changes.round(6), bool(change.spectral_distances < 1e-6)
        (array([1.]), True)
    """
    models = [base, retrained] if reseeded is None else [base, retrained, reseeded]
    kernels = [_kernels(model) for model in models]
    _check_alike(kernels)
    layers = {}
    for name, before in kernels[0].items():
        stacks = [found[name].stacked() for found in kernels]
        if reseeded is not None and np.array_equal(stacks[1], stacks[2]):
            # A frozen layer has no noise; a layer that moved must have moved apart.
            _check_frozen(name, stacks)
        layers[name] = layer_kernel_changes(
            stacks[0],
            stacks[1],
            stacks[2] if reseeded is not None else None,
            shape=before.weights.shape[-2:],
            dilation=before.dilation,
            seed=seed,
        )
    return KernelChanges(layers)


def _kernels(model: keras.Model) -> dict[str, ConvolutionKernel]:
    found = {
        name: convolution_kernel(layer)
        for name, layer in layers_with_weights(model).items()
    }
    return {name: kernel for name, kernel in found.items() if kernel is not None}


def _check_alike(kernels: list[dict[str, ConvolutionKernel]]) -> None:
    shapes = [
        {name: kernel.weights.shape for name, kernel in found.items()}
        for found in kernels
    ]
    if not shapes[0] or any(other != shapes[0] for other in shapes[1:]):
        raise ValueError(
            "Kernel changes need models with the same convolution layers, by name and "
            f"shape. Received {' and '.join(map(str, shapes))}. Copies made with "
            "keras.models.clone_model or keras_spectral_tl.retrain have them."
        )


def _check_frozen(name: str, stacks: list[Any]) -> None:
    if not np.array_equal(stacks[0], stacks[1]):
        raise ValueError(
            f"Layer {name!r} of the reseeded model equals that of the retrained one, "
            "though both differ from the base: expected a retraining with another "
            "seed, received the same one twice. Retrain again with another seed."
        )
