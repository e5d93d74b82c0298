"""The JAX engine: gradients, precision, closures on the host, errors, datasets."""

import gc
import logging
import math
import pickle
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import numpy as np
import pytest

from turbulence_data import (
    EnsembleConfig,
    FftwEngine,
    FlowConfig,
    JaxEngine,
    RandomVorticity,
    RingForcing,
    SimulationDivergedError,
    UnstableTimeStepError,
    etdrk4,
    evolve,
)
from turbulence_data.generation import sample_trajectory
from turbulence_data.generation._ensemble import config_hash
from turbulence_data.generation._pool import run_trajectories
from turbulence_data.generation._store import CheckpointedSampling
from turbulence_data.solver._equation import Equation
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import truncated_modes
from turbulence_data.solver._simulation import Numerics, Simulation
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.jax._engine import _gathering

FLOW = FlowConfig(16, 50.0, linear_drag=0.1, forcing_wavenumber=2)
ENSEMBLE = EnsembleConfig(
    FlowConfig(24, 50.0, forcing_wavenumber=None),
    num_points_les=8,
    num_trajectories=(3, 1, 1),
    num_snapshots=2,
    spin_up=0.4,
    coarse_spin_up=0.2,
    interval=0.2,
    time_step=0.01,
    start=RandomVorticity(0.5, 2.0),
    forcing=RingForcing(3.0, 1.0, 0.1),
)
ROUND_OFF = 1e-10


def start_field(seed: int = 0, shape=(16, 16)) -> np.ndarray:
    draw = RandomVorticity(energy=0.5, peak_wavenumber=3.0)
    return draw(Grid(shape), np.random.default_rng(seed))


def damped(vorticity, streamfunction):
    return -0.3 * vorticity * abs(vorticity)


@pytest.mark.parametrize("closure", [None, damped], ids=["dns", "les"])
def test_the_gradient_of_the_energy_is_that_of_finite_differences(closure):
    grid, start, direction = Grid((16, 16)), start_field(0), start_field(1)
    forcing = RingForcing(3.0, 1.0, 0.2)
    flow = replace(FLOW, forcing_wavenumber=None)

    def energy(vorticity):
        hat = jax.numpy.fft.rfft2(vorticity, norm="forward")
        density = abs(hat) ** 2 * grid.inverse_k_squared * grid.hermitian_weights
        return 0.5 * density.sum()

    with jax.enable_x64(True):
        propagate = JaxEngine().propagator(flow, 0.02, 10, closure, forcing)
        after = jax.jit(lambda w: energy(propagate(w)))
        slope = float(np.sum(np.asarray(jax.grad(after)(start)) * direction))
        size = 1e-5  # truncation of size^2, round-off of 1e-16 / size
        forward, backward = (
            float(after(start + sign * size * direction)) for sign in (1, -1)
        )
    assert slope == pytest.approx((forward - backward) / (2 * size), rel=1e-7)
    assert abs(slope) > 1e-3


def test_the_propagator_is_evolve_for_any_leading_axes():
    forcing = RingForcing(3.0, 1.0, 0.2)
    flow = replace(FLOW, forcing_wavenumber=None)
    starts = np.stack([start_field(seed) for seed in range(2)])
    with jax.enable_x64(True):
        propagate = JaxEngine().propagator(flow, 0.02, 10, forcing=forcing)
        ends = np.asarray(propagate(starts))
        rest = np.asarray(JaxEngine().propagator(flow, 0.02, 0)(starts[0]))
    for start, end in zip(starts, ends, strict=True):
        reference = evolve(start, flow, 0.2, 0.02, forcing=forcing)
        np.testing.assert_allclose(end, reference, atol=ROUND_OFF)
    np.testing.assert_allclose(rest, starts[0], atol=ROUND_OFF)


def test_no_steps_of_a_stochastic_run_are_the_start_itself():
    flow, start = replace(FLOW, forcing_wavenumber=None), start_field()
    numerics = Numerics(dtype=np.float32)
    propagate = JaxEngine().propagator(
        flow, 0.02, 0, forcing=RingForcing(3.0, 1.0, 0.2), numerics=numerics
    )
    np.testing.assert_allclose(propagate(start), start, atol=1e-4)


