"""The loss around a model, restricted to the weights of one layer."""

from keras_spectral_tl.loss_landscape.convexity import line_convexity
from keras_spectral_tl.loss_landscape.directions import (
    filter_scales,
    gradient_direction,
    random_direction,
)
from keras_spectral_tl.loss_landscape.hessian import HessianEnds, hessian_ends
from keras_spectral_tl.loss_landscape.landscapes import (
    LayerLandscape,
    layer_landscape,
    loss_landscapes,
    loss_surface,
)
from keras_spectral_tl.loss_landscape.layer_loss import LayerLoss

__all__ = [
    "HessianEnds",
    "LayerLandscape",
    "LayerLoss",
    "filter_scales",
    "gradient_direction",
    "hessian_ends",
    "layer_landscape",
    "line_convexity",
    "loss_landscapes",
    "loss_surface",
    "random_direction",
]
