"""The batched, pruned transforms against plain ones."""

import threading

import numpy as np
import pyfftw
import pytest

from turbulence_data.solver._grid import Grid
from turbulence_data.solver._modes import padded_modes, truncated_modes
from turbulence_data.solver.fftw import _advection
from turbulence_data.solver.fftw import _pointwise as kernels
from turbulence_data.solver.fftw import _pointwise_numba as fused_kernels
from turbulence_data.solver.fftw._advection import PairTransform, batches
from turbulence_data.solver.fftw._engine import FftwEngine

ROUND_OFF = 1e-13  # two transforms of O(1) fields
# From 100 rows or 100 resolved columns on there are several batches, equal or not.
SHAPES = [(4, 4), (5, 6), (32, 32), (33, 27), (24, 35), (32, 1024), (301, 18)]
SHAPES += [(130, 513), (17, 1000)]
CASES = [(shape, make) for shape in SHAPES for make in (truncated_modes, padded_modes)]
SEVERAL = (300, 264)  # ten blocks of rows, two panels of columns


class Loaded:
    """A transform, two random fields, and the callbacks that put them in."""

    def __init__(self, shape, make_modes=truncated_modes, module=kernels, **options):
        self.modes = make_modes(Grid(shape))
        self.transform = PairTransform(self.modes, module, **options)
        rng = np.random.default_rng(0)
        self.hats = [
            self.modes.from_physical(rng.standard_normal(shape)) for _ in range(2)
        ]

    def read(self, columns, pair):
        a, b = (hat[:, columns] for hat in self.hats)
        resolved = pair[:, :, : a.shape[1]]
        resolved[0], resolved[1] = a + 1j * b, a - 1j * b

    def apply(self, change):
        """Coefficients of the real and the imaginary part of the result."""
        parts = np.full((2, *self.modes.shape), np.nan, complex)

        def write(columns, pair):
            total, difference = pair[:, :, : columns.stop - columns.start]
            parts[0][:, columns] = 0.5 * (total + difference)
            parts[1][:, columns] = -0.5j * (total - difference)

        self.transform.apply(self.read, lambda z, rows: change(z), write)
        return parts / np.prod(self.modes.quadrature.num_points)

    def fields(self):
        nx, ny = self.modes.quadrature.num_points
        full = np.zeros((2, nx, ny // 2 + 1), complex)
        full[..., : self.modes.shape[1]] = self.hats
        return np.fft.irfft2(full, s=(nx, ny), norm="forward")


def nothing(z):
    """Leaves z as it is."""


@pytest.fixture
def any_grid(monkeypatch):
    """Threads are used on grids of any size."""
    monkeypatch.setattr(_advection, "_FEWEST_POINTS_FOR_THREADS", 0)


@pytest.mark.parametrize("number", [1, 2, 31, 33, 86, 171, 1000])
@pytest.mark.parametrize("length", [4, 64, 1000])
def test_batches_cover_every_line_once_and_nearly_equally(number, length):
    spans = batches(number, length)
    lines = [line for span in spans for line in range(number)[span]]
    assert lines == list(range(number))
    sizes = [span.stop - span.start for span in spans]
    assert max(sizes) - min(sizes) <= 1
    assert len(spans) == 1 or len(spans) % 2 == 0


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_doing_nothing_in_physical_space_returns_the_coefficients(shape, make_modes):
    loaded = Loaded(shape, make_modes)
    for part, hat in zip(loaded.apply(nothing), loaded.hats, strict=True):
        assert np.abs(part - hat).max() < ROUND_OFF


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_products_agree_with_plain_transforms(shape, make_modes):
    loaded = Loaded(shape, make_modes)

    def change(z):
        z[...] = z.real * z.imag + 1j * (z.real - 2.0 * z.imag)

    a, b = loaded.fields()
    for part, field in zip(loaded.apply(change), (a * b, a - 2 * b), strict=True):
        expected = np.fft.rfft2(field, norm="forward")[:, : loaded.modes.shape[1]]
        assert np.abs(part - expected).max() < ROUND_OFF


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_every_point_is_visited_once(shape, make_modes):
    loaded, shapes = Loaded(shape, make_modes), []
    loaded.apply(lambda z: shapes.append(z.shape))
    nx, ny = loaded.modes.quadrature.num_points
    assert sum(number for number, _ in shapes) == nx
    assert {width for _, width in shapes} == {ny}


@pytest.mark.parametrize(("shape", "make_modes"), CASES)
def test_the_largest_value_is_found_over_all_blocks(shape, make_modes):
    loaded = Loaded(shape, make_modes)
    largest = loaded.transform.largest(
        loaded.read, lambda z: float(np.max(z.real + z.imag))
    )
    expected = np.max(np.sum(loaded.fields(), axis=0))
    assert largest == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("at", range(8))
@pytest.mark.usefixtures("any_grid")
def test_nan_wins_wherever_it_comes(at, threads):
    loaded = Loaded(SEVERAL, threads=threads)
    points = []
    loaded.apply(lambda z: points.append(len(z)))
    assert len(points) == 10  # blocks
    values = np.ones(10)
    values[at] = np.nan
    waiting = iter(values)
    assert np.isnan(loaded.transform.largest(loaded.read, lambda z: next(waiting)))


@pytest.mark.parametrize("make_modes", [truncated_modes, padded_modes])
def test_a_call_leaves_no_trace_in_the_next(make_modes):
    loaded = Loaded((130, 301), make_modes)

    def square(z):
        z *= z

    first = loaded.apply(square)
    kept, loaded.hats = loaded.hats, [np.full(loaded.modes.shape, np.nan)] * 2
    loaded.transform.largest(loaded.read, lambda z: 0.0)
    assert np.isnan(loaded.apply(square)).all()
    loaded.hats = kept
    np.testing.assert_array_equal(loaded.apply(square), first)


@pytest.mark.parametrize("module", [kernels, fused_kernels])
@pytest.mark.parametrize("threads", [2, 3, 64])
@pytest.mark.usefixtures("any_grid")
def test_threads_do_not_change_a_bit(threads, module):
    def square(z):
        z *= z

    one, many = (
        Loaded(SEVERAL, module=module, threads=number).apply(square)
        for number in (1, threads)
    )
    np.testing.assert_array_equal(one, many)


def threads_at_work(loaded):
    workers = set()
    loaded.apply(lambda z: workers.add(threading.get_ident()))
    return workers


@pytest.mark.usefixtures("any_grid")
def test_two_threads_share_the_work():
    assert threading.get_ident() in threads_at_work(Loaded(SEVERAL, threads=2))
    assert len(threads_at_work(Loaded(SEVERAL, threads=2))) == 2
    assert len(threads_at_work(Loaded((32, 32), threads=2))) == 1  # a single batch


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(ValueError, match=f"threads.*{threads}"):
        FftwEngine(threads=threads)


def test_small_grids_are_left_to_one_thread():
    assert threads_at_work(Loaded((256, 256), threads=2)) == {threading.get_ident()}
    assert len(threads_at_work(Loaded((512, 512), threads=2))) == 2


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("any_grid")
def test_an_error_in_a_callback_comes_through(threads):
    loaded = Loaded(SEVERAL, threads=threads)
    seen = []

    def fail_late(z):
        seen.append(len(z))
        if len(seen) == 8:
            raise ArithmeticError("no more")

    with pytest.raises(ArithmeticError, match="no more"):
        loaded.apply(fail_late)


@pytest.mark.usefixtures("any_grid")
def test_threads_keep_the_callers_error_state():
    loaded = Loaded(SEVERAL, threads=2)
    loaded.hats = [np.full(loaded.modes.shape, 1e200 + 0j)] * 2

    def overflow(z):
        z *= z

    with np.errstate(over="ignore", invalid="ignore"):
        loaded.apply(overflow)
    with pytest.warns(RuntimeWarning, match="overflow|invalid"):
        loaded.apply(overflow)


def test_a_measured_plan_agrees_to_round_off():
    estimated, measured = (
        Loaded((130, 301), planner=planner).apply(nothing)
        for planner in ("FFTW_ESTIMATE", "FFTW_MEASURE")
    )
    assert np.abs(estimated - measured).max() < ROUND_OFF


def wisdom(exported):
    """Its entries: the order in which FFTW writes them depends on its hash table."""
    return [set(part.split(b"\n")) for part in exported]


def test_what_the_process_measured_before_is_not_used_and_not_forgotten(monkeypatch):
    """FFTW would use a measured plan even where it was asked not to measure."""
    lines = pyfftw.zeros_aligned((130, 301), complex)
    pyfftw.FFTW(lines, lines.copy(), (1,), flags=("FFTW_MEASURE",))
    measured, seen = pyfftw.export_wisdom(), []
    real_plan = _advection.plan

    def watched_plan(*arguments):
        seen.append(pyfftw.export_wisdom())
        return real_plan(*arguments)

    monkeypatch.setattr(_advection, "plan", watched_plan)
    Loaded((130, 301))
    assert wisdom(pyfftw.export_wisdom()) == wisdom(measured)
    pyfftw.forget_wisdom()
    assert wisdom(seen[0]) == wisdom(pyfftw.export_wisdom()) != wisdom(measured)
