"""Datasets of two layers: the same guarantees as those of one plane."""

import json
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data import (
    Builder,
    EnsembleConfig,
    JaxEngine,
    Normalization,
    RandomPotentialVorticity,
    RandomVorticity,
    TurbulenceConfig,
    TwoLayerNormalization,
    evolve,
    filtered_layers,
    named_flow,
    to_arrays,
)
from turbulence_data.coarsening import OPERATORS
from turbulence_data.generation import (
    InProcessExecutor,
    content_hash,
    process_pool,
    sample_trajectory,
)
from turbulence_data.generation._ensemble import plain_config
from turbulence_data.generation._statistics import EnsembleStatistics
from turbulence_data.generation._trajectory import examples_of
from turbulence_data.input_pipeline import batches
from turbulence_data.interchange import check_conventions
from turbulence_data.interchange._export import ExportSource
from turbulence_data.interchange._tables import trajectory_tables
from turbulence_data.solver._grid import Grid, resample

DAY = 86_400.0
TINY = replace(
    named_flow("tiny_qg_eddy"),
    num_trajectories=(2, 1, 1),
    num_snapshots=3,
    spin_up=4 * DAY,
    interval=DAY,
)
INPUTS = (
    "streamfunction_upper",
    "streamfunction_lower",
    "potential_vorticity_upper",
    "potential_vorticity_lower",
)
OUTPUTS = ("sgs_forcing_upper", "sgs_forcing_lower")
SINGLE = 1e-6


@pytest.fixture(scope="module")
def trajectory():
    return sample_trajectory(TINY, 0)


@pytest.fixture(scope="module")
def examples(trajectory):
    return list(examples_of(TINY, trajectory))


@pytest.fixture(scope="module")
def statistics(trajectory):
    found = EnsembleStatistics(TINY)
    found.add("train", trajectory)
    return found.to_dict()


def assert_single(found, expected):
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=SINGLE * np.abs(expected).max()
    )


def test_examples_are_evolve_and_the_operators_by_layer(examples):
    rng = np.random.default_rng([TINY.seed, 0])
    field = TINY.start(Grid(TINY.flow.shape, TINY.flow.lengths), rng)
    field = evolve(field, TINY.flow, TINY.spin_up, TINY.time_step)
    for example in examples:
        filtered = filtered_layers(field, TINY.flow, 16, TINY.operator)
        for layer, name in enumerate(("upper", "lower")):
            for feature, values in {
                "potential_vorticity": filtered.potential_vorticity,
                "streamfunction": filtered.streamfunction,
                "u": filtered.velocity[:, 0],
                "v": filtered.velocity[:, 1],
                "sgs_forcing": filtered.sgs_forcing,
            }.items():
                assert_single(example[f"{feature}_{name}"], values[layer])
            for operator in ("operator_1", "operator_3"):
                other = filtered_layers(field, TINY.flow, 16, operator)
                found = example[f"{operator}_sgs_forcing_{name}"]
                assert_single(found, other.sgs_forcing[layer])
                found = example[f"{operator}_potential_vorticity_{name}"]
                assert_single(found, other.potential_vorticity[layer])
        field = evolve(field, TINY.flow, TINY.interval, TINY.time_step)


def test_scalars_are_those_of_the_flow(examples):
    assert examples[0]["deformation_radius"] == 15e3
    assert examples[0]["mean_shear"] == 0.025
    assert examples[0]["bottom_drag"] == 5.787e-7
    assert examples[1]["time"] == 5 * DAY
    assert "reynolds" not in examples[0]
    for name, value in examples[0].items():
        scalar = np.ndim(value) == 0
        assert scalar or (value.shape, value.dtype) == ((16, 16), np.float32), name


def test_a_trajectory_that_was_stopped_ends_with_the_same_bits(examples):
    class Stop(Exception):
        pass

    class Kept:
        def __init__(self, legs):
            self.legs, self.progress = legs, None

        def load(self):
            return self.progress

        def save(self, progress):
            self.progress = progress
            if progress.num_legs == self.legs:
                self.legs = None
                raise Stop

    expected = content_hash(examples)
    for legs in (1, 4, 7):
        kept = Kept(legs)
        with pytest.raises(Stop):
            sample_trajectory(TINY, 0, kept)
        again = sample_trajectory(TINY, 0, kept)
        assert content_hash(examples_of(TINY, again)) == expected


