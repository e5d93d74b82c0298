"""Clipped, filtered and summed closures."""

import numpy as np
import pytest

from turbulence_data import FlowConfig
from turbulence_data.closures import (
    ClippedBackscatter,
    DynamicSmagorinsky,
    GradientModel2,
    NoClosure,
    Smagorinsky,
    SpectralFilter,
    SumOfClosures,
    evaluate,
)
from turbulence_data.solver import Simulation, evolve
from turbulence_data.solver._grid import Grid

ROUND_OFF = 1e-12


def axes(n):
    grid = Grid((n, n))
    return grid.x, grid.y


def test_clipping_leaves_no_backscatter_and_nothing_else_changes(turbulence):
    vorticity, psi, true_pi = turbulence

    def perfect(*_):
        return true_pi

    cosine = np.cos(Grid(vorticity.shape).x)
    given = {
        "energy": psi * true_pi,
        "enstrophy": vorticity * true_pi,
        lambda w, psi, pi, grid: psi * pi * np.cos(grid.x): psi * true_pi * cosine,
    }
    for criterion, feeds in given.items():
        pi = ClippedBackscatter(perfect, criterion)(vorticity, psi)
        back = feeds > 0.0
        assert 0.1 < back.mean() < 0.9
        assert not pi[back].any()
        assert np.array_equal(pi[~back], true_pi[~back])


def test_the_default_clips_negative_eddy_viscosity():
    """Pi = nu(x) lap(w) with nu of both signs: what is left is max(nu, 0) lap(w)."""
    x, y = axes(32)
    vorticity = np.cos(2 * x) * np.sin(y)
    viscosity = 0.1 * np.sin(x) + 0.0 * y
    closure = ClippedBackscatter(lambda w, psi: viscosity * (-5.0 * w))
    expected = np.maximum(viscosity, 0.0) * (-5.0 * vorticity)
    assert np.abs(closure(vorticity, vorticity / 5.0) - expected).max() < 1e-13


def test_the_spectral_filter_halves_its_cutoff_and_spares_large_scales():
    x, y = axes(32)
    wave = {k: np.cos(k * x) + 0.0 * y for k in (2, 8, 15)}
    closure = SpectralFilter(lambda w, psi: w, cutoff=0.5, order=8)
    gain = {k: np.mean(closure(w, w) * w) / np.mean(w**2) for k, w in wave.items()}
    assert abs(gain[8] - 0.5) < ROUND_OFF
    assert gain[2] > 0.9999
    assert gain[15] < 1e-10


def test_wrappers_compose_and_say_what_they_wrap(turbulence):
    vorticity, psi, _ = turbulence
    weights = np.array([1.0, 0.5])
    mixed = SumOfClosures(GradientModel2(), DynamicSmagorinsky(), weights=weights)
    stabilised = ClippedBackscatter(SpectralFilter(mixed))
    for name in (
        "ClippedBackscatter",
        "SpectralFilter",
        "SumOfClosures",
        "GradientModel2",
    ):
        assert name in repr(stabilised)
    parts = GradientModel2()(vorticity, psi) + 0.5 * DynamicSmagorinsky()(
        vorticity, psi
    )
    error = np.abs(mixed(vorticity, psi) - parts).max()
    assert error < ROUND_OFF * np.abs(parts).max()
    assert stabilised(vorticity, psi).shape == vorticity.shape


def test_a_closure_for_one_field_serves_an_ensemble_member_by_member():
    seen = []

    def single(vorticity, streamfunction):
        seen.append(vorticity.shape)
        return -vorticity

    fields = np.random.default_rng(0).standard_normal((3, 8, 8))
    assert np.array_equal(evaluate(single, fields, fields), -fields)
    assert seen == [(8, 8)] * 3
    with pytest.raises(ValueError, match="expected shape"):
        evaluate(lambda w, psi: w[:4], fields, fields)


WIDE = FlowConfig((16, 32), 100.0, 0.1, None, lengths=(np.pi, 2.0 * np.pi))


@pytest.mark.parametrize(
    "closure",
    [
        Smagorinsky(0.1),
        SumOfClosures(Smagorinsky(0.1)),
        ClippedBackscatter(lambda vorticity, psi: vorticity),
        SpectralFilter(SumOfClosures(Smagorinsky(0.1)), lengths=WIDE.lengths),
    ],
    ids=["bare", "sum", "wrapper", "nested"],
)
def test_a_closure_of_another_domain_is_refused_also_within_wrappers(closure):
    with pytest.raises(ValueError, match=r"a domain of .*lengths=flow\.lengths"):
        Simulation(WIDE, closure)


def test_a_wrapper_may_fit_every_domain_whatever_is_within():
    class Rescaled:
        closure, any_domain = Smagorinsky(0.1), True

        def __call__(self, vorticity, streamfunction):
            return 0.0 * vorticity

    assert Simulation(WIDE, Rescaled())


def test_closures_that_know_no_domain_fit_every_one():
    vorticity = np.random.default_rng(0).normal(size=WIDE.shape)
    start = vorticity - vorticity.mean()
    of_this = SumOfClosures(NoClosure(), NoClosure(lengths=WIDE.lengths))
    plain = evolve(start, WIDE, 0.01, 0.005, NoClosure())
    np.testing.assert_array_equal(evolve(start, WIDE, 0.01, 0.005, of_this), plain)
