from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from track_toys import make_attr

from seqsal.report import ReportInputs, sections

PEAK_COLUMNS = ("chrom", "start", "end", "name", "score", "strand", "signal", "p_value", "q_value", "summit", "sign")


def make_peaks(rows: list[tuple[str, int, int, str, float]]) -> pd.DataFrame:
    """Peaks from (chrom, start, end, name, signal)."""
    table = [
        (chrom, start, end, name, 500, ".", signal, 1e-4, 1e-3, (end - start) // 2, name[:3])
        for chrom, start, end, name, signal in rows
    ]
    return pd.DataFrame(table, columns=list(PEAK_COLUMNS))


@pytest.fixture(autouse=True)
def no_average_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are written often here, and two pictures more take as long as the rest; test_comparison.py draws them."""
    monkeypatch.setattr(sections, "MIN_AVERAGED", 1_000)


@pytest.fixture
def make_inputs(rng: np.random.Generator) -> Callable[..., ReportInputs]:
    """A maker of report inputs: `n` windows of 80 bp, 100 bp apart, with a motif in the middle of each."""

    def make(
        n: int = 30, peaks: pd.DataFrame | None = None, names: list[str] | None = None, **more: Any
    ) -> ReportInputs:
        track = rng.normal(0, 0.02, size=(n, 80))
        track[:, 35:45] += 1.0
        attr = make_attr(track, start=np.arange(n) * 100, codes=rng.integers(0, 4, size=(n, 80)))
        attr = replace(
            attr,
            regions=attr.regions.assign(name=names or [f"peak {i}" for i in range(n)]),
            prediction=np.arange(n, dtype=np.float32) - n / 2,
            attrs={"method": "gradient_x_input", "output_space": "logit", "model": {"file": "a/b/ctcf.safetensors"}},
        )
        called = [("chr1", i * 100 + 35, i * 100 + 45, f"pos_{i + 1}", 10.0 - i * 0.01) for i in range(n - 1)]
        called.append(("chr1", n * 100 - 40, n * 100 - 35, "neg_1", -2.0))
        scores = attr.regions.assign(prediction=np.asarray(attr.prediction))
        more = {"n_top": 2} | more  # two pictures test what ten do
        return ReportInputs(attr, scores, make_peaks(called) if peaks is None else peaks, **more)

    return make
