"""What holds before every test here; networks and samples are in `common`."""

import keras
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draw the same weights in every run, in fixtures too, whatever ran before."""
    keras.utils.set_random_seed(3)
