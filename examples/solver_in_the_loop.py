"""A network trained through the solver: n = 1, 4 and 8 steps of an LES in the loss.

The network of online_les.py that was retrained in one layer goes on learning, now from
short trajectories of filtered DNS: an LES starts from each filtered field, and the loss
is the error of its vorticity after 1, ..., n steps, differentiated through the solver.
What n does to the LES is then measured as in online_les.py.

    python examples/solver_in_the_loop.py [--case forcing] [--steps 1 4 8] [--seeds 0 1]
                                          [--turnovers 12] [--members 5]
                                          [--time-step 0.01]
                                          [--data-dir data] [--out runs/online]
"""

import argparse
import json
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
import online_figures
import online_les
import quickstart

import keras_spectral_tl as kst
from keras_spectral_tl.closure import compiled_forward
from keras_spectral_tl.layers import LESStep, UnrolledLES
from keras_spectral_tl.models import copy_model
from turbulence_data import named_flow
from turbulence_data.a_posteriori import Reference, markdown_table
from turbulence_data.a_posteriori import reference_ensemble as ensemble_of

TIME_STEP = 0.01
NUM_TRAJECTORIES, NUM_SNAPSHOTS, STRIDE = 2, 41, 3
EPOCHS, BATCH_SIZE, LEARNING_RATE = 8, 4, 2e-4
TABLE = (
    "closure",
    "CC",
    "error after 8 steps",
    "stable",
    "energy",
    "enstrophy",
    "E error large scales",
    "E error middle scales",
    "E error small scales",
    "Z error small scales",
    "enstrophy transfer",
    "decorrelation",
)


def training_trajectories(target: quickstart.System, data_dir: Path) -> Reference:
    """Filtered DNS at every step of the LES; its start fields are not those tested."""
    file = data_dir / f"steps_{target.name}.npz"
    duration = TIME_STEP * (NUM_SNAPSHOTS - 1)
    ensemble = ensemble_of(
        named_flow(target.name), NUM_TRAJECTORIES, duration, NUM_SNAPSHOTS
    )
    ensemble = replace(ensemble, seed=ensemble.seed + 1)
    return online_les.kept(file, ensemble)


def windows(reference: Reference, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Start fields (batch, nx, ny, 1) and what follows, (batch, num_steps, ...)."""
    starts = range(0, len(reference.times) - num_steps, STRIDE)
    members = range(reference.vorticity.shape[1])
    pieces = [
        reference.vorticity[start : start + num_steps + 1, member]
        for start in starts
        for member in members
    ]
    fields = np.stack(pieces)[..., None]
    return fields[:, 0], fields[:, 1:]


def unrolled(
    network: keras.Model, reference: Reference, statistics: dict, num_steps: int
) -> keras.Model:
    """The LES of `num_steps` steps as a Keras model around the network."""
    step = LESStep(reference.flow.to_dict(), TIME_STEP, network, statistics)
    inputs = keras.Input((*reference.flow.shape, 1))
    return keras.Model(inputs, UnrolledLES(step, num_steps)(inputs))


def train(
    network: keras.Model,
    reference: Reference,
    statistics: dict,
    num_steps: int,
    seed: int,
) -> keras.Model:
    """Returns a copy of the network, all of it trained through `num_steps` steps."""
    keras.utils.set_random_seed(seed)
    network = copy_model(network)
    network.trainable = True
    model = unrolled(network, reference, statistics, num_steps)
    x, y = windows(reference, num_steps)
    before = short_error(network, reference, statistics, num_steps)
    scale = before**2 * float(np.mean(y[:, -1] ** 2))  # the loss is of order 1

    def loss(true, found):
        return keras.ops.mean(keras.ops.square(true - found)) / scale

    jit = keras.backend.backend() == "jax"  # TensorFlow would compile for minutes
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=jit)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    after = short_error(network, reference, statistics, num_steps)
    print(f"   error after {num_steps} steps: {before:.4f}, trained {after:.4f}")
    return network


def short_error(
    network: keras.Model, reference: Reference, statistics: dict, num_steps: int = 8
) -> float:
    """Relative error of the vorticity after some steps, on the training windows."""
    x, y = windows(reference, num_steps)
    step = LESStep(reference.flow.to_dict(), TIME_STEP, network, statistics)
    advance = compiled_forward(keras.Sequential([keras.Input(x.shape[1:]), step]))
    for _ in range(num_steps):
        x = advance(x)
    return float(np.sqrt(np.mean((x - y[:, -1]) ** 2) / np.mean(y[:, -1] ** 2)))


def trained_through(
    study: online_les.Study, short: Reference, seed: int, options: argparse.Namespace
) -> online_les.Scored:
    """The network of a seed before and after training, scored."""
    statistics = asdict(study.target.normalization)
    networks = {"retrained": study.networks[seed]["retrained"]}
    for num_steps in options.steps:
        networks[f"n = {num_steps}"] = train(
            networks["retrained"], short, statistics, num_steps, seed
        )
    closures = {n: kst.KerasClosure(m, statistics) for n, m in networks.items()}
    table = online_les.scored(closures, study)
    for row, network in zip(table.rows, networks.values(), strict=True):
        row["error after 8 steps"] = short_error(network, short, statistics)
    return table


def main() -> None:
    parser = online_les.parser_of(__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4, 8])
    options = parser.parse_args()
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    out = options.out / options.case
    out.mkdir(parents=True, exist_ok=True)
    watch = quickstart.Stopwatch()
    study = online_les.prepare(options, out, watch)
    with watch.stage("training trajectories"):
        short = training_trajectories(study.target, options.data_dir)
    tables = []
    for seed in options.seeds:
        with watch.stage(f"training and LES, seed {seed}"):
            tables.append(trained_through(study, short, seed, options))
    rows, deviations, errors = online_les.over_seeds(tables)
    folder = out / "in_the_loop"
    folder.mkdir(exist_ok=True)
    names = [str(row["closure"]) for row in rows]
    online_figures.draw(folder, tables[0].comparison, {"networks": names})
    summary = {
        "rows": rows,
        "uncertainties": errors,
        "deviations_over_seeds": deviations,
        "rows_by_seed": [table.rows for table in tables],
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print("\n" + markdown_table(rows, TABLE, errors))
    print("\ndeviations over the seeds\n")
    columns = [name for name in TABLE if name != "closure"]
    print(markdown_table(deviations, columns))


if __name__ == "__main__":
    main()
