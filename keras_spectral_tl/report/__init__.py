"""Report of a transfer study as one HTML page that works offline."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see; at run time names are resolved lazily
    from keras_spectral_tl.report._page import write_report as write_report
    from keras_spectral_tl.report._records import figures_row as figures_row
    from keras_spectral_tl.report._records import picture_record as picture_record
    from keras_spectral_tl.report._records import spectra_record as spectra_record
    from keras_spectral_tl.report._records import system_record as system_record
    from keras_spectral_tl.report._study import Study as Study

_HOME = {
    "Study": "_study",
    "figures_row": "_records",
    "picture_record": "_records",
    "spectra_record": "_records",
    "system_record": "_records",
    "write_report": "_page",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
