"""Symmetries of the flow commute with its right-hand side and its subgrid forcing."""

from dataclasses import replace

import numpy as np
import pytest

from turbulence_data import (
    NAMED_FLOWS,
    EnsembleConfig,
    FlowConfig,
    RandomVorticity,
    RingForcing,
    Simulation,
    SteadyForcing,
    TwoLayerConfig,
    filtered_dns,
    les_forcing,
    symmetries,
)
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._simulation import equation_of
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-12  # relative to the largest value: a handful of FFTs
POINTS = 48
UNFORCED = FlowConfig(POINTS, 200.0, forcing_wavenumber=None)
FORCED = FlowConfig(POINTS, 200.0, forcing_wavenumber=4)
BETA = replace(UNFORCED, beta=9.0)
FORCED_ON_BETA = replace(FORCED, beta=9.0)
OBLONG = FlowConfig(
    (48, 32), 200.0, forcing_wavenumber=4, lengths=(4 * np.pi, 2 * np.pi)
)
LAYERS = TwoLayerConfig(POINTS, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
JETS = SteadyForcing(lambda x, y: np.sin(3.0 * y))
names = [str(symmetry) for symmetry in symmetries.square]


def noise(seed: int, points=(POINTS, POINTS)) -> np.ndarray:
    field = np.random.default_rng(seed).standard_normal(points)
    return field - field.mean()


def transformed(symmetry, *fields):
    """Each field by itself, as a sample of one channel."""
    samples = [field[None, :, :, None] for field in fields]
    return [symmetry(sample, sample)[0][0, :, :, 0] for sample in samples]


def tendency(flow, state, forcing=None):
    """All of `d(state)/dt`, on the points of the grid."""
    equation = equation_of(flow, None, forcing)
    side = FftwEngine().right_hand_side(equation)
    hat = equation.modes.from_physical(equation.check_start(state))
    out = np.empty_like(hat)
    side.nonlinear_terms(hat, 0.0, out)
    return equation.modes.to_physical(out + equation.linear_operator * hat)


def error(computed, expected) -> float:
    return float(np.abs(computed - expected).max() / np.abs(expected).max())


def commutator(symmetry, flow, forcing=None) -> float:
    """Tendency of the transformed field against the transformed tendency."""
    vorticity = noise(0, flow.shape)
    (moved,) = transformed(symmetry, vorticity)
    (expected,) = transformed(symmetry, tendency(flow, vorticity, forcing))
    return error(tendency(flow, moved, forcing), expected)


@pytest.mark.parametrize("symmetry", symmetries.square, ids=names)
def test_each_takes_solutions_of_the_unforced_flow_to_solutions(symmetry):
    assert commutator(symmetry, UNFORCED) < ROUND_OFF


@pytest.mark.parametrize("flow", [FORCED, BETA, FORCED_ON_BETA, OBLONG])
def test_of_a_flow_are_those_that_commute_with_its_right_hand_side(flow):
    exact = symmetries.of(flow)
    plain = {symmetry for symmetry in exact if not any(symmetry.shift)}
    assert [commutator(symmetry, flow) < ROUND_OFF for symmetry in exact] == (
        [True] * len(exact)
    )
    for symmetry in set(symmetries.square) - plain:
        if symmetry.fits(flow.shape):
            assert commutator(symmetry, flow) > 1e-3, symmetry


def test_how_many_a_flow_has():
    counts = {flow: len(symmetries.of(flow)) for flow in (UNFORCED, FORCED, BETA)}
    assert list(counts.values()) == [8, 8, 2]
    assert [str(one) for one in symmetries.of(BETA)] == [
        "identity",
        "reflection y -> -y",
    ]
    assert len(symmetries.of(OBLONG)) == 4
    assert len(symmetries.of(FORCED, num_points=12)) == 4  # an eighth is 1.5 points
    assert symmetries.of(UNFORCED, num_points=12) == symmetries.square
    assert len(symmetries.of(FlowConfig(32, 10.0, forcing_wavenumber=4, beta=1.0))) == 2


@pytest.mark.parametrize("filter", ["gaussian", "box", "sharp"])
@pytest.mark.parametrize("symmetry", symmetries.square, ids=names)
def test_sgs_forcing_of_a_transformed_field_is_the_transformed_one(symmetry, filter):
    vorticity = RandomVorticity(0.5, 6.0)(
        Grid((POINTS, POINTS)), np.random.default_rng(1)
    )
    made = filtered_dns(vorticity, 16, filter)
    moved = filtered_dns(transformed(symmetry, vorticity)[0], 16, filter)
    x = np.stack([made.streamfunction, made.vorticity], axis=-1)[None]
    new_x, new_y = symmetry(x, made.sgs_forcing[None, :, :, None])
    assert error(new_x[0, :, :, 0], moved.streamfunction) < ROUND_OFF
    assert error(new_x[0, :, :, 1], moved.vorticity) < ROUND_OFF
    assert error(new_y[0, :, :, 0], moved.sgs_forcing) < ROUND_OFF


def velocities(streamfunction) -> np.ndarray:
    """(d psi / dy, -d psi / dx), by Fourier transforms."""
    wavenumbers = 1j * np.fft.fftfreq(POINTS, 1.0 / POINTS)
    hat = np.fft.fft2(streamfunction)
    parts = wavenumbers[None, :] * hat, -wavenumbers[:, None] * hat
    return np.stack([np.fft.ifft2(part).real for part in parts], axis=-1)


@pytest.mark.parametrize("symmetry", symmetries.square, ids=names)
def test_velocities_of_a_transformed_flow_are_the_transformed_vectors(symmetry):
    streamfunction = noise(6)
    u, v = np.moveaxis(velocities(streamfunction), -1, 0)
    x = np.stack([u, streamfunction, v], axis=-1)[None]
    of_vectors = replace(symmetry, vectors=((0, 2),))
    moved, _ = of_vectors(x, x)
    expected = velocities(moved[0, :, :, 1])
    assert error(moved[0, :, :, 0], expected[..., 0]) < ROUND_OFF
    assert error(moved[0, :, :, 2], expected[..., 1]) < ROUND_OFF
    if symmetry.turns or symmetry.reflected:  # and pseudoscalars would be wrong
        wrong = symmetry(x, x)[0][0, :, :, ::2]
        assert error(wrong, expected) > 0.1


def test_vectors_are_passed_on_and_checked():
    pairs = ((0, 2), (1, 3))
    assert {one.vectors for one in symmetries.of(UNFORCED, vectors=pairs)} == {pairs}
    for wrong in (((0, 1, 2),), ((0, 0),), ((0, 1), (1, 2))):
        with pytest.raises(ValueError, match="each channel once"):
            symmetries.Symmetry(vectors=wrong)
    with pytest.raises(ValueError, match="a channel of vectors"):
        symmetries.Symmetry(vectors=((0, -1),))
    x = np.zeros((1, 4, 4, 2))
    with pytest.raises(ValueError, match="whose last axis has 2"):
        symmetries.Symmetry(vectors=((0, 2),))(x, x)


@pytest.mark.parametrize("symmetry", symmetries.square[4:], ids=names[4:])
def test_a_reflection_without_the_change_of_sign_is_none(symmetry):
    vorticity = noise(2)
    moved = -transformed(symmetry, vorticity)[0]
    expected = -transformed(symmetry, tendency(UNFORCED, vorticity))[0]
    assert error(tendency(UNFORCED, moved), expected) > 0.1
    vorticity = RandomVorticity(0.5, 6.0)(
        Grid((POINTS, POINTS)), np.random.default_rng(1)
    )
    wrong = filtered_dns(-transformed(symmetry, vorticity)[0], 16).sgs_forcing
    made = filtered_dns(vorticity, 16).sgs_forcing
    assert error(-transformed(symmetry, made)[0], wrong) > 0.1


def test_two_layers_in_a_shear_are_symmetric_about_the_axis_of_the_shear():
    state = 1e-6 * np.stack([noise(3), noise(4)])
    moved = {
        symmetry: np.stack(transformed(symmetry, *state))
        for symmetry in symmetries.square
    }
    errors = {
        symmetry: error(
            tendency(LAYERS, start),
            np.stack(transformed(symmetry, *tendency(LAYERS, state))),
        )
        for symmetry, start in moved.items()
    }
    exact = symmetries.of(LAYERS)
    assert len(exact) == 2
    for symmetry, found in errors.items():
        assert (found < ROUND_OFF) == (symmetry in exact), symmetry


def test_a_steady_forcing_keeps_those_that_leave_its_source_as_it_is():
    exact = symmetries.of(UNFORCED, forcing=JETS)
    # sin(3 y) turned by half a turn has the other sign, reflected in y the same.
    assert [str(one) for one in exact] == ["identity", "reflection y -> -y"]
    for symmetry in symmetries.square:
        is_exact = commutator(symmetry, UNFORCED, JETS) < ROUND_OFF
        assert is_exact == (symmetry in exact), symmetry


def test_noise_on_a_ring_keeps_all_and_filtering_a_forcing_changes_nothing():
    ring = RingForcing(4.0, 2.0, 0.1)
    assert symmetries.of(UNFORCED, forcing=ring) == symmetries.square
    on_les = les_forcing(JETS, UNFORCED, 16)
    les = replace(UNFORCED, num_points=16)
    assert symmetries.of(les, forcing=on_les) == symmetries.of(UNFORCED, forcing=JETS)
    wide = FlowConfig((48, 24), 1.0, forcing_wavenumber=None)
    assert len(symmetries.of(wide, forcing=ring)) == 4


@pytest.mark.parametrize(
    "name", ["tiny_forced_re2e2_kf4", "tiny_qg_eddy", "mini_forced_re2e3_kf4_beta20"]
)
def test_names_and_ensembles_stand_for_their_flows_on_the_points_of_samples(name):
    ensemble = NAMED_FLOWS[name]
    expected = symmetries.of(ensemble.flow, ensemble.num_points_les)
    assert symmetries.of(name) == symmetries.of(ensemble) == expected
    # Shifts by an eighth take 12 points no longer to themselves.
    coarse = symmetries.of(ensemble.flow, 12)
    # Block means, an extra field of two layers, want a divisor of the DNS points.
    on_twelve = replace(ensemble, num_points_les=12, extra_fields=())
    assert symmetries.of(on_twelve) == coarse
    assert symmetries.of(name, 12) == coarse


def test_an_ensemble_brings_its_forcing():
    steady = SteadyForcing(jets)
    ensemble = EnsembleConfig(UNFORCED, 24, (1, 1, 1), 1, 0.0, 1.0, forcing=steady)
    given = symmetries.of(UNFORCED, 24, forcing=steady)
    assert symmetries.of(ensemble) == given != symmetries.of(UNFORCED, 24)
    ring = RingForcing(4.0, 1.0, 0.01)
    assert symmetries.of(ensemble, forcing=ring) == symmetries.square


def jets(x, y):
    return np.sin(3.0 * y)


@pytest.mark.parametrize("flow", [None, 4, {"num_points": 64}, FlowConfig])
def test_what_is_no_flow_is_refused(flow):
    with pytest.raises(TypeError, match=r"name of a flow.*EnsembleConfig.*received"):
        symmetries.of(flow)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(KeyError, match="Did you mean 'tiny_qg_eddy'"):
        symmetries.of("tiny_qg_edy")


def test_a_forcing_that_changes_in_time_is_refused():
    with pytest.raises(ValueError, match="changes in time"):
        symmetries.of(UNFORCED, forcing=lambda x, y, time: np.sin(x + time))


def test_they_form_the_group_of_the_square():
    samples = np.random.default_rng(5).standard_normal((2, 6, 6, 2))
    images = [symmetry(samples, samples)[0] for symmetry in symmetries.square]
    assert all(
        not np.array_equal(one, other)
        for index, one in enumerate(images)
        for other in images[:index]
    )
    for first in symmetries.square:
        for second in symmetries.square:
            product = second(*first(samples, samples))[0]
            assert sum(np.array_equal(product, image) for image in images) == 1
    quarter = symmetries.quarter_turns[1]
    for number, turned in enumerate(symmetries.quarter_turns):
        expected = samples
        for _ in range(number):
            expected = quarter(expected, expected)[0]
        assert np.array_equal(turned(samples, samples)[0], expected)


def test_points_move_as_the_names_say():
    x, y = np.meshgrid(np.arange(-3, 3), np.arange(-3, 3), indexing="ij")
    targets = {
        "identity": (x, y),
        "quarter turn": (-y, x),
        "half turn": (-x, -y),
        "three-quarter turn": (y, -x),
        "reflection y -> -y": (x, -y),
        "reflection x <-> y": (y, x),
        "reflection x -> -x": (-x, y),
        "reflection x <-> -y": (-y, -x),
    }
    field = noise(6, (6, 6))
    for symmetry in symmetries.square:
        moved = transformed(symmetry, field)[0]
        sign = -1.0 if symmetry.reflected else 1.0
        new_x, new_y = targets[str(symmetry)]
        assert np.array_equal(moved[new_x, new_y], sign * field[x, y]), symmetry


def test_samples_keep_their_dtype_and_are_left_as_they_were():
    x = np.random.default_rng(7).standard_normal((3, 8, 8, 2)).astype(np.float32)
    y = x[..., :1].copy()
    kept = x.copy()
    for symmetry in symmetries.of(FlowConfig(32, 10.0, forcing_wavenumber=2)):
        new_x, new_y = symmetry(x, y)
        assert new_x.shape == x.shape and new_y.shape == y.shape
        assert new_x.dtype == new_y.dtype == np.float32
    assert np.array_equal(x, kept)


def test_a_run_from_the_transformed_start_is_the_transformed_run():
    simulation = Simulation(FORCED)
    vorticity = RandomVorticity(0.5, 4.0)(simulation.grid, np.random.default_rng(8))

    def after(field):
        return simulation.vorticity(
            simulation.advance(simulation.start(field), 0.5, 0.01)
        )

    end = after(vorticity)
    for symmetry in symmetries.of(FORCED):
        (start,), (expected,) = (
            transformed(symmetry, field) for field in (vorticity, end)
        )
        assert error(after(start), expected) < 1e-10  # round-off over 50 steps


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((8, 8)), "samples of shape"),
        (np.zeros((1, 8, 6, 1)), "does not take 8 x 6 points"),
    ],
)
def test_samples_that_cannot_be_turned_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        symmetries.Symmetry(turns=1)(samples, samples)


def test_a_shift_between_points_is_refused():
    shifted = symmetries.Symmetry(shift=(1 / 8, 1 / 8))
    assert shifted.fits(16) and not shifted.fits(12)
    with pytest.raises(ValueError, match="12 x 12 points"):
        shifted(np.zeros((1, 12, 12, 1)), np.zeros((1, 12, 12, 1)))


@pytest.mark.parametrize("turns", [-1, 4, 1.0, "two"])
def test_other_turns_are_refused(turns):
    with pytest.raises(ValueError, match="turns must be"):
        symmetries.Symmetry(turns)


def test_a_change_of_sign_of_unsigned_integers_is_refused():
    samples = np.ones((1, 4, 4, 1), np.uint8)
    for symmetry in (
        symmetries.square[4],
        symmetries.Symmetry(turns=2, reflected=True),
    ):
        with pytest.raises(ValueError, match=r"changes signs.*uint8"):
            symmetry(samples, samples)
    assert symmetries.square[1](samples, samples)[0].dtype == np.uint8
    moved = symmetries.Symmetry(turns=1, vectors=((0, 1),))  # signs of x alone
    fields = np.ones((1, 4, 4, 2), np.float32)
    assert moved(fields, samples)[1].dtype == np.uint8
