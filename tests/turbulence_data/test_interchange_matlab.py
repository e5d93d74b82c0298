"""MATLAB v7.3 files: every axis order and sign comes out as this package's own."""

import itertools
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io

from turbulence_data import FlowConfig, evolve, filtered_dns, to_arrays
from turbulence_data.generation import content_hash
from turbulence_data.interchange import (
    TL_FOR_SGS_MODELS,
    MatlabExamples,
    MatlabLayout,
    MatlabVariable,
    check_conventions,
)
from turbulence_data.interchange._matlab import ConventionError
from turbulence_data.solver._grid import Grid
from turbulence_data.solver._initial_conditions import RandomVorticity

SINGLE_PRECISION = 1e-4  # relative residual of float32 fields after two derivatives
LENGTHS = (2 * np.pi, 4 * np.pi)
SQUARE = (2 * np.pi, 2 * np.pi)
NUMBER = 3


def make_examples(points, les_points, lengths):
    flow = FlowConfig(points, 500.0, forcing_wavenumber=4, lengths=lengths)
    start = RandomVorticity(energy=0.5, peak_wavenumber=5.0)
    examples = []
    for number in range(NUMBER):
        rng = np.random.default_rng(number)
        vorticity = evolve(start(Grid(points, lengths), rng), flow, 0.5, 0.01)
        fields = filtered_dns(vorticity, les_points, lengths=lengths)
        examples.append(
            {
                "vorticity": fields.vorticity.astype(np.float32),
                "streamfunction": fields.streamfunction.astype(np.float32),
                "sgs_forcing": fields.sgs_forcing.astype(np.float32),
                "trajectory": np.int64(0),
                "time": np.float64(number),
            }
        )
    return examples


@pytest.fixture(scope="module")
def rectangle():
    return make_examples((64, 96), (16, 24), LENGTHS)


@pytest.fixture(scope="module")
def square():
    return make_examples((64, 64), (32, 32), SQUARE)


def test_files_with_the_same_arrays_are_refused(tmp_path, square):
    paths = [tmp_path / name for name in ("a.mat", "b.mat")]
    for path in paths:
        save_as_matlab(path, square, TL_FOR_SGS_MODELS)
    with pytest.raises(ValueError, match=r"a.mat.*b.mat.*one MatlabExamples per file"):
        MatlabExamples(paths, TL_FOR_SGS_MODELS, num_checked=0)


def save_as_matlab(path, examples, layout):
    """Writes what MATLAB's save(..., '-v7.3') writes: a header, then column-major."""
    signs = (-layout.laplacian_sign, 1, layout.sgs_forcing_sign)
    names = ("streamfunction", "vorticity", "sgs_forcing")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, sign in zip(names, signs, strict=True):
            variable = getattr(layout, name)
            fields = sign * np.stack([e[name] for e in examples]).astype(np.float64)
            stored = (fields - variable.mean) / variable.std
            order = [("example", "x", "y").index(axis) for axis in layout.axes]
            in_matlab = stored.transpose(order)
            if in_matlab.shape[2] == 1:
                in_matlab = in_matlab[:, :, 0]  # MATLAB has no third axis of one
            data = file.create_dataset(variable.name, data=in_matlab.T)
            data.attrs["MATLAB_class"] = np.bytes_("double")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with open(path, "r+b") as raw:
        raw.write(header.ljust(512, b"\x00"))
    return path


LAYOUTS = [
    MatlabLayout(axes=axes, laplacian_sign=psi, sgs_forcing_sign=pi, lengths=LENGTHS)
    for axes in itertools.permutations(("x", "y", "example"))
    for psi, pi in ((-1, 1), (1, -1))
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda entry: "".join(entry.axes))
def test_every_axis_order_and_sign_gives_back_the_same_examples(
    layout, rectangle, tmp_path
):
    path = save_as_matlab(tmp_path / "data.mat", rectangle, layout)
    read = MatlabExamples(path, layout)
    assert content_hash(read) == content_hash(rectangle)
    assert read.report.laplacian_residual < SINGLE_PRECISION
    assert read.report.laplacian_factor == pytest.approx(-1.0, abs=SINGLE_PRECISION)
    assert read.report.num_examples == NUMBER


def test_matlab_sizes_are_what_h5py_shows_backwards(rectangle, tmp_path):
    path = save_as_matlab(tmp_path / "data.mat", rectangle, MatlabLayout())
    with h5py.File(path) as file:  # size(W) is [16 24 3] in MATLAB
        assert file["W"].shape == (3, 24, 16)


