"""What retraining did to kernels and activations, and what the network does online."""

import dataclasses
from typing import Any

import numpy as np

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl.spectra import analyse_kernels, kernel_changes, retraining_shifts
from reproduction.recipes import recipes_of
from reproduction.stages import figures_of, swept
from reproduction.study import Study
from reproduction.tiers import Setting
from turbulence_data import a_posteriori
from turbulence_data.closures import NoClosure
from turbulence_data.diagnostics import layer_spectra
from turbulence_data.filtering import les_flow

_NUM_SAMPLES = 16


def analyse(study: Study) -> None:
    """Kernels and activations of the base network and of the best retrained layer."""
    for seed in study.seeds:
        setting = _first(study, seed)
        study.once("analysis", setting.label, _analysis, setting)


def _first(study: Study, seed: int) -> Setting:
    """With the first normalization and the most samples."""
    return Setting(study.normalizations[0], max(study.num_target), seed)


def _analysis(study: Study, setting: Setting) -> dict[str, Any]:
    recipes, result = recipes_of(study, setting), swept(study, setting)
    before = recipes.network
    after = result.model(before)
    (base_x, _), _ = study.base_data()
    test = study.target_data(setting)[1]
    changes = kernel_changes(before, after).layers[f"{recipes.inside}{result.best}"]
    shifts = retraining_shifts(
        before, after, base_x[:_NUM_SAMPLES], test[0][:_NUM_SAMPLES]
    )
    return {
        "layer": result.best,
        "figures_before": figures_of(before, test),
        "figures_after": figures_of(after, test),
        "kernel_classes": {
            name.removeprefix(recipes.inside): kernels["class_counts"]
            for name, found in analyse_kernels(before, with_clusters=False).items()
            if (kernels := found.to_dict())
        },
        "retrained_kernels": {
            "relative_change": changes.relative_change,
            "by_class": changes.by_class(),
        },
        "activations": {
            name.removeprefix(recipes.inside): {
                "data_gain": shift.data.gain,
                "data_distance": shift.data.distance,
                "retraining_gain": shift.retraining.gain,
                "retraining_distance": shift.retraining.distance,
                "alignment": shift.alignment,
            }
            for name, shift in shifts.items()
        },
    }


def run_online(study: Study) -> None:
    """An LES with each network inside, against the filtered DNS of unseen members."""
    for seed in study.seeds:
        setting = _first(study, seed)
        study.once("online", setting.label, _online, setting)


def _online(study: Study, setting: Setting) -> dict[str, Any]:
    before, (target, _) = study.base_network(setting.seed), study.target_data(setting)
    recipes = recipes_of(study, setting)
    networks = {
        "base network": before,
        "gain only": kst.fit_output_gain(before, target).model,
        "best layer": swept(study, setting).model(recipes.network),
        "all layers": recipes.retrained(target, "all", None).model,
        "from scratch": kst.from_scratch(
            before, target, **recipes.options("from_scratch")
        ).model,
    }
    statistics = study.target_normalization(setting)
    closures: dict[str, Any] = {"no closure": None}
    for name, network in networks.items():
        layers = 2 if study.has_layers else 1
        closures[name] = kst.KerasClosure(network, statistics, layers=layers)
    if study.has_layers:
        return {"rows": layer_rows(closures, study)}
    comparison = a_posteriori.compare(closures, _reference(study))
    return {"rows": comparison.rows, "turnover_time": comparison.turnover_time}


def layer_rows(closures: dict[str, Any], study: Study) -> list[dict[str, Any]]:
    """Energies of two-layer LES over the time of the test split, against its DNS.

    Ratios of kinetic energy by layer in the mean over the snapshots; None where an LES
    blew up.
    """
    examples = list(study.builder(study.target_system).as_data_source(split="test"))
    number = study.ensemble(study.target_system).num_snapshots
    x, _ = turbulence_data.to_arrays(examples[:number])
    truth = np.moveaxis(x[..., 2:], -1, 1).astype(np.float64)
    truth -= truth.mean(axis=(2, 3), keepdims=True)
    ensemble = study.ensemble(study.target_system)
    flow = dataclasses.replace(ensemble.flow, num_points=ensemble.les_shape)

    def energies(fields: list[np.ndarray]) -> np.ndarray:
        spectra = [layer_spectra(field, flow).kinetic_energy for field in fields]
        return np.mean([spectrum.sum(axis=1) for spectrum in spectra], axis=0)

    rows = []
    for name, closure in closures.items():
        closure = closure or NoClosure(lengths=flow.lengths)
        fields = [truth[0]]
        try:
            for _ in truth[1:]:
                fields.append(
                    turbulence_data.evolve(
                        fields[-1], flow, ensemble.interval, closure=closure
                    )
                )
            upper, lower = (energies(fields) / energies(list(truth))).tolist()
        except (FloatingPointError, ValueError):
            upper = lower = None
        rows.append({"closure": name, "energy_upper": upper, "energy_lower": lower})
    return rows


def _reference(study: Study) -> a_posteriori.Reference:
    """The trajectories of the target's validation and test splits, as they are."""
    ensemble = study.ensemble(study.target_system)
    builder, members = study.builder(study.target_system), {}
    for split in ("validation", "test"):
        for example in builder.as_data_source(split=split):
            members.setdefault(int(example["trajectory"]), []).append(example)
    stacked = {
        name: np.stack(
            [[example[name] for example in rows] for rows in members.values()], axis=1
        )
        for name in ("vorticity", "sgs_forcing")
    }
    times = np.array([example["time"] for example in next(iter(members.values()))])
    width = ensemble.filter_width
    flow = les_flow(ensemble.flow, ensemble.num_points_les, filter_width=width)
    return a_posteriori.Reference(flow, times - times[0], **stacked)
