"""Elements: what is joined, what they say of both signs, and the share of the attribution inside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from track_toys import make_attr, noise, slow_track

from seqsal.errors import UsageError
from seqsal.peaks import ELEMENT_COLUMNS, merge_peaks


def peaks_at(rng: np.random.Generator, n: int, span: int) -> pd.DataFrame:
    start = np.sort(rng.choice(span, n, replace=False))
    table = pd.DataFrame({"chrom": rng.choice(["a", "b"], n), "start": start, "end": start + rng.integers(4, 30, n)})
    sign = rng.choice([-1.0, 1.0], n)
    return table.assign(
        signal=sign * rng.uniform(1, 2, n), sign=np.where(sign > 0, "pos", "neg"), summit=2,
        q_value=rng.uniform(0, 0.05, n), score=100, name=[f"p{i}" for i in range(n)],
    )  # fmt: skip


@pytest.mark.parametrize("within_bp", [0, 10, 60])
def test_peaks_are_joined_as_a_slow_search_joins_them(rng: np.random.Generator, within_bp: int) -> None:
    peaks = peaks_at(rng, 40, 1500)
    elements = merge_peaks(peaks.sample(frac=1, random_state=1), within_bp)
    assert list(elements.columns) == list(ELEMENT_COLUMNS)
    groups = [{i} for i in range(40)]
    rows = list(peaks.itertuples())
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            if a.chrom == b.chrom and max(a.start, b.start) - min(a.end, b.end) <= within_bp:
                one, other = (next(g for g in groups if k in g) for k in (i, j))
                if one is not other:
                    groups.remove(other)
                    one |= other
    expected = {frozenset(f"p{i}" for i in group) for group in groups}
    assert {frozenset(names.split(",")) for names in elements["peaks"]} == expected
    for element in elements.itertuples():
        inside = peaks[peaks["name"].isin(element.peaks.split(","))]
        assert (element.start, element.end) == (inside["start"].min(), inside["end"].max())
        assert (element.n_pos, element.n_neg) == ((inside["sign"] == "pos").sum(), (inside["sign"] == "neg").sum())
        assert element.sign == ("both" if inside["sign"].nunique() == 2 else inside["sign"].iloc[0])
        assert element.signal_pos + element.signal_neg == pytest.approx(inside["signal"].sum())
        best = inside.loc[inside["q_value"].idxmin()]
        assert element.q_value == best["q_value"] and element.start + element.summit == best["start"] + 2
    by_name = elements.set_index("name").loc[[f"element_{i + 1}" for i in range(len(elements))]]
    assert by_name["q_value"].is_monotonic_increasing


@pytest.mark.parametrize("chunk_bp", [1 << 20, 90])
def test_the_share_inside_is_that_of_the_averaged_track(rng: np.random.Generator, chunk_bp: int) -> None:
    attr = make_attr(noise(rng, 8, 60), start=[0, 30, 60, 200, 230, 0, 40, 90], chrom=["a"] * 5 + ["b"] * 3)
    table = {"chrom": ["a", "a", "b"], "start": [35, 210, 100], "end": [50, 280, 111], "sign": "pos", "summit": 1}
    peaks = pd.DataFrame(table).assign(signal=1.0, q_value=0.01, score=1, name=["x", "y", "z"])
    elements = merge_peaks(peaks, 0, attr, chunk_bp=chunk_bp)
    track = slow_track(attr)
    for element in elements.itertuples():
        reach = max(60 - (element.end - element.start), 0)
        around = range(element.start - reach // 2, element.end + (reach + 1) // 2)
        total = sum(abs(track.get((element.chrom, i), 0.0)) for i in around)
        inside = sum(abs(track.get((element.chrom, i), 0.0)) for i in range(element.start, element.end))
        assert element.share == pytest.approx(inside / total)


def test_no_peaks_are_no_elements_and_a_negative_distance_is_refused(rng: np.random.Generator) -> None:
    none = merge_peaks(peaks_at(rng, 3, 100).iloc[:0], 5, make_attr(noise(rng, 2, 60)))
    assert len(none) == 0 and list(none.columns) == list(ELEMENT_COLUMNS)
    with pytest.raises(UsageError, match="merge: got -1, expected a distance of 0 bp or more"):
        merge_peaks(none, -1)
