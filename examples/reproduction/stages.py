"""The stages up to the sweep: data, base networks, scores, sweeps, baselines."""

import os
from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
from keras_spectral_tl import freezing, metrics
from keras_spectral_tl.scoring import Arm
from reproduction.recipes import (
    epochs,
    falling_adam,
    foretold_options,
    recipes_of,
)
from reproduction.study import Arrays, Study
from reproduction.tiers import Setting

RESOLVED = 1.3
"""Least k_max eta of a DNS that resolves its dissipation range."""


def make_data(study: Study) -> None:
    """Makes both datasets; records what says whether they can be trusted."""
    for system in (study.base_system, study.target_system):
        flow = study.tier.flows[system]
        found = study.once("data", flow, _data_record, system)
        if found["is_resolved"] is False:
            print(f"   {flow} is under-resolved: k_max eta = {found['k_max_eta']:.2f}")


def _data_record(study: Study, system: str) -> dict[str, Any]:
    metadata = study.make_data(system)
    levels = [level["energy_sampling"] for level in metadata["energy_history"]]
    reached = metadata["k_max_eta"]
    return {
        "flow": study.tier.flows[system],
        "k_max_eta": reached,
        "is_resolved": None if reached is None else reached >= RESOLVED,
        "energy_of_trajectories": levels,
        "largest_courant_ratio": metadata["largest_courant_ratio"],
        "content_sha256": metadata["content_sha256"],
        "config": metadata["config"],
    }


def train_bases(study: Study) -> None:
    """Trains a base network a seed, or finds it; tests it on both systems."""
    for seed in study.seeds:
        if not study.weights_path(seed).exists():
            study.deadline.check()
            with study.times.of("base", f"training-seed{seed}"):
                _train_base(study, seed)
        study.once("base", f"seed{seed}", _base_record, seed)


def _train_base(study: Study, seed: int) -> None:
    """Plain Keras; goes on from the last epoch that was finished."""
    path = study.weights_path(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    data, _ = study.base_data()
    keras.utils.set_random_seed(seed)
    model, plan = study.new_network(), study.tier.base_training
    model.compile(optimizer=falling_adam(plan.rate, plan.steps), loss="mse")
    backup = keras.callbacks.BackupAndRestore(str(path) + ".backup")
    stop_in_time = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: study.deadline.check()
    )
    model.fit(
        *data,
        batch_size=plan.batch_size,
        epochs=epochs(plan, len(data[0])),
        verbose=0,
        callbacks=[backup, stop_in_time],
    )
    weights = {str(i): w for i, w in enumerate(model.get_weights())}
    partial = path.with_name(f"{path.name}.{os.getpid()}.npz")
    np.savez(partial, **weights)
    partial.replace(path)


def _base_record(study: Study, seed: int) -> dict[str, Any]:
    model = study.base_network(seed)
    (train, test), few = study.base_data(), Setting("own", study.tier.num_target[-1], 0)
    return {
        "num_parameters": model.count_params(),
        "num_samples": len(train[0]),
        "base": figures_of(model, test),
        "target_own": figures_of(model, study.target_data(few)[1]),
        "normalization": vars(study.base_normalization()),
    }


