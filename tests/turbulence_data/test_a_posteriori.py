"""A posteriori tests: an LES with the true forcing is the filtered DNS; its scores."""

import json
import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from tests.turbulence_data.dns_alongside import DNSAlongside
from turbulence_data.a_posteriori import (
    Reference,
    compare,
    markdown_table,
    reference_ensemble,
    run_ensemble,
)
from turbulence_data.a_posteriori._comparison import with_uncertainty
from turbulence_data.a_posteriori._measures import measures_of
from turbulence_data.a_posteriori._reference import EnsembleRun
from turbulence_data.a_posteriori._statistics import (
    ReferenceStatistics,
    band_errors,
    correlations,
    decorrelation_times,
    default_bands,
    jackknife_error,
    tail_probability,
)
from turbulence_data.closures import (
    ClippedBackscatter,
    DynamicSmagorinsky,
    NoClosure,
    Smagorinsky,
)
from turbulence_data.config import FlowConfig
from turbulence_data.diagnostics import (
    energy,
    energy_spectrum,
    enstrophy,
    enstrophy_spectrum,
    kurtosis,
)
from turbulence_data.filtering import filtered_dns, les_flow
from turbulence_data.flows import named_flow
from turbulence_data.generation._trajectory import sample_trajectory
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._forcing import RingForcing, SteadyForcing
from turbulence_data.solver._grid import Grid, streamfunction_of
from turbulence_data.solver._initial_conditions import RandomVorticity

FLOW = FlowConfig(64, reynolds=200.0, forcing_wavenumber=6, beta=1.5)
LES_POINTS = 32


def start_field(seed=0, points=64):
    grid = Grid((points, points))
    return RandomVorticity(0.5, 5.0)(grid, np.random.default_rng(seed))


def true_forcing(vorticity):
    return filtered_dns(vorticity, LES_POINTS).sgs_forcing


@pytest.fixture(scope="module")
def developed():
    """A DNS and what it is half a time unit later."""
    start = evolve(start_field(), FLOW, 1.0)
    return start, evolve(start, FLOW, 0.5, 0.5 / 256)


def test_with_the_true_forcing_an_les_is_the_filtered_dns_to_fourth_order(developed):
    """All conventions at once: filter, sign, Jacobian, filtered forcing, beta, drag.

    With Pi(t) given, filtering commutes with everything linear, so the LES's equation
    is that of the filtered DNS and nothing is left but the error of the time step.
    """
    (start, exact), duration, errors = developed, 0.5, []
    truth = filtered_dns(exact, LES_POINTS).vorticity
    for num_steps in (20, 40):
        closure = DNSAlongside(start, FLOW, duration / num_steps, true_forcing)
        les = evolve(
            filtered_dns(start, LES_POINTS).vorticity,
            les_flow(FLOW, LES_POINTS),
            duration,
            duration / num_steps,
            closure,
        )
        errors.append(np.abs(les - truth).max() / np.abs(truth).max())
    assert errors[-1] < 1e-5
    assert abs(math.log2(errors[0] / errors[1]) - 4.0) < 0.25


@pytest.mark.parametrize(
    ("flow", "wrong"),
    [
        # The unfiltered forcing, the wrong sign of Pi, no Pi.
        (replace(les_flow(FLOW, LES_POINTS), forcing_amplitude=1.0), 1.0),
        (les_flow(FLOW, LES_POINTS), -1.0),
        (les_flow(FLOW, LES_POINTS), 0.0),
    ],
)
def test_another_convention_would_be_seen(developed, flow, wrong):
    start, exact = developed
    truth = filtered_dns(exact, LES_POINTS).vorticity
    alongside = DNSAlongside(start, FLOW, 0.5 / 32, true_forcing)
    les = evolve(
        filtered_dns(start, LES_POINTS).vorticity,
        flow,
        0.5,
        0.5 / 32,
        lambda w, psi: wrong * alongside(w, psi),
    )
    assert np.abs(les - truth).max() > 1e-3 * np.abs(truth).max()


# Ensembles


def les_ensemble(members=3):
    flow = les_flow(FLOW, LES_POINTS)
    fields = [
        filtered_dns(start_field(seed), LES_POINTS).vorticity for seed in range(members)
    ]
    return np.stack(fields), flow