def test_a_propagator_refuses_to_compute_in_less_than_was_asked_for():
    propagate = JaxEngine().propagator(FLOW, 0.02, 2)
    with pytest.raises(ValueError, match=r"float64.*enable_x64"):
        propagate(start_field())
    single = JaxEngine().propagator(FLOW, 0.02, 2, numerics=Numerics(dtype=np.float32))
    assert single(start_field()).dtype == np.float32


def test_the_precision_of_jax_is_left_as_it_was():
    for is_double in (False, True):
        with jax.enable_x64(is_double):
            for dtype in (np.float64, np.float32):
                end = evolve(
                    start_field(),
                    FLOW,
                    0.1,
                    numerics=Numerics(engine=JaxEngine(), dtype=dtype),
                )
                assert end.dtype == dtype
                assert jax.config.jax_enable_x64 == is_double


def test_a_closure_is_traced_where_it_can_be_and_says_where_it_cannot(caplog):
    traced, called = [], []

    def traceable(vorticity, streamfunction):
        traced.append(isinstance(vorticity, jax.core.Tracer))
        return -0.1 * vorticity

    def on_the_host(vorticity, streamfunction):
        field = np.asarray(vorticity)
        called.append(type(field))
        return -0.1 * field

    caplog.set_level(logging.INFO, "turbulence_data")
    ends = [
        evolve(
            start_field(),
            FLOW,
            0.1,
            0.01,
            closure,
            numerics=Numerics(engine=JaxEngine()),
        )
        for closure in (traceable, on_the_host)
    ]
    assert all(traced)
    assert set(called) == {np.ndarray}
    assert len(called) >= 4 * 10  # every stage of every step
    assert "on_the_host" in caplog.text
    assert "traceable at" not in caplog.text
    np.testing.assert_allclose(ends[1], ends[0], atol=ROUND_OFF)


def test_a_forcing_in_time_is_traced_where_it_can_be(caplog):
    seen = []

    def swinging(x, y, time):
        seen.append(isinstance(time, jax.core.Tracer))
        return x * (x - np.pi) * (x - 2.0 * np.pi) * (1.0 - time)

    def of_numpy(x, y, time):
        return np.sin(x - time)

    flow = replace(FLOW, forcing_wavenumber=None)
    caplog.set_level(logging.INFO, "turbulence_data")
    for forcing in (swinging, of_numpy):
        evolve(
            start_field(),
            flow,
            0.1,
            0.01,
            forcing=forcing,
            numerics=Numerics(engine=JaxEngine()),
        )
    # On the host to check it: at first on the points of the flow and on finer ones,
    # then at the end of the ten steps.
    assert seen.count(False) == 3
    assert "of_numpy" in caplog.text
    assert "swinging" not in caplog.text


class Drag:
    """A closure and a forcing whose strength can be changed between runs."""

    def __init__(self, strength):
        self.strength = strength
        self.traced = 0

    def __call__(self, vorticity, streamfunction):
        self.traced += 1
        return -self.strength * vorticity

    def source(self, x, y, time):
        return self.strength * x * (x - np.pi) * (x - 2.0 * np.pi)


@pytest.mark.parametrize("role", ["closure", "forcing"])
def test_parameters_are_read_when_a_run_begins(role):
    drag = Drag(0.0)
    flow = replace(FLOW, forcing_wavenumber=None)
    used = {role: drag if role == "closure" else drag.source}
    for strength in (0.1, 2.0):
        drag.strength = strength
        ends = [
            evolve(start_field(), flow, 0.1, 0.01, numerics=Numerics(engine=e), **used)
            for e in (JaxEngine(), FftwEngine())
        ]
        np.testing.assert_allclose(ends[0], ends[1], atol=ROUND_OFF)


def test_joined_runs_share_the_code_of_their_closure():
    drag, numerics = Drag(0.1), Numerics(engine=JaxEngine(batch_size=2))
    traced = []
    both = [Simulation(FLOW, drag, numerics=numerics) for _ in range(2)]
    for simulation in both:
        simulation.advance(simulation.start(start_field()), 0.02, 0.01)
        traced.append(drag.traced)
    assert traced[1] == traced[0] > 0


