"""Rules of the literature for where to adapt: norms, condition numbers, kind of shift.

None of them moves a weight or tests anything on samples held out.
"""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl._checks import one_of, whole_number
from keras_spectral_tl._graph.calls import LayerFields, read_calls
from keras_spectral_tl._graph.layers import fetch, layers_with_weights
from keras_spectral_tl._keras_internals import own_trainable_variables
from keras_spectral_tl.linearization import (
    LayerFunction,
    backend,
    flatten,
    inner_product,
)
from keras_spectral_tl.scoring import Cost, ScorerResult
from keras_spectral_tl.scoring._result import layers_to_score
from keras_spectral_tl.transfer import Samples

Array = NDArray[np.float64]

_PLACES = {"input": 0.0, "feature": 0.5, "output": 1.0}


def _kernel(layer: keras.Layer) -> Array | None:
    """The kernel as a matrix (inputs of one output, outputs); None without one."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return None
    values = fetch(kernel).astype(np.float64)
    return np.asarray(values.reshape(-1, values.shape[-1]))


@dataclass(frozen=True)
class FeatureNorms:
    """Minus the normalized feature norm of PLoP: the least aligned layer comes first.

        NFN = |W z| / sqrt(E |W g|^2),   E |W g|^2 = |W|_F^2 |z|^2 / n

    W is the kernel as a matrix, z the n inputs of one output, and g Gaussian of the
    norm of z. Both norms are taken over all points of a sample (the second with the
    mean square of the input, which is exact for dense layers, valid and periodic
    convolutions of statistically uniform fields), the ratio is averaged over the target
    samples. It is 1 for a kernel that knows nothing of its inputs. nan for a layer
    without a kernel, or whose inputs vanish.

    Hayou, Ghosh & Yu 2025, arXiv:2506.20629, choose types of modules of language models
    for low-rank updates by it. Here it chooses among single layers.
    """

    name: str = "feature_norms"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base`, `rng` and the truth have no influence."""
        ratios: dict[str, list[Array]] = {name: [] for name in layers_to_score(model)}

        def read(name: str, call: LayerFields) -> None:
            kernel = _kernel(call.layer)
            if name in ratios and kernel is not None and call.inputs is not None:
                ratios[name].append(_feature_norms(kernel, call))

        read_calls(model, target.x, read, batch_size=8, ranks=(0, 1, 2, 3))
        values = {
            name: -float(np.mean(np.concatenate(found))) if found else float("nan")
            for name, found in ratios.items()
        }
        return ScorerResult(values, Cost(forward=len(target)))


def _feature_norms(kernel: Array, call: LayerFields) -> Array:
    """The normalized feature norm of one layer on each sample of a batch."""
    outputs = np.moveaxis(np.asarray(call.pre_activation, np.float64), 1, -1)
    bias = getattr(call.layer, "bias", None)
    if bias is not None:
        outputs = outputs - fetch(bias)
    inputs = np.asarray(call.inputs, np.float64).reshape(len(outputs), -1)
    points = outputs.reshape(len(outputs), -1, outputs.shape[-1])
    real = np.mean(np.sum(points**2, axis=-1), axis=1)
    chance = np.sum(kernel**2) * np.mean(inputs**2, axis=1)
    # Inputs that vanish say nothing.
    return np.sqrt(
        np.divide(real, chance, out=np.full_like(real, np.nan), where=chance > 0)
    )


