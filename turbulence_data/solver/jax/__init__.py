"""The solver on JAX: the same flows, schemes and forcings on accelerators.

Names are imported at first use, since most of them need JAX.
"""

from turbulence_data._lazy import lazy

_HOME = {"JaxEngine": "_engine"}
__all__ = sorted(_HOME)
__getattr__, __dir__ = lazy(__name__, _HOME)
