"""The command line: `python -m keras_spectral_tl {forecast,score,retrain,...}`."""
