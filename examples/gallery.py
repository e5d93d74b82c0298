"""Every figure of `keras_spectral_tl.plotting`, drawn from the networks of explain.py.

    python examples/explain.py --seeds 0
    python examples/gallery.py [--data-dir data] [--seed 0] [--out docs/figures]
                               [--networks FOLDER] [--only kernels activations ...]

`--networks` is runs/explain/seed_0 by default, with the seed given.

docs/figures.md says what each shows.
"""

import argparse
import logging
import sys
from pathlib import Path

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import keras
import numpy as np
from explain import (
    LAYER,
    Networks,
    differences,
    kernels_of,
    mean_spectrum,
    networks,
    predictions,
)
from quickstart import BASE, NUM_TARGET, TARGET, System, activation_panels, load_system

import keras_spectral_tl as kst
from keras_spectral_tl import loss_landscape, metrics, plotting, spectra

Figures = dict[str, object]
LAST = 32  # shells beyond are incomplete on 64 x 64 points


def kernel_figures(found: Networks, seed: int = 0) -> Figures:
    analysis = spectra.analyse_kernels(found["base"], [LAYER])[LAYER]
    transfer = kst.kernel_spectra(found["base"], 64)
    changes = spectra.kernel_changes(
        *(found[name] for name in ("base", "retrained", "reseeded"))
    ).layers[LAYER]
    best = np.argsort(analysis.gabor.residuals)[:: len(analysis.fitted) // 8][:8]
    change = spectra.principal_filters(found["base"], found["retrained"], LAYER)
    print(f"filters of the change of {LAYER}:\n{change}")
    keras.utils.set_random_seed(seed)
    start = keras.models.clone_model(found["base"])  # as it was drawn
    learned = spectra.principal_filters(start, found["base"], LAYER)
    print(f"filters of what {LAYER} learned on the base:\n{learned}")
    return {
        "filters": change.plot(),
        "filters_learned": learned.plot(),
        "kernel_spectra": transfer.plot(),
        "transfer_functions": plotting.plot_transfer_functions(
            {name: layer.mean_transfer for name, layer in transfer.items()}, (64, 64)
        ),
        "kernel_classes": plotting.plot_kernel_classes(
            {name: layer.class_shares() for name, layer in transfer.items()}
        ),
        "kernel_clusters": analysis.clusters.plot(),
        "gabor_fits": plotting.plot_gabor_fits(
            kernels_of(found["base"])[analysis.fitted[best]],
            analysis.gabor.kernels()[best],
            analysis.gabor.residuals[best],
        ),
        "kernel_changes": plotting.plot_kernel_changes(
            {
                LAYER: (
                    changes.relative_changes,
                    changes.significance.agreements,
                    changes.classes_before,
                )
            }
        ),
    }


def activation_figures(found: Networks, base: System, target: System) -> Figures:
    base_x, target_x = base.test[0][::8], target.test[0][::8]
    gains = spectra.layer_gains(found["base"], base_x)
    shifts = spectra.retraining_shifts(
        found["base"], found["retrained"], base_x, target_x
    )
    composed = spectra.measured_composition(found["base"], base_x[:1], range(33))
    energy = spectra.radial_spectrum(base_x, (1, 2)).mean(axis=0)[:, :33]
    fed = composed.gains[:, :33] * energy[:, None, :]  # by the inputs as they are
    return {
        "activation_spectra": plotting.plot_activation_spectra(
            activation_panels(found, base_x, target_x)
        ),
        "layer_gains": plotting.plot_wavenumber_ratios(
            {
                name: {
                    "linear part": gain.linear[:LAST],
                    "activation": gain.activation[:LAST],
                }
                for name, gain in gains.items()
            }
        ),
        "spectral_shifts": shifts.plot(),
        "composition": plotting.plot_composition(
            {"from the streamfunction": fed[0], "from the vorticity": fed[1]}
        ),
    }


def prediction_figures(found: Networks, base: System, target: System) -> Figures:
    truth = target.test[1]
    predicted = {
        name: predictions(found[name], target) for name in ("base", "retrained")
    }
    cc = metrics.pattern_correlation(truth, predicted["retrained"])
    wanted = differences(found, base, target)
    ratios = {label: np.exp(ratio[:LAST]) for label, ratio in wanted.items()}
    compared = plotting.plot_wavenumber_ratios(
        {"target over base": dict(list(ratios.items())[:3])}
    )
    compared[0].set_ylim(top=3e3)  # room for the legend
    return {
        "fields": plotting.plot_fields(
            {
                "vorticity, base (forced at k = 16)": base.test[0][0, ..., 1],
                "vorticity, target (forced at k = 4)": target.test[0][0, ..., 1],
            },
            "standard deviations",
        ),
        "energy_spectra": plotting.plot_energy_spectra(
            {
                label: np.asarray(system.metadata["spectra"]["energy"])
                for label, system in (("base", base), ("target", target))
            }
        ),
        "prediction_spectra": plotting.plot_energy_spectra(
            {
                "truth": mean_spectrum(truth),
                **{name: mean_spectrum(fields) for name, fields in predicted.items()},
            },
            "spectrum of sgs_forcing on the target",
        ),
        "predictions": plotting.plot_predictions(
            truth,
            predicted["retrained"],
            num_samples=1,
            title=f"one target snapshot, standard deviations; {LAYER} retrained, "
            f"mean CC of the test snapshots {cc:.2f}",
        ),
        "coherence": plotting.plot_coherence(
            {name: spectra.coherence(truth, p) for name, p in predicted.items()}
        ),
        "wavenumber_ratios": compared,
    }


def landscape_figures(found: Networks, target: System) -> Figures:
    x, y = (part[:8] for part in target.train)
    around = loss_landscape.loss_landscapes(found["base"], x, y)
    for name, landscape in around.items():
        print(
            f"{name}: largest eigenvalue {landscape.curvature.largest[0]:.3g}, "
            f"negative share {landscape.curvature.negative_share:.2g}, "
            f"convexity {landscape.convexity:.3f}, lowest loss along the gradient "
            f"{landscape.lines['gradient'].min() / landscape.loss:.3f} of what it is"
        )
    loss = loss_landscape.LayerLoss(found["base"], LAYER, x, y)
    steps = np.linspace(-0.5, 0.5, 13)
    surface = loss.surface(loss.gradient_direction(), loss.random_direction(), steps)
    lines = {name: landscape.lines for name, landscape in around.items()}
    steps_of_lines = next(iter(around.values())).steps
    return {
        "loss_lines": plotting.plot_loss_lines(steps_of_lines, lines),
        "loss_surface": plotting.plot_loss_surface(
            steps, surface, ("gradient", "random")
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    parser.add_argument("--networks", type=Path, help="folder of the networks")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--only", nargs="+", help="kernels, activations, ...")
    options = parser.parse_args()
    for name in ("tensorflow", "absl"):  # they warn of every new model's prediction
        logging.getLogger(name).setLevel(logging.ERROR)
    base = load_system(BASE, options.data_dir)
    target = load_system(TARGET, options.data_dir, NUM_TARGET)
    folder = options.networks or Path(f"runs/explain/seed_{options.seed}")
    found = networks(base, target, options.seed, folder)
    options.out.mkdir(parents=True, exist_ok=True)
    groups = {
        "kernels": lambda: kernel_figures(found, options.seed),
        "activations": lambda: activation_figures(found, base, target),
        "predictions": lambda: prediction_figures(found, base, target),
        "landscape": lambda: landscape_figures(found, target),
    }
    for group in options.only or groups:
        for name, axes in groups[group]().items():
            plotting.save_figure(axes, options.out / f"{name}.png")


if __name__ == "__main__":
    main()
