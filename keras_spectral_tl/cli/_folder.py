"""The folder in which the commands collect their results."""

import argparse
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from keras_spectral_tl._files import (
    known_form,
    plain,
    read_json,
    sha256,
    write_json,
)
from keras_spectral_tl.cli._inputs import System, read_model, read_systems


def opened(
    options: argparse.Namespace,
) -> tuple[pathlib.Path | None, Any, dict[str, System]]:
    """Return the folder, the network and the samples of a command, all checked."""
    folder = prepared(options.out)
    refuse_other_model(folder, options.model)
    model = read_model(options.model, options.modules)
    return folder, model, read_systems(model, options)


def prepared(path: str | None) -> pathlib.Path | None:
    """Return the folder, created if needed, after checking that it is writable."""
    if path is None:
        return None
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Nothing can be written to --out {path} ({error.strerror or error}). "
            "Choose a folder that this process may write to."
        ) from error
    return folder


def refuse_other_model(folder: pathlib.Path | None, model: str) -> None:
    """Raise ValueError if the folder holds results of another network."""
    known = _records(folder)
    if not known or not pathlib.Path(model).is_file():
        return
    digest = sha256(pathlib.Path(model))
    for step, record in known.items():
        if record.get("model_sha256", digest) != digest:
            raise ValueError(
                f"{folder} holds what {step} found of another network, "
                f"{record.get('model', 'of no name')}. Choose another --out."
            )


def refuse_other_samples(
    folder: pathlib.Path | None, step: str, record: Mapping[str, Any]
) -> None:
    """Raise ValueError if the folder holds what was found of another target.

    What the same step has found is replaced, except by `retrain`, whose results stand
    beside each other: they also need the same test samples and normalization.
    """
    for name, before in _records(folder).items():
        if "target" not in before or name == step != "retrain":
            continue
        with known_form(f"{folder}/provenance.json"):
            differs = _difference(before, record, name == step)
        if differs:
            raise ValueError(
                f"{folder} holds what {name} gave with another {differs}. Choose "
                "another --out."
            )


