"""Show the spectra of a network: kernels by layer, and activations on samples."""

import argparse
from typing import Any

from keras_spectral_tl.commands.model_file import read_model
from keras_spectral_tl.commands.options import DATA, add_model, add_reading, whole
from keras_spectral_tl.commands.run_directory import (
    keep,
    merged_spectra,
    prepared,
    refuse_other_model,
)

NAME = "spectra"
EXAMPLE = "spectra base.keras --data target.npz --num-samples 16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the network, the samples and the grid."""
    add_model(parser)
    parser.add_argument("--data", metavar="DATA", help=DATA)
    parser.add_argument(
        "--num-points",
        type=whole(2),
        metavar="N",
        help="grid that kernels are padded to (default: that of the network's inputs)",
    )
    add_reading(parser)
    parser.add_argument("--out", metavar="RUN_DIR", help="folder for spectra.json")


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Compute the spectra."""
    folder = prepared(options.out)
    refuse_other_model(folder, options.model)
    model = read_model(options.model)
    from keras_spectral_tl.commands.systems import model_record, read_system
    from keras_spectral_tl.reporting.records import spectra_record

    runs = {}
    if options.data is not None:
        system = read_system(model, options, options.data, options.num_samples)
        runs[options.data] = (model, system.samples.data.x)
    found = spectra_record({options.model: model}, runs, options.num_points)
    if not found:
        raise ValueError(
            f"{options.model} has no convolution, so it has no spectra of kernels; "
            "pass fields with --data for those of activations."
        )
    record = model_record(options.model, model)
    keep(folder, NAME, {"spectra": merged_spectra(folder, found)}, record)
    return 0, found


def text(document: Any) -> str:
    """One line a layer: where its spectrum is largest."""
    lines = []
    for kind, layers in document.items():
        width = max(map(len, layers))
        lines += ["", f"{kind}: largest at wavenumber, mean up to there and beyond"]
        for layer, curves in layers.items():
            for values in curves.values():
                peak = max(range(len(values)), key=values.__getitem__)
                below, above = _mean(values[: peak + 1]), _mean(values[peak + 1 :])
                lines.append(
                    f"{layer:{width}}  {peak:4d}  {below:10.4g}  {above:10.4g}"
                )
    return "\n".join(lines[1:])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
