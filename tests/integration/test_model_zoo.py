"""The networks shipped are those whose figures are written beside them, and small."""

import sys
from pathlib import Path

import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl.metrics import pattern_correlation

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
LARGEST = 5_000_000  # bytes of all entries together


@pytest.fixture(scope="module")
def zoo():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        import model_zoo

        yield model_zoo
        for name in [n for n in sys.modules if n.split(".")[0] == "model_zoo"]:
            sys.modules.pop(name)


def test_there_are_entries_and_they_are_small(zoo):
    assert zoo.entry_names()
    files = (EXAMPLES / "model_zoo").rglob("*.npz")
    assert sum(file.stat().st_size for file in files) < LARGEST


def test_every_network_has_the_figures_it_was_packed_with(zoo):
    for name in zoo.entry_names():
        entry = zoo.load_entry(name)
        x, y = entry.test
        found = pattern_correlation(y, entry.model.predict(x, verbose=0))
        recorded = entry.provenance["figures"]["on_packed_test_samples"]["cc"]
        # Single precision, in another order on another machine or backend.
        assert found == pytest.approx(recorded, abs=1e-4)
        assert entry.model.count_params() == entry.provenance["num_parameters"]
        assert entry.provenance["figures"]["on_base"]["cc"] > 0.8


def test_an_entry_can_be_retrained_at_once(zoo):
    entry = zoo.load_entry(zoo.entry_names()[0])
    few = tuple(part[:4] for part in entry.target)
    result = kst.retrain(entry.model, few, "conv_2", epochs=2)
    assert result.changed == ("conv_2",)
    losses = result.history["loss"]
    assert losses[-1] < losses[0]
    moments = [float(np.std(part)) for part in entry.target]
    np.testing.assert_allclose(moments, 1.0, atol=0.01)  # by its own statistics
