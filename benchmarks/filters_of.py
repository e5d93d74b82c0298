"""Retraining in the span of six filters against whole layers, 1 to 64 samples.

The mini tier, k_f 16 to 4, the target normalized by its few samples, 240 steps of Adam
of two samples (of one where there is one), the rate falling to 0 as a cosine. Three
base networks: those of benchmarks/forecasts.py of seeds 0 and 3, and that of the model
zoo, another training, which goes with seed 7 here.

Every arm has its own rate for each number of samples, of `RATES`, chosen with seed 0 by
the correlation on 32 other training samples of the target. Seeds 3 and 7 (of base
network, choice of samples, random filters and order of batches) choose nothing.
Reported: correlation and spectrum RMSE on every third of the 50 test samples, of which
no choice is made. (In the first table rates were chosen with 16 samples only, as had
been written down before: with one sample those of the filters were far too high, see
docs/explanation.md. The lowest rates were added then, and the highest of filters after
the first arm had chosen the largest of three, when batches were of four samples.)

    python benchmarks/filters_of.py --data data --out runs/filters

Results that are in the output directory already are not made again.
"""

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from score_settings import Setting
from score_sweeps import Arrays, Workshop, opened, read_json, write_arrays, write_json

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl import spectra
from keras_spectral_tl.freezing import FiltersOf
from keras_spectral_tl.metrics import pattern_correlation

RATES = {"filters": (3e-4, 1e-3, 3e-3, 1e-2), "layers": (1e-4, 3e-4, 1e-3, 3e-3)}
NUMBERS, KEPT = (1, 4, 16, 64), 16
SEEDS = (0, 3, 7)
STEPS = 240
HELD_OUT = slice(128, 160)  # of the nested order; the few are its first
NUM_FILTERS = 6
CONTROL = "random filters"
ARMS = ("smooth filters", CONTROL, "conv_2", "all layers")
ZOO = Path(__file__).parents[1] / "examples/model_zoo/mini_k25_to_k4/weights.npz"


def part_of(arm: str, seed: int) -> Any:
    """The part of the network that an arm retrains."""
    if arm == "smooth filters":
        return FiltersOf(None, "smooth", number=NUM_FILTERS)
    if arm == "random filters":
        return FiltersOf(
            None, np.random.default_rng(seed).normal(size=(NUM_FILTERS, 5, 5))
        )
    return None if arm == "all layers" else arm


def rates_of(arm: str) -> tuple[float, ...]:
    """The rates to choose from."""
    return RATES["filters" if "filters" in arm else "layers"]


def base_network(workshop: Workshop, seed: int) -> keras.Model:
    """The base network that goes with a seed."""
    if seed != 7:
        return workshop.base("kf16", seed)[0]
    model = kst.build_sgs_cnn((64, 64, 2), num_layers=6, num_filters=16)
    return with_weights(model, ZOO)


def with_weights(model: keras.Model, path: Path) -> keras.Model:
    """The model, its weights read from a file of arrays in their order."""
    with np.load(path) as file:
        model.set_weights([file[str(i)] for i in range(len(file.files))])
    return model


def kept_weights(workshop: Workshop, seed: int, rate: float) -> Path:
    """Where the network is kept of which conv_2 was retrained on 16 samples."""
    return workshop.out / f"filters_of-conv_2-seed{seed}-{rate:g}.npz"


def data_of(workshop: Workshop, num_target: int, seed: int) -> dict[str, Arrays]:
    """Few samples, samples to choose by and test samples, in units of the few."""
    setting = Setting("kf16", "kf4", "own", num_target, seed)
    few, test = workshop.target(setting, None)
    fields = workshop.fields("kf4")
    order = np.roll(np.arange(len(fields["x"])), -67 * seed)  # as in Workshop.target
    x, y = (fields[name][order] for name in "xy")
    few_of_it = x[:num_target], y[:num_target]
    statistics = turbulence_data.Normalization.from_arrays(*few_of_it)
    held_out = statistics.normalize(x[HELD_OUT], y[HELD_OUT])
    some = test[0][::3], test[1][::3]
    return {"few": few, "held out": held_out, "test": some}


