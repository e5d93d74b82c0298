"""Which layers to retrain together with the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from keras_spectral_tl.scoring.held_out_evidence import least_removed
from keras_spectral_tl.scoring.protocol import Cost, ScoredLayers

# Two layers get further than one in few steps even where one would do, so those chosen
# have more steps to show that they are not enough.
_EFFORT = 2


class Rehearse(Protocol):
    """Scores layers together: `TogetherScorer.rehearse` of one model and samples."""

    def __call__(
        self, choices: Sequence[tuple[str, ...]], effort: int = 1
    ) -> ScoredLayers:
        """Returns a value and the evidence for each choice."""


@dataclass(frozen=True)
class FurtherLayers:
    """Layers chosen one after the other, and why.

    Attributes:
        names: the layers in the order in which they were chosen.
        reason: sentences on those after the first, and on why there are no more.
        scored: all that was scored together.
    """

    names: tuple[str, ...]
    reason: str
    scored: ScoredLayers


def further_layers(
    rehearse: Rehearse,
    recommended: tuple[str, ...],
    names: Sequence[str],
    max_layers: int,
    level: float,
) -> FurtherLayers:
    """Adds one layer after the other to the best, as long as each is sure to help.

    Every layer that is left is scored together with those chosen so far, and the best
    is added if it removes error beyond what those chosen leave after twice as many
    steps: a bound as that of a single layer (`least_removed`), divided among the layers
    tried.

    Args:
        rehearse: scores layers together.
        recommended: the best layer, or none; then none is added either.
        names: of all layers that may be chosen, in the order of the model.
        max_layers: most layers chosen in all.
        level: chance of adding a layer where none removes more.

    Raises:
        TypeError: if what was scored is not what was asked for.
    """
    chosen, reason, found = recommended, "", ScoredLayers({}, Cost(0))
    while 0 < len(chosen) < min(max_layers, len(names)):
        others = [name for name in names if name not in chosen]
        so_far = _ordered(names, chosen)
        choices = [_ordered(names, (*chosen, other)) for other in others]
        before = _checked(rehearse([so_far], effort=_EFFORT), [so_far])
        scored = _checked(rehearse(choices), choices)
        found = ScoredLayers(
            {**found.values, **scored.values},
            found.cost + before.cost + scored.cost,
            {**found.evidence, **scored.evidence},
        )
        other, together = max(
            zip(others, choices, strict=True),
            key=lambda pair: np.nan_to_num(scored.values[_label(pair[1])], nan=-np.inf),
        )
        gain = (
            f"{scored.values[_label(together)]:.1%}; without it, in twice as many "
            f"steps, it is {before.values[_label(so_far)]:.1%}."
        )
        beyond = {
            "moments_before": before.evidence[_label(so_far)]["moments_after"],
            "moments_after": scored.evidence[_label(together)]["moments_after"],
        }
        if least_removed(beyond, level / len(choices)) <= 0.0:
            reason += (
                " No further layer is sure to remove more. With the best of them, "
            )
            return FurtherLayers(chosen, f"{reason}{other}, it is {gain}", found)
        chosen = (*chosen, other)
        reason += f" Retraining {other} as well removes {gain}"
    return FurtherLayers(chosen, reason, found)


def _ordered(names: Sequence[str], some: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in some)


def _label(names: tuple[str, ...]) -> str:
    return "+".join(names)


def _checked(scored: Any, choices: list[tuple[str, ...]]) -> ScoredLayers:
    labels = [_label(names) for names in choices]
    known = isinstance(scored, ScoredLayers) and all(
        label in scored.values and "moments_after" in scored.evidence.get(label, {})
        for label in labels
    )
    if not known:
        raise TypeError(
            "rehearse must return ScoredLayers with a value and moments_after for each "
            f"choice, {labels}; received {scored!r:.200}. See TogetherScorer."
        )
    result: ScoredLayers = scored
    return result
