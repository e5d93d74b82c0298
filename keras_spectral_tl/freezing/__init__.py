"""Choose layers of a model, freeze and unfreeze them, and prove what did not move."""

from keras_spectral_tl._graph.layers import layers_with_weights, trainable_layer_names
from keras_spectral_tl.freezing._changes import (
    FreezeRecord,
    freeze_layers,
    layer_hashes,
    only_trainable,
    set_trainable,
    trainable_names,
    unfreeze_layers,
    weight_hashes,
)
from keras_spectral_tl.freezing._costs import TrainingCost
from keras_spectral_tl.freezing._flags import TrainableFlags
from keras_spectral_tl.freezing._parts import (
    BiasesOf,
    Depth,
    KernelsOf,
    LowRankOf,
    NormalizationOf,
    OutputGain,
    Part,
    StatisticsOf,
)
from keras_spectral_tl.freezing._selection import (
    LayerSelection,
    Selector,
    select_layers,
)

__all__ = [
    "BiasesOf",
    "Depth",
    "FreezeRecord",
    "KernelsOf",
    "LayerSelection",
    "LowRankOf",
    "NormalizationOf",
    "OutputGain",
    "Part",
    "Selector",
    "StatisticsOf",
    "TrainableFlags",
    "TrainingCost",
    "freeze_layers",
    "layer_hashes",
    "layers_with_weights",
    "only_trainable",
    "select_layers",
    "set_trainable",
    "trainable_layer_names",
    "trainable_names",
    "unfreeze_layers",
    "weight_hashes",
]
