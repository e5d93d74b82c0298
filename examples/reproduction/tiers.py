"""What is reproduced: transfer cases of one plane and of two layers, in some sizes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from turbulence_data import EnsembleConfig, FlowConfig, RandomVorticity, named_flow

CASES = {
    "decaying_to_forced": ("decaying", "forced"),
    "forced_to_decaying": ("forced", "decaying"),
    "reynolds_1e3_to_1e5": ("low_reynolds", "high_reynolds"),
    "reynolds_1e5_to_1e3": ("high_reynolds", "low_reynolds"),
    "k25_to_k4": ("small_scales", "forced"),
    "k4_to_k25": ("forced", "small_scales"),
    "qg_eddy_to_4jet": ("qg_eddy", "qg_jet"),
    "qg_eddy_to_3jet": ("qg_eddy", "qg_3jet"),
    "qg_eddy_to_rd20": ("qg_eddy", "qg_rd20"),
}
"""Name of a case -> systems of base and target, keys of `Tier.flows`.

The names say the full tier; the smaller ones have smaller numbers in the same order.
"""
NORMALIZATIONS = ("own", "base")
_TWO_LAYERS = ("qg_eddy", "qg_jet", "qg_3jet", "qg_rd20")


@dataclass(frozen=True)
class Training:
    """How a network is trained: Adam, its rate falling to 0 as a cosine.

    Attributes:
        steps: steps of the optimizer, rounded up to whole epochs.
        batch_size: samples in a step, or all where there are fewer.
        rate: learning rate at the start; None for that which the forecast found for
            each arm on held-out samples.
    """

    steps: int
    batch_size: int
    rate: float | None


@dataclass(frozen=True)
class Tier:
    """One size of the experiment.

    Attributes:
        flows: system -> name of its flow.
        num_layers: of the network.
        num_filters: channels of its hidden layers.
        num_base: train samples of the base network.
        num_target: numbers of target samples, about 1 and 10 % of `num_base`.
        num_scored: base samples shown to the scores.
        num_pairs: pairs of the best single layers that are retrained too.
        base_training: of the base network.
        retraining: of everything that is retrained.
        precision: in which its wide convolutions compute, a dtype policy of Keras;
            weights are float32.
        periodic: whether convolutions go on behind the edges, or see zeros there.
        inputs: makes the inputs of the network of those of `to_arrays`; None for these.
        num_seeds: of base network, target samples and retraining, by default.
    """

    flows: dict[str, str]
    num_layers: int
    num_filters: int
    num_base: int
    num_target: tuple[int, ...]
    num_scored: int
    num_pairs: int
    base_training: Training
    retraining: Training
    precision: str = "float32"
    periodic: bool = True
    inputs: Callable[[np.ndarray], np.ndarray] | None = None
    num_seeds: int = 3


@dataclass(frozen=True)
class Setting:
    """One transfer within a case.

    Attributes:
        normalization: whose statistics scale the target: "own", of the few samples
            given, or "base".
        num_target: target samples.
        seed: of the base network, of the choice of samples, and of the retraining.
    """

    normalization: str
    num_target: int
    seed: int

    @property
    def label(self) -> str:
        """Unique within a case; names files."""
        return f"{self.normalization}-n{self.num_target}-seed{self.seed}"


def _flows(size: str) -> dict[str, str]:
    """Flows of one plane and of two layers at one of the smaller sizes."""
    return {
        "decaying": f"{size}_decaying_re2e3",
        "forced": f"{size}_forced_re2e3_kf4",
        "low_reynolds": f"{size}_forced_re5e2_kf4",
        "high_reynolds": f"{size}_forced_re4e3_kf4",
        "small_scales": f"{size}_forced_re2e3_kf16",
        **{name: f"{size}_{name}" for name in _TWO_LAYERS},
    }


TIERS = {
    "full": Tier(
        flows={
            "decaying": "decaying_re2e4",
            "forced": "forced_re2e4_kf4",
            "low_reynolds": "forced_re1e3_kf4",
            "high_reynolds": "forced_re1e5_kf4",
            "small_scales": "forced_re2e4_kf25",
            **{name: name for name in _TWO_LAYERS},
        },
        num_layers=11,
        num_filters=64,
        num_base=2000,
        num_target=(20, 200),
        num_scored=32,
        num_pairs=3,
        base_training=Training(12_500, 16, 5e-4),
        retraining=Training(500, 8, 5e-4),
    ),
    # The settings of benchmarks/score_settings.py, so that numbers can be compared.
    "mini": Tier(
        flows=_flows("mini"),
        num_layers=6,
        num_filters=16,
        num_base=192,
        num_target=(16,),
        num_scored=24,
        num_pairs=3,
        base_training=Training(960, 8, 2e-3),
        retraining=Training(400, 4, 1e-3),
    ),
    # The depth of the full tier, on a CPU; every arm at a rate of its own.
    "deep": Tier(
        flows=_flows("deep"),
        num_layers=11,
        num_filters=32,
        num_base=800,
        num_target=(16, 4, 1, 64),
        num_scored=32,
        num_pairs=3,
        base_training=Training(4000, 8, 1e-3),
        retraining=Training(400, 4, None),
        precision="mixed_bfloat16",
        num_seeds=2,
    ),
    # Says nothing of physics: does every stage run?
    "tiny": Tier(
        flows={
            "decaying": "tiny_decaying",
            "forced": "tiny_kf2",
            "low_reynolds": "tiny_low_reynolds",
            "high_reynolds": "tiny_high_reynolds",
            "small_scales": "tiny_kf4",
            **{name: f"tiny_case_{name}" for name in _TWO_LAYERS},
        },
        num_layers=2,
        num_filters=4,
        num_base=8,
        num_target=(4,),
        num_scored=4,
        num_pairs=1,
        base_training=Training(4, 4, 1e-2),
        retraining=Training(2, 2, 1e-2),
        num_seeds=1,
    ),
}

# The small networks, every arm at the rate of its forecast: how good forecasts are.
TIERS["calibration"] = replace(
    TIERS["mini"],
    num_target=(16, 4, 1),
    num_pairs=0,
    retraining=replace(TIERS["mini"].retraining, rate=None),
)

# Padded with zeros, as the published networks of two-layer flow.
TIERS["zero_padding"] = replace(TIERS["mini"], periodic=False)


def velocities(x: np.ndarray) -> np.ndarray:
    """Velocities u, v of the upper and the lower layer, of arrays of two layers.

    `u = d(psi)/dy, v = -d(psi)/dx` on a square of side 2 pi: a factor, which a
    normalization removes.
    """
    streamfunctions, n = x[..., :2], x.shape[1]
    wavenumbers = np.fft.fftfreq(n, 1 / n)
    wavenumbers[n // 2 : n // 2 + 1 - n % 2] = 0.0  # Nyquist has no derivative
    psi_hat = np.fft.fft2(streamfunctions, axes=(1, 2))
    kx, ky = wavenumbers[:, None, None], wavenumbers[None, :, None]
    u, v = (
        np.fft.ifft2(1j * k * psi_hat, axes=(1, 2)).real.astype(x.dtype)
        for k in (ky, -kx)
    )
    return np.stack([u[..., 0], v[..., 0], u[..., 1], v[..., 1]], axis=-1)


# Resolution, samples and width of the published two-layer experiment, in the hours of
# a CPU: snapshots closer in time, fewer steps, every arm at a rate of its own.
TIERS["published"] = replace(
    TIERS["full"],
    flows={name: f"published_{name}" for name in _TWO_LAYERS},
    num_layers=8,
    num_target=(200, 40, 1),
    num_pairs=0,
    base_training=Training(5000, 8, 1e-3),
    retraining=Training(400, 4, None),
    precision="mixed_bfloat16",
    num_seeds=1,
)
# Inputs and padding of the published networks, at both sizes.
_VELOCITIES = replace(
    TIERS["mini"],
    flows={name: f"mini_{name}" for name in _TWO_LAYERS},
    inputs=velocities,
)
TIERS["velocities"] = _VELOCITIES
TIERS["velocities_zero_padding"] = replace(_VELOCITIES, periodic=False)
TIERS["as_published"] = replace(TIERS["published"], inputs=velocities, periodic=False)


def ensemble_of(name: str) -> EnsembleConfig:
    """Returns the ensemble of a flow of a tier."""
    if name in _TINY:
        return _TINY[name]
    if name.startswith("published_"):
        return _published(name)
    return _deep(name) if name.startswith("deep_") else named_flow(name)


def _published(name: str) -> EnsembleConfig:
    """2,000 train snapshots of the base and 200 of a target, in a fifth of the time."""
    days = 86_400.0
    size, number, interval = (20, 100, 5) if name.endswith("eddy") else (4, 50, 10)
    return replace(
        named_flow(name.removeprefix("published_")),
        num_trajectories=(size, 1, 2),
        num_snapshots=number,
        interval=interval * days,
    )


def _deep(name: str) -> EnsembleConfig:
    """Four times the trajectories of a mini flow, on a grid that resolves it."""
    ensemble = named_flow(name.replace("deep_", "mini_", 1))
    num_points, time_step = _FINER.get(name, (ensemble.flow.num_points, None))
    return replace(
        ensemble,
        flow=replace(ensemble.flow, num_points=num_points),
        time_step=time_step or ensemble.time_step,
        num_trajectories=(32, 1, 3),
    )


# Points and time step where k_max eta of the mini flow is below 1.3.
_FINER = {
    "deep_forced_re2e3_kf16": (320, 1 / 320),
    "deep_forced_re4e3_kf4": (320, 2e-3),
}


def _tiny(reynolds: float, forcing_wavenumber: int | None) -> EnsembleConfig:
    return EnsembleConfig(
        FlowConfig(32, reynolds, forcing_wavenumber=forcing_wavenumber),
        num_points_les=16,
        num_trajectories=(2, 1, 1),
        num_snapshots=4,
        spin_up=1.0,
        interval=0.25,
        time_step=0.02,
        start=RandomVorticity(0.5, 3.0),
    )


def _tiny_layers(name: str) -> EnsembleConfig:
    """A named flow's physics on the grid of the tiny one."""
    tiny, physics = named_flow("tiny_qg_eddy"), named_flow(name).flow
    return replace(
        tiny,
        flow=replace(physics, num_points=32, hyperviscosity=tiny.flow.hyperviscosity),
        num_trajectories=(2, 1, 1),
        num_snapshots=4,
        spin_up=tiny.interval,
        seed=_TWO_LAYERS.index(name),
    )


_TINY = {
    "tiny_decaying": replace(_tiny(100.0, None), seed=1),
    "tiny_kf2": _tiny(100.0, 2),
    "tiny_low_reynolds": _tiny(50.0, 2),
    "tiny_high_reynolds": _tiny(200.0, 2),
    "tiny_kf4": _tiny(100.0, 4),
    **{f"tiny_case_{name}": _tiny_layers(name) for name in _TWO_LAYERS},
}
