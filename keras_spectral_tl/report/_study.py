"""A transfer study as plain values, in memory and on disk."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_spectral_tl._files import write_json

Document = Mapping[str, Any]
Rows = Sequence[Document]


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything that a report shows; unknown parts are empty.

    On disk each part but the title is a file of its own, `<part>.json`, complete or
    absent: this is what the commands and `examples/quickstart.py` write. The retraining
    lies beside its model, in the folder `retrained` that `RetrainResult.save` writes.

    Attributes:
        title: Heading of the page.
        systems: "base" and "target" to `system_record`.
        a_priori: Rows with network, data, and figures of merit.
        forecast: `Forecast.to_dict`.
        scores: `LayerScores.to_dict`.
        sweep: `SweepResult.to_dict`.
        retraining: `RetrainResult.to_dict`.
        spectra: `spectra_record`: kernels and activations by layer.
        pictures: `picture_record`: maps of samples and predictions.
        a_posteriori: Rows of figures of an LES, such as those of
            `turbulence_data.a_posteriori.compare`.
        provenance: Name of a step to a record of what it was made from.

    Example:
        >>> study = Study(sweep={"best": "conv_1", "rows": []})
        >>> study.missing
        ('systems', 'a_priori', 'forecast', 'scores', 'retraining', 'spectra', \
'pictures', 'a_posteriori', 'provenance')
    """

    title: str = "Transfer study"
    systems: Document = dataclasses.field(default_factory=dict)
    a_priori: Rows = ()
    forecast: Document = dataclasses.field(default_factory=dict)
    scores: Document = dataclasses.field(default_factory=dict)
    sweep: Document = dataclasses.field(default_factory=dict)
    retraining: Document = dataclasses.field(default_factory=dict)
    spectra: Document = dataclasses.field(default_factory=dict)
    pictures: Document = dataclasses.field(default_factory=dict)
    a_posteriori: Rows = ()
    provenance: Document = dataclasses.field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """Everything but the title, by name."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name != "title"}

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the parts that are empty."""
        return tuple(name for name, part in self.parts.items() if not part)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Study":
        """Read what is there of a study.

        Raises:
            NotADirectoryError: If there is no such folder.
            ValueError: If it holds nothing of a study, or a file is not what it should
                be.
        """
        place = pathlib.Path(folder)
        if not place.is_dir():
            raise NotADirectoryError(
                f"There is no folder {str(place)!r}. Expected one that the commands "
                "forecast, score or retrain, or examples/quickstart.py, have "
                "written to."
            )
        found = {name: _read(place / file_of(name)) for name in cls().parts}
        known = {name: part for name, part in found.items() if part}
        if not known:
            files = ", ".join(map(file_of, found))
            raise ValueError(
                f"The folder {str(place)!r} holds nothing of a study. Expected at "
                f"least one of {files}."
            )
        systems = known.get("systems", {})
        title = f"Transfer study: {place.resolve().name}"
        if {"base", "target"} <= systems.keys():
            base, target = (systems[role]["source"] for role in ("base", "target"))
            title = f"Transfer study: from {base} to {target}"
        return cls(title=title, **known)

    def write(self, folder: str | os.PathLike[str]) -> pathlib.Path:
        """Write every part that is not empty and return the folder, made if need be.

        A checksum of the retrained model stays where `RetrainResult.save` has written
        it beside the same record.
        """
        place = pathlib.Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name, part in self.parts.items():
            if part:
                path = place / file_of(name)
                path.parent.mkdir(exist_ok=True)
                known = _read(path) if name == "retraining" else None
                digest = (known or {}).pop("model_sha256", None)
                write_json(path, part)
                if digest is not None and _read(path) == known:
                    write_json(path, {**part, "model_sha256": digest})
        return place


def channel_names(
    known: Mapping[str, Sequence[str]] | None, num_inputs: int, num_outputs: int
) -> dict[str, list[str]]:
    """Return a name for each channel of "x" and "y": those known, else numbers.

    Example:
        >>> channel_names({"y": ["sgs_forcing"]}, 2, 1)
        {'x': ['input 1', 'input 2'], 'y': ['sgs forcing']}
    """
    found = {}
    for side, what, count in (("x", "input", num_inputs), ("y", "output", num_outputs)):
        names = [name.replace("_", " ") for name in (known or {}).get(side, ())]
        numbered = [f"{what} {i + 1}" for i in range(count)] if count > 1 else [what]
        found[side] = names if len(names) == count else numbered
    return found


def file_of(part: str) -> str:
    """Name of the file of a part within the folder of a study."""
    return "retrained/retraining.json" if part == "retraining" else f"{part}.json"


def _read(path: pathlib.Path) -> Any:
    if not path.exists():
        return None
    try:
        part = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not a JSON file ({error}). Write it anew."
        ) from error
    kind = list if path.stem in ("a_priori", "a_posteriori") else dict
    if not isinstance(part, kind):
        raise ValueError(
            f"{path} must hold a JSON {'array' if kind is list else 'object'}; "
            f"received {type(part).__name__}."
        )
    return part