def base_network(
    folder: pathlib.Path | None, model: Any, systems: Mapping[str, System]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Test the base network; return parts of a study, and the output of a command.

    Doubts about the network are printed as warnings on stderr.
    """
    from keras_spectral_tl.report import figures_row, system_record
    from keras_spectral_tl.transfer._statistics import LAST, data_format_of_samples

    layout = data_format_of_samples(model, unclear=LAST)
    rows = [
        figures_row("base", f"{role} samples", model, system.raw, system.statistics)
        for role, system in systems.items()
    ]
    warnings = _doubts(model, systems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    records = {
        role: system_record(
            system.data, system.source, system.normalized_by, system.channels, layout
        )
        for role, system in systems.items()
    }
    parts = {"systems": records, "a_priori": merged_rows(folder, rows)}
    return parts, {"base_network": rows, "warnings": warnings}


def keep(
    folder: pathlib.Path | None, step: str, parts: Mapping[str, Any], record: Any
) -> None:
    """Write parts of a study with their provenance."""
    if folder is None:
        return
    for name, part in parts.items():
        write_json(folder / f"{name}.json", part)
    write_json(folder / "provenance.json", {**_records(folder), step: record})


def model_record(
    options: argparse.Namespace, model: Any, systems: Mapping[str, System]
) -> dict[str, Any]:
    """Return the provenance of a network and its samples."""
    import keras

    from keras_spectral_tl import freezing
    from keras_spectral_tl._results import versions

    return {
        "model": options.model,
        "model_sha256": sha256(pathlib.Path(options.model)),
        "layer_sha256": freezing.layer_hashes(model),
        "backend": keras.backend.backend(),
        "versions": versions(),
        "seed": options.seed,
        **{role: system.source for role, system in systems.items()},
        "samples": {
            role: {"number": len(system.raw), "sha256": system.raw.fingerprint()}
            for role, system in systems.items()
            if role != "base"  # may be large, and is not compared
        },
        "normalization": {
            role: "none" if system.statistics is None else plain(system.statistics)
            for role, system in systems.items()
        },
    }


def merged_rows(
    folder: pathlib.Path | None, rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the a priori table on disk with these rows added or replaced."""
    known = [] if folder is None else _read(folder / "a_priori.json", [])
    new = [(row["network"], row["data"]) for row in rows]
    with known_form(f"{folder}/a_priori.json"):
        kept = [r for r in known if (r.get("network"), r.get("data")) not in new]
    return [*kept, *rows]


def merged_spectra(folder: pathlib.Path | None, found: Mapping[str, Any]) -> Any:
    """Return the spectra on disk with these added or replaced, by label.

    Filters are of the change by one retraining: those given replace all on disk.
    """
    known = {} if folder is None else _read(folder / "spectra.json", {})
    if "filters" in found:
        known.pop("filters", None)
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    with known_form(f"{folder}/spectra.json"):
        for source in (known, found):
            for kind, layers in source.items():
                for layer, curves in layers.items():
                    merged.setdefault(kind, {}).setdefault(layer, {}).update(curves)
    return merged


def _doubts(model: Any, systems: Mapping[str, System]) -> list[str]:
    """Return doubts, as sentences, about this network and these samples."""
    from keras_spectral_tl.metrics import _plausibility

    base, target = systems.get("base"), systems.get("target")
    found = []
    if base is not None and target is not None:
        pairs = [system.raw.normalized(system.statistics) for system in (base, target)]
        found += _plausibility.network_doubts(model, *pairs)
        found += _plausibility.scale_doubts(base.raw, target.raw)
        if base.statistics is not None and any("normalizes" in text for text in found):
            found.append("Add --normalize none.")
    on_y = [] if target is None else _plausibility.y_doubts(target.raw)
    if any("losses.Weighted" in text for text in on_y):
        on_y.append("Here: an array weights in its file.")
    return found + on_y


def _difference(
    before: Mapping[str, Any], now: Mapping[str, Any], same_step: bool
) -> str:
    """Return in words what two steps in one folder must share but do not."""
    for role in ("target", "test") if same_step else ("target",):
        if not _same_samples(before, now, role):
            return f"{role}: {_named(before, role)}; received {_named(now, role)}"
    if same_step and "normalization" in before:
        both = before, json.loads(json.dumps(now))
        one, other = (record["normalization"].get("target") for record in both)
        if one != other:
            return f"normalization: {one!r}; received {other!r}"
    return ""


def _same_samples(one: Mapping[str, Any], other: Mapping[str, Any], role: str) -> bool:
    """Return whether two records are of the same samples, as far as they tell.

    Equal numbers of samples are compared by SHA-256; otherwise, and in old records,
    their names are.
    """
    known = [record.get("samples", {}).get(role) for record in (one, other)]
    if None in known or known[0]["number"] != known[1]["number"]:
        names = (os.path.normpath(str(record.get(role))) for record in (one, other))
        return len({*names}) == 1
    return bool(known[0]["sha256"] == known[1]["sha256"])


def _named(record: Mapping[str, Any], role: str) -> str:
    name, known = repr(record.get(role)), record.get("samples", {}).get(role)
    if known is None:
        return name
    return f"{name} ({known['number']} samples, SHA-256 {known['sha256'][:8]})"


def _records(folder: pathlib.Path | None) -> dict[str, dict[str, Any]]:
    """Return the provenance on disk: a record for each step."""
    known = {} if folder is None else _read(folder / "provenance.json", {})
    for record in known.values():
        with known_form(f"{folder}/provenance.json"):
            record.keys()
    return dict(known)


def _read(path: pathlib.Path, otherwise: Any) -> Any:
    return read_json(path, type(otherwise)) if path.exists() else otherwise
