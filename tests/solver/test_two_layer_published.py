"""Two-layer flow against published numbers: inversion, energies, growth, pyqg's run.

The cases of inversion and energy are those of the tests of GeophysicalFlows.jl
(test_multilayerqg.jl), the reference run is of pyqg's own tests. The energy fluxes of
the former are of a mean flow U(y), which `TwoLayerConfig` cannot hold: the flux between
the layers is checked here for a uniform one, against its closed form.
"""

import math

import numpy as np
import pytest

from tests.solver.common import DRAG
from turbulence_data import TwoLayerConfig
from turbulence_data.diagnostics import (
    layer_energy_budget,
    layer_enstrophy_budget,
    layer_spectra,
)
from turbulence_data.solver import FftwEngine, Simulation
from turbulence_data.solver._modes import transport_hat
from turbulence_data.solver._simulation import equation_of
from turbulence_data.solver._two_layer import linear_matrix

YEAR = 31_104_000.0


def plane(flow):
    """Return x and y of the grid, from 0."""
    (nx, ny), (length_x, length_y) = flow.shape, flow.lengths
    x = np.arange(nx)[:, None] * length_x / nx
    return x, np.arange(ny)[None] * length_y / ny


def layers_of(depths, reduced_gravity, num_points, velocities=(0.0, 0.0)):
    """Flow on a 2 pi box with `F_i = f_0^2 / (g' H_i)`, f_0 = 1."""
    upper, lower = depths
    radius = math.sqrt(reduced_gravity * upper * lower / (upper + lower))
    return TwoLayerConfig(
        num_points,
        radius,
        beta=0.0,
        bottom_drag=0.0,
        layer_ratio=upper / lower,
        mean_velocities=velocities,
        length=2 * np.pi,
    )


def test_inversion_has_the_published_coefficients():
    """Depths .2 and .8, buoyancies -1 and -1.2: the layers are coupled by 25, 25/4."""
    flow = layers_of((0.2, 0.8), 0.2, 128)
    assert flow.stretching == pytest.approx((25.0, 25.0 / 4.0), rel=1e-14)
    x, y = plane(flow)
    # Amplitude, mode and the waves of each layer; `lap(psi) = -zeta` in this package.
    waves = [
        [(1 / 4, 2, 5), (1 / 3, 3, 3)],
        [(1.0, 3, 4), (1 / 2, 4, 2)],
    ]
    psi, zeta = (
        np.array(
            [
                sum(
                    1e-3 * a * (k * k + m * m) ** power * np.cos(k * x) * np.cos(m * y)
                    for a, k, m in layer
                )
                for layer in waves
            ]
        )
        for power in (0, 1)
    )
    q = zeta + np.reshape([25.0, -25.0 / 4.0], (2, 1, 1)) * (psi[0] - psi[1])
    equation = equation_of(flow)
    found = equation.streamfunction_hat(equation.modes.from_physical(q))
    # Of q an error of round-off, divided by k^2 > 10 at least.
    tolerance = 10 * np.finfo(float).eps * np.abs(q).max()
    np.testing.assert_allclose(
        equation.modes.to_physical(found), psi, rtol=0, atol=tolerance
    )


def test_energies_are_the_published_fractions():
    """Depths 2.5 and 7.5, g' = .5: KE_1 = 1/4, KE_2 = 3/16, PE = 1/160."""
    flow = layers_of((2.5, 7.5), 0.5, 64)
    x, y = plane(flow)
    psi = np.cos(2 * x) * np.cos(2 * y) * np.reshape([1.0, 0.5], (2, 1, 1))
    first, second = flow.stretching
    q = 8.0 * psi + np.reshape([first, -second], (2, 1, 1)) * (psi[0] - psi[1])
    spectra = layer_spectra(q, flow)
    kinetic = flow.depth_fractions * spectra.kinetic_energy.sum(axis=1)
    assert kinetic == pytest.approx([1 / 4, 3 / 16], rel=1e-13)
    assert spectra.potential_energy.sum() == pytest.approx(1 / 160, rel=1e-13)
    simulation = Simulation(flow)
    energy = simulation.energy(simulation.start(q))
    assert energy == pytest.approx(1 / 4 + 3 / 16 + 1 / 160, rel=1e-13)


