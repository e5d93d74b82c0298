"""Results of scorers and of `score_layers`, and the protocol of a scorer."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

import keras_spectral_tl
from keras_spectral_tl._checks import require
from keras_spectral_tl._graph.layers import trainable_layer_names
from keras_spectral_tl._results import AsJson, as_lists
from keras_spectral_tl.freezing import Selector, select_layers
from keras_spectral_tl.scoring._explanation import explain_spectra
from keras_spectral_tl.transfer._samples import Samples

# Keys of the evidence that are written to the JSON file.
_EXPLAINED = (
    "why",
    "band",
    "follows_systems",
    "kernels_pass",
    "error_by_step",
    "cc_by_step",
    "residual_spectrum_before",
    "residual_spectrum_after",
)
# Largest number of layers in a printed table.
_ROWS = 15


@dataclass(frozen=True)
class Cost:
    """Cost in passes of one sample through the network; nan if it cannot be counted.

    Attributes:
        forward: Forward passes (a forward-mode product counts as two).
        backward: Backward passes (a reverse-mode product is one forward, one backward).
    """

    forward: float
    backward: float = 0

    @property
    def total(self) -> float:
        """Total cost in forward passes; a backward pass counts as two."""
        return self.forward + 2 * self.backward

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True)
class ScorerResult:
    """Values that one scorer gives the layers.

    Attributes:
        values: Layer name to score; higher means better to retrain.
        cost: Passes through the network.
        evidence: Layer name to named arrays and numbers behind the score.
    """

    values: Mapping[str, float]
    cost: Cost
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


class Scorer(Protocol):
    """A callable that scores the layers of a model before any retraining.

    Implement this to add a score of your own; `name` labels it in every table.
    """

    @property
    def name(self) -> str:
        """Label of the scorer."""

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScorerResult:
        """Return one value for each layer with trainable weights.

        Args:
            model: The network trained on the base system; not changed.
            base: Samples of the base system.
            target: The few samples of the target system.
            rng: Source of all randomness.
        """


@runtime_checkable
class TogetherScorer(Scorer, Protocol):
    """A scorer that can also score layers retrained together.

    `score_layers` needs one, as the first, to recommend several layers.
    """

    def rehearse(
        self,
        model: keras.Model,
        target: Samples,
        choices: Sequence[tuple[str, ...]],
        rng: np.random.Generator,
        effort: int = 1,
    ) -> ScorerResult:
        """Return one value for each choice, under its names joined by "+".

        Values of several calls are compared, so equal states of `rng` must lead to the
        same held-out samples. The evidence of each choice holds `moments_before` and
        `moments_after` of the held-out samples, see `moments` in `_evidence`. With
        `effort`, a multiple of the usual number of steps is taken.
        """


def layers_to_score(
    model: keras.Model, layers: Selector | None = None
) -> tuple[str, ...]:
    """Return the names of the chosen layers that training can change, in order.

    Raises:
        ValueError: If the model has none.
    """
    names = trainable_layer_names(model)
    if names and layers is not None:
        chosen = select_layers(model, layers).names
        names = tuple(name for name in names if name in chosen)
    if not names:
        raise ValueError(
            f"model {model.name!r} has no layer with trainable weights, so there is "
            "nothing to score. Expected at least one, such as Conv2D or Dense."
        )
    return names


@dataclass(frozen=True, repr=False)
class LayerScores(AsJson):
    """Scores of every layer, made before any retraining; printing them shows a table.

    Attributes:
        ranking: Layer names, best to retrain first.
        recommended: The layers to retrain, most useful first; empty when abstaining.
        abstained: Whether the evidence is too weak for a recommendation.
        reason: One or two sentences on why these layers, or why none.
        scores: Scorer name to {layer name: value}; higher is better.
        intervals: Layer name to the 90 % interval (low, high) of the deciding score, by
            Student's t over the test samples or their groups, corrected for
            overlapping folds.
        chances: Layer name to the fraction of resamplings in which it ranks first.
        results: Scorer name to values, cost and evidence in full.
        provenance: Numbers, groups and hashes of samples, hashes of weights, seed,
            versions, the deciding scorer, the path of the recipe (sum of its learning
            rates).
        systems: Mean spectra of the true outputs, "base" and "target", if fields.
        kernels: Layer name to how strongly its kernels pass each wavenumber, relative
            to white noise; convolutions only.
        shifts: Layer name to how its pre-activations differ between the systems:
            base_spectrum and target_spectrum (shell SUM), gain (log of the ratio of
            energies) and shape_distance (share of the energy at other wavenumbers).
        together: Scores of layers retrained together, if more than one may be
            recommended; names are joined by "+".
    """

    ranking: tuple[str, ...]
    recommended: tuple[str, ...]
    abstained: bool
    reason: str
    scores: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]]
    chances: Mapping[str, float]
    results: Mapping[str, ScorerResult]
    provenance: Mapping[str, Any]
    systems: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, Any] = field(default_factory=dict)
    shifts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    together: ScorerResult = field(default_factory=lambda: ScorerResult({}, Cost(0)))

    def __repr__(self) -> str:
        """Table of the layers, best first, and the reason; at most 25 lines."""
        values = self.scores[self._decisive]
        width = max(map(len, ["layer", *self.ranking[:_ROWS]]))
        lines = [f"{'layer':{width}}   score   90 % interval"]
        for name in self.ranking[:_ROWS]:
            line = f"{name:{width}}  {values[name]:6.3f}"
            if name in self.intervals:
                low, high = self.intervals[name]
                line += f"   {low:6.3f} to {high:6.3f}"
            mark = "  <- retrain" if name in self.recommended else ""
            lines.append(line + mark)
        if len(self.ranking) > _ROWS:
            lines.append(f"... and {len(self.ranking) - _ROWS} more layers")
        reason = textwrap.wrap(self.reason, 80)[: 24 - len(lines)]
        return "\n".join([*lines, "", *reason])

    def explain(self, layer: str) -> dict[str, Any]:
        """Return the evidence of every scorer for one layer.

        With a scorer on held-out samples this holds first the explanation: a sentence
        `why`, `band`, `follows_systems`, `kernels_pass` and `spectral_shift`. It also
        holds `residual_spectrum_before` and `_after`: the spectrum of the target's
        error on held-out samples (shell SUM over `[k - 1/2, k + 1/2)`) with the best
        output gain, of the unchanged network and with the layer retrained.

        Args:
            layer: Name of the layer.

        Raises:
            KeyError: For an unknown layer; the message lists the layers.
        """
        if layer not in self.ranking:
            raise KeyError(f"unknown layer {layer!r}; scored: {list(self.ranking)}.")
        found: dict[str, Any] = {}
        for name, result in self.results.items():
            if layer in result.values:
                evidence = result.evidence.get(layer, {})
                found[name] = {
                    **self._reasons(layer, evidence),
                    "score": result.values[layer],
                    **evidence,
                }
        return found

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame, one row per layer, one column per scorer.

        Raises:
            ImportError: If pandas is not installed.
        """
        pandas = require("pandas", "Data frames", "pandas")
        frame = pandas.DataFrame({k: dict(v) for k, v in self.scores.items()})
        frame = frame.loc[list(self.ranking)]
        frame.insert(0, "recommended", [n in self.recommended for n in self.ranking])
        frame.index.name = "layer"
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the raw evidence as plain values."""
        return {
            "ranking": self.ranking,
            "recommended": self.recommended,
            "abstained": self.abstained,
            "reason": self.reason,
            "scores": {
                # A user's own scorer may return NumPy numbers.
                scorer: {name: float(value) for name, value in values.items()}
                for scorer, values in self.scores.items()
            },
            "intervals": dict(self.intervals),
            "chances": dict(self.chances),
            "passes": {name: r.cost.total for name, r in self.results.items()},
            "together": {
                "values": dict(self.together.values),
                "passes": self.together.cost.total,
            },
            "explanations": self._explanations(),
            "systems": as_lists(self.systems),
            "kernels": as_lists(self.kernels),
            "shifts": as_lists(self.shifts),
            "provenance": dict(self.provenance),
        }

    def plot(self, ax: Any = None) -> Any:
        """Plot the deciding score of each layer with its interval; return the axes.

        Args:
            ax: Matplotlib axes to draw on; new ones if not given, which
                `plotting.save_figure` writes to a file.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        scorer = self._decisive
        intervals = {scorer: self.intervals} if self.intervals else None
        return keras_spectral_tl.plotting.plot_layer_scores(
            {scorer: self.scores[scorer]}, intervals, ax=ax
        )[0]

    @property
    def _decisive(self) -> str:
        return str(self.provenance["deciding_scorer"])

    def _explanations(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for layer in self.ranking:
            evidence = self.results[self._decisive].evidence.get(layer, {})
            known = {**evidence, **self._reasons(layer, evidence)}
            found[layer] = {
                key: np.asarray(known[key]).tolist()
                for key in _EXPLAINED
                if known.get(key) is not None
            }
        return found

    def _reasons(self, layer: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
        return explain_spectra(
            evidence, self.systems, self.kernels.get(layer), self.shifts.get(layer)
        )
