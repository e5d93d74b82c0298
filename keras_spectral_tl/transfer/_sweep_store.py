"""Finished rows of a sweep on disk: an interrupted sweep resumes where it stopped."""

import dataclasses
import fractions
import inspect
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
from numpy.typing import NDArray

from keras_spectral_tl._files import (
    finite,
    sha256,
    sha256_of_arrays,
    write_bytes,
    write_json,
)
from keras_spectral_tl._graph.layers import parents_first
from keras_spectral_tl._keras_internals import excluded_from_weight_decay
from keras_spectral_tl._optimizer_state import plain_optimizer
from keras_spectral_tl.freezing import layer_hashes
from keras_spectral_tl.transfer._arms import Candidate
from keras_spectral_tl.transfer._samples import Samples

# Packages whose objects are described by their configuration.
_KNOWN = ("keras", "keras_spectral_tl")
_LONGEST_NAME = 120  # of a file, in bytes of its quoted label


@dataclasses.dataclass(frozen=True, eq=False)
class SweepRow:
    """A row of a sweep, with the trained weights of each layer of its candidate."""

    values: dict[str, Any]
    weights: list[list[NDArray[Any]]]


def fingerprint(
    model: keras.Model,
    target: Samples,
    test: Samples,
    options: Mapping[str, Any],
    recipe: str | None = None,
) -> dict[str, str]:
    """Return texts that identify a sweep: equal texts mean an equal sweep.

    Of the options of `retrain`, numbers, strings, arrays and dataclasses of these count
    by value, Keras objects by name and configuration. `recipe` is the caller's name for
    all others: functions, callbacks and other objects.
    """
    weights = layer_hashes(model)
    found = {
        "model": _digest(type(model).__name__, _architecture(model), weights),
        "target_data": _samples(target),
        "test_data": _samples(test),
        "backend": keras.backend.backend(),
    }
    unnamed = []
    for name, value in sorted(options.items()):
        try:
            found[f"{name}="] = _described(value)
        except _UndescribedError as error:
            unnamed.append(f"{name} ({error})")
            found[f"{name}="] = "as named by recipe"
    if unnamed and recipe is None:
        raise ValueError(
            "A folder could not tell this sweep from another: "
            f"{', '.join(unnamed)} cannot be described by value. Pass recipe='a name "
            "of your own', and change the name whenever these options change; or "
            "sweep without a directory."
        )
    if recipe is not None:
        found["recipe="] = repr(str(recipe))
    return found


