"""The notebooks run without network, from no name and no module of seqsal, and are stored with small outputs.

One kernel serves them all: what they share, torch, pandas, matplotlib and the kernel itself, took 4 s of each.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4
import pytest
from nbclient import NotebookClient
from nbclient.util import run_sync

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
BEGIN = """%reset -f
def begin(folder):
    import os, socket, sys

    def refuse(*args, **kwargs):
        raise OSError("no network in the tests of notebooks")

    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "seqsal"]:
        del sys.modules[name]  # a module that a notebook forgets to import is missing, whatever others import
    socket.create_connection = socket.getaddrinfo = refuse


begin({folder!r})
del begin
"""
MAX_BYTES = 250_000
SMALLER = {  # sizes that the cells name, and those with which they are tried here
    "epochs=12, patience=12": "epochs=5, patience=5",
    "epochs=15, patience=15": "epochs=5, patience=5",
    "Profile(), 400": "Profile(), 60",
    "call_peaks(attr, fdr=0.1)": "call_peaks(attr, fdr=0.2, max_controls=1000)",
    "call_peaks(attr, fdr=0.2)": "call_peaks(attr, fdr=0.2, max_controls=1000)",
    '"n_regions": 61, ': '"n_regions": 16, "n_bootstrap": 100, ',
    '"n_ism_regions": 8, "n_small": 8, "n_steps": 5, "n_draws": 1': (
        '"n_ism_regions": 4, "n_small": 4, "n_steps": 4, "n_draws": 1'
    ),
    '"n_regions": 40, "n_ism_regions": 8, "n_small": 8, "n_steps": 10, "n_draws": 2': (
        '"n_regions": 12, "n_ism_regions": 4, "n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 100'
    ),
    'motifs = read_motifs("jaspar:2026:vertebrates")': (
        'motifs = [m for m in read_motifs("jaspar:2026:vertebrates") if m.accession[5] == "7" or m.name == "CTCF"]'
    ),
    '"n_small": 4, "retrain": False': '"n_small": 4, "n_steps": 4, "n_draws": 1, "n_bootstrap": 100, "retrain": False',
}
FIGURES = ("plot(", "plot_tracks(", "plot_heatmap(", "plot_logo(", "plot_curves(", "plot_variant(", "plot_spacing(",
           "plot_interactions(")  # fmt: skip


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def make_smaller(notebook: Any) -> set[str]:
    """Write smaller sizes into the cells; return those that were found."""
    found = set()
    for cell in code_cells(notebook):
        for size, smaller in SMALLER.items():
            if size in cell.source:
                found.add(size)
                cell.source = cell.source.replace(size, smaller)
    return found


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A kernel of the interpreter of the tests, of one thread."""
    manager = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3").create_kernel_manager()
    manager.kernel_spec.argv[0] = sys.executable
    run_sync(manager.start_kernel)(env={**os.environ, "OMP_NUM_THREADS": "1"})
    yield manager
    run_sync(manager.shutdown_kernel)(now=True)


def run(notebook: Any, folder: Path, kernel: Any) -> None:
    """Run all cells in `folder`, where nothing outside can be reached."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN.format(folder=str(folder))))
    client = NotebookClient(notebook, km=kernel, timeout=300)
    client.execute()
    client.kc.stop_channels()


def kinds(cell: Any) -> set[str]:
    """Types of what a cell shows, and names of the streams that it writes to."""
    shown = {kind for output in cell.outputs for kind in output.get("data", {})}
    return shown | {output.name for output in cell.outputs if output.output_type == "stream"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_with_small_outputs(path: Path) -> None:
    """As `notebooks/save_outputs.py` stores them."""
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.execution_count is None and "stderr" not in kinds(cell)
        assert all(output.output_type != "error" for output in cell.outputs)
        if any(call in cell.source for call in FIGURES) and "except" not in cell.source:
            assert "image/png" in kinds(cell), cell.source
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    links = re.findall(r"\]\(([^)]+\.ipynb)\)", "".join(cell.source for cell in notebook.cells))
    assert all((path.parent / link).is_file() for link in links)


def test_sizes_made_smaller_are_those_of_the_notebooks() -> None:
    assert set().union(*(make_smaller(nbformat.read(path, as_version=4)) for path in NOTEBOOKS)) == set(SMALLER)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, kernel: Any) -> None:
    notebook = nbformat.read(path, as_version=4)
    make_smaller(notebook)
    run(notebook, tmp_path, kernel)
    for cell in code_cells(notebook):
        if any(call in cell.source for call in FIGURES) and "except" not in cell.source:
            assert "image/png" in kinds(cell), cell.source
        streams = [output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stderr"]
        assert all("Warning" not in text and "Traceback" not in text for text in streams), streams


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_bars_are_widgets_and_only_when_asked_for(tmp_path: Path, kernel: Any) -> None:
    sources = [
        "import numpy as np, torch, seqsal\n"
        "_ = torch.manual_seed(1)\n"  # whose calls are settled: no warning
        "model = torch.nn.Sequential(torch.nn.Conv1d(4, 2, 5), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten(),\n"
        "                            torch.nn.Linear(2, 1)).eval()\n"
        "X = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (50, 60))].transpose(0, 2, 1)",
        *(
            f"attr = seqsal.attribute(model, X=X, progress={progress})\n"
            f"peaks = seqsal.call_peaks(attr, statistic='height', progress={progress})\n"
            f"same = seqsal.compare_attributions({{'a': attr, 'b': attr}}, progress={progress})"
            for progress in (False, True)
        ),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    run(notebook, tmp_path, kernel)
    _, _, silent, shown = notebook.cells
    assert silent.outputs == []
    assert "application/vnd.jupyter.widget-view+json" in kinds(shown) and "stderr" not in kinds(shown)
