"""Profiles: a light one in every run of the tests, a heavy one by `make fuzz`."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.junk import COUNTS

COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("light", max_examples=25, **COMMON)
settings.register_profile("heavy", max_examples=2000, **COMMON)
settings.load_profile("light")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With `--hypothesis-profile=heavy`, what came out of each function."""
    if session.config.getoption("--hypothesis-profile") == "heavy":
        path = Path("runs/fuzz.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(COUNTS, indent=1, sort_keys=True) + "\n")
