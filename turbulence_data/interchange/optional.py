"""Libraries that only this part of the package needs."""

from __future__ import annotations

import importlib
from typing import Any


def require(name: str) -> Any:
    """Returns a module of the extra `[interchange]`.

    Raises:
        ImportError: when it is not installed; says what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed to exchange data with other formats and cannot be "
            f"imported ({error}); install it with "
            "pip install 'keras-spectral-tl[interchange]'."
        ) from error
