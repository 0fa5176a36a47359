"""Run the notebooks and keep their outputs, as small as they can be: `python notebooks/save_outputs.py [NAME …]`.

What is not kept: messages on stderr, the programs of igv.js (1.5 MB), widgets, progress bars, ids and times of cells,
which differ each time. Without names all notebooks are run; it takes some minutes.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
MAX_HTML = 60_000  # characters; more is a browser, not a table
KEPT = ("text/plain", "text/html", "image/png")
WIDGET = "application/vnd.jupyter.widget-view+json"  # such as a progress bar
N_COLORS = 48  # of a stored picture


def kept_output(output: Any) -> Any | None:
    """Return what of an output is worth storing, or None."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    if output.output_type not in ("display_data", "execute_result"):
        return output
    data = {kind: output.data[kind] for kind in KEPT if kind in output.data}
    is_large = len(data.get("text/html", "")) > MAX_HTML
    if WIDGET in output.data or "Javascript" in data.get("text/plain", "") or is_large:
        return None
    if "image/png" in data:
        data["image/png"] = smaller(data["image/png"])
    output.data = data
    output.metadata = {}
    return output


def smaller(picture: str) -> str:
    """Reduce a picture, PNG in base64, to few colours."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(N_COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def store(notebook: Any, path: Path) -> None:
    """Write a notebook that was run, with what is worth storing of its outputs."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [kept for output in cell.outputs if (kept := kept_output(output)) is not None]
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
    for what in ("language_info", "widgets"):
        notebook.metadata.pop(what, None)
    nbformat.write(notebook, path)


def run(path: Path) -> Any:
    """Run a notebook in a folder of its own."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}})
        manager = client.create_kernel_manager()
        manager.kernel_spec.argv[0] = sys.executable
        client.execute()
    return notebook


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for one in sys.argv[1:] or sorted(path.name for path in FOLDER.glob("*.ipynb")):
        store(run(FOLDER / one), FOLDER / one)
