"""The whole job in a few minutes on a CPU: data, base network, forecast, transfer.

A network learns the subgrid forcing of turbulence forced at wavenumber 16. It is then
to work on turbulence forced at wavenumber 4, of which only 16 snapshots are given.
What should be retrained? The forecast and the scores of layers say it beforehand; the
sweep, which retrains every layer in turn, says whether they were right.

    python examples/quickstart.py [--quick] [--seed 0] [--data-dir data] [--out DIR]

With `--quick`, as in `make demo`, the snapshots of the target are from 3 trajectories
instead of 8, the base network trains half as long, and only what is retrained later is
forecast. The numbers in the documents are those without it.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
import tensorflow_datasets as tfds
from larger_networks import print_larger_networks

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl import plotting
from keras_spectral_tl.metrics import pattern_correlation
from keras_spectral_tl.report import (
    figures_row,
    picture_record,
    spectra_record,
    system_record,
)
from keras_spectral_tl.scoring import default_arms
from keras_spectral_tl.transfer import RetrainResult, SweepResult, retrain_all

BASE, TARGET = "mini_forced_re2e3_kf16", "mini_forced_re2e3_kf4"
NUM_TARGET = 16
BASE_EPOCHS = 40
CHANNELS = {"x": ["streamfunction", "vorticity"], "y": ["sgs_forcing"]}
RETRAIN = {"epochs": 60, "batch_size": 4}
QUICK_TRAJECTORIES = 3

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass
class System:
    """One system: normalized arrays of its splits, and what they were scaled with."""

    name: str
    train: Arrays
    test: Arrays
    normalization: turbulence_data.Normalization
    metadata: dict


class Stopwatch:
    """Wall seconds by stage, printed as each stage ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"-- {name} ...", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        print(f"   {name}: {self.seconds[name]:.1f} s", flush=True)


def load_system(
    name: str,
    data_dir: Path,
    num_train: int | None = None,
    num_trajectories: int | None = None,
) -> System:
    """Loads a system, making its data first if they are not there yet.

    The fields are scaled by the statistics of the train samples in use, so a target is
    normalized by its own few samples. Fewer trajectories to train on make it a dataset
    of its own, with the same trajectories to test on.
    """
    config: Any = name
    if num_trajectories is not None:
        flow = turbulence_data.named_flow(name)
        numbers = num_trajectories, *flow.num_trajectories[1:]
        config = turbulence_data.TurbulenceConfig(
            name=f"{name}_{num_trajectories}",
            ensemble=replace(flow, num_trajectories=numbers),
        )
    splits, info = tfds.load(
        "turbulence_data",
        builder_kwargs={"config": config},
        split=["train", "test"],
        data_dir=str(data_dir),
        with_info=True,
    )
    train, test = (list(tfds.as_numpy(split)) for split in splits)
    if num_train is not None:
        train = turbulence_data.few_shot(train, num_train)
    normalization = turbulence_data.Normalization.from_arrays(
        *turbulence_data.to_arrays(train)
    )
    return System(
        name,
        turbulence_data.to_arrays(train, normalization),
        turbulence_data.to_arrays(test, normalization),
        normalization,
        dict(info.metadata),
    )


def print_energy_levels(system: System) -> None:
    """Shows that the spin-up has reached a statistically steady state."""
    levels = system.metadata["energy_history"]
    before = np.mean([row["energy_end_of_spin_up"] for row in levels])
    after = np.mean([row["energy_sampling"] for row in levels])
    print(
        f"   {system.name}: energy {before:.3f} at the end of the spin-up, {after:.3f} "
        f"while sampling ({after / before - 1:+.1%}, {len(levels)} trajectories)"
    )


