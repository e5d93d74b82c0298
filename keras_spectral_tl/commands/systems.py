"""One system as the commands see it: samples, normalized, with their record."""

import argparse
import dataclasses
import hashlib
import pathlib
from typing import Any

import keras

from keras_spectral_tl import freezing
from keras_spectral_tl.commands.samples import NamedSamples, read_samples
from keras_spectral_tl.reporting.records import system_record
from keras_spectral_tl.transfer._normalization import ChannelStatistics
from keras_spectral_tl.transfer.provenance import plain, versions


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """Samples as the network gets them, and what they were normalized by."""

    samples: NamedSamples
    statistics: ChannelStatistics | None

    def record(self) -> dict[str, Any]:
        """What a report shows of it."""
        how = "nothing" if self.statistics is None else "its own samples"
        return system_record(self.samples.data, self.samples.source, how)


def read_system(
    model: keras.Model,
    options: argparse.Namespace,
    name: str,
    num_samples: int | None = None,
) -> System:
    """Read the samples of a system and normalize them as the options say.

    Raises:
        FileNotFoundError, KeyError, ValueError: As `read_samples` and `check_inputs`.
    """
    samples = read_samples(name, options.data_dir, num_samples)
    check_inputs(model, samples)
    if options.normalize == "none":
        return System(samples, None)
    statistics = ChannelStatistics.of(samples.data, source=name)
    return System(samples.normalized(statistics), statistics)


def check_inputs(model: keras.Model, samples: NamedSamples) -> None:
    """Refuse samples of another shape than the network takes.

    Raises:
        ValueError: If they are.
    """
    wanted = getattr(model, "input_shape", None)
    given = samples.data.x.shape
    if not isinstance(wanted, tuple):  # several inputs, or known by calling only
        return
    fits = len(wanted) == len(given) and all(
        size in (None, number)
        for size, number in zip(wanted[1:], given[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"The network takes inputs of shape {wanted[1:]}; x of {samples.source} "
            f"has samples of shape {given[1:]}."
        )


def normalization_of(system: System) -> Any:
    """The statistics as plain values."""
    return "none" if system.statistics is None else plain(system.statistics)


def model_record(path: str, model: keras.Model) -> dict[str, Any]:
    """Where a network comes from, and what decides its outputs."""
    return {
        "model": path,
        "model_sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
        "layer_sha256": freezing.layer_hashes(model),
        "backend": keras.backend.backend(),
        "versions": versions(),
    }
