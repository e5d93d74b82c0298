"""For the site made of `docs`: files and links outside it, lists of public names."""

import ast
import configparser
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# What stands in the repository, and the page of the site that shows it.
PAGES = {
    "turbulence_data/README.md": "data_card.md",
    "examples/model_zoo/README.md": "model_zoo.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
OUTWARD = re.compile(r"\]\(\.\./([^)#]+)(#[^)]*)?\)")
INWARD = re.compile(r"\]\((?:\.\./\.\./)?docs/([^)]+)\)")
# With what stands in front of it, which the repository shows in its place.
NOTEBOOK = re.compile(r"\A.*?^@notebook (\S+)$", re.MULTILINE | re.DOTALL)
# With the line in front of it, likewise.
INCLUDED = re.compile(r"^This page is [^\n]+\n\n@include (\S+)$", re.MULTILINE)
ALL_OF = re.compile(r"^::: ([\w.]+)\.\*$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Writes the version of the package into the foot of every page."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    config["copyright"] = f"Version {parser['metadata']['version']}, Apache-2.0"
    return config


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """Writes out files, notebooks and lists of names; points links at pages."""
    if page.file.src_uri.startswith("reference/"):
        return ALL_OF.sub(lambda found: _documented(found[1]), markdown)
    if page.file.src_uri.startswith("tutorials/"):
        return NOTEBOOK.sub(lambda found: _notebook(ROOT / found[1]), markdown)
    markdown = INCLUDED.sub(lambda found: (ROOT / found[1]).read_text(), markdown)
    markdown = INWARD.sub(lambda found: f"]({found[1]})", markdown)
    for name, target in PAGES.items():
        markdown = markdown.replace(f"]({name})", f"]({target})")
    return OUTWARD.sub(lambda found: f"]({PAGES[found[1]]}{found[2] or ''})", markdown)


def public_names(package: str) -> dict[str, str]:
    """Each public name of a package, and the full name of what it stands for."""
    tree = ast.parse(_source(package).read_text())
    homes = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    values = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    if "_HOME" in values:  # resolved on first use
        homes |= {
            name: f"{package}.{module}.{name}"
            for name, module in ast.literal_eval(values["_HOME"]).items()
        }
    names = [
        element.value
        for element in getattr(values["__all__"], "elts", [])
        if isinstance(element, ast.Constant)
    ] or list(ast.literal_eval(values["_HOME"]))  # __all__ = sorted(_HOME)
    return {n: _resolved(homes.get(n, f"{package}.{n}")) for n in names if n[0] != "_"}


def _notebook(path: Path) -> str:
    """The cells of an executed notebook, with what they printed and drew."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else _fenced(source))
        for output in cell.get("outputs", ()):
            parts.append(_shown(output))
    script = path.relative_to(ROOT).parent.parent / f"{path.stem}.py"
    return "\n\n".join([*parts, f"The script: `{script}`."])


def _fenced(text: str, kind: str = "python") -> str:
    return f"```{kind}\n{text.rstrip()}\n```"


def _shown(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    image = "".join(output["data"]["image/png"]).replace("\n", "")
    return f"![What the cell draws](data:image/png;base64,{image})"


def _resolved(full_name: str) -> str:
    """Follows names that packages pass on to where they are defined."""
    module, _, name = full_name.rpartition(".")
    if _source(module).name != "__init__.py":
        return full_name
    return public_names(module).get(name, full_name)


def _source(module: str) -> Path:
    place = ROOT.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _documented(package: str) -> str:
    return "\n\n".join(f"::: {name}" for name in public_names(package).values())