def train_base(data: Arrays, seed: int, quick: bool = False) -> keras.Model:
    """Plain Keras: compile and fit."""
    epochs = BASE_EPOCHS // 2 if quick else BASE_EPOCHS
    keras.utils.set_random_seed(seed)
    model = kst.build_sgs_cnn(data[0].shape[1:], num_layers=6, num_filters=16)
    steps = epochs * -(-len(data[0]) // 8)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss="mse")
    model.fit(*data, batch_size=8, epochs=epochs, verbose=0)
    return model


def forecast_ways(
    model: keras.Model, base: Arrays, target: Arrays, quick: bool
) -> kst.Forecast:
    """Forecasts all ways to retrain, or with `quick` those that `compare` tries."""
    arms = None
    if quick:
        labels = ["unchanged", "output gain", "all layers", "from scratch"]
        labels += kst.layers_with_weights(model)
        arms = [arm for arm in default_arms(model) if arm.label in labels]
    return kst.forecast(model, base, target, arms, **RETRAIN)


def correlation(model: keras.Model, data: Arrays) -> float:
    x, y = data
    return pattern_correlation(y, model.predict(x, batch_size=16, verbose=0))


def compare(
    model: keras.Model, target: System, seed: int
) -> tuple[dict[str, RetrainResult], dict[str, dict]]:
    """Retrains each layer alone, then the baselines; tests all of them."""
    options = {**RETRAIN, "seed": seed}
    results, rows = {}, {}
    for layer in kst.layers_with_weights(model):
        results[layer] = kst.retrain(model, target.train, layer, **options)
        rows[layer] = results[layer].row(target.test)
        print(f"   {layer}: CC {rows[layer]['cc']:.3f}")
    results["all layers"] = retrain_all(model, target.train, **options)
    results["output gain"] = kst.fit_output_gain(model, target.train)
    results["from scratch"] = kst.from_scratch(model, target.train, **options)
    for name in ("all layers", "output gain", "from scratch"):
        rows[name] = results[name].row(target.test)
    return results, rows


def compare_forecast(
    forecast: kst.Forecast, before: float, correlations: dict[str, float]
) -> dict[str, dict]:
    """What was forecast of each arm, and what it gave where it was retrained.

    The best arm was retrained by the recipe of the forecast, all others by `RETRAIN`.
    """
    best = forecast.best_row.label
    measured = {**correlations, "unchanged": before}
    measured[best] = correlations.get(f"{best}, as forecast", measured.get(best))
    return {
        row.label: {
            "predicted": row.correlation,
            "interval": [row.correlation_low, row.correlation_high],
            "measured": measured.get(row.label),
        }
        for row in forecast.rows
    }


def print_forecast(forecast: kst.Forecast, compared: dict[str, dict]) -> None:
    print(f"\n{'':16}{'forecast':>9}   90 % interval    measured")
    for label, row in compared.items():
        low, high = row["interval"]
        cc = row["measured"]
        given = "       -" if cc is None else f"{cc:8.3f}"
        mark = "  to be chosen" if label == forecast.best_row.label else ""
        predicted = f"{row['predicted']:9.3f}   {low:5.3f} to {high:5.3f}"
        print(f"{label:16}{predicted}    {given}{mark}")
    print(f"\n{forecast.reason}")


def check_nothing_else_moved(results: dict[str, RetrainResult], layers: list[str]):
    """Every frozen layer has the same SHA-256 as before, every trained one another."""
    for layer in layers:
        if results[layer].changed != (layer,):
            raise RuntimeError(f"{layer}: changed {results[layer].changed}")


def summary_of(
    base_cc: float,
    before: float,
    correlations: dict[str, float],
    scores: kst.LayerScores,
    seconds: dict[str, float],
) -> dict:
    sweep = {name: cc for name, cc in correlations.items() if name in scores.ranking}
    best = max(sweep, key=sweep.__getitem__)
    chosen = scores.recommended[0] if scores.recommended else None
    return {
        "base_cc": base_cc,
        "target_cc_before": before,
        "sweep": sweep,
        "all_layers_cc": correlations["all layers"],
        "gain_only_cc": correlations["output gain"],
        "scratch_cc": correlations["from scratch"],
        "recommended_layer": chosen,
        "recommended_cc": sweep[chosen] if chosen else None,
        "best_layer": best,
        "regret": sweep[best] - sweep[chosen] if chosen else None,
        "reason": scores.reason,
        "scores": scores.scores,
        "ranking": list(scores.ranking),
        "wall_seconds": seconds,
    }


def print_table(summary: dict) -> None:
    print("\npattern correlation (CC) with the true sgs_forcing, test trajectories")
    print(f"{'':16}{'CC':>7}   " + "".join(f"{s:>24}" for s in summary["scores"]))
    print(f"{'base system':16}{summary['base_cc']:7.3f}")
    print(f"{'target, before':16}{summary['target_cc_before']:7.3f}")
    for layer, cc in summary["sweep"].items():
        row = "".join(f"{v[layer]:24.4f}" for v in summary["scores"].values())
        mark = "recommended" if layer == summary["recommended_layer"] else ""
        mark += ", best" if layer == summary["best_layer"] else ""
        print(f"{layer:16}{cc:7.3f}   {row}  {mark.lstrip(', ')}")
    for name in ("all_layers", "gain_only", "scratch"):
        print(f"{name:16}{summary[name + '_cc']:7.3f}")
    print(f"\n{summary['reason']}")
    if summary["regret"] is not None:
        print(f"regret of the recommendation: {summary['regret']:.4f} in CC")


def draw(
    out: Path,
    base: System,
    target: System,
    networks: dict[str, keras.Model],
    scores: kst.LayerScores,
    correlations: dict[str, float],
) -> None:
    """Writes the figures of the study as PNG files."""
    x, y = target.test
    layers = kst.layers_with_weights(networks["base"])
    sweep = {layer: correlations[layer] for layer in layers}
    figures = {
        "fields": plotting.plot_fields(
            {**first_fields("base", base), **first_fields("target", target)},
            "standard deviations",
        ),
        "energy_spectra": plotting.plot_energy_spectra(
            {
                label: np.asarray(system.metadata["spectra"]["energy"])
                for label, system in (("base", base), ("target", target))
            }
        ),
        "kernel_spectra": kst.kernel_spectra(networks["base"], x.shape[1]).plot(),
        "activation_spectra": plotting.plot_activation_spectra(
            activation_panels(networks, base.test[0], x)
        ),
        "scores_and_sweep": told_and_measured(scores.scores, sweep),
        "predictions": plotting.plot_predictions(
            y[:3],
            networks["retrained"].predict(x[:3], verbose=0),
            title=f"three target snapshots, standard deviations; {scores.ranking[0]} "
            f"retrained, mean CC {sweep[scores.ranking[0]]:.2f}",
        ),
    }
    for name, axes in figures.items():
        plotting.save_figure(axes, out / f"{name}.png")


def told_and_measured(
    scores: dict[str, dict[str, float]], sweep: dict[str, float]
) -> list[Any]:
    """Scores against the sweep, with words for those who know neither."""
    (axes,) = plotting.plot_scores_against_sweep(scores, sweep)
    axes.set(
        title="Which layer should be retrained?",
        xlabel="told before: share of the error\nthat retraining the layer removes",
        ylabel="measured: correlation with the\ntruth after retraining the layer",
    )
    return [axes]


def first_fields(role: str, system: System) -> dict[str, np.ndarray]:
    """The first test snapshot of a system, labelled by its forcing wavenumber."""
    x, y = system.test
    label = f"{role} (forced at k = {system.name.split('_kf')[-1]})"
    return {
        f"vorticity, {label}": x[0, ..., 1],
        f"subgrid forcing, {label}": y[0, ..., 0],
    }


def activation_panels(
    networks: dict[str, keras.Model], base_x: np.ndarray, target_x: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Spectra before the activation: base data and target data, before and after."""
    runs = {
        "base": (networks["base"], base_x),
        "target": (networks["base"], target_x),
        "retrained": (networks["retrained"], target_x),
    }
    spectra = {
        label: kst.activation_spectra(model, x[:16]).pre_activation
        for label, (model, x) in runs.items()
    }
    return {
        layer: {label: spectra[label][layer] for label in runs}
        for layer in spectra["base"]
    }


def study_of(
    base: System,
    target: System,
    model: keras.Model,
    scores: kst.LayerScores,
    forecast: kst.Forecast,
    results: dict[str, RetrainResult],
    rows: dict[str, dict],
) -> kst.Study:
    """All that a report shows; the retrained layer is the best-scored one."""
    retrained = results[scores.ranking[0]]
    sweep = [rows[layer] for layer in kst.layers_with_weights(model)]
    systems = {"base": base, "target": target}
    return kst.Study(
        title=f"From {base.name} to {target.name}",
        systems={
            role: system_record(
                system.train, system.name, "its own train samples", CHANNELS
            )
            for role, system in systems.items()
        },
        a_priori=figures_of(base, target, model, results),
        forecast=forecast.to_dict(),
        scores=scores.to_dict(),
        sweep=SweepResult(tuple(sweep)).to_dict(),
        retraining=retrained.to_dict(),
        spectra=spectra_record(
            {"before": model, "after": retrained.model},
            {
                "base": (model, base.test[0]),
                "target": (model, target.test[0]),
                "target, retrained": (retrained.model, target.test[0]),
            },
        ),
        pictures=picture_record(
            {"base": base.test, "target": target.test},
            {"before": model, f"after: {retrained.label} retrained": retrained.model},
            CHANNELS,
        ),
        provenance={f"{r} data, as made": data_record(s) for r, s in systems.items()},
    )


def figures_of(
    base: System, target: System, model: keras.Model, results: dict[str, RetrainResult]
) -> list[dict]:
    """Every network on test trajectories."""
    networks = {"base": model, **{name: r.model for name, r in results.items()}}
    return [
        figures_row("base", "base, test trajectories", model, base.test),
        *(
            figures_row(name, "target, test trajectories", network, target.test)
            for name, network in networks.items()
        ),
    ]


def data_record(system: System) -> dict:
    names = ("content_sha256", "config_hash", "pi_convention", "versions")
    return {
        "dataset": system.name,
        **{name: system.metadata[name] for name in names},
        "normalization": asdict(system.normalization),
    }


def show(study: kst.Study, out: Path) -> None:
    """Writes the study, and its page where Jinja2 is installed."""
    study.write(out)
    try:
        page = kst.write_report(study, out / "report.html")
        print(f"   the whole study on one page: {page}")
    except ImportError as error:
        print(f"   no report.html: {error}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="as in `make demo`")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    for name in ("tensorflow", "absl"):  # they warn of every new model's prediction
        logging.getLogger(name).setLevel(logging.ERROR)
    options.out.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()

    with watch.stage("data"):
        base = load_system(BASE, options.data_dir)
        trajectories = QUICK_TRAJECTORIES if options.quick else None
        target = load_system(TARGET, options.data_dir, NUM_TARGET, trajectories)
        print_energy_levels(base)
        print_energy_levels(target)
    with watch.stage("base network"):
        model = train_base(base.train, options.seed, options.quick)
        base_cc = correlation(model, base.test)
        before = correlation(model, target.test)
        print(f"   CC {base_cc:.3f} on the base system, {before:.3f} on the target")
    with watch.stage("scores"):
        some_of_base = tuple(part[::8] for part in base.train)  # of every trajectory
        scores = kst.score_layers(model, some_of_base, target.train, **RETRAIN)
        print(f"   {scores.reason}")
    with watch.stage("forecast"):
        forecast = forecast_ways(model, some_of_base, target.train, options.quick)
    with watch.stage("retraining"):
        results, rows = compare(model, target, options.seed)
        check_nothing_else_moved(results, list(kst.layers_with_weights(model)))
        print("   frozen layers unchanged in every retraining (SHA-256)")
        if forecast.recipe is not None:
            name = f"{forecast.best_row.label}, as forecast"
            recipe = {**forecast.recipe, "seed": options.seed}
            results[name] = kst.retrain(model, target.train, **recipe)
            rows[name] = results[name].row(target.test)
        correlations = {name: row["cc"] for name, row in rows.items()}
        compared = compare_forecast(forecast, before, correlations)
    with watch.stage("figures"):
        networks = {"base": model, "retrained": results[scores.ranking[0]].model}
        draw(options.out, base, target, networks, scores, correlations)
        measured = {k: row["measured"] for k, row in compared.items()}
        drawn = forecast.plot({k: cc for k, cc in measured.items() if cc is not None})
        plotting.save_figure(drawn, options.out / "forecast.png")
        study = study_of(base, target, model, scores, forecast, results, rows)
        results[scores.ranking[0]].save(options.out / "retrained")
        show(study, options.out)

    normalization = {s.name: asdict(s.normalization) for s in (base, target)}
    summary = {
        **summary_of(base_cc, before, correlations, scores, watch.seconds),
        "forecast": compared,
        "forecast_best": forecast.best_row.label,
        "normalization": normalization,
        "seed": options.seed,
    }
    model.save(options.out / "base.keras")
    document = json.dumps(summary, indent=2) + "\n"
    (options.out / "summary.json").write_text(document)
    print_table(summary)
    print(f"\nsummary.json and figures: {options.out}/")
    print_forecast(forecast, compared)
    print_larger_networks()


if __name__ == "__main__":
    main()
