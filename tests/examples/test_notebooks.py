"""The examples in cells: each runs, and its notebook is what the script gives."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SPEC = importlib.util.spec_from_file_location(
    "execute_notebooks", EXAMPLES / "execute_notebooks.py"
)
MAKER = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(MAKER)
LARGEST = 300_000  # bytes

# What the smallest run of each script prints; own_model has a test of its own.
FINDINGS = {
    "five_minutes": r"conv_4: CC -?[\d.]+, changed \('conv_4',\)",
    "own_data": r"xarray: \(8, 32, 32, 2\) \(8, 32, 32, 1\) True[^x]*conv_3: CC",
    "closure_1d": r"CC on the target, before.*conv_\d retrained alone: CC -?[\d.]+",
    "attach_callbacks": r"last/peak_wavenumber .*moved in the .*: \['last'\]",
    "distributed_generation": r"the same content: True",
}


@pytest.mark.parametrize("name", MAKER.NAMES)
def test_the_notebook_is_in_step_with_the_script(name):
    path = EXAMPLES / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    expected = MAKER.cells_of(name)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in expected.cells
    ], "run `make notebooks`"
    assert path.stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert {output.output_type for cell in code for output in cell.outputs} <= {
        "stream", "display_data", "execute_result",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FINDINGS)
def test_the_script_runs_and_finds_something(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES / f"{name}.py").read_text()
    text = re.sub(r"^EPOCHS = \d+$", "EPOCHS = 1", text, flags=re.MULTILINE)
    exec(compile(text, f"{name}.py", "exec"), {"__name__": "__main__"})
    assert re.search(FINDINGS[name], capsys.readouterr().out, re.DOTALL)
