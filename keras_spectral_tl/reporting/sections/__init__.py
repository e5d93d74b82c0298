"""The parts of the page: each a function of the study."""

from collections.abc import Callable

from keras_spectral_tl.reporting.blocks import Section
from keras_spectral_tl.reporting.sections.figures_of_merit import (
    a_posteriori,
    a_priori,
    base_network,
)
from keras_spectral_tl.reporting.sections.provenance import provenance
from keras_spectral_tl.reporting.sections.retrained import retrained
from keras_spectral_tl.reporting.sections.scores import scores
from keras_spectral_tl.reporting.sections.sweep import sweep
from keras_spectral_tl.reporting.sections.systems import systems
from keras_spectral_tl.reporting.study import Study

SECTIONS: tuple[Callable[[Study], Section], ...] = (
    systems,
    base_network,
    scores,
    sweep,
    retrained,
    a_priori,
    a_posteriori,
    provenance,
)
"""In the order of the page."""

__all__ = ["SECTIONS"]
