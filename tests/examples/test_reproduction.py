"""The transfer experiment at its smallest: every stage, in pieces, what it leaves."""

import dataclasses
import functools
import json
import math
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.freezing import BiasesOf, FiltersOf, OutputGain
from turbulence_data import named_flow

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
CASE, SETTING = "k25_to_k4", "own-n4-seed0"
LAYERS = ["conv_1", "conv_2"]


@pytest.fixture(scope="module")
def reproduce():
    """The script as a module; its folder is on the path as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield import_module("reproduce")
        for name in [
            n
            for n in sys.modules
            if n.split(".")[0] in ("reproduce", "reproduction", "model_zoo")
        ]:
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def finished(reproduce, tmp_path_factory):
    """A run in three pieces: no time at all, a part of the stages, the rest."""
    root = tmp_path_factory.mktemp("reproduction")
    common = [
        "--case",
        CASE,
        "--tier",
        "tiny",
        "--data-dir",
        str(root / "data"),
        "--out",
        str(root / "runs"),
    ]
    assert reproduce.main([*common, "--stop-after", "0"]) == reproduce.STOPPED
    assert reproduce.main([*common, "--stages", "data", "base", "scores"]) == 0
    assert reproduce.main([*common, "--export-zoo", str(root / "zoo")]) == 0
    return root


def test_an_entry_of_another_program_is_not_replaced(reproduce, tmp_path):
    """One is told before the run, not at its end."""
    place = tmp_path / f"tiny_{CASE}"
    place.mkdir()
    (place / "provenance.json").write_text('{"made_by": "another program"}')
    command = ["--case", CASE, "--tier", "tiny", "--out", str(tmp_path / "runs")]
    with pytest.raises(FileExistsError, match="Choose another folder"):
        reproduce.main([*command, "--export-zoo", str(tmp_path)])
    assert [*(tmp_path / "runs").rglob("*.json")] == []


@pytest.mark.parametrize("tier", ["tiny", "velocities"])
def test_what_an_entry_cannot_hold_is_refused_before_any_work(
    reproduce, tier, tmp_path
):
    command = ["--case", "qg_eddy_to_3jet", "--tier", tier]
    command += ["--out", str(tmp_path / "runs"), "--export-zoo", str(tmp_path)]
    with pytest.raises(ValueError, match=r"flows of one plane.*--export-zoo"):
        reproduce.main(command)
    assert [*tmp_path.rglob("*.json")] == []


def test_a_network_padded_with_zeros_is_packed_as_one(
    finished, reproduce, tmp_path, monkeypatch
):
    """An entry that would be another network is not listed."""
    tiers, zoo = import_module("reproduction.tiers"), import_module("model_zoo")
    export = import_module("model_zoo.export")
    tiny = dataclasses.replace(tiers.TIERS["tiny"], periodic=False)
    monkeypatch.setitem(tiers.TIERS, "tiny", tiny)
    options = ["--case", CASE, "--tier", "tiny", "--out", str(tmp_path / "runs")]
    options += ["--data-dir", str(finished / "data"), "--stages", "data", "base"]
    assert reproduce.main([*options, "--export-zoo", str(tmp_path / "zoo")]) == 0
    (name,) = zoo.entry_names(tmp_path / "zoo")
    entry = zoo.load(name, tmp_path / "zoo")
    study = reproduce.study_of(reproduce.parse_options(options))
    network, x = study.base_network(0), entry.test[0]
    np.testing.assert_allclose(
        entry.model.predict(x, verbose=0), network.predict(x, verbose=0), atol=1e-6
    )
    entry_of = export.entry_of

    def periodic(place, document):
        document["architecture"]["periodic"] = True
        return entry_of(place, document)

    monkeypatch.setattr(export, "entry_of", periodic)
    with pytest.raises(RuntimeError, match="is not listed"):
        export.export_entry(study, tmp_path / "zoo")
    assert zoo.entry_names(tmp_path / "zoo") == []


@pytest.mark.parametrize(
    ("numbers", "swept", "expected"),
    [((16, 4, 64), (16, 4, 64), 16), ((20, 200), (), 20), ((200,), (200,), 200)],
)
def test_an_entry_has_as_many_samples_as_were_swept(
    reproduce, numbers, swept, expected, tmp_path
):
    export, clock = map(import_module, ("model_zoo.export", "reproduction.clock"))
    for number in swept:
        path = tmp_path / "sweep" / f"base-n{number}-seed1.json"
        clock.write_json(path, {"layers": {}})
    study = SimpleNamespace(folder=tmp_path, num_target=numbers)
    assert export._num_target(study, 1) == expected


@pytest.mark.parametrize(
    ("option", "part"),
    [
        (["--seeds", "0"], "1 seed"),
        (["--seeds", "-1"], "1 seed"),
        (["--samples", "4", "9"], "tiny_kf2 has 8 train samples"),
    ],
)
def test_no_seeds_and_more_samples_than_there_are_are_refused(
    reproduce, option, part, tmp_path
):
    command = ["--case", CASE, "--tier", "tiny", "--out", str(tmp_path), *option]
    with pytest.raises(ValueError, match=part):
        reproduce.main(command)


def test_a_damaged_result_is_named(reproduce, tmp_path):
    command = ["--case", CASE, "--tier", "tiny", "--out", str(tmp_path)]
    study = reproduce.study_of(reproduce.parse_options(command))
    (study.folder / "scores").mkdir()
    (study.folder / "scores" / "one.json").write_text('{"ranking":')
    with pytest.raises(ValueError, match=r"scores/one.json is damaged .*Delete it"):
        study.once("scores", "one", dict)


def test_times_of_several_writers_are_all_kept(reproduce, tmp_path, capsys):
    clock = import_module("reproduction.clock")

    def write(name):
        for number in range(25):
            with clock.Times(tmp_path / "times.json").of("scores", f"{name}{number}"):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert len(clock.Times(tmp_path / "times.json").entries()) == 100


def test_seeds_can_begin_with_any(reproduce, tmp_path):
    command = ["--case", CASE, "--tier", "tiny", "--out", str(tmp_path)]
    command += ["--first-seed", "3", "--seeds", "2", "--samples", "1"]
    study = reproduce.study_of(reproduce.parse_options(command))
    assert {setting.seed for setting in study.settings()} == {3, 4}


@pytest.fixture
def summary(finished):
    return json.loads((finished / "runs" / "tiny" / CASE / "summary.json").read_text())


def test_every_transfer_has_its_sweep_its_controls_and_its_scores(summary, reproduce):
    assert [t["normalization"] for t in summary["transfers"]] == ["own", "base"]
    for transfer in summary["transfers"]:
        assert list(transfer["cc"]) == LAYERS
        assert list(transfer["pairs"]) == ["conv_1+conv_2"]
        assert set(transfer["controls"]) == set(reproduce.report.CONTROLS)
        assert transfer["cc"][transfer["best"]] == max(transfer["cc"].values())
        for judged in transfer["scorers"].values():
            assert judged["regret"] in (
                0.0,
                pytest.approx(np.ptp(list(transfer["cc"].values()))),
            )
        # A gain does not change a pattern, but for its sign.
        gain, before = (transfer["controls"][n] for n in ("gain_only", "unchanged"))
        assert abs(gain) == pytest.approx(abs(before), abs=1e-5)


def test_every_network_has_its_loss_and_what_is_left_on_the_base(finished, summary):
    folder = finished / "runs" / "tiny" / CASE
    base = json.loads((folder / "base" / "seed0.json").read_text())["base"]
    for transfer in summary["transfers"]:
        for name, row in transfer["measured"].items():
            cc = {**transfer["controls"], **transfer["cc"], **transfer["pairs"]}[name]
            assert row["cc_by_output"] == pytest.approx([cc], abs=1e-5)
        for name in ("unchanged", "gain_only"):
            left = transfer["measured"][name]["base_cc"]
            assert abs(left) == pytest.approx(abs(base["cc"]), abs=1e-5)


def test_every_forecast_is_of_the_networks_that_were_measured(summary):
    for transfer in summary["transfers"]:
        found = transfer["forecast"]
        measured = {**transfer["controls"], **transfer["cc"]}
        assert set(found["correlation"]) == set(measured)
        assert found["regret"] == pytest.approx(
            max(t["cc"] for n, t in transfer["measured"].items() if n in measured)
            - measured[found["best"]]
        )


def test_every_output_has_the_gain_that_was_taken_from_it(reproduce):
    stages = import_module("reproduction.stages")
    model = kst.build_sgs_cnn((8, 8, 4), num_layers=2, num_filters=3, num_outputs=2)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype("float32")
    y = model.predict(x, verbose=0) * np.float32([2.0, 0.5])
    found = stages.with_gains(model, (x, y)).predict(x, verbose=0)
    np.testing.assert_allclose(found, y, rtol=1e-5, atol=1e-6)


def test_the_analysis_is_of_the_best_layer(summary):
    found, transfer = summary["analysis"][SETTING], summary["transfers"][0]
    assert found["layer"] == transfer["best"]
    assert found["figures_after"]["cc"] == pytest.approx(
        transfer["cc"][transfer["best"]], abs=1e-5
    )
    assert list(found["activations"]) == LAYERS
    counts = {n: sum(c.values()) for n, c in found["kernel_classes"].items()}
    assert counts == {"conv_1": 2 * 4, "conv_2": 4}


def test_every_network_has_run_online(summary):
    closures = [row["closure"] for row in summary["online"][SETTING]["rows"]]
    assert closures == [
        "no closure",
        "base network",
        "gain only",
        "best layer",
        "all layers",
        "from scratch",
    ]


def test_an_les_that_is_done_is_not_run_again(
    finished, reproduce, monkeypatch, tmp_path
):
    runs = shutil.copytree(finished / "runs", tmp_path / "runs")
    folder, made = runs / "tiny" / CASE, []
    kept = json.loads((folder / "online" / f"{SETTING}.json").read_text())
    shutil.rmtree(folder / "online")
    (folder / "les" / f"{SETTING}-gain_only.json").unlink()

    def les(study, setting, name):
        made.append(name)
        return {"rows": [{"closure": name}], "turnover_time": 1.0}

    monkeypatch.setattr(reproduce.analysis, "_les", les)
    options = ["--case", CASE, "--tier", "tiny", "--out", str(runs)]
    options += ["--data-dir", str(finished / "data"), "--stages", "online"]
    assert reproduce.main(options) == 0
    assert made == ["gain only"]
    found = json.loads((folder / "online" / f"{SETTING}.json").read_text())
    kept["rows"][2] = {"closure": "gain only"}
    assert found == kept


def test_scores_are_older_than_the_sweep_and_all_times_are_kept(finished, summary):
    entries = json.loads((finished / "runs" / "tiny" / CASE / "times.json").read_text())
    order = [entry["stage"] for entry in entries]
    foretold = [i for i, s in enumerate(order) if s in ("scores", "forecast")]
    assert order.index("sweep") > max(foretold)
    stages = {"data", "base", "scores", "forecast", "sweep", "baselines", "analysis"}
    assert set(summary["seconds_by_stage"]) == {*stages, "les"}
    assert {entry["status"] for entry in entries} == {"done"}


def test_a_sweep_before_its_forecast_says_what_to_run(finished, reproduce, tmp_path):
    options = ["--case", CASE, "--tier", "tiny", "--normalizations", "own"]
    options += ["--data-dir", str(finished / "data"), "--out", str(tmp_path)]
    with pytest.raises(FileNotFoundError, match="Run the stages 'scores forecast'"):
        reproduce.main([*options, "--stages", "base", "sweep"])


def test_what_is_finished_is_not_done_again(finished, reproduce, capsys):
    times = (finished / "runs" / "tiny" / CASE / "times.json").read_text()
    arguments = [
        "--case",
        CASE,
        "--tier",
        "tiny",
        "--stop-after",
        "0",
        "--data-dir",
        str(finished / "data"),
        "--out",
        str(finished / "runs"),
    ]
    assert reproduce.main(arguments) == 0
    assert (finished / "runs" / "tiny" / CASE / "times.json").read_text() == times
    printed = capsys.readouterr().out
    assert "| unchanged |" in printed
    assert "tiny_kf4 is under-resolved" in printed


def test_an_entry_of_the_zoo_is_the_network_that_was_packed(finished, reproduce):
    zoo = import_module("model_zoo")
    (name,) = zoo.entry_names(finished / "zoo")
    entry = zoo.load(name, finished / "zoo")
    file = next((finished / "runs" / "tiny" / "bases").glob("*.weights.npz"))
    with np.load(file) as weights:
        for number, weight in enumerate(entry.model.get_weights()):
            np.testing.assert_array_equal(weight, weights[str(number)])
    assert entry.target[0].shape == (4, 16, 16, 2)
    x, y = entry.target_normalization.denormalize(*entry.target)
    rescaled = entry.target_normalization.normalize(x, y)
    np.testing.assert_allclose(rescaled[0], entry.target[0], atol=1e-5)
    summary = json.loads(
        (finished / "runs" / "tiny" / CASE / "summary.json").read_text()
    )
    for transfer in summary["transfers"]:  # what retraining gave comes with it
        packed = entry.sweep[transfer["normalization"]]
        assert {n: row["cc"] for n, row in packed.items() if n in LAYERS} == {
            n: transfer["cc"][n] for n in LAYERS
        }
        assert packed["all layers"]["cc"] == transfer["controls"]["all"]
        assert packed["conv_1+conv_2"]["cc"] == transfer["pairs"]["conv_1+conv_2"]
    with pytest.raises(KeyError, match=f"no_such.*{name}"):
        zoo.load("no_such", finished / "zoo")


@pytest.fixture(scope="module")
def foretold(request, finished, reproduce, tmp_path_factory):
    """A study of the tiny tier without a rate, and with one, and its forecast."""
    tiers, out = (
        import_module("reproduction.tiers"),
        tmp_path_factory.mktemp("foretold"),
    )
    tiny = tiers.TIERS["tiny"]
    plan = dataclasses.replace(tiny.retraining, rate=request.param)
    options = ["--case", CASE, "--tier", "tiny", "--normalizations", "own"]
    options += ["--data-dir", str(finished / "data"), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        changed = dataclasses.replace(tiny, retraining=plan)
        patch.setitem(tiers.TIERS, "tiny", changed)
        study = reproduce.study_of(reproduce.parse_options(options))
        wanted = ["base", "scores", "forecast"]
        assert reproduce.main([*options, "--stages", *wanted]) == 0
        path = out / "tiny" / CASE / "forecast" / f"{SETTING}.json"
        yield study, path, options


@pytest.mark.slow
@pytest.mark.parametrize(
    ("foretold", "gain"),
    [(None, None), (None, 0.3), (1e-2, 0.3)],
    indirect=["foretold"],
)
def test_every_arm_is_retrained_by_the_recipe_of_its_forecast(
    gain, foretold, reproduce
):
    """With the user's own call of `retrain`, which the gain of a recipe goes to."""
    study, path, options = foretold
    stages = import_module("reproduction.stages")
    told = json.loads(path.read_text())
    _start_from(told["recipes"], gain)
    path.write_text(json.dumps(told))
    for stage in ("sweep", "baselines", "analysis"):
        shutil.rmtree(study.folder / stage, ignore_errors=True)
    wanted = ["sweep", "baselines", "analysis", "report"]
    assert reproduce.main([*options, "--stages", *wanted]) == 0
    (setting,) = study.settings()
    target, test = study.target_data(setting)
    base, parts = study.base_network(setting.seed), _PARTS | {n: n for n in LAYERS}
    measured = {
        **json.loads((study.folder / "sweep" / path.name).read_text())["layers"],
        **json.loads((study.folder / "baselines" / path.name).read_text()),
    }
    for label, layers in parts.items():
        recipe = told["recipes"][label]
        first = study.tier.retraining.rate or recipe["learning_rate"]
        rate = keras.optimizers.schedules.CosineDecay(first, recipe["steps"])
        result = kst.retrain(
            base,
            target,
            layers if gain is None else [layers, OutputGain(initial=gain)],
            optimizer=keras.optimizers.Adam(rate),
            epochs=recipe["epochs"],
            batch_size=recipe["batch_size"],
            seed=setting.seed,
        )
        expected = stages.figures_of(result.model, test)
        for figure, value in expected.items():
            assert measured[label][figure] == pytest.approx(value, abs=1e-6), label
    if study.tier.retraining.rate is not None:
        return  # one rate for all, which rows do not tell
    pair = stages.swept(study, setting, [tuple(LAYERS)]).rows[0]
    lower = min(told["recipes"][name]["learning_rate"] for name in LAYERS)
    assert pair["learning_rate"] == pytest.approx(lower, rel=1e-6)


