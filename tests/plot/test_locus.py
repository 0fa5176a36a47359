from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from track_toys import make_attr, slow_track

from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.plot.locus import read_locus, window_locus
from seqsal.regions import Region
from seqsal.sequence.codes import N_CODE, decode, reverse_complement


@pytest.fixture
def genome(rng: np.random.Generator) -> np.ndarray:
    """Codes of a chromosome of 300 bp."""
    return rng.integers(0, 4, size=300).astype(np.uint8)


@pytest.fixture
def attr(rng: np.random.Generator, genome: np.ndarray) -> Attributions:
    """Windows of 40 bp on both strands, overlapping at the start, with a hole between 130 and 200."""
    starts = np.array([10, 30, 45, 90, 200])
    strands = np.array(["+", "-", ".", "-", "-"])
    codes = np.stack([genome[s : s + 40] for s in starts])
    codes[2, 5:8] = N_CODE
    codes = np.where((strands == "-")[:, None], reverse_complement(codes), codes)
    made = make_attr(rng.normal(size=(5, 40)), start=starts, strand=strands, codes=codes)
    return replace(made, hypothetical=rng.normal(size=(5, 4, 40)).astype(np.float32))


def test_equals_a_slow_average_over_windows(attr: Attributions, genome: np.ndarray) -> None:
    locus = read_locus(attr, "chr1:0-300")
    expected = slow_track(attr)
    assert (locus.chrom, locus.start, locus.end, locus.n_windows) == ("chr1", 10, 240, 5)
    for offset, value in enumerate(locus.track):
        key = ("chr1", locus.start + offset)
        if key in expected:
            assert value == pytest.approx(expected[key], rel=1e-6)
            assert locus.codes[offset] == genome[locus.start + offset]
        else:
            assert np.isnan(value)
            assert locus.codes[offset] == N_CODE


def test_is_cut_down_to_the_data(attr: Attributions) -> None:
    locus = read_locus(attr, Region("chr1", 195, 205))
    assert (locus.start, locus.end, len(locus.track)) == (200, 205, 5)


def test_reverse_complement_windows_read_the_same(rng: np.random.Generator, genome: np.ndarray) -> None:
    track, scores = rng.normal(size=(1, 40)), rng.normal(size=(1, 4, 40)).astype(np.float32)
    codes = genome[None, 60:100]
    forward = replace(make_attr(track, start=[60], codes=codes, strand=["+"]), hypothetical=scores)
    turned = make_attr(track[:, ::-1], start=[60], codes=reverse_complement(codes), strand=["-"])
    turned = replace(turned, hypothetical=scores[:, ::-1, ::-1])
    one, other = (read_locus(a, "chr1:70-90", hypothetical=True) for a in (forward, turned))
    assert decode(one.codes) == decode(other.codes) == decode(genome[70:90])
    np.testing.assert_array_equal(one.track, other.track)
    assert one.hypothetical is not None
    np.testing.assert_array_equal(one.hypothetical, other.hypothetical)
    np.testing.assert_allclose(one.hypothetical, scores[0][:, 10:30])


def test_one_window_alone_is_turned_but_not_averaged(attr: Attributions) -> None:
    locus = window_locus(attr, 1)
    assert (locus.start, locus.end, locus.n_windows) == (30, 70, 1)
    np.testing.assert_allclose(locus.track, attr.track[1][::-1])


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("chr1:140-150", r"no window .* covers it; the nearest window is chr1:90-130 \(10 bp away\)"),
        ("chr1:190-199", r"the nearest window is chr1:200-240 \(1 bp away\)"),
        ("chr2:1-9", "none is on chr2; windows are on chr1"),
        ("chr1:50-53", "only unknown bases"),
        ("chr1:0-100000000000", "at most 100 can be drawn"),
    ],
)
def test_places_without_data_are_named(attr: Attributions, region: str, message: str) -> None:
    if "unknown" in message:
        attr = make_attr(np.zeros((1, 40)), start=[45], codes=np.full((1, 40), N_CODE))
    with pytest.raises(RegionError, match=message):
        read_locus(attr, region, max_bp=100)


def test_hypothetical_scores_must_have_been_kept(attr: Attributions) -> None:
    with pytest.raises(UsageError, match="hypothetical: these attributions hold only the track"):
        read_locus(replace(attr, hypothetical=None), "chr1:10-20", hypothetical=True)
