"""A transfer study as plain values, in memory and on disk."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from keras_spectral_tl._files import check_keys, finite, read_json, write_json
from keras_spectral_tl._results import not_told_from

Document = Mapping[str, Any]
Rows = Sequence[Document]

# What a report shows of each part.
_NEEDED = {
    "forecast": ("arms", "best", "ties", "reason", "provenance"),
    "scores": (
        *("recommended", "reason", "ranking", "scores", "intervals", "chances"),
        "provenance",
    ),
    "sweep": ("best", "rows"),
    "retraining": (
        *("trained", "changed", "num_trainable", "num_frozen", "seconds"),
        *("hashes_before", "hashes_after"),
    ),
}
_TITLE = "title.json"
_OF_A_SYSTEM = (
    *("source", "sha256", "normalization", "num_samples", "x_shape", "y_shape"),
    *("x_spectra", "y_spectra"),
)


@dataclasses.dataclass(frozen=True)
class Study:
    """All data that a report shows; unknown parts are empty.

    On disk each part is a file `<part>.json`, complete or absent, as the commands and
    `examples/quickstart.py` write it. The retraining is stored with its model, in the
    folder `retrained` that `RetrainResult.save` writes.

    Attributes:
        title: Heading of the page; on disk only if it is given.
        systems: "base" and "target" to `system_record`.
        a_priori: Rows with network, data, and metrics.
        forecast: `Forecast.to_dict`.
        scores: `LayerScores.to_dict`.
        sweep: `SweepResult.to_dict`.
        retraining: `RetrainResult.to_dict`.
        spectra: `spectra_record`: kernels and activations by layer.
        pictures: `picture_record`: maps of samples and predictions.
        a_posteriori: Rows of metrics of an LES, such as those of
            `turbulence_data.a_posteriori.compare`.
        provenance: Name of a step to a record of its inputs.

    Example:
        >>> study = Study(sweep={"best": "conv_1", "rows": []})
        >>> study.missing
        ('systems', 'a_priori', 'forecast', 'scores', 'retraining', 'spectra', \
'pictures', 'a_posteriori', 'provenance')
    """

    title: str = "Transfer study"
    systems: Document = dataclasses.field(default_factory=dict)
    a_priori: Rows = ()
    forecast: Document = dataclasses.field(default_factory=dict)
    scores: Document = dataclasses.field(default_factory=dict)
    sweep: Document = dataclasses.field(default_factory=dict)
    retraining: Document = dataclasses.field(default_factory=dict)
    spectra: Document = dataclasses.field(default_factory=dict)
    pictures: Document = dataclasses.field(default_factory=dict)
    a_posteriori: Rows = ()
    provenance: Document = dataclasses.field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """Everything but the title, by name."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name != "title"}

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the parts that are empty."""
        return tuple(name for name, part in self.parts.items() if not part)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Study":
        """Read all parts of a study found in a folder.

        Raises:
            NotADirectoryError: If there is no such folder.
            ValueError: If it holds no part of a study, or a file is invalid.
        """
        place = pathlib.Path(folder)
        if not place.is_dir():
            raise NotADirectoryError(
                f"There is no folder {str(place)!r}. Expected one that the commands "
                "forecast, score or retrain, or examples/quickstart.py, have "
                "written to."
            )
        found = {name: _read(place / file_of(name)) for name in cls().parts}
        known = {name: part for name, part in found.items() if part}
        if not known:
            files = ", ".join(map(file_of, found))
            raise ValueError(
                f"The folder {str(place)!r} holds nothing of a study. Expected at "
                f"least one of {files}."
            )
        systems = known.get("systems", {})
        title = f"Transfer study: {place.resolve().name}"
        if {"base", "target"} <= systems.keys():
            base, target = (systems[role]["source"] for role in ("base", "target"))
            title = f"Transfer study: from {base} to {target}"
        if (place / _TITLE).exists():
            title = read_json(place / _TITLE, keys=("title",))["title"]
        return cls(title=title, **known)

    def write(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write every non-empty part and return the folder, created if needed.

        A part replaces that of the same name in the folder; all others stay.
        The checksum of the retrained model that `RetrainResult.save` has written in the
        same record is kept.
        """
        json.dumps(finite(self.parts))  # raises before anything is written
        place = pathlib.Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if self.title != Study.title:
            write_json(place / _TITLE, {"title": self.title})
        for name, part in self.parts.items():
            if part:
                path = place / file_of(name)
                path.parent.mkdir(exist_ok=True)
                is_there = name == "retraining" and path.exists()
                known = read_json(path) if is_there else {}
                digest = known.pop("model_sha256", None)
                write_json(path, part)
                if digest is not None and read_json(path) == known:
                    write_json(path, {**part, "model_sha256": digest})
        return place