_PARTS = {"all": slice(None), "bias_only": BiasesOf(), "filters": FiltersOf()}


def _start_from(recipes, gain):
    """Give the recipes of a forecast a first value of the output gain, or none."""
    for label, recipe in recipes.items():
        if label in (*LAYERS, *_PARTS):
            items = recipe["layers"]
            items = items if isinstance(items, list) else [items]
            items = [
                i for i in items if not (isinstance(i, dict) and "OutputGain" in i)
            ]
            more = [] if gain is None else [{"OutputGain": {"initial": gain}}]
            recipe["layers"] = [*items, *more]


@pytest.mark.parametrize("tier", ["full", "deep", "mini", "calibration"])
def test_every_case_has_its_flows_and_fits_its_samples(reproduce, tier):
    tiers = import_module("reproduction.tiers")
    chosen = tiers.TIERS[tier]
    for base, target in tiers.CASES.values():
        # The published cases of two layers go one way.
        assert base == "qg_eddy" or (target, base) in tiers.CASES.values()
        for system in (base, target):
            ensemble = tiers.ensemble_of(chosen.flows[system])
            samples = ensemble.num_trajectories[0] * ensemble.num_snapshots
            assert samples >= max(chosen.num_base, *chosen.num_target)


def test_the_published_tier_has_the_sizes_of_the_published_experiment(
    reproduce, tmp_path
):
    tiers = import_module("reproduction.tiers")
    published, days = tiers.TIERS["published"], 86_400.0
    for system, ensemble in (
        (name, tiers.ensemble_of(flow)) for name, flow in published.flows.items()
    ):
        assert ensemble.flow == named_flow(system).flow
        assert ensemble.flow.num_points == (256, 256)
        assert ensemble.les_shape == (64, 64)
        assert ensemble.interval >= 5 * days
        samples = ensemble.num_trajectories[0] * ensemble.num_snapshots
        assert samples == (2000 if system == "qg_eddy" else 200)
    assert published.num_target == (200, 40, 1)  # 10 % and 2 % of 2,000, and one
    study = import_module("reproduction.study").Study
    network = study("qg_eddy_to_4jet", "published", tmp_path, tmp_path).new_network()
    kernels = [w.shape for w in network.trainable_weights if len(w.shape) == 4]
    assert kernels == [(5, 5, 4, 64), *[(5, 5, 64, 64)] * 6, (5, 5, 64, 2)]


