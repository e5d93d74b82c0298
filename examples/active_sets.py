"""Which of kernels and active sets mend a prediction: each exchanged by itself.

Runs a network of ReLUs with its own kernels, but lets through at each ReLU the points
at which another network, on the same inputs, lets through. Base network, retrained
network, and one trained on the target from the start; prints the table of
docs/explanation.md.

    python examples/active_sets.py [--data-dir data] [--out runs/explain] [--seeds 0]

Networks that are in the output directory already are not trained again.
"""

import argparse
import itertools
import sys
from collections.abc import Collection
from pathlib import Path

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
from explain import BANDS, mean_spectrum, networks
from quickstart import BASE, NUM_TARGET, TARGET, System, load_system, train_base

import keras_spectral_tl as kst
from keras_spectral_tl import spectra
from keras_spectral_tl.metrics import pattern_correlation


def with_active_sets(
    model: keras.Model,
    other: keras.Model,
    x: np.ndarray,
    layers: Collection[str] | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """Outputs of a chain of convolutions whose ReLUs are switched by another one.

    Where `other` is the model itself these are its own outputs. With the active sets
    held, the outputs are affine in the kernels of any one layer.

    Args:
        model: its layers are convolutions, channels last, with ReLU or linear.
        other: of the same architecture.
        x: inputs of both.
        layers: those whose ReLUs are switched; all if not given.
        batch_size: samples computed at once.
    """
    pairs = kst.layers_with_weights(model), kst.layers_with_weights(other)
    parts = []
    for start in range(0, len(x), batch_size):
        own = theirs = keras.ops.convert_to_tensor(x[start : start + batch_size])
        for (name, mine), switch in zip(
            pairs[0].items(), pairs[1].values(), strict=True
        ):
            own, theirs = _linear_part(mine, own), _linear_part(switch, theirs)
            if mine.activation is keras.activations.relu:
                switched = layers is None or name in layers
                own, theirs = (
                    own * keras.ops.cast((theirs if switched else own) > 0, own.dtype),
                    theirs * keras.ops.cast(theirs > 0, own.dtype),
                )
        parts.append(keras.ops.convert_to_numpy(own))
    return np.concatenate(parts)


def _linear_part(layer: keras.Layer, inputs: object) -> object:
    return layer.convolution_op(inputs, layer.kernel) + layer.bias


def figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Correlation, energy by band over that of the truth, coherence in the last band.

    The coherence says whether that energy is where it belongs.
    """
    energies = [mean_spectrum(fields) for fields in (predicted, truth)]
    found = {"CC": pattern_correlation(truth, predicted)}
    for a, b in BANDS:
        ours, true = (energy[a : b + 1].sum() for energy in energies)
        found[f"energy, k = {a}-{b}"] = float(ours / true)
    coherent = spectra.coherence(truth, predicted)[a : b + 1]
    found[f"coherence, k = {a}-{b}"] = float(coherent.mean())
    return found


def exchange(base: System, target: System, whole: System, seed: int, out: Path) -> None:
    """Prints figures on the target of all pairs of kernels and active sets.

    Args:
        base: the base system.
        target: the target, its few samples.
        whole: the target, all its samples.
        seed: of the networks.
        out: directory of the networks.
    """
    nets = networks(base, target, seed, out, ("base", "retrained"))
    file = out / "target.keras"
    if not file.exists():
        train_base(whole.train, seed).save(file)
    nets["target"] = keras.models.load_model(file)
    x, truth = (part[::4] for part in target.test)
    names = " | ".join(figures(truth, truth))
    print(f"| kernels of | active sets of | {names} |")
    print("|---" * (names.count("|") + 3) + "|")

    def show(kernels: str, active: str, predicted: np.ndarray) -> None:
        row = figures(truth, predicted).values()
        shown = " | ".join(f"{value:.3f}" for value in row)
        print(f"| {kernels} | {active} | {shown} |", flush=True)

    for kernels, active in itertools.product(nets, nets):
        show(kernels, active, with_active_sets(nets[kernels], nets[active], x))
    for name in kst.layers_with_weights(nets["base"]):
        mixed = with_active_sets(nets["base"], nets["retrained"], x, [name])
        show("base", f"base, but retrained at {name}", mixed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/explain"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    base = load_system(BASE, options.data_dir)
    target = load_system(TARGET, options.data_dir, NUM_TARGET)
    whole = load_system(TARGET, options.data_dir)
    for seed in options.seeds:
        exchange(base, target, whole, seed, options.out / f"seed_{seed}")


if __name__ == "__main__":
    main()
