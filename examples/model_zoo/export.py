"""Packing a base network of a finished study as an entry of the zoo."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from reproduction.stages import figures_of
from reproduction.study import Study
from reproduction.tiers import NORMALIZATIONS, Setting

import turbulence_data
from model_zoo.entries import load

# Groups of rows of a sweep, and what other entries call the controls.
_GROUPS = ("layers", "pairs")
_NAMES = {"all": "all layers", "from_scratch": "from scratch", "bias_only": "biases"}
_NUM_BASE, _NUM_TARGET, _NUM_TEST = 24, 16, 8


def export_entry(study: Study, folder: Path, seed: int = 0) -> Path:
    """Writes the entry of a study's base network and returns its folder.

    Raises:
        FileExistsError: if the folder has a network of another program by this name.
        FileNotFoundError: before the base network has been trained.
    """
    place = check_place(study, folder)
    place.mkdir(parents=True, exist_ok=True)
    setting = Setting("own", min(_NUM_TARGET, study.tier.num_target[-1]), seed)
    model, (base, base_test) = study.base_network(seed), study.base_data()
    target, test = study.target_data(setting)
    weights = model.get_weights()
    arrays = {str(i): weight.astype(np.float32) for i, weight in enumerate(weights)}
    np.savez_compressed(place / "weights.npz", **arrays)
    parts = {
        "base": _some(base, _NUM_BASE),
        "target": target,
        "test": _some(test, _NUM_TEST),
    }
    samples = {
        f"{part}_{axis}": values.astype(np.float16)
        for part, pair in parts.items()
        for axis, values in zip("xy", pair, strict=True)
    }
    np.savez_compressed(place / "samples.npz", **samples)
    _write(place, _provenance(study, setting, model))
    entry = load(place.name, folder)
    figures = {
        "on_base": figures_of(model, base_test),
        "on_target": figures_of(model, test),
        "on_target_as_packed": figures_of(entry.model, test),
        "on_packed_test_samples": figures_of(entry.model, entry.test),
    }
    document = json.loads((place / "provenance.json").read_text())
    document |= {"figures": figures}
    if measured := _sweep(study, setting):
        document["sweep"] = measured
    _write(place, document)
    return place


def check_place(study: Study, folder: Path) -> Path:
    """Returns the folder of a study's entry, where it may be written."""
    place = folder / f"{study.tier_name}_{study.case}"
    known = place / "provenance.json"
    if known.exists() and "made_by" in json.loads(known.read_text()):
        raise FileExistsError(
            f"{place} holds a network that another program made, which would be lost. "
            "Choose another folder, such as --export-zoo runs/zoo."
        )
    return place


def _sweep(study: Study, setting: Setting) -> dict[str, Any]:
    """What was measured of the transfers with these samples, if anything was."""
    found: dict[str, Any] = {}
    for normalization in NORMALIZATIONS:
        label = replace(setting, normalization=normalization).label
        rows: dict[str, Any] = {}
        for stage, groups in (("baselines", None), ("sweep", _GROUPS)):
            path = study.folder / stage / f"{label}.json"
            result = json.loads(path.read_text()) if path.exists() else {}
            for part in [result] if groups is None else map(result.get, groups):
                rows |= {_NAMES.get(n, n): row for n, row in (part or {}).items()}
        if rows:
            figures = ("cc", "relative_rmse", "base_cc")
            found[normalization] = {
                name: {figure: row[figure] for figure in figures}
                for name, row in rows.items()
            }
    plan = vars(study.tier.retraining) | {"num_target_samples": setting.num_target}
    return {"training": plan, "normalization": found} if found else {}


def _provenance(study: Study, setting: Setting, model: keras.Model) -> dict[str, Any]:
    nx, ny, channels = model.input_shape[1:]
    return {
        "case": study.case,
        "tier": study.tier_name,
        "seed": setting.seed,
        "architecture": {
            "input_shape": [nx, ny, channels],
            "num_layers": study.tier.num_layers,
            "num_filters": study.tier.num_filters,
        },
        "num_parameters": model.count_params(),
        "num_base_samples": study.tier.num_base,
        "base_training": vars(study.tier.base_training),
        "base_normalization": vars(study.base_normalization()),
        "target_normalization": vars(study.target_normalization(setting)),
        "precision": {"weights": "float32", "samples": "float16"},
        "data": {
            role: study.once("data", study.tier.flows[system], _missing)
            for role, system in (
                ("base", study.base_system),
                ("target", study.target_system),
            )
        },
        "versions": {
            "keras-spectral-tl": turbulence_data.__version__,
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        },
    }


def _missing(study: Study) -> dict[str, Any]:
    raise FileNotFoundError(f"run the stage 'data' of {study.case} first")


def _some(data: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    chosen = np.linspace(0, len(data[0]) - 1, number).astype(int)
    return data[0][chosen], data[1][chosen]


def _write(place: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    (place / "provenance.json").write_text(text + "\n")
