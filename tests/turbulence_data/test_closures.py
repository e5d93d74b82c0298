"""Classic closures against formulas worked out by hand, and which way they transfer."""

import numpy as np
import pytest

from turbulence_data.closures import (
    ClippedBackscatter,
    DynamicLeith,
    DynamicSmagorinsky,
    GradientModel2,
    GradientModel4,
    JansenHeld,
    Leith,
    NoClosure,
    Smagorinsky,
    SpectralFilter,
    SumOfClosures,
)
from turbulence_data.config import FlowConfig
from turbulence_data.filtering import filtered_dns
from turbulence_data.solver._evolve import evolve
from turbulence_data.solver._grid import Grid, streamfunction_of
from turbulence_data.solver._initial_conditions import RandomVorticity
from turbulence_data.solver._modes import padded_modes
from turbulence_data.solver._vorticity import VorticityEquation
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-12
TWO_PI = 2.0 * np.pi
EVERY = (
    Smagorinsky(),
    Leith(),
    DynamicSmagorinsky(),
    DynamicLeith(),
    GradientModel2(),
    GradientModel4(),
    JansenHeld(),
)


def name_of(closure) -> str:
    return type(closure).__name__


def axes(nx, ny=None, lengths=(TWO_PI, TWO_PI)):
    grid = Grid((nx, ny or nx), lengths)
    return grid.x, grid.y


def relative(error, truth) -> float:
    return float(np.abs(error).max() / np.abs(truth).max())


# Two waves, psi = cos(x) cos(y), vorticity = 2 psi: S_xy = (psi_yy - psi_xx) / 2 = 0
# and S_xx = psi_xy = sin x sin y, so |S| = 2 |sin x sin y|; all is known by hand.


def two_waves(n=64):
    x, y = axes(n)
    psi = np.cos(x) * np.cos(y)
    return 2.0 * psi, psi


def test_smagorinsky_of_a_cellular_flow():
    """tau_xx = -4 (C D)^2 |s| s, s = sin x sin y; Pi = 2 d_xy tau_xx.

    d_xy (|s| s) with |s| s = a(x) a(y), a = |sin| sin: a' = 2 |sin| cos. So
    Pi = -8 (C D)^2 (2 |sin x| cos x)(2 |sin y| cos y): opposite to the vorticity.
    The kinks of |sin| cost convergence, of second order in the mean.
    """
    errors = []
    for n in (64, 128):
        x, y = axes(n)
        slope = 4.0 * np.abs(np.sin(x)) * np.cos(x) * np.abs(np.sin(y)) * np.cos(y)
        pi = Smagorinsky(0.2, filter_width=0.5)(*two_waves(n))
        errors.append(np.sqrt(np.mean((pi / (-8.0 * 0.1**2) - slope) ** 2)))
    assert errors[1] < 0.01
    assert errors[1] < 0.5 * errors[0]


def test_smagorinsky_drains_energy_by_the_eddy_viscosity_times_the_squared_strain():
    """<psi Pi> = -<(C D)^2 |S|^3> = -(C D)^2 8 <|sin|^3>^2, <|sin|^3> = 4 / (3 pi)."""
    vorticity, psi = two_waves(128)
    pi = Smagorinsky(0.2, filter_width=0.5)(vorticity, psi)
    by_hand = -(0.1**2) * 8.0 * (4.0 / (3.0 * np.pi)) ** 2
    assert abs(np.mean(psi * pi) / by_hand - 1.0) < 1e-4


def test_leith_of_a_wave_on_an_oblong_domain():
    """w = cos(k x): Pi = (C D)^3 d_x(|w'| w') = -2 (C D)^3 k^3 |sin(k x)| cos(k x)."""
    lengths = (2.0 * TWO_PI, TWO_PI)
    x, y = axes(512, 16, lengths)
    wavenumber = 1.5
    vorticity = np.cos(wavenumber * x) + 0.0 * y
    psi = vorticity / wavenumber**2
    by_hand = -2.0 * wavenumber**3 * np.abs(np.sin(wavenumber * x)) * vorticity
    closure = Leith(0.2, filter_width=0.5, lengths=lengths)
    error = closure(vorticity, psi) / 0.1**3 - by_hand
    assert np.sqrt(np.mean(error**2)) < 5e-3 * np.sqrt(np.mean(by_hand**2))


