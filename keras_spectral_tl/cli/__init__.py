"""The command line: `python -m keras_spectral_tl {score,retrain,spectra,report}`."""
