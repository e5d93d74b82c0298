"""Score the layers of a network for transfer: which one to retrain, and why.

Before it, the base network is tested on both systems. Exit code 1 where no layer is
recommended. The network is not changed.
"""

import argparse
from typing import Any

from keras_spectral_tl.cli._inputs import (
    add_model,
    add_out,
    add_reading,
    add_recipe,
    recipe_of,
    whole,
)
from keras_spectral_tl.cli._samples import DATA

EXAMPLE = (
    "score base.keras --base base.npz --target target.npz --num-samples 16 "
    "--out runs/mine"
)


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
    add_out(parser, "scores.json and what a report shows")


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Test the base network, score its layers, and keep what a report shows."""
    from keras_spectral_tl.cli import _folder

    folder, model, systems = _folder.opened(options)
    from keras_spectral_tl.scoring import score_layers

    parts, found = _folder.base_network(folder, model, systems)
    scores = score_layers(
        model,
        systems["base"].data,
        systems["target"].data,
        max_layers=options.max_layers,
        **recipe_of(options),
    )
    document = scores.to_dict()
    record = _folder.model_record(options, model, systems)
    _folder.keep(folder, "score", {"scores": document, **parts}, record)
    return int(scores.abstained), {**found, **document}


def text(document: Any) -> str:
    """Return the base network's figures, the layers in their order, and the reason."""
    from keras_spectral_tl.cli import _folder

    scorers = list(document["scores"])
    width = max(map(len, ["layer", *document["ranking"]]))
    lines = [_folder.base_line(document), ""]
    lines += ["layer".ljust(width) + "".join(f"{name:>24}" for name in scorers)]
    for layer in document["ranking"]:
        values = "".join(f"{document['scores'][s][layer]:24.4g}" for s in scorers)
        mark = "  recommended" if layer in document["recommended"] else ""
        lines.append(layer.ljust(width) + values + mark)
    return "\n".join([*lines, "", document["reason"]])
