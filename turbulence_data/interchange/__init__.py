"""Datasets to and from other formats: Zarr, netCDF and npz out, MATLAB in.

Needs the extra `[interchange]`; importing the package alone does not.
"""

from turbulence_data.interchange.convention_check import (
    ConventionError,
    ConventionReport,
    check_conventions,
)
from turbulence_data.interchange.export_source import ExportSource
from turbulence_data.interchange.matlab_import import MatlabExamples
from turbulence_data.interchange.matlab_layout import (
    TL_FOR_SGS_MODELS,
    MatlabLayout,
    MatlabVariable,
)
from turbulence_data.interchange.npz_export import write_npz
from turbulence_data.interchange.xarray_export import (
    examples_of,
    write_netcdf,
    write_zarr,
)

__all__ = [
    "TL_FOR_SGS_MODELS",
    "ConventionError",
    "ConventionReport",
    "ExportSource",
    "MatlabExamples",
    "MatlabLayout",
    "MatlabVariable",
    "check_conventions",
    "examples_of",
    "write_netcdf",
    "write_npz",
    "write_zarr",
]
