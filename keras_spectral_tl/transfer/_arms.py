"""Arms: named ways to retrain a network, each of which is one row of a sweep."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing
from keras_spectral_tl._checks import noted, real_number
from keras_spectral_tl._files import sha256_of_arrays
from keras_spectral_tl._graph.calls import called_layers
from keras_spectral_tl._graph.copies import copy_model, fewest_samples
from keras_spectral_tl._graph.layers import (
    OWN,
    ModelLayers,
    fetch,
    has_biases,
    parents_first,
    rows_of,
    trainable_layer_names,
)
from keras_spectral_tl._keras_internals import (
    low_rank_base,
    own_statistics,
    own_trainable_variables,
)
from keras_spectral_tl._results import as_lists
from keras_spectral_tl.freezing._parts import AddedPart, Part, adds_parts, items_of
from keras_spectral_tl.freezing._selection import LayerSelection
from keras_spectral_tl.transfer._retrain import (
    Trainee,
    check_trainable,
)

_NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.Normalization)

# Networks with more layers than this get arms for equally spaced layers only.
_MOST_LAYERS = 16

# With strength 1, moving every weight by a tenth of its size costs half a percent of
# the initial loss for each layer: chosen among 0, 1, 10 and 100
# (docs/forecast_benchmark.md).
_PULL = 1.0

_PARTS: dict[type, str] = {
    freezing.BiasesOf: "biases",
    freezing.ChannelGainsOf: "channel gains",
    freezing.FiltersOf: "filters",
    freezing.KernelsOf: "kernels",
    freezing.LowRankOf: "low rank",
    freezing.NewWeights: "new weights",
    freezing.NormalizationOf: "normalization",
    freezing.OutputGain: "output gain",
    freezing.StatisticsOf: "statistics",
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to retrain a network.

    Attributes:
        label: Name of the arm in tables.
        layers: What to train, as in `retrain`: a layer, several layers, or a part such
            as `freezing.BiasesOf()`. None trains all layers, an empty tuple nothing.
        pull: Strength of the L2-SP penalty that pulls trained weights towards their
            initial values, as in `retrain`; 0 for none.

    Raises:
        TypeError: If the label is not a non-empty string, or pull is not a number.
        ValueError: If pull is negative or not finite, or if there is nothing to pull:
            nothing trains, only the output gain trains (which has a closed form), or
            the weights are reinitialized, so that their initial values mean nothing.

    Example:
        >>> Arm("last two", freezing.Depth(-2, -1)).trains
        True
        >>> Arm("unchanged", ()).trains
        False
    """

    label: str
    layers: freezing.Selector | None = None
    pull: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label.strip():
            raise TypeError(f"Expected a label for an arm. Received {self.label!r}.")
        pull = real_number("pull", self.pull, at_least=0)
        fixed = isinstance(self.layers, freezing.OutputGain) or not self.trains
        if pull and (fixed or self.is_new):
            raise ValueError(
                f"The arm {self.label!r} has nothing to pull to its start: expected "
                "layers or parts of the network that train from where they are. "
                f"Received layers={self.layers!r:.100} and pull={self.pull}. Leave "
                "pull out."
            )

    @property
    def trains(self) -> bool:
        """Return whether anything is retrained."""
        return bool(items_of(self.layers))

    @property
    def is_new(self) -> bool:
        """Return whether weights are reinitialized."""
        return any(isinstance(i, freezing.NewWeights) for i in items_of(self.layers))


def as_arms(arms: Any) -> list[Arm]:
    """Convert `Arm` objects or `retrain` selectors to arms with distinct labels."""
    if isinstance(arms, str | Arm) or not isinstance(arms, Sequence) or not arms:
        raise TypeError(
            "arms must be a sequence of Arm objects or of what retrain takes as "
            f"layers, at least one. Received {arms!r:.100}."
        )
    found = [arm if isinstance(arm, Arm) else Arm(_label(arm), arm) for arm in arms]
    labels = [arm.label for arm in found]
    if len(set(labels)) < len(labels):
        raise ValueError(f"arms must have different labels. Received {labels}.")
    return found


def _label(layers: Any) -> str:
    """Return a short name of what trains."""
    if layers is None:
        return "all layers"
    if isinstance(layers, tuple | list):
        return "+".join(map(_label, layers)) or "unchanged"
    if isinstance(layers, LayerSelection):
        return "+".join(layers.names)
    if isinstance(layers, freezing.Depth):
        return f"depth {layers.first} to {layers.last}"
    if isinstance(layers, keras.layers.Layer):
        return str(layers.name)
    name = _PARTS.get(type(layers))
    if name is None:
        return str(layers)
    where = getattr(layers, "layers", None)
    if where is not None:
        name = f"{name} of {_label(where)}"
    settings = [
        f"{field.name}={getattr(layers, field.name)!r}"
        for field in dataclasses.fields(layers)
        if field.repr
        and field.name != "layers"
        and getattr(layers, field.name) != field.default
    ]
    return f"{name} ({', '.join(settings)})" if settings else name


