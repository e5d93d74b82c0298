"""Retrain chosen layers of a network on a target system; the rest stays bit for bit.

Without --layers, what `score` has recommended in RUN_DIR is retrained; exit code 1 if
that is nothing. With --sweep every layer is retrained in turn as well, which checks the
scores; a sweep that was stopped goes on.
"""

import argparse
import json
import pathlib
from typing import Any

from keras_spectral_tl.commands.model_file import read_model
from keras_spectral_tl.commands.options import (
    DATA,
    add_model,
    add_reading,
    positive,
    whole,
)
from keras_spectral_tl.commands.run_directory import (
    keep,
    merged_rows,
    merged_spectra,
    prepared,
    refuse_other_model,
    refuse_other_samples,
)

NAME = "retrain"
EXAMPLE = (
    "retrain base.keras --target target.npz --test test.npz --layers conv_2 "
    "--epochs 60 --out runs/mine"
)

_OUTCOME = ("trained", "changed", "num_trainable", "num_frozen", "seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the network, the samples, what to train and how."""
    add_model(parser)
    parser.add_argument("--target", required=True, metavar="DATA", help=DATA)
    parser.add_argument(
        "--test", metavar="DATA", help="target samples to test with (default: none)"
    )
    parser.add_argument(
        "--base", metavar="DATA", help="base samples, for the spectra of a report"
    )
    parser.add_argument(
        "--layers", nargs="+", metavar="NAME", help="layers to retrain together"
    )
    parser.add_argument(
        "--sweep", action="store_true", help="retrain every layer in turn; needs --test"
    )
    parser.add_argument("--epochs", type=whole(1), default=50, help="default: 50")
    parser.add_argument("--batch-size", type=whole(1), default=8, help="default: 8")
    parser.add_argument(
        "--learning-rate", type=positive, default=1e-3, help="of Adam; default: 0.001"
    )
    add_reading(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="RUN_DIR",
        help="folder for retrained/model.keras and what a report shows",
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Retrain, test, and keep what a report shows."""
    if options.sweep and options.test is None:
        raise ValueError("--sweep compares layers on samples to test with: add --test.")
    folder = pathlib.Path(prepared(options.out) or "")
    refuse_other_model(folder, options.model)
    layers = options.layers or _recommended(folder)
    if not layers:
        return 1, {"trained": []}
    model = read_model(options.model)
    from keras_spectral_tl.commands.retraining_run import RetrainingRun

    job = RetrainingRun.of(model, options, folder)
    refuse_other_samples(folder, NAME, job.record())
    result = job.retrained(layers)
    result.save(folder / "retrained")
    parts: dict[str, Any] = {}
    if options.sweep:
        parts["sweep"] = job.sweep().to_dict()
    parts["a_priori"] = merged_rows(folder, job.rows(result))
    parts["spectra"] = merged_spectra(folder, job.spectra(result))
    keep(folder, NAME, parts, job.record())
    made = [row for row in parts["a_priori"] if row["data"] == "target test samples"]
    known = result.to_dict()
    outcome = {name: known[name] for name in _OUTCOME}
    network = str(folder / "retrained" / "model.keras")
    return 0, {**outcome, "model": network, "a_priori": made}


def text(document: Any) -> str:
    """What moved, and what that gave."""
    if not document["trained"]:
        return "No layer is recommended, so none is retrained; choose with --layers."
    lines = [
        f"changed: {', '.join(document['changed'])}; "
        f"{document['num_frozen']:,} other parameters have the same SHA-256 as before"
    ]
    for row in document["a_priori"]:
        lines.append(
            f"{row['network']:24} CC {row['cc']:.4f}  relative RMSE "
            f"{row['relative_rmse']:.4f}"
        )
    lines.append(f"network: {document['model']}")
    return "\n".join(lines)


def _recommended(folder: pathlib.Path) -> list[str]:
    scores = folder / "scores.json"
    if not scores.exists():
        raise FileNotFoundError(
            f"{folder} has no scores.json. Say with --layers what to retrain, or score "
            "the layers first: python -m keras_spectral_tl score ... --out RUN_DIR."
        )
    return list(json.loads(scores.read_text())["recommended"])
