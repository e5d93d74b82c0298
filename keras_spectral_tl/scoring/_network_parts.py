"""Parts of a network from a given layer on, with cached input activations."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._graph.copies import called, copy_model, counted_points
from keras_spectral_tl._graph.cut import Activations, PrefixCache
from keras_spectral_tl._graph.grids import data_formats
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    SampleShape,
    axes_of_filter,
    batches,
    fetch,
    is_kernel,
    layers_with_weights,
)
from keras_spectral_tl._keras_internals import is_low_rank, low_rank_base
from keras_spectral_tl._results import versions
from keras_spectral_tl.freezing import Selector, layer_hashes, select_layers
from keras_spectral_tl.freezing._selection import LayerSelection
from keras_spectral_tl.linearization import LayerFunction
from keras_spectral_tl.scoring._effort import low_rank_size
from keras_spectral_tl.spectra._convolutions import convolution_kernel
from keras_spectral_tl.transfer._pull import squared_norms
from keras_spectral_tl.transfer._retrain import Trainee
from keras_spectral_tl.transfer._samples import Samples

# Tolerance relative to the largest output: above the round-off of half precision.
_TOLERANCE = 1e-2
# Half-precision numbers in a 512-bit register.
_WIDE = 32


class NetworkPart(NamedTuple):
    """The part of a network that some layers act on.

    Attributes:
        label: Name of what trains.
        function: The part as a function of the weights to retrain.
        inputs: Inputs of the part for all samples.
        share: Cost of the part as a fraction of a forward pass, nan if unknown.
        step: Cost of a training step of one sample in forward passes, nan if unknown.
        norms: |theta_l0|^2 of the layer l of each weight, see `squared_norms`.
        sizes: Arrays whose size sets the learning rate, see `usual_rate`: the weights
            that train, without biases of several axes (GRU, attention); for a low-rank
            update, `low_rank_size`.
    """

    label: str
    function: LayerFunction
    inputs: Any
    share: float
    step: float
    norms: tuple[float, ...]
    sizes: Sequence[NDArray[Any]]

    def stiffness(self) -> NDArray[np.float64]:
        """Return 1 / |theta_l0|^2 for each weight, as a flat array."""
        sizes = [value.size for value in self.function.values]
        return np.repeat(1.0 / np.array(self.norms), sizes)


class PartedNetwork:
    """A copy of a network that is cut before each selection of layers in turn.

    `x` are the inputs of all samples that are needed, `weights` those of the points of
    a sample. Wide convolutions of the copy compute in half precision if that is faster,
    see `compute_in_half_precision`. The network itself does not change.

    Attributes:
        outputs: Outputs of the unchanged network, float64.
        weights: How much each output counts in a loss, of the shape of `outputs`: the
            given weights, 0 where the network masks its outputs; None if all are 1.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        batch_size: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self._model, self._x, self.batch_size = model, x, batch_size
        sample = next(batches(x, 2))[1]
        self._copy = copy_model(model, sample)
        compute_in_half_precision(self._copy)
        found = [called(self._copy, part) for _, part in batches(x, batch_size)]
        self.outputs = np.concatenate(list(map(fetch, found))).astype(np.float64)
        counted = counted_points(found, weights)
        self.weights: NDArray[np.float64] | None = None
        if counted is not None:
            self.weights = np.broadcast_to(counted, self.outputs.shape)
        self._named = ModelLayers.of(model)
        self._copied = self._named.of_copy(self._copy)
        # By the weights that train: the part, and whether it begins at a cut.
        self._functions: dict[tuple[str, ...], tuple[LayerFunction, bool]] = {}

    def parts(self, choices: Mapping[str, Selector | None]) -> Iterator[NetworkPart]:
        """Yield, for each selection of weights, the part of the network they affect.

        The leading frozen layers are evaluated only once, if the choices, by label, are
        in the order of the model. A network is not cut if it has no graph (subclassed),
        or if the part would return other outputs than the whole (a mask is lost at the
        cut). The functions of parts, which are slow to compile, are kept for further
        calls, until `forget_parts`.
        """
        cache = PrefixCache(batch_size=self.batch_size)
        activations = Activations.of(self._copy, [self._x], cache)
        for label, choice in choices.items():
            selection = select_layers(self._model, choice)
            function, inputs = self._part(activations, label, selection)
            share, step = self._passes(selection, cached=activations is not None)
            norms = _norms(function, self._copied, selection)
            sizes = _sizes(function, self._copied, selection)
            yield NetworkPart(label, function, inputs, share, step, norms, sizes)

    def forget_parts(self) -> None:
        """Release the functions of parts that are kept for further calls."""
        self._functions.clear()

    def with_added(self, label: str, layers: Selector | None) -> NetworkPart:
        """Return another whole copy of the network with the parts a selector adds."""
        trainee = Trainee.of(self._model, layers)
        named = trainee.network
        compute_in_half_precision(named.model)
        trained = [named.weights[path] for path in trainee.selection.variables]
        function = LayerFunction(named.model, label, trained)
        norms = _norms(function, named, trainee.selection)
        sizes = _sizes(function, named, trainee.selection)
        return NetworkPart(label, function, self._x, 1.0, 3.0, norms, sizes)

    def _part(
        self, activations: Activations | None, label: str, selection: LayerSelection
    ) -> tuple[LayerFunction, Any]:
        """Return the part that a selection affects, as a function, and its inputs."""
        places = list(map(self._named.names.index, selection.names))
        if selection.variables in self._functions:
            function, is_cut = self._functions[selection.variables]
            inputs = activations.before(places) if activations and is_cut else None
            return function, self._x if inputs is None else inputs[0]
        trained = [self._copied.weights[path] for path in selection.variables]
        # A layer before the cut may share a weight.
        own = self._copied.holders(trained) <= set(selection.names)
        part = self._cut(activations, places, trained) if activations and own else None
        model, inputs = part or (self._copy, self._x)
        function = LayerFunction(model, label, trained)
        self._functions[selection.variables] = function, part is not None
        return function, inputs

    def _cut(
        self, activations: Activations, places: list[int], trained: list[Any]
    ) -> tuple[keras.Model, Any] | None:
        """Return the part after the cut and its inputs; None for the whole network."""
        after = activations.from_cut(places)
        if after is None:
            return None
        (inputs,), part = after
        inside = {id(variable) for variable in part.variables}
        if any(id(variable) not in inside for variable in trained):
            return None  # a layer that affects no output is not in the part
        rows, batch = next(batches(inputs, self.batch_size))
        expected, given = self.outputs[rows], fetch(called(part, batch))
        tolerance = _TOLERANCE * np.max(np.abs(expected), initial=0.0)
        same = np.allclose(given, expected, 0.0, tolerance, equal_nan=True)
        return (part, inputs) if same else None

    def _passes(self, selection: LayerSelection, cached: bool) -> tuple[float, float]:
        """Return the cost of the part and of a training step, in forward passes."""
        try:
            cost = selection.cost(shape_of_sample(self._x))
            if not cost.forward:
                return float("nan"), float("nan")
            saved = cost.step - cost.cached_step if cached else 0
            return 1.0 - saved / cost.forward, (cost.step - saved) / cost.forward
        except Exception:  # an unknown cost must not prevent the scores
            return float("nan"), float("nan")


