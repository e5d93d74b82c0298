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
    provenance = json.loads((folder / name / "provenance.json").read_text())
    model = kst.build_sgs_cnn(**provenance["architecture"])
    with np.load(folder / name / "weights.npz") as file:
        weights = [file[str(i)].astype(np.float32) for i in range(len(file.files))]
    model.set_weights(weights)
    with np.load(folder / name / "samples.npz") as file:
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
