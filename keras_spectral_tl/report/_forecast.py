"""A forecast as a study keeps it: what to do in three lines, and what is drawn."""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from keras_spectral_tl._results import not_told_from

Document = Mapping[str, Any]


def number(value: Any) -> float:
    """Return a finite number, nan for everything else."""
    found = math.nan if value is None else float(value)
    return found if math.isfinite(found) else math.nan


def forecast_answer(
    document: Document, measured: Mapping[str, float]
) -> dict[str, str]:
    """Return what to do, how sure that is, and what it gives.

    Args:
        document: `Forecast.to_dict`.
        measured: Label of an arm to the correlation that retraining it gave.
    """
    arms, best = document["arms"], document["best"]
    row = arms[best]
    unchanged = (r for r in arms.values() if not r["parameters"])
    before: dict[str, Any] = next(unchanged, {})
    now, on_base = (
        number(before.get(name)) for name in ("correlation", "base_correlation")
    )
    known = "" if math.isnan(on_base) else f"{on_base:.3f} on the base system and "
    has = f"The network has CC {known}{now:.3f} on the target."
    what = f"{has} Leave it as it is."
    if row["steps"]:
        what = (
            f"{has} Retrain {best}: {row['parameters']:,} weights, Adam from "
            f"{row['learning_rate']:.2g}, {row['steps']} steps of {row['batch_size']}."
        )
    ties = {label: _numbers(arms[label]) for label in document["ties"]}
    sure = not_told_from(_numbers(row), ties)
    sure = sure or f"Sample by sample it is ahead of the other {len(arms) - 1} ways."
    low, high = (number(row[f"correlation_{end}"]) for end in ("low", "high"))
    gain = (
        f"CC on unseen target samples {now:.3f} → {number(row['correlation']):.3f} "
        f"forecast (90 % interval {low:.3f} to {high:.3f})"
    )
    left = number(row["base_correlation"])
    gain += "" if math.isnan(left) else f", {left:.3f} left on the base system"
    if not math.isnan(number(measured.get(best))):
        gain += f"; measured {measured[best]:.3f}"
    return {"What to do": what, "How sure": sure, "Gain": f"{gain}."}


def _numbers(row: Document) -> dict[str, float]:
    names = ("parameters", "correlation", "relative_rmse")
    return {name: number(row[name]) for name in names}


def forecast_view(document: Document) -> SimpleNamespace:
    """Return rows with attributes, as `plotting.plot_forecast` takes them."""
    ends = ("correlation", "correlation_low", "correlation_high")
    rows = {
        label: SimpleNamespace(label=label, **{end: number(row[end]) for end in ends})
        for label, row in document["arms"].items()
    }
    return SimpleNamespace(rows=list(rows.values()), best_row=rows[document["best"]])


def forecast_rows(
    document: Document, measured: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return a row an arm: what is forecast of it, and what it gave where known."""
    found = []
    for label, row in document["arms"].items():
        low, high = (number(row[f"correlation_{end}"]) for end in ("low", "high"))
        found.append(
            {
                "way to retrain": label,
                "CC forecast": _digits(row["correlation"]),
                "90 % interval": f"{low:.3f} to {high:.3f}",
                "measured": _digits(measured.get(label)),
                "on the base": _digits(row["base_correlation"]),
                "weights": f"{row['parameters']:,}",
                "rate": f"{row['learning_rate']:.2g}",
                "steps": row["steps"],
                "relative RMSE": _digits(row["relative_rmse"]),
            }
        )
    return found


def _digits(value: Any) -> str | None:
    found = number(value)
    return None if math.isnan(found) else f"{found:.3f}"
