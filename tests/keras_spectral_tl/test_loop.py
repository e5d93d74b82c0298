"""Images under symmetries and base samples, drawn by seed, epoch and row."""

import dataclasses
import fractions

import keras
import numpy as np
import pytest
from tqdm import tqdm

from keras_spectral_tl import _progress, transfer
from keras_spectral_tl._graph.layers import fetch
from keras_spectral_tl.transfer._loop import Batches
from keras_spectral_tl.transfer._sweep_store import fingerprint
from tests.keras_spectral_tl.common import Terminal

SINGLE = 1e-5
X = np.arange(1.0, 9.0, dtype="float32")[:, None]
Y = 10.0 * X
BASE = (-100.0 - X[:5], X[:5])


def negated(x, y):
    """Odd functions have this symmetry."""
    return -x, -y


def _linear(bias=True):
    dense = keras.layers.Dense(1, use_bias=bias, kernel_initializer="zeros", name="d")
    return keras.Sequential([keras.Input((1,)), dense])


def _deep():
    keras.utils.set_random_seed(2)
    layers = [keras.layers.Dense(3, activation="tanh", name=n) for n in "ab"]
    return keras.Sequential([keras.Input((1,)), *layers, keras.layers.Dense(1)])


def _signs(batches, epoch):
    """The sign of each row of X in one epoch."""
    batches.set_epoch(epoch)
    pairs = [batches[i] for i in range(len(batches))]
    x, y = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    np.testing.assert_array_equal(y, 10.0 * x)  # inputs and outputs move together
    order = np.argsort(np.abs(x[:, 0]))
    np.testing.assert_array_equal(np.abs(x[order]), X)  # every sample once
    return np.sign(x[order, 0])


@pytest.mark.once
def test_images_are_drawn_by_seed_epoch_and_row_alone():
    data, given = transfer.Samples.of((X, Y)), {"symmetries": (negated,)}
    one = Batches(data, 3, seed=1, shuffle=True, **given)
    other = Batches(data, 8, seed=1, shuffle=False, **given)
    signs = np.array([_signs(one, epoch) for epoch in range(200)])
    for epoch in (0, 7):
        np.testing.assert_array_equal(signs[epoch], _signs(other, epoch))
    # 1600 fair coins: five standard deviations are 200.
    assert abs(signs.sum()) < 200 and np.all(np.abs(signs.sum(axis=0)) < 71)
    fresh = Batches(data, 8, seed=2, shuffle=False, **given)
    assert np.any(_signs(fresh, 0) != signs[0])
    np.testing.assert_array_equal(data.x, X)


@pytest.mark.once
def test_a_network_learns_from_images_what_one_sample_does_not_tell():
    """f = w x + b from x = y = 1 alone ends at w = b = 1/2, an odd one at w = 1, b = 0.

    Each step is that of gradient descent on (s w + b - s)^2 with the sign s drawn.
    """
    data, rate = (np.ones((1, 1), "float32"),) * 2, 0.125
    options = {
        "optimizer": keras.optimizers.SGD(rate), "epochs": 60, "run_eagerly": True,
    }  # fmt: skip
    alone = transfer.retrain(_linear(), data, "d", **options)
    images = transfer.retrain(_linear(), data, "d", symmetries=[negated], **options)
    np.testing.assert_allclose(
        [float(fetch(w).ravel()[0]) for w in alone.model.weights], 0.5, atol=SINGLE
    )
    batches = Batches(
        transfer.Samples.of(data), 8, seed=0, shuffle=True, symmetries=(negated,)
    )
    w = b = 0.0
    for epoch in range(60):
        batches.set_epoch(epoch)
        s = float(batches[0][0][0, 0])
        residual = s * w + b - s
        w, b = w - 2.0 * rate * residual * s, b - 2.0 * rate * residual
    found = [float(fetch(v).ravel()[0]) for v in images.model.weights]
    np.testing.assert_allclose(found, [w, b], atol=SINGLE)
    np.testing.assert_allclose(found, [1.0, 0.0], atol=0.01)


def test_symmetries_act_on_raw_samples():
    """Also where a mean is not zero, and signs of normalized values mean nothing."""
    raw = transfer.Samples.of((X, Y))
    statistics = transfer.ChannelStatistics((3.0,), (2.0,), (-1.0,), (5.0,))
    image = raw.normalized(statistics).image(negated)
    found = statistics.denormalize(image.x, image.y)
    np.testing.assert_allclose(found[0], -X, atol=SINGLE)
    np.testing.assert_allclose(found[1], -Y, atol=10 * SINGLE)


def test_a_symmetry_that_works_in_place_leaves_the_samples():
    x, y = np.array(X), np.array(Y)

    def in_place(x, y):
        x *= -1.0
        y *= -1.0
        return x, y

    image = transfer.Samples.of((x, y)).image(in_place)
    np.testing.assert_array_equal(image.x, -X)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.once
