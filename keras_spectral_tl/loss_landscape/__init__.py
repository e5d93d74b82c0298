"""The loss around a model, restricted to the weights of one layer."""

from keras_spectral_tl.loss_landscape._layer_loss import LayerLoss, loss_landscapes

__all__ = ["LayerLoss", "loss_landscapes"]
