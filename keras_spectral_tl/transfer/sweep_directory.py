"""The finished rows of a sweep on disk: a killed sweep goes on where it stopped."""

import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import pathlib
import re
import types
import urllib.parse
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_spectral_tl import freezing, introspection
from keras_spectral_tl._files import write_bytes, write_json
from keras_spectral_tl.transfer._samples import Samples
from keras_spectral_tl.transfer.sweep_row import Candidate, SweepRow

# What a function may hold from around it that can be compared.
_PLAIN = (bool, int, float, str, bytes, np.generic, np.ndarray, types.FunctionType)


def fingerprint(
    model: keras.Model,
    target: Samples,
    test: Samples,
    options: Mapping[str, Any],
) -> dict[str, str]:
    """Describe everything that decides the rows of a sweep.

    Args:
        model: The model.
        target: Samples to train with.
        test: Samples to evaluate on.
        options: Arguments of `retrain`. Arrays and numbers count by their value, Keras
            objects by their configuration, functions by their code and the plain values
            they hold, other objects (callbacks) by their class alone.

    Returns:
        Short texts: equal ones mean an equal sweep.
    """
    weights = freezing.layer_hashes(model)
    return {
        "model": _digest(type(model).__name__, _architecture(model), weights),
        "target_data": target.fingerprint()[:16],
        "test_data": test.fingerprint()[:16],
        "backend": keras.backend.backend(),
        **{f"{name}=": _described(value) for name, value in sorted(options.items())},
    }


class SweepDirectory:
    """Rows of one sweep in a folder, each complete or absent.

    Args:
        path: The folder; made if need be.
        contents: What decides the rows, see `fingerprint`.

    Raises:
        ValueError: If the folder holds rows of another sweep; the message says what
            differs.
    """

    def __init__(
        self, path: str | os.PathLike[str], contents: Mapping[str, str]
    ) -> None:
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        record = self.path / "sweep.json"
        if not record.exists():
            write_json(record, dict(contents))
        found = json.loads(record.read_text())
        names = sorted(found.keys() | contents.keys())
        other = [name for name in names if found.get(name) != contents.get(name)]
        if other:
            changes = "; ".join(
                f"{name.rstrip('=')}: {found.get(name)} there, {contents.get(name)} now"
                for name in other
            )
            raise ValueError(
                f"The folder {os.fspath(self.path)!r} holds rows of another sweep. "
                f"What differs: {changes}. Use another directory, or remove this one."
            )

    def load(self, candidate: Candidate) -> SweepRow | None:
        """Return the finished row of a candidate; None if there is none, or no more.

        A damaged row, seen by its checksums, is told in a warning.
        """
        text, arrays = self._files(candidate)
        if not text.exists():
            return None
        try:
            return _row(json.loads(text.read_bytes()), arrays.read_bytes(), candidate)
        except (KeyError, OSError, TypeError, ValueError) as error:
            warnings.warn(
                f"The row {text.stem!r} of {os.fspath(self.path)!r} is damaged "
                f"({error}): its layers are retrained again.",
                stacklevel=2,
            )
            return None

    def save(self, candidate: Candidate, row: SweepRow) -> None:
        """Keep a finished row."""
        text, arrays = self._files(candidate)
        named = {
            f"{layer}_{number}": value
            for layer, values in enumerate(row.weights)
            for number, value in enumerate(values)
        }
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **named)
        write_bytes(arrays, content.getvalue())
        values = {k: _or_null(value) for k, value in row.values.items()}
        checked = {"values": values, "weights_sha256": _sha256(content.getvalue())}
        # Last: its presence says that the row is whole.
        write_json(text, {**checked, "sha256": _digest(checked)})

    def _files(self, candidate: Candidate) -> tuple[pathlib.Path, pathlib.Path]:
        # The sign "=" keeps a layer called "sweep" apart from sweep.json.
        name = "row=" + urllib.parse.quote(candidate.label, safe="")
        return self.path / f"{name}.json", self.path / f"{name}.npz"


def _row(document: Any, content: bytes, candidate: Candidate) -> SweepRow:
    """Return the row that the two files of `SweepDirectory.save` hold, if whole."""
    checked = {key: document[key] for key in ("values", "weights_sha256")}
    if document["sha256"] != _digest(checked):
        raise ValueError("the checksum of its values does not match")
    if checked["weights_sha256"] != _sha256(content):
        raise ValueError("the checksum of its weights does not match")
    values = {k: math.nan if v is None else v for k, v in checked["values"].items()}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        weights: list[list[Any]] = [[] for _ in candidate.names]
        for key in file.files:  # in the order in which they were written
            weights[int(key.split("_")[0])].append(file[key])
    return SweepRow(values, weights)


def _or_null(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _architecture(model: keras.Model) -> str:
    try:
        text = json.dumps(model.get_config(), sort_keys=True, default=_described)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return ""  # a subclassed model counts by its class and weights
    # Keras numbers the names it gives, so the same model may come with other names.
    layers = introspection.parents_first(model)
    places = {layer.name: f'"#{place}"' for place, layer in enumerate(layers)}
    return re.sub(r'"([^"]*)"', lambda found: places.get(found[1], found[0]), text)


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic):
        return _described(value.item())
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]
    if isinstance(value, tuple | list | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return _digest(*(f"{key}:{_described(item)}" for key, item in items))
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, type):
        return str(name)
    if isinstance(value, functools.partial):
        return _digest(value.func, value.args, value.keywords)
    if isinstance(value, types.FunctionType):
        return f"{name}({_digest(*_code(value))})"
    return f"{name}({_digest(*_contents(value))})"


def _code(function: types.FunctionType) -> list[Any]:
    """What a function does: two lambdas of one name are two functions."""
    code, cells = function.__code__, function.__closure__ or ()
    constants = [
        const.co_code.hex() if isinstance(const, types.CodeType) else const
        for const in code.co_consts
    ]
    held = [cell.cell_contents for cell in cells]
    plain = [value for value in held if isinstance(value, _PLAIN)]
    defaults = [function.__defaults__, function.__kwdefaults__]
    return [code.co_code.hex(), code.co_names, constants, defaults, plain]


def _contents(value: Any) -> list[Any]:
    if isinstance(value, keras.Model):
        optimizer = getattr(value, "optimizer", None)
        moments = [np.asarray(v) for v in getattr(optimizer, "variables", ())]
        return [freezing.layer_hashes(value), moments]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if hasattr(value, "get_config"):
        config = value.get_config()
        return [{key: config[key] for key in config if key != "name"}]
    return []


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=_described)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
