"""Single precision by choice: dtypes, errors, and distance from double precision."""

import numpy as np
import pytest

from turbulence_data.solver._grid import Grid, to_physical, to_spectral
from turbulence_data.solver._modes import Modes, padded_modes, truncated_modes
from turbulence_data.solver.fftw import _advection
from turbulence_data.solver.fftw import _advection as advection
from turbulence_data.solver.fftw import _pointwise as kernels
from turbulence_data.solver.fftw import _pointwise_numba as fused_kernels
from turbulence_data.solver.fftw._advection import Advection

EPSILON = float(np.finfo(np.float32).eps)
# Four transforms of n points add errors of about epsilon log2(n) each, at random
# signs; relative to the root mean square of the result.
TRANSFORM_ERROR = 2 * EPSILON
MAKERS = [truncated_modes, padded_modes]
SHAPES = [(4, 4), (33, 27), (64, 64), (96, 300), (256, 256)]


def both_precisions(shape, make_modes):
    grid = Grid(shape, (2 * np.pi, 3.0))
    field = np.random.default_rng(0).standard_normal(shape)
    single, double = make_modes(grid, np.float32), make_modes(grid)
    # The same coefficients, so that only the work differs.
    hat = single.from_physical(field)
    return single, double, hat


def tendency(modes, hat, **options):
    out = np.full(modes.shape, np.nan, modes.complex_dtype)
    Advection(modes, **options)(hat, out)
    return out


@pytest.mark.parametrize("make_modes", MAKERS)
@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("f4")])
def test_modes_carry_their_precision_to_fields_and_coefficients(make_modes, dtype):
    modes = make_modes(Grid((12, 10)), dtype)
    assert modes.dtype == np.dtype(dtype)
    assert modes.complex_dtype == np.result_type(dtype, np.complex64)
    for given in (np.float32, np.float64):
        hat = modes.from_physical(np.ones((12, 10), given))
        assert hat.dtype == modes.complex_dtype
    assert modes.to_physical(hat).dtype == modes.dtype
    assert modes.to_physical(hat.astype(complex)).dtype == modes.dtype


def test_double_precision_is_the_default():
    grid = Grid((12, 10))
    assert truncated_modes(grid).dtype == padded_modes(grid).dtype == np.float64
    assert Modes(grid, grid, (3, 3)).complex_dtype == np.complex128
    assert truncated_modes(grid) == truncated_modes(grid, "float64")
    assert truncated_modes(grid) != truncated_modes(grid, "float32")


@pytest.mark.parametrize("dtype", ["float16", complex, "int32", None, "double!", ">f8"])
@pytest.mark.parametrize("make_modes", MAKERS)
def test_other_dtypes_are_refused_by_name(make_modes, dtype):
    with pytest.raises(ValueError, match="dtype must be float64 or float32") as error:
        make_modes(Grid((8, 8)), dtype)
    assert repr(dtype) in str(error.value)
    with pytest.raises(ValueError, match="dtype must be float64 or float32"):
        Modes(Grid((8, 8)), Grid((8, 8)), (2, 2), dtype)


@pytest.mark.parametrize("make_modes", MAKERS)
def test_wavenumbers_stay_in_double_precision(make_modes):
    single, double = (make_modes(Grid((12, 10)), t) for t in ("float32", "float64"))
    for name in ("kx", "ky", "k_squared", "inverse_k_squared", "hermitian_weights"):
        assert getattr(single, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(single, name), getattr(double, name))


@pytest.mark.parametrize("make_modes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_round_trip_is_exact_to_single_precision(shape, make_modes):
    single, double, hat = both_precisions(shape, make_modes)
    field = single.to_physical(hat)
    exact = double.to_physical(hat.astype(complex))
    bound = TRANSFORM_ERROR * np.log2(np.prod(shape))
    assert np.linalg.norm(field - exact) < bound * np.linalg.norm(exact)
    again = single.from_physical(field)
    assert np.linalg.norm(again - hat) < 2 * bound * np.linalg.norm(hat)


@pytest.mark.parametrize("make_modes", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_right_hand_side_agrees_to_single_precision(shape, make_modes):
    single, double, hat = both_precisions(shape, make_modes)
    result, exact = tendency(single, hat), tendency(double, hat.astype(complex))
    assert result.dtype == np.complex64
    # Sums of both products cancel; what remains is measured against the larger one.
    kx, ky = single.largest_wavenumbers
    speed = Advection(double).rate(hat.astype(complex)) / max(kx, ky)
    scale = max(kx, ky) * speed * np.linalg.norm(hat)
    error = np.linalg.norm(result - exact)
    assert error < TRANSFORM_ERROR * np.log2(np.prod(shape)) * scale
    if shape != (4, 4):  # where few modes interact, all terms may cancel
        assert np.linalg.norm(exact) > 0.01 * scale
    assert np.isclose(
        Advection(single).rate(hat), Advection(double).rate(hat.astype(complex)), 1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 4), (33, 27), (96, 300), (256, 256)])
def test_numpy_and_numba_give_the_same_bits(monkeypatch, shape, dtype):
    modes = truncated_modes(Grid(shape), dtype)
    hat = modes.from_physical(np.random.default_rng(1).standard_normal(shape))
    results, rates = [], []
    for module in (kernels, fused_kernels):
        monkeypatch.setattr(
            advection, "pointwise_kernels", lambda chosen=module: chosen
        )
        results.append(tendency(modes, hat))
        rates.append(Advection(modes).rate(hat))
    np.testing.assert_array_equal(*results)
    assert rates[0] == rates[1]


def test_threads_do_not_change_a_bit_in_single_precision(monkeypatch):
    monkeypatch.setattr(_advection, "_FEWEST_POINTS_FOR_THREADS", 0)
    modes = truncated_modes(Grid((256, 300)), "float32")
    hat = modes.from_physical(np.random.default_rng(1).standard_normal((256, 300)))
    one, two = (tendency(modes, hat, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_energy_is_summed_in_double_precision():
    modes = truncated_modes(Grid((256, 256)), "float32")
    hat = modes.from_physical(np.random.default_rng(1).standard_normal((256, 256)))
    exact = truncated_modes(modes.grid).energy(hat.astype(complex))
    assert modes.energy(hat) == pytest.approx(exact, rel=EPSILON)


def test_plain_transforms_keep_the_precision_they_are_given():
    field = np.random.default_rng(1).standard_normal((12, 10)).astype("float32")
    hat = to_spectral(field)
    assert hat.dtype == np.complex64
    assert to_physical(hat, (12, 10)).dtype == np.float32
