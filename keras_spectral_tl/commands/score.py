"""Score the layers of a network for transfer: which one to retrain, and why.

Exit code 1 where no layer is recommended. The network is not changed.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_spectral_tl.commands.model_file import read_model
from keras_spectral_tl.commands.options import DATA, add_model, add_reading, whole
from keras_spectral_tl.commands.run_directory import (
    keep,
    merged_rows,
    prepared,
    refuse_other_model,
)

NAME = "score"
EXAMPLE = (
    "score base.keras --base base.npz --target target.npz --num-samples 16 "
    "--out runs/mine"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the network, the samples of both systems, and the folder."""
    add_model(parser)
    parser.add_argument("--base", required=True, metavar="DATA", help=DATA)
    parser.add_argument("--target", required=True, metavar="DATA", help="likewise")
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
    """Score, and keep what a report shows."""
    folder = prepared(options.out)
    refuse_other_model(folder, options.model)
    model = read_model(options.model)
    from keras_spectral_tl.commands.systems import normalization_of, read_system
    from keras_spectral_tl.reporting.records import figures_row
    from keras_spectral_tl.scoring import score_layers

    base = read_system(model, options, options.base)
    target = read_system(model, options, options.target, options.num_samples)
    with _watched() as scorers:
        scores = score_layers(
            model,
            base.samples.data,
            target.samples.data,
            scorers,
            options.seed,
            options.max_layers,
        )
    document = scores.to_dict()
    parts = {
        "scores": document,
        "systems": {"base": base.record(), "target": target.record()},
        "a_priori": merged_rows(
            folder,
            [
                figures_row("base", name, model, system.samples.data)
                for name, system in (("base samples", base), ("target samples", target))
            ],
        ),
    }
    record = {
        **_source(options, model),
        "normalization": {
            "base": normalization_of(base),
            "target": normalization_of(target),
        },
    }
    keep(folder, NAME, parts, record)
    return int(scores.abstained), document


def text(document: Any) -> str:
    """The layers in their order, and the reason."""
    scorers = list(document["scores"])
    width = max(map(len, ["layer", *document["ranking"]]))
    lines = ["layer".ljust(width) + "".join(f"{name:>24}" for name in scorers)]
    for layer in document["ranking"]:
        values = "".join(f"{document['scores'][s][layer]:24.4g}" for s in scorers)
        mark = "  recommended" if layer in document["recommended"] else ""
        lines.append(layer.ljust(width) + values + mark)
    return "\n".join([*lines, "", document["reason"]])


def _source(options: argparse.Namespace, model: Any) -> dict[str, Any]:
    from keras_spectral_tl.commands.systems import model_record

    return {**model_record(options.model, model), "seed": options.seed}


@contextmanager
def _watched() -> Iterator[Any]:
    """The default scorers, each of which moves a progress bar when it is done."""
    from tqdm import tqdm

    from keras_spectral_tl.commands.watched_scorer import WatchedScorer
    from keras_spectral_tl.scoring import default_scorers

    scorers = default_scorers()
    with tqdm(total=len(scorers), desc="Scoring", unit=" scorers") as bar:
        yield [WatchedScorer(scorer, bar) for scorer in scorers]