def _norms(
    function: LayerFunction, network: ModelLayers, selection: LayerSelection
) -> tuple[float, ...]:
    """Return `squared_norms` of the weights chosen, in the order of the function."""
    norms = squared_norms(network, selection.variables)
    known = {id(network.weights[path]): norm for path, norm in norms.items()}
    return tuple(known[id(variable)] for variable in function.variables)


def _sizes(
    function: LayerFunction, network: ModelLayers, selection: LayerSelection
) -> list[NDArray[Any]]:
    """Return the weights to train whose size sets their rate, see `NetworkPart`."""
    paths = {id(network.weights[path]): path for path in selection.variables}
    found = []
    for variable in function.variables:
        if len(variable.shape) > 1 and not is_kernel(variable):
            continue
        name, weight = paths[id(variable)].rsplit("/", 1)
        kernel = low_rank_base(network.layers[name])
        value = fetch(variable)
        if is_low_rank(weight) and weight.endswith("_a") and kernel is not None:
            value = low_rank_size(fetch(kernel), value)
        found.append(value)
    return found


def compute_in_half_precision(model: keras.Model) -> None:
    """Make wide convolutions of a copy compute in bfloat16 if that is faster.

    Weights, their updates and all other layers stay in single precision. The error of
    the outputs of eleven layers is 1.5 % of their standard deviation
    (docs/forecast.md).
    """
    for layer in layers_in_half_precision(model):
        layer.dtype_policy = "mixed_bfloat16"


