"""Entries of the zoo: what is in them, and how they are read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
from turbulence_data import Normalization

FOLDER = Path(__file__).parent
Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ZooEntry:
    """A trained network and the few samples to transfer it with.

    Samples are normalized, inputs (streamfunction, vorticity), outputs sgs_forcing;
    stored as float16, an error of at most 2^-11 of each value.

    Attributes:
        model: the base network.
        base: some of its train samples, `(x, y)`.
        target: the few target samples.
        test: some test samples of the target.
        base_normalization: that of the base samples.
        target_normalization: that of the target samples; test samples have it too.
            That of `full_k25_to_k4` is not of the 16 packed samples alone, whose
            standard deviations are 1.002, .985 and .961 in it.
        sweep: what retraining gave on test samples, where it was measured:
            normalization ("own", "base") to way of retraining to figures.
        provenance: how it was made, and the figures it had then.
    """

    model: keras.Model
    base: Arrays
    target: Arrays
    test: Arrays
    base_normalization: Normalization
    target_normalization: Normalization
    sweep: dict[str, dict[str, dict[str, float]]]
    provenance: dict[str, Any]


def entry_names(folder: Path = FOLDER) -> list[str]:
    """Returns the names of all entries."""
    return sorted(path.parent.name for path in folder.glob("*/provenance.json"))


def load(name: str, folder: Path = FOLDER) -> ZooEntry:
    """Reads an entry.

    Args:
        name: of the entry.
        folder: where entries are.

    Raises:
        KeyError: for an unknown name; the message lists the names.
    """
    names = entry_names(folder)
    if name not in names:
        raise KeyError(f"unknown entry {name!r} of the model zoo; there are {names}.")
    place = folder / name
    return entry_of(place, json.loads((place / "provenance.json").read_text()))


def entry_of(place: Path, provenance: dict[str, Any]) -> ZooEntry:
    """Reads the arrays of an entry, of this provenance."""
    model = kst.build_sgs_cnn(**provenance["architecture"])
    with np.load(place / "weights.npz") as file:
        weights = [file[str(i)].astype(np.float32) for i in range(len(file.files))]
    model.set_weights(weights)
    with np.load(place / "samples.npz") as file:
        samples = {key: file[key].astype(np.float32) for key in file.files}
    base, target = (
        Normalization(**{k: tuple(v) for k, v in provenance[key].items()})
        for key in ("base_normalization", "target_normalization")
    )
    parts = (
        (samples[f"{part}_x"], samples[f"{part}_y"])
        for part in ("base", "target", "test")
    )
    sweep = provenance.get("sweep", {}).get("normalization", {})
    return ZooEntry(model, *parts, base, target, sweep, provenance)
