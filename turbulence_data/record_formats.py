"""The records of a dataset, kept once for `tf.data` and once for random access."""

from __future__ import annotations

from typing import Any

from tensorflow_datasets.core import dataset_info, file_adapters

SEQUENTIAL = file_adapters.FileFormat.TFRECORD
"""What `as_dataset` reads, of any TFDS builder."""
RANDOM_ACCESS = file_adapters.FileFormat.ARRAY_RECORD
"""What `as_data_source` reads, without TensorFlow."""


def check_file_format(file_format: Any) -> None:
    """Checks a format asked for.

    Raises:
        ValueError: for one that the data are not stored in.
    """
    known = [SEQUENTIAL.value, RANDOM_ACCESS.value]
    if file_format is not None and getattr(file_format, "value", file_format) not in (
        known
    ):
        raise ValueError(f"data are stored as {known}; received {file_format!r}.")


def add_random_access(info: dataset_info.DatasetInfo) -> None:
    """Writes every record once more, for random access, beside the sequential files.

    Args:
        info: of a dataset whose splits are written.
    """
    read = file_adapters.ADAPTER_FOR_FORMAT[SEQUENTIAL].make_tf_data
    write = file_adapters.ADAPTER_FOR_FORMAT[RANDOM_ACCESS].write_examples
    for split in info.splits.values():
        other = split.filename_template.replace(
            filetype_suffix=RANDOM_ACCESS.file_suffix
        )
        for source, target in zip(
            split.filepaths,
            other.sharded_filepaths(num_shards=split.num_shards),
            strict=True,
        ):
            write(target, enumerate(read(source).as_numpy_iterator()))
    if RANDOM_ACCESS not in info.alternative_file_formats:  # of data written over
        info.add_alternative_file_format(RANDOM_ACCESS)


def select(info: dataset_info.DatasetInfo, file_format: Any) -> None:
    """Has the next reader take its records from files of this format."""
    info.set_file_format(file_format, override=True, override_if_initialized=True)
