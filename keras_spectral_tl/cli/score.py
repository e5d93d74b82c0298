"""Score the layers of a network for transfer: which one to retrain, and why.

Before it, the base network is tested on both systems. Exit code 1 where no layer is
recommended. The network is not changed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_spectral_tl.cli._inputs import (
    System,
    add_model,
    add_reading,
    add_recipe,
    read_model,
    read_systems,
    recipe_of,
    whole,
)
from keras_spectral_tl.cli._samples import DATA

EXAMPLE = (
    "score base.keras --base base.npz --target target.npz --num-samples 16 "
    "--out runs/mine"
)
_LEAST_CC = 0.5  # of a base network that has learned its own system
_LARGEST_RATIO = 10.0  # of the scales of the two systems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the network, the samples of both systems, and the folder."""
    add_model(parser)
    parser.add_argument("--base", required=True, metavar="DATA", help=DATA)
    parser.add_argument("--target", required=True, metavar="DATA", help="likewise")
    add_recipe(parser)
    add_reading(parser)
    parser.add_argument(
        "--max-layers",
        type=whole(1),
        default=1,
        metavar="N",
        help="most layers to recommend; each costs as much as all scores (default: 1)",
    )
    parser.add_argument(
        "--out",
        metavar="RUN_DIR",
        help="folder for scores.json and what a report shows",
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Test the base network, score its layers, and keep what a report shows."""
    from keras_spectral_tl.cli import _folder

    folder = _folder.prepared(options.out)
    _folder.refuse_other_model(folder, options.model)
    model = read_model(options.model, options.modules)
    systems = read_systems(model, options)
    from keras_spectral_tl.report import figures_row, system_record
    from keras_spectral_tl.scoring import score_layers

    rows = [
        figures_row("base", f"{role} samples", model, system.raw, system.statistics)
        for role, system in systems.items()
    ]
    warnings = _warnings([row["cc"] for row in rows], systems)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    scores = score_layers(
        model,
        systems["base"].data,
        systems["target"].data,
        max_layers=options.max_layers,
        **recipe_of(options),
    )
    document = scores.to_dict()
    parts = {
        "scores": document,
        "systems": {
            role: system_record(
                system.data, system.source, system.normalized_by, system.channels
            )
            for role, system in systems.items()
        },
        "a_priori": _folder.merged_rows(folder, rows),
    }
    record = _folder.model_record(options, model, systems)
    _folder.keep(folder, "score", parts, record)
    found = {"base_network": rows, "warnings": warnings, **document}
    return int(scores.abstained), found


def text(document: Any) -> str:
    """Return the base network's figures, the layers in their order, and the reason."""
    tested = [
        f"CC {row['cc']:.3f} on {row['data']}" for row in document["base_network"]
    ]
    scorers = list(document["scores"])
    width = max(map(len, ["layer", *document["ranking"]]))
    lines = [f"base network: {', '.join(tested)}", ""]
    lines += ["layer".ljust(width) + "".join(f"{name:>24}" for name in scorers)]
    for layer in document["ranking"]:
        values = "".join(f"{document['scores'][s][layer]:24.4g}" for s in scorers)
        mark = "  recommended" if layer in document["recommended"] else ""
        lines.append(layer.ljust(width) + values + mark)
    return "\n".join([*lines, "", document["reason"]])


def _warnings(cc: Sequence[float], systems: Mapping[str, System]) -> list[str]:
    """Return what speaks against scores of this network on these samples."""
    import numpy as np

    found = []
    if not cc[0] >= _LEAST_CC:
        found.append(
            f"the base network reaches CC {cc[0]:.2f} on its own base samples. Scores "
            "of a network that does not work there say little: check its training, the "
            "order of channels, and --normalize."
        )
    for side in ("x", "y"):
        base, target = (
            np.asarray(getattr(systems[role].raw, side), float)
            for role in ("base", "target")
        )
        spread = [a.reshape(-1, a.shape[-1]).std(axis=0) for a in (base, target)]
        for channel, (one, other) in enumerate(zip(*spread, strict=False)):
            if other > _LARGEST_RATIO * one or one > _LARGEST_RATIO * other:
                found.append(
                    f"{side} of the target has {other / one:.3g} times the standard "
                    f"deviation of the base in channel {channel}: check its units."
                )
    return found