def test_examples_are_a_sequence_of_which_parts_are_read(rectangle, tmp_path):
    layout = MatlabLayout(lengths=LENGTHS)
    read = MatlabExamples(save_as_matlab(tmp_path / "a", rectangle, layout), layout)
    assert len(read) == NUMBER
    assert content_hash([read[-1]]) == content_hash(rectangle[-1:])
    assert content_hash(read[1:]) == content_hash(rectangle[1:])
    with pytest.raises(IndexError):
        read[NUMBER]
    x, y = to_arrays(read)
    assert x.shape == (NUMBER, 16, 24, 2)
    assert y.dtype == np.float32


def test_arrays_may_lie_in_two_files_under_other_names(rectangle, tmp_path):
    layout = MatlabLayout(
        streamfunction=MatlabVariable("P"),
        sgs_forcing=MatlabVariable("out"),
        lengths=LENGTHS,
    )
    inputs = save_as_matlab(tmp_path / "in.mat", rectangle, layout)
    outputs = save_as_matlab(tmp_path / "out.mat", rectangle, layout)
    for path, gone in ((inputs, ["out"]), (outputs, ["P", "W"])):
        with h5py.File(path, "r+") as file:
            for name in gone:
                del file[name]
    read = MatlabExamples([inputs, outputs], layout)
    assert content_hash(read) == content_hash(rectangle)
    with pytest.raises(KeyError, match=r"'out'.*\['P', 'W'\]"):
        MatlabExamples(inputs, layout)


@pytest.mark.parametrize("axes", [("x", "y", "example"), ("example", "y", "x")])
def test_a_single_example_has_lost_its_axis_in_matlab(axes, rectangle, tmp_path):
    layout = MatlabLayout(axes=axes, lengths=LENGTHS)
    path = save_as_matlab(tmp_path / "one.mat", rectangle[:1], layout)
    assert content_hash(MatlabExamples(path, layout)) == content_hash(rectangle[:1])


def test_normalized_fields_become_physical(square, tmp_path):
    layout = replace(
        TL_FOR_SGS_MODELS,
        streamfunction=MatlabVariable("Psi", mean=0.02, std=0.3),
        vorticity=MatlabVariable("W", std=4.0),
        sgs_forcing=MatlabVariable("PI", mean=-0.1, std=2.5),
    )
    path = save_as_matlab(tmp_path / "normalized.mat", square, layout)
    for name in ("vorticity", "streamfunction", "sgs_forcing"):
        for read, example in zip(MatlabExamples(path, layout), square, strict=True):
            np.testing.assert_allclose(read[name], example[name], rtol=1e-5, atol=1e-6)
    # Without the scales the check knows their ratio: (1 / 0.3) / (1 / 4).
    with pytest.raises(ConventionError, match=r"= -13\.333\d* vorticity.*std of each"):
        MatlabExamples(path, TL_FOR_SGS_MODELS)
    assert MatlabExamples(path, TL_FOR_SGS_MODELS, num_checked=0).report is None


def test_the_wrong_sign_of_the_streamfunction_is_named(square, tmp_path):
    path = save_as_matlab(tmp_path / "a.mat", square, MatlabLayout(laplacian_sign=1))
    with pytest.raises(ConventionError, match=r"residual 2.*other\s+laplacian_sign"):
        MatlabExamples(path, MatlabLayout(laplacian_sign=-1))


def test_wrong_sides_are_named_with_the_right_ones(square, tmp_path):
    path = save_as_matlab(tmp_path / "a.mat", square, MatlabLayout())
    half = MatlabLayout(lengths=(np.pi, np.pi))
    with pytest.raises(ConventionError, match=r"sides are 2(\.0+\d*)? times as long"):
        MatlabExamples(path, half)


@pytest.mark.parametrize("wrong", ["axes", "names", "lengths"])
def test_fields_that_do_not_belong_together_are_refused(wrong, rectangle, tmp_path):
    layout = MatlabLayout(lengths=LENGTHS)
    path = save_as_matlab(tmp_path / "a.mat", rectangle, layout)
    other = {
        "axes": replace(layout, axes=("example", "x", "y")),
        "names": replace(layout, streamfunction=MatlabVariable("PI")),
        "lengths": replace(layout, lengths=LENGTHS[::-1]),
    }[wrong]
    with pytest.raises(ValueError, match=r"No factor corrects it|at least 4"):
        MatlabExamples(path, other)


# The sign of the subgrid forcing ---------------------------------------------------


def test_a_flipped_sign_of_the_forcing_is_detected_and_reported(square, tmp_path):
    path = save_as_matlab(tmp_path / "a.mat", square, MatlabLayout(sgs_forcing_sign=-1))
    right = MatlabExamples(path, MatlabLayout(sgs_forcing_sign=-1)).report
    with pytest.warns(UserWarning, match=r"against the gradient model.*exchanged"):
        wrong = MatlabExamples(path, MatlabLayout(sgs_forcing_sign=1)).report
    assert right.gradient_model_correlation > 0.7
    assert wrong.gradient_model_correlation == -right.gradient_model_correlation
    assert wrong.sgs_forcing_sign_looks_wrong
    assert not right.sgs_forcing_sign_looks_wrong


