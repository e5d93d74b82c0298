"""The commands that show a network or a study: spectra and report."""

import argparse
from typing import Any

from keras_spectral_tl.cli._inputs import DATA, add_model, add_out, add_reading, whole

# What a network needs to have spectra of each kind.
_NEEDED = {
    "kernels": "convolutions",
    "activations": "layers with outputs (samples, ..., channels) of 1 to 3 axes",
}


class Spectra:
    """Show the spectra of a network: of its kernels, and of activations on samples."""

    example = "spectra base.keras --data target.npz --num-samples 16"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_model(parser)
        parser.add_argument("--data", metavar="DATA", help=DATA)
        parser.add_argument(
            "--num-points",
            type=whole(2),
            metavar="N",
            help="grid that the kernels of all layers are padded to (default: that on "
            "which each layer works)",
        )
        add_reading(parser, "of these", base=False)
        add_out(parser, "spectra.json")

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        from keras_spectral_tl.cli import _folder

        folder, model, systems = _folder.opened(options)
        from keras_spectral_tl.report import spectra_record

        runs = {system.source: (model, system.data[0]) for system in systems.values()}
        found = spectra_record({options.model: model}, runs, options.num_points)
        if not found:
            raise ValueError(
                f"{options.model} has no convolution, so it has no spectra of kernels; "
                "pass fields or profiles (samples, ..., channels) with --data for "
                "those of activations, if it has layers that keep their axes."
            )
        for kind, needed in _NEEDED.items():
            if kind not in found and (runs or kind == "kernels"):
                print(f"note: no spectra of {kind}, which need {needed}.")
        record = _folder.model_record(options, model, systems)
        parts = {"spectra": _folder.merged_spectra(folder, found)}
        _folder.keep(folder, "spectra", parts, record)
        return 0, found

    def text(self, document: Any) -> str:
        from keras_spectral_tl._results import text_table

        lines = []
        for kind, layers in document.items():
            rows = [["layer", "peak k", "mean, k <= peak", "mean, k > peak"]]
            for layer, curves in layers.items():
                for values in curves.values():
                    peak = max(range(len(values)), key=values.__getitem__)
                    means = _mean(values[: peak + 1]), _mean(values[peak + 1 :])
                    rows.append([layer, str(peak), *(f"{mean:.4g}" for mean in means)])
            title = f"{kind} (k: wavenumber; in the corners up to √(nx² + ny²)/2)"
            lines += ["", title, *text_table(rows)]
        return "\n".join(lines[1:])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


class Report:
    """Write the study in a folder as one HTML page that works offline.

    The page lists missing parts.
    """

    example = "report runs/demo"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "folder",
            metavar="RUN_DIR",
            help="what forecast, score, spectra, retrain or `make demo` wrote to",
        )
        parser.add_argument(
            "--out", metavar="FILE", help="page to write (default: RUN_DIR/report.html)"
        )

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        from keras_spectral_tl.report import Study, write_report

        path = write_report(options.folder, options.out)
        return 0, {
            "page": str(path),
            "bytes": path.stat().st_size,
            "missing": list(Study.read(options.folder).missing),
        }

    def text(self, document: Any) -> str:
        lacks = ", ".join(document["missing"]) or "nothing"
        size = document["bytes"] / 1e3
        return f"{document['page']} ({size:.0f} kB); missing: {lacks}"
