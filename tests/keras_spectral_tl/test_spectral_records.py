"""Where the spectral callbacks write, what it costs, and what a failure leaves."""

import io
import itertools
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_spectral_tl.callbacks import ActivationSpectra, KernelSpectra, _spectra
from keras_spectral_tl.callbacks._spectra import TimeBudget
from keras_spectral_tl.plotting._style import enlarged, to_rgb
from keras_spectral_tl.spectra import activation_spectra, kernel_spectra
from tests.keras_spectral_tl.common import noise

SHAPE = (8, 6, 2)


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv_1"),
            keras.layers.Dropout(0.2, seed=3),
            keras.layers.Conv2D(1, 3, padding="same", name="conv_2"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 2):
    x, y = noise(6, *SHAPE, seed=1), noise(6, 8, 6, 1, seed=2)
    options = {"batch_size": 3, "epochs": epochs, "verbose": 0, "shuffle": False}
    return model.fit(x, y, callbacks=list(callbacks), **options)


def events(log_dir: Path) -> tuple[dict, dict]:
    """Scalars and images by (tag, step), read back from all event files of a folder."""
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    scalars, images = {}, {}
    for file in log_dir.iterdir():
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            head, payload = data[:8], data[12 : 12 + length]
            assert int.from_bytes(data[8:12], "little") == masked_crc32c(head)
            event = Event.FromString(payload)
            for value in event.summary.value:
                if value.HasField("image"):
                    encoded = io.BytesIO(value.image.encoded_image_string)
                    images[value.tag, event.step] = np.asarray(Image.open(encoded))
                else:
                    scalars[value.tag, event.step] = value.simple_value
            data = data[16 + length :]
    return scalars, images


def test_event_files_hold_the_scalars_and_images_of_the_spectra(tmp_path: Path):
    model, probe = build(), noise(2, *SHAPE, seed=5)
    options = {"log_dir": tmp_path, "most_share": None}
    fit(model, KernelSpectra(8, **options), ActivationSpectra(probe, **options))
    scalars, images = events(tmp_path)
    kernels = kernel_spectra(model, 8).layers
    activations = activation_spectra(model, probe, per_channel=True)
    for name, spectra in kernels.items():
        peak = spectra.peak_wavenumbers.mean()
        assert scalars[f"{name}/peak_wavenumber", 1] == pytest.approx(peak, rel=1e-6)
        shares = [v for (tag, step), v in scalars.items() if "share" in tag and step]
        assert sum(shares) == pytest.approx(len(kernels))
        energy = activations.pre_activation[name].sum()
        tag = f"{name}/pre_activation_energy"
        assert scalars[tag, 1] == pytest.approx(energy, rel=1e-6)
        assert 0 < scalars[f"{name}/mean_wavenumber", 1] < 6
        for kind in ("mean_transfer", "profiles", "pre_activation_spectra"):
            for epoch in (0, 1):
                image = images[f"{name}/{kind}", epoch]
                assert image.dtype == np.uint8 and image.ndim == 3
    assert len(images) == 2 * (2 * 3 + 1)  # and the activations behind the dropout
    # Row 0 of the image is the first channel's spectrum, brightest where it is largest.
    channels = activations["conv_1"].pre_channels[:, 1:]
    top = np.log10(channels.max())
    expected = to_rgb(
        np.log10(np.maximum(channels, 10 ** (top - 6))), low=top - 6, high=top
    )
    np.testing.assert_array_equal(
        images["conv_1/pre_activation_spectra", 1], enlarged(expected)
    )


