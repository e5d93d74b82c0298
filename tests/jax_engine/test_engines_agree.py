"""Both engines solve the same equations: every variant, to round-off."""

import math
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from turbulence_data import (
    FftwEngine,
    FlowConfig,
    JaxEngine,
    RandomVorticity,
    RingForcing,
    SteadyForcing,
    closures,
    etdrk4,
    evolve,
    integrating_factor_rk4,
    les_forcing,
)
from turbulence_data.solver._evolve import trajectory
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._simulation import Numerics, Simulation

SHAPE, LENGTHS = (24, 20), (2 * math.pi, 3.0)
BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
AGREEMENT = 1e-10  # relative, over short runs; round-off of 200 transforms is 1e-14
# Every step of 50 rounds some hundred numbers of relative error 6e-8.
SINGLE = 1e-4


def start_field(seed: int = 0) -> np.ndarray:
    draw = RandomVorticity(energy=0.5, peak_wavenumber=4.0)
    return draw(Grid(SHAPE, LENGTHS), np.random.default_rng(seed))


def flow_of(**changes) -> FlowConfig:
    values = {"reynolds": 200.0, "linear_drag": 0.0, "forcing_wavenumber": None}
    return FlowConfig(SHAPE, **({"lengths": LENGTHS} | values | changes))


def difference(field, reference) -> float:
    return float(np.linalg.norm(field - reference) / np.linalg.norm(reference))


def gust(x, y, time):
    return np.cos(x - 3.0 * time) * np.cos(2 * math.pi * y / 3.0)


def traceable_gust(x, y, time):
    """Operators alone, so that arrays of JAX pass too."""
    cubic = x * (x - math.pi) * (x - 2 * math.pi)  # goes on smoothly over the edge
    return 0.3 * cubic * y * (y - 1.5) * (y - 3.0) * (1.0 + time) ** 2


def jets(x, y):
    return 3.0 * np.sin(2.0 * x) + 0.0 * y


def damping(vorticity, streamfunction):
    return 0.1 * streamfunction - 0.2 * vorticity * abs(vorticity)


def on_the_host(vorticity, streamfunction):
    hat = np.fft.rfft2(np.asarray(vorticity))
    return -0.2 * np.fft.irfft2(hat, s=SHAPE)


FLOWS = {
    "inviscid": {"reynolds": math.inf},
    "viscous": {},
    "drag": {"linear_drag": 0.3},
    "forced": {"lengths": (2 * math.pi, math.pi), "forcing_wavenumber": 2},
    "beta": {"beta": 5.0},
    "hyperviscous": {"hyperviscosity": 1e-6, "hyperviscosity_order": 3},
}
FORCINGS = {
    "steady": SteadyForcing(jets),
    "varying": gust,
    "traced": traceable_gust,
    "ring": RingForcing(4.0, 2.0, 0.1, seed=3),
    "filtered": les_forcing(
        RingForcing(4.0, 2.0, 0.1),
        FlowConfig(48, 1.0, lengths=LENGTHS, forcing_wavenumber=None),
        SHAPE,
    ),
}
CLOSURES = {
    "array": damping,
    "numpy": on_the_host,
    "formula": closures.GradientModel2(lengths=LENGTHS),
    "dynamic": closures.DynamicLeith(lengths=LENGTHS),
    "clipped": closures.ClippedBackscatter(
        closures.Leith(lengths=LENGTHS), lengths=LENGTHS
    ),
}
VARIANTS = [
    *[(FLOWS[name], None, None) for name in FLOWS],
    *[({}, FORCINGS[name], None) for name in FORCINGS],
    *[({}, None, CLOSURES[name]) for name in CLOSURES],
    ({"beta": 5.0, "linear_drag": 0.1}, FORCINGS["ring"], damping),
]
IDS = [*FLOWS, *FORCINGS, *CLOSURES, "all_at_once"]


@pytest.mark.parametrize(("changes", "forcing", "closure"), VARIANTS, ids=IDS)
def test_the_engines_agree_to_round_off(changes, forcing, closure):
    check_agreement(flow_of(**changes), forcing, closure, integrating_factor_rk4)


@pytest.mark.parametrize(
    ("changes", "forcing", "closure"),
    [VARIANTS[IDS.index(name)] for name in ("viscous", "varying", "all_at_once")],
)
def test_they_agree_with_exponential_time_differencing(changes, forcing, closure):
    check_agreement(flow_of(**changes), forcing, closure, etdrk4)


def check_agreement(flow, forcing, closure, scheme):
    start = start_field()
    ends = [
        evolve(
            start,
            flow,
            0.5,
            0.01,
            closure,
            forcing,
            numerics=Numerics(scheme=scheme, engine=engine),
        )
        for engine in (FftwEngine(), JaxEngine())
    ]
    assert difference(ends[1], ends[0]) < AGREEMENT
    assert ends[1].dtype == np.float64
    assert difference(ends[0], start) > 0.01  # something has happened


@pytest.mark.parametrize("shape", [(4, 5), (15, 9), (16, 16)])
@pytest.mark.parametrize("closure", [None, damping], ids=["dns", "les"])
def test_they_agree_on_even_and_odd_grids(shape, closure):
    flow = FlowConfig(shape, 100.0, forcing_wavenumber=1)
    start = np.random.default_rng(1).standard_normal(shape)
    start -= start.mean()
    ends = [
        evolve(start, flow, 0.1, 0.01, closure, numerics=Numerics(engine=engine))
        for engine in (FftwEngine(), JaxEngine())
    ]
    assert difference(ends[1], ends[0]) < AGREEMENT