@dataclass(frozen=True)
class KernelCondition:
    """Minus the condition number of each kernel, as a matrix (inputs, outputs).

    The least is chosen first, as KappaTune does (arXiv:2506.16289). It looks at no
    data. nan for a kernel of one output, whose number would be 1, and without kernel.
    """

    name: str = "kernel_condition"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; samples and `rng` have no influence."""
        layers = layers_with_weights(model)
        values = {}
        for name in layers_to_score(model):
            kernel = _kernel(layers[name])
            values[name] = float("nan")
            if kernel is not None and kernel.shape[1] > 1:
                singular = np.linalg.svd(kernel, compute_uv=False)
                with np.errstate(divide="ignore"):
                    values[name] = -float(singular[0] / singular[-1])
        return ScorerResult(values, Cost(0))


@dataclass(frozen=True)
class TangentCondition:
    """Minus the logarithm of the condition number of the tangent kernel of each layer.

        K = J J^T,   score = -log10(largest / smallest eigenvalue of K)

    J holds the derivatives of outputs at points of target samples, drawn at random,
    with respect to the weights of the layer. -inf where the points are linearly
    dependent. Gradient descent in a layer of a small condition number fits all of the
    error at about the same rate.

    Afzal et al. 2026, arXiv:2602.08239: the spectrum of the tangent kernel at the start
    is related to what fine-tuning of chosen layers reaches.

    Attributes:
        num_points: outputs in all, spread over the samples.
    """

    num_points: int = 32
    name: str = "tangent_condition"

    def __post_init__(self) -> None:
        whole_number("num_points", self.num_points, 2)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; `base` and the truth have no influence, `rng` draws points."""
        size = int(np.prod(target.y.shape[1:]))
        count = min(self.num_points, len(target) * size)
        samples = np.arange(count) % len(target)
        # The same points for all layers, and none of them twice.
        places = np.empty(count, int)
        for sample in np.unique(samples):
            here = samples == sample
            places[here] = rng.choice(size, int(here.sum()), replace=False)
        names = layers_to_score(model)
        function = LayerFunction(model, names)
        # One pass back gives the derivatives in the weights of every layer.
        pull = backend().derivatives(function, inner_product)[1]
        rows = []
        for sample, place in zip(samples, places, strict=True):
            cotangent = np.zeros((1, *target.y.shape[1:]), "float32")
            cotangent.flat[place] = 1.0
            x, _ = target.take(slice(sample, sample + 1))
            rows.append(pull(function.values, x, cotangent))
        layers, values = layers_with_weights(model), {}
        for name in names:
            own = set(map(id, own_trainable_variables(layers[name])))
            chosen = [i for i, v in enumerate(function.variables) if id(v) in own]
            jacobian = np.stack([flatten([row[i] for i in chosen]) for row in rows])
            values[name] = -_condition(jacobian)
        return ScorerResult(values, Cost(count, count))


def _condition(jacobian: Array) -> float:
    """The logarithm of the condition number of `J J^T`; inf if it is singular."""
    singular = np.linalg.svd(jacobian, compute_uv=False)
    if len(singular) < len(jacobian) or not singular[-1] > 0.0:
        return np.inf
    return 2.0 * float(np.log10(singular[0] / singular[-1]))


@dataclass(frozen=True)
class KindOfShift:
    """The rule of surgical fine-tuning: the kind of shift says which block to tune.

    Inputs that look different: the first; other features of the same classes: the one
    in the middle; another relation of features to answers: the last. Then neighbours.
    Lee et al. 2022, arXiv:2210.11466. A block here is one layer with weights.

    Flows of the same equations, filter and grid, that are forced at another wavenumber,
    are a shift of the inputs: the relation of the filtered fields to the subgrid
    forcing is the same, the spectrum of the fields that come in is not. With the
    target's own statistics the scale of the answer changes too; a gain at the start of
    each retraining takes that off.

    Attributes:
        kind: "input", "feature" or "output".
    """

    kind: str = "input"

    def __post_init__(self) -> None:
        one_of("kind", self.kind, _PLACES)

    @property
    def name(self) -> str:
        """Label of the scorer."""
        return f"shift_of_{self.kind}"

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """See `Scorer`; only the order of the layers counts."""
        names = layers_to_score(model)
        place = int(_PLACES[self.kind] * (len(names) - 1))
        return ScorerResult(
            {n: -float(abs(i - place)) for i, n in enumerate(names)}, Cost(0)
        )
