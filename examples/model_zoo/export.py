"""Packing a base network of a finished study as an entry of the zoo."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from reproduction.clock import read_json
from reproduction.stages import figures_of
from reproduction.study import Study
from reproduction.tiers import NORMALIZATIONS, Setting

import turbulence_data
from model_zoo.entries import entry_of

# Groups of rows of a sweep, and what other entries call the controls.
_GROUPS = ("layers", "pairs")
_NAMES = {"all": "all layers", "from_scratch": "from scratch", "bias_only": "biases"}
_NUM_BASE, _MOST_TARGET, _NUM_TEST = 24, 20, 8  # files of the repository are small


def export_entry(study: Study, folder: Path, seed: int = 0) -> Path:
    """Writes the entry of a study's base network and returns its folder.

    Raises:
        FileExistsError: if the folder has a network of another program by this name.
        FileNotFoundError: before the base network has been trained.
        RuntimeError: if the network as packed is not the one that was trained.
        ValueError: for a study whose inputs or flows an entry cannot hold.
    """
    place = check_place(study, folder)
    place.mkdir(parents=True, exist_ok=True)
    setting = Setting("own", _num_target(study, seed), seed)
    model, (base, base_test) = study.base_network(seed), study.base_data()
    target, test = study.target_data(setting)
    weights = model.get_weights()
    arrays = {str(i): weight.astype(np.float32) for i, weight in enumerate(weights)}
    (place / "provenance.json").unlink(missing_ok=True)  # it lists the entry: last
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
    document = _provenance(study, setting, model)
    entry = entry_of(place, document)
    figures = {
        "on_base": figures_of(model, base_test),
        "on_target": figures_of(model, test),
        "on_target_as_packed": figures_of(entry.model, test),
        "on_packed_test_samples": figures_of(entry.model, entry.test),
    }
    _check_packed(figures["on_target"], figures["on_target_as_packed"])
    document |= {"figures": figures}
    if measured := _sweep(study, setting):
        document["sweep"] = measured
    text = json.dumps(document, indent=1)
    (place / "provenance.json").write_text(text + "\n")
    return place


def check_place(study: Study, folder: Path) -> Path:
    """Returns the folder of a study's entry, where it may be written.

    Raises as `export_entry`, before any work.
    """
    if study.tier.inputs is not None or study.has_layers:
        raise ValueError(
            "An entry of the zoo holds flows of one plane, as streamfunction and "
            f"vorticity. Received {study.case} of the tier {study.tier_name!r}: leave "
            "out --export-zoo."
        )
    place = folder / f"{study.tier_name}_{study.case}"
    known = place / "provenance.json"
    if known.exists() and "made_by" in json.loads(known.read_text()):
        raise FileExistsError(
            f"{place} holds a network that another program made, which would be lost. "
            "Choose another folder, such as --export-zoo runs/zoo."
        )
    return place


def _num_target(study: Study, seed: int) -> int:
    """The most samples that an entry may have and, if any were, that were swept."""
    swept = [
        number
        for number in study.num_target
        for whose in NORMALIZATIONS
        if _result(study, "sweep", Setting(whose, number, seed))
    ]
    if not swept:
        return min(_MOST_TARGET, max(study.num_target))
    return max((n for n in swept if n <= _MOST_TARGET), default=min(swept))


def _check_packed(before: dict[str, float], packed: dict[str, float]) -> None:
    """The figures differ by single precision alone."""
    for name, value in before.items():
        if not np.isclose(packed[name], value, rtol=0.02, atol=0.005, equal_nan=True):
            raise RuntimeError(
                f"The network as packed has {name} {packed[name]:.3f} on the target, "
                f"and the one that was trained {value:.3f}: the entry does not hold "
                "all that makes it, and is not listed."
            )


def _result(study: Study, stage: str, setting: Setting) -> dict[str, Any]:
    path = study.folder / stage / f"{setting.label}.json"
    return read_json(path) if path.exists() else {}


def _sweep(study: Study, setting: Setting) -> dict[str, Any]:
    """What was measured of the transfers with these samples, if anything was."""
    found: dict[str, Any] = {}
    for normalization in NORMALIZATIONS:
        other = replace(setting, normalization=normalization)
        rows: dict[str, Any] = {}
        for stage, groups in (("baselines", None), ("sweep", _GROUPS)):
            result = _result(study, stage, other)
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
            "num_outputs": model.output_shape[-1],
            "periodic": study.tier.periodic,
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
