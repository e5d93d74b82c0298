"""Pseudo-spectral solver of the 2-D vorticity equation (NumPy and pyFFTW)."""
