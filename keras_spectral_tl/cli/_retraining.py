"""The command that retrains layers, and the sweep that checks the scores."""

import argparse
import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_spectral_tl.cli._inputs import (
    System,
    add_model,
    add_out,
    add_reading,
    add_recipe,
    add_systems,
    numbers_of,
    quiet,
    read_model,
    read_systems,
    recipe_of,
)

_OUTCOME = ("trained", "changed", "num_trainable", "num_frozen", "seconds")
_TESTED = "target test samples"
# Keys that the recipe of a forecast may have.
_KNOWN = {
    *("layers", "learning_rate", "steps", "epochs", "batch_size", "pull", "epsilon")
}


class Retrain:
    """Retrain chosen layers on a target system; the rest stays bitwise equal.

    Without --layers, retrain the arm given by --arm, or else the best arm of the
    `forecast` in RUN_DIR, with its learning rate and steps; without a forecast, the
    layers that `score` has recommended there. Exit code 1 if that is nothing. With
    --sweep every layer is also retrained in turn, to check the scores; an interrupted
    sweep is resumed.
    """

    example = (
        "retrain base.keras --target target.npz --test test.npz --layers conv_2 "
        "--epochs 60 --out runs/mine"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_model(parser)
        add_systems(parser, "for the spectra of a report and --normalize base")
        parser.add_argument(
            "--test", metavar="DATA", help="target samples to test with (default: none)"
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--layers", nargs="+", metavar="NAME", help="layers to retrain together"
        )
        what.add_argument(
            "--arm",
            metavar="LABEL",
            help='a way to retrain of the forecast in RUN_DIR, such as "all layers"',
        )
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="retrain every layer in turn; needs --test",
        )
        add_recipe(parser, "that of the forecast, else ")
        parser.add_argument(
            "--loss",
            default="mean_squared_error",
            metavar="NAME",
            help="of Keras, or registered by --import (default: mean_squared_error)",
        )
        add_reading(parser)
        add_out(parser, "retrained/model.keras and what a report shows", required=True)

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        from keras_spectral_tl.cli import _folder

        if options.sweep and options.test is None:
            raise ValueError(
                "--sweep compares layers on samples to test with: add --test."
            )
        folder = pathlib.Path(_folder.prepared(options.out) or "")
        _folder.refuse_other_model(folder, options.model)
        plan = _planned(options, folder)
        if plan is None:
            return 1, {"trained": []}
        model = read_model(options.model, options.modules)
        from keras_spectral_tl.transfer import oracle_sweep, retrain

        systems = read_systems(model, options)
        numbers = numbers_of(options, plan.recipe, len(systems["target"].raw))
        record = _folder.model_record(options, model, systems) | {
            **numbers,
            "loss": options.loss,
            "arm": plan.label,
        }
        _folder.refuse_other_samples(folder, "retrain", record)
        how = recipe_of(numbers, options.seed) | {
            "loss": options.loss,
            "normalization": systems["target"].statistics,
            **_weighted_loss(options, systems["target"]),
        }
        with quiet():  # Keras' fit imports it with any backend
            import tensorflow  # noqa: F401
        target = systems["target"].raw  # in its own units: normalized by `how`
        result = retrain(model, target, plan.layers, **how)
        if plan.label is not None:
            result = dataclasses.replace(result, label=plan.label)
        result.save(folder / "retrained")
        parts: dict[str, Any] = {}
        if options.sweep:  # an interrupted one is resumed
            test, place = systems["test"].raw, folder / "sweep"
            swept = oracle_sweep(model, target, test, directory=place, **how)
            parts["sweep"] = swept.to_dict()
        rows = _rows(model, result, systems)
        parts["a_priori"] = _folder.merged_rows(folder, rows)
        spectra = _spectra(model, result, systems)
        parts["spectra"] = _folder.merged_spectra(folder, spectra)
        parts["pictures"] = _pictures(model, result, systems)
        _folder.keep(folder, "retrain", parts, record)
        known = result.to_dict()
        return 0, {
            **{name: known[name] for name in _OUTCOME},
            "model": str(folder / "retrained" / "model.keras"),
            "a_priori": rows,
            "sweep": parts.get("sweep"),
        }

    def text(self, document: Any) -> str:
        if not document["trained"]:
            return (
                "Nothing is recommended, so nothing is retrained; choose with --layers "
                "or --arm."
            )
        frozen = document["num_frozen"]
        others = f"{frozen:,} other parameters have the same SHA-256 as before"
        changed = ", ".join(document["changed"])
        lines = [
            f"changed: {changed}; {others if frozen else 'all parameters trained'}"
        ]
        lines += [
            f"{row['network']:24} CC {row['cc']:.4f}  relative RMSE "
            f"{row['relative_rmse']:.4f}"
            for row in document["a_priori"]
        ]
        if document["sweep"]:
            lines += ["", *_sweep_lines(document["sweep"], document["trained"]), ""]
        lines.append(f"network: {document['model']}")
        return "\n".join(lines)


