"""The wheel: what is in it, and that it works alone, without any extra."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = Path(__file__).with_name("plain_install.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of what belongs in it."""
    import shutil

    source = tmp_path_factory.mktemp("source")
    for name in ("keras_spectral_tl", "turbulence_data", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("README.md", "LICENSE", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = target.glob("*.whl")
    return path


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0].partition("-")[0] for name in names}
    assert tops == {"keras_spectral_tl", "turbulence_data"}
    for package in ("keras_spectral_tl", "turbulence_data"):
        files = (ROOT / package).rglob("*")
        expected = {
            str(path.relative_to(ROOT))
            for path in files
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {name for name in names if name.startswith(f"{package}/")} == expected
        assert f"{package}/py.typed" in names
    (metadata,) = [name for name in names if name.endswith("METADATA")]
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "# keras-spectral-tl" in text
    assert "Requires-Python: >=3.11" in text


def test_it_works_where_no_extra_is_installed(wheel, tmp_path):
    """All modules import, a flow is simulated, a layer is retrained."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--block"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith(f"from {tmp_path}/site/keras_spectral_tl")


def imported_at_run_time(folder: Path) -> set[str]:
    """Top names of all modules that a package imports, anywhere."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"turbulence_data"}


def test_every_import_is_declared():
    """As a requirement or as part of an extra."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    texts = [parser["options"]["install_requires"]]
    texts += list(parser["options.extras_require"].values())
    declared = {
        re.split(r"[\[<>=!~ ]", line.strip())[0].lower().replace("-", "_")
        for text in texts
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith(("#", "%"))
    }
    module_names = {"scikit_learn": "sklearn", "pillow": "PIL", "pyfftw": "pyfftw"}
    declared = {module_names.get(name, name) for name in declared}
    found = {
        name.lower() if name != "PIL" else name
        for package in ("turbulence_data", "keras_spectral_tl")
        for name in imported_at_run_time(ROOT / package)
    }
    own = {"keras_spectral_tl", "jaxlib", "dask"}
    assert found - declared - own - {"tensorboardx"} == set()


def test_one_version_stands_everywhere():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    version = parser["metadata"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    oldest = ruff["target-version"].removeprefix("py3")
    assert parser["options"]["python_requires"] == f">=3.{oldest}"
