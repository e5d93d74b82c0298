"""Derivatives of a pure function of weights, on every Keras backend.

`tensorflow`, `jax` and `torch` have the same functions:

- `inference(forward, variables)` returns `forward(x)` of arrays, without gradients;
  `variables()` are those it uses;
- `pushforward(function, values)` returns `(d, x) -> J d` at these weights;
- `derivatives(function, loss)` returns value, gradient and Hessian product of
  `loss(function(v, x), *rest)`: the first two take `(v, x, *rest)`, the product
  `(v, d, x, *rest)`.

`threads` runs work that does not depend on each other side by side, where that helps.
"""