def layers_in_half_precision(model: keras.Model) -> list[keras.Layer]:
    """Return the layers whose copies compute in bfloat16.

    With TensorFlow on a processor with bfloat16 instructions, these are convolutions
    between 32 channels or more, which then take half the time. Layers with a precision
    of their own keep it.
    """
    if keras.backend.backend() != "tensorflow" or not _has_bfloat16():
        return []
    return [
        layer
        for layer in layers_with_weights(model).values()
        if (kernel := convolution_kernel(layer))
        and min(kernel.channels) >= _WIDE
        and layer.dtype_policy.name == "float32"
    ]


@functools.cache
def _has_bfloat16() -> bool:
    known = Path("/proc/cpuinfo")
    if not known.exists():
        return False
    import tensorflow as tf

    flags = known.read_text().split()
    there = "avx512_bf16" in flags or "amx_bf16" in flags
    return there and not tf.config.list_physical_devices("GPU")


def spatial_axes(model: keras.Model, ndim: int) -> tuple[int, ...]:
    """Return the spatial axes of a model's outputs.

    They follow from the data format of the outputs, see `data_formats`. Without
    convolutions of that rank, arrays of rank 4 are fields with channels last, others
    are not fields. The rank `ndim` includes samples and channels.

    Example:
        >>> convolution = keras.layers.Conv1D(1, 3, data_format="channels_last")
        >>> spatial_axes(keras.Sequential([keras.Input((8, 2)), convolution]), 3)
        (1,)
        >>> dense = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> spatial_axes(dense, 2)
        ()
    """
    rank = ndim - 2
    kernels = map(convolution_kernel, layers_with_weights(model).values())
    convolves = any(kernel and len(kernel.size) == rank for kernel in kernels)
    if not 1 <= rank <= 3 or (rank != 2 and not convolves):
        return ()
    first = 2 if convolves and data_formats(model)[1] == "channels_first" else 1
    return tuple(range(first, first + rank))


def kernels_of(model: keras.Model) -> list[NDArray[Any]]:
    """Return the kernels of a model, each as a matrix (inputs, outputs)."""
    network, found = ModelLayers.of(model), []
    for path, weight in network.weights.items():
        if is_kernel(weight):
            within = axes_of_filter(network.layers[path.rsplit("/", 1)[0]], weight)
            value = np.moveaxis(fetch(weight), within, range(len(within)))
            inputs = math.prod(value.shape[: len(within)])
            found.append(value.reshape(inputs, -1))
    return found


def check_unchanged(model: keras.Model, hashes: Mapping[str, str]) -> None:
    """Raise ValueError unless the weights of a model have these SHA-256."""
    if layer_hashes(model) != hashes:
        raise ValueError(
            f"Expected model {model.name!r} with the weights of the forecast. Received "
            "others: they have changed since. Make a forecast of these."
        )


def shape_of_sample(x: Any) -> SampleShape:
    """Return the shape of one sample, or a list of shapes for several inputs."""
    if isinstance(x, dict | list | tuple):
        return [tuple(part.shape[1:]) for part in keras.tree.flatten(x)]
    return tuple(x.shape[1:])


def question_record(
    model: keras.Model, base: Samples | None, target: Samples
) -> dict[str, Any]:
    """Return numbers of samples, hashes of weights, backend and versions."""
    return {
        "num_base_samples": 0 if base is None else len(base),
        "num_target_samples": len(target),
        "weights_sha256": layer_hashes(model),
        "backend": keras.backend.backend(),
        "half_precision": bool(layers_in_half_precision(model)),
        "versions": versions(),
    }


def refuse_fixed_batches(model: keras.Model) -> None:
    inputs = getattr(model, "inputs", None) or []
    sizes = {tensor.shape[0] for tensor in inputs} - {None}
    if sizes:
        raise ValueError(
            f"model {model.name!r} takes batches of {sizes.pop()} samples only, as "
            "stateful recurrent layers want it, but scores rehearse single samples. "
            "Build it with an open batch axis and stateful=False, and give it the same "
            "weights."
        )
