"""The solver on pyFFTW, with cache-optimized pointwise work."""
