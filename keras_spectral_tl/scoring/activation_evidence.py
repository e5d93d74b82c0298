"""How well a linear probe of a layer's activations explains the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.scoring.bayesian_ridge import log_evidence
from keras_spectral_tl.scoring.checks import check_whole_number
from keras_spectral_tl.scoring.protocol import (
    Cost,
    ScoredLayers,
    layers_to_score,
)
from keras_spectral_tl.spectra.recording import LayerCall, read_calls
from keras_spectral_tl.transfer._samples import Samples

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ActivationEvidence:
    """LogME: the evidence of a Bayesian ridge regression of `y` on activations.

        score = max over (a, b) of log p(y | F, a, b) / points

    F are the outputs of the layer at points drawn at random, of zero mean, and y the
    target there in units of its standard deviation, averaged over channels
    (`bayesian_ridge.log_evidence`). A layer on another grid than the target gives its
    nearest values; where the target has no spatial axes, activations are averaged over
    theirs. nan for a layer without an output of the target's rank, such as a dense
    layer in a network for fields, or with fewer than 3 points.

    LogME (You et al. 2021, arXiv:2102.11005). It ranks features for a linear probe. A
    layer with good features need not be the one to change: this is the usual score of
    transferability, here to be compared with.

    Attributes:
        max_points: points of all samples together, at most.
        batch_size: samples computed at once.
    """

    max_points: int = 4096
    batch_size: int = 8
    name: str = "activation_evidence"

    def __post_init__(self) -> None:
        check_whole_number("max_points", self.max_points, 3)
        check_whole_number("batch_size", self.batch_size, 1)

    def __call__(
        self,
        model: keras.Model,
        base: Samples,
        target: Samples,
        rng: np.random.Generator,
    ) -> ScoredLayers:
        """See `Scorer`; `base` has no influence, `rng` draws the points."""
        values = dict.fromkeys(layers_to_score(model), float("nan"))
        # Channels last, as the target of a Keras loss usually is.
        grid = target.y.shape[1:-1]
        per_sample = max(self.max_points // len(target), 1) if grid else 1
        rows = np.arange(len(target))[: self.max_points]
        # The same places for every layer, as shares of each axis.
        places = rng.random((len(rows), per_sample, len(grid)))
        truth = _picked(target.y[rows], places)
        found: dict[str, list[Array]] = {}
        for start in range(0, len(rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            seen = _activations(model, target.take(rows[part])[0], len(grid))
            for name in values.keys() & seen.keys():
                picked = _picked(seen[name], places[part])
                found.setdefault(name, []).append(picked)
        for name, parts in found.items():
            features = np.concatenate(parts)
            if len(truth) >= 3:
                values[name] = _mean_evidence(features, truth)
        return ScoredLayers(values, Cost(len(rows)))


def _activations(model: keras.Model, x: Any, rank: int) -> dict[str, NDArray[Any]]:
    """Outputs of the layers on one batch, channels last; the last of several uses."""
    seen: dict[str, NDArray[Any]] = {}

    def read(name: str, call: LayerCall) -> None:
        outputs = call.post_activation
        if rank == 0:
            seen[name] = outputs.mean(axis=tuple(range(2, outputs.ndim)))
        elif outputs.ndim == 2 + rank:
            seen[name] = np.moveaxis(outputs, 1, -1)

    # An iterable of one batch: nests of inputs pass as they are.
    read_calls(model, iter([(x, None)]), read, ranks=(0, 1, 2, 3))
    return seen


def _picked(fields: NDArray[Any], places: Array) -> Array:
    """Values of channels-last fields (samples, ..., channels) at (samples, points)."""
    sizes = np.array(fields.shape[1:-1], dtype=int)
    indices = np.floor(places * sizes).astype(int)
    samples = np.arange(len(fields))[:, None]
    axes = np.moveaxis(indices, -1, 0)
    values = fields[(samples, *axes)] if len(axes) else fields
    return np.asarray(values.reshape(-1, fields.shape[-1]), np.float64)


def _mean_evidence(features: Array, truth: Array) -> float:
    """`log_evidence` of standardised targets, averaged over their channels."""
    centred = features - features.mean(axis=0)
    deviations = truth - truth.mean(axis=0)
    spread = deviations.std(axis=0)
    varying = spread > 0.0
    if not varying.any():
        return float("nan")
    columns = (deviations[:, varying] / spread[varying]).T
    return float(np.mean([log_evidence(centred, column) for column in columns]))
