"""Imports between modules go one way, down the table in docs/architecture.md."""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("turbulence_data", "keras_spectral_tl")
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \|", re.MULTILINE)


def levels(package: str) -> dict[str, int]:
    """Module (or folder) -> level, from the package's table in the document."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.split(f"## Levels of {package}\n")[1].split("\n## ")[0]
    return {
        name: int(level)
        for level, names in ROW.findall(section)
        for name in re.findall(r"`([^`]+)`", names)
    }


def place_of(module: str, table: dict[str, int]) -> str | None:
    """The longest entry of the table that holds the module."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in table:
            return ".".join(parts[:length])
    return None


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of the syntax tree of a file."""
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, also inside functions."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide arrows"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(package: str) -> list[Path]:
    return [
        path
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / package / "__init__.py"
    ]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_level(package):
    table = levels(package)
    homeless = [
        module
        for module in map(module_name, files(package))
        if place_of(module, table) is None and module != f"{package}.solver"
    ]
    assert homeless == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_entry_of_the_table_exists(package):
    for name in levels(package):
        base = ROOT / package / Path(*name.split("."))
        assert base.is_dir() or base.with_suffix(".py").is_file(), name


@pytest.mark.parametrize("package", PACKAGES)
def test_the_drawing_shows_every_folder_and_public_module(package):
    text = (ROOT / "docs" / "architecture.md").read_text()
    drawing = text.split("```text\n")[1].split("```")[0]
    drawn = set(re.findall(r"[\w./]+", drawing))
    folders = {
        f"{init.parent.name}/" for init in (ROOT / package).glob("*/__init__.py")
    }
    modules = {path.stem for path in (ROOT / package).glob("[!_]*.py")}
    builder = {"turbulence_data_dataset_builder"}  # of TFDS, whose name is too long
    assert (folders | modules) - builder - drawn == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down(package):
    table = levels(package)
    wrong = []
    for path in files(package):
        source = place_of(module_name(path), table)
        for imported in imports(path):
            if not imported.startswith(package + "."):
                continue
            target = place_of(imported, table)
            if target is None or source is None or target == source:
                continue
            if table[target] >= table[source]:
                wrong.append(f"{module_name(path)} -> {imported}")
    assert wrong == []


@pytest.mark.parametrize(("package", "other"), [PACKAGES, PACKAGES[::-1]])
def test_the_packages_never_import_each_other(package, other):
    for path in (ROOT / package).rglob("*.py"):
        assert not any(name.split(".")[0] == other for name in imports(path)), path


def length_without_docstring(function: ast.FunctionDef) -> int:
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    docstring = function.body[0]
    return length - (docstring.end_lineno - docstring.lineno + 1)


@pytest.mark.parametrize("folder", [*PACKAGES, "examples"])
def test_no_function_has_more_than_sixty_lines(folder):
    """The docstring not counted."""
    long = [
        f"{path.name}: {node.name}"
        for path in (ROOT / folder).rglob("*.py")
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef) and length_without_docstring(node) > 60
    ]
    assert long == []


def test_no_file_has_more_than_five_hundred_lines():
    long = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text().splitlines()) > 500
    ]
    assert long == []


def modules_by_folder() -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name not in ("__init__.py", "__main__.py"):
                found.setdefault(path.parent, []).append(path)
    return found


def test_no_folder_has_more_than_twelve_modules():
    crowded = {
        str(folder.relative_to(ROOT)): len(paths)
        for folder, paths in modules_by_folder().items()
        if len(paths) > 12
    }
    assert crowded == {}


def test_no_module_has_fewer_than_forty_lines():
    small = [
        str(path.relative_to(ROOT))
        for paths in modules_by_folder().values()
        for path in paths
        if len(path.read_text().splitlines()) < 40
    ]
    assert small == []


def public_names(package: str) -> set[str]:
    """What the `__init__` files of a package and its folders list, modules apart."""
    found = set()
    for init in (ROOT / package).rglob("__init__.py"):
        if any(part.startswith("_") for part in init.relative_to(ROOT).parts[:-1]):
            continue
        name = module_name(init)
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            if not inspect.ismodule(value) and not public.startswith("__"):
                found.add(id(value) if callable(value) else f"{name}.{public}")
    return found


def test_public_names_do_not_become_more():
    """An object listed in two places counts once."""
    assert sum(len(public_names(package)) for package in PACKAGES) <= 220


def private_imports(source: str) -> list[str]:
    """Names behind an underscore, or modules that no `__init__` shows, of a script."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [
            name
            for name in names
            if name.split(".")[0] in PACKAGES
            and any(part.startswith("_") for part in name.split(".")[1:])
        ]
    return found


# Scorers of the literature are built on the machinery of `scoring`, and faults are
# planted in the middle of what is written; other transforms are built on the tables of
# the JAX engine.
INSIDERS = {"scorers", "faults", "jax_transforms"}


def scripts() -> list[tuple[str, str]]:
    """Sources of examples and benchmarks, and Python blocks of documents."""
    found = [
        (str(path.relative_to(ROOT)), path.read_text())
        for folder in ("examples", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {path.parent.name, path.stem} & INSIDERS
    ]
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in documents:
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.S | re.M)
        found += [(str(path.relative_to(ROOT)), block) for block in blocks]
    return found


def test_examples_benchmarks_and_documents_use_public_names():
    wrong = [
        f"{place}: {name}"
        for place, source in scripts()
        for name in private_imports(source)
    ]
    assert wrong == []


# Loading the model of the caller himself, from bytes that were just made of it.
OWN_MODELS = {"copies.py"}
RUNS_CODE = ("eval", "exec", "system", "popen", "load_module")
RUNS_CODE_MODULES = {"marshal", "shelve", "subprocess", "dill", "cloudpickle", "joblib"}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_that_is_read_can_run_code(package):
    """No shell, no eval, nothing unpickled, models from files in safe mode only."""
    for path in files(package):
        assert not {name.split(".")[0] for name in imports(path)} & RUNS_CODE_MODULES
        for node in nodes(path):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called.split(".")[-1] not in RUNS_CODE, f"{path}: {called}"
            assert not re.fullmatch(r"pickle\.(load|loads|Unpickler)", called), path
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert options.get("allow_pickle", "False") == "False", path
            assert options.get("shell", "False") == "False", path
            if options.get("safe_mode", "True") != "True":
                assert path.name in OWN_MODELS, f"{path}: {called}"
