"""Features of an example, and the TFDS records that store them."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from numpy.typing import NDArray
from tensorflow_datasets.core import dataset_info, file_adapters
from tensorflow_datasets.core.file_adapters import FileFormat

from turbulence_data._files import exclusive_lock, explain_disk_errors, write_bytes
from turbulence_data.coarsening import OPERATORS
from turbulence_data.config import FlowConfig, TwoLayerConfig

FIELDS = ("vorticity", "streamfunction", "sgs_forcing")
"""Fields of every snapshot, float32, `(nx, ny)`, or `(2, nx, ny)` for two layers."""
_ANY_FLOW: dict[str, tuple[type[np.generic], str]] = {
    "trajectory": (np.int64, "Number of the trajectory; no number is in two splits."),
    "time": (np.float64, "Time since the start field."),
    "seed": (np.int64, "Seed of the ensemble; streams are seeded (seed, trajectory)."),
}
SCALARS: dict[str, tuple[type[np.generic], str]] = {
    **_ANY_FLOW,
    "reynolds": (np.float64, "Inverse viscosity; inf for an inviscid flow."),
    "linear_drag": (np.float64, "Rate of the linear drag."),
    "beta": (np.float64, "Gradient of the Coriolis parameter."),
    "filter_width": (np.float64, "Width of the Gaussian filter."),
    "forcing_wavenumber": (
        np.int64,
        "Wavenumber of the cosine forcing; 0 for none, or another forcing.",
    ),
}
"""Scalar features of an example: type and meaning."""
LAYERS = ("upper", "lower")


@dataclass(frozen=True)
class Features:
    """Contents of the examples of one kind of flow.

    Attributes:
        of_field: field of a snapshot -> the features it becomes, one per channel;
            fields that are not named here are features themselves.
        extra_fields: fields on request, float32, with their number of channels.
        scalars: scalar features, type and meaning.
        inputs: input features of a network.
        outputs: output features of a network.
        conventions: their definitions, for the metadata.
        num_layers: number of fluid layers; each field has this many planes.
    """

    extra_fields: Mapping[str, int]
    scalars: Mapping[str, tuple[type[np.generic], str]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    conventions: Mapping[str, str]
    of_field: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    num_layers: int = 1

    def shapes(
        self, les_shape: tuple[int, int], extra_fields: tuple[str, ...]
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of every feature that is a field, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name in (*FIELDS, *extra_fields):
            if name in self.of_field:
                shapes |= dict.fromkeys(self.of_field[name], les_shape)
            elif name in FIELDS:
                shapes[name] = les_shape
            else:
                shapes[name] = (*les_shape, self.extra_fields[name])
        return shapes

    def split(self, fields: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the features of the fields of all snapshots, shape `(n, ...)`."""
        features: dict[str, NDArray[Any]] = {}
        for name, values in fields.items():
            names = self.of_field.get(name)
            if names is None:
                features[name] = values
            else:
                features |= {one: values[:, i] for i, one in enumerate(names)}
        return features


def _by_layer(*fields: str) -> tuple[str, ...]:
    return tuple(f"{field}_{layer}" for field in fields for layer in LAYERS)


