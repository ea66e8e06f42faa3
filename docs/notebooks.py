"""Runs the tutorials' notebooks and stores what they show in them, for the site.

    python docs/notebooks.py                     # all
    python docs/notebooks.py first-steps         # some

Each runs in an empty folder. What differs from run to run without a meaning, such as cells' times,
is left out.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent / "tutorials"


def executed(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells show now; CellExecutionError where one fails."""
    node = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        node, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    for cell in node.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            if len(shown) > 1:  # a table or a picture; no page shows its plain form
                shown.pop("text/plain", None)
    node.metadata = {"kernelspec": node.metadata["kernelspec"], "language_info": {"name": "python"}}
    return node


def refresh(names: Sequence[str]) -> None:
    """Writes the notebooks of these names anew, none: all."""
    for notebook in sorted(TUTORIALS.glob("*.ipynb")):
        if not names or notebook.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(executed(notebook, Path(folder)), notebook)


if __name__ == "__main__":
    refresh(sys.argv[1:])
