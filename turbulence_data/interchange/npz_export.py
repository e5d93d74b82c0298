"""Datasets as one NumPy file: the arrays that a network takes."""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbulence_data._files import new_path
from turbulence_data.input_pipeline import to_arrays
from turbulence_data.interchange.export_source import ExportSource


def write_npz(source: ExportSource, path: str | os.PathLike[str]) -> None:
    """Writes a dataset as an npz file; unlike the other formats it is held in memory.

    Read it with `numpy.load(path)`: `x` and `y` as by `to_arrays`, in physical units;
    `trajectory`, `time` and `split` of each example; `metadata`, a text in JSON.

    Args:
        source: what to write.
        path: file to make.

    Raises:
        FileExistsError: when something is there already.
        ValueError: when there are no examples.
    """
    with new_path(Path(path)) as target, target.open("wb") as file:
        np.savez(file, allow_pickle=False, **_arrays(source))


def _arrays(source: ExportSource) -> dict[str, NDArray[Any]]:
    splits = {name: list(part) for name, part in source.examples.items()}
    examples = list(chain.from_iterable(splits.values()))
    x, y = to_arrays(examples)
    return {
        "x": x,
        "y": y,
        "trajectory": np.array([example["trajectory"] for example in examples]),
        "time": np.array([example["time"] for example in examples]),
        "split": np.repeat(list(splits), [len(part) for part in splits.values()]),
        "metadata": np.array(json.dumps(source.attributes(), sort_keys=True)),
    }