def test_leith_drains_enstrophy_by_the_eddy_viscosity_times_the_squared_gradient():
    """<w Pi> = -(C D)^3 <|sin|^3> for a wave of wavenumber 1."""
    x, y = axes(128)
    wave = np.cos(x) + 0.0 * y
    pi = Leith(0.2, filter_width=0.5)(wave, wave)
    assert abs(np.mean(wave * pi) / (-(0.1**3) * 4.0 / (3.0 * np.pi)) - 1.0) < 1e-4


def test_gradient_models_of_two_crossing_waves():
    """psi = cos(x + y) + cos(2 x - y): J by the product of the two wave vectors.

    J(cos a, cos b) = (a_y b_x - a_x b_y) sin a sin b with a = x + y, b = 2 x - y gives
    3 sin a sin b; psi has vorticities 2 cos a + 5 cos b, so J(psi, w) is
    (5 - 2) 3 sin a sin b = 9 sin a sin b. Each pair of derivatives multiplies the
    product of amplitudes by a.b = 2 - 1 = 1 and turns sin a sin b into cos a cos b:
    sum_j J(d_j psi, d_j w) = 9 (a.b) cos a cos b, and the next term is
    9 (a.b)^2 sin a sin b.
    """
    x, y = axes(32)
    a, b = x + y, 2.0 * x - y
    vorticity, psi = 2.0 * np.cos(a) + 5.0 * np.cos(b), np.cos(a) + np.cos(b)
    width = 0.6
    first = -(width**2) / 12.0 * 9.0 * np.cos(a) * np.cos(b)
    second = -(width**4) / 288.0 * 9.0 * np.sin(a) * np.sin(b)
    gm2 = GradientModel2(filter_width=width)(vorticity, psi)
    gm4 = GradientModel4(filter_width=width)(vorticity, psi)
    assert relative(gm2 - first, first) < ROUND_OFF
    assert relative(gm4 - first - second, first) < ROUND_OFF


@pytest.mark.parametrize(
    ("closure", "order"), [(GradientModel2, 2), (GradientModel4, 4)]
)
def test_gradient_models_approach_the_true_forcing_of_a_gaussian_filter(closure, order):
    """Relative error of order 2 and 4 in the width, on a smooth flow."""
    x, y = axes(64)
    vorticity = np.cos(x + 2 * y) + np.sin(3 * x - y) + np.cos(2 * x) * np.sin(y)
    errors = []
    for width in (0.2, 0.1):
        fields = filtered_dns(vorticity, 48, filter_width=width)
        pi = closure(filter_width=width)(fields.vorticity, fields.streamfunction)
        errors.append(relative(pi - fields.sgs_forcing, fields.sgs_forcing))
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.1


def test_gradient_models_drain_enstrophy_of_turbulence(turbulence):
    """GM2 moves no energy at all; both give enstrophy back in places."""
    vorticity, psi, _ = turbulence
    second, fourth = GradientModel2()(vorticity, psi), GradientModel4()(vorticity, psi)
    assert abs(np.mean(psi * second)) < 1e-13 * np.mean(np.abs(psi * second))
    for pi in (second, fourth):
        assert np.mean(vorticity * pi) < 0.0
        assert 0.1 < np.mean(vorticity * pi > 0.0) < 0.5


def test_jansen_held_of_a_cellular_flow():
    """w = 2 c, c = cos x cos y, lap(w) = -4 c, nu_4 = (C D)^4 2 |s|, s = sin x sin y.

    <psi Pi_4> = <nu_4 w lap(w)> = -16 (C D)^4 <|s| c^2>, <|sin| cos^2> = 2 / (3 pi);
    nu_2 = b 16 (C D)^4 (2 / (3 pi))^2 / <4 c^2>, <c^2> = 1 / 4; its term is 2 nu_2 w.
    """
    vorticity, psi = two_waves(256)
    damped = JansenHeld(0.2, backscatter=0.0, filter_width=0.5)(vorticity, psi)
    energy = -16.0 * 0.1**4 * (2.0 / (3.0 * np.pi)) ** 2
    assert abs(np.mean(psi * damped) / energy - 1.0) < 1e-3
    both = JansenHeld(0.2, backscatter=0.75, filter_width=0.5)(vorticity, psi)
    given_back = 2.0 * (-0.75 * energy) * vorticity
    assert relative(both - damped - given_back, given_back) < 2e-3


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_jansen_held_gives_back_its_part_of_the_energy_exactly(turbulence, part):
    vorticity, psi, _ = turbulence
    drained = np.mean(psi * JansenHeld(backscatter=0.0)(vorticity, psi))
    closure = JansenHeld(backscatter=part)
    assert drained < 0.0
    assert abs(np.mean(psi * closure(vorticity, psi)) / drained - (1.0 - part)) < 1e-10
    assert np.mean(vorticity * closure(vorticity, psi)) < 0.0  # enstrophy is drained


