"""One function per figure: plain arrays and dicts in, matplotlib axes out.

A function returns the axes of its panels, as a list if there may be several. It draws
in the axes given by ``ax``, one for each panel, or in a new figure. That figure,
``axes.figure``, has no window and no global state: return it in a notebook to show it,
or write it with `save_figure`. Quantities are dimensionless (the domain is 2 pi long)
unless a label says otherwise. Colours are those of Okabe and Ito, which remain distinct
under colour blindness (https://jfly.uni-koeln.de/color/); common labels look the same
in every figure.
"""

from keras_spectral_tl.plotting._fields import plot_fields, plot_predictions
from keras_spectral_tl.plotting._kernels import (
    plot_gabor_fits,
    plot_kernel_changes,
    plot_kernel_classes,
    plot_kernel_clusters,
    plot_transfer_functions,
)
from keras_spectral_tl.plotting._scores import (
    plot_forecast,
    plot_layer_scores,
    plot_loss_lines,
    plot_loss_surface,
    plot_scores_against_sweep,
)
from keras_spectral_tl.plotting._spectra import (
    plot_activation_spectra,
    plot_coherence,
    plot_composition,
    plot_curves,
    plot_energy_spectra,
    plot_kernel_spectra,
    plot_spectral_shifts,
    plot_wavenumber_ratios,
)
from keras_spectral_tl.plotting._style import save_figure

__all__ = [
    "plot_activation_spectra",
    "plot_coherence",
    "plot_composition",
    "plot_curves",
    "plot_energy_spectra",
    "plot_fields",
    "plot_forecast",
    "plot_gabor_fits",
    "plot_kernel_changes",
    "plot_kernel_classes",
    "plot_kernel_clusters",
    "plot_kernel_spectra",
    "plot_layer_scores",
    "plot_loss_lines",
    "plot_loss_surface",
    "plot_predictions",
    "plot_scores_against_sweep",
    "plot_spectral_shifts",
    "plot_transfer_functions",
    "plot_wavenumber_ratios",
    "save_figure",
]