def test_an_earlier_run_that_is_kept_lends_no_parameters():
    """A notebook keeps simulations, also those of the last error."""
    drag, kept = Drag(0.1), []
    flow = replace(FLOW, forcing_wavenumber=None)
    for strength in (0.1, 2.0):
        drag.strength = strength
        ends = []
        for engine in (JaxEngine(), FftwEngine()):
            simulation = Simulation(flow, drag, numerics=Numerics(engine=engine))
            end = simulation.advance(simulation.start(start_field()), 0.1, 0.01)
            ends.append(simulation.vorticity(end))
            kept.append(simulation)
        np.testing.assert_allclose(ends[0], ends[1], atol=ROUND_OFF)


def test_a_closure_is_freed_after_its_run():
    def run(strength):
        drag = Drag(strength)
        numerics = Numerics(engine=JaxEngine())
        evolve(start_field(), FLOW, 0.02, 0.01, closure=drag, numerics=numerics)
        return weakref.ref(drag)

    references = [run(strength) for strength in (0.1, 0.2, 0.3)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


@pytest.mark.parametrize("convert", [np.asarray, lambda w: w], ids=["host", "device"])
def test_a_closure_of_another_shape_is_refused(convert):
    def closure(vorticity, streamfunction):
        return convert(vorticity)[:4]

    with pytest.raises(Exception, match=r"expected shape \(16, 16\)"):
        evolve(
            start_field(),
            FLOW,
            0.1,
            0.01,
            closure,
            numerics=Numerics(engine=JaxEngine()),
        )


def test_divergence_and_steps_that_are_too_long_are_errors():
    with pytest.raises(UnstableTimeStepError, match="breaks the CFL limit"):
        evolve(
            20.0 * start_field(), FLOW, 1.0, 0.1, numerics=Numerics(engine=JaxEngine())
        )
    with pytest.raises(SimulationDivergedError, match="last good energy was"):
        evolve(
            start_field(),
            FLOW,
            1.0,
            0.01,
            lambda w, psi: math.nan * w,
            numerics=Numerics(engine=JaxEngine()),
        )


def test_an_unknown_scheme_is_refused_by_name():
    def leapfrog(equation, time_step):
        raise NotImplementedError

    with pytest.raises(ValueError, match=r"integrating_factor_rk4.*leapfrog"):
        evolve(
            start_field(),
            FLOW,
            0.1,
            numerics=Numerics(scheme=leapfrog, engine=JaxEngine()),
        )


@pytest.mark.parametrize("engine", ["jax", JaxEngine, None])
def test_what_is_no_engine_is_refused(engine):
    with pytest.raises(TypeError, match="engine must be an object"):
        evolve(start_field(), FLOW, 0.1, numerics=Numerics(engine=engine))
    with pytest.raises(TypeError, match="engine must be an object"):
        replace(ENSEMBLE, engine=engine)


@pytest.mark.parametrize("size", [0, 1.5, True])
def test_a_batch_holds_a_whole_number_of_runs(size):
    with pytest.raises(ValueError, match="batch_size"):
        JaxEngine(batch_size=size)


def test_without_jax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match=r"keras-spectral-tl\[jax\]"):
        evolve(start_field(), FLOW, 0.1, numerics=Numerics(engine=JaxEngine()))
    with pytest.raises(ImportError, match=r"keras-spectral-tl\[jax\]"):
        JaxEngine().propagator(FLOW, 0.1, 1)


def test_the_default_engine_leaves_the_hash_of_a_config_alone():
    assert "engine" not in ENSEMBLE.to_dict()
    assert "engine" not in repr(ENSEMBLE)
    on_jax = replace(ENSEMBLE, engine=JaxEngine())
    assert config_hash(on_jax) != config_hash(ENSEMBLE)
    assert config_hash(replace(on_jax, engine=FftwEngine())) == config_hash(ENSEMBLE)
    assert "JaxEngine" in repr(on_jax)
    assert on_jax.to_dict()["engine"]["class"].endswith("JaxEngine")
    assert pickle.loads(pickle.dumps(on_jax)) == on_jax


@pytest.mark.parametrize("time_step", [0.01, None])
def test_trajectories_joined_from_threads_are_those_of_the_other_engine(time_step):
    ensemble = replace(ENSEMBLE, time_step=time_step, extra_fields=("tau",))
    joined = replace(ensemble, engine=JaxEngine(batch_size=2))
    with ThreadPoolExecutor(3) as executor:
        found = {
            t.trajectory_id: t for t in run_trajectories(joined, [0, 1, 2], executor)
        }
    for number in range(3):
        expected = sample_trajectory(ensemble, number)
        np.testing.assert_allclose(
            found[number].history, expected.history, rtol=1e-8, atol=1e-12
        )
        for name, field in expected.fields().items():
            np.testing.assert_allclose(found[number].fields()[name], field, atol=1e-6)


