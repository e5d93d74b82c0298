"""Classic subgrid closures, and wrappers that stabilise any closure.

A closure is any callable `(vorticity, streamfunction) -> sgs_forcing` of physical
fields; these are frozen values, and every coefficient is an attribute.
"""

from turbulence_data.closures.classic_closure import ClassicClosure
from turbulence_data.closures.clipped_backscatter import (
    ClippedBackscatter,
    energy_backscatter,
    enstrophy_backscatter,
    negative_eddy_viscosity,
)
from turbulence_data.closures.dynamic_leith import DynamicLeith
from turbulence_data.closures.dynamic_smagorinsky import DynamicSmagorinsky
from turbulence_data.closures.gradient_model2 import GradientModel2
from turbulence_data.closures.gradient_model4 import GradientModel4
from turbulence_data.closures.jansen_held import JansenHeld
from turbulence_data.closures.leith import Leith
from turbulence_data.closures.no_closure import NoClosure
from turbulence_data.closures.operators import SpectralOperators
from turbulence_data.closures.smagorinsky import Smagorinsky
from turbulence_data.closures.spectral_filter import SpectralFilter
from turbulence_data.closures.sum_of_closures import SumOfClosures
from turbulence_data.solver._equation import evaluate

__all__ = [
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
