"""Derivatives of a pure function of weights, on every Keras backend.

`tensorflow`, `jax` and `torch` have the same functions: `inference`, `products` (J d
and J^T r) and `derivatives` (value, gradient and H d of a loss).
"""