# The dynamic coefficient by brute force: complex FFTs of the full plane, products on
# twice the points, tensors with all components, J as the divergence of u w.


def wavevector(n):
    k = np.fft.fftfreq(n, 1.0 / n)
    return np.meshgrid(k, k, indexing="ij")


def moved(hat, n):
    """Coefficients of a full plane on n points, nothing at Nyquist."""
    half = min(n, len(hat)) // 2
    kept = np.r_[0:half, -(half - 1) : 0]
    out = np.zeros((n, n), complex)
    out[np.ix_(kept, kept)] = hat[np.ix_(kept, kept)]
    return out


def hat_of(field):
    return np.fft.fft2(field) / field.size


def field_of(hat):
    return np.fft.ifft2(hat * hat.size).real


def velocity(w_hat):
    kx, ky = wavevector(len(w_hat))
    psi_hat = w_hat / np.where(kx**2 + ky**2 > 0, kx**2 + ky**2, np.inf)
    return 1j * ky * psi_hat, -1j * kx * psi_hat


def advection(w_hat):
    n = len(w_hat)
    kx, ky = wavevector(n)
    w = field_of(moved(w_hat, 2 * n))
    u_w, v_w = (
        moved(hat_of(w * field_of(moved(part, 2 * n))), n) for part in velocity(w_hat)
    )
    return 1j * kx * u_w + 1j * ky * v_w


def smagorinsky_by_hand(w_hat, width):
    """curl of the divergence of 2 D^2 |S| S_ij, all components."""
    n = len(w_hat)
    kx, ky = wavevector(n)
    k, u = (kx, ky), velocity(w_hat)
    strain = [
        [field_of(0.5j * (k[j] * u[i] + k[i] * u[j])) for j in (0, 1)] for i in (0, 1)
    ]
    size = np.sqrt(2.0 * sum(s**2 for row in strain for s in row))
    force = [
        sum(
            1j * k[j] * moved(hat_of(2 * width**2 * size * strain[i][j]), n)
            for j in (0, 1)
        )
        for i in (0, 1)
    ]
    return 1j * kx * force[1] - 1j * ky * force[0]


def leith_by_hand(w_hat, width):
    n = len(w_hat)
    kx, ky = wavevector(n)
    gradient = [field_of(1j * k * w_hat) for k in (kx, ky)]
    size = np.hypot(*gradient)
    return sum(
        1j * k * moved(hat_of(width**3 * size * part), n)
        for k, part in zip((kx, ky), gradient, strict=True)
    )


