"""What retraining each layer really gave, beside what was said of it."""

from typing import Any

from keras_spectral_tl.reporting.axis import Axis
from keras_spectral_tl.reporting.blocks import Chart, Section, Series, Table
from keras_spectral_tl.reporting.study import Study

_TITLE = "What retraining each layer gives: the sweep"


def sweep(study: Study) -> Section:
    """Every layer retrained alone, and its place against its score."""
    if not study.sweep:
        text = "The layers were not retrained in turn, so the scores are not checked."
        return Section("sweep", _TITLE, (text,))
    rows = list(study.sweep["rows"])
    best = study.sweep["best"]
    marked = tuple(i for i, row in enumerate(rows) if row["layer"] == best)
    table = Table.of_rows("Each layer retrained alone, on test samples", rows)
    blocks: tuple[Chart | Table, ...] = (
        *_against_scores(study.scores, rows),
        Table(table.title, table.columns, table.rows, marked),
    )
    return Section("sweep", _TITLE, (_verdict(study.scores, rows, best),), blocks)


def _verdict(scores: Any, rows: list[Any], best: str) -> str:
    text = f"The best layer to retrain alone is {best}."
    chosen = (scores or {}).get("recommended") or []
    cc = {row["layer"]: row["cc"] for row in rows}
    if len(chosen) != 1 or None in (cc.get(chosen[0]), cc.get(best)):
        return text
    if chosen[0] == best:
        return f"{text} It is the recommended one."
    regret = cc[best] - cc[chosen[0]]
    return f"{text} The recommended one, {chosen[0]}, is {regret:.4f} in CC below it."


def _against_scores(scores: Any, rows: list[Any]) -> list[Chart]:
    if not scores:
        return []
    scorer = scores["provenance"]["deciding_scorer"]
    values = scores["scores"][scorer]
    shared = [row for row in rows if row["layer"] in values]
    x, y = [values[row["layer"]] for row in shared], [row["cc"] for row in shared]
    names = tuple(row["layer"] for row in shared)
    return [
        Chart(
            "score against measured CC",
            Axis.around(scorer.replace("_", " "), x),
            Axis.around("CC after retraining", y),
            (Series("layer", x, y, names),),
            has_labels=True,
        )
    ]
