"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # not for the process that only starts the workers
    import numpy as np
    import torch

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection(session: pytest.Session) -> None:
    """Set up a process that runs tests. Every other worker begins at the end: what one compiled, others need not."""
    import hypothesis
    import torch

    hypothesis.settings.register_profile("seqsal", deadline=None)  # a busy machine is not a bug
    hypothesis.settings.load_profile("seqsal")
    torch.set_num_threads(1)  # toy models are smaller than the cost of waking a second thread
    gc.disable()  # until the tests are collected: modules and tests stay, and to look for garbage among them takes 4 s
    if session.config.args == ["tests"] and os.environ.get("PYTEST_XDIST_WORKER", "gw0")[-1] in "13579":
        parts = [path for path in ROOT.joinpath("tests").iterdir() if path.is_dir() or path.name.startswith("test_")]
        session.config.args = sorted((str(path) for path in parts if path.name != "__pycache__"), reverse=True)


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    """Fail the test that leaves torch with another number of threads, not the one that meets it later."""
    import torch

    yield
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert n_threads == 1, f"this test left torch with {n_threads} threads"


@pytest.fixture(scope="session")
def yeast() -> dict[str, Path]:
    """Paths of the yeast genome and binding sites; skips where they are absent."""
    folder = Path(os.environ.get("SEQSAL_YEAST", ROOT.parent / "shared" / "data" / "yeast"))
    if not (folder / "sacCer3.fa.gz").exists():
        pytest.skip("yeast data are not here (set SEQSAL_YEAST to their folder)")
    return {"genome": folder / "sacCer3.fa.gz", "Reb1": folder / "Reb1.bed", "Abf1": folder / "Abf1.bed"}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device that this machine has."""
    import torch

    return torch.device(request.param)


def pytest_collection_finish() -> None:
    """Look for garbage again, and only in what tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take long, lest one be left at the end; skip those that need a GPU without one."""
    import torch

    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.path))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what a whole run draws, over half of its time, where a test is about something else."""
    monkeypatch.setattr("seqsal.pipeline.run._write_report", lambda folder, *given: (folder / "report.html").touch())
    monkeypatch.setattr(
        "seqsal.pipeline.run._write_browser", lambda folder, *given, **how: (folder / "browser").mkdir(exist_ok=True)
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    import numpy as np

    return np.random.default_rng(20240607)


@pytest.fixture
def example_data() -> Path:
    """The example data of the repository."""
    return ROOT / "example_data"