def test_the_image_of_a_known_kernel_shows_its_transfer_function(tmp_path: Path):
    """A difference along x passes kx = +-pi / 2 alone: two bright columns."""
    model = keras.Sequential(
        [keras.Input((16, 16, 1)), keras.layers.Conv2D(1, (3, 1), name="conv")]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    kernel = np.array([1.0, 0.0, -1.0]).reshape(3, 1, 1, 1)
    model.layers[0].set_weights([kernel, np.zeros(1)])
    callback = KernelSpectra(16, log_dir=tmp_path)
    x = noise(1, 16, 16, 1)
    model.fit(x, x[:, :14], verbose=0, callbacks=[callback])
    image = events(tmp_path)[1]["conv/mean_transfer", 0][::12, ::12]
    expected = to_rgb(
        np.broadcast_to(2 * np.abs(np.sin(2 * np.pi * np.arange(-8, 8) / 16)), (16, 16))
    )
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_a_callback_serves_fit_after_fit_in_the_same_folder(tmp_path: Path):
    model = build()
    callback = ActivationSpectra(
        noise(1, *SHAPE), log_dir=tmp_path, directory=tmp_path / "npz", most_share=None
    )
    fit(model, callback, epochs=2)
    fit(model, callback, epochs=1)
    assert list(callback.history) == [0]
    assert len(list((tmp_path / "npz").iterdir())) == 2


class Stop(Exception):
    pass


def state_of(model: keras.Model) -> tuple[list, list]:
    """Values of all variables; the attributes of every layer, by identity."""
    values = [np.array(v) for v in [*model.variables, *model.optimizer.variables]]
    attributes = [{k: id(v) for k, v in vars(x).items()} for x in model.layers]
    return values, attributes


@pytest.mark.parametrize("where", ["activation", "file"])
def test_an_exception_leaves_the_model_exactly_as_it_was(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = build()
    fit(model, epochs=1)
    activation = model.layers[0].activation

    def failing(*values: object) -> object:
        raise Stop

    callback = ActivationSpectra(
        noise(1, *SHAPE),
        directory=tmp_path / "npz",
        log_dir=tmp_path,
        most_share=None,
    )
    callback.set_model(model)
    callback.on_train_begin()
    if where == "activation":
        vars(model.layers[0])["activation"] = failing
    else:
        monkeypatch.setattr(_spectra, "write_arrays", failing)
    before = state_of(model)
    with pytest.raises(Stop):
        callback.on_epoch_end(0, {})
    after = state_of(model)
    assert before[1] == after[1]
    for one, other in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(one, other)
    vars(model.layers[0])["activation"] = activation
    monkeypatch.undo()
    history = fit(model, callback, epochs=1).history  # and it goes on
    assert list(callback.history) == [0]
    assert "conv_1/pre_activation_energy" in history


def test_time_spent_stays_within_the_budget():
    now = 0.0
    budget = TimeBudget(0.02, clock=lambda: now)
    rng, first, records, longest = np.random.default_rng(0), None, 0, 0.0
    for _ in range(2000):
        now += rng.uniform(0.5, 2.0)
        if not budget.is_affordable():
            continue
        cost = rng.uniform(0.5, 1.0)
        longest, records = max(longest, cost), records + 1
        first = first or cost
        with budget.work():
            now += cost
        allowed = max(first, 0.02 * (now - budget.spent))
        assert budget.spent <= allowed + longest / 2  # a record may outlast the last
    assert records > 20  # the budget is used
    assert budget.spent > 0.9 * 0.02 * (now - budget.spent)


def test_records_that_would_cost_too_much_are_left_out_and_named():
    ticks = itertools.count()
    callback = KernelSpectra(8)
    model = build()
    callback.set_model(model)
    callback.on_train_begin()
    callback._budget = TimeBudget(1e-3, clock=lambda: float(next(ticks)))
    for epoch in range(5):
        callback.on_epoch_end(epoch, {})
    assert list(callback.history) == [0]
    assert callback.skipped == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="most_share must be above 0"):
        KernelSpectra(8, most_share=0.0)


def test_missing_packages_are_named_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for module in ("tensorboardX", "matplotlib"):
        with monkeypatch.context() as missing:
            missing.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r"keras-spectral-tl\[tensorboard\]"):
                fit(build(), KernelSpectra(8, log_dir=tmp_path), epochs=1)


def test_colours_are_ordered_and_bounded():
    ramp = to_rgb(np.linspace(-1, 1, 50)[None], low=-1, high=1)[0].astype(float)
    lightness = ramp @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(lightness) > 0)
    assert to_rgb(np.full((2, 2), 3.0)).shape == (2, 2, 3)
    assert to_rgb(np.full((1, 1), np.nan)).min() == 255
