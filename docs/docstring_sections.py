"""Docstrings say "Example:"; the reader of Google style knows "Examples:" as code."""

from typing import Any

import griffe


class DocstringSections(griffe.Extension):
    """Renames the section while sources are read."""

    def on_object(self, *, obj: griffe.Object, **options: Any) -> None:
        """Renames it in one docstring."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace(
                "\nExample:\n", "\nExamples:\n"
            )
