"""Contexts of peaks against the picture of the same place, which averages one window at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import random_codes

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.motifs.seqlets import cut_seqlets, peak_signs
from seqsal.plot.locus import read_locus
from seqsal.regions import Region, make_regions
from seqsal.sequence.codes import N_CODE, one_hot

CONTEXT = 31


def overlapping(rng: np.random.Generator, starts: list[int], strands: list[str], length: int = 40) -> Attributions:
    """Windows of one genome, so that codes agree where they overlap, with scores of their own."""
    genome = random_codes(rng, 1, 400, 0.02)[0]
    padded = np.concatenate([np.full(50, N_CODE, np.uint8), genome, np.full(50, N_CODE, np.uint8)])
    codes = np.stack([padded[start + 50 : start + 50 + length] for start in starts])
    for row, strand in enumerate(strands):
        if strand == "-":
            turned = codes[row, ::-1]
            codes[row] = np.where(turned < N_CODE, 3 - turned, N_CODE)
    scores = rng.normal(size=(len(starts), 4, length)).astype(np.float32)
    return Attributions(
        regions=make_regions(["chr1"] * len(starts), starts, np.array(starts) + length, strand=strands),
        codes=codes,
        track=(scores * one_hot(codes)).sum(axis=1),
        prediction=np.zeros(len(starts), np.float32),
        hypothetical=scores,
    )


def peaks_at(positions: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"chrom": "chr1", "start": np.array(positions) - 3, "end": np.array(positions) + 4, "summit": 3,
         "name": [f"pos_{i}" for i in range(len(positions))], "signal": 1.0, "sign": "pos"}
    )  # fmt: skip


@settings(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(-15, 330), min_size=1, max_size=6),
    st.lists(st.sampled_from("+-."), min_size=6, max_size=6),
    st.integers(1, 10_000),
)
def test_contexts_are_the_averaged_windows(seed: int, starts: list[int], strands: list[str], chunk_bp: int) -> None:
    rng = np.random.default_rng(seed)
    attr = overlapping(rng, starts, strands[: len(starts)])
    summits = [start + 20 for start in starts]
    seqlets = cut_seqlets(attr, peaks_at(summits), context_bp=CONTEXT, chunk_bp=chunk_bp)
    assert (seqlets.table["name"] == [f"pos_{i}" for i in range(len(starts))]).all()
    for i, summit in enumerate(summits):
        first = summit - CONTEXT // 2
        assert (seqlets.table["start"][i], seqlets.table["end"][i]) == (first, first + CONTEXT)
        locus = read_locus(attr, Region("chr1", first, first + CONTEXT), hypothetical=True)
        assert locus.hypothetical is not None
        here = slice(locus.start - first, locus.end - first)
        outside = np.ones(CONTEXT, bool)
        outside[here] = False
        known = ~np.isnan(locus.track)
        np.testing.assert_array_equal(seqlets.codes[i, here], locus.codes)
        np.testing.assert_allclose(seqlets.contributions[i, here][known], locus.track[known], atol=1e-6)
        np.testing.assert_allclose(seqlets.hypothetical[i][:, here][:, known], locus.hypothetical[:, known], atol=1e-6)
        assert (seqlets.codes[i, outside] == N_CODE).all()
        assert not seqlets.contributions[i, outside].any() and not seqlets.hypothetical[i][:, outside].any()


def test_without_hypothetical_scores_the_track_stands_in(rng: np.random.Generator) -> None:
    attr = replace(overlapping(rng, [10, 100], ["+", "-"]), hypothetical=None)
    seqlets = cut_seqlets(attr, peaks_at([30, 120]), context_bp=CONTEXT)
    assert seqlets.is_approximate
    expected = one_hot(seqlets.codes) * seqlets.contributions[:, None]
    np.testing.assert_array_equal(seqlets.hypothetical, expected)


def test_a_context_does_not_reach_into_the_next_chromosome(rng: np.random.Generator) -> None:
    attr = overlapping(rng, [0, 0], ["+", "+"])
    attr = replace(attr, regions=attr.regions.assign(chrom=["chr1", "chr2"]))
    seqlets = cut_seqlets(attr, peaks_at([35]), context_bp=CONTEXT)
    assert (seqlets.codes[0, 40 - seqlets.table["start"][0] :] == N_CODE).all()


def test_strongest_peaks_come_first_and_are_kept(rng: np.random.Generator) -> None:
    attr = overlapping(rng, [0, 50, 100, 150], list("++++"))
    peaks = peaks_at([20, 70, 120, 170]).assign(signal=[1.0, -4.0, 3.0, -2.0], sign=["pos", "neg", "pos", "neg"])
    seqlets = cut_seqlets(attr, peaks, max_seqlets=1)
    assert list(seqlets.table["name"]) == ["pos_1", "pos_2"]
    assert list(cut_seqlets(attr, peaks).of_sign("neg").table["name"]) == ["pos_1", "pos_3"]


def test_signs_from_the_signal_when_a_file_has_no_sign() -> None:
    peaks = peaks_at([10, 20]).assign(signal=[-1.0, 2.0]).drop(columns="sign")
    assert list(peak_signs(peaks)) == ["neg", "pos"]
    with pytest.raises(UsageError, match="no column sign or signal"):
        peak_signs(peaks.drop(columns="signal"))


def test_a_summit_of_minus_one_is_the_middle(rng: np.random.Generator) -> None:
    attr = overlapping(rng, [0], ["+"])
    one, other = (cut_seqlets(attr, peaks_at([20]).assign(summit=summit)) for summit in (3, -1))
    np.testing.assert_array_equal(one.codes, other.codes)


def test_peaks_of_other_attributions_are_refused(rng: np.random.Generator) -> None:
    attr = overlapping(rng, [0, 300], ["+", "+"])
    with pytest.raises(RegionError, match="no window covers the summit of pos_1 at chr1:150-151 and 0 more"):
        cut_seqlets(attr, peaks_at([20, 150]))
    with pytest.raises(RegionError, match="chr7"):
        cut_seqlets(attr, peaks_at([20]).assign(chrom="chr7"))
    with pytest.raises(UsageError, match="no column summit"):
        cut_seqlets(attr, peaks_at([20]).drop(columns="summit"))
