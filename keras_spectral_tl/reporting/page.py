"""One self-contained HTML page: no script, style, font or image from elsewhere."""

import importlib.resources
import itertools
import os
import pathlib
from typing import Any

from keras_spectral_tl.reporting.blocks import Chart, Section, shown
from keras_spectral_tl.reporting.sections import SECTIONS
from keras_spectral_tl.reporting.study import Study
from keras_spectral_tl.reporting.svg import drawing


def report(
    study: "Study | str | os.PathLike[str]",
    path: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Write a study as one HTML page that opens anywhere, without a network.

    Charts are inline SVG that can be zoomed; every chart has its numbers in a table
    below it. Parts that a study lacks are said to be missing.

    Args:
        study: What to show, or the folder that holds it (`Study.read`).
        path: The page to write; `report.html` in that folder if not given.

    Returns:
        The path of the page. It appears complete or not at all.

    Raises:
        ImportError: If Jinja2 is not installed.
        TypeError: If a `Study` comes without a path.
        NotADirectoryError, ValueError: As `Study.read`.

    Example:
        >>> import tempfile
        >>> study = Study(a_priori=[{"network": "base", "data": "target", "cc": 0.57}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = report(study, f"{folder}/report.html")
        ...     "0.57" in page.read_text()
        True
    """
    if isinstance(study, str | os.PathLike):
        path = pathlib.Path(study) / "report.html" if path is None else path
        study = Study.read(study)
    if path is None:
        raise TypeError("Expected a path to write the page to. Received a study alone.")
    target = pathlib.Path(path)
    temporary = target.with_name(target.name + ".part")
    temporary.write_text(html(study), encoding="utf-8")
    temporary.replace(target)
    return target


def html(study: Study) -> str:
    """The page as text.

    Raises:
        ImportError: If Jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "The report needs Jinja2, which is not installed. Install it with "
            "`pip install keras-spectral-tl[report]`."
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text: str = environment.get_template("report.html.j2").render(
        study=study,
        sections=[section(study) for section in SECTIONS],
        runs=_runs,
        drawing=drawing,
        shown=shown,
        style=_template("report.css"),
        script=_template("report.js"),
    )
    return text


def _template(name: str) -> str:
    folder = importlib.resources.files("keras_spectral_tl.reporting") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _runs(section: Section) -> list[tuple[bool, list[Any]]]:
    """Charts that follow each other stand side by side."""
    groups = itertools.groupby(section.blocks, lambda block: isinstance(block, Chart))
    return [(is_chart, list(blocks)) for is_chart, blocks in groups]