_PLANE_CONVENTIONS = {
    "axes": "axis 0 is x, axis 1 is y",
    "velocity": "u = d(streamfunction)/dy, v = -d(streamfunction)/dx",
    "streamfunction": "laplacian(streamfunction) = -vorticity",
    "filter": "gaussian exp(-k^2 filter_width^2 / 24), then spectral truncation",
    "spectra": "sum over shells of the width 2 pi / min(lengths), k in 1 / length",
    "turnover_time": "1 / rms(vorticity of the DNS)",
    "work": "of a stochastic forcing the expected injection, whatever the flow does",
    "k_max_eta": "nu / eta^2 + nu_h / eta^2p = eta_Z^(1/3), eta_Z: of the enstrophy",
    "tau": "filter(u_i u_j) - filter(u_i) filter(u_j), channels xx, xy, yy",
    "sigma": "filter(u_i omega) - filter(u_i) filter(omega), channels x, y",
}
PLANE = Features(
    extra_fields={"velocity": 2, "tau": 3, "sigma": 2},
    scalars=SCALARS,
    inputs=("streamfunction", "vorticity"),
    outputs=("sgs_forcing",),
    conventions=_PLANE_CONVENTIONS,
)
TWO_LAYERS = Features(
    of_field={
        "vorticity": _by_layer("potential_vorticity"),
        "streamfunction": _by_layer("streamfunction"),
        "sgs_forcing": _by_layer("sgs_forcing"),
        "velocity": ("u_upper", "v_upper", "u_lower", "v_lower"),
        **{
            name: _by_layer(f"{name}_potential_vorticity", f"{name}_sgs_forcing")
            for name in OPERATORS
        },
    },
    extra_fields={"velocity": 4, **dict.fromkeys(OPERATORS, 4)},
    scalars={
        **_ANY_FLOW,
        "deformation_radius": (np.float64, "Deformation radius, m."),
        "beta": (np.float64, "Gradient of the Coriolis parameter, 1 / (m s)."),
        "bottom_drag": (np.float64, "Rate of the drag on the lower layer, 1 / s."),
        "layer_ratio": (np.float64, "Depth of the upper over that of the lower layer."),
        "mean_shear": (np.float64, "Mean velocity, upper minus lower layer, m / s."),
    },
    inputs=(*_by_layer("streamfunction"), *_by_layer("potential_vorticity")),
    outputs=_by_layer("sgs_forcing"),
    conventions={
        "axes": "axis 0 is x, axis 1 is y",
        "units": "SI: m, s",
        "layers": "upper: layer 1, lower: layer 2",
        "velocity": "u = d(psi)/dy, v = -d(psi)/dx, without the mean flow",
        "streamfunction": "q_1 = -lap(psi_1) + F_1 (psi_1 - psi_2): minus that of pyqg",
        "sgs_forcing": "div(u_bar q_bar) - bar(div(u q)), of potential vorticity",
        "operator": "config.operator filters all fields but those named after another",
        "spectra": "1/2 |u|^2 over shells of the width 2 pi / min(lengths), k in 1 / m",
        "turnover_time": "1 / rms(potential vorticity of the DNS), weighted by depth",
        "budget": "energy 1/2 sum (H_i / H) <psi_i q_i>; the work is that of the shear",
    },
    num_layers=2,
)


def features_of_flow(flow: FlowConfig | TwoLayerConfig) -> Features:
    """Return the features of the examples of a flow."""
    return TWO_LAYERS if isinstance(flow, TwoLayerConfig) else PLANE


def scalars_of_flow(flow: FlowConfig | TwoLayerConfig, width: float) -> dict[str, Any]:
    """Return the scalar features that are the same in all examples of an ensemble."""
    if isinstance(flow, TwoLayerConfig):
        upper, lower = flow.mean_velocities
        own = ("deformation_radius", "beta", "bottom_drag", "layer_ratio")
        return {name: getattr(flow, name) for name in own} | {
            "mean_shear": upper - lower
        }
    return {
        "reynolds": flow.reynolds,
        "linear_drag": flow.linear_drag,
        "beta": flow.beta,
        "filter_width": width,
        "forcing_wavenumber": flow.forcing_wavenumber or 0,
    }


_READERS = {
    "as_dataset": FileFormat.TFRECORD,
    "as_data_source": FileFormat.ARRAY_RECORD,
}
# Examples held in memory to be mixed; TFDS sorts as many bytes before it uses a disk.
_SHUFFLE_BYTES = 1000 << 20
# TFDS messages about things that are intended here.
_NOISE = (
    "Using custom data configuration",
    ".dtype` is deprecated",
    "has no dataset_info.json",
)


