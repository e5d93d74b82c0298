"""Makes the notebooks of the scripts beside this one, with what they print and draw.

python examples/execute_notebooks.py [NAME ...]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__" and {"-h", "--help"} & {*sys.argv}:
    print(__doc__)  # before anything slow is imported
    sys.exit()

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NOTEBOOKS = HERE / "notebooks"
LOGS = ("\x1b[1m", "WARNING:")  # of TFDS and TensorFlow
NAMES = (
    "five_minutes",
    "own_model",
    "own_data",
    "closure_1d",
    "attach_callbacks",
    "distributed_generation",
)


def cells_of(name: str) -> Any:
    """The script as a notebook that was not executed, without its --help."""
    notebook = jupytext.read(HERE / f"{name}.py")
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "remove-cell" not in cell.metadata.get("tags", ())
    ]
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return notebook


def tidied(outputs: list[Any]) -> list[Any]:
    """What the script prints, in one piece, and draws; no logs and progress bars."""
    text = "".join(o.text for o in outputs if o.get("name") == "stdout")
    lines = [line for line in text.splitlines() if not line.startswith(LOGS)]
    stream = nbformat.v4.new_output("stream", text="\n".join(lines) + "\n")
    figures = [o for o in outputs if "image/png" in o.get("data", {})]
    return [*([stream] if any(lines) else []), *figures]


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
            cell.outputs = tidied(cell.outputs)
    NOTEBOOKS.mkdir(exist_ok=True)
    path = NOTEBOOKS / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        print(execute(chosen), flush=True)
