"""Makes the notebooks of the scripts beside this one, with what they print and draw.

python examples/execute_notebooks.py [NAME ...]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NOTEBOOKS = HERE / "notebooks"
NAMES = (
    "five_minutes",
    "own_model",
    "own_data",
    "closure_1d",
    "attach_callbacks",
    "distributed_generation",
)


def cells_of(name: str) -> Any:
    """The script as a notebook that was not executed."""
    notebook = jupytext.read(HERE / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return notebook


def printed(output: Any) -> bool:
    """True for what the script prints and draws; logs and progress bars are not."""
    if output.output_type == "stream":
        return bool(output.name == "stdout" and output.text.strip())
    return "image/png" in output.get("data", {})


def execute(name: str) -> Path:
    notebook = cells_of(name)
    # Figures of the last line are shown; the cell that says so is not kept.
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%matplotlib inline"))
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=1800, resources=resources).execute()
    del notebook.cells[0]
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if printed(output)]
    NOTEBOOKS.mkdir(exist_ok=True)
    path = NOTEBOOKS / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        print(execute(chosen), flush=True)
