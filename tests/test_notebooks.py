"""The notebooks run from top to bottom, and are stored with what they show."""

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    stored = kinds(notebook)
    assert "image/png" in stored and "stream" in stored
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()  # raises
    assert kinds(notebook) == stored


def kinds(notebook) -> list[str]:
    """Of all outputs, in order: printed text, or the richest form of what is shown."""
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return [
        "image/png" if "image/png" in o.get("data", {}) else o.output_type
        for o in outputs
        if o.get("name") != "stderr"
    ]
