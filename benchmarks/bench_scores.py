"""Scores of layers against measured sweeps: which scorer tells the layer to retrain?

    python benchmarks/bench_scores.py sweeps [--data-dir data]   measure, for hours
    python benchmarks/bench_scores.py scores [--kinds turbulence ks planted]
    python benchmarks/bench_scores.py repeats                    how sure a sweep is
    python benchmarks/bench_scores.py table                      Markdown, in seconds

Every stage goes on where it was stopped. Sweeps and scores are kept in
`benchmarks/scores/*.json`, which are in the repository, so `table` needs nothing else;
base networks and fields are made again in `--out` where they are missing.
"""

import argparse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kuramoto_sivashinsky_sweeps as ks
import numpy as np
import score_planted
import score_settings
import scorers
from score_sweeps import Workshop, read_json, retrain_options, write_json
from score_table import PLANTED, print_tables

from keras_spectral_tl import scoring
from keras_spectral_tl.transfer import Samples

KEPT = Path(__file__).with_name("scores")
NUM_BASE, NUM_TEST = 24, 50

SCORERS: tuple[scoring.Scorer, ...] = (
    scoring.HeldOutRetraining(),
    scorers.HeldOutLeastSquares(),
    scorers.NewtonGain(),
    scorers.GradientNorm(),
    scorers.GradientSNR(),
    scorers.FisherTrace(),
    scorers.SpectralShiftScore(),
    scorers.ActivationEvidence(),
    scorers.SuccessiveHalving(),
    scorers.PowerLawAlpha(),
    scorers.FirstLayer(),
    scorers.LastLayer(),
    scorers.FixedDepth(2),
    scorers.RandomOrder(),
)


@dataclass(frozen=True)
class Task:
    """One setting to be scored.

    Attributes:
        kind: "turbulence", "ks" or "planted".
        label: of the setting.
        load: returns model, base samples, target samples, planted layer or None.
        epochs: of each retraining of the sweep; 0 where there is none.
    """

    kind: str
    label: str
    load: Callable[[], tuple[Any, Any, Any, str | None]]
    epochs: int = 0


def turbulence_tasks(workshop: Workshop) -> Iterator[Task]:
    """The settings whose sweep is known."""
    measured = read("turbulence_sweeps")

    def load(setting: score_settings.Setting) -> tuple[Any, Any, Any, Any]:
        model, base, normalization = workshop.base(setting.base, setting.seed)
        target, _ = workshop.target(setting, normalization)
        return model, [part[:NUM_BASE] for part in base], target, None

    for setting in score_settings.settings():
        if setting.label in measured:
            epochs = retrain_options(setting)["epochs"]
            yield Task("turbulence", setting.label, lambda s=setting: load(s), epochs)


def ks_tasks() -> Iterator[Task]:
    """The Kuramoto-Sivashinsky settings whose sweep is known."""
    workshop = ks.Workshop()
    measured = workshop.sweeps()

    def load(setting: Any) -> tuple[Any, Any, Any, Any]:
        model, base = workshop.base(setting.base, setting.seed)
        target, _ = workshop.target(setting)
        return model, [part[:NUM_BASE] for part in base], target, None

    for setting in ks.settings():
        if setting.label in measured:
            epochs = ks.retrain_options(setting)["epochs"]
            yield Task("ks", setting.label, lambda s=setting: load(s), epochs)


def planted_tasks() -> Iterator[Task]:
    """The planted layers; the sweep is known by construction."""

    def load(setting: score_planted.PlantedSetting) -> tuple[Any, Any, Any, Any]:
        made = score_planted.plant(setting)
        return made.model, made.base, made.target, made.layer

    for setting in score_planted.planted_settings():
        yield Task("planted", setting.label, lambda s=setting: load(s))


def score(
    task: Task, scorers: tuple[scoring.Scorer, ...], done: dict[str, Any]
) -> None:
    """Adds the scores of one setting that are not there yet."""
    missing = [scorer for scorer in scorers if scorer.name not in done]
    if not missing:
        return
    model, base, target, planted = task.load()
    if planted is not None:
        done[PLANTED] = {"values": {planted: 1.0}, "cost": 0.0}
    samples = [Samples.of(tuple(data)) for data in (base, target)]
    sweep = float("nan")
    if task.epochs:
        cost = scorers.sweep_cost(model, len(samples[1]), NUM_TEST, task.epochs)
        sweep = cost.total
    for scorer in missing:
        scored = scorer(model, *samples, generator_of(scorer, task))
        done[scorer.name] = {
            "values": {name: float(value) for name, value in scored.values.items()},
            "cost": scored.cost.total / sweep,
        }


def generator_of(scorer: scoring.Scorer, task: Task) -> np.random.Generator:
    """One for all settings; but one random order for all would be a rule of its own."""
    if isinstance(scorer, scorers.RandomOrder):
        return np.random.default_rng(zlib.crc32(task.label.encode()))
    return np.random.default_rng(0)


def read(name: str) -> dict[str, Any]:
    """What is kept under a name."""
    return read_json(KEPT / f"{name}.json")


def measure_sweeps(workshop: Workshop) -> None:
    """Retrains every layer in every setting."""
    done = read("turbulence_sweeps")
    for setting in score_settings.settings():
        if setting.label not in done:
            done[setting.label] = workshop.sweep(setting)
            write_json(KEPT / "turbulence_sweeps.json", done)
            print(setting.label, flush=True)


def repeat_sweeps(workshop: Workshop) -> None:
    """Sweeps with 16 samples once more, as the best that any score could know."""
    scores, measured = read("turbulence_scores"), read("turbulence_sweeps")
    for setting in score_settings.settings():
        if setting.num_target != 16 or setting.label not in measured:
            continue
        done = scores.setdefault(setting.label, {})
        if "repeated_sweep" not in done:
            values = workshop.repeated(setting)
            done["repeated_sweep"] = {"values": values, "cost": 1.0}
            write_json(KEPT / "turbulence_scores.json", scores)
            print(setting.label, flush=True)


def compute_scores(workshop: Workshop, kinds: list[str], names: list[str]) -> None:
    """Scores every setting with every scorer."""
    makers = {
        "turbulence": lambda: turbulence_tasks(workshop),
        "ks": ks_tasks,
        "planted": planted_tasks,
    }
    chosen = tuple(s for s in SCORERS if not names or s.name in names)
    for kind in kinds:
        done = read(f"{kind}_scores")
        for task in makers[kind]():
            score(task, chosen, done.setdefault(task.label, {}))
            write_json(KEPT / f"{kind}_scores.json", done)
            print(kind, task.label, flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=("sweeps", "repeats", "scores", "table"))
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench_scores"))
    kinds = ("turbulence", "ks", "planted")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--scorers", nargs="*", default=[], help="names; all if none")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    KEPT.mkdir(exist_ok=True)
    if options.stage == "table":
        print_tables(read)
        return
    workshop = Workshop(options.data_dir, options.out)
    if options.stage == "sweeps":
        measure_sweeps(workshop)
    elif options.stage == "repeats":
        repeat_sweeps(workshop)
    else:
        compute_scores(workshop, options.kinds, options.scorers)


if __name__ == "__main__":
    main()