def layers_to_json(layers: Any) -> Any:
    """Convert a layer selector to plain JSON values, which `layers_from_json` reads.

    Names and numbers stay as they are, all layers are null, and a part is written as
    `{"BiasesOf": {"layers": null}}`. Anything else becomes `{"python": ...}`.
    """
    if layers is None or isinstance(layers, str | int) or layers == slice(None):
        return None if isinstance(layers, slice) else layers
    if isinstance(layers, tuple | list):
        return list(map(layers_to_json, layers))
    kind = type(layers)
    if kind not in _PARTS and kind is not freezing.Depth:
        return {"python": repr(layers)}
    values = {f.name: getattr(layers, f.name) for f in dataclasses.fields(layers)}
    if "layers" in values:
        values["layers"] = layers_to_json(values["layers"])
    if _has_own_basis(layers):  # without the statistics of `PrincipalFilters`
        values["basis"] = layers.given_filters()
    return {kind.__name__: as_lists(values)}


def layers_from_json(document: Any) -> Any:
    """Return the layer selector that `layers_to_json` converted to plain values."""
    if document is None or isinstance(document, str | int):
        return document
    if isinstance(document, list):
        items = map(layers_from_json, document)
        return [slice(None) if item is None else item for item in items]
    kinds: dict[str, Any] = {k.__name__: k for k in (*_PARTS, freezing.Depth)}
    nothing: tuple[str, Any] = ("", {})
    name, values = next(iter(document.items()), nothing)
    if name not in kinds:
        raise ValueError(
            f"What trains, {document!r:.200}, cannot be read from a file: expected "
            f"names of layers, or one of {', '.join(kinds)}. Retrain it from Python."
        )
    if "layers" in values:
        values = {**values, "layers": layers_from_json(values["layers"])}
    return kinds[name](**values)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Choice of weights to retrain for one row of a sweep.

    Attributes:
        names: Names of the layers whose weights the row keeps, in the order of the
            model; empty for an arm with weights that the model does not have.
        places: Positions of these layers among the layers with weights: a copy of a
            subclassed model may use other names.
        title: The name of the row; if empty, the names of the layers.
        selector: What trains, where these are not the whole layers.
        record: What trains, as text: a stored row is reused only if this is equal.
        pull: Strength of the pull to the initial weights; 0 uses that of the sweep.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    title: str = ""
    selector: Any = dataclasses.field(default=None, compare=False)
    record: str = ""
    pull: float = 0.0

    @property
    def label(self) -> str:
        return self.title or "+".join(self.names)

    @property
    def layers(self) -> Any:
        """Selector of what trains, for `freezing.select_layers` or `retrain`."""
        return list(self.places) if self.selector is None else self.selector

    @property
    def is_fixed(self) -> bool:
        """True if nothing trains: the network is unchanged, or multiplied by a gain."""
        gain = isinstance(self.selector, freezing.OutputGain)
        return gain or not items_of(self.selector)

    @classmethod
    def of(cls, model: keras.Model, selector: freezing.Selector) -> "Candidate":
        names = freezing.select_layers(model, selector).names
        everything = ModelLayers.of(model).names
        places = tuple(map(everything.index, names))
        return cls(names, places, record=_left_frozen(model, names))

    @classmethod
    def of_arm(cls, model: keras.Model, arm: Arm) -> "Candidate":
        pull = float(arm.pull)
        pulled = f"; pull={pull}" if pull else ""
        with noted(f"This happened with the arm {arm.label!r}."):
            if not arm.trains or adds_parts(arm.layers):
                if arm.trains:
                    Trainee.of(model, arm.layers)
                record = f"{arm.layers!r}{_beside_repr(model, arm.layers)}{pulled}"
                return cls((), (), arm.label, arm.layers, record, pull)
            selection = freezing.select_layers(model, arm.layers)
            check_trainable(model, selection)
        found = cls.of(model, list(selection.names))
        paths = (*selection.variables, *selection.statistics)
        whole = freezing.select_layers(model, list(found.places))
        part = None if whole == selection else arm.layers
        if part is None and found.label == arm.label and not pulled:
            return found
        record = ", ".join(paths) + pulled
        return dataclasses.replace(
            found, title=arm.label, selector=part, record=record, pull=pull
        )


def _has_own_basis(item: Any) -> bool:
    return isinstance(item, freezing.FiltersOf) and not isinstance(item.basis, str)


