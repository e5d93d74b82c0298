"""The blocked, pruned transforms against plain ones."""

import numpy as np
import pytest

from turbulence_data.solver.grid import Grid
from turbulence_data.solver.modes import padded_modes, truncated_modes
from turbulence_data.solver.pair_transform import PairTransform

ROUND_OFF = 1e-13  # two transforms of O(1) fields
# 1024 columns make blocks of 16 rows: several blocks, the last one shorter or not.
SHAPES = [(32, 32), (33, 27), (48, 32), (24, 35), (32, 1024), (40, 1024), (17, 1000)]
CASES = [(shape, make) for shape in SHAPES for make in (truncated_modes, padded_modes)]


def filled(shape, make_modes, **options):
    modes = make_modes(Grid(shape))
    transform = PairTransform(modes, **options)
    rng = np.random.default_rng(0)
    hats = [modes.from_physical(rng.standard_normal(shape)) for _ in range(2)]
    for source, hat in zip(transform.inputs, hats, strict=True):
        source[...] = hat
    return modes, transform, hats


def on_quadrature(modes, hat):
    nx, ny = modes.quadrature.num_points
    full = np.zeros((nx, ny // 2 + 1), complex)
    full[:, : modes.shape[1]] = hat
    return np.fft.irfft2(full, s=(nx, ny), norm="forward")


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_doing_nothing_in_physical_space_returns_the_scaled_coefficients(
    shape, make_modes
):
    modes, transform, hats = filled(shape, make_modes)
    outputs = transform.apply(lambda first, second: None)
    scale = np.prod(modes.quadrature.num_points)
    for output, hat in zip(outputs, hats, strict=True):
        assert np.abs(output / scale - hat).max() < ROUND_OFF


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_products_agree_with_plain_transforms(shape, make_modes):
    modes, transform, hats = filled(shape, make_modes)

    def products(first, second):
        product = first * second
        second[...] = first - 2.0 * second
        first[...] = product

    outputs = transform.apply(products)
    fields = [on_quadrature(modes, hat) for hat in hats]
    for output, field in zip(
        outputs, (fields[0] * fields[1], fields[0] - 2 * fields[1]), strict=True
    ):
        expected = np.fft.rfft2(field)[:, : modes.shape[1]]
        error = np.abs(output - expected)[modes.mask].max()
        assert error < ROUND_OFF * np.abs(expected).max()


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_every_point_is_visited_once(shape, make_modes):
    modes, transform, _ = filled(shape, make_modes)
    rows = []
    transform.apply(lambda first, second: rows.append(first.shape))
    nx, ny = modes.quadrature.num_points
    assert sum(number for number, _ in rows) == nx
    assert {width for _, width in rows} == {ny}


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_reduce_finds_the_largest_value_over_all_blocks(shape, make_modes):
    modes, transform, hats = filled(shape, make_modes)
    largest = transform.reduce(lambda first, second: float(np.max(first + second)))
    expected = np.max(on_quadrature(modes, hats[0] + hats[1]))
    assert largest == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_nan_wins_a_reduction_wherever_it_comes(at):
    _, transform, _ = filled((40, 1024), truncated_modes)  # blocks of 16, 16, 8 rows
    values = [1.0, 2.0, 3.0]
    values[at] = np.nan
    waiting = iter(values)
    assert np.isnan(transform.reduce(lambda first, second: next(waiting)))


def test_a_call_leaves_no_trace_in_the_next():
    _, transform, hats = filled((40, 1024), truncated_modes)

    def square(a, b):
        a *= a
        b *= b

    results = []
    for _ in range(2):
        for source, hat in zip(transform.inputs, hats, strict=True):
            source[...] = hat
        results.append([output.copy() for output in transform.apply(square)])
        transform.inputs[0][...] = 1.0
        transform.reduce(lambda a, b: 0.0)
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("shape", [(48, 32), (40, 1024)])
def test_two_threads_agree_with_one_to_round_off(shape):
    outputs = []
    for threads in (1, 2):
        _, transform, _ = filled(shape, truncated_modes, threads=threads)
        outputs.append(transform.apply(lambda first, second: None)[0].copy())
    scale = np.abs(outputs[0]).max()
    assert np.abs(outputs[1] - outputs[0]).max() < ROUND_OFF * scale


def test_a_measured_plan_agrees_to_round_off():
    _, estimate, _ = filled((48, 32), truncated_modes)
    _, measured, _ = filled((48, 32), truncated_modes, planner="FFTW_MEASURE")
    first = estimate.apply(lambda a, b: None)[0]
    second = measured.apply(lambda a, b: None)[0]
    assert np.abs(first - second).max() < ROUND_OFF * np.abs(first).max()
