"""What new data change in a network's activations, and what retraining changes back."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_spectral_tl.freezing import Selector
from keras_spectral_tl.spectra.activations import (
    ActivationSpectraResult,
    SpectralShift,
    activation_spectra,
    spectral_shift,
)


@dataclass(frozen=True)
class RetrainingShift:
    """The shifts of one layer's pre-activation spectrum, gain and shape apart.

    Attributes:
        data: Base data to target data, both through the network before retraining.
        retraining: Network before to network after, both on target data.
        both: Base data before to target data after: what is left of the two. Its gain
            is the sum of the other two where all grids agree, and so is its shape.
    """

    data: SpectralShift
    retraining: SpectralShift
    both: SpectralShift

    @property
    def alignment(self) -> float:
        """Cosine of the two changes of shape: -1 if retraining undoes the data's shift.

        0 if they have nothing to do with each other, or one of them is nil; 1 if
        retraining goes further the same way.
        """
        count = min(len(self.data.shape), len(self.retraining.shape))
        first, second = self.data.shape[:count], self.retraining.shape[:count]
        norm = float(np.linalg.norm(first) * np.linalg.norm(second))
        return float(first @ second) / norm if norm > 0 else 0.0


def retraining_shifts(
    before: keras.Model,
    after: keras.Model,
    base_x: Any,
    target_x: Any,
    layers: Selector | None = None,
) -> dict[str, RetrainingShift]:
    """How base and target data differ inside a network, and how retraining answers.

    Three runs: base and target data through the network before retraining, target data
    through the network after it. Layers up to the first retrained one have
    ``retraining`` nil, as nothing before them moved.

    Args:
        before: The network before retraining.
        after: The network after retraining, with the same layer names.
        base_x: Inputs of the base, as in `activation_spectra`.
        target_x: Inputs of the target, an array or a re-iterable of batches: it is read
            twice.
        layers: A selector or names, as in `activation_spectra`; by default all with
            a 2-D spatial output.

    Returns:
        One `RetrainingShift` a layer.

    Raises:
        ValueError: If the two networks have not the same layers.

    Example:
        >>> conv = keras.layers.Conv2D(2, 3, name="conv")
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), conv])
        >>> x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        >>> shift = retraining_shifts(model, model, x, 2 * x)["conv"]
        >>> round(float(np.exp(shift.data.gain)), 4), shift.retraining.gain
        (4.0, 0.0)
    """

    def spectra(model: keras.Model, x: Any) -> ActivationSpectraResult:
        return activation_spectra(model, x, layers)

    base, target = spectra(before, base_x), spectra(before, target_x)
    retrained = spectra(after, target_x)
    data, retraining = spectral_shift(base, target), spectral_shift(target, retrained)
    both = spectral_shift(base, retrained)
    return {
        name: RetrainingShift(shift, retraining[name], both[name])
        for name, shift in data.items()
    }
