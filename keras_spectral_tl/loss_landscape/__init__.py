"""The loss around a model, restricted to the weights of one layer."""

from keras_spectral_tl.loss_landscape._landscapes import line_convexity
from keras_spectral_tl.loss_landscape._layer_loss import LayerLoss, loss_landscapes

__all__ = ["LayerLoss", "line_convexity", "loss_landscapes"]
