"""Which layers to retrain together with the best one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_spectral_tl.scoring.held_out_evidence import least_removed
from keras_spectral_tl.scoring.protocol import Cost, ScoredLayers


def further_layers(
    rehearse: Callable[[list[tuple[str, ...]]], ScoredLayers],
    best: str,
    evidence: Mapping[str, Any],
    names: Sequence[str],
    max_layers: int,
    level: float,
) -> tuple[tuple[str, ...], ScoredLayers]:
    """Adds one layer after the other to the best, as long as each is sure to help.

    Every layer that is left is scored together with those chosen so far, and the best
    is added if it removes error beyond what those chosen leave: a bound as that of a
    single layer (`least_removed`), divided among the layers tried.

    Args:
        rehearse: scores layers together, see `TogetherScorer`.
        best: name of the best layer.
        evidence: of it alone.
        names: of all layers, in the order of the model.
        max_layers: most layers chosen in all.
        level: chance of adding a layer where none removes more.

    Returns:
        The layers in the order in which they were chosen, and all that was scored
        together.
    """
    chosen: tuple[str, ...] = (best,)
    found = ScoredLayers({}, Cost(0))
    while len(chosen) < min(max_layers, len(names)):
        choices = [
            tuple(name for name in names if name in (*chosen, other))
            for other in names
            if other not in chosen
        ]
        scored = rehearse(choices)
        found = ScoredLayers(
            {**found.values, **scored.values},
            found.cost + scored.cost,
            {**found.evidence, **scored.evidence},
        )
        label = max(scored.values, key=lambda name: scored.values[name])
        beyond = {
            "moments_before": evidence["moments_after"],
            "moments_after": scored.evidence[label]["moments_after"],
        }
        if least_removed(beyond, level / len(choices)) <= 0.0:
            break
        evidence = scored.evidence[label]
        added = choices[list(scored.values).index(label)]
        chosen = (*chosen, *(name for name in added if name not in chosen))
    return chosen, found
