"""The notebooks run from top to bottom in a fresh kernel, and their committed copies hold outputs and nothing of the
machine they ran on.

To run them again and keep the outputs: python tests/test_notebooks.py [01 03 ...] (all without names).
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = ["01_quickstart", "02_rate_distortion", "03_inside_the_codec", "04_semantic_decoding", "05_train_your_own"]
LIMIT = 1_500_000  # bytes of a notebook
MACHINE = re.compile(r"(?<![\w.])(/(work|root|tmp|home|var|usr|opt|Users)/|[A-Z]:\\Users)")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", 4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(name: str) -> nbformat.NotebookNode:
    """The notebook with fresh outputs. Raises CellExecutionError for a cell that fails."""
    notebook = read(name)
    resources = {"metadata": {"path": str(FOLDER)}}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources, record_timing=False, coalesce_streams=True
    )
    with tempfile.TemporaryDirectory() as home:  # no history and no settings of the user
        client.execute(env={**os.environ, "IPYTHONDIR": home, "TMPDIR": home})
    return notebook


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """Source and text outputs; pictures are left out."""
    found = [cell.source]
    for output in cell.get("outputs", []):
        found.append(output.get("text", ""))
        found += [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    return found


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """For each code cell, what it shows, but for the numbers."""
    return [
        [kind for output in cell.outputs for kind in sorted(output.get("data", {output.output_type: None}))]
        for cell in code_cells(notebook)
    ]


def test_the_list_is_complete():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_runs_from_top_to_bottom(name):
    assert kinds(run(name)) == kinds(read(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_copy(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LIMIT
    assert notebook.cells[0].cell_type == "markdown" and "pip install" in notebook.cells[0].source
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(kind.startswith("image/") for output in kinds(notebook) for kind in output)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error" and output.get("name") != "stderr", output
        for text in texts(cell):
            assert not MACHINE.search(text), MACHINE.search(text)
    assert max(len(line) for cell in cells for line in cell.source.splitlines()) <= 140


if __name__ == "__main__":
    for name in NAMES:
        if len(sys.argv) == 1 or any(name.startswith(given) for given in sys.argv[1:]):
            notebook = run(name)
            notebook.metadata["language_info"] = {"name": "python"}  # without the version of this Python
            nbformat.write(notebook, FOLDER / f"{name}.ipynb")
            print(f"{name}: {(FOLDER / f'{name}.ipynb').stat().st_size} bytes")
