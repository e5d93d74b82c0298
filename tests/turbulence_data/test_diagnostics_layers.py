"""Spectra and budgets of two layers against integrals in physical space."""

from dataclasses import replace

import numpy as np
import pytest

from turbulence_data import FlowConfig, TwoLayerConfig, evolve
from turbulence_data.diagnostics import (
    barotropic_conversion,
    energy,
    energy_budget,
    energy_spectrum,
    enstrophy_budget,
    layer_energy_budget,
    layer_enstrophy_budget,
    layer_spectra,
)
from turbulence_data.solver import FftwEngine
from turbulence_data.solver._simulation import equation_of

FLOW = TwoLayerConfig(
    (32, 48),
    20e3,
    beta=1.5e-11,
    bottom_drag=8e-7,
    layer_ratio=0.3,
    mean_velocities=(0.04, -0.01),
    length=(1e6, 8e5),
    hyperviscosity=1e10,
)
UPPER, LOWER = FLOW.depth_fractions
FIRST, SECOND = FLOW.stretching


def random_layers(flow=FLOW, seed=0):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(2, *flow.shape)) * np.reshape([8e-6, 2e-6], (2, 1, 1))
    modes = equation_of(flow, nothing).modes  # without mean and Nyquist wavenumbers
    return modes.to_physical(modes.from_physical(q))


def nothing(potential_vorticity, streamfunction):
    return np.zeros_like(potential_vorticity)