@pytest.mark.parametrize(
    "closure", [None, DynamicSmagorinsky(), ClippedBackscatter(Smagorinsky())]
)
def test_members_of_an_ensemble_are_the_runs_of_each_alone(closure):
    start, flow = les_ensemble()
    run = run_ensemble(start, flow, closure, [0.0, 0.15, 0.3], 0.02)
    assert np.array_equal(run.vorticity[0], start.astype(np.float32))
    for member in range(3):
        single = run_ensemble(
            start[member : member + 1], flow, closure, [0.15, 0.3], 0.02
        )
        difference = run.vorticity[1:, member] - single.vorticity[:, 0]
        assert np.abs(difference).max() < 1e-5 * np.abs(start).max()
        if closure is not None:
            alone = evolve(start[member], flow, 0.15, 0.02, closure)
            assert np.abs(alone - run.vorticity[1, member]).max() < 1e-5


def test_a_batch_closure_receives_the_whole_ensemble_at_every_stage():
    start, flow = les_ensemble()
    shapes = []

    class Drag:
        accepts_batches = True

        def __call__(self, vorticity, streamfunction):
            shapes.append(vorticity.shape)
            return -0.3 * vorticity

    run = run_ensemble(start, flow, Drag(), [0.02], 0.01)
    assert shapes == [start.shape] * 8
    heavier = replace(flow, linear_drag=flow.linear_drag + 0.3)
    drag = run_ensemble(start, heavier, None, [0.02], 0.01)
    assert np.abs(run.vorticity - drag.vorticity).max() < 1e-5  # RK4 of the same decay


def test_a_member_that_blows_up_is_taken_out_and_the_others_go_on():
    start, flow = les_ensemble()

    def feeds_the_second(vorticity, streamfunction):
        rate = np.zeros((len(vorticity), 1, 1))
        rate[1] = 40.0
        return rate * vorticity

    feeds_the_second.accepts_batches = True
    times = [0.0, 0.1, 0.2, 0.3]
    run = run_ensemble(start, flow, feeds_the_second, times, 0.02)
    others = run_ensemble(start, flow, lambda w, psi: 0.0 * w, times, 0.02)
    assert run.stable_fraction == pytest.approx(2 / 3)
    assert np.isinf(run.failure_times[[0, 2]]).all()
    assert 0.0 < run.failure_times[1] <= 0.3
    assert np.isnan(run.vorticity[times.index(0.3), 1]).all()
    assert np.array_equal(run.vorticity[:, [0, 2]], others.vorticity[:, [0, 2]])


def test_every_member_may_blow_up():
    start, flow = les_ensemble()
    run = run_ensemble(start, flow, lambda w, psi: np.full_like(w, np.inf), [0.1], 0.02)
    assert run.stable_fraction == 0.0
    assert np.isnan(run.vorticity).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": np.zeros((16, 16))}, r"\(E, nx, ny\)"),
        ({"start": np.zeros((0, 32, 32))}, r"one .*field a member.*\(0, 32, 32\)"),
        ({"start": np.ones((2, 32, 32))}, "mean vorticity"),
        ({"times": [-1.0, 1.0]}, "from 0 on"),
        ({"times": [0.2, 0.1]}, "rise"),
        ({"time_step": 0.0}, "time_step"),
    ],
)
def test_unusable_arguments_are_refused(change, message):
    start, flow = les_ensemble(2)
    arguments = {"start": start, "times": [0.1], "time_step": None} | change
    with pytest.raises(ValueError, match=message):
        run_ensemble(
            arguments["start"], flow, None, arguments["times"], arguments["time_step"]
        )


def test_forcings_are_those_of_evolve_but_not_stochastic():
    start, flow = les_ensemble(2)
    flow = replace(flow, forcing_wavenumber=None, forcing_amplitude=1.0)
    jets = SteadyForcing(lambda x, y: np.sin(4.0 * y) + 0.0 * x)
    run = run_ensemble(start, flow, lambda w, psi: 0.0 * w, [0.1], 0.02, jets)
    alone = evolve(start[1], flow, 0.1, 0.02, lambda w, psi: 0.0 * w, jets)
    assert np.abs(run.vorticity[0, 1] - alone).max() < 1e-5
    with pytest.raises(ValueError, match="stochastic"):
        run_ensemble(start, flow, None, [0.1], forcing=RingForcing(5.0, 2.0, 0.1, 0))


# Scores


