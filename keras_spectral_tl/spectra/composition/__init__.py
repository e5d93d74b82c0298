"""Which wavenumbers of the input feed which wavenumbers of the output."""

from keras_spectral_tl.spectra.composition.linear import (
    linear_composition,
    transfer_matrices,
)
from keras_spectral_tl.spectra.composition.measured import measured_composition
from keras_spectral_tl.spectra.composition.shell_composition import ShellComposition

__all__ = [
    "ShellComposition",
    "linear_composition",
    "measured_composition",
    "transfer_matrices",
]