def test_the_three_ways_to_transform_agree(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    transforms_of = import_module("jax_transforms").TRANSFORMS
    flow, start = flow_of(beta=1.0), start_field()
    reference = evolve(start, flow, 0.2, 0.01)
    for transforms in transforms_of:
        end = evolve(
            start,
            flow,
            0.2,
            0.01,
            numerics=Numerics(engine=JaxEngine(transforms=transforms)),
        )
        assert difference(end, reference) < AGREEMENT


def test_chosen_time_steps_are_the_same():
    flow, start = flow_of(beta=5.0), start_field()
    ends = [
        evolve(start, flow, 1.0, numerics=Numerics(engine=e))
        for e in (FftwEngine(), JaxEngine())
    ]
    assert difference(ends[1], ends[0]) < AGREEMENT


@pytest.mark.parametrize("engine", [FftwEngine(), JaxEngine()], ids=["fftw", "jax"])
def test_fields_side_by_side_are_each_what_they_are_alone(engine):
    flow = flow_of(linear_drag=0.1)
    starts = np.stack([start_field(seed) for seed in range(4)]).reshape(2, 2, *SHAPE)
    together = evolve(starts, flow, 0.3, 0.01, numerics=Numerics(engine=engine))
    assert together.shape == starts.shape
    for place in np.ndindex(2, 2):
        alone = evolve(starts[place], flow, 0.3, 0.01, numerics=Numerics(engine=engine))
        assert difference(together[place], alone) < AGREEMENT


@pytest.mark.parametrize("engine", [FftwEngine(), JaxEngine()], ids=["fftw", "jax"])
def test_a_batch_is_not_given_the_same_kicks(engine):
    starts = np.stack([start_field(0), start_field(1)])
    with pytest.raises(ValueError, match=r"same random numbers.*for_trajectory"):
        evolve(
            starts,
            flow_of(),
            0.1,
            forcing=FORCINGS["ring"],
            numerics=Numerics(engine=engine),
        )


def test_single_precision_is_single_precision_apart():
    flow, start = flow_of(beta=2.0), start_field()
    double = evolve(start, flow, 0.5, 0.01)
    single = evolve(
        start, flow, 0.5, 0.01, numerics=Numerics(engine=JaxEngine(), dtype=np.float32)
    )
    assert single.dtype == np.float32
    assert 1e-8 < difference(single, double) < SINGLE


def test_single_precision_has_the_same_statistics():
    """Means of a stationary flow, long after both have lost each other."""
    flow = FlowConfig(24, 100.0, linear_drag=0.3, forcing_wavenumber=None)
    means = []
    for engine, dtype, seed in (
        (FftwEngine(), np.float64, 0),
        (JaxEngine(), np.float32, 1),
    ):
        forcing = RingForcing(4.0, 2.0, 0.2, seed)
        simulation = Simulation(
            flow, forcing=forcing, numerics=Numerics(engine=engine, dtype=dtype)
        )
        states = trajectory(
            simulation, simulation.start(np.zeros((24, 24))), range(10, 90), 0.025
        )
        found = [simulation.integrals(state)[:3] for state in states]
        means.append(np.reshape(found, (8, 10, 3)).mean(axis=1))
    averages = [mean.mean(axis=0) for mean in means]
    errors = [mean.std(axis=0, ddof=1) / math.sqrt(8) for mean in means]
    distance = np.abs(averages[0] - averages[1])
    assert np.all(distance < 4.0 * np.hypot(*errors))
    assert np.all(np.hypot(*errors) < 0.1 * np.abs(averages[0]))


@pytest.mark.parametrize("forcing", [None, gust, FORCINGS["ring"]])
def test_the_integrals_agree(forcing):
    flow = flow_of(linear_drag=0.1, hyperviscosity=1e-6)
    found = []
    for engine in (FftwEngine(), JaxEngine()):
        simulation = Simulation(flow, forcing=forcing, numerics=Numerics(engine=engine))
        state = simulation.start(start_field(), time=0.3)
        found.append(simulation.integrals(state))
        assert simulation.energy(state) == pytest.approx(found[-1].energy, rel=1e-12)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12, atol=1e-15)


# 18 points keep more modes than 24 resolve after the 2/3 rule.
@pytest.mark.parametrize("points", [(8, 10), (12, 12), (18, 17)])
@pytest.mark.parametrize("closure", [None, damping], ids=["dns", "les"])
def test_filtered_fields_and_sgs_forcing_agree(points, closure):
    found = []
    for engine in (FftwEngine(), JaxEngine()):
        simulation = Simulation(flow_of(), closure, numerics=Numerics(engine=engine))
        state = simulation.advance(simulation.start(start_field()), 0.2, 0.01)
        found.append(simulation.filtered(state, points, 0.4))
    for name in ("vorticity", "streamfunction", "sgs_forcing"):
        fftw, jax = (getattr(fields, name) for fields in found)
        assert jax.shape == points
        assert difference(jax, fftw) < AGREEMENT


def test_a_state_of_one_engine_is_a_state_of_the_other():
    flow, forcing = flow_of(), FORCINGS["ring"]
    fftw, jax = (
        Simulation(flow, forcing=forcing, numerics=Numerics(engine=engine))
        for engine in (FftwEngine(), JaxEngine())
    )
    half = jax.advance(jax.start(start_field()), 0.25, 0.01)
    end = fftw.advance(type(half)(np.array(half.vorticity_hat), 0.25, 25), 0.25, 0.01)
    reference = fftw.advance(fftw.start(start_field()), 0.5, 0.01)
    assert half.step_number == 25
    assert difference(end.vorticity_hat, reference.vorticity_hat) < AGREEMENT
    onward = jax.advance(type(half)(half.vorticity_hat, 0.25, 25), 0.25, 0.01)
    assert difference(jax.vorticity(onward), fftw.vorticity(reference)) < AGREEMENT
