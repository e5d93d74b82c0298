"""Classic subgrid closures, and wrappers that stabilize any closure.

A closure is any callable `(vorticity, streamfunction) -> sgs_forcing` of physical
fields. These are immutable, and every coefficient is an attribute.
"""

from turbulence_data.closures._models import (
    DynamicLeith,
    DynamicSmagorinsky,
    GradientModel2,
    GradientModel4,
    JansenHeld,
    Leith,
    NoClosure,
    Smagorinsky,
)
from turbulence_data.closures._wrappers import (
    ByLayer,
    ClippedBackscatter,
    SpectralFilter,
    SumOfClosures,
)
from turbulence_data.solver._equation import evaluate

__all__ = [
    "ByLayer",
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
    "SumOfClosures",
    "evaluate",
]
