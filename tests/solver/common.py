"""What tests of two-layer flow share: the flow of eddies, and noise for both layers."""

import numpy as np

from turbulence_data import TwoLayerConfig

DAY = 86_400.0
DRAG = 5.787e-7
EDDY = TwoLayerConfig(64, 15e3, beta=1.5e-11, bottom_drag=DRAG)


def noise(shape=(2, 64, 64), seed=0, size=1e-5):
    """White noise without a mean."""
    field = np.random.default_rng(seed).normal(size=shape)
    return size * (field - field.mean(axis=(-2, -1), keepdims=True))
