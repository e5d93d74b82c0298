"""Classic subgrid closures, and wrappers that stabilize any closure.

A closure is any callable `(vorticity, streamfunction) -> sgs_forcing` of physical
fields; these are frozen values, and every coefficient is an attribute.
"""

from turbulence_data.closures._backscatter import (
    ClippedBackscatter,
    JansenHeld,
    energy_backscatter,
    enstrophy_backscatter,
    negative_eddy_viscosity,
)
from turbulence_data.closures._classic import ClassicClosure, NoClosure
from turbulence_data.closures._eddy_viscosity import (
    DynamicLeith,
    DynamicSmagorinsky,
    Leith,
    Smagorinsky,
)
from turbulence_data.closures._formulas import SpectralOperators
from turbulence_data.closures._gradient import GradientModel2, GradientModel4
from turbulence_data.closures._wrappers import (
    ByLayer,
    SpectralFilter,
    SumOfClosures,
)
from turbulence_data.solver._equation import evaluate

__all__ = [
    "ByLayer",
    "ClassicClosure",
    "ClippedBackscatter",
    "DynamicLeith",
    "DynamicSmagorinsky",
    "GradientModel2",
    "GradientModel4",
    "JansenHeld",
    "Leith",
    "NoClosure",
    "Smagorinsky",
    "SpectralFilter",
    "SpectralOperators",
    "SumOfClosures",
    "energy_backscatter",
    "enstrophy_backscatter",
    "evaluate",
    "negative_eddy_viscosity",
]
