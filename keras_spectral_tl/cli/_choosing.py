"""The commands that recommend what to retrain: forecast and score."""

import argparse
import math
import sys
from collections.abc import Mapping
from typing import Any

from keras_spectral_tl.cli._inputs import (
    add_model,
    add_out,
    add_reading,
    add_recipe,
    add_systems,
    fraction,
    numbers_of,
    positive,
    recipe_of,
    whole,
)

_EFFORT = ("steps", "epochs", "batch_size", "learning_rate")


class Forecast:
    """Forecast how well each way to retrain a network will do, before any retraining.

    Ways are: output gain, biases, each layer, several or all of them, all pulled to
    their initial weights (L2-SP), a low-rank update, new weights. Shown are the
    predicted correlation on unseen target samples, the correlation left on the base
    system, and the learning rate to use. Exit code 1 if nothing should be retrained.
    The network is not changed.
    """

    example = (
        "forecast base.keras --base base.npz --target target.npz --num-samples 16 "
        "--steps 500 --out runs/mine"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_model(parser)
        add_systems(parser, "for the skill left there")
        length = parser.add_mutually_exclusive_group()
        length.add_argument(
            "--steps",
            type=whole(1),
            metavar="N",
            help="training steps of the retraining (default: 500)",
        )
        length.add_argument(
            "--epochs", type=whole(1), metavar="N", help="epochs instead of steps"
        )
        parser.add_argument(
            "--batch-size", type=whole(1), metavar="N", help="default: 8"
        )
        parser.add_argument(
            "--learning-rate",
            type=positive,
            metavar="RATE",
            help="learning rate of Adam (default: chosen for each way)",
        )
        _add_groups(parser)
        parser.add_argument(
            "--keep",
            type=fraction,
            default=0.0,
            metavar="SHARE",
            help="weight of the base correlation in the choice, 0 to 1 (default: 0)",
        )
        parser.add_argument(
            "--progress",
            action="store_true",
            help="print a line on stderr for each trial",
        )
        add_reading(parser)
        add_out(parser, "forecast.json and what a report shows")

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        if options.keep and options.base is None:
            raise ValueError("--keep needs --base DATA.")
        from keras_spectral_tl.cli import _folder

        folder, model, systems = _folder.opened(options)
        from keras_spectral_tl.cli._samples import read_groups
        from keras_spectral_tl.scoring import forecast

        groups = read_groups(options.target, options.groups, options.num_samples)
        record = _folder.model_record(options, model, systems)
        _folder.refuse_other_samples(folder, "forecast", record)
        parts, found = _folder.base_network(folder, model, systems)
        chosen = {name: getattr(options, name) for name in _EFFORT}
        result = forecast(
            model,
            systems["base"].data if "base" in systems else None,
            systems["target"].samples,
            seed=options.seed,
            groups=groups,
            keep=options.keep,
            progress=_told if options.progress else None,
            **{name: value for name, value in chosen.items() if value is not None},
            **systems["target"].loss,
        )
        document = result.to_dict()
        _folder.keep(folder, "forecast", {"forecast": document, **parts}, record)
        return int(result.recipe is None), {**found, **document}

    def text(self, document: Any) -> str:
        from keras_spectral_tl._results import text_table

        head = "arm", "correlation", "90 % interval", "on the base", "weights", "rate"
        rows = [[*head, ""]]
        for label, row in document["arms"].items():
            base = row["base_correlation"]
            rows.append(
                [
                    label,
                    f"{row['correlation']:.3f}",
                    f"{row['correlation_low']:.3f} to {row['correlation_high']:.3f}",
                    "-" if base is None or math.isnan(base) else f"{base:.3f}",
                    f"{row['parameters']:,d}",
                    f"{row['learning_rate']:.2g}",
                    "<- best" if label == document["best"] else "",
                ]
            )
        lines = [_base_line(document), "", document["reason"], ""]
        return "\n".join([*lines, *text_table(rows)])


def _base_line(document: Mapping[str, Any]) -> str:
    """Return the correlations of the base network as one line of text."""
    tested = [
        f"CC {row['cc']:.3f} on {row['data']}" for row in document["base_network"]
    ]
    return f"base network: {', '.join(tested)}"


def _told(row: Mapping[str, Any]) -> None:
    place = f"{row['done']}/{row['total']}"
    told = f"{place:>7}  {row['arm']}  CC {row['correlation']:.3f}"
    print(told, file=sys.stderr, flush=True)


def _add_groups(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--groups",
        metavar="NAME",
        help="array of the target's npz file with a group label for each sample: no "
        "group is both fitted and tested (default: trajectory, also of a dataset, if "
        "there are two or more)",
    )


class Score:
    """Score the layers of a network for transfer: which one to retrain, and why.

    The base network is first tested on both systems. Exit code 1 if no layer is
    recommended. The network is not changed.
    """

    example = (
        "score base.keras --base base.npz --target target.npz --num-samples 16 "
        "--out runs/mine"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_model(parser)
        add_systems(parser)
        add_recipe(parser)
        _add_groups(parser)
        add_reading(parser)
        parser.add_argument(
            "--max-layers",
            type=whole(1),
            default=1,
            metavar="N",
            help="most layers to recommend; each further one costs one to two times as "
            "much as all scores (default: 1)",
        )
        add_out(parser, "scores.json and what a report shows")

    def run(self, options: argparse.Namespace) -> tuple[int, Any]:
        from keras_spectral_tl.cli import _folder

        folder, model, systems = _folder.opened(options)
        from keras_spectral_tl.cli._samples import read_groups
        from keras_spectral_tl.scoring import score_layers

        groups = read_groups(options.target, options.groups, options.num_samples)
        record = _folder.model_record(options, model, systems)
        _folder.refuse_other_samples(folder, "score", record)
        parts, found = _folder.base_network(folder, model, systems)
        scores = score_layers(
            model,
            systems["base"].data,
            systems["target"].samples,
            max_layers=options.max_layers,
            groups=groups,
            **recipe_of(numbers_of(options), options.seed),
            **systems["target"].loss,
        )
        document = scores.to_dict()
        _folder.keep(folder, "score", {"scores": document, **parts}, record)
        return int(scores.abstained), {**found, **document}

    def text(self, document: Any) -> str:
        from keras_spectral_tl._results import text_table

        scores = document["scores"]
        rows = [["layer", *scores, ""]]
        for layer in document["ranking"]:
            mark = "recommended" if layer in document["recommended"] else ""
            values = (f"{by_layer[layer]:.4g}" for by_layer in scores.values())
            rows.append([layer, *values, mark])
        lines = [_base_line(document), "", *text_table(rows)]
        return "\n".join([*lines, "", document["reason"]])