def test_spectra_of_a_plane_add_up_to_its_energy_enstrophy_and_transfers():
    field, forcing = start_field(0, 32), start_field(1, 32)
    found = measures_of(replace(FLOW, num_points=32)).spectra(field, forcing)
    assert found.energy.sum() == pytest.approx(energy(field))
    assert found.enstrophy.sum() == pytest.approx(enstrophy(field))
    psi = streamfunction_of(field, Grid((32, 32)))
    assert found.energy_transfer.sum() == pytest.approx(np.mean(psi * forcing))
    assert found.enstrophy_transfer.sum() == pytest.approx(np.mean(field * forcing))
    assert len(set(map(len, found))) == 1


def bands_flow(num_points):
    return FlowConfig(num_points, reynolds=10.0, forcing_wavenumber=None)


def test_bands_part_the_wavenumbers():
    bands = default_bands(bands_flow(64))
    chosen = [k for low, high in bands.values() for k in range(int(low), int(high) + 1)]
    assert chosen == list(range(1, 32))


def test_a_band_without_wavenumbers_is_refused():
    with pytest.raises(ValueError, match=r"received \(6, 6\) points"):
        default_bands(bands_flow(6))
    assert all(low <= high for low, high in default_bands(bands_flow(7)).values())


def test_errors_by_band_see_their_band_only():
    k = np.arange(32.0)
    reference = (k + 1.0) ** -3
    spectrum = np.where(k > 9, 3.0, 1.0) * reference
    errors = band_errors(k, spectrum, reference, default_bands(bands_flow(64)))
    assert errors["large scales"] == 0.0
    assert errors["small scales"] == pytest.approx(2.0)


def test_errors_by_band_do_not_depend_on_the_unit_of_length():
    shells, unit = np.arange(12.0), 1e10
    reference, spectrum = (shells + 1.0) ** -3, (shells + 1.0) ** -2
    small = FlowConfig(24, 1.0, forcing_wavenumber=None)
    large = replace(small, lengths=(2 * np.pi * unit, 2 * np.pi * unit))
    errors = [
        band_errors(k, spectrum, reference, default_bands(flow))
        for k, flow in ((shells, small), (shells / unit, large))
    ]
    assert errors[0] == errors[1]


def test_correlations_and_the_time_until_they_are_lost():
    a, b = start_field(0, 32), start_field(1, 32)
    mixed = np.stack([a, 0.6 * a + 0.8 * b, -a])
    first, middle, last = correlations(mixed, np.stack([a, a, a]))
    assert first == pytest.approx(1.0)
    assert last == pytest.approx(-1.0)
    assert abs(middle - np.corrcoef(mixed[1].ravel(), a.ravel())[0, 1]) < 1e-12
    series = np.exp(-np.arange(5.0))[:, None] * [[1.0, np.inf]]
    series[2:, 1] = np.nan  # blown up
    lost = decorrelation_times(np.arange(5.0), np.minimum(series, 1.0))
    by_hand = 0.0 + (1.0 - 0.5) / (1.0 - np.exp(-1.0))
    assert lost.tolist() == pytest.approx([by_hand, 2.0])


def test_tails_of_a_normal_distribution():
    values = np.random.default_rng(0).standard_normal(400_000)
    assert abs(tail_probability(values, 3.0) / 0.0026998 - 1.0) < 0.1
    assert math.isnan(tail_probability(np.full((2, 2), np.nan), 1.0))


# The whole comparison


@pytest.fixture(scope="module")
def reference():
    ensemble = replace(named_flow("tiny_forced_re2e2_kf4"), spin_up=2.0)
    ensemble = reference_ensemble(ensemble, 2, 0.8, 5)
    trajectories = [sample_trajectory(ensemble, number) for number in range(2)]
    return Reference.from_trajectories(ensemble, trajectories)


def test_a_reference_is_a_set_of_filtered_trajectories(reference):
    assert reference.times.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert reference.vorticity.shape == (5, 2, 32, 32)
    assert reference.flow.shape == (32, 32)
    assert 0.0 < reference.flow.forcing_amplitude < 1.0  # the filtered forcing
    assert not np.array_equal(reference.start[0], reference.start[1])
    with pytest.raises(ValueError, match="from 0 on"):
        replace(reference, times=reference.times + 1.0)
    with pytest.raises(ValueError, match="sgs_forcing must have"):
        replace(reference, sgs_forcing=reference.sgs_forcing[1:])
    for wrong in ([0.0, 0.4, 0.2, 0.6, 0.8], [0.0, 0.2, 0.4, 0.6, np.inf], [0.0]):
        with pytest.raises(ValueError, match="finite and rising"):
            replace(reference, times=wrong)
    for name in ("vorticity", "sgs_forcing"):
        fields = getattr(reference, name).copy()
        fields[2, 1, 5] = np.nan
        with pytest.raises(ValueError, match=rf"{name} .* received 32 of 10240 values"):
            replace(reference, **{name: fields})
    of_lists = replace(
        reference,
        times=reference.times.tolist(),
        vorticity=reference.vorticity.tolist(),
    )
    assert np.array_equal(of_lists.start, reference.start)
    assert of_lists.times.dtype == np.float64
    with pytest.raises(ValueError, match="at least one trajectory"):
        Reference.from_trajectories(named_flow("tiny_forced_re2e2_kf4"), [])