def derivatives(field):
    """`d/dx, d/dy` of fields by FFT."""
    nx, ny = FLOW.shape
    kx = 2 * np.pi / 1e6 * np.fft.fftfreq(nx, 1 / nx)[:, None]
    ky = 2 * np.pi / 8e5 * np.arange(ny // 2 + 1)[None]
    hat = np.fft.rfft2(field)
    return np.fft.irfft2(1j * kx * hat, s=(nx, ny)), np.fft.irfft2(
        1j * ky * hat, s=(nx, ny)
    )


def streamfunction(q, flow=FLOW):
    equation = equation_of(flow, nothing)
    hat = equation.streamfunction_hat(equation.modes.from_physical(q))
    return equation.modes.to_physical(hat)


def velocities(q):
    d_x, d_y = derivatives(streamfunction(q))
    return d_y, -d_x


def tendency(q, flow, sgs_forcing=0.0):
    equation = equation_of(flow, nothing)
    q_hat = equation.modes.from_physical(q)
    out = np.zeros_like(q_hat)
    FftwEngine().right_hand_side(equation).nonlinear_terms(q_hat, 0.0, out)
    out += equation.linear_operator * q_hat
    return equation.modes.to_physical(out) + sgs_forcing


def by_depth(product):
    """`sum_i d_i <product_i>`, means over the area."""
    return float(np.mean(product, axis=(1, 2)) @ [UPPER, LOWER])


def test_spectra_add_up_to_the_integrals_in_physical_space():
    q = random_layers()
    found, (u, v), psi = layer_spectra(q, FLOW), velocities(q), streamfunction(q)
    np.testing.assert_allclose(
        found.kinetic_energy.sum(axis=1),
        0.5 * np.mean(u**2 + v**2, axis=(1, 2)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        found.enstrophy.sum(axis=1), 0.5 * np.mean(q**2, axis=(1, 2)), rtol=1e-12
    )
    interface = 0.5 * UPPER * LOWER / 20e3**2 * np.mean((psi[0] - psi[1]) ** 2)
    assert found.potential_energy.sum() == pytest.approx(interface, rel=1e-12, abs=0.0)
    energy = found.energy(FLOW).sum()
    assert energy == pytest.approx(0.5 * by_depth(psi * q), rel=1e-12, abs=0.0)


def test_a_wave_is_in_the_shell_of_its_wavenumber():
    flow = replace(FLOW, num_points=32, length=1e6)
    phase = 2 * np.pi / 32 * np.arange(32)
    wave = 1e-6 * np.cos(3 * phase[:, None] + 4 * phase[None]) * np.ones((2, 1, 1))
    found = layer_spectra(wave, flow)
    assert found.wavenumbers[5] == pytest.approx(5 * 2e-6 * np.pi)
    assert found.enstrophy[0].argmax() == 5
    assert found.enstrophy[0].sum() == pytest.approx(found.enstrophy[0][5])


@pytest.mark.parametrize("aliased", [False, True])
@pytest.mark.parametrize(
    ("budget", "weight"),
    [(layer_energy_budget, "streamfunction"), (layer_enstrophy_budget, "q")],
)
def test_budgets_are_the_time_derivative(budget, weight, aliased):
    flow, q = replace(FLOW, aliased_products=aliased), random_layers()
    forcing = 1e-12 * random_layers(seed=1) / 8e-6
    by = q if weight == "q" else streamfunction(q)
    found = budget(q, flow, forcing)
    expected = by_depth(by * tendency(q, flow, forcing))
    size = sum(abs(value) for value in found.integrals().values())
    assert found.total.sum() == pytest.approx(expected, abs=1e-11 * size)
    assert set(found.integrals()) >= {"generation", "bottom_drag", "subgrid"}


def test_the_energy_budget_closes_in_time_shell_by_shell():
    flow = replace(FLOW, num_points=48, length=1e6, hyperviscosity=0.0)
    q, half = 0.3 * random_layers(flow), 450.0
    spectra = [layer_spectra(q, flow).energy(flow)]
    budgets = []
    for _ in range(2):
        budgets.append(layer_energy_budget(q, flow))
        # A closure that adds nothing: all modes, products free of aliasing.
        q = evolve(q, flow, half, half, closure=nothing)
        spectra.append(layer_spectra(q, flow).energy(flow))
    rate = (spectra[2] - spectra[0]) / (2.0 * half)
    expected = budgets[1].total
    # The error of a central difference is (time step / turnover time)^2, some 1e-5.
    np.testing.assert_allclose(rate, expected, rtol=0, atol=1e-4 * np.abs(rate).max())


def test_transfers_only_move_energy_and_enstrophy():
    q = random_layers()
    energy, enstrophy = layer_energy_budget(q, FLOW), layer_enstrophy_budget(q, FLOW)
    for budget, name in (
        (energy, "kinetic_transfer"),
        (energy, "potential_transfer"),
        (enstrophy, "transfer"),
    ):
        term = budget.terms[name]
        assert abs(term.sum()) < 1e-11 * np.abs(term).sum()


def test_sources_and_losses_are_those_in_physical_space():
    q = random_layers()
    (u, v), energy = velocities(q), layer_energy_budget(q, FLOW).integrals()
    mean = np.reshape(FLOW.mean_velocities, (2, 1, 1))
    assert energy["generation"] == pytest.approx(
        -by_depth(mean * v * q), rel=1e-11, abs=0.0
    )
    friction = -8e-7 * LOWER * np.mean(u[1] ** 2 + v[1] ** 2)
    assert energy["bottom_drag"] == pytest.approx(friction, rel=1e-11, abs=0.0)
    assert energy["hyperviscosity"] < 0.0
    enstrophy = layer_enstrophy_budget(q, FLOW).integrals()
    gradients = np.reshape(FLOW.mean_gradients, (2, 1, 1))
    generation = -by_depth(gradients * v * q)
    assert enstrophy["generation"] == pytest.approx(generation, rel=1e-11, abs=0.0)


def test_the_potential_transfer_is_the_flux_that_pyqg_names():
    """`rd^-2 d_1 d_2 (psi_1 - psi_2) x` barotropic advection of the difference."""
    q = random_layers()
    flow = replace(FLOW, num_points=(64, 96))  # finer: products of all modes are exact
    modes = equation_of(flow, nothing).modes
    coarse = equation_of(FLOW, nothing).modes
    q_hat = coarse.from_physical(q)
    fine = np.zeros((2, *modes.shape), complex)
    kept = (coarse.cutoff[0], coarse.cutoff[1] + 1)
    fine[:, : kept[0] + 1, : kept[1]] = q_hat[:, : kept[0] + 1, : kept[1]]
    fine[:, -kept[0] :, : kept[1]] = q_hat[:, -kept[0] :, : kept[1]]
    psi = equation_of(flow, nothing).streamfunction_hat(fine)
    tau, barotropic = psi[0] - psi[1], UPPER * psi[0] + LOWER * psi[1]
    u, v, tau_x, tau_y = (
        modes.to_physical(hat)
        for hat in (
            1j * modes.ky * barotropic,
            -1j * modes.kx * barotropic,
            1j * modes.kx * tau,
            1j * modes.ky * tau,
        )
    )
    advection = modes.from_physical(u * tau_x + v * tau_y)
    density = -UPPER * LOWER / 20e3**2 * (tau.conj() * advection).real
    found = layer_energy_budget(q, FLOW).terms["potential_transfer"]
    shell = modes.quadrature.shells[:, : modes.shape[1]]
    expected = [
        np.sum((density * modes.hermitian_weights)[shell == number])
        for number in range(6)
    ]
    np.testing.assert_allclose(found[:6], expected, rtol=1e-10)


def test_the_conversion_is_what_the_barotropic_flow_gains():
    flow = replace(FLOW, bottom_drag=0.0, hyperviscosity=0.0)
    q = random_layers()
    _, found = barotropic_conversion(q, flow)
    weights = np.reshape([UPPER, LOWER], (2, 1, 1))
    psi = np.sum(weights * streamfunction(q), axis=0)
    gain = np.mean(psi * np.sum(weights * tendency(q, flow), axis=0))
    assert found.sum() == pytest.approx(gain, rel=1e-9, abs=0.0)
    assert abs(gain) > 1e-3 * np.abs(found).sum()


def test_layers_that_move_as_one_have_no_potential_energy_and_convert_nothing():
    flow = replace(FLOW, mean_velocities=(0.02, 0.02))
    q = random_layers()[:1] * np.ones((2, 1, 1))
    spectra = layer_spectra(q, flow)
    assert spectra.potential_energy.max() < 1e-20 * spectra.kinetic_energy.max()
    _, conversion = barotropic_conversion(q, flow)
    transfer = layer_energy_budget(q, flow).terms["kinetic_transfer"]
    assert np.abs(conversion).max() < 1e-10 * np.abs(transfer).max()


@pytest.mark.parametrize(
    "diagnose",
    [layer_spectra, layer_energy_budget, layer_enstrophy_budget, barotropic_conversion],
)
def test_fields_of_another_shape_are_refused(diagnose):
    with pytest.raises(ValueError, match=r"\(2, nx, ny\) = \(2, 32, 48\)"):
        diagnose(np.zeros((32, 48)), FLOW)
    with pytest.raises(TypeError, match="TwoLayerConfig"):
        diagnose(np.zeros((2, 32, 48)), None)


def test_diagnostics_of_one_plane_lead_to_those_of_two_layers():
    q = np.zeros((2, 32, 48))
    for diagnose in (energy, energy_spectrum):
        with pytest.raises(ValueError, match=r"plane field.*see.*layer_spectra"):
            diagnose(q, FLOW.lengths)
    for budget in (energy_budget, enstrophy_budget):
        with pytest.raises(
            TypeError, match=r"FlowConfig; received TwoLayer.*see layer"
        ):
            budget(q, FLOW)
    plane = FlowConfig((32, 48), 100.0, forcing_wavenumber=None)
    with pytest.raises(TypeError, match="Of one plane see energy_spectrum"):
        layer_spectra(q, plane)
