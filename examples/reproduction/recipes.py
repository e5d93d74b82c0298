"""How every arm of a setting is retrained: by the recipe of its forecast."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import keras

import keras_spectral_tl as kst
from keras_spectral_tl import freezing
from reproduction.clock import read_json
from reproduction.study import Study
from reproduction.tiers import Setting, Training


@dataclass(frozen=True)
class Recipes:
    """Where the retraining of a setting starts, what trains, and at what rate.

    Each arm follows the recipe of its forecast: at its own rate, but where the tier has
    one for all, and, if the amplitudes of the two systems differ, with a gain of the
    output that starts from its best value and trains too.

    Attributes:
        network: The base network, behind it the gain if there is one.
        plan: Steps and samples in a step.
        setting: The setting.
        rates: Rate of every arm by its label; empty where the tier has one rate.
        inside: What stands in front of the names of the base network's layers.
        gain: Name of the gain's layer; empty where there is none.
    """

    network: keras.Model
    plan: Training
    setting: Setting
    rates: dict[str, float] = field(default_factory=dict)
    inside: str = ""
    gain: str = ""

    def layers(self, arm: Any) -> Any:
        """Returns what trains, of the name of a layer, several, a part, or None."""
        if not self.gain or arm is None:
            return arm
        items = arm if isinstance(arm, tuple | list) else [arm]
        named = [f"{self.inside}{i}" if isinstance(i, str) else i for i in items]
        return [*named, self.gain]

    def rate(self, label: str) -> float:
        """Returns the rate of an arm; of several layers the least of theirs."""
        if self.plan.rate is not None:
            return self.plan.rate
        return min(self.rates[name] for name in label.split("+"))

    def rates_of_pairs(self) -> dict[str, float]:
        """Returns the rates of all arms and of all pairs; none of a tier with one."""
        pairs = ["+".join(pair) for pair in itertools.permutations(self.rates, 2)]
        return self.rates | {label: self.rate(label) for label in pairs}

    def options(self, label: str | None, factor: float = 1.0) -> dict[str, Any]:
        """Returns how an arm is retrained; None for any, where each has its rate.

        A factor multiplies the rate.
        """
        rate = self.rate(label or "+".join(self.rates))
        optimizer = falling_adam(factor * rate, self.plan.steps)
        return {"optimizer": optimizer, **passes(self.plan, self.setting)}

    def retrained(self, target: Any, label: str, layers: Any) -> kst.RetrainResult:
        """Returns what layers, or parts, become by the recipe of an arm."""
        chosen = self.layers(layers)
        return kst.retrain(self.network, target, chosen, **self.options(label))


def falling_adam(rate: float, steps: int) -> keras.optimizers.Adam:
    """Returns an Adam whose rate falls to 0 as a cosine."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))


def passes(plan: Training, setting: Setting) -> dict[str, Any]:
    """Returns epochs, samples in a step and seed of a retraining."""
    return {
        "epochs": epochs(plan, setting.num_target),
        "batch_size": min(plan.batch_size, setting.num_target),
        "seed": setting.seed,
    }


def epochs(plan: Training, num_samples: int) -> int:
    """Returns the whole epochs that hold the steps of a plan."""
    steps_an_epoch = -(-num_samples // min(plan.batch_size, num_samples))
    return -(-plan.steps // steps_an_epoch)


def recipes_of(study: Study, setting: Setting) -> Recipes:
    """Returns how the arms of a setting are retrained.

    Raises:
        FileNotFoundError: before the stage "forecast".
    """
    base, plan = study.base_network(setting.seed), study.tier.retraining
    path = study.folder / "forecast" / f"{setting.label}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"There is no forecast {path}, whose recipes say from which gain of the "
            "output a retraining starts. Run the stages 'scores forecast' first."
        )
    told = {k: v for k, v in read_json(path)["recipes"].items() if v}
    rates = {}
    if plan.rate is None:
        rates = {name: recipe["learning_rate"] for name, recipe in told.items()}
        rates = {name: rate for name, rate in rates.items() if rate > 0}
    gains = {gain for recipe in told.values() for gain in _gains(recipe["layers"])}
    if not gains:
        return Recipes(base, plan, setting, rates)
    (gain,) = gains  # one for all arms: it is that of the base network
    network = freezing.OutputGain(initial=gain).prepare(base)
    last = network.layers[-1].name
    return Recipes(network, plan, setting, rates, f"{base.name}/", last)


def _gains(layers: Any) -> list[float]:
    """The first values of gains in what trains, as a forecast writes it."""
    parts = [item for item in layers or [] if isinstance(item, dict)]
    found = [part["OutputGain"] for part in parts if "OutputGain" in part]
    return [values["initial"] for values in found]


def foretold_options(study: Study, setting: Setting) -> dict[str, Any]:
    """Returns what scores and forecast are told of the retraining."""
    plan = study.tier.retraining
    told = passes(plan, setting)
    if plan.rate is not None:
        return {"optimizer": falling_adam(plan.rate, plan.steps), **told}
    return {"steps": plan.steps, **{k: v for k, v in told.items() if k != "epochs"}}
