"""Public names of a package that are imported at first use."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package that imports names at first use.

    Then each part of the package needs only the libraries that it uses itself:
    importing `turbulence_data.solver` needs no JAX, and the package itself no xarray.

    Args:
        package: name of the package.
        homes: public name -> module of the package that defines it.

    Returns:
        Functions to be bound to `__getattr__` and `__dir__` in its `__init__.py`; the
        first raises AttributeError for a name that is not in `homes`, as modules do.

    Example:
        >>> get, names = lazy("turbulence_data.solver", {"Grid": "_grid"})
        >>> get("Grid").__module__
        'turbulence_data.solver._grid'
        >>> names()
        ['Grid']
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    def names() -> list[str]:
        return sorted(homes)

    return get, names
