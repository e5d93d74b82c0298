"""One row of a sweep: retrain some layers, test the result."""

import dataclasses
from typing import Any

import keras
from numpy.typing import NDArray

from keras_spectral_tl import freezing, introspection, models
from keras_spectral_tl.transfer._normalization import RefitNormalizationLayers
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.prefix import LayerGraph
from keras_spectral_tl.transfer.prefix_activations import (
    Activations,
    PrefixCache,
    evaluated,
)
from keras_spectral_tl.transfer.retraining import train, trainable_selection
from keras_spectral_tl.transfer.training import Training


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Layers to be retrained together.

    Attributes:
        names: Their names, in the order of the model.
        places: Their places among the weight-bearing layers: copies of a subclassed
            model may have other names.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]

    @property
    def label(self) -> str:
        """The name of the row."""
        return "+".join(self.names)

    @classmethod
    def of(cls, model: keras.Model, selector: freezing.Selector) -> "Candidate":
        """Return the chosen layers of a model."""
        names = freezing.select_layers(model, selector).names
        everything = list(introspection.layers_with_weights(model))
        return cls(names, tuple(everything.index(name) for name in names))


@dataclasses.dataclass(frozen=True, eq=False)
class SweepRow:
    """What retraining one candidate gave.

    Attributes:
        values: layer, cc, relative_rmse, num_parameters, seconds.
        weights: For each layer of the candidate its weights after training.
    """

    values: dict[str, Any]
    weights: list[list[NDArray[Any]]]


class RowTrainer:
    """Retrains one candidate after another, each time from the weights of `model`.

    Where the network can be cut, the frozen layers in front are not evaluated again:
    all candidates share one copy of the network and the activations at the last cut.
    A row holds no history: where nothing watches the epochs of a fit, they run through.

    Args:
        model: A built Keras model; not changed.
        target: Samples to train with; normalized here as `training` says.
        test: Samples to evaluate on, as they are.
        training: How to train.
        cache: Where activations are kept; None retrains whole copies of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        target: Samples,
        test: Samples,
        training: Training,
        cache: PrefixCache | None,
    ) -> None:
        self.model, self.target, self.test = model, training.prepared(target), test
        self.training = dataclasses.replace(training, epoch_history=False)
        self.cache = cache
        self._network = models.copy_model(model)
        self._start = [introspection.fetch(v).copy() for v in self._network.weights]
        self._activations = self._prepared_activations()

    def row(self, candidate: Candidate) -> SweepRow:
        """Retrain the layers of `candidate` and test the result.

        Raises:
            FloatingPointError, RuntimeError, ValueError: As `retrain`.
        """
        selection = trainable_selection(self.model, list(candidate.places))
        parts, label = self._parts(candidate), candidate.label
        if parts is None:
            network, training = models.copy_model(self.model), self.training
            result = train(self.model, network, self.target, selection, training, label)
        else:
            network, training = self._network, parts.training
            trainee = parts.suffix, parts.target
            result = train(
                self.model, network, self.target, selection, training, label, trainee
            )
            result = dataclasses.replace(result, model=parts)
        values = result.row(self.test)
        layers = list(introspection.layers_with_weights(network).values())
        chosen = [layers[place] for place in candidate.places]
        return SweepRow(values, [_copied(layer) for layer in chosen])

    def _prepared_activations(self) -> Activations | None:
        refits = isinstance(self.training.normalization, RefitNormalizationLayers)
        graph = None if self.cache is None else LayerGraph.of(self._network)
        if graph is None or self.cache is None or refits:
            return None
        test = self.test
        if self.target.normalization is not None:
            test = test.normalized(self.target.normalization)
        inputs = [self.target.x, test.x]
        validation = self.training.fit_options.get("validation_data")
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                return None
            inputs.append(Samples.of(validation).x)
        sets = [graph.arrays(x) for x in inputs]
        known = [arrays for arrays in sets if arrays is not None]
        if len(known) < len(sets):
            return None
        return Activations(graph, known, self.cache)

    def _parts(self, candidate: Candidate) -> "_Parts | None":
        for variable, value in zip(self._network.weights, self._start, strict=True):
            variable.assign(value)
        if self._activations is None or self.cache is None:
            return None
        graph, places = self._activations.graph, list(candidate.places)
        names = freezing.select_layers(self._network, places).names
        freezing.set_trainable(self._network, names)
        cut = graph.cut(names)
        sets = None if cut is None else self._activations.at(cut)
        if cut is None or sets is None:
            return None
        _, suffix = graph.part(cut, graph.outputs)
        training = self.training
        if len(sets) == 3:
            outputs = Samples.of(training.fit_options["validation_data"]).y
            options = dict(training.fit_options)
            options["validation_data"] = (_single(sets[2]), outputs)
            training = dataclasses.replace(training, fit_options=options)
        target = dataclasses.replace(self.target, x=_single(sets[0]))
        return _Parts(suffix, target, sets[1], training, self.cache)


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
    """A suffix with the activations that go into it.

    For `RetrainResult.row` it stands in for the network on the samples to test with.
    """

    suffix: keras.Model
    target: Samples
    test: list[NDArray[Any]]
    training: Training
    cache: PrefixCache

    def predict(self, x: Any, **_options: Any) -> NDArray[Any]:
        """Return the outputs for the test samples, whatever form `x` has."""
        (outputs,) = evaluated(self.suffix, self.test, self.cache)
        return outputs


def _single(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)  # tf.data knows no lists


def _copied(layer: keras.Layer) -> list[NDArray[Any]]:
    return [introspection.fetch(v).copy() for v in introspection.own_weights(layer)]
