"""Planted layers: targets that differ from a base network in one known layer.

A teacher is a copy of the base network in which one layer was changed; the target is
what the teacher answers, with noise of 1 % of its standard deviation. Retraining the
planted layer can remove all of the error but the noise. Changes are of three kinds:

- rescaled: each kernel, from one input channel to one output channel, is multiplied by
  a random factor exp(0.3 n), n standard normal;
- filtered: each kernel is low-passed in Fourier space, exp(-|theta|^2 / 6) at angle
  theta per point, and the layer as a whole keeps the norm of its weights;
- reinitialised: an eighth of the kernels is drawn again, of the same variance.

The sizes were set by nothing but the error of the base network on the target, to be
like that of a transfer between flows: relative rms errors from .19 to 1.11, half of
them from .44 to .71.

Kernels are changed one by one, since what is done to a whole channel has no one home:
an output channel of layer l times c > 0 is, through ReLU, the same as the input channel
of layer l + 1 times c. Biases are left as they are.

Which settings may be used for choices (of regularisation, iterations, ...) was written
down here before any score was computed: the plain CNN with seeds 0 and 1. All others
are for reporting: the plain CNN with seed 2, residual CNN and U-Net with every seed.

    python benchmarks/score_planted.py      lists the settings and their errors
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from planted_networks import ARCHITECTURES, DEPTHS, calibrate, random_fields

import keras_spectral_tl as kst

Arrays = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

SEEDS = (0, 1, 2)
NUM_BASE, NUM_TARGET = 32, 16
NOISE = 0.01


def rescaled(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each kernel (taps of one input and output channel) times a random factor."""
    return kernel * np.exp(0.3 * rng.standard_normal(kernel.shape[2:]))


def filtered(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each kernel low-passed; the norm of all of them together is kept."""
    angles = [2.0 * np.pi * np.fft.fftfreq(size) for size in kernel.shape[:2]]
    response = np.exp(-(angles[0][:, None] ** 2 + angles[1] ** 2) / 6.0)
    hat = np.fft.fft2(kernel, axes=(0, 1)) * response[:, :, None, None]
    smooth = np.fft.ifft2(hat, axes=(0, 1)).real
    return smooth * np.linalg.norm(kernel) / np.linalg.norm(smooth)


def reinitialised(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An eighth of the kernels, at least one, drawn again."""
    count = kernel.shape[2] * kernel.shape[3]
    drawn = rng.permutation(count)[: max(count // 8, 1)]
    mask = np.isin(np.arange(count), drawn).reshape(kernel.shape[2:])
    fresh = kernel.std() * rng.standard_normal(kernel.shape)
    return np.where(mask, fresh, kernel)


CHANGES: Mapping[str, Change] = {
    "rescaled": rescaled,
    "filtered": filtered,
    "reinitialised": reinitialised,
}


@dataclass(frozen=True)
class PlantedSetting:
    """What one planted layer is made from.

    Attributes:
        architecture: key of `ARCHITECTURES`.
        depth: number of convolutions.
        change: key of `CHANGES`.
        seed: of everything random.
    """

    architecture: str
    depth: int
    change: str
    seed: int

    @property
    def label(self) -> str:
        """Unique name."""
        return f"{self.architecture}{self.depth}-{self.change}-seed{self.seed}"

    @property
    def used_for_choices(self) -> bool:
        """Whether choices may be made with it."""
        return self.architecture == "plain" and self.seed in (0, 1)


@dataclass(frozen=True)
class Planted:
    """A base network, data, and the layer that a score has to find.

    Attributes:
        label: unique name.
        model: the base network.
        base: its inputs and outputs, with noise.
        target: inputs and outputs of the teacher, with noise.
        layer: name of the layer that differs.
        used_for_choices: whether choices may be made with it.
    """

    label: str
    model: keras.Model
    base: Arrays
    target: Arrays
    layer: str
    used_for_choices: bool


def planted_settings() -> list[PlantedSetting]:
    """Returns all settings, 108 of them."""
    return [
        PlantedSetting(architecture, depth, change, seed)
        for seed, architecture, depth, change in itertools.product(
            SEEDS, ARCHITECTURES, DEPTHS, CHANGES
        )
    ]


def planted(settings: Iterable[PlantedSetting] | None = None) -> Iterator[Planted]:
    """Yields what each setting describes; equal settings give equal data."""
    for setting in planted_settings() if settings is None else settings:
        yield plant(setting)


def plant(setting: PlantedSetting) -> Planted:
    """Makes base network, teacher and data of one setting."""
    network = np.random.default_rng(
        _words(setting.architecture, setting.depth, setting)
    )
    rng = np.random.default_rng(_words(setting.label, 0, setting))
    model = ARCHITECTURES[setting.architecture](setting.depth)
    base_x = random_fields(NUM_BASE, network)
    calibrate(model, base_x, network)
    base_y = _answers(model, base_x, network)
    names = list(kst.layers_with_weights(model, trainable=True))
    # Changes of one network are planted in different layers.
    places = network.permutation(len(names))
    name = names[places[list(CHANGES).index(setting.change)]]
    teacher = kst.models.copy_model(model)
    layer = kst.layers_with_weights(teacher)[name]
    kernel, bias = layer.get_weights()
    layer.set_weights([CHANGES[setting.change](kernel, rng), bias])
    x = random_fields(NUM_TARGET, rng)
    return Planted(
        label=setting.label,
        model=model,
        base=(base_x, base_y),
        target=(x, _answers(teacher, x, rng)),
        layer=name,
        used_for_choices=setting.used_for_choices,
    )


def _words(name: str, number: int, setting: PlantedSetting) -> list[int]:
    """Seed of a generator, the same on every machine."""
    return [setting.seed, number, *name.encode()]


def _answers(model: keras.Model, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y = model.predict(x, batch_size=8, verbose=0)
    noise = NOISE * y.std() * rng.standard_normal(y.shape)
    return (y + noise).astype("float32")


def main() -> None:
    print("label  planted layer  used for choices  relative rms error of the base")
    for case in planted():
        outputs = case.model.predict(case.target[0], batch_size=8, verbose=0)
        error = kst.metrics.relative_rmse(case.target[1], outputs)
        print(case.label, case.layer, case.used_for_choices, f"{error:.3f}", flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main()
