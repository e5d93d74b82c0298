"""Arrays with masked values, which NumPy would use as if they were not masked."""

import keras
import numpy as np
import pytest

import keras_spectral_tl as kst
from keras_spectral_tl import metrics, spectra
from keras_spectral_tl.closure import KerasClosure
from keras_spectral_tl.losses import SpectralLoss, WeightedMeanSquaredError
from keras_spectral_tl.spectra._fields import cross_spectrum
from tests.keras_spectral_tl.common import noise

pytestmark = pytest.mark.once

FIELDS = noise(2, 8, 8, 1)
MOMENTS = {name: (0.0, 1.0) for name in ("streamfunction", "vorticity", "sgs_forcing")}


def network(channels: int = 1) -> keras.Model:
    return kst.build_sgs_cnn((8, 8, channels), num_layers=2, num_filters=2)


CALLS = {
    "radial_spectrum": lambda f: kst.radial_spectrum(f, (1, 2)),
    "first of two": lambda f: cross_spectrum(f, FIELDS, (1, 2)),
    "second of two": lambda f: cross_spectrum(FIELDS, f, (1, 2)),
    "activation_spectra": lambda f: kst.activation_spectra(network(), f),
    "layer_gains": lambda f: spectra.layer_gains(network(), f),
    "truth": lambda f: metrics.pattern_correlation(f, FIELDS),
    "prediction": lambda f: metrics.relative_rmse(FIELDS, f),
    "weights of a loss": lambda f: WeightedMeanSquaredError(abs(f[0])),
    "weights of a metric": lambda f: metrics.relative_rmse(
        FIELDS, 2 * FIELDS, weights=abs(f)
    ),
    "weights of wavenumbers": lambda f: SpectralLoss(weights=abs(f[0, 0, :5, 0])),
    "closure": lambda f: KerasClosure(network(2), MOMENTS)(f[..., 0], FIELDS[..., 0]),
    "samples": lambda f: kst.transfer.Samples.of((FIELDS, f)),
    "labels": lambda f: kst.transfer.Samples.of(Labelled(f)),
}


class Labelled(tuple):
    """Eight samples, labelled by numbers that may be masked."""

    def __new__(cls, numbers):
        pair = super().__new__(cls, (noise(8, 2), noise(8, 1)))
        pair.groups = numbers[0, 0, :, 0].round()
        return pair


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_masked_values_are_refused_and_unmasked_arrays_taken(call):
    mask = np.zeros(FIELDS.shape, bool)
    call(np.ma.masked_array(FIELDS, mask))
    mask[0, 0, 1] = True
    with pytest.raises(ValueError, match="masked NumPy array, whose mask would be"):
        call(np.ma.masked_array(FIELDS, mask))
