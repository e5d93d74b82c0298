"""The settings in which layer scores are compared with what retraining really gives.

Three transfer cases of turbulence and their reverses, two normalizations, four numbers
of target samples, four seeds (of the base network, of the target samples chosen, and
of the retraining). Choices, of regularisation, steps and the like, were made with seed
0 in view: `HeldOutLeastSquares` with two of its cases, `HeldOutRetraining` with all.
Seeds 1 and 2, other networks and other samples, were first scored after that. A change
that seed 0 spoke for (several divisions of few samples, fields that weigh alike) was
dropped when these showed no gain by it. Seed 3 decided nothing. The tables report the
three apart.
"""

import itertools
from dataclasses import dataclass

FLOWS = {
    "kf16": "mini_forced_re2e3_kf16",
    "kf4": "mini_forced_re2e3_kf4",
    "decaying": "mini_decaying_re2e3",
    "re500": "mini_forced_re5e2_kf4",
    "re4000": "mini_forced_re4e3_kf4",
}
CASES = (
    ("kf16", "kf4"),
    ("re4000", "re500"),
    ("kf4", "kf16"),
    ("decaying", "kf4"),
    ("kf4", "decaying"),
    ("re500", "re4000"),
)

NORMALIZATIONS = ("own", "base")
NUM_TARGET = (16, 64, 4, 1)
SEEDS = (0, 1, 2, 3)
ROLES = {
    "used for choices": (0,),
    "decided against a change": (1, 2),
    "decided nothing": (3,),
}

NUM_BASE = 192
BASE_EPOCHS = 40
STEPS = 400
BATCH_SIZE = 4


@dataclass(frozen=True)
class Setting:
    """One base network, one target and the few samples of it.

    Attributes:
        base: key of `FLOWS`.
        target: key of `FLOWS`.
        normalization: whose statistics scale the target: its own, of the few samples
            given, or those of the base.
        num_target: target samples.
        seed: of base network, choice of samples, and retraining.
    """

    base: str
    target: str
    normalization: str
    num_target: int
    seed: int

    @property
    def label(self) -> str:
        """Unique name, used for files."""
        return (
            f"{self.base}_to_{self.target}-{self.normalization}-"
            f"n{self.num_target}-seed{self.seed}"
        )

    @property
    def role(self) -> str:
        """Key of `ROLES`: what it has had to do with choices."""
        return next(role for role, seeds in ROLES.items() if self.seed in seeds)


def settings() -> list[Setting]:
    """Returns all settings, those that teach most first."""
    return [
        Setting(base, target, normalization, num_target, seed)
        for seed, num_target, (base, target), normalization in itertools.product(
            SEEDS, NUM_TARGET, CASES, NORMALIZATIONS
        )
    ]