def test_what_a_blown_up_member_would_have_done_is_not_asked(reference):
    """One member is the filtered DNS itself, the other has gone: nothing is wrong."""
    weak = replace(
        reference,
        vorticity=reference.vorticity[:, :2] * [[[[1.0]], [[2.0]]]],
        sgs_forcing=reference.sgs_forcing[:, :2],
    )
    fields = weak.vorticity.copy()
    fields[1:, 1] = np.nan
    run = EnsembleRun(weak.times, fields, np.array([np.inf, weak.times[1]]), 0.01)
    scorer = ReferenceStatistics(weak, default_bands(bands_flow(32)), 0.5)
    members = scorer.statistics(NoClosure(), fields)
    scores, _ = scorer.scores(run, members, correlations(fields, weak.vorticity))
    assert scores["stable"] == 0.5
    for name in ("energy", "enstrophy", "kurtosis"):
        assert scores[name] == pytest.approx(1.0), name
    for name, value in scores.items():
        if " error " in name:
            assert value == pytest.approx(0.0, abs=1e-12), name


@pytest.mark.parametrize("lengths", [(1.0, 1.0), (20 * np.pi, 20 * np.pi), (2.0, 5.0)])
def test_default_bands_part_the_wavenumbers_of_any_domain(lengths):
    flow = FlowConfig(32, 10.0, forcing_wavenumber=None, lengths=lengths)
    bands = default_bands(flow)
    k, _ = energy_spectrum(start_field(0, 32), lengths)
    found = [k[(k > low - 1e-9) & (k < high + 1e-9)] for low, high in bands.values()]
    assert min(map(len, found)) > 0
    together = np.concatenate(found)
    nyquist = np.pi * 32 / max(lengths)
    np.testing.assert_allclose(together, k[(k > 0) & (k < nyquist * (1 - 1e-9))])
    with pytest.raises(ValueError, match="holds none of the wavenumbers"):
        band_errors(k, k, k, {"none": (0.3 * k[1], 0.6 * k[1])})


def test_the_comparison_scores_every_closure(reference, tmp_path):
    closures = {
        "none": None,
        "much": Smagorinsky(0.3),
        "fed": lambda w, psi: 20.0 * w,
        "clipped": ClippedBackscatter(Smagorinsky(0.1)),
    }
    result = compare(closures, reference, 0.02)
    rows = {row["closure"]: row for row in result.rows}
    assert rows["none"]["stable"] == rows["much"]["stable"] == 1.0
    assert rows["fed"]["stable"] == 0.0
    assert rows["fed"]["lasted"] < rows["none"]["lasted"]
    assert rows["much"]["energy"] < rows["none"]["energy"]
    assert rows["much"]["enstrophy transfer"] > 0.0  # drains, as the true one does
    assert rows["none"]["enstrophy transfer"] == 0.0
    assert "Smagorinsky(" in rows["clipped"]["definition"]
    assert "ClippedBackscatter(" in rows["clipped"]["definition"]
    assert " at 0x" not in rows["fed"]["definition"]  # the same in every run
    assert "lambda" in rows["fed"]["definition"]
    truth = result.statistics["filtered DNS"]
    energies = [energy(w) for w in reference.vorticity[2:].reshape(-1, 32, 32)]
    assert truth.energy_spectrum.sum() == pytest.approx(np.mean(energies))
    assert set(result.correlation) == set(closures)
    table = result.to_markdown(["closure", "stable"]).splitlines()
    assert table[0] == "| closure | stable |"
    assert len(table) == 2 + len(closures)
    _check_results(result, tmp_path)


def _check_results(result, folder):
    """The same table as text, JSON, frame and picture."""
    assert str(result).splitlines()[0].startswith("| closure | stable | lasted |")
    result.to_json(folder / "comparison.json")
    stored = json.loads((folder / "comparison.json").read_text())
    assert stored["rows"][0]["energy"] == result.rows[0]["energy"]
    assert stored["bands"]["large scales"] == list(result.bands["large scales"])
    assert result.to_frame().loc["none", "stable"] == 1.0
    matplotlib.use("agg")
    assert len(result.plot().lines) == len(result.statistics)


