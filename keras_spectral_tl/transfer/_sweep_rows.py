"""Training of the rows of a sweep, here or in another process."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from numpy.typing import NDArray

from keras_spectral_tl._checks import did_you_mean, real_number
from keras_spectral_tl._graph.copies import (
    copy_model,
    has_mask,
    packed,
    unmasked,
    unpacked,
)
from keras_spectral_tl._graph.cut import Activations, PrefixCache, evaluated
from keras_spectral_tl._graph.feeding import predicted
from keras_spectral_tl._graph.layers import (
    ModelLayers,
    fetch,
    layers_with_weights,
    own_weights,
    set_single_flags,
    single_flags,
)
from keras_spectral_tl._optimizer_state import first_rate, scaled_optimizer
from keras_spectral_tl.freezing import (
    NewWeights,
    OutputGain,
    layer_hashes,
    select_layers,
)
from keras_spectral_tl.freezing._changes import set_trainable, weight_hashes
from keras_spectral_tl.freezing._parts import adds_parts, items_of
from keras_spectral_tl.transfer._arms import Candidate
from keras_spectral_tl.transfer._loop import closed_form_gain, from_best_gain
from keras_spectral_tl.transfer._options import RetrainOptions
from keras_spectral_tl.transfer._result import measured, quality
from keras_spectral_tl.transfer._retrain import (
    Trainee,
    check_fit,
    check_trainable,
)
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer._sweep_store import SweepRow

Outputs = Callable[[str], NDArray[Any]]
"""Maps "target", "test" or "base" to the outputs of a network for these samples."""


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
    """Search over learning rates and base samples to test with, see `oracle_sweep`."""

    base_test: Samples | None = None
    rates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    factors: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        if not isinstance(self.rates, Mapping):
            raise TypeError(
                "Expected rates as a mapping of labels of arms to learning rates. "
                f"Received {self.rates!r:.100}."
            )
        for label, rate in self.rates.items():
            if not isinstance(rate, keras.optimizers.Optimizer):
                real_number(f"rates[{label!r}]", rate, at_least=0)
        if not isinstance(self.factors, Sequence) or not self.factors:
            raise TypeError(
                "Expected rate_factors as a sequence of numbers, at least one. "
                f"Received {self.factors!r:.100}."
            )
        for factor in self.factors:
            real_number("each of rate_factors", factor, above=0)

    @property
    def chooses_rates(self) -> bool:
        """True if rows differ in their learning rates."""
        return bool(self.rates) or list(self.factors) != [1.0]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `oracle_sweep` that are not the default."""
        found: dict[str, Any] = {"base_test": self.base_test, "rates": self.rates}
        if list(self.factors) != [1.0]:
            found["rate_factors"] = self.factors
        return {name: value for name, value in found.items() if value}

    def check_labels(self, candidates: Sequence[Candidate]) -> None:
        """Raise ValueError if a rate has no row while a trained row has no rate.

        If every row has one, further rates are allowed: several sweeps that share a
        folder can share their rates too.
        """
        labels = [candidate.label for candidate in candidates]
        unknown = [label for label in self.rates if label not in labels]
        trained = [one.label for one in candidates if not one.is_fixed]
        left = [label for label in trained if label not in self.rates]
        if unknown and left:
            raise ValueError(
                f"There is no row {unknown[0]!r} of this sweep for the rate in rates, "
                f"and {left[0]!r} has none. Expected labels of rows: "
                f"{', '.join(map(repr, labels))}."
                f"{did_you_mean(unknown[0], left)} Rename the one, or give the other "
                "its rate."
            )

    def options(
        self, given: RetrainOptions, label: str, factor: float
    ) -> RetrainOptions:
        """Return options with the learning rate of an arm multiplied by a factor."""
        if not self.chooses_rates:
            return given
        rate = self.rates.get(label)
        if isinstance(rate, keras.optimizers.Optimizer):
            given, rate = dataclasses.replace(given, optimizer=rate), None
        optimizer = given.fresh_optimizer()
        first = first_rate(optimizer)
        rate = first if rate is None else rate
        if not (first > 0.0 and rate > 0.0):
            raise ValueError(
                f"Expected a positive learning rate for {label!r}, and one of the "
                f"optimizer. Received {rate} and {first}."
            )
        if factor * rate == first:
            return given
        scaled = scaled_optimizer(optimizer, factor * rate / first)
        return dataclasses.replace(given, optimizer=scaled)