def test_exchanged_axes_of_a_square_look_like_a_flipped_sign(square, tmp_path):
    """A mirrored flow has the opposite advection; its Laplacian is as before."""
    layout = MatlabLayout()
    path = save_as_matlab(tmp_path / "a.mat", square, layout)
    right = MatlabExamples(path, layout).report
    with pytest.warns(UserWarning, match=r"against the gradient model.*exchanged"):
        mirrored = MatlabExamples(
            path, replace(layout, axes=("y", "x", "example"))
        ).report
    assert mirrored.laplacian_residual < SINGLE_PRECISION
    assert mirrored.gradient_model_correlation == pytest.approx(
        -right.gradient_model_correlation, rel=1e-6
    )


def test_a_constant_forcing_has_no_sign(square):
    flat = [{**e, "sgs_forcing": np.zeros((32, 32))} for e in square]
    report = check_conventions(flat)
    assert np.isnan(report.gradient_model_correlation)
    assert not report.sgs_forcing_sign_looks_wrong


def test_nothing_can_be_checked_without_examples_or_motion(square):
    with pytest.raises(ValueError, match="received 0 examples"):
        check_conventions([])
    rest = {name: np.zeros((32, 32)) for name in square[0]}
    with pytest.raises(ValueError, match=r"received 1 examples.* 0\.0, 0\.0"):
        check_conventions([rest])


# Bad input ---------------------------------------------------------------------------


def test_scalars_complete_the_examples(square, tmp_path):
    path = save_as_matlab(tmp_path / "a.mat", square, MatlabLayout())
    scalars = {"reynolds": 500, "trajectory": [0, 0, 1], "time": [1.0, 2.0, 1.0]}
    read = list(MatlabExamples(path, scalars=scalars))
    assert [example["trajectory"] for example in read] == [0, 0, 1]
    assert [example["time"] for example in read] == [1.0, 2.0, 1.0]
    assert read[0]["reynolds"] == 500.0
    assert read[0]["reynolds"].dtype == np.float64
    with pytest.raises(KeyError, match=r"\['viscosity'\].*reynolds"):
        MatlabExamples(path, scalars={"viscosity": 1.0})
    with pytest.raises(ValueError, match=r"time must be.* 3 examples.*\(2,\)"):
        MatlabExamples(path, scalars={"time": [1.0, 2.0]})


def test_files_of_another_format_are_refused(square, tmp_path):
    path = tmp_path / "old.mat"
    scipy.io.savemat(path, {"W": square[0]["vorticity"]})
    with pytest.raises(ValueError, match=r"old\.mat.*-v7\.3.*loadmat"):
        MatlabExamples(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.mat"):
        MatlabExamples(tmp_path / "absent.mat")


def test_arrays_of_unequal_shapes_or_with_gaps_are_refused(square, tmp_path):
    path = save_as_matlab(tmp_path / "a.mat", square, MatlabLayout())
    with h5py.File(path, "r+") as file:
        del file["PI"]
        file["PI"] = np.zeros((2, 32, 32))
    with pytest.raises(ValueError, match=r"'sgs_forcing': \(32, 32, 2\)"):
        MatlabExamples(path)
    with h5py.File(path, "r+") as file:
        del file["PI"]
        file["PI"] = np.full((3, 32, 32), np.nan)
    with pytest.raises(ValueError, match=r"PI of .*a\.mat.*not finite.*0 to 0"):
        MatlabExamples(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axes": ("x", "y", "t")}, r"axes.*'t'"),
        ({"axes": ["x", "y", "example"]}, r"axes.*\['x'"),
        ({"laplacian_sign": 0}, "laplacian_sign must be 1 or -1; received 0"),
        ({"sgs_forcing_sign": 2}, "sgs_forcing_sign must be 1 or -1; received 2"),
        ({"lengths": (1.0, 0.0)}, "lengths.*0.0"),
    ],
)
def test_layouts_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MatlabLayout(**arguments)


def test_variables_that_cannot_be_scaled_are_refused():
    with pytest.raises(ValueError, match=r"std of W.*received 0\.0"):
        MatlabVariable("W", std=0.0)
    with pytest.raises(ValueError, match=r"mean of W.*inf"):
        MatlabVariable("W", mean=float("inf"))


def test_a_missing_library_is_named_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"h5py.*keras-spectral-tl\[interchange\]"):
        MatlabExamples(tmp_path / "any.mat")