def _beside_repr(model: keras.Model, layers: Any) -> str:
    """Return what distinguishes arms that add weights, beside the selector's repr."""
    items = items_of(layers)
    given = [item.given_filters() for item in items if _has_own_basis(item)]
    text = f"; basis {sha256_of_arrays(given)[:16]}" if given else ""
    gains = [item for item in items if isinstance(item, freezing.OutputGain)]
    if any(gain.unit != 1.0 for gain in gains):
        text += "; in units of the gain"
    # Of these, weights that are frozen one by one do not train.
    whole = [
        item.layers if isinstance(item, freezing.NewWeights) else item
        for item in items
        if not isinstance(item, AddedPart | freezing.OutputGain)
    ]
    if whole:
        text += _left_frozen(model, freezing.select_layers(model, whole).names)
    return text


def _left_frozen(model: keras.Model, names: Sequence[str]) -> str:
    """Return the weights of whole layers that are frozen one by one, as text."""
    chosen = set(freezing.select_layers(model, list(names)).variables)
    named = ModelLayers.of(model)
    left = []
    for name in names:
        layer = named.layers[name]
        free = {id(v) for v in own_trainable_variables(layer)}
        free.discard(id(low_rank_base(layer)))
        paths = named.weights_of(name).items()
        left += [p for p, v in paths if id(v) in free and p not in chosen]
    return f"; without {', '.join(left)}" if left else ""


def candidates_of(
    model: keras.Model, layers: freezing.Selector | None, arms: Any
) -> list[Candidate]:
    """Return the rows of a sweep over layers or over arms, see `oracle_sweep`."""
    if arms is not None:
        if layers is not None:
            raise TypeError("Expected layers or arms. Received both: leave one out.")
        return [Candidate.of_arm(model, arm) for arm in as_arms(arms)]
    items = [layers]  # of which a sequence trains together
    if layers is None:
        items = list(trainable_layer_names(model))
    elif isinstance(layers, Sequence) and not isinstance(layers, str):
        items = list(layers)
    _refuse_parts(model, items)
    together = [item for item in items if isinstance(item, tuple)]
    alone = [item for item in items if not isinstance(item, tuple)]
    names = freezing.select_layers(model, alone).names if alone or not items else ()
    found = [Candidate.of(model, item) for item in (*names, *together)]
    return list(dict.fromkeys(found))


def _refuse_parts(model: keras.Model, items: Sequence[Any]) -> None:
    """Raise TypeError if an item selects anything but whole layers."""
    for item in items:
        inside = items_of(item)
        parts = [part for part in inside if _is_part(model, part)]
        if parts:
            arm = parts[0] if len(inside) == 1 else tuple(inside)
            raise TypeError(
                "Expected layers= of a sweep as whole layers, each with all of its "
                f"weights. Received {parts[0]!r:.100}, a part. Pass it as an arm (one "
                "row each; a tuple trains together): "
                f"oracle_sweep(model, target_data, test_data, arms=[{arm!r:.200}])."
            )


def _is_part(model: keras.Model, item: Any) -> bool:
    if isinstance(item, LayerSelection):
        return item != freezing.select_layers(model, list(item.names))
    if isinstance(item, Sequence) and not isinstance(item, str):
        return any(_is_part(model, one) for one in item)
    return isinstance(item, Part)


def default_arms(model: keras.Model) -> tuple[Arm, ...]:
    """Return the arms that are tried by default.

    These are: the unchanged network; the output gain; gains of the channels of
    convolutions; kernels in the span of a few smooth filters (`freezing.FiltersOf`); a
    low-rank update of all kernels (`freezing.LowRankOf`); biases; each layer (at most
    16, equally spaced); the first and the last half of the layers; all layers; all
    layers with an L2-SP pull of strength 1; and all layers from new weights. A pair and
    a block of the best layers are added once these are known.

    Args:
        model: A built network.

    Example:
        >>> from keras_spectral_tl.models import build_sgs_cnn
        >>> model = build_sgs_cnn((8, 8, 2), num_layers=2, num_filters=2)
        >>> [arm.label for arm in default_arms(model)][-4:]
        ['conv_2', 'all layers', 'all layers pulled', 'from scratch']
    """
    arms = [Arm("unchanged", ()), Arm("output gain", freezing.OutputGain())]
    names = called_layers(model)
    for part in (freezing.ChannelGainsOf(), freezing.FiltersOf(), freezing.LowRankOf()):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            Trainee.of(model, part)  # raises an error if it finds nothing to train
            arms.append(Arm(_label(part), part))
    if has_biases(model):
        arms.append(Arm("biases", freezing.BiasesOf()))
    last = [Arm("from scratch", freezing.NewWeights())]
    if len(names) > 1:
        last = [Arm("all layers"), Arm("all layers pulled", pull=_PULL), *last]
    half = len(names) // 2
    if half > 1:
        halves = {"first half": names[:half], "last half": names[half:]}
        last = [*(Arm(label, tuple(part)) for label, part in halves.items()), *last]
    known = {arm.label for arm in (*arms, *last)}  # a layer may be called so
    labels = {name: f"layer {name}" if name in known else name for name in names}
    places = np.linspace(0, len(names) - 1, min(len(names), _MOST_LAYERS))
    some = [names[i] for i in np.unique(places.round().astype(int))]
    return (*arms, *(Arm(labels[name], name) for name in some), *last)


