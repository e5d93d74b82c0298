"""Choose layers of a model, freeze and unfreeze them, and verify frozen weights."""

from keras_spectral_tl._graph.layers import layers_with_weights
from keras_spectral_tl.freezing._changes import (
    freeze_layers,
    layer_hashes,
    only_trainable,
    unfreeze_layers,
    weight_hashes,
)
from keras_spectral_tl.freezing._kernel_parts import ChannelGainsOf, FiltersOf
from keras_spectral_tl.freezing._parts import (
    BiasesOf,
    Depth,
    KernelsOf,
    LowRankOf,
    NewWeights,
    NormalizationOf,
    OutputGain,
    StatisticsOf,
)
from keras_spectral_tl.freezing._selection import Selector, select_layers

__all__ = [
    "BiasesOf",
    "ChannelGainsOf",
    "Depth",
    "FiltersOf",
    "KernelsOf",
    "LowRankOf",
    "NewWeights",
    "NormalizationOf",
    "OutputGain",
    "Selector",
    "StatisticsOf",
    "freeze_layers",
    "layer_hashes",
    "layers_with_weights",
    "only_trainable",
    "select_layers",
    "unfreeze_layers",
    "weight_hashes",
]
