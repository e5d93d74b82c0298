"""Fixtures that several test files share; networks and samples are in `common`."""

import keras
import pytest


@pytest.fixture
def same_start() -> None:
    """The weights that are drawn next are the same in every test."""
    keras.utils.set_random_seed(3)
