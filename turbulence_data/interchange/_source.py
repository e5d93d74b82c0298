"""What is exported: examples by split, where they lie, and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turbulence_data._checks import TWO_PI, as_lengths
from turbulence_data.generation._ensemble import SPLITS

Example = Mapping[str, Any]

_METADATA_OF_A_BUILDER = (
    "pi_convention",
    "conventions",
    "fields",
    "config",
    "config_hash",
    "content_sha256",
    "versions",
)
# HDF5 keeps attributes in the header of an object, which holds 64 KiB.
_LONGEST_ATTRIBUTE = 60_000


@dataclass(frozen=True)
class ExportSource:
    """Decoded examples and their metadata, ready to be written.

    Attributes:
        examples: examples of each split, ordered by trajectory, then time. Any iterable
            does; it is gone through once and never held as a whole.
        metadata: global attributes. Text and numbers are written as they are, anything
            else as JSON. `pi_convention` must be among them.
        lengths: domain size.

    Raises:
        ValueError: for a split whose name has blanks, or no `pi_convention`.

    Example:
        >>> import numpy as np
        >>> snapshot = {"trajectory": 0, "time": 0.0, "vorticity": np.zeros((8, 8))}
        >>> source = ExportSource({"train": [snapshot]}, {"pi_convention": "rhs_add"})
        >>> source.attributes()["pi_convention"]
        'rhs_add'
    """

    examples: Mapping[str, Iterable[Example]]
    metadata: Mapping[str, Any]
    lengths: tuple[float, float] = field(default=(TWO_PI, TWO_PI))

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", as_lengths(self.lengths))
        names = list(self.examples) if isinstance(self.examples, Mapping) else None
        if not names or any(len(str(name).split()) != 1 for name in names):
            raise ValueError(
                "examples must map the names of splits, without blanks, to iterables "
                f"of examples; received {names or type(self.examples)}."
            )
        if "pi_convention" not in self.metadata:
            raise ValueError(
                "metadata must say with which sign sgs_forcing enters, as "
                "'pi_convention': 'rhs_add' where it is added to the right-hand side; "
                f"received the keys {sorted(self.metadata)}."
            )

    @classmethod
    def from_builder(cls, builder: Any, splits: Sequence[str] = SPLITS) -> ExportSource:
        """Returns the prepared data of a TFDS builder of this package.

        The hash of the content stands in the metadata only where all splits, in their
        own order, are exported: it is the hash of all of them. `inputs` and `outputs`
        name the fields that a network takes and gives, separated by blanks.

        Args:
            builder: a `turbulence_data.Builder` whose data are prepared.
            splits: names of splits.

        Raises:
            ValueError: when the data are not prepared.
        """
        metadata = builder.info.metadata
        if not builder.is_prepared() or "config" not in metadata:
            raise ValueError(
                f"{builder.info.full_name} is not prepared; call its "
                f"download_and_prepare() first. Expected it in {builder.data_dir}."
            )
        kept = {key: metadata[key] for key in _METADATA_OF_A_BUILDER}
        if tuple(splits) != SPLITS:
            del kept["content_sha256"]
        # Names of x and y of a network; in the file x and y are coordinates.
        inputs, output = builder.info.supervised_keys
        kept["inputs"], kept["outputs"] = " ".join(inputs.values()), output
        kept["title"] = f"{builder.info.full_name}: filtered 2-D turbulence"
        return cls(
            {split: builder.read(split) for split in splits},
            kept,
            tuple(metadata["config"]["flow"]["lengths"]),
        )

    def attributes(self) -> dict[str, str | int | float]:
        """The global attributes, as text and numbers.

        Raises:
            ValueError: for an entry that is not plain data, or far too long.
        """
        attributes: dict[str, str | int | float] = {"Conventions": "CF-1.11"}
        for key, value in self.metadata.items():
            plain = isinstance(value, str | int | float) and not isinstance(value, bool)
            attributes[key] = value if plain else _as_json(key, value)
            if len(str(attributes[key])) > _LONGEST_ATTRIBUTE:
                raise ValueError(
                    f"metadata {key!r} is {len(str(attributes[key]))} characters long; "
                    f"an attribute holds at most {_LONGEST_ATTRIBUTE}. Keep it in a "
                    "file beside the data."
                )
        return attributes


def _as_json(key: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"metadata must be plain data, so that they can be written as JSON; "
            f"{key!r} is {value!r}."
        ) from error
