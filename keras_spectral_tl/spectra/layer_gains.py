"""What each layer of a network does to the energy at each wavenumber."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.spectra.activations import layer_names
from keras_spectral_tl.spectra.fields import last_complete_shell, radial_spectrum
from keras_spectral_tl.spectra.prediction import spectral_ratio
from keras_spectral_tl.spectra.recording import LayerCall, read_calls


@dataclass(frozen=True)
class LayerGain:
    """Spectra in front of, inside and behind a layer, and their ratios.

    All are arrays (num_shells,), the wavenumber is the index. Ratios are NaN where
    there is nothing to amplify.

    Attributes:
        inputs: Spectrum (shell SUM) of the input, mean over samples and channels.
        pre_activation: The same of what the activation receives.
        post_activation: The same of the output.
    """

    inputs: NDArray[np.float64]
    pre_activation: NDArray[np.float64]
    post_activation: NDArray[np.float64]

    @property
    def linear(self) -> NDArray[np.float64]:
        """Gain ``|F[pre-activation]|^2 / |F[input]|^2`` of the linear part."""
        return spectral_ratio(self.pre_activation, self.inputs)

    @property
    def activation(self) -> NDArray[np.float64]:
        """Gain ``|F[output]|^2 / |F[pre-activation]|^2`` of the activation."""
        return spectral_ratio(self.post_activation, self.pre_activation)

    @property
    def total(self) -> NDArray[np.float64]:
        """Gain ``|F[output]|^2 / |F[input]|^2`` of the layer."""
        return spectral_ratio(self.post_activation, self.inputs)


def layer_gains(
    model: keras.Model,
    x: Any,
    layers: Selector | None = None,
    *,
    batch_size: int = 16,
    rank: int = 2,
) -> dict[str, LayerGain]:
    """Transfer gain of each layer by wavenumber: energy out over energy in.

    ``gain(k) = |F[output]|^2(k) / |F[input]|^2(k)`` with both spectra averaged over
    samples and channels before the ratio: the energy of a mean output channel over that
    of a mean input channel. It is a property of the layer on these data, not of the
    layer alone: an activation puts energy where none came in. Where a layer changes the
    grid (strides, padding), the shells complete on both grids are kept. The data stream
    through the model; memory holds one batch of one layer.

    Args:
        model: A built model.
        x: Inputs, or an iterable of batches, as in `activation_spectra`.
        layers: A selector or names, as in `activation_spectra`; by default all
            whose input and output have `rank` spatial axes.
        batch_size: Samples a batch when ``x`` is an array.
        rank: Number of spatial axes of the layers to read: 1, 2 or 3.

    Returns:
        One `LayerGain` a layer, in the order of execution.

    Raises:
        ValueError: If no layer has such an input and output.

    Example:
        >>> conv = keras.layers.Conv2D(1, 1, activation="relu", name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> conv.set_weights([np.full((1, 1, 1, 1), 3.0), np.zeros(1)])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> layer_gains(model, x)["conv"].linear.round(4)
        array([9., 9., 9., 9., 9., 9., 9.])
    """
    totals: dict[str, list[NDArray[np.float64]]] = {}
    uses: dict[str, int] = {}

    def accumulate(name: str, call: LayerCall) -> None:
        if call.inputs is None:
            return
        grids = call.inputs.shape[2:], call.post_activation.shape[2:]
        kept = (
            None if grids[0] == grids[1] else last_complete_shell(*sum(grids, ())) + 1
        )
        for fields in zip(
            call.inputs, call.pre_activation, call.post_activation, strict=True
        ):
            spectra = [_mean_spectrum(field)[:kept] for field in fields]
            sums = totals.setdefault(name, [np.zeros(1)] * 3)
            totals[name] = [a + b for a, b in zip(sums, spectra, strict=True)]
            uses[name] = uses.get(name, 0) + 1

    names = layer_names(model, layers)
    read_calls(model, x, accumulate, names, batch_size, (rank,))
    if not uses:
        raise ValueError(
            f"No layer of model {model.name!r} has an input and an output with {rank} "
            "spatial axes. Pass another rank."
        )
    return {
        name: LayerGain(*(total / uses[name] for total in sums))
        for name, sums in totals.items()
    }


def _mean_spectrum(field: NDArray[Any]) -> NDArray[np.float64]:
    """Spectrum of one sample (channels, ...), mean over its channels."""
    mean: NDArray[np.float64] = radial_spectrum(
        field, tuple(range(1, field.ndim))
    ).mean(axis=0)
    return mean