def test_a_case_of_plane_flow_is_refused_by_the_published_tier(reproduce, tmp_path):
    study = import_module("reproduction.study").Study
    with pytest.raises(ValueError, match=r"has the cases.*qg_eddy_to_rd20.*another"):
        study("k25_to_k4", "published", tmp_path, tmp_path)


def test_two_layers_are_refused_on_the_jax_engine_before_any_work(reproduce, tmp_path):
    options = ["--case", "qg_eddy_to_4jet", "--engine", "jax", "--out", str(tmp_path)]
    with pytest.raises(ValueError, match=r"two layers, as FftwEngine.*JaxEngine"):
        reproduce.main(options)
    assert not list(tmp_path.iterdir())


def test_kendall_tau_is_one_for_equal_order_and_discounts_ties(reproduce):
    tau = import_module("reproduction.report").kendall_tau
    assert tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert tau([1, 2, 3], [3, 2, 1]) == -1.0
    # One of three pairs is tied in the first: (2 - 0) / sqrt(2 * 3).
    assert tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(tau([1, 1], [1, 2]))
    assert math.isnan(tau([1], [2]))


def test_calls_that_come_too_late_are_not_made(reproduce):
    clock = import_module("reproduction.clock")
    with ThreadPoolExecutor(1) as pool:
        late = clock.DeadlineExecutor(pool, clock.Deadline(0.0))
        with pytest.raises(clock.OutOfTime):
            late.submit(pow, 2, 3).result()
        early = clock.DeadlineExecutor(pool, clock.Deadline())
        assert early.submit(pow, 2, 3).result() == 8
    assert clock.Deadline(1.0).at > time.time()


