"""Derivatives of models in the weights of chosen layers, on every Keras backend.

`function` makes a model a pure function of these weights. `tensorflow`, `jax` and
`torch` differentiate it, each with the same functions: `inference`, `products` (J d and
J^T r) and `derivatives` (value, gradient and H d of a loss).
"""
