"""Checks of arguments: what is taken, what is refused, and what the error says."""

import numpy as np
import pytest

from keras_spectral_tl import _checks

pytestmark = pytest.mark.once


@pytest.mark.parametrize("value", [1.0, True, "1", None, np.float64(1), [1]])
def test_whole_number_takes_integers_only(value):
    with pytest.raises(TypeError, match=r"Expected n as a whole number.*Received n="):
        _checks.whole_number("n", value)


@pytest.mark.parametrize("value", [1, np.int64(5), np.uint8(3)])
def test_whole_number_within_bounds(value):
    found = _checks.whole_number("n", value, at_least=1, at_most=5)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("value", [0, 6])
def test_whole_number_out_of_bounds(value):
    with pytest.raises(ValueError, match=r"at least 1 and at most 5\. Received n="):
        _checks.whole_number("n", value, at_least=1, at_most=5)


@pytest.mark.parametrize("values", [(), "12", (1.5,), 3, (0,), (True,)])
def test_whole_numbers_refused(values):
    with pytest.raises(ValueError, match="at least one whole number, each at least 1"):
        _checks.whole_numbers("levels", values, at_least=1)


@pytest.mark.parametrize("value", [0.0, 1.0, np.inf, -np.inf, np.nan])
def test_real_number_out_of_bounds(value):
    with pytest.raises(ValueError, match=r"finite number, above 0 and below 1\."):
        _checks.real_number("share", value, above=0, below=1)
    with pytest.raises(TypeError, match="finite number"):
        _checks.real_number("share", True)


def test_real_number_includes_closed_bounds():
    assert _checks.real_number("share", 0, at_least=0, at_most=1) == 0.0
    assert _checks.real_number("share", np.float32(1), at_least=0, at_most=1) == 1.0


def test_one_of_proposes_a_near_choice():
    assert _checks.one_of("mode", "max", ("min", "max")) == "max"
    with pytest.raises(ValueError, match=r"'min', 'max'\. Received mode='mix'\. Did"):
        _checks.one_of("mode", "mix", ("min", "max"))


def test_require_names_the_package_and_the_command():
    with pytest.raises(ImportError, match=r"not_there.*pip install x\[y"):
        _checks.require("not_there.at_all", "Figures", "x[y]")