def outputs_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Outputs of a network, which is not traced for a single use."""
    parts = [
        model(x[start : start + 16], training=False) for start in range(0, len(x), 16)
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def figures_of(model: keras.Model, data: Arrays) -> dict[str, float]:
    """Offline figures of a network: pattern, amplitude, spectrum."""
    return _figures(data[1], outputs_of(model, data[0]))


def _figures(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "cc": float(metrics.pattern_correlation(truth, predicted)),
        "relative_rmse": float(metrics.relative_rmse(truth, predicted)),
        "spectrum_rmse": float(metrics.spectrum_rmse(truth, predicted)),
    }


def score(study: Study) -> None:
    """Scores all layers of every setting, before anything is retrained."""
    for setting in study.settings():
        study.once("scores", setting.label, _scores, setting)


def _scores(study: Study, setting: Setting) -> dict[str, Any]:
    target, _ = study.target_data(setting)
    model = study.base_network(setting.seed)
    options = foretold_options(study, setting)
    found = kst.score_layers(model, study.scored_base_data(), target, **options)
    return {
        "ranking": found.ranking,
        "recommended": found.recommended,
        "reason": found.reason,
        "scores": {name: dict(values) for name, values in found.scores.items()},
        "intervals": dict(found.intervals),
        "provenance": dict(found.provenance),
    }


def forecast(study: Study) -> None:
    """Forecasts every way to retrain, before anything is retrained."""
    for setting in study.settings():
        study.once("forecast", setting.label, _forecast, setting)


def _forecast(study: Study, setting: Setting) -> dict[str, Any]:
    found = kst.forecast(
        study.base_network(setting.seed),
        study.scored_base_data(),
        study.target_data(setting)[0],
        arms=[
            Arm("gain_only", freezing.OutputGain()),
            Arm("bias_only", freezing.BiasesOf()),
            Arm("filters", freezing.FiltersOf()),
            *(layer.name for layer in study.new_network().layers[1:]),
            Arm("all"),
            Arm("from_scratch", freezing.NewWeights()),
        ],
        progress=False,
        **foretold_options(study, setting),
    )
    return found.to_dict()


def sweep(study: Study) -> None:
    """Retrains every single layer, then pairs of the best ones."""
    for setting in study.settings():
        study.once("sweep", setting.label, _sweep, setting)


def _sweep(study: Study, setting: Setting) -> dict[str, Any]:
    singles = swept(study, setting)
    best = sorted(singles.cc, key=lambda name: -singles.cc[name])
    pairs = [(a, b) for i, b in enumerate(best) for a in best[:i]]
    chosen = [tuple(sorted(pair)) for pair in pairs[: study.num_pairs]]
    together = swept(study, setting, chosen) if chosen else kst.SweepResult(())
    network = recipes_of(study, setting).network
    return {
        name: {
            row["layer"]: _row(
                study,
                setting,
                result.model(network, row["layer"]),
                int(row["num_parameters"]),
                float(row["seconds"]),
            )
            for row in result.rows
        }
        for name, result in (("layers", singles), ("pairs", together))
    } | {"best": singles.best}


def swept(study: Study, setting: Setting, layers: Any = None) -> kst.SweepResult:
    """A sweep of a setting; rows that are on disk are not computed again.

    Its `model` takes the network of `recipes_of`, from which the rows started.
    """
    target, test = study.target_data(setting)
    recipes = recipes_of(study, setting)
    names = layers or [layer.name for layer in study.new_network().layers[1:]]
    chosen = [(name,) if isinstance(name, str) else name for name in names]

    return kst.oracle_sweep(
        recipes.network,
        target,
        test,
        arms=[Arm("+".join(group), recipes.layers(group)) for group in chosen],
        directory=study.folder / "sweep" / setting.label,
        progress=lambda row: study.deadline.check(),
        rates=recipes.rates_of_pairs(),
        **recipes.options(None),
    )


def _row(
    study: Study,
    setting: Setting,
    model: keras.Model,
    num_parameters: int = 0,
    seconds: float = 0.0,
) -> dict[str, Any]:
    """What a network can do on the target, by output, and on the base.

    The loss of an output is its mean square error over the variance of the truth: what
    a network that is trained on normalized samples minimises.
    """
    (x, y), (base_x, base_y) = study.target_data(setting)[1], study.base_data()[1]
    predicted, on_base = outputs_of(model, x), outputs_of(model, base_x)
    losses = np.mean((predicted - y) ** 2, (0, 1, 2)) / np.var(y, (0, 1, 2))
    outputs = range(y.shape[-1])
    return {
        **_figures(y, predicted),
        "loss": float(losses.mean()),
        "loss_by_output": losses.tolist(),
        "cc_by_output": [
            metrics.pattern_correlation(y[..., i], predicted[..., i]) for i in outputs
        ],
        "base_cc": float(metrics.pattern_correlation(base_y, on_base)),
        "num_parameters": num_parameters,
        "seconds": seconds,
    }


def compare_baselines(study: Study) -> None:
    """What a layer has to beat: nothing, gains, biases, everything, no transfer."""
    for setting in study.settings():
        study.once("baselines", setting.label, _baselines, setting)


def _baselines(study: Study, setting: Setting) -> dict[str, Any]:
    before, (target, _) = study.base_network(setting.seed), study.target_data(setting)
    recipes = recipes_of(study, setting)
    parts = {
        "bias_only": freezing.BiasesOf(),
        "filters": freezing.FiltersOf(),
        "all": None,
    }
    results = {
        "gain_only": kst.fit_output_gain(before, target),
        **{n: recipes.retrained(target, n, part) for n, part in parts.items()},
        "from_scratch": kst.from_scratch(
            before, target, **recipes.options("from_scratch")
        ),
    }
    rows = {"unchanged": _row(study, setting, before)}
    if study.has_layers:
        gained = with_gains(before, target)
        rows["gain_by_output"] = _row(study, setting, gained, target[1].shape[-1])
    for name, result in results.items():
        rows[name] = _row(
            study, setting, result.model, result.num_trainable, result.seconds
        )
    return rows


def with_gains(model: keras.Model, data: Arrays) -> keras.Model:
    """The network with each output times the gain that fits it best."""
    predicted = outputs_of(model, data[0])
    gains = [
        metrics.least_squares_gain(data[1][..., i], predicted[..., i])
        for i in range(predicted.shape[-1])
    ]
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, keras.layers.Rescaling(gains)(model(inputs)))