def test_the_flux_between_the_layers_has_its_closed_form():
    """Fields of the published case of fluxes, with a uniform U in place of U(y).

    psi_1 = cos x cos y + sin x, psi_2 = cos(x + a) cos y: `<v_1 psi_2> = -sin(a) / 4`.
    """
    flow = layers_of((0.2, 0.8), 0.2, 64, velocities=(0.3, 0.0))
    x, y = plane(flow)
    shift = np.pi / 10
    psi = np.stack([np.cos(x) * np.cos(y) + np.sin(x), np.cos(x + shift) * np.cos(y)])
    zeta = np.stack([2 * np.cos(x) * np.cos(y) + np.sin(x), 2 * psi[1]])
    q = zeta + np.reshape([25.0, -25.0 / 4.0], (2, 1, 1)) * (psi[0] - psi[1])
    # -d_1 U_1 <v_1 q_1> = d_1 F_1 U_1 <v_1 psi_2>, with d_1 = 1/5 and F_1 = 25.
    expected = 0.2 * 25.0 * 0.3 * -math.sin(shift) / 4
    found = layer_energy_budget(q, flow).integrals()["generation"]
    assert found == pytest.approx(expected, rel=1e-12)
    # By layer, `sum_i d_i Q_i <v_i q_i>` with Q_1 = F_1 U_1 and Q_2 = -F_2 U_1.
    mixed = -math.sin(shift) / 4
    gain = 0.2 * 25.0 * 0.3 * 25.0 * mixed + 0.8 * 6.25 * 0.3 * 6.25 * mixed
    found = layer_enstrophy_budget(q, flow).integrals()["generation"]
    assert found == pytest.approx(gain, rel=1e-12)


def flow_of(radius, beta, drag, ratio, velocity=0.025):
    return TwoLayerConfig(
        64, radius, beta, drag, layer_ratio=ratio, mean_velocities=(velocity, 0.0)
    )


def largest_growth(flow):
    matrix = linear_matrix(flow, equation_of(flow).modes)
    rates = np.linalg.eigvals(np.moveaxis(matrix, (0, 1), (-2, -1))).real.max(axis=-1)
    place = np.unravel_index(rates[1:22, :22].argmax(), (21, 22))
    return rates[1:22, :22].max(), (int(place[0]) + 1, int(place[1]))


