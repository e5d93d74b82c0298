"""What retraining did to kernels and activations, and what the network does online."""

from typing import Any

import keras
import numpy as np

import keras_spectral_tl as kst
import turbulence_data
from keras_spectral_tl.spectra import analyse_kernels, kernel_changes, retraining_shifts
from reproduction.clock import write_json
from reproduction.recipes import recipes_of
from reproduction.stages import figures_of, swept
from reproduction.study import Study
from reproduction.tiers import Setting
from turbulence_data import a_posteriori

_NUM_SAMPLES = 16
_NETWORKS = (
    *("no closure", "base network", "gain only", "best layer", "all layers"),
    "from scratch",
)


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
    """An LES with each network inside, against the filtered DNS of unseen members.

    What one closure gives is kept as soon as its LES is done.

    Raises:
        ValueError: for networks of other inputs than a closure gives them.
    """
    if study.tier.inputs is not None:
        raise ValueError(
            f"A closure gives a network streamfunctions and vorticities; those of the "
            f"tier {study.tier_name!r} take {study.tier.inputs.__name__}. Leave out "
            "the stage 'online'."
        )
    for seed in study.seeds:
        setting, parts = _first(study, seed), []
        for name in _NETWORKS:
            unit = f"{setting.label}-{name.replace(' ', '_')}"
            parts.append(study.once("les", unit, _les, setting, name))
        rows = [row for part in parts for row in part["rows"]]
        write_json(
            study.folder / "online" / f"{setting.label}.json",
            {"rows": rows, "turnover_time": parts[0]["turnover_time"]},
        )


def _network(study: Study, setting: Setting, name: str) -> keras.Model:
    base = study.base_network(setting.seed)
    if name == "base network":
        return base
    target, _ = study.target_data(setting)
    if name == "gain only":
        return kst.fit_output_gain(base, target).model
    recipes = recipes_of(study, setting)
    if name == "best layer":
        return swept(study, setting).model(recipes.network)
    if name == "all layers":
        return recipes.retrained(target, "all", None).model
    return kst.from_scratch(base, target, **recipes.options("from_scratch")).model


def _les(study: Study, setting: Setting, name: str) -> dict[str, Any]:
    closure = None
    if name != "no closure":
        closure = kst.KerasClosure(
            _network(study, setting, name),
            study.target_normalization(setting),
            layers=2 if study.has_layers else 1,
        )
    comparison = a_posteriori.compare({name: closure}, _reference(study))
    return {"rows": comparison.rows, "turnover_time": comparison.turnover_time}


def _reference(study: Study) -> a_posteriori.Reference:
    """The trajectories of the target's validation and test splits, as they are."""
    ensemble = study.ensemble(study.target_system)
    builder, members = study.builder(study.target_system), {}
    for split in ("validation", "test"):
        for example in builder.as_data_source(split=split):
            members.setdefault(int(example["trajectory"]), []).append(example)
    fields = [turbulence_data.to_arrays(rows) for rows in members.values()]
    channels = fields[0][1].shape[-1]
    # The fields that the flow carries are the last of the inputs.
    vorticity, sgs_forcing = (
        np.stack([np.moveaxis(part, -1, 1) for part in parts], axis=1)
        for parts in zip(*((x[..., -channels:], y) for x, y in fields), strict=True)
    )
    if not study.has_layers:
        vorticity, sgs_forcing = vorticity[:, :, 0], sgs_forcing[:, :, 0]
    times = np.array([example["time"] for example in next(iter(members.values()))])
    return a_posteriori.Reference.from_fields(ensemble, times, vorticity, sgs_forcing)
