"""What is kept of the benchmark belongs together."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from keras_spectral_tl.metrics import pattern_correlation

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def sweeps():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield import_module("kuramoto_sivashinsky_sweeps")
        for path in BENCHMARKS.glob("*.py"):
            sys.modules.pop(path.stem, None)


def test_every_setting_was_measured(sweeps):
    settings = sweeps.settings()
    measured = sweeps.Workshop().sweeps()
    assert {setting.label for setting in settings} == set(measured)
    names = [f"conv_{i}" for i in range(1, sweeps.NUM_LAYERS + 1)]
    for sweep in measured.values():
        assert list(sweep["layers"]) == names
        assert list(sweep["controls"]) == list(sweeps.CONTROLS)


@pytest.mark.parametrize("case", [("thick", "thin", 4, 2), ("thin", "thick", 1, 1)])
def test_the_networks_kept_are_those_that_were_swept(sweeps, case):
    """The correlation of the base network on the target, measured again."""
    setting = sweeps.Setting(*case)
    workshop = sweeps.Workshop()
    model, _ = workshop.base(setting.base, setting.seed)
    target, (x, y) = workshop.target(setting)
    assert len(target[0]) == setting.num_target
    cc = pattern_correlation(y, model.predict(x, verbose=0))
    kept = workshop.sweeps()[setting.label]["controls"]["unchanged"]["cc"]
    # Six digits are kept; the networks answer in single precision.
    assert cc == pytest.approx(kept, abs=1e-5)