def test_statistics_are_over_all_fields_of_all_members(reference):
    """Pooled from the members, against the same of all fields at once."""
    truth = compare({"none": None}, reference, 0.02).statistics["filtered DNS"]
    fields = reference.vorticity[2:].astype(np.float64)  # the second half of the time
    assert truth.num_fields == 6
    assert truth.kurtosis == pytest.approx(kurtosis(fields))
    threshold = 3.0 * fields.std()
    assert truth.tails == pytest.approx(tail_probability(fields, threshold))
    each = [enstrophy_spectrum(w)[1] for w in fields.reshape(-1, 32, 32)]
    assert truth.enstrophy_spectrum == pytest.approx(np.mean(each, axis=0))
    scaled = fields / fields.std()
    density = np.histogram(scaled, truth.distribution.edges, density=True)[0]
    assert truth.distribution.density == pytest.approx(density)
    assert truth.energy.shape == (5, 2)


def test_standard_errors_are_those_of_the_jackknife(reference):
    """The ratio of energies, by hand from the time series of the two members."""
    result = compare({"none": None}, reference, 0.02)
    series = [
        result.statistics[name].energy[2:].mean(axis=0)
        for name in ("none", "filtered DNS")
    ]
    ratios = series[0] / series[1]  # with one of two left out, the other is alone
    by_hand = abs(ratios[0] - ratios[1]) / 2.0
    assert result.standard_errors[0]["energy"] == pytest.approx(by_hand, rel=1e-6)
    assert result.standard_errors[0]["stable"] == 0.0
    single = replace(
        reference,
        vorticity=reference.vorticity[:, :1],
        sgs_forcing=reference.sgs_forcing[:, :1],
    )
    errors = compare({"none": None}, single, 0.02).standard_errors[0]
    assert all(math.isnan(error) for error in errors.values())


def test_uncertainties_leave_the_digits_that_are_certain():
    rows = [{"closure": "a", "cc": 0.8604, "E": 13.52, "t": math.inf, "stable": 1.0}]
    errors = [{"cc": 0.00096, "E": 2.4, "t": math.nan, "stable": 0.0}]
    head, rule, last = markdown_table(rows, standard_errors=errors).splitlines()
    assert last == "| a       | 0.8604 ± 0.0010 | 14 ± 2 | inf | 1      |"
    assert len(head) == len(rule) == len(last)
    rounded = [with_uncertainty(13.52, error) for error in (1.94, 1.96, 23.0, 0.05)]
    assert rounded == ["13.5 ± 1.9", "14 ± 2", "14 ± 23", "13.52 ± 0.05"]


def test_the_jackknife_sees_no_spread_where_there_is_none():
    assert jackknife_error([2.0, 2.0, 2.0]) == 0.0
    assert math.isnan(jackknife_error([2.0]))
    assert math.isnan(jackknife_error([2.0, math.inf]))


def test_the_truth_scores_perfectly(reference):
    """Scores of the filtered DNS itself: a run that returns it."""
    result = compare({"none": None}, reference, 0.02, discard=0.0)
    truth = result.statistics["filtered DNS"]
    errors = band_errors(
        truth.wavenumbers, truth.energy_spectrum, truth.energy_spectrum, result.bands
    )
    assert set(errors.values()) == {0.0}
    # From the same start, after a short time, the LES is still close to it.
    assert result.correlation["none"][1].min() > 0.9
    assert result.correlation["none"][0].tolist() == pytest.approx([1.0, 1.0])


def test_a_comparison_needs_closures_and_time(reference):
    with pytest.raises(ValueError, match="needs closures"):
        compare({}, reference)
    with pytest.raises(ValueError, match=r"discard=1\.0"):
        compare({"none": None}, reference, discard=1.0)
    with pytest.raises(ValueError, match="another name"):
        compare({"none": None, "filtered DNS": None}, reference)


def test_a_flow_is_no_ensemble_to_refer_to():
    flow = named_flow("tiny_forced_re2e2_kf4").flow
    with pytest.raises(TypeError, match=r"EnsembleConfig.* Received FlowConfig"):
        reference_ensemble(flow, 2, 1.0, 3)
    with pytest.raises(ValueError, match="of at least 2"):
        reference_ensemble(named_flow("tiny_forced_re2e2_kf4"), 2, 1.0, 1)