def test_a_coarse_spin_up_damps_its_own_smallest_scales():
    ensemble = replace(TINY, flow=replace(TINY.flow, num_points=48), coarse_spin_up=DAY)
    coarse = ensemble.coarse_flow()
    assert coarse.shape == (24, 24)
    assert coarse.hyperviscosity == 2**8 * ensemble.flow.hyperviscosity
    trajectory = sample_trajectory(replace(ensemble, num_snapshots=1), 0)
    rng = np.random.default_rng([TINY.seed, 0])
    field = ensemble.start(Grid((24, 24), coarse.lengths), rng)
    field = evolve(field, coarse, DAY, 2 * ensemble.time_step)
    field = evolve(
        resample(field, (48, 48)), ensemble.flow, 3 * DAY, ensemble.time_step
    )
    filtered = filtered_layers(field, ensemble.flow, 16, ensemble.operator)
    assert_single(trajectory.vorticity[0], filtered.potential_vorticity)


def test_the_metadata_name_operator_sign_and_layers(statistics, examples):
    assert statistics["config"]["operator"] == "operator_2"
    assert statistics["pi_convention"] == "rhs_add"
    assert "minus that of pyqg" in statistics["conventions"]["streamfunction"]
    for name, value in examples[0].items():
        if np.ndim(value) == 2:
            every = np.stack([example[name] for example in examples]).astype(float)
            moments = statistics["fields"][name]
            assert moments["std"] == pytest.approx(float(every.std()), rel=1e-5, abs=0)
    json.dumps(statistics, allow_nan=False)


def test_the_energy_budget_of_the_history_closes():
    """Trapezoids of an hour and a half: shear, drag and hyperviscosity."""
    flow = replace(TINY.flow, hyperviscosity=0.01 * TINY.flow.hyperviscosity)
    ensemble = replace(
        TINY, flow=flow, spin_up=0.0, interval=DAY / 16, num_snapshots=9, time_step=None
    )
    time, energy, _, _, _, work, dissipation = sample_trajectory(ensemble, 0).history.T
    change = np.trapezoid(work + dissipation, time)
    through = np.trapezoid(np.abs(work) + np.abs(dissipation), time)
    # The error of the rule is (interval x rate)^2 / 12, rates being 1e-5 / s.
    assert abs(energy[-1] - energy[0] - change) < 2e-3 * through


def test_spectra_by_layer_add_up(statistics, examples):
    kinetic = np.mean(
        [np.mean(e["u_upper"] ** 2 + e["v_upper"] ** 2) for e in examples]
    )
    spectra = statistics["spectra"]
    assert sum(spectra["energy_upper"]) == pytest.approx(0.5 * kinetic, rel=1e-5, abs=0)
    square = np.mean(
        [np.mean(e["sgs_forcing_lower"].astype(float) ** 2) for e in examples]
    )
    assert sum(spectra["sgs_forcing_lower"]) == pytest.approx(square, rel=1e-5, abs=0)


def test_arrays_have_four_inputs_and_two_outputs(examples, statistics):
    x, y = to_arrays(examples)
    assert (x.shape, y.shape) == ((3, 16, 16, 4), (3, 16, 16, 2))
    for channel, name in enumerate(INPUTS):
        np.testing.assert_array_equal(x[1, ..., channel], examples[1][name])
    for channel, name in enumerate(OUTPUTS):
        np.testing.assert_array_equal(y[2, ..., channel], examples[2][name])
    normalization = TwoLayerNormalization.from_metadata(statistics)
    assert normalization == TwoLayerNormalization(
        *(
            tuple(
                (statistics["fields"][n]["mean"], statistics["fields"][n]["std"])
                for n in names
            )
            for names in (INPUTS[:2], INPUTS[2:], OUTPUTS)
        )
    )
    scaled = to_arrays(examples, normalization)
    for values in scaled:
        np.testing.assert_allclose(values.std((0, 1, 2)), 1.0, rtol=1e-4)
    back = normalization.denormalize(*scaled)
    np.testing.assert_allclose(back[0], x, rtol=1e-4, atol=1e-5 * np.abs(x).max())
    from_arrays = TwoLayerNormalization.from_arrays(x, y)
    for name in ("streamfunction", "vorticity", "sgs_forcing"):
        np.testing.assert_allclose(
            np.array(getattr(from_arrays, name))[:, 1],
            np.array(getattr(normalization, name))[:, 1],
            rtol=1e-5,
        )