def test_a_run_that_is_over_is_not_waited_for():
    """Nor does it hold memory of the device until the next garbage collection."""
    gathering = _gathering(5)
    simulation = Simulation(FLOW, numerics=Numerics(engine=JaxEngine(batch_size=5)))
    state = simulation.start(start_field())
    simulation.filtered(state, (8, 8), 0.5)
    simulation.advance(state, 0.02, 0.01)
    assert len(gathering._at_work) == 1
    gc.disable()
    try:
        del simulation, state
        assert gathering._at_work == set()
    finally:
        gc.enable()


def test_a_trajectory_on_jax_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    ensemble = replace(ENSEMBLE, engine=JaxEngine())
    whole = sample_trajectory(ensemble, 0)
    advance, calls = Simulation.advance, []

    def dies(self, *args):
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return advance(self, *args)

    monkeypatch.setattr(Simulation, "advance", dies)
    work = CheckpointedSampling(str(tmp_path), 0.0)
    with pytest.raises(KeyboardInterrupt):
        work(ensemble, 0)
    again = work(ensemble, 0)
    assert len(calls) > 5
    for name, field in whole.fields().items():
        np.testing.assert_array_equal(again.fields()[name], field)


def test_another_equation_is_refused():
    class Heat(Equation):
        nonlinear_terms = advection_rate = streamfunction_hat = energy = None
        integrals = wave_rate = None

    vorticity = VorticityEquation(FLOW, truncated_modes(Grid(FLOW.shape)))
    heat = Heat(FLOW, vorticity.modes, vorticity.drive)
    with pytest.raises(ValueError, match=r"received Heat\. Run it on FftwEngine"):
        JaxEngine().integrator(heat, etdrk4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda x, y, t: np.sin(x) * np.sin(y) + t, "mean"),
        (lambda x, y, t: jax.numpy.sin(x) + t * (1.0 + 0.0 * y), "mean"),
        (
            lambda x, y, t: jax.numpy.sin(x) + 1e3 * t * jax.numpy.sin(7.0 * y),
            "not resolved",
        ),
    ],
)
def test_a_source_that_goes_wrong_later_is_refused(source, message):
    flow = replace(FLOW, forcing_wavenumber=None)
    for engine in (FftwEngine(), JaxEngine()):
        with pytest.raises(ValueError, match=message):
            evolve(
                np.zeros((16, 16)),
                flow,
                0.3,
                0.01,
                forcing=source,
                numerics=Numerics(engine=engine),
            )


def test_diagnostics_follow_an_array_that_is_changed_in_place():
    simulation = Simulation(FLOW, numerics=Numerics(engine=JaxEngine()))
    state = simulation.start(start_field())
    energy, limit = simulation.energy(state), simulation.largest_time_step(state)
    state.vorticity_hat[:] *= 2.0
    assert simulation.energy(state) == pytest.approx(4.0 * energy)
    assert simulation.largest_time_step(state) == pytest.approx(0.5 * limit)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_state_of_a_run_on_jax_serves_in_any_simulation(dtype):
    on_jax = Simulation(FLOW, numerics=Numerics(engine=JaxEngine()))
    state = on_jax.advance(on_jax.start(start_field()), 0.1, 0.01)
    expected = on_jax.vorticity(on_jax.advance(state, 0.1, 0.01))
    for engine in (FftwEngine(), JaxEngine()):
        other = Simulation(FLOW, numerics=Numerics(dtype=dtype, engine=engine))
        end = other.advance(state, 0.1, 0.01)
        assert end.vorticity_hat.dtype == other.modes.complex_dtype
        assert np.allclose(other.vorticity(end), expected, atol=1e-4)
        assert np.allclose(other.integrals(state), on_jax.integrals(state), rtol=1e-4)
        assert np.allclose(
            other.largest_time_step(state), on_jax.largest_time_step(state)
        )


def test_the_budget_on_jax_is_that_of_one_field_too():
    simulation = Simulation(FLOW, numerics=Numerics(engine=JaxEngine()))
    pair = simulation.start(np.stack([start_field(0), start_field(1)]))
    with pytest.raises(ValueError, match="one field"):
        simulation.integrals(pair)