@pytest.mark.parametrize("count", [5, 8, 20])
def test_an_epoch_holds_as_many_base_samples_as_target_samples(count):
    x = -100.0 - np.arange(count, dtype="float32")[:, None]
    replay = transfer.Samples.of((x, x))
    batches = Batches(transfer.Samples.of((X, X)), 3, 1, True, replay=replay)
    assert len(batches) == 6  # 16 samples in batches of 3
    drawn = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        found = np.concatenate([batches[i][0] for i in range(len(batches))])
        own, base = found[found > 0], found[found < 0]
        np.testing.assert_array_equal(np.sort(own), X[:, 0])
        times = np.unique(base, return_counts=True)[1]
        assert len(base) == 8 and np.ptp(times) <= 1 and len(times) == min(count, 8)
        drawn.append(found)
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert np.any(drawn[0] != drawn[1])


@pytest.mark.once
def test_replay_keeps_the_base_in_the_loss():
    """With x = 1, y = 2 and 0 on the base, ((w - 2)^2 + w^2) / 2 is least at 1.

    A step of descent at the rate 1/2 goes there at once.
    """
    one, zero = np.ones((4, 1), "float32"), np.zeros((4, 1), "float32")
    result = transfer.retrain(
        _linear(bias=False), (one, 2 * one), None, replay=(one, zero), batch_size=8,
        epochs=1, optimizer=keras.optimizers.SGD(0.5),
    )  # fmt: skip
    assert float(fetch(result.model.weights[0]).item()) == pytest.approx(1.0, abs=1e-6)
    assert result.provenance["data"]["num_replay"] == 4


def test_equal_calls_give_equal_bits_and_frozen_weights_stay():
    model = _deep()
    options = {
        "symmetries": (negated,), "replay": BASE, "epochs": 3, "batch_size": 4,
        "run_eagerly": True,
    }  # fmt: skip
    one, two = (transfer.retrain(model, (X, Y), "b", **options) for _ in range(2))
    assert one.hashes_after == two.hashes_after and one.changed == ("b",)
    record = one.provenance["data"]
    assert record["symmetries"] == [repr(negated)]
    assert record["replay_sha256"] == transfer.Samples.of(BASE).fingerprint()
    plain = transfer.retrain(model, (X, Y), "b", epochs=3, batch_size=4)
    assert plain.hashes_after != one.hashes_after
    assert plain.provenance["data"]["replay_sha256"] is None


def test_sweeps_with_replay_and_symmetries_are_single_retrainings():
    model = _deep()
    options = {"replay": BASE, "epochs": 2, "batch_size": 4, "run_eagerly": True}
    for extra in ({}, {"symmetries": (negated,)}):
        row = transfer.oracle_sweep(
            model, (X, Y), (X, Y), layers="b", **options, **extra
        ).rows[0]
        alone = transfer.retrain(model, (X, Y), "b", **options, **extra).row((X, Y))
        assert row["relative_rmse"] == pytest.approx(alone["relative_rmse"], rel=SINGLE)


def _wide(x, y):
    return np.repeat(x, 2, axis=1), y


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"symmetries": 3}, TypeError, "sequence of callables"),
        ({"symmetries": (negated, "turn")}, TypeError, "sequence of callables"),
        ({"symmetries": (lambda x, y: x,)}, TypeError, r"pair \(x, y\)"),
        ({"symmetries": (_wide,)}, ValueError, "changes the shapes"),
        ({"symmetries": (lambda x, y: (x / 0, y),)}, ValueError, "infinite"),
        ({"replay": (X, np.nan * X)}, ValueError, "NaN"),
        ({"replay": X}, TypeError, "pair"),
        ({"replay": (np.ones((3, 2)), np.ones((3, 1)))}, ValueError, "like those"),
        ({"replay": ((X, X), X)}, ValueError, "like those"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_symmetries_and_replayed_samples_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        transfer.retrain(_linear(), (X, Y), "d", epochs=1, **options)


@dataclasses.dataclass(frozen=True)
class Shift:
    """A symmetry that is described by its fields."""

    part: fractions.Fraction

    def __call__(self, x, y):
        return x, y


@pytest.mark.once
def test_sweeps_tell_symmetries_apart_by_value():
    data = transfer.Samples.of((X, Y))
    prints = [
        fingerprint(
            _linear(), data, data, {"symmetries": (Shift(fractions.Fraction(f)),)}
        )
        for f in ("1/2", "1/2", "1/4")
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("epoch_history", [True, False])
def test_a_training_in_a_terminal_has_a_bar_and_the_same_bits(
    epoch_history, monkeypatch
):
    options = {"epochs": 3, "batch_size": 4, "epoch_history": epoch_history}
    model = _deep()
    silent = transfer.retrain(model, (X, Y), None, **options)
    terminal = Terminal()

    def at_once(**options):
        return tqdm(**{**options, "delay": 0, "mininterval": 0, "file": terminal})

    monkeypatch.setattr(_progress, "tqdm", at_once)
    monkeypatch.setattr("sys.stderr", terminal)
    watched = transfer.retrain(model, (X, Y), None, **options)
    assert "Retraining" in terminal.getvalue()
    assert "6/6" in terminal.getvalue() and "loss" in terminal.getvalue()
    assert watched.history == silent.history
    assert watched.hashes_after == silent.hashes_after
    before = len(terminal.getvalue())
    transfer.retrain(model, (X, Y), None, **options, verbose=0)
    assert len(terminal.getvalue()) == before