def retrained(
    model: keras.Model, part: Any, rate: float, few: Arrays, seed: int
) -> kst.transfer.RetrainResult:
    """Retrain a part at a rate: `STEPS` steps of two samples, or of one."""
    batch = min(2, len(few[0]))
    schedule = keras.optimizers.schedules.CosineDecay(rate, STEPS)
    return kst.retrain(
        model,
        few,
        part,
        optimizer=keras.optimizers.Adam(schedule),
        epochs=STEPS // (len(few[0]) // batch),
        batch_size=batch,
        seed=seed,
    )


def measured(
    result: kst.transfer.RetrainResult, data: dict[str, Arrays], choosing: bool
) -> dict[str, float]:
    """Figures of a retrained network on test samples, and on those to choose by."""

    def outputs(x: np.ndarray) -> np.ndarray:
        # Without a graph, which takes longer to make than to run once.
        parts = [result.model(x[i : i + 10]) for i in range(0, len(x), 10)]
        return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])

    x, truth = data["test"]
    predicted = outputs(x)
    found = {
        "weights": result.num_trainable,
        "cc": float(pattern_correlation(truth, predicted)),
        "spectrum_rmse": float(spectra.spectrum_rmse(truth, predicted)),
        "seconds": result.seconds,
    }
    if choosing:
        x, truth = data["held out"]
        found["held_out"] = float(pattern_correlation(truth, outputs(x)))
    return found


def run(workshop: Workshop, path: Path) -> dict[str, Any]:
    """All results, by "arm, samples, seed, rate"; resumes."""
    done = read_json(path)

    def result(arm: str, num: int, seed: int, rate: float, data: Any) -> dict[str, Any]:
        key = f"{arm}, {num}, {seed}, {rate:g}"
        if key not in done:
            model = base_network(workshop, seed)
            result = retrained(model, part_of(arm, seed), rate, data["few"], seed)
            if arm == "conv_2" and num == KEPT:
                weights = {str(i): w for i, w in enumerate(result.model.get_weights())}
                write_arrays(kept_weights(workshop, seed, rate), **weights)
            done[key] = measured(result, data, choosing=seed == SEEDS[0])
            write_json(path, done)
            print(key, done[key], flush=True)
        return done[key]

    for num in NUMBERS:
        data = data_of(workshop, num, SEEDS[0])
        for arm in ARMS:
            for rate in rates_of(arm):
                result(arm, num, SEEDS[0], rate, data)
    for num, seed in itertools.product(NUMBERS, SEEDS[1:]):
        data = data_of(workshop, num, seed)
        for arm in ARMS:
            result(arm, num, seed, chosen_rate(done, arm, num), data)
    return done


def chosen_rate(done: dict[str, Any], arm: str, num: int) -> float:
    """The rate with which seed 0 did best on samples held out."""
    keys = {r: f"{arm}, {num}, {SEEDS[0]}, {r:g}" for r in rates_of(arm)}
    return max(rates_of(arm), key=lambda rate: done[keys[rate]]["held_out"])


def table(done: dict[str, Any], figure: str = "cc") -> str:
    """Mean over the seeds and their standard deviation, a Markdown table."""
    names = " | ".join(f"{n} samples" for n in NUMBERS)
    lines = [f"| arm | weights | {names} |", "|---" * (len(NUMBERS) + 2) + "|"]
    for arm in ARMS:
        cells = []
        for num in NUMBERS:
            rate = chosen_rate(done, arm, num)
            rows = [done[f"{arm}, {num}, {seed}, {rate:g}"] for seed in SEEDS]
            values = [row[figure] for row in rows]
            spread = np.std(values, ddof=1)
            cells.append(f"{np.mean(values):.3f} ± {spread:.3f} ({rate:g})")
        lines.append(f"| {arm} | {rows[0]['weights']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    workshop, out = opened(__doc__, "runs/filters")
    done = run(workshop, out / "filters_of.json")
    for figure in ("cc", "spectrum_rmse"):
        print(f"\n{figure}\n{table(done, figure)}")


if __name__ == "__main__":
    main()