class RowTrainer:
    """Trains one candidate after another, each time from the weights of `model`.

    If the network can be cut, the leading frozen layers are not evaluated again: all
    candidates share one copy of the network and the activations at the last cut. If
    weights are added or reinitialized, and with symmetries, whole copies are trained.
    The unchanged network and its output gain need no training. Without a cache, whole
    copies are trained too. Rows hold no history, so fits without callbacks run as a
    single epoch of Keras.
    """

    def __init__(
        self,
        model: keras.Model,
        target: Samples,
        test: Samples,
        options: RetrainOptions,
        cache: PrefixCache | None,
        search: Search | None = None,
    ) -> None:
        self.model, self.test, self.cache = model, test, cache
        self.search = search or Search()
        self.target, options = options.prepare(target, model)
        self.test_inputs = test.normalized(self.target.statistics).x
        self.options = dataclasses.replace(options, epoch_history=False)
        self._sample, _ = self.target.take(slice(0, 1))
        self._original = ModelLayers.of(model)
        self._network = copy_model(model, self._sample)
        self._named = self._original.of_copy(self._network)
        self._hashes = weight_hashes(self._named)
        self._start = [fetch(v).copy() for v in self._network.weights]
        self._activations: Activations | None = None
        self._names: tuple[str, ...] = ()
        self._masks = False
        self._prepare_activations()

    def row(self, candidate: Candidate) -> SweepRow:
        """Retrain the layers of `candidate` and test the result.

        With several learning rates, the row is the one with the highest correlation
        and holds the correlations of all.
        """
        if candidate.is_fixed:
            return self._fixed(candidate)
        found: dict[float, SweepRow] = {}
        given = self.options
        if any(isinstance(item, NewWeights) for item in items_of(candidate.layers)):
            given = dataclasses.replace(given, pull=0.0)  # that of all rows, see `Arm`
        elif candidate.pull:
            given = dataclasses.replace(given, pull=candidate.pull)
        for factor in self.search.factors:
            options = self.search.options(given, candidate.label, factor)
            try:
                found[factor] = self._trained(candidate, options)
            except FloatingPointError:
                if not found and factor == self.search.factors[-1]:
                    raise
                continue
            if self.search.chooses_rates:
                rate = first_rate(options.fresh_optimizer())
                found[factor].values["learning_rate"] = rate
        best = max(found, key=lambda factor: quality(found[factor].values))
        if len(self.search.factors) > 1:
            for factor in self.search.factors:
                cc = found[factor].values["cc"] if factor in found else math.nan
                found[best].values[f"cc_at_{factor:.3g}"] = cc
        return found[best]

    def _fixed(self, candidate: Candidate) -> SweepRow:
        """Return the row of the unchanged network, or of its output gain."""
        self._reset()
        inputs = self._inputs()

        def outputs(name: str) -> NDArray[Any]:
            return predicted(self._network, inputs[name])

        gain, count = 1.0, 0
        if isinstance(candidate.selector, OutputGain):
            check_fit(self.model, self.target)
            count = 1
            gain = closed_form_gain(self._network, self.target)
        values = self._values(
            candidate, self._network, lambda name: gain * outputs(name), count, 0.0
        )
        return SweepRow(values, [])

    def _trained(self, candidate: Candidate, options: RetrainOptions) -> SweepRow:
        part = self._part(candidate.layers, options)
        if part is None:
            layers = from_best_gain(self.model, candidate.layers, self.target)
            exact = functools.partial(copy_model, sample=self._sample)
            trainee = Trainee.of(self.model, layers, exact)
            what = self.target, options, None
        else:
            trainee, what = part.trainee, (part.target, part.options, part.suffix)
        start = time.perf_counter()
        # A row tells that a layer cannot learn, such as one of dead units.
        trainee.fit(*what, self._hashes, may_stand=True)
        seconds = time.perf_counter() - start
        network, count = trainee.network, trainee.selection.num_trainable

        def outputs(name: str) -> NDArray[Any]:
            if part is None:
                return predicted(network.model, self._inputs()[name])
            (found,) = evaluated(part.suffix, part.inputs[name], part.cache)
            return found

        values = self._values(candidate, network.model, outputs, count, seconds)
        held = list(network.layers.values())
        weights = [
            [fetch(v).copy() for v in own_weights(held[place])]
            for place in candidate.places
        ]
        return SweepRow(values, weights)

    def _values(
        self,
        candidate: Candidate,
        network: keras.Model,
        outputs: Outputs,
        count: int,
        seconds: float,
    ) -> dict[str, Any]:
        """Return a row; of `network`, which gave the outputs, the mask is used."""
        inputs, statistics = self._inputs(), self.target.statistics

        def figures(name: str, samples: Samples, units: Any) -> dict[str, float]:
            weights = unmasked(network, inputs[name], self.target.weights)
            return measured(samples, outputs(name), units, weights=weights)

        found = {
            "layer": candidate.label,
            **figures("test", self.test, statistics),
            "num_parameters": count,
            "seconds": seconds,
        }
        base = self.search.base_test
        if base is not None:
            found["base_correlation"] = figures("base", base, None)["cc"]
        return found

    def _inputs(self) -> dict[str, Any]:
        """Return the inputs of all samples by name, in the units of the network."""
        found = {"target": self.target.x, "test": self.test_inputs}
        if self.search.base_test is not None:
            found["base"] = self.search.base_test.x
        return found

    def _prepare_activations(self) -> None:
        """Cache the activations of all samples, if the options allow it."""
        options = self.options
        if self.cache is None or options.refits_layers or options.symmetries:
            return
        inputs = self._inputs()
        if options.replay is not None:
            inputs["replay"] = options.replay.x
        validation = options.fit_options.get("validation_data")
        if validation is not None:
            if not isinstance(validation, tuple) or len(validation) != 2:
                return
            inputs["validation"] = validation[0]
        found = Activations.of(self._network, list(inputs.values()), self.cache)
        if found is not None:
            self._activations, self._names = found, tuple(inputs)
            self._masks = has_mask(self._network, self.target.x)

    def _reset(self) -> None:
        for variable, value in zip(self._network.weights, self._start, strict=True):
            variable.assign(value)

    def _part(self, layers: Any, options: RetrainOptions) -> "_Part | None":
        """Return the part after the cut before these layers; None without a cut."""
        self._reset()
        if self._activations is None or self.cache is None or adds_parts(layers):
            return None
        selection = select_layers(self.model, layers)
        check_trainable(self.model, selection)
        weights = [self._named.weights[path] for path in selection.variables]
        if not self._named.holders(weights) <= set(selection.names):
            return None  # a layer before the cut may share a weight
        places = list(map(self._named.names.index, selection.names))
        set_trainable(self._network, places)
        after = self._activations.from_cut(places)
        if after is None:
            return None
        sets, suffix = after
        inputs = dict(zip(self._names, sets, strict=True))
        if self._masks and not has_mask(suffix, inputs["target"]):
            return None  # Keras weighs the loss by a mask that the cut would lose
        if "validation" in inputs:
            pair = inputs["validation"], options.fit_options["validation_data"][1]
            options = options.with_fit_options(validation_data=pair)
        if "replay" in inputs:
            replay = dataclasses.replace(options.replay, x=inputs["replay"])
            options = dataclasses.replace(options, replay=replay)
        target = dataclasses.replace(self.target, x=inputs["target"])
        trainee = Trainee(self._original, self._named, selection)
        return _Part(trainee, suffix, target, inputs, options, self.cache)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """The part of a network after a cut, with its input activations."""

    trainee: Trainee
    suffix: keras.Model
    target: Samples
    inputs: Mapping[str, Any]
    options: RetrainOptions
    cache: PrefixCache


