"""Lists the links of documents and docstrings to other hosts, and where they stand.

    python docs/external_links.py

Those within the site are checked when it is built.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"https?://[^\s)>\"'`\]]+")


def external_links() -> dict[str, list[str]]:
    """Each address, and the files that name it."""
    found: dict[str, list[str]] = {}
    sources = [ROOT / name for name in ("keras_spectral_tl", "turbulence_data")]
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    documents += [path for source in sources for path in source.rglob("*.py")]
    for path in sorted(documents):
        for address in LINK.findall(path.read_text()):
            found.setdefault(address.rstrip(".,"), []).append(
                str(path.relative_to(ROOT))
            )
    return found


if __name__ == "__main__":
    for address, files in sorted(external_links().items()):
        print(address, *sorted(set(files)))