def test_a_normalization_of_one_plane_is_refused_for_two_layers(examples, statistics):
    plane, x, y = Normalization((0, 1), (0, 1), (0, 1)), *to_arrays(examples)
    for change in (plane.normalize, plane.denormalize):
        with pytest.raises(ValueError, match=r"of one plane.*16, 4\).*TwoLayerNormal"):
            change(x, y)
    with pytest.raises(ValueError, match=r"y must have the channels.*16, 1\)"):
        TwoLayerNormalization.from_arrays(x, y).normalize(x, y[..., :1])
    with pytest.raises(ValueError, match="Use Normalization for one plane"):
        Normalization.from_arrays(x, y)
    with pytest.raises(KeyError, match="TwoLayerNormalization for two layers"):
        Normalization.from_metadata(statistics)


def test_conventions_of_two_layers_are_not_checked_as_those_of_one_plane(examples):
    with pytest.raises(ValueError, match=r"of one plane.*Simulation\(flow\)\.streamf"):
        check_conventions(examples)


def test_other_features_can_be_the_channels(examples):
    velocities = ("u_upper", "u_lower", "v_upper", "v_lower")
    x, _ = to_arrays(examples, inputs=velocities)
    np.testing.assert_array_equal(x[0, ..., 3], examples[0]["v_lower"])
    _, y = to_arrays(examples, outputs=("operator_1_sgs_forcing_upper",))
    assert y.shape == (3, 16, 16, 1)
    with pytest.raises(KeyError, match="w_upper"):
        to_arrays(examples, inputs=("w_upper",))


