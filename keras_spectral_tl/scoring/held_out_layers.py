"""Changes of some layers at a time, made with some samples and tested on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.scoring.held_out_evidence import held_out_evidence
from keras_spectral_tl.scoring.hold_out import Array, HoldOut
from keras_spectral_tl.scoring.spatial_axes import spatial_axes
from keras_spectral_tl.scoring.suffixes import Suffix, suffixes
from keras_spectral_tl.transfer._samples import Samples

# (number of the division, inputs to fit, inputs held out) -> outputs on the latter,
# shape (steps, held, ...), of the unchanged network first.
Change = Callable[[int, Any, Any], Array]


def held_out_layers(
    model: keras.Model,
    target: Samples,
    choices: Sequence[tuple[str, ...]],
    parts: list[HoldOut],
    batch_size: int,
    change_of: Callable[[Suffix], Change],
) -> dict[str, dict[str, Any]]:
    """Returns what changing layers removes, see `held_out_evidence`.

    The keys are the names of the layers of each choice, joined by "+".

    Args:
        model: a built Keras model; not changed.
        target: samples.
        choices: names of layers that are changed together.
        parts: how they are divided, at least once.
        batch_size: samples computed at once.
        change_of: makes the change of a choice, once for all divisions.
    """
    sets = [target.take(rows)[0] for part in parts for rows in (part.fit, part.held)]
    tested = np.unique(np.concatenate([part.held for part in parts]))
    truth = np.asarray(target.y[tested], np.float64)
    axes = spatial_axes(model, truth.ndim)
    found = {}
    for suffix in suffixes(model, choices, sets, batch_size):
        change, inputs = change_of(suffix), suffix.inputs
        outputs = [
            change(number, inputs[2 * number], inputs[2 * number + 1])
            for number in range(len(parts))
        ]
        fields = np.zeros((len(outputs[0]), *truth.shape))
        for part, changed in zip(parts, outputs, strict=True):
            fields[:, np.searchsorted(tested, part.held)] += part.held_mask * changed
        found[suffix.name] = held_out_evidence(truth, fields, axes)
    return found