class PackedModel:
    """A model as bytes, to be unpacked unchanged in any process on the same backend."""

    def __init__(self, model: keras.Model) -> None:
        self.backend = keras.backend.backend()
        try:
            self.content, self.classes = packed(model)
        except Exception as error:
            raise ValueError(
                f"Model {model.name!r} ({type(model).__name__}) cannot be saved, so it "
                "cannot be sent to an executor. Implement get_config() on its class, "
                f"or sweep without an executor. Keras said: {error}"
            ) from error
        self.hashes = list(layer_hashes(model).values())
        self.flags = list(map(single_flags, layers_with_weights(model).values()))

    def unpacked(self) -> keras.Model:
        """Return the model, after checking the backend and the weights."""
        if keras.backend.backend() != self.backend:
            raise RuntimeError(
                f"The sweep runs on the Keras backend {self.backend!r}, this worker on "
                f"{keras.backend.backend()!r}. Start the workers with the environment "
                f"variable KERAS_BACKEND={self.backend}."
            )
        model = unpacked(self.content, self.classes)
        if list(layer_hashes(model).values()) != self.hashes:
            raise ValueError(
                f"Model {model.name!r} ({type(model).__name__}) came back from its "
                "saved file with other weights. Implement build() or "
                "get_build_config() on its class, or sweep without an executor."
            )
        # Files do not hold which weights are frozen one by one.
        layers = layers_with_weights(model).values()
        for layer, flags in zip(layers, self.flags, strict=True):
            set_single_flags(layer, flags)
        return model


def row_in_worker(
    candidate: Candidate,
    model: PackedModel,
    target: Samples | str,
    test: Samples | str,
    *how: Any,
) -> SweepRow:
    """Train one row as a unit of work, see `RowTrainer`; samples may be paths."""
    trainer = RowTrainer(model.unpacked(), Samples.of(target), Samples.of(test), *how)
    return trainer.row(candidate)
