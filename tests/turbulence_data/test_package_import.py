"""Importing the package is cheap and registers the dataset."""

import json
import subprocess
import sys

import pytest

import turbulence_data

PROBE = """
import json, sys
import turbulence_data
import tensorflow_datasets as tfds
print(json.dumps({
    "modules": sorted(sys.modules),
    "folders": [turbulence_data.closures.Leith.__name__,
                turbulence_data.symmetries.square[0].turns],
    "registered": tfds.builder_cls("turbulence_data").name == "turbulence_data",
    "configs": sorted(tfds.builder_cls("turbulence_data").builder_configs),
}))
"""


@pytest.fixture(scope="module")
def probe():
    result = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
    )
    return json.loads(result.stdout)


HEAVY = [
    *("tensorflow", "keras", "jax", "torch", "matplotlib", "distributed", "h5py"),
    # pyFFTW imports dask.array where it is installed, which imports the others.
    *("pyfftw", "dask", "pandas", "xarray", "scipy.fft", "scipy.optimize"),
]


@pytest.mark.parametrize("heavy", HEAVY)
def test_no_heavy_library_is_imported(probe, heavy):
    assert heavy not in probe["modules"]


def test_the_dataset_is_registered_with_a_config_for_every_named_flow(probe):
    assert probe["registered"]
    assert probe["configs"] == sorted(turbulence_data.NAMED_FLOWS)


def test_folders_are_there_without_an_import_of_their_own(probe):
    assert probe["folders"] == ["Leith", 0]


def test_every_public_name_is_there():
    for name in turbulence_data.__all__:
        assert getattr(turbulence_data, name) is not None


def test_the_version_has_a_clear_fallback(monkeypatch):
    from turbulence_data.generation import _statistics as statistics

    assert turbulence_data.__version__ == statistics.package_version()
    monkeypatch.setattr(statistics, "_DISTRIBUTION", "no-such-distribution")
    assert statistics.package_version() == "0+unknown"
