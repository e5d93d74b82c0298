"""Low-rank updates of kernels, as Keras offers them."""

import dataclasses
from typing import Any

import keras

from keras_spectral_tl.freezing.parts import Part


@dataclasses.dataclass(frozen=True)
class LowRankOf(Part):
    """A trainable update of low rank, beside kernels that stay as they are.

    kernel + (alpha / rank) a b, with a of shape (..., rank), b of shape (rank, outputs)
    and b = 0 at first. Keras offers it for Dense, EinsumDense, Embedding, and in newer
    versions for convolutions (their `enable_lora`). `transfer.retrain` adds the update
    to its copy of the model; elsewhere call `prepare` first.

    Args:
        layers: The layers, see `freezing.select_layers`; None means all.
        rank: Rank of the update, at least 1.

    Raises:
        ValueError: If the rank is not a positive int; on use, if a layer cannot have
            such an update.

    References:
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
        https://doi.org/10.48550/arXiv.2106.09685

    Example:
        >>> from keras_spectral_tl.freezing import select_layers
        >>> dense = keras.layers.Dense(4, name="hidden")
        >>> model = keras.Sequential([keras.Input((3,)), dense])
        >>> update = LowRankOf("hidden", rank=2)
        >>> update.prepare({"hidden": dense})
        >>> select_layers(model, update).num_trainable == 3 * 2 + 2 * 4
        True
    """

    rank: int = 4

    def __post_init__(self) -> None:
        rank: Any = self.rank
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(
                f"Expected rank as a positive int. Received rank={rank!r}."
            )

    def accepts(self, layer: keras.Layer, weight: str) -> bool:
        """Whether it is one of the two factors."""
        return weight.startswith("lora_")

    def mend(self) -> str:
        """What to do where a model has no such part."""
        return (
            "No low-rank update is enabled there. transfer.retrain adds it to its copy "
            "of the model; elsewhere call layer.enable_lora(rank) after building."
        )

    def prepare(self, layers: dict[str, keras.Layer]) -> None:
        """Enable the update in the given layers, which are changed in place.

        Raises:
            ValueError: If Keras offers none for a layer.
        """
        for name, layer in layers.items():
            if not hasattr(layer, "enable_lora"):
                raise ValueError(
                    f"Keras {keras.__version__} offers no low-rank update for layer "
                    f"{name!r} ({type(layer).__name__}). Choose layers that have an "
                    "enable_lora method, such as Dense and EinsumDense."
                )
        for layer in layers.values():
            if not layer.lora_enabled:
                layer.enable_lora(self.rank)
