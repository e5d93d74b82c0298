"""Several steps of an LES as one layer: the solver in the training loop."""

from typing import Any

import keras
from keras import ops

from keras_spectral_tl.layers.les_step import LESStep, Shape
from keras_spectral_tl.layers.spectral_pairs import Tensor


@keras.saving.register_keras_serializable(package="keras_spectral_tl")
class UnrolledLES(keras.layers.Layer):
    """The trajectory of an LES from a vorticity field, differentiable end to end.

    Trained on trajectories of filtered DNS, the closure inside `step` learns what keeps
    the LES right for `num_snapshots * steps_between` steps, not the forcing alone:

        model = keras.Model(inputs, UnrolledLES(step, num_snapshots=4)(inputs))
        model.compile("adam", "mse")
        model.fit(start_vorticity, vorticity_later)

    Memory grows with the number of steps: each keeps four forward passes.

    Args:
        step: The time step, with its closure.
        num_snapshots: How many fields to return, at least 1.
        steps_between: Steps from one to the next, at least 1.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, nx, ny, 1).

    Output shape:
        (batch, num_snapshots, nx, ny, 1), without the start.

    Raises:
        ValueError: If a number is below 1.

    Example:
        >>> step = LESStep({"num_points": (8, 8), "reynolds": 10.0}, time_step=0.1)
        >>> tuple(UnrolledLES(step, num_snapshots=3)(ops.zeros((2, 8, 8, 1))).shape)
        (2, 3, 8, 8, 1)
    """

    def __init__(
        self,
        step: LESStep,
        num_snapshots: int,
        steps_between: int = 1,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if num_snapshots < 1 or steps_between < 1:
            raise ValueError(
                "num_snapshots and steps_between must be at least 1. Received "
                f"{num_snapshots} and {steps_between}."
            )
        self.step = step
        self.num_snapshots = int(num_snapshots)
        self.steps_between = int(steps_between)

    def call(self, inputs: Tensor) -> Tensor:
        """Return the snapshots after the start."""
        vorticity, snapshots = inputs, []
        for _ in range(self.num_snapshots):
            for _ in range(self.steps_between):
                vorticity = self.step(vorticity)
            snapshots.append(vorticity)
        return ops.stack(snapshots, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return (batch, num_snapshots, nx, ny, 1)."""
        return input_shape[0], self.num_snapshots, *input_shape[1:]

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make this layer again."""
        return {
            **super().get_config(),
            "step": keras.saving.serialize_keras_object(self.step),
            "num_snapshots": self.num_snapshots,
            "steps_between": self.steps_between,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UnrolledLES":
        """Return the layer of a configuration."""
        step = keras.saving.deserialize_keras_object(config.pop("step"))
        return cls(step=step, **config)
