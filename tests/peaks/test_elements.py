"""Elements: what is joined, what they say of both signs, and the share of the attribution inside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from track_toys import make_attr, noise, slow_track

import seqsal
from seqsal.errors import StoreError, UsageError
from seqsal.motifs import Motif
from seqsal.peaks import ELEMENT_COLUMNS, deletion_effects, merge_peaks
from seqsal.pipeline.elements import describe_calls
from seqsal.regions import make_regions
from seqsal.sequence.codes import one_hot, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number


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


class Counter(torch.nn.Module):
    """Counts A, and C twice."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X[:, 0].sum(-1) + 2 * X[:, 1].sum(-1)


def placed(rng: np.random.Generator, model: torch.nn.Module, **options: object) -> seqsal.Attributions:
    """Twelve windows of 50 bp on one chromosome, every second of the other strand, that overlap by 20 bp."""
    sequence = rng.integers(0, 4, 12 * 30 + 20).astype(np.uint8)
    start = 30 * np.arange(12)
    regions = make_regions(["chr1"] * 12, start, start + 50, strand=["+", "-"] * 6)
    codes = np.stack([sequence[i : i + 50] for i in start])
    codes[1::2] = reverse_complement(codes[1::2])
    return seqsal.attribute(model, X=one_hot(codes), regions=regions, device="cpu", **options)


def test_deletions_are_replacements_by_shuffles_of_the_window_that_has_the_span(rng: np.random.Generator) -> None:
    attr, model = placed(rng, Counter()), Counter()
    spans = pd.DataFrame({"chrom": "chr1", "start": [3, 40, 100, 45], "end": [12, 55, 160, 60]})
    found = deletion_effects(attr, spans, n_draws=4)
    for i, (row, low, high) in {0: (0, 3, 12), 1: (1, 25, 40), 3: (1, 20, 35)}.items():  # of row 1, the "-" strand
        codes = np.asarray(attr.codes[row])
        shuffles = [
            dinucleotide_shuffle(codes[None], seed=0, draw=int(draw_number("deletion", draw)))[0] for draw in range(4)
        ]
        replaced = np.stack([np.concatenate([codes[:low], one[low:high], codes[high:]]) for one in shuffles])
        change = (model(torch.from_numpy(one_hot(replaced))) - float(attr.prediction[row])).numpy()
        assert found["effect"].iloc[i] == pytest.approx(change.mean(), abs=1e-5)
        assert found["effect_sd"].iloc[i] == pytest.approx(change.std(ddof=1), abs=1e-5)
    assert found.iloc[2].isna().all()  # wider than a window
    alone = deletion_effects(attr, spans.iloc[[3]], n_draws=4)
    np.testing.assert_array_equal(alone.to_numpy(), found.iloc[[3]].to_numpy())
    attr.keep(run=None)
    with pytest.raises(StoreError, match="give it, model="):
        deletion_effects(attr, spans)


def test_calls_are_ranked_by_q_and_effect_and_named_by_the_motif_inside(rng: np.random.Generator) -> None:
    attr = placed(rng, Counter())
    spans = {"chrom": "chr1", "start": [5, 65, 125, 230], "end": [15, 75, 135, 240], "sign": "pos", "summit": 1}
    peaks = pd.DataFrame(spans).assign(
        signal=[4.0, 3.0, 2.0, 1.0], q_value=[0.02, 0.01, 0.01, 0.01], score=1, name=list("wxyz")
    )
    sequence = np.asarray(attr.codes[0])[4:14]
    elements = describe_calls(
        merge_peaks(peaks, 0, attr), attr, motifs=[Motif("site", "", 20 * one_hot(sequence[None])[0])]
    )
    assert elements["name"].tolist() == [f"element_{i + 1}" for i in range(4)]
    assert elements["q_value"].tolist() == [0.01, 0.01, 0.01, 0.02] and elements["peaks"].iloc[3] == "w"
    assert elements["effect"].iloc[:3].abs().is_monotonic_decreasing and elements["effect"].notna().all()
    assert elements["motif"].tolist() == ["", "", "", "site"] and 0 < elements["motif_p"].iloc[3] < 0.01
    described = describe_calls(peaks, attr)
    assert described["name"].tolist() == list("wxyz")
    by_peak = elements.set_index("peaks").loc[list("wxyz"), "effect"]
    np.testing.assert_allclose(described["effect"], by_peak)
    attr.keep(run=None)
    assert describe_calls(peaks, attr)["effect"].isna().all()  # no model at hand: not measured, and no error
