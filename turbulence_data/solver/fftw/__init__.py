"""The fast path of the solver: pyFFTW and pointwise work in cache."""