# Radius, beta, drag, delta, U_1 -> largest growth rate in 1/s, to the digits given,
# and its mode, on a domain of 1,000 km.
MAXIMA = {
    "eddy": ((15e3, 1.5e-11, DRAG, 0.25), 7.795041e-8, (7, 0)),
    "eddy without drag": ((15e3, 1.5e-11, 0.0, 0.25), 1.680009e-7, (7, 0)),
    "jet": ((15e3, 1e-11, 7e-8, 0.1), 4.463571e-8, (6, 0)),
    "jet without drag": ((15e3, 1e-11, 0.0, 0.1), 1.729920e-8, (5, 3)),
    "3-jet": ((15e3, 5e-12, 3.5e-8, 0.05), 3.418597e-8, (5, 0)),
    "3-jet without drag": ((15e3, 5e-12, 0.0, 0.05), 3.148486e-8, (5, 0)),
    "rd20": ((20e3, 1.5e-11, DRAG, 0.25), 3.555438e-8, (6, 0)),
    "reference run": ((30e3, 1.5e-11, DRAG, 0.25, 0.05), 4.462091e-8, (4, 0)),
    "equal layers": ((15e3, 1.5e-11, 0.0, 1.0, 0.1), 1.3743447603977e-6, (7, 0)),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_the_fastest_mode_and_its_growth(name):
    """Values of an independent program, which solves for the streamfunctions."""
    parameters, rate, mode = MAXIMA[name]
    found, where = largest_growth(flow_of(*parameters))
    assert found == pytest.approx(rate, rel=3e-7)
    assert where == mode


@pytest.mark.parametrize(
    "parameters", [(20e3, 1.5e-11, 0.0, 0.25), (30e3, 1.5e-11, 0.0, 0.25, 0.05)]
)
def test_flows_that_only_drag_destabilizes_are_stable_without(parameters):
    """Both mean gradients are positive: stable by the theorem of Charney and Stern."""
    flow = flow_of(*parameters)
    assert min(flow.mean_gradients) > 0.0
    rate, _ = largest_growth(flow)
    frequency = max(flow.mean_gradients) / (2e-6 * np.pi)  # of the longest wave
    assert rate < 1e-13 * frequency


@pytest.mark.slow
def test_reference_run_of_pyqg():
    """The two-layer reference of pyqg's own tests (pyqg 0.7, test_reference_solns).

    Its scheme is Adams-Bashforth 3 after Euler and AB 2, its products are aliased, its
    filter is applied after each step. Its tolerance is 1 %. Sums of absolute values are
    over modes, of their means in time.
    """
    flow = TwoLayerConfig(
        32,
        30e3,
        1.5e-11,
        DRAG,
        mean_velocities=(0.05, 0.0),
        exponential_filter=18.4,
        aliased_products=True,
    )
    equation = equation_of(flow)
    modes, right_hand_side = equation.modes, FftwEngine().right_hand_side(equation)
    x = ((np.arange(32) + 0.5) / 32.0)[:, None]
    upper = 1e-6 * np.cos(10 * np.pi * x) + 1e-7 * np.cos(10 * np.pi * x.T)
    q_hat = modes.from_physical(np.stack([upper, np.zeros_like(upper)]))
    weights, time_step = [(1.0,), (1.5, -0.5)], 12_800.0
    rates, sums, by_mode, count = [], 0.0, 0.0, 0
    for number in range(7290):
        rate = np.empty_like(q_hat)
        right_hand_side.nonlinear_terms(q_hat, 0.0, rate)
        rates = [rate + equation.linear_operator * q_hat, *rates[:2]]
        by_age = weights[number] if number < 2 else (23 / 12, -16 / 12, 5 / 12)
        for weight, old in zip(by_age, rates, strict=False):
            q_hat = q_hat + time_step * weight * old
        equation.end_step(q_hat)
        if (number + 1) * time_step >= YEAR:
            sums, count = sums + _statistics(equation, q_hat), count + 1
            by_mode = by_mode + _energy_terms(equation, q_hat)
    expected = {
        "eddy kinetic energy 1": 0.00818377631732826,
        "eddy kinetic energy 2": 0.00015616609033468579,
        "dissipation": 1.4806764171539711e-07 / 1024,
        "barotropic enstrophy": 1.5015983257921716e-06 / 1024**2,
        "generation": 2.5225558013107688e-07 / 1024,
    }
    np.testing.assert_allclose(sums / count, [*expected.values()], rtol=0.01)
    terms = np.sum(modes.hermitian_weights * np.abs(by_mode / count), axis=(1, 2))
    expected = {
        "potential transfer, APEflux": 1.7889483037254459e-04 / 1024**2,
        "kinetic transfer, KEflux": 3.7067750708912918e-04 / 1024**2,
        "generation, APEgenspec": 2.5837684260178754e-04 / 1024**2,
        "KEspec 1": 2 * 8581.3114357188006 / 1024**2,
        "KEspec 2": 2 * 163.75201433878425 / 1024**2,
    }
    np.testing.assert_allclose(terms, [*expected.values()], rtol=0.01)
    _check_shells(modes, q_hat, equation)
    end = np.sum(modes.to_physical(q_hat)[0] ** 2)
    assert end == pytest.approx(9.561430503712755e-08, rel=0.01)


def _statistics(equation, q_hat):
    modes, flow = equation.modes, equation.flow
    psi = equation.streamfunction_hat(q_hat)
    weights = modes.hermitian_weights
    kinetic = 0.5 * np.sum(weights * modes.k_squared * np.abs(psi) ** 2, axis=(1, 2))
    upper, lower = flow.depth_fractions
    barotropic = np.sum(weights * np.abs(upper * q_hat[0] + lower * q_hat[1]) ** 2)
    integrals = equation.integrals(q_hat, 0.0)
    return np.array([*kinetic, -integrals.dissipation, barotropic, integrals.work])


def _energy_terms(equation, q_hat):
    """Terms of the energy budget and `k^2 |psi|^2` by mode, in the words of pyqg."""
    modes, flow = equation.modes, equation.flow
    psi = equation.streamfunction_hat(q_hat)
    zeta = modes.k_squared * psi
    weights, shear = (
        np.reshape(pair, (2, 1, 1))
        for pair in (flow.depth_fractions, flow.mean_velocities)
    )
    tendencies = (
        -transport_hat(psi, q_hat - zeta, modes),
        -transport_hat(psi, zeta, modes),
        -1j * modes.kx * shear * q_hat,
    )
    budget = [np.sum(weights * (psi.conj() * t).real, axis=0) for t in tendencies]
    return np.array([*budget, *(modes.k_squared * np.abs(psi) ** 2)])


def _check_shells(modes, q_hat, equation):
    """`diagnostics` gives the same terms of one field, in sums over shells."""
    q, terms = modes.to_physical(q_hat), _energy_terms(equation, q_hat)
    budget = layer_energy_budget(q, equation.flow)
    kinetic = 2.0 * layer_spectra(q, equation.flow).kinetic_energy
    names = ("potential_transfer", "kinetic_transfer", "generation")
    found = [*(budget.terms[name] for name in names), *kinetic]
    shells = modes.quadrature.shells[:, : modes.shape[1]].ravel()
    for by_shell, by_mode in zip(found, terms, strict=True):
        density = (modes.hermitian_weights * by_mode).ravel()
        expected = np.bincount(shells, density, by_shell.size)[: by_shell.size]
        tolerance = 1e-12 * np.abs(expected).max()
        np.testing.assert_allclose(by_shell, expected, rtol=0, atol=tolerance)