def joined_arms(model: keras.Model, ranked: Sequence[str]) -> tuple[Arm, ...]:
    """Return the arms of the two best layers and of a block around the best one.

    `ranked` holds names of layers, best first.
    """
    names = called_layers(model)
    order = {name: place for place, name in enumerate(names)}
    known = [name for name in ranked if name in order]
    if len(known) < 2 or len(names) < 3:
        return ()
    pair = sorted(known[:2], key=order.__getitem__)
    best = order[known[0]]
    first = min(max(best - 1, 0), len(names) - 3)
    block = names[first : first + 3]
    found = {"+".join(pair): pair}
    if len(names) > 3:
        found["+".join(block)] = list(block)
    return tuple(Arm(label, tuple(layers)) for label, layers in found.items())


@dataclasses.dataclass(frozen=True)
class SelfWritten:
    """Weights that layers of a network write themselves, even while they are frozen.

    Spectral normalization does so, or a counter. A retraining refuses what leaves such
    weights frozen, since they change nevertheless.

    Attributes:
        model: The network.
        paths: Paths of these weights, as in `freezing.weight_hashes`; often none.
    """

    model: keras.Model
    paths: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model, x: Any) -> "SelfWritten":
        """Find the weights, by calling a frozen copy in training mode on a sample."""
        own = [part for part in parents_first(model) if own_statistics(part)]
        if all(isinstance(part, _NORMALIZATIONS) for part in own):
            return cls(model, ())  # whose statistics stay if frozen
        copy = copy_model(model)
        copy.trainable = False
        weights = ModelLayers.of(model).of_copy(copy).weights
        before = [variable.value for variable in copy.non_trainable_variables]
        some = rows_of(x, slice(0, fewest_samples(model)))
        _, after = copy.stateless_call([], before, some, training=True)
        triples = zip(copy.non_trainable_variables, before, after, strict=True)
        moved = {
            id(variable)
            for variable, old, new in triples
            if not np.array_equal(fetch(old), fetch(new))
        }
        return cls(model, tuple(p for p, v in weights.items() if id(v) in moved))

    @property
    def layers(self) -> tuple[str, ...]:
        """The smallest whole layers that hold all of these weights."""
        names = {path.rsplit("/", 1)[0].removesuffix(f"/{OWN}") for path in self.paths}
        return tuple(
            name
            for name in sorted(names)
            if not any(name.startswith(f"{other}/") for other in names)
        )

    def refused(self, layers: Mapping[str, Any], default: bool) -> list[str]:
        """Return the labels of layers whose retraining would be refused.

        Raises:
            ValueError: If there are any and these are not the default layers.
        """
        labels = [label for label, what in layers.items() if self._refuses(what)]
        if labels and not default:
            raise ValueError(
                f"Expected {labels[0]!r} to train all that changes in training. "
                f"Layer(s) {', '.join(self.layers)} write their own weights even while "
                f"frozen ({', '.join(self.paths)}), and a retraining refuses that. "
                f"Train {', '.join(self.layers)} along with it."
            )
        return labels

    def _refuses(self, layers: Any) -> bool:
        if not self.paths or not items_of(layers):
            return False
        if isinstance(layers, freezing.OutputGain):
            return False  # in closed form
        if adds_parts(layers):
            chosen = Trainee.of(self.model, layers).selection
        else:
            chosen = freezing.select_layers(self.model, layers)
        weights = ModelLayers.of(self.model).weights
        paths = (*chosen.variables, *chosen.statistics)
        free = {id(weights[path]) for path in paths if path in weights}
        return any(id(weights[path]) not in free for path in self.paths)

    def left_out(self, labels: Sequence[str]) -> str:
        """Return a sentence on what is left out, or an empty string."""
        if not labels:
            return ""
        return (
            f" Left out: {', '.join(labels)}. Layer(s) {', '.join(self.layers)} write "
            "their own weights even while frozen, and a retraining refuses that."
        )
