"""Imports between modules go one way, down the table in docs/architecture.md."""

import ast
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


def imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
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
        for node in ast.walk(ast.parse(path.read_text()))
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


# Loading the model of the caller himself, from bytes that were just made of it.
OWN_MODELS = {"models.py", "_sweep.py"}
RUNS_CODE = ("eval", "exec", "system", "popen", "load_module")
RUNS_CODE_MODULES = {"marshal", "shelve", "subprocess", "dill", "cloudpickle", "joblib"}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_that_is_read_can_run_code(package):
    """No shell, no eval, nothing unpickled, models from files in safe mode only."""
    for path in files(package):
        assert not {name.split(".")[0] for name in imports(path)} & RUNS_CODE_MODULES
        for node in ast.walk(ast.parse(path.read_text())):
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
