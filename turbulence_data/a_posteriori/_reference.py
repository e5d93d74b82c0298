"""The filtered DNS that an LES is to reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turbulence_data.config import FlowConfig
from turbulence_data.filtering import les_flow
from turbulence_data.generation._ensemble import EnsembleConfig
from turbulence_data.generation._trajectory import Trajectory


@dataclass(frozen=True)
class Reference:
    """Trajectories of filtered DNS at common times, from which every LES starts.

    Attributes:
        flow: the flow that an LES of these fields obeys, with the filtered forcing.
        times: shape `(T,)`, from 0 on.
        vorticity: filtered vorticity, shape `(T, E, nx, ny)`.
        sgs_forcing: the true one, likewise.

    Raises:
        ValueError: for shapes that do not fit each other.
    """

    flow: FlowConfig
    times: NDArray[np.float64]
    vorticity: NDArray[np.float32]
    sgs_forcing: NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(self.times) < 2 or self.times[0] != 0.0:
            raise ValueError(
                f"times must be at least two, from 0 on; received {self.times!r}."
            )
        expected = (len(self.times), self.vorticity.shape[1], *self.flow.shape)
        for name in ("vorticity", "sgs_forcing"):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ValueError(
                    f"{name} must have the shape (times, members, nx, ny) = {expected};"
                    f" received {shape}."
                )

    @property
    def start(self) -> NDArray[np.float64]:
        """Vorticity that an LES starts from, shape `(E, nx, ny)`, of mean zero."""
        fields = self.vorticity[0].astype(np.float64)
        centred: NDArray[np.float64] = fields - fields.mean((-2, -1), keepdims=True)
        return centred

    @property
    def turnover_time(self) -> float:
        """`1 / rms(vorticity)` of all fields."""
        return 1.0 / float(np.sqrt(np.mean(self.vorticity.astype(np.float64) ** 2)))

    @classmethod
    def from_trajectories(
        cls, ensemble: EnsembleConfig, trajectories: Sequence[Trajectory]
    ) -> Reference:
        """Return the reference that sampled trajectories of an ensemble make.

        Args:
            ensemble: what they were sampled from, see `reference_ensemble`.
            trajectories: of `sampling.sample_trajectory`; as many members.

        Raises:
            ValueError: without trajectories.
        """
        if not trajectories:
            raise ValueError(
                "a reference needs at least one trajectory; received none."
            )
        times = trajectories[0].times
        width = ensemble.filter_width
        return cls(
            les_flow(ensemble.flow, ensemble.num_points_les, filter_width=width),
            times - times[0],
            np.stack([each.vorticity for each in trajectories], axis=1),
            np.stack([each.sgs_forcing for each in trajectories], axis=1),
        )


def reference_ensemble(
    ensemble: EnsembleConfig, num_members: int, duration: float, num_snapshots: int
) -> EnsembleConfig:
    """Return the ensemble whose `trajectory_ids("test")` serve as a reference.

    Same flow, start fields, spin-up and filter; other times. Its trajectories have
    another seed, so that none is one of the dataset's.

    Args:
        ensemble: of the dataset.
        num_members: independent trajectories, each with its own start field.
        duration: from the first snapshot to the last.
        num_snapshots: at least 2, equally far apart.

    Example:
        >>> from turbulence_data.flows import named_flow
        >>> tiny = named_flow("tiny_forced_re2e2_kf4")
        >>> reference_ensemble(tiny, 5, 2.0, 5).interval
        0.5
    """
    return replace(
        ensemble,
        num_trajectories=(1, 1, num_members),
        num_snapshots=num_snapshots,
        interval=duration / (num_snapshots - 1),
        seed=ensemble.seed + 1,
    )
