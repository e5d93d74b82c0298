"""Show what a folder holds of a study as one HTML page, which needs no network.

Parts that are not there are said to be missing.
"""

import argparse
from typing import Any

EXAMPLE = "report runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the page."""
    parser.add_argument(
        "folder", metavar="RUN_DIR", help="what score, retrain or `make demo` wrote to"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="page to write (default: RUN_DIR/report.html)"
    )


def run(options: argparse.Namespace) -> tuple[int, Any]:
    """Write the page.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    from keras_spectral_tl.report import Study, write_report

    study = Study.read(options.folder)
    path = write_report(study, options.out or f"{options.folder}/report.html")
    return 0, {
        "page": str(path),
        "bytes": path.stat().st_size,
        "missing": list(study.missing),
    }


def text(document: Any) -> str:
    """Return where the page is, and what it lacks."""
    lacks = ", ".join(document["missing"]) or "nothing"
    size = document["bytes"] / 1e3
    return f"{document['page']} ({size:.0f} kB); missing: {lacks}"