class SweepDirectory:
    """Rows of one sweep in a folder, each complete or absent."""

    def __init__(
        self, path: str | os.PathLike[str], contents: Mapping[str, str]
    ) -> None:
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        record = self.path / "sweep.json"
        if not record.exists():
            write_json(record, dict(contents))
        try:
            found = dict(json.loads(record.read_bytes()))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{record} is damaged: expected a JSON document that tells which sweep "
                f"the rows belong to, received {type(error).__name__}. Restore it, or "
                "use another directory."
            ) from error
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
        """Return the finished row of a candidate, or None if there is none.

        Warns and returns None if a checksum does not match.
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
        text, arrays = self._files(candidate)
        named: dict[str, Any] = {
            f"{layer}_{number}": value.astype("f4") if _is_short(value) else value
            for layer, values in enumerate(row.weights)
            for number, value in enumerate(values)
        }
        content = io.BytesIO()
        np.savez(content, **named)
        write_bytes(arrays, content.getvalue())
        values = finite(row.values)
        checked = {"values": values, "weights_sha256": sha256(content.getvalue())}
        if candidate.record:
            checked["trained"] = candidate.record
        # Written last: its presence means that the row is complete.
        write_json(text, {**checked, "sha256": _digest(checked)})

    def _files(self, candidate: Candidate) -> tuple[pathlib.Path, pathlib.Path]:
        # The "=" distinguishes a layer called "sweep" from sweep.json.
        label = urllib.parse.quote(candidate.label, safe="")
        if len(label) > _LONGEST_NAME:
            label = f"{label[:40]}={sha256(candidate.label.encode())[:32]}"
        return self.path / f"row={label}.json", self.path / f"row={label}.npz"


def _is_short(value: NDArray[Any]) -> bool:
    """Return whether values are bfloat16 or shorter, which NumPy cannot read again."""
    return value.dtype.kind == "V"


def _row(document: Any, content: bytes, candidate: Candidate) -> SweepRow:
    """Return the row in the two files of `SweepDirectory.save`, after checking them."""
    checked = {key: document[key] for key in ("values", "weights_sha256")}
    checked |= {key: document[key] for key in ("trained",) if key in document}
    if document["sha256"] != _digest(checked):
        raise ValueError("the checksum of its values does not match")
    if checked["weights_sha256"] != sha256(content):
        raise ValueError("the checksum of its weights does not match")
    values = {k: math.nan if v is None else v for k, v in checked["values"].items()}
    if values["layer"] != candidate.label:
        raise ValueError(f"it is the row of {values['layer']!r}")
    if document.get("trained", "") != candidate.record:
        raise ValueError("other weights were trained for it")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        weights: list[list[Any]] = [[] for _ in candidate.names]
        for key in file.files:  # in the order in which they were written
            weights[int(key.split("_")[0])].append(file[key])
    return SweepRow(values, weights)


def _samples(samples: Samples) -> str:
    text = samples.fingerprint()[:16]
    return text if samples.statistics is None else f"{text} normalized"


def _architecture(model: keras.Model) -> str:
    try:
        text = json.dumps(model.get_config(), sort_keys=True, default=_loosely)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return ""  # a subclassed model is identified by its class and weights
    # Keras numbers the names it gives, so an equal model may have other names.
    layers = parents_first(model)
    places = {layer.name: f'"#{place}"' for place, layer in enumerate(layers)}
    return re.sub(r'"([^"]*)"', lambda found: places.get(found[1], found[0]), text)


def _loosely(value: Any) -> str:
    try:
        return _described(value)
    except _UndescribedError:
        return type(value).__qualname__


class _UndescribedError(TypeError):
    """A value that cannot be compared with another by value."""


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic):
        return _described(value.item())
    if isinstance(value, np.ndarray):
        return sha256_of_arrays([value])[:16]
    if isinstance(value, tuple | list):
        return _digest(*(f"{i}:{_described(item)}" for i, item in enumerate(value)))
    if isinstance(value, dict):
        return _digest(*(f"{key}:{_described(item)}" for key, item in value.items()))
    if isinstance(value, re.Pattern | slice | fractions.Fraction):
        return repr(value)
    if isinstance(value, Samples):
        return _samples(value)
    if isinstance(value, type | types.FunctionType):
        if _is_known(value):
            return f"{value.__module__}.{value.__qualname__}"
        raise _UndescribedError(f"{value!r:.100}")
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"{type(value).__qualname__}({_digest(name, *_contents(value))})"


def _contents(value: Any) -> list[str]:
    """Return descriptions of all attributes of an object."""
    if isinstance(value, keras.Model):
        optimizer = getattr(value, "optimizer", None)
        moments = [np.asarray(v) for v in getattr(optimizer, "variables", ())]
        hashes = layer_hashes(value)
        return [_described(hashes), _described(optimizer), _described(moments)]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        if set(getattr(value, "__dict__", names)) <= set(names):
            return [_described(getattr(value, name)) for name in names]
    elif hasattr(value, "get_config") and _is_known(type(value)):
        return _configuration(value)
    raise _UndescribedError(f"{value!r:.100}")


def _configuration(value: Any) -> list[str]:
    config = {**getattr(value, "_fn_kwargs", {}), **value.get_config()}
    if not isinstance(value, keras.Layer):
        config.pop("name", None)  # a number that Keras gives, except of layers
    if isinstance(value, keras.optimizers.Optimizer):
        _, without_decay = excluded_from_weight_decay(plain_optimizer(value))
        if without_decay is not None:
            config["without_decay"] = without_decay
    for held in vars(value).values():
        kind = held if isinstance(held, type | types.FunctionType) else type(held)
        if callable(held) and not _is_known(kind):
            raise _UndescribedError(f"{held!r:.100} in {value!r:.100}")
    for name, parameter in inspect.signature(type(value).__init__).parameters.items():
        if name in ("self", "name") or name in config:
            continue
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if not hasattr(value, name):  # Keras leaves some arguments out
            raise _UndescribedError(f"{name} of {value!r:.100}")
        config[name] = getattr(value, name)
    return [f"{key}:{_described(part)}" for key, part in sorted(config.items())]


def _is_known(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] in _KNOWN


def _digest(*parts: Any) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode())[:16]
