"""Versions, seeds, hashes and conventions."""

from collections.abc import Mapping
from typing import Any

from keras_spectral_tl.reporting.blocks import Section, Table, shown
from keras_spectral_tl.reporting.study import Study

_TITLE = "Provenance"
_CONVENTIONS = {
    "spectra of fields and activations": "sum over the shell [k − 1/2, k + 1/2)",
    "spectra of kernels": "mean over the same shell of |F[kernel]|",
    "wavenumbers": "integers, on a domain of length 2π",
    "order of fields": "(samples, x, y, channels)",
}


def provenance(study: Study) -> Section:
    """What every step was made from."""
    tables = [
        Table(name.replace("_", " "), ("entry", "value"), _rows(record))
        for name, record in _records(study).items()
    ]
    tables.append(
        Table("conventions", ("quantity", "convention"), tuple(_CONVENTIONS.items()))
    )
    text = () if len(tables) > 1 else ("Nothing is known of how this was made.",)
    return Section("provenance", _TITLE, text, tuple(tables))


def _records(study: Study) -> dict[str, Any]:
    hashes = {
        f"{name} data": {"SHA-256": record["sha256"]}
        for name, record in study.systems.items()
    }
    parts = {
        "scores": study.scores.get("provenance"),
        "retraining": study.retraining.get("provenance"),
    }
    return {
        **{k: v for k, v in study.provenance.items() if isinstance(v, dict)},
        **{name: record for name, record in parts.items() if record},
        **hashes,
    }


def _rows(record: Mapping[str, Any], above: str = "") -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{above}{key.replace('_', ' ')}"
        if isinstance(value, dict) and value:
            rows += _rows(value, f"{name}: ")
        else:
            rows.append((name, shown(value)))
    return tuple(rows)
