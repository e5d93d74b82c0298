"""Choose layers of a model, freeze and unfreeze them, and prove what did not move."""

from keras_spectral_tl.freezing.changes import (
    FreezeRecord,
    freeze_layers,
    only_trainable,
    unfreeze_layers,
)
from keras_spectral_tl.freezing.costs import TrainingCost
from keras_spectral_tl.freezing.depth import Depth
from keras_spectral_tl.freezing.flags import (
    TrainableFlags,
    set_trainable,
    trainable_names,
)
from keras_spectral_tl.freezing.hashes import layer_hashes, weight_hashes
from keras_spectral_tl.freezing.low_rank import LowRankOf
from keras_spectral_tl.freezing.output_gain import OutputGain
from keras_spectral_tl.freezing.parts import (
    BiasesOf,
    KernelsOf,
    NormalizationOf,
    Part,
    StatisticsOf,
)
from keras_spectral_tl.freezing.selection import (
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
    "only_trainable",
    "select_layers",
    "set_trainable",
    "trainable_names",
    "unfreeze_layers",
    "weight_hashes",
]