def _sweep_lines(sweep: Mapping[str, Any], trained: list[str]) -> list[str]:
    from keras_spectral_tl._results import text_table
    from keras_spectral_tl.transfer._result import quality

    table = [["each layer alone", "CC", "relative RMSE", "parameters"]]
    for row in sorted(sweep["rows"], key=quality, reverse=True):
        numbers = f"{row['cc']:.4f}", f"{row['relative_rmse']:.4f}"
        table.append([row["layer"], *numbers, f"{row['num_parameters']:,}"])
    cc = {row["layer"]: row["cc"] for row in sweep["rows"]}
    best = sweep["best"]
    regret = ""
    if len(trained) == 1 and trained[0] in cc:
        lost = cc[best] - cc[trained[0]]
        if math.isfinite(lost):
            regret = (
                f"; retraining {trained[0]} instead loses {lost:.4f} in CC (regret)"
            )
    return [*text_table(table), f"best: {best}{regret}"]


class _Plan(NamedTuple):
    """Layers to retrain, with the label and the options of a forecast."""

    layers: Any
    label: str | None = None
    recipe: Mapping[str, Any] = {}


def _planned(options: argparse.Namespace, folder: pathlib.Path) -> _Plan | None:
    """Return the plan requested or recommended, None if nothing should train."""
    from keras_spectral_tl._files import read_json

    forecast, scores = folder / "forecast.json", folder / "scores.json"
    if options.layers:
        return _Plan(list(options.layers))
    if forecast.exists():
        document = read_json(forecast, keys=("best", "recipes"))
        return _forecast_plan(document, options.arm, forecast)
    if options.arm is not None or not scores.exists():
        needed = "forecast.json" if options.arm else "forecast.json or scores.json"
        raise FileNotFoundError(
            f"{folder} has no {needed}. Say with --layers what to retrain, or ask "
            "first: keras-spectral-tl forecast ... --out RUN_DIR."
        )
    recommended = list(read_json(scores, keys=("recommended",))["recommended"])
    return _Plan(recommended) if recommended else None


def _forecast_plan(
    document: Any, label: str | None, path: pathlib.Path
) -> _Plan | None:
    with quiet():  # Keras is imported here first
        from keras_spectral_tl.transfer._arms import layers_from_json

    chosen = document["best"] if label is None else label
    recipes = document.get("recipes", {})
    if chosen not in recipes:
        raise KeyError(
            f"{path} has no recipe of an arm {chosen!r}; it has "
            f"{', '.join(map(repr, recipes)) or 'none: forecast anew'}."
        )
    recipe = recipes[chosen]
    if recipe is None:
        return None
    unknown = sorted(recipe.keys() - _KNOWN)
    if unknown:
        raise ValueError(
            f"The recipe of {chosen!r} in {path} has {', '.join(unknown)}, which this "
            "version does not know: it would retrain otherwise than was forecast. "
            f"Expected {', '.join(sorted(_KNOWN))}. Forecast anew, or retrain from "
            "Python with forecast.recipe."
        )
    numbers = {name: value for name, value in recipe.items() if name != "layers"}
    return _Plan(layers_from_json(recipe["layers"]), chosen, numbers)


def _weighted_loss(options: argparse.Namespace, target: System) -> dict[str, Any]:
    from keras_spectral_tl.transfer._options import SQUARED

    if target.loss and options.loss not in SQUARED:
        raise ValueError(
            f"{options.target} has weights of points, which count in the mean squared "
            f"error alone. Received --loss {options.loss}: leave it out, or rename the "
            "array weights."
        )
    return target.loss


def _rows(
    model: Any, result: Any, systems: Mapping[str, System]
) -> list[dict[str, Any]]:
    """Return the metrics of both networks on the test samples."""
    from keras_spectral_tl.report import figures_row

    if "test" not in systems:
        return []
    test = systems["test"]
    networks = {"base": model, f"{result.label} retrained": result.model}
    return [
        figures_row(name, _TESTED, network, test.raw, test.statistics)
        for name, network in networks.items()
    ]


def _spectra(model: Any, result: Any, systems: Mapping[str, System]) -> dict[str, Any]:
    """Return spectra of kernels and activations, before and after retraining."""
    from keras_spectral_tl.report import spectra_record

    x, _ = systems["test" if "test" in systems else "target"].data
    runs = {"target": (model, x), "target, retrained": (result.model, x)}
    if "base" in systems:
        runs = {"base": (model, systems["base"].data[0]), **runs}
    found = spectra_record({"before": model, "after": result.model}, runs)
    return {"filters": {}, **found}  # none: those of an earlier retraining go


def _pictures(model: Any, result: Any, systems: Mapping[str, System]) -> dict[str, Any]:
    """Return maps of samples, and of the predictions of both networks for one."""
    from keras_spectral_tl.report import picture_record
    from keras_spectral_tl.transfer._statistics import LAST, data_format_of_samples

    shown = [role for role in ("base", "target") if role in systems]
    tested = "test" if "test" in systems else "target"
    data = {role: systems[role].data for role in shown if role != tested}
    data["target"] = systems[tested].data
    networks = {"before": model, f"after: {result.label} retrained": result.model}
    layout = data_format_of_samples(model, unclear=LAST)
    return picture_record(data, networks, systems[tested].channels, layout)
