"""Each filter of a change against the difference of the systems, beyond a slope.

The mini tier, k_f 16 to 4, `conv_2` retrained on 16 target samples ("retrained") or on
16 of the base ("control") as in filters_of.py, which is to be run first, three base
networks. Each principal filter of the change by itself: the power that it adds to the
kernels by wavenumber, against the difference of the true forcings and of what enters
the layer, with random filters of the same norm and coefficients as the null; once as
the curves are, once without the slope in k that they share. No choice is made here.

    python benchmarks/filter_consistency.py --data data --out runs/filters

Results that are in the output directory already are not made again.
"""

from typing import Any

import keras
import numpy as np
from filters_of import (
    KEPT,
    SEEDS,
    base_network,
    chosen_rate,
    data_of,
    kept_weights,
    retrained,
    with_weights,
)
from score_sweeps import Workshop, opened, read_json, write_json

import keras_spectral_tl as kst
from keras_spectral_tl import spectra

LAYER, NUM_TARGET, GRID = "conv_2", 16, (64, 64)
SHOWN = 6


def networks(workshop: Workshop, seed: int, rate: float) -> dict[str, keras.Model]:
    """The base network, its retraining and its control, kept on disk."""
    base = base_network(workshop, seed)
    retrained_one = with_weights(
        kst.models.copy_model(base), kept_weights(workshop, seed, rate)
    )
    data = workshop.base("kf16", SEEDS[0])[1]
    step = len(data[0]) // NUM_TARGET
    some = data[0][::step], data[1][::step]
    control = retrained(base, LAYER, rate, some, seed).model
    return {"base": base, "retrained": retrained_one, "control": control}


def differences(workshop: Workshop, seed: int, base: keras.Model) -> dict[str, Any]:
    """Logarithms of target over base: true forcing, and what enters the layer."""
    fields = workshop.fields("kf16")
    normalization = workshop.base("kf16", SEEDS[0])[2]
    runs = (
        normalization.normalize(fields["test_x"], fields["test_y"]),
        data_of(workshop, NUM_TARGET, seed)["test"],
    )
    forcing = [spectra.mean_spectrum(y, (1, 2))[:32] for _, y in runs]
    inputs = [
        spectra.layer_gains(base, x[::4], [LAYER])[LAYER].inputs[:32] for x, _ in runs
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "true forcing": np.log(forcing[1] / forcing[0]),
            "entering the layer": np.log(inputs[1] / inputs[0]),
        }


def compared(found: dict[str, keras.Model], wanted: dict[str, Any]) -> dict[str, Any]:
    """Of each filter of each change: what it is, and how it compares."""
    table: dict[str, Any] = {}
    for name in ("retrained", "control"):
        change = spectra.principal_filters(found["base"], found[name], LAYER)
        rows = table[name] = {
            "classes": change.classes[:SHOWN].tolist(),
            "shares": change.shares[:SHOWN].tolist(),
            "filters": int(change.significant.sum()),
        }
        for label, difference in wanted.items():
            for degree in (0, 1):
                against = change.consistency(
                    found["base"], LAYER, difference, GRID, degree=degree
                )
                rows[f"{label}, {degree}"] = [
                    (row.correlation, row.p_value) for row in against[:SHOWN]
                ]
    return table


def table(done: dict[str, Any]) -> str:
    """A row for each filter that stands out, in Markdown."""
    keys = [key for key in next(iter(done.values()))["retrained"] if ", " in key]
    lines = [
        f"| change, seed | filter | share | {' | '.join(keys)} |",
        "|---" * (len(keys) + 3) + "|",
    ]
    for seed, found in done.items():
        for name, rows in found.items():
            for place in range(min(rows["filters"], SHOWN)):
                cells = ["{:+.2f} ({:.3f})".format(*rows[key][place]) for key in keys]
                lines.append(
                    f"| {name}, {seed} | {rows['classes'][place]} | "
                    f"{rows['shares'][place]:.2f} | {' | '.join(cells)} |"
                )
    return "\n".join(lines)


def main() -> None:
    workshop, out = opened(__doc__, "runs/filters")
    path = out / "filter_consistency.json"
    done = read_json(path)
    rate = chosen_rate(read_json(out / "filters_of.json"), LAYER, KEPT)
    for seed in map(str, SEEDS):
        if seed not in done:
            found = networks(workshop, int(seed), rate)
            wanted = differences(workshop, int(seed), found["base"])
            done[seed] = compared(found, wanted)
            write_json(path, done)
    print(table(done))


if __name__ == "__main__":
    main()
