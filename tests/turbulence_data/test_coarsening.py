"""Operators of two-layer flow against their definitions, forcing against the budget."""

import math
from dataclasses import replace

import numpy as np
import pytest

from turbulence_data import (
    TwoLayerConfig,
    evolve,
    filtered_layers,
    les_flow,
    les_forcing,
)
from turbulence_data.coarsening import OPERATORS, CoarseningOperator
from turbulence_data.solver import FftwEngine
from turbulence_data.solver._simulation import equation_of

FINE, COARSE = 96, 24
FLOW = TwoLayerConfig(FINE, 15e3, beta=1.5e-11, bottom_drag=5.787e-7)
PLAIN = ("operator_1", "operator_2", "operator_3")
CUT_OFF = PLAIN[:2]
ROUND_OFF = 1e-12


def turbulent(shape=(FINE, FINE), seed=0, modes=20):
    """Random fields without wavenumbers beyond `modes`, about as fast as the ocean."""
    rng = np.random.default_rng(seed)
    hat = np.fft.rfft2(rng.normal(size=(2, *shape)), norm="forward")
    kx = np.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
    ky = np.arange(shape[1] // 2 + 1)[None]
    hat *= (np.hypot(kx, ky) <= modes) & (np.hypot(kx, ky) > 0)
    fields = np.fft.irfft2(hat, s=shape, norm="forward")
    return fields / fields.std() * np.reshape([8e-6, 1e-6], (2, 1, 1))


def linear_and_advection(q, flow, closure=None):
    """The whole right-hand side of the solver, on physical fields."""
    equation = equation_of(flow, closure)
    modes = equation.modes
    q_hat = modes.from_physical(q)
    out = np.zeros_like(q_hat)
    FftwEngine().right_hand_side(equation).nonlinear_terms(q_hat, 0.0, out)
    return modes.to_physical(out + equation.linear_operator * q_hat)


def nothing(potential_vorticity, streamfunction):
    return np.zeros_like(potential_vorticity)


def cosine(mode_x, mode_y, n=FINE):
    phase = 2 * np.pi / n * np.arange(n)
    return np.cos(mode_x * phase[:, None] + mode_y * phase[None, :])


@pytest.mark.parametrize("name", CUT_OFF)
@pytest.mark.parametrize("velocities", [(0.025, 0.0), (0.1, -0.03)])
def test_the_forcing_is_what_the_resolved_budget_lacks(name, velocities):
    """`bar(dq/dt) = (dq_bar/dt of the LES) + forcing`: it is ADDED."""
    flow = replace(FLOW, mean_velocities=velocities)
    q = turbulent()
    filtered = filtered_layers(q, flow, COARSE, name)
    coarse = les_flow(flow, COARSE)
    resolved = linear_and_advection(filtered.potential_vorticity, coarse, nothing)
    wanted = OPERATORS[name](linear_and_advection(q, flow), COARSE)
    found = resolved + filtered.sgs_forcing
    assert np.abs(filtered.sgs_forcing).max() > 1e-3 * np.abs(wanted).max()
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=ROUND_OFF * np.abs(wanted).max()
    )


@pytest.mark.parametrize("name", CUT_OFF)
def test_an_les_with_the_forcing_follows_the_filtered_dns(name):
    q, duration = turbulent(), 6 * 3600.0
    start = filtered_layers(q, FLOW, COARSE, name)
    coarse = replace(FLOW, num_points=COARSE)
    end = OPERATORS[name](evolve(q, FLOW, duration, 900.0), COARSE)

    def error(sign):
        found = evolve(
            start.potential_vorticity,
            coarse,
            duration,
            900.0,
            closure=lambda q, psi: sign * start.sgs_forcing,
        )
        return np.linalg.norm(found - end)

    # The forcing of the start is that of the whole run to first order in time.
    assert error(1.0) < 0.3 * error(0.0)
    assert error(-1.0) > 1.8 * error(0.0)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("aliased", [False, True])