@pytest.mark.slow
def test_two_layers_go_through_every_stage_in_pieces(reproduce, tmp_path):
    common = ["--case", "qg_eddy_to_3jet", "--tier", "tiny"]
    common += ["--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]
    common += ["--samples", "1", "4", "--normalizations", "own", "--pairs", "0"]
    assert reproduce.main([*common, "--stop-after", "0"]) == reproduce.STOPPED
    assert reproduce.main([*common, "--stages", "data", "base"]) == 0
    assert reproduce.main(common) == 0
    folder = tmp_path / "runs" / "tiny" / "qg_eddy_to_3jet"
    summary = json.loads((folder / "summary.json").read_text())
    assert [t["num_target"] for t in summary["transfers"]] == [1, 4]
    for transfer in summary["transfers"]:
        assert list(transfer["cc"]) == LAYERS
        before, gained = (
            transfer["measured"][n] for n in ("unchanged", "gain_by_output")
        )
        for one, other in zip(
            before["cc_by_output"], gained["cc_by_output"], strict=True
        ):
            assert abs(one) == pytest.approx(abs(other), abs=1e-5)
        assert transfer["pairs"] == {}
    (online,) = summary["online"].values()
    assert online["rows"][0]["closure"] == "no closure"
    assert 0.0 < online["rows"][0]["energy"] < 10.0


@pytest.mark.parametrize("num_points", [16, 15])
def test_velocities_are_derivatives_of_the_streamfunctions(reproduce, num_points):
    tiers = import_module("reproduction.tiers")
    x, y = np.meshgrid(
        *[np.arange(num_points) * 2 * np.pi / num_points] * 2, indexing="ij"
    )
    upper, lower = np.sin(3 * x) * np.cos(2 * y), np.cos(x + y)
    fields = np.stack([upper, lower, 5 * upper, 7 * lower], -1)[None]
    expected = [
        -2 * np.sin(3 * x) * np.sin(2 * y),
        -3 * np.cos(3 * x) * np.cos(2 * y),
        -np.sin(x + y),
        np.sin(x + y),
    ]
    found = tiers.velocities(fields)
    np.testing.assert_allclose(found[0], np.stack(expected, -1), atol=1e-13)


@pytest.mark.parametrize(("tier", "online"), [("mini", True), ("velocities", False)])
def test_all_stages_are_those_that_a_tier_has(
    reproduce, monkeypatch, tmp_path, tier, online
):
    done = []
    for name in reproduce.STAGES:
        stage = functools.partial(lambda name, study: done.append(name), name)
        monkeypatch.setitem(reproduce.STAGES, name, stage)
    options = ["--case", "qg_eddy_to_3jet", "--tier", tier, "--out", str(tmp_path)]
    assert reproduce.main(options) == 0
    assert done[:2] == ["data", "base"] and done[-1] == "report"
    assert ("online" in done) == online


def test_inputs_of_another_kind_have_a_scaling_and_no_les(reproduce):
    study, analysis = (
        import_module(f"reproduction.{name}") for name in ("study", "analysis")
    )
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, [1.0, 2.0, 4.0], (5, 8, 8, 3)).astype("float32")
    y = rng.normal(-1.0, 0.5, (5, 8, 8, 1)).astype("float32")
    tiers = import_module("reproduction.tiers")
    one = SimpleNamespace(tier=tiers.TIERS["velocities"], tier_name="velocities")
    scaling = study.Study.normalization(one, x, y)
    for part in scaling.normalize(x, y):
        assert part.dtype == np.float32
        np.testing.assert_allclose(part.mean((0, 1, 2)), 0.0, atol=1e-5)
        np.testing.assert_allclose(part.std((0, 1, 2)), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match=r"take velocities. Leave out .*online"):
        analysis.run_online(one)
