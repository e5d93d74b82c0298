"""The equation of the benchmark: order, budgets, closure."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
ORDER_TOLERANCE = 0.25


@pytest.fixture(scope="module")
def ks():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("kuramoto_sivashinsky")
        sys.modules.pop("kuramoto_sivashinsky")


@pytest.fixture(scope="module")
def fields(ks):
    equation = ks.KuramotoSivashinsky(viscosity=0.7, length=40.0, num_points=96)
    developed = ks.snapshots(equation, 2, trajectories=3, spin_up=60.0, seed=1)
    return equation, developed


def run(ks, equation, u_hat, duration, num_steps):
    advance = ks.etdrk4(equation, duration / num_steps)
    for _ in range(num_steps):
        u_hat = advance(u_hat)
    return u_hat


def test_it_converges_at_fourth_order(ks):
    """Steps resolve the fastest rate, 21; stiffer modes reach their order later."""
    equation = ks.KuramotoSivashinsky(viscosity=0.7, length=40.0, num_points=48)
    developed = ks.snapshots(equation, 1, trajectories=2, spin_up=60.0, seed=1)
    start = np.fft.rfft(developed[:, 0])
    exact = run(ks, equation, start, 2.0, 1000)
    counts = np.array([80, 110, 160])
    errors = [
        np.linalg.norm(run(ks, equation, start, 2.0, count) - exact) for count in counts
    ]
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(4.0, abs=ORDER_TOLERANCE)


def test_linear_modes_grow_as_they_should(ks):
    equation = ks.KuramotoSivashinsky(viscosity=2.0, length=30.0, num_points=32)
    tiny = np.zeros((1, 17), complex)
    tiny[0, 1:6] = 1e-12
    grown = run(ks, equation, tiny, 1.0, 4)[0, 1:6] / 1e-12
    k = 2 * np.pi / 30.0 * np.arange(1, 6)
    assert grown.real == pytest.approx(np.exp(k**2 - 2.0 * k**4), rel=1e-9)


def test_energy_changes_by_what_is_put_in_and_taken_out(ks, fields):
    """d/dt <u^2> / 2 = <u_x^2> - viscosity <u_xx^2>: advection does no work."""
    equation, developed = fields
    u_hat = np.fft.rfft(developed[:, 0])
    k = equation.wavenumbers

    def mean_square(hat):
        return np.mean(np.fft.irfft(hat, equation.num_points) ** 2, axis=-1)

    step = 1e-3
    after = run(ks, equation, u_hat, step, 1)
    twice = run(ks, equation, after, step, 1)
    change = (mean_square(twice) - mean_square(u_hat)) / (4.0 * step)
    production = mean_square(1j * k * after)
    dissipation = equation.viscosity * mean_square(k**2 * after)
    balance = production - dissipation
    # A central difference: second order in a step of 1e-3.
    assert change == pytest.approx(balance, rel=1e-4, abs=1e-5 * production.max())
    work = np.mean(
        np.fft.irfft(equation.nonlinear(u_hat), equation.num_points) * developed[:, 0],
        axis=-1,
    )
    assert np.abs(work).max() < 1e-12 * production.max()


def test_the_mean_is_conserved_and_cells_have_their_length(ks, fields):
    equation, developed = fields
    assert np.abs(developed.mean(axis=-1)).max() < 1e-12
    energy = np.mean(np.abs(np.fft.rfft(developed)) ** 2, axis=(0, 1))
    peak = equation.wavenumbers[np.argmax(energy)]
    # The fastest growing wavenumber, 1 / sqrt(2 viscosity), or one somewhat longer.
    assert 0.6 < peak * np.sqrt(2.0 * equation.viscosity) < 1.3


def test_coarse_equation_and_closure_are_the_filtered_fine_equation(ks, fields):
    equation, developed = fields
    coarse = ks.CoarseFilter(equation, num_points=24)
    v = coarse.filtered(developed)
    k = equation.wavenumbers[:13]
    linear = np.fft.irfft((k**2 - equation.viscosity * k**4) * np.fft.rfft(v), 24)
    by_closure = -coarse.advection(v) + linear + coarse.closure(developed)
    u_hat = np.fft.rfft(developed)
    fine = equation.nonlinear(u_hat) + equation.linear * u_hat
    by_filter = coarse.filtered(np.fft.irfft(fine, equation.num_points))
    assert by_closure == pytest.approx(by_filter, abs=1e-12 * np.abs(by_filter).max())
    assert np.std(coarse.closure(developed)) > 0.01 * np.std(by_filter)
    assert np.abs(coarse.closure(developed).mean(axis=-1)).max() < 1e-12


def test_a_field_that_the_filter_leaves_alone_needs_no_closure(ks):
    """Without damping, and with products that the coarse grid resolves, Pi is 0."""
    equation = ks.KuramotoSivashinsky(num_points=96)
    coarse = ks.CoarseFilter(equation, num_points=48, width=1e-12)
    x = equation.length * np.arange(96) / 96
    fields = np.sin(2 * np.pi * 3 * x / equation.length)
    assert coarse.filtered(fields) == pytest.approx(fields[::2], abs=1e-14)
    assert np.abs(coarse.closure(fields)).max() < 1e-14
    slope = coarse.derivative(coarse.filtered(fields))
    k = 2 * np.pi * 3 / equation.length
    assert slope == pytest.approx(k * np.cos(k * x[::2]), abs=1e-13)


def test_bad_equations_are_refused(ks):
    with pytest.raises(ValueError, match=r"viscosity=0\.0"):
        ks.KuramotoSivashinsky(viscosity=0.0)
    with pytest.raises(ValueError, match="num_points=7"):
        ks.KuramotoSivashinsky(num_points=7)