def test_the_forcing_is_its_definition_with_products_by_hand(name, aliased):
    shape, coarse_shape = (48, 64), (24, 16)
    flow = replace(
        FLOW,
        num_points=shape,
        length=(1e6, 7e5),
        mean_velocities=(0.03, -0.01),
        aliased_products=aliased,
    )
    name = f"{name}_aliased" if aliased else name
    q = turbulent(shape, modes=22)

    def divergence(q, shape):
        """`div((u + U) q)` by its definition; products on twice the points."""
        kx = 2 * np.pi / 1e6 * np.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
        ky = 2 * np.pi / 7e5 * np.arange(shape[1] // 2 + 1)[None]
        k_squared = kx**2 + ky**2
        k_squared[0, 0] = 1.0
        first, second = flow.stretching
        hat = np.fft.rfft2(q, norm="forward")
        determinant = k_squared * (k_squared + first + second)
        psi = np.array(
            [
                ((k_squared + second) * hat[0] + first * hat[1]) / determinant,
                (second * hat[0] + (k_squared + first) * hat[1]) / determinant,
            ]
        )
        psi[:, 0, 0] = 0.0
        points = shape if aliased else (2 * shape[0], 2 * shape[1])
        u, v, q = (
            np.fft.irfft2(moved(h, points), s=points, norm="forward")
            for h in (1j * ky * psi, -1j * kx * psi, hat)
        )
        u += np.reshape([0.03, -0.01], (2, 1, 1))
        x, y = (moved(np.fft.rfft2(f, norm="forward"), shape) for f in (u * q, v * q))
        return np.fft.irfft2(1j * kx * x + 1j * ky * y, s=shape, norm="forward")

    found = filtered_layers(q, flow, coarse_shape, name)
    lengths = (1e6, 7e5)
    expected = divergence(found.potential_vorticity, coarse_shape) - OPERATORS[name](
        divergence(q, shape), coarse_shape, lengths
    )
    np.testing.assert_allclose(
        found.sgs_forcing,
        expected,
        rtol=0,
        atol=ROUND_OFF * np.abs(divergence(q, shape)).max(),
    )


def moved(hat, shape):
    """Coefficients on another grid, without Nyquist wavenumbers."""
    kept_x = (min(hat.shape[1], shape[0]) - 1) // 2
    kept_y = min(hat.shape[2] - 1, shape[1] // 2 + 1, (shape[1] - 1) // 2)
    kept_y = min(kept_y, (2 * (hat.shape[2] - 1) - 1) // 2)
    result = np.zeros((2, shape[0], shape[1] // 2 + 1), complex)
    result[:, : kept_x + 1, : kept_y + 1] = hat[:, : kept_x + 1, : kept_y + 1]
    result[:, -kept_x:, : kept_y + 1] = hat[:, -kept_x:, : kept_y + 1]
    return result


@pytest.mark.parametrize(("mode_x", "mode_y"), [(3, 0), (5, 7), (0, 10), (11, 11)])
def test_operator_1_is_the_filter_of_the_coarse_model(mode_x, mode_y):
    found = OPERATORS["operator_1"](cosine(mode_x, mode_y), COARSE)
    scaled = 2 * np.pi / COARSE * math.hypot(mode_x, mode_y)
    factor = math.exp(-23.6 * max(scaled - 0.65 * math.pi, 0.0) ** 4)
    expected = factor * cosine(mode_x, mode_y, COARSE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize(("mode_x", "mode_y"), [(3, 0), (5, 7), (11, 11)])
def test_operator_2_is_a_gaussian_of_two_cells(mode_x, mode_y):
    found = OPERATORS["operator_2"](cosine(mode_x, mode_y), COARSE, (1e6, 1e6))
    k_dx = 2 * np.pi / COARSE * math.hypot(mode_x, mode_y)
    expected = math.exp(-(k_dx**2) / 6.0) * cosine(mode_x, mode_y, COARSE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("name", CUT_OFF)
def test_wavenumbers_that_the_coarse_grid_cannot_hold_are_gone(name):
    assert np.abs(OPERATORS[name](cosine(12, 3), COARSE)).max() < ROUND_OFF


def test_operator_3_smooths_by_discrete_laplacians_and_takes_block_means():
    """A mode beyond the coarse Nyquist wavenumber, 12, comes back as another one."""
    for mode_x, mode_y in ((3, 2), (20, 5)):
        field = cosine(mode_x, mode_y)
        symbol = sum(
            4.0 * math.sin(np.pi * mode / FINE) ** 2 for mode in (mode_x, mode_y)
        )
        ratio = FINE // COARSE
        smooth = math.exp(-symbol * ratio**2 / 24.0) * field
        expected = np.mean(
            [smooth[i::ratio, j::ratio] for i in range(ratio) for j in range(ratio)],
            axis=0,
        )
        found = OPERATORS["operator_3"](field, COARSE)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)


@pytest.mark.parametrize("name", PLAIN)
def test_streamfunction_and_velocities_belong_to_the_filtered_vorticity(name):
    filtered = filtered_layers(turbulent(), FLOW, COARSE, name)
    kx = 2e-6 * np.pi * np.fft.fftfreq(COARSE, 1 / COARSE)[:, None]
    ky = 2e-6 * np.pi * np.arange(COARSE // 2 + 1)[None]
    psi_hat = np.fft.rfft2(filtered.streamfunction)
    first, second = FLOW.stretching
    upper, lower = psi_hat
    q_hat = [
        (kx**2 + ky**2) * upper + first * (upper - lower),
        (kx**2 + ky**2) * lower + second * (lower - upper),
    ]
    found = filtered.potential_vorticity
    np.testing.assert_allclose(
        np.fft.irfft2(q_hat), found, rtol=0, atol=ROUND_OFF * np.abs(found).max()
    )
    u, v = np.fft.irfft2(1j * ky * psi_hat), np.fft.irfft2(-1j * kx * psi_hat)
    np.testing.assert_allclose(
        filtered.velocity, np.stack([u, v], axis=1), rtol=0, atol=1e-12
    )


def test_forcings_of_the_operators_differ_so_they_are_told_apart():
    q = turbulent(modes=28)
    forcings = [filtered_layers(q, FLOW, COARSE, n).sgs_forcing[0] for n in PLAIN]
    correlations = np.corrcoef([f.ravel() for f in forcings])
    assert np.abs(correlations - np.eye(3)).max() < 0.9


def test_products_free_of_aliasing_are_the_default():
    assert not any(OPERATORS[name].aliased_products for name in PLAIN)
    q = turbulent(modes=40)
    aliased = replace(FLOW, aliased_products=True)
    first = filtered_layers(q, FLOW, COARSE, "operator_1").sgs_forcing
    second = filtered_layers(q, aliased, COARSE, "operator_1_aliased").sgs_forcing
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": None}, "name of a coarsening operator"),
        ({"operator": "gaussian"}, "one of \\['operator_1'"),
        ({"operator": lambda fields, points: fields}, "name of a coarsening operator"),
        ({"operator": "operator_1_aliased"}, "free of aliasing, those of operator_1"),
        ({"flow": replace(FLOW, aliased_products=True)}, "of the flow are aliased"),
        ({"num_points": FINE}, "must be coarser"),
        ({"num_points": 36, "operator": "operator_3"}, "a multiple"),
        ({"potential_vorticity": np.zeros((FINE, FINE))}, r"\(2, nx, ny\)"),
        ({"potential_vorticity": np.ones((2, FINE, FINE))}, "mean"),
        ({"potential_vorticity": np.full((2, FINE, FINE), np.nan)}, "upper layer"),
    ],
)
def test_what_cannot_be_filtered_is_refused_in_words(change, message):
    arguments = {
        "potential_vorticity": turbulent(),
        "flow": FLOW,
        "num_points": COARSE,
        "operator": "operator_2",
    } | change
    with pytest.raises(ValueError, match=message):
        filtered_layers(**arguments)


def test_an_operator_without_a_name_is_refused():
    with pytest.raises(ValueError, match="must have a name"):
        CoarseningOperator("", OPERATORS["operator_1"].transfer)


@pytest.mark.parametrize("transfer", [None, "gaussian", np.ones((FINE, FINE))])
def test_a_transfer_function_that_cannot_be_called_is_refused(transfer):
    with pytest.raises(TypeError, match=r"transfer must be a callable \(fine grid, co"):
        CoarseningOperator("mine", transfer)


@pytest.mark.parametrize(
    "transfer",
    [
        lambda fine, coarse: np.ones(3),
        lambda fine, coarse: 1.0,
        lambda fine, coarse: np.exp(-coarse.k_squared),
        lambda fine, coarse: np.full(fine.k_squared.shape, np.nan),
    ],
)
def test_a_transfer_function_of_other_modes_or_no_numbers_is_refused(transfer):
    operator = CoarseningOperator("mine", transfer)
    with pytest.raises(ValueError, match=rf"'mine' .* expected shape \({FINE}, "):
        filtered_layers(turbulent(), FLOW, COARSE, operator)


def test_the_les_of_two_layers_is_the_flow_on_fewer_points():
    flow = replace(FLOW, mean_velocities=(0.1, -0.03), hyperviscosity=1e20)
    assert les_flow(flow, (16, 24)) == replace(flow, num_points=(16, 24))
    with pytest.raises(TypeError, match="flow must be a FlowConfig"):
        les_flow("qg_eddy", 16)
    with pytest.raises(TypeError, match=r"driven by their shear alone: les_flow"):
        les_forcing(lambda x, y, time: np.sin(y), flow, 16)


def test_a_flow_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="TwoLayerConfig"):
        filtered_layers(turbulent(), None, COARSE, "operator_1")