class RecordsBuilder(  # type: ignore[call-arg]  # TFDS is not typed
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """TFDS builder that only one process runs at a time, with a choice of formats."""

    def __init__(self, *, file_format: Any = None, **kwargs: Any) -> None:
        self._wanted = _checked_format(file_format)
        self._formats = [self._wanted or FileFormat.TFRECORD]
        with _quiet(), self._explain_damage():
            super().__init__(**kwargs)
        if self.info.initialized:
            self._check_metadata()

    @property
    def file_formats(self) -> list[str]:
        """The formats in which the prepared dataset is on disk."""
        return [file_format.value for file_format in self._stored_formats()]

    def is_prepared(self) -> bool:
        """Return whether the dataset is on disk in the requested format."""
        return bool(super().is_prepared()) and self._is_there(self._wanted)

    def _check_metadata(self) -> None:
        """Raise an error unless the metadata just read belong to this builder."""

    def _needed_bytes(self) -> int:
        """Return the disk space needed to make the dataset."""
        return int(self.info.dataset_size)

    def download_and_prepare(self, *, file_format: Any = None, **kwargs: Any) -> None:
        """Make the dataset, unless it exists, and add the requested format.

        If another process is making it, this waits, and then uses its data or takes
        over. It also waits before overwriting data, if `download_config` requests that.

        Raises:
            ValueError: if the other process made the data from another config, or for
                a `download_config` that keeps only some examples.
            OSError: if the disk is full or not writable.
        """
        wanted = _checked_format(file_format) or self._wanted
        if _keeps_data(kwargs.get("download_config")) and self._is_there(wanted):
            return
        _check_is_whole(kwargs.get("download_config"))
        parent, name = Path(self.data_path.parent), self.info.full_name
        with (
            explain_disk_errors(name, parent, self._needed_bytes()),
            exclusive_lock(parent / ".lock", f"making {name}"),
            _quiet(),
        ):
            self._formats = [wanted or FileFormat.TFRECORD]
            if self._is_there(None):  # made by the previous holder of the lock, or old
                self._formats = self._stored_formats()
            super().download_and_prepare(**kwargs)
            if wanted is not None and not self._is_there(wanted):
                self._add_format(wanted)

    def _is_there(self, wanted: FileFormat | None) -> bool:
        if not self.data_path.exists():
            return False
        if not self.info.initialized:  # made after this builder was created
            with self._explain_damage():
                self.info.read_from_directory(self.data_dir)
            self._check_metadata()
        return wanted is None or wanted in self._stored_formats()

    @contextmanager
    def _explain_damage(self) -> Iterator[None]:
        """Say which file is damaged, and what to do, where TFDS cannot read it."""
        try:
            yield
        except (
            dataset_info.DatasetInfoFileError,
            dataset_info.json_format.ParseError,  # of protobuf, with which TFDS reads
        ) as error:
            raise ValueError(
                f"{self._data_dir}/dataset_info.json cannot be read ({error}). Give "
                "back a copy of this file or the right to read it, or delete that "
                "directory and make the dataset again."
            ) from error

    def _stored_formats(self) -> list[FileFormat]:
        document = json.loads((self.data_path / "dataset_info.json").read_text())
        names = [document["fileFormat"], *document.get("alternativeFileFormats", [])]
        return [FileFormat.from_value(name) for name in names]

    def _log_download_bytes(self) -> None:
        print(
            f"Making {self.info.full_name} in {self.data_dir}: nothing is downloaded, "
            f"some {self._needed_bytes() / 1e6:.0f} MB are written.",
            flush=True,
        )

    def _download_and_prepare(self, **kwargs: Any) -> None:
        first, *others = self._formats
        self.info.set_file_format(first, override=True, override_if_initialized=True)
        super()._download_and_prepare(**kwargs)
        for other in others:
            self._copy_records(first, other)

    def _add_format(self, wanted: FileFormat) -> None:
        self._copy_records(self._stored_formats()[0], wanted)
        path = self.data_path / "dataset_info.json"
        document = json.loads(path.read_text())
        # In this order TFDS can read both formats even without this package.
        document["fileFormat"] = FileFormat.TFRECORD.value
        document["alternativeFileFormats"] = [FileFormat.ARRAY_RECORD.value]
        write_bytes(path, json.dumps(document, indent=2, sort_keys=True).encode())
        self._know_formats(self._stored_formats())

    def _know_formats(self, stored: list[FileFormat]) -> None:
        """Tell TFDS of a format that was added, perhaps by another builder."""
        known = {self.info.file_format, *self.info.alternative_file_formats}
        for other in stored:
            if other not in known:
                self.info.add_alternative_file_format(other)

    def _copy_records(self, stored: FileFormat, wanted: FileFormat) -> None:
        """Copy the records of all splits to another format, bit for bit."""
        write = file_adapters.ADAPTER_FOR_FORMAT[wanted].write_examples
        for split in self.info.splits.values():
            sources, targets = (
                split.filename_template.replace(
                    data_dir=self.data_path, filetype_suffix=kind.file_suffix
                ).sharded_filepaths(num_shards=split.num_shards)
                for kind in (stored, wanted)
            )
            for source, target in zip(sources, targets, strict=True):
                partial = f"{target}.partial"
                write(Path(partial), enumerate(_records(os.fspath(source), stored)))
                os.replace(partial, target)

    def _select(self, reader: str) -> None:
        """Select the stored format that the named reader can read, if data exist."""
        if not self._is_there(None):
            return
        wanted, stored = _READERS[reader], self._stored_formats()
        self._know_formats(stored)
        if wanted not in stored:
            raise NotImplementedError(
                f"{self.info.full_name} is stored as {stored[0].value}, which "
                f'{reader}() cannot read. Builder(..., file_format="{wanted.value}")'
                f".download_and_prepare() adds the same records as {wanted.value}."
            )
        self.info.set_file_format(wanted, override=True, override_if_initialized=True)

    def read(self, split: str) -> Iterable[dict[str, Any]]:
        """Return the examples of a split as NumPy arrays, from any stored format."""
        if FileFormat.ARRAY_RECORD in self._stored_formats():
            source: Iterable[dict[str, Any]] = self.as_data_source(split)
            return source
        numpy: Iterable[dict[str, Any]] = tfds.as_numpy(self.as_dataset(split=split))
        return numpy

    def as_data_source(self, *args: Any, **kwargs: Any) -> Any:
        """Return the examples for random access, as in every TFDS builder."""
        self._select("as_data_source")
        with _quiet():
            return super().as_data_source(*args, **kwargs)

    def as_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """Return the examples as `tf.data.Dataset`, as in every TFDS builder."""
        load_tensorflow()
        self._select("as_dataset")
        with _quiet():
            return super().as_dataset(*args, **kwargs)

    def _as_dataset(
        self,
        split: Any,
        read_config: Any = None,
        shuffle_files: bool = False,
        **kwargs: Any,
    ) -> Any:
        read_config = read_config or tfds.ReadConfig()
        kwargs |= {"split": split, "read_config": read_config}
        dataset = super()._as_dataset(**kwargs)
        if not shuffle_files:
            return dataset
        # Shuffling a few files would mix little, so examples are shuffled too: all of
        # them or, if there are too many, as many as fit in memory.
        examples = sum(part.num_examples for part in self.info.splits.values())
        size = int(dataset.cardinality())  # negative if it is not known
        size = max(1, size if size >= 0 else examples)
        held = max(1, _SHUFFLE_BYTES * examples // self.info.dataset_size)
        if size > held:
            kwargs["read_config"] = dataclasses.replace(
                read_config, enable_ordering_guard=False
            )
            dataset = super()._as_dataset(**kwargs, shuffle_files=True)
        return dataset.shuffle(
            min(size, held),
            seed=read_config.shuffle_seed,
            reshuffle_each_iteration=_reshuffles(read_config),
        )

    def _should_cache_ds(
        self, split: Any, shuffle_files: bool, read_config: Any
    ) -> bool:
        """Return whether TFDS may keep the examples: not if their order changes."""
        if shuffle_files and _reshuffles(read_config):
            return False
        found = super()._should_cache_ds(split, shuffle_files, read_config)
        return bool(found)


def _reshuffles(read_config: Any) -> bool:
    return read_config.shuffle_reshuffle_each_iteration is not False


def _checked_format(file_format: Any) -> FileFormat | None:
    if file_format is None:
        return None
    for known in _READERS.values():
        if file_format in (known, known.value):
            return known
    raise ValueError(
        "file_format must be 'tfrecord' (for tfds.load) or 'array_record' (for "
        f"tfds.data_source); received {file_format!r}."
    )


def _keeps_data(download_config: Any) -> bool:
    keeps = tfds.GenerateMode.REUSE_DATASET_IF_EXISTS
    return download_config is None or bool(download_config.download_mode == keeps)


def _check_is_whole(download_config: Any) -> None:
    """Refuse to store a part of the examples under the name of all of them."""
    most = getattr(download_config, "max_examples_per_split", None)
    if most is not None:
        raise ValueError(
            "expected to make all examples, since what is stored is used from then on. "
            f"Received max_examples_per_split={most}: leave it out and read a part, "
            f'such as split="train[:{most}]", or make a smaller ensemble under another '
            "name."
        )


def _records(path: str, file_format: FileFormat) -> Iterator[bytes]:
    if file_format == FileFormat.TFRECORD:
        adapter = file_adapters.ADAPTER_FOR_FORMAT[file_format]
        yield from adapter.make_tf_data(path).as_numpy_iterator()
        return
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    with ArrayRecordDataSource([path]) as source:
        for index in range(len(source)):
            yield source[index]


def load_tensorflow() -> None:
    """Import TensorFlow with a short message, hiding what its C++ writes to stderr.

    If the import fails, the hidden text is written.
    """
    if "tensorflow" in sys.modules:
        return
    print("Loading TensorFlow ...", file=sys.stderr, flush=True)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow as tf

            tf.constant(0)  # looks for devices
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress TFDS messages that are irrelevant to users of these datasets."""
    logger = logging.getLogger("absl")
    logger.addFilter(_is_news)
    try:
        yield
    finally:
        logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not any(part in record.getMessage() for part in _NOISE)


def _is_no_unmade_dataset(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return "has no dataset_info.json" not in text or "turbulence_data" not in text


# `tfds.load` looks for a dataset before it calls the builder, and warns if none exists.
logging.getLogger("absl").addFilter(_is_no_unmade_dataset)
