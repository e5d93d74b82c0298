"""A transfer study on one HTML page that needs no network."""

from keras_spectral_tl.reporting.page import report
from keras_spectral_tl.reporting.study import Study

__all__ = ["Study", "report"]
