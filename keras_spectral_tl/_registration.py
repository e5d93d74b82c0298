"""Registration of the package's classes in Keras without importing Keras.

`keras.models.load_model` finds classes by a registered name. The decorators that
register them run when their modules are imported, which `import keras_spectral_tl`
leaves for later. Until then a stand-in is registered under each name: it imports the
module when Keras asks for an instance, and the decorator in the module replaces it.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGE = "keras_spectral_tl"

# Registered name -> subpackage and the public name in it whose import registers it.
HOMES = {
    "LESStep": ("layers", "LESStep"),
    "PatternCorrelation": ("metrics", "PatternCorrelation"),
    "PeriodicConv2D": ("layers", "PeriodicConv2D"),
    "PeriodicPadding1D": ("layers", "PeriodicPadding1D"),
    "PeriodicPadding2D": ("layers", "PeriodicPadding2D"),
    "PeriodicPadding3D": ("layers", "PeriodicPadding3D"),
    "RadialSpectrum2D": ("layers", "RadialSpectrum2D"),
    "RelativeRMSE": ("metrics", "RelativeRMSE"),
    "ScalarGain": ("freezing", "OutputGain"),
    "ScaledConv1D": ("freezing", "ChannelGainsOf"),
    "ScaledConv2D": ("freezing", "ChannelGainsOf"),
    "ScaledConv3D": ("freezing", "ChannelGainsOf"),
    "ScaledDense": ("freezing", "ChannelGainsOf"),
    "ScaledPeriodicConv2D": ("freezing", "ChannelGainsOf"),
    "ScaledSchedule": ("transfer", "LearningRates"),
    "SpectralLoss": ("losses", "SpectralLoss"),
    "WeightedMeanSquaredError": ("losses", "WeightedMeanSquaredError"),
    "SpectrumRMSE": ("metrics", "SpectrumRMSE"),
    "TransferCorrelation": ("metrics", "TransferCorrelation"),
    "UnrolledLES": ("layers", "UnrolledLES"),
}
FUNCTIONS = {
    "squared_log_ratio": ("losses", "squared_log_ratio"),
    "squared_relative_error": ("losses", "squared_relative_error"),
}


class StandIn:
    """A registered class whose module is imported when an instance is wanted."""

    def __init__(self, name: str) -> None:
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        """Return the instance of the real class that the configuration describes."""
        package, public = HOMES[self.name]
        getattr(importlib.import_module(f"{PACKAGE}.{package}"), public)
        # Not get_registered_object: while Keras loads, it sees a copy made before.
        known = importlib.import_module("keras").saving.get_custom_objects()
        return known[f"{PACKAGE}>{self.name}"].from_config(config)


class AfterKeras(importlib.abc.MetaPathFinder):
    """A finder that registers the stand-ins as soon as Keras has been imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of Keras with a loader that also registers."""
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            register_stand_ins()

        vars(spec.loader)["exec_module"] = execute_and_register
        return spec


def register() -> None:
    """Register the package's classes, now or when Keras is imported."""
    if "keras" in sys.modules:
        register_stand_ins()
    elif not any(isinstance(finder, AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterKeras())


def register_stand_ins() -> None:
    """Register a stand-in under each name that Keras does not know yet."""
    keras = importlib.import_module("keras")
    known = keras.saving.get_custom_objects()
    for name in HOMES:
        known.setdefault(f"{PACKAGE}>{name}", StandIn(name))
    for name in FUNCTIONS:
        if f"{PACKAGE}>{name}" not in known:
            keras.saving.register_keras_serializable(PACKAGE, name)(_function(name))


def _function(name: str) -> Any:
    def call(*arguments: Any) -> Any:
        module, public = FUNCTIONS[name]
        real = getattr(importlib.import_module(f"{PACKAGE}.{module}"), public)
        return real(*arguments)

    return call
