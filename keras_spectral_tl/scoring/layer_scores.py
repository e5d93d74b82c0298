"""What `score_layers` returns: a ranking, a recommendation, and the reasons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_spectral_tl import plotting
from keras_spectral_tl._files import write_json
from keras_spectral_tl.scoring.explanation import explain_spectra
from keras_spectral_tl.scoring.protocol import Cost, ScoredLayers

# What of the evidence goes into the JSON file.
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


@dataclass(frozen=True)
class LayerScores:
    """Scores of every layer, made before any retraining.

    Attributes:
        ranking: layer names, best to retrain first.
        recommended: the layers to retrain, the most useful first; empty when
            abstaining.
        abstained: whether the evidence is too thin for a recommendation.
        reason: why these layers, or why none.
        scores: scorer name -> {layer name: value}; higher is better.
        intervals: layer name -> (low, high) of the deciding score, 90 % by bootstrap
            over the target samples, taken as independent. It is the spread of the
            score, not of what retraining will give.
        chances: layer name -> share of the resamplings in which it comes first.
        results: scorer name -> values, cost and evidence in full.
        provenance: numbers and hashes of samples and weights, seed, versions, the
            deciding scorer.
        systems: mean spectra of the true outputs, "base" and "target", of fields.
        kernels: layer name -> what its kernels pass by wavenumber, relative to white
            noise; convolutions only, see `explanation.kernel_profiles`.
        together: what was scored to recommend more layers than one; names are joined by
            "+".
    """

    ranking: tuple[str, ...]
    recommended: tuple[str, ...]
    abstained: bool
    reason: str
    scores: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]]
    chances: Mapping[str, float]
    results: Mapping[str, ScoredLayers]
    provenance: Mapping[str, Any]
    systems: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, Any] = field(default_factory=dict)
    together: ScoredLayers = field(default_factory=lambda: ScoredLayers({}, Cost(0)))

    def explain(self, layer: str) -> dict[str, Any]:
        """Returns the evidence of every scorer for one layer.

        With a scorer on held-out samples this holds `residual_spectrum_before` and
        `_after`: the target's error by wavenumber (shell SUM over `[k - 1/2, k + 1/2)`)
        on held-out samples, with the best output gain, unchanged and with the layer
        changed; and what `explanation.explain_spectra` makes of them: `band`,
        `follows_systems`, `kernels_pass`, and a sentence, `why`.

        Args:
            layer: its name.

        Raises:
            KeyError: for an unknown layer; the message lists the layers.
        """
        if layer not in self.ranking:
            raise KeyError(f"unknown layer {layer!r}; scored: {list(self.ranking)}.")
        found: dict[str, Any] = {}
        for name, result in self.results.items():
            if layer in result.values:
                evidence = result.evidence.get(layer, {})
                found[name] = {
                    "score": result.values[layer],
                    **evidence,
                    **self._reasons(layer, evidence),
                }
        return found

    def to_frame(self) -> Any:
        """Returns a pandas.DataFrame: a row a layer, best first, a column a scorer.

        Raises:
            ImportError: when pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas: pip install pandas, or use .scores"
            ) from error
        frame = pandas.DataFrame({k: dict(v) for k, v in self.scores.items()})
        frame = frame.loc[list(self.ranking)]
        frame.insert(0, "recommended", [n in self.recommended for n in self.ranking])
        frame.index.name = "layer"
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the raw evidence as plain values."""
        return {
            "ranking": self.ranking,
            "recommended": self.recommended,
            "abstained": self.abstained,
            "reason": self.reason,
            "scores": {
                # A scorer of the user's own may answer in NumPy's numbers.
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
            "systems": _listed(self.systems),
            "kernels": _listed(self.kernels),
            "provenance": dict(self.provenance),
        }

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Writes `to_dict` to a JSON file and returns its path.

        A value that is not a number becomes null. The file appears complete or not at
        all.
        """
        return write_json(path, self.to_dict())

    def _explanations(self) -> dict[str, Any]:
        decisive = self.results[self.provenance["deciding_scorer"]]
        found: dict[str, Any] = {}
        for layer in self.ranking:
            evidence = decisive.evidence.get(layer, {})
            known = {**evidence, **self._reasons(layer, evidence)}
            found[layer] = {
                key: np.asarray(known[key]).tolist()
                for key in _EXPLAINED
                if known.get(key) is not None
            }
        return found

    def _reasons(self, layer: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
        return explain_spectra(evidence, self.systems, self.kernels.get(layer))

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Saves a chart of the deciding score with its intervals; returns the path.

        Raises:
            ImportError: when matplotlib is not installed.
        """
        scorer = self.provenance["deciding_scorer"]
        intervals = {scorer: self.intervals} if self.intervals else None
        axes = plotting.plot_layer_scores({scorer: self.scores[scorer]}, intervals)
        return plotting.save_figure(axes, path)


def _listed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(values).tolist() for name, values in arrays.items()}