def test_the_start_field_has_the_size_of_eddies_and_no_mean():
    grid = Grid((48, 32), (1e6, 7e5))
    field = RandomPotentialVorticity((3e-6, 2e-7), 5.0)(grid, np.random.default_rng(0))
    np.testing.assert_allclose(np.sqrt(np.mean(field**2, axis=(1, 2))), [3e-6, 2e-7])
    assert np.abs(field.mean(axis=(1, 2))).max() < 1e-18
    with pytest.raises(ValueError, match="not resolved"):
        RandomPotentialVorticity(peak_mode=20.0)(grid, np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"Grid\(flow\.shape, flow\.lengths\)"):
        RandomPotentialVorticity()(TINY.flow, np.random.default_rng(0))
    for rms in (1.0, (1.0,), (1.0, -1.0)):
        with pytest.raises(ValueError, match="rms"):
            RandomPotentialVorticity(rms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator": None}, "name of a coarsening operator"),
        ({"operator": "gaussian"}, "name of a coarsening operator"),
        ({"operator": OPERATORS["operator_1"]}, "name in coarsening.OPERATORS, by w"),
        ({"operator": "operator_1_aliased"}, "free of aliasing"),
        ({"flow": replace(TINY.flow, aliased_products=True)}, "are aliased"),
        ({"filter_width": 1e5}, "filter_width must be None"),
        ({"forcing": lambda x, y, t: x}, "forcing must be None"),
        ({"start": RandomVorticity()}, "RandomPotentialVorticity"),
        ({"extra_fields": ("tau",)}, "extra_fields"),
        ({"engine": JaxEngine()}, "which solves one plane alone"),
        ({"operator": "operator_3", "num_points_les": 12}, "operator_3 takes means"),
        ({"extra_fields": ("operator_3",), "num_points_les": 12}, "operator_3 takes"),
    ],
)
def test_what_does_not_fit_two_layers_is_refused_in_words(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_one_plane_takes_no_operator():
    with pytest.raises(ValueError, match="operator filters two layers"):
        replace(named_flow("tiny_forced_re2e2_kf4"), operator="operator_1")


@pytest.mark.parametrize("values", [(0.0, 1.0), ((0.0, 1.0), (0.0, 0.0)), None])
def test_statistics_that_cannot_scale_two_layers_are_refused(values):
    good = ((0.0, 1.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="vorticity"):
        TwoLayerNormalization(good, values, good)
    with pytest.raises(KeyError, match="two layers"):
        TwoLayerNormalization.from_metadata({})


def builder(data_dir, executor=None):
    small = replace(TINY, num_snapshots=2, num_trajectories=(2, 1, 1))
    assert isinstance(small, EnsembleConfig)
    return Builder(
        config=TurbulenceConfig(name="own_qg", ensemble=small),
        data_dir=data_dir,
        executor=executor or InProcessExecutor(),
    )


def test_exported_means_over_blocks_tell_how_far_off_the_points_they_lie(trajectory):
    examples = list(examples_of(TINY, trajectory))
    metadata = {"pi_convention": "rhs_add", "config": plain_config(TINY)}
    source = ExportSource({"train": examples}, metadata, TINY.flow.lengths)
    (table,) = trajectory_tables(source.examples, source.metadata, source.lengths)
    # An exported file has its config as text, users have what they like.
    as_text = {"config": json.dumps(metadata["config"])}
    (same,) = trajectory_tables(source.examples, as_text, source.lengths)
    assert {n: c.attributes for n, c in same.items()} == {
        n: c.attributes for n, c in table.items()
    }
    for config in (None, {"operator": "mine"}, {**metadata["config"], "operator": "a"}):
        mine = {"config": config}
        (other,) = trajectory_tables(source.examples, mine, source.lengths)
        assert not any("offset_x" in column.attributes for column in other.values())
    flow, points = TINY.flow, TINY.num_points_les
    waves = np.exp(2j * np.pi * np.arange(flow.shape[0]) / flow.shape[0])
    field = (waves[:, None] * waves[None, :]).real
    both = {n: OPERATORS[n](field, points) for n in ("operator_2", "operator_3")}
    phase = {n: np.angle(np.fft.fft2(f)[1, 1]) / 2.0 for n, f in both.items()}
    offset = phase["operator_3"] - phase["operator_2"]  # along each axis, in radians
    for name, column in table.items():
        of_blocks = name.startswith("operator_3")
        assert ("offset_x" in column.attributes) == of_blocks, name
        if of_blocks:
            for axis, length in zip("xy", flow.lengths, strict=True):
                found = column.attributes[f"offset_{axis}"]
                assert found == pytest.approx(offset * length / (2.0 * np.pi))
                assert found > 0.0


@pytest.mark.slow
def test_tfds_holds_the_trajectories_of_any_executor(tmp_path):
    made = builder(tmp_path / "one")
    made.download_and_prepare()
    with process_pool(2) as pool:
        other = builder(tmp_path / "two", pool)
        other.download_and_prepare()
    found = made.info.metadata["content_sha256"]
    assert other.info.metadata["content_sha256"] == found
    splits = ("train", "validation", "test")
    read = [example for split in splits for example in made.read(split)]
    assert content_hash(read) == found
    assert made.info.metadata["config"]["operator"] == "operator_2"
    assert made.channels == (INPUTS, OUTPUTS)
    inputs, outputs = made.info.supervised_keys
    assert ({*inputs}, {*outputs}) == ({*INPUTS}, {*OUTPUTS})
    source = ExportSource.from_builder(made, ("test",))
    assert source.metadata["inputs"] == " ".join(INPUTS)
    assert source.metadata["outputs"] == " ".join(OUTPUTS)
    (table,) = trajectory_tables(source.examples, source.metadata, source.lengths)
    assert table["sgs_forcing_upper"].values.shape == (1, 2, 16, 16)
    assert "units" not in table["time"].attributes
    normalization = TwoLayerNormalization.from_metadata(made.info.metadata)
    x, y = next(iter(batches(made.as_dataset(split="train"), 4, normalization)))
    assert (x.shape, y.shape) == ((4, 16, 16, 4), (4, 16, 16, 2))
