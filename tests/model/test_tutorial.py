"""The tutorial runs from its first cell to its last, and is stored without what came out of it."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from parts import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
TIMEOUT_S = 300
"""For one cell, on a machine that is busy with other things; the whole takes 45 to 90 seconds of one core."""


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Execute a notebook in a kernel of its own, whose temporary files go to `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
        )
        client.execute()


def test_the_tutorial_runs_and_shows_what_it_says(tmp_path: Path) -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)

    run(notebook, tmp_path)

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 7
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    # The network that cheats misses what it found before.
    assert "sensitivity with the letter: 1.000" in said
    assert "sensitivity without it: 0." in said
    assert not list(tmp_path.glob("cxr-tutorial-*"))


def test_a_cell_that_fails_fails_the_tutorial(tmp_path: Path) -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell("raise ValueError('no such film')")]

    with pytest.raises(CellExecutionError, match="no such film"):
        run(notebook, tmp_path)


def test_the_tutorial_is_stored_without_results() -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert TUTORIAL.stat().st_size < 50_000
