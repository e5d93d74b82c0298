"""Export of datasets to Zarr, netCDF and npz, and import from MATLAB files.

Requires the extra `[interchange]`, except for importing the package.
"""

from turbulence_data._lazy import lazy

_HOME = {
    "ExportSource": "_export",
    "MatlabExamples": "_matlab",
    "MatlabLayout": "_matlab",
    "MatlabVariable": "_matlab",
    "TL_FOR_SGS_MODELS": "_matlab",
    "check_conventions": "_matlab",
    "export": "_export",
}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy(__name__, _HOME)
