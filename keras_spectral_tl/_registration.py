"""Registration of the package's classes in Keras without importing Keras.

`keras.models.load_model` finds classes by a registered name. The decorators that
register them run when their modules are imported, which `import keras_spectral_tl`
does not do. Until then a stand-in is registered under each name: it imports the module
when Keras needs an instance, and the decorator in the module replaces it.
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

# Subpackage -> names of the classes that its import registers.
_CLASSES = {
    "freezing": (
        *("ScalarGain", "ScaledConv1D", "ScaledConv2D", "ScaledConv3D"),
        *("ScaledDense", "ScaledPeriodicConv2D"),
    ),
    "layers": (
        *("LESStep", "PeriodicConv2D", "PeriodicPadding1D", "PeriodicPadding2D"),
        *("PeriodicPadding3D", "RadialSpectrum2D", "UnrolledLES"),
    ),
    "losses": ("SpectralLoss", "WeightedMeanSquaredError"),
    "metrics": (
        *("PatternCorrelation", "RelativeRMSE", "SpectrumRMSE", "TransferCorrelation"),
    ),
    "transfer": ("ScaledSchedule",),
}
HOMES = {name: package for package, names in _CLASSES.items() for name in names}
FUNCTIONS = {"squared_log_ratio": "losses", "squared_relative_error": "losses"}


class StandIn:
    """A registered class whose module is imported when an instance is needed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        """Return the instance of the real class that the configuration describes."""
        importlib.import_module(f"{PACKAGE}.{HOMES[self.name]}")
        # Not get_registered_object, which uses an older copy while Keras is loading.
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
        module = importlib.import_module(f"{PACKAGE}.{FUNCTIONS[name]}")
        return getattr(module, name)(*arguments)

    return call