def channel_names(
    known: Mapping[str, Sequence[str]] | None, num_inputs: int, num_outputs: int
) -> dict[str, list[str]]:
    """Return a name for each channel of "x" and "y", numbered if unknown.

    Example:
        >>> channel_names({"y": ["sgs_forcing"]}, 2, 1)
        {'x': ['input 1', 'input 2'], 'y': ['sgs forcing']}
    """
    found = {}
    for side, what, count in (("x", "input", num_inputs), ("y", "output", num_outputs)):
        names = [name.replace("_", " ") for name in (known or {}).get(side, ())]
        numbered = [f"{what} {i + 1}" for i in range(count)] if count > 1 else [what]
        found[side] = names if len(names) == count else numbered
    return found


def file_of(part: str) -> str:
    """Return the file name of a part within the folder of a study."""
    return "retrained/retraining.json" if part == "retraining" else f"{part}.json"


def _read(path: pathlib.Path) -> Any:
    if not path.exists():
        return None
    if path.stem in ("a_priori", "a_posteriori"):
        return read_json(path, list)
    part = read_json(path)
    if part:
        check_keys(path, part, _NEEDED.get(path.stem, ()))
    for record in part.values() if path.stem == "systems" else ():
        check_keys(path, record, _OF_A_SYSTEM)
    return part


def number(value: Any) -> float:
    """Return a value as float if it is a finite number, else nan."""
    found = math.nan if value is None else float(value)
    return found if math.isfinite(found) else math.nan


def shown(value: Any) -> str:
    """Return a value as text: numbers with four digits, a dash for unknown values.

    Example:
        >>> shown(0.123456), shown(None), shown(float("nan")), shown(-0.0)
        ('0.1235', '–', '–', '0')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return "; ".join(f"{name} {shown(part)}" for name, part in value.items())
    return str(value)


def literal(value: Any) -> Any:
    """Return names, and those in mappings, with `$` shown: not as mathematics."""
    if isinstance(value, Mapping):
        return {literal(name): literal(part) for name, part in value.items()}
    return value.replace("$", r"\$") if isinstance(value, str) else value


def forecast_answer(
    document: Document, measured: Mapping[str, float]
) -> dict[str, str]:
    """Return the advice of a forecast: what to do, how certain, and the gain."""
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
    keep = document.get("provenance", {}).get("keep", 0.0)
    sure = not_told_from(_numbers(row), ties, keep)
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
    names = ("parameters", "correlation", "base_correlation", "relative_rmse")
    return {name: number(row[name]) for name in names}


def forecast_view(document: Document) -> SimpleNamespace:
    """Return an object with the attributes that `plotting.plot_forecast` needs."""
    ends = ("correlation", "correlation_low", "correlation_high")
    rows = {
        label: SimpleNamespace(label=label, **{end: number(row[end]) for end in ends})
        for label, row in document["arms"].items()
    }
    return SimpleNamespace(rows=list(rows.values()), best_row=rows[document["best"]])


def forecast_rows(
    document: Document, measured: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return one row per arm: its forecast, and its measured result if known."""
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