def coefficient_by_hand(vorticity, model):
    n = len(vorticity)
    width, w_hat = 2.0 * TWO_PI / n, hat_of(vorticity)
    kx, ky = wavevector(n)

    def test(hat):
        wide = np.exp(-(kx**2 + ky**2) * (2.0 * width) ** 2 / 24.0)
        return moved(hat * wide / np.exp(-(kx**2 + ky**2) * width**2 / 24.0), n // 2)

    resolved = advection(test(w_hat)) - test(advection(w_hat))
    modelled = model(test(w_hat), 2.0 * width) - test(model(w_hat, width))
    kx_test, ky_test = wavevector(n // 2)
    # Fluxes -grad(lap^-1 a) whose divergence is a: <flux_a . flux_b> point by point.
    k2 = np.where(kx_test**2 + ky_test**2 > 0, kx_test**2 + ky_test**2, np.inf)
    flux = {
        name: [field_of(-1j * k / k2 * hat) for k in (kx_test, ky_test)]
        for name, hat in (("L", resolved), ("M", modelled))
    }
    products = {
        pair: sum(
            np.mean(a * b) for a, b in zip(flux[pair[0]], flux[pair[1]], strict=True)
        )
        for pair in ("LM", "MM")
    }
    return products["LM"] / products["MM"]


@pytest.mark.parametrize(
    ("closure", "model"),
    [(DynamicSmagorinsky(), smagorinsky_by_hand), (DynamicLeith(), leith_by_hand)],
    ids=["smagorinsky", "leith"],
)
def test_the_dynamic_coefficient_is_the_least_squares_of_the_identity(
    turbulence, closure, model
):
    vorticity = turbulence[0]
    operators = closure.operators(vorticity.shape)
    found = closure.coefficient(operators.to_spectral(vorticity), operators)
    by_hand = coefficient_by_hand(vorticity, model)
    assert by_hand > 0.0
    assert abs(found.item() / by_hand - 1.0) < 1e-10


def test_the_tensor_identity_would_give_a_negative_coefficient(turbulence):
    """<L_ij M_ij> < 0: in two dimensions the energy at the test scale goes back."""
    w_hat, n = hat_of(turbulence[0]), 64
    width = 2.0 * TWO_PI / n
    kx, ky = wavevector(n)
    response = np.exp(-(kx**2 + ky**2) * 3.0 * width**2 / 24.0)

    def tensors(w_hat, width):
        """u_i u_j and 2 D^2 |S| S_ij, point by point."""
        k, u = wavevector(len(w_hat)), velocity(w_hat)
        pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
        strain = [field_of(0.5j * (k[j] * u[i] + k[i] * u[j])) for i, j in pairs]
        size = np.sqrt(2.0 * sum(s**2 for s in strain))
        fields = [field_of(part) for part in u]
        products = [hat_of(fields[i] * fields[j]) for i, j in pairs]
        return products, [hat_of(2.0 * width**2 * size * s) for s in strain]

    def test(hat):
        return moved(response * hat, n // 2)

    fine = tensors(w_hat, width)
    coarse = tensors(test(w_hat), 2.0 * width)
    resolved, modelled = (
        [field_of(test(a) - b) for a, b in zip(fine[part], coarse[part], strict=True)]
        for part in (0, 1)
    )
    assert sum(np.mean(a * b) for a, b in zip(resolved, modelled, strict=True)) < 0.0


def test_the_test_filter_makes_the_fields_of_the_coarser_les(turbulence):
    """Filtering the DNS with D, then with the test filter, is filtering it with 2 D."""
    flow = FlowConfig(128, reynolds=1000.0, forcing_wavenumber=4)
    dns = RandomVorticity(0.5, 6.0)(Grid(flow.shape), np.random.default_rng(3))
    fine, coarse = filtered_dns(dns, 64).vorticity, filtered_dns(dns, 32).vorticity
    operators = DynamicSmagorinsky().operators((64, 64))
    twice = operators.test_filtered(operators.to_spectral(fine))
    assert relative(operators.test_level.to_physical(twice) - coarse, coarse) < 1e-12


def test_dynamic_closures_are_their_static_ones_with_the_coefficient_found(turbulence):
    vorticity, psi, _ = turbulence
    for dynamic, static, power in (
        (DynamicSmagorinsky(), Smagorinsky, 1 / 2),
        (DynamicLeith(), Leith, 1 / 3),
    ):
        operators = dynamic.operators(vorticity.shape)
        c = dynamic.coefficient(operators.to_spectral(vorticity), operators).item()
        difference = dynamic(vorticity, psi) - static(c**power)(vorticity, psi)
        assert relative(difference, dynamic(vorticity, psi)) < ROUND_OFF


def test_a_flow_of_reversed_cascade_clips_the_dynamic_coefficient_to_zero(turbulence):
    """Time reversal, w -> -w, keeps L and reverses M."""
    vorticity, psi, _ = turbulence
    for closure in (DynamicSmagorinsky(), DynamicLeith()):
        assert np.abs(closure(vorticity, psi)).max() > 0.0
        assert not closure(-vorticity, -psi).any()


@pytest.mark.parametrize(
    "closure",
    [Smagorinsky(), DynamicSmagorinsky(), Leith(), DynamicLeith()],
    ids=name_of,
)
def test_eddy_viscosities_drain_energy_and_enstrophy_of_turbulence(turbulence, closure):
    vorticity, psi, _ = turbulence
    pi = closure(vorticity, psi)
    assert np.mean(psi * pi) < 0.0
    assert np.mean(vorticity * pi) < 0.0


@pytest.mark.parametrize("closure", EVERY, ids=name_of)
def test_formulas_turn_with_the_flow(turbulence, closure):
    """Isotropy: a quarter turn of the fields turns the forcing."""
    vorticity, psi, _ = turbulence

    def turned(field):  # (x, y) -> (-y, x) maps grid points onto grid points
        return np.roll(np.rot90(field), 1, axis=0)

    here = turned(closure(vorticity, psi))
    there = closure(turned(vorticity), turned(psi))
    assert relative(here - there, here) < 1e-10


@pytest.mark.parametrize("closure", EVERY, ids=name_of)
@pytest.mark.parametrize("points", [(32, 32), (27, 36)])
def test_a_simulation_adds_what_the_closure_returns(closure, points):
    """Planned transforms and shared products against the plain formula."""
    lengths = (TWO_PI, 2.0 * TWO_PI)
    closure = type(closure)(lengths=lengths)
    grid = Grid(points, lengths)
    modes = padded_modes(grid)
    flow = FlowConfig(points, 100.0, forcing_wavenumber=None, lengths=lengths)
    start = RandomVorticity(0.5, 3.0)(grid, np.random.default_rng(1))
    hat = modes.from_physical(start)
    vorticity = modes.to_physical(hat)
    sums = []
    for each in (closure, NoClosure(lengths=lengths)):
        out = np.full(modes.shape, np.nan, complex)
        side = FftwEngine().right_hand_side(VorticityEquation(flow, modes, each))
        side.nonlinear_terms(hat, 0.0, out)
        sums.append(out)
    expected = closure(vorticity, streamfunction_of(vorticity, grid))
    difference = sums[0] - sums[1] - modes.from_physical(expected)
    scale = max(np.abs(expected).max(), np.abs(sums[1]).max())
    assert np.abs(difference).max() < ROUND_OFF * scale


@pytest.mark.parametrize("closure", EVERY, ids=name_of)
def test_ensembles_are_evaluated_at_once(turbulence, closure):
    vorticity, psi, _ = turbulence
    both = closure(np.stack([vorticity, 2.0 * vorticity]), np.stack([psi, 2.0 * psi]))
    assert relative(both[0] - closure(vorticity, psi), both[0]) < ROUND_OFF
    assert relative(both[1] - closure(2 * vorticity, 2 * psi), both[1]) < ROUND_OFF


def test_another_domain_than_the_flows_is_refused():
    flow = FlowConfig(16, 100.0, forcing_wavenumber=None, lengths=(1.0, 1.0))
    for closure in (Smagorinsky(), DynamicSmagorinsky(), GradientModel2()):
        with pytest.raises(ValueError, match=r"lengths=flow\.lengths"):
            evolve(np.zeros((16, 16)), flow, 0.1, closure=closure)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Smagorinsky(-0.1), "coefficient"),
        (lambda: Leith(np.nan), "coefficient"),
        (lambda: JansenHeld(backscatter=1.5), "at most 1"),
        (lambda: GradientModel2(filter_width=0.0), "filter_width"),
        (lambda: SpectralFilter(NoClosure(), cutoff=0.0), "cutoff"),
        (lambda: ClippedBackscatter(NoClosure(), "heat"), "criterion.*'heat'"),
        (lambda: SumOfClosures(), "0 closures"),
        (lambda: SumOfClosures(NoClosure(), weights=(1.0, 2.0)), "1 closures"),
        (lambda: SumOfClosures(NoClosure(), weights=(np.inf,)), "finite"),
        (lambda: SumOfClosures(NoClosure(), weights=()), "1 closures"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_integer_fields_give_the_forcing_of_their_values():
    vorticity = np.random.default_rng(0).integers(-9, 9, (16, 16))
    found = Leith()(vorticity, vorticity)
    np.testing.assert_array_equal(found, Leith()(vorticity * 1.0, vorticity * 1.0))


@pytest.mark.parametrize("kind", [DynamicSmagorinsky, DynamicLeith])
def test_the_test_level_of_a_dynamic_closure_needs_a_grid(kind):
    field = np.zeros((8, 6))
    with pytest.raises(ValueError, match=r"at least 8 points.*received \(8, 6\)"):
        kind()(field, field)
    assert not kind()(np.zeros((8, 9)), np.zeros((8, 9))).any()
