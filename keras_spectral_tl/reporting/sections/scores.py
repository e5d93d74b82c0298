"""What was said of each layer before any retraining, and why."""

from typing import Any

from keras_spectral_tl.reporting.axis import Axis
from keras_spectral_tl.reporting.blocks import Chart, Section, Series, Table, shown
from keras_spectral_tl.reporting.study import Study

_TITLE = "Which layer to retrain: the scores"


def scores(study: Study) -> Section:
    """Ranking, intervals and reasons."""
    found = study.scores
    if not found:
        return Section("scores", _TITLE, ("The layers were not scored.",))
    layers = found["recommended"]
    verdict = (
        f"Recommended: {', '.join(layers)}; " if layers else "No layer is recommended: "
    )
    text = (verdict + found["reason"], _explained(found))
    blocks = (_chart(found), _table(found), _reasons(found))
    return Section("scores", _TITLE, text, blocks)


def _explained(found: Any) -> str:
    known = found["provenance"]
    return (
        f"The scorer {known['deciding_scorer'].replace('_', ' ')} decides, from "
        f"{known['num_target_samples']} target samples. Bars: 90 % intervals by "
        "bootstrap over the samples. Chance: share of the resamplings in which a layer "
        "comes first."
    )


def _chart(found: Any) -> Chart:
    scorer = found["provenance"]["deciding_scorer"]
    values = found["scores"][scorer]
    layers = list(reversed(found["ranking"]))  # the best on top
    spans = tuple(
        None
        if found["intervals"].get(name) is None
        else tuple(found["intervals"][name])
        for name in layers
    )
    ends = [end for span in spans if span for end in span]
    score = [values.get(name) for name in layers]
    points = Series("score", score, list(range(len(layers))), tuple(layers), spans)
    return Chart(
        scorer.replace("_", " "),
        Axis.around("score", [*score, *ends]),
        Axis.of_names("", layers),
        (points,),
    )


def _table(found: Any) -> Table:
    scorers = list(found["scores"])
    columns = ["layer", *(name.replace("_", " ") for name in scorers), "chance"]
    rows = [
        (
            name,
            *(shown(found["scores"][scorer].get(name)) for scorer in scorers),
            _percent(found["chances"].get(name)),
        )
        for name in found["ranking"]
    ]
    marked = [
        i for i, name in enumerate(found["ranking"]) if name in found["recommended"]
    ]
    return Table("Layers, best first", tuple(columns), tuple(rows), tuple(marked))


def _reasons(found: Any) -> Table:
    rows = [
        {"layer": name, "why": found["explanations"].get(name, {}).get("why")}
        for name in found["ranking"]
    ]
    return Table.of_rows("Why", rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
