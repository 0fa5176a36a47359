"""Attribution inside known biology: maps whose answer is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from seqsal.auditing.content import mask_of, spans_in_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts import plausibility
from seqsal.auditing.parts.plausibility import PlausibilityResult, audit_plausibility
from seqsal.auditing.parts.plausibility.matching import find_hits
from seqsal.auditing.settings import AuditSettings
from seqsal.io.attributions import Attributions
from seqsal.motifs import Motif, MotifResult
from seqsal.motifs.patterns import SEQLET_COLUMNS, Pattern
from seqsal.regions import make_regions
from seqsal.sequence.codes import encode
from tests.toys import random_codes

LENGTH = 120
WORD = "TTACCCGTGA"
NO_PEAKS = pd.DataFrame({"chrom": [], "start": [], "end": []}).astype({"start": np.int64, "end": np.int64})
QUICK = AuditSettings(n_bootstrap=500)


@pytest.fixture(autouse=True)
def few_placements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plausibility, "N_PERMUTATIONS", 99)


def word_motif(word: str = WORD, name: str = "REB1", sharpness: float = 96) -> Motif:
    return Motif(name, "M1", np.eye(4)[encode(word)].T * sharpness + 1, 100.0)


def attributions(codes: NDArray[np.uint8], track: NDArray[np.float64], strand: str = ".", **attrs: Any) -> Attributions:
    n, length = codes.shape
    starts = np.arange(n) * length
    names = [f"r{i}" for i in range(n)]
    regions = make_regions(["chr1"] * n, starts, starts + length, name=names, strand=[strand] * n)
    return Attributions(regions, codes, track.astype(np.float32), np.zeros(n, dtype=np.float32), attrs=attrs)


def run(codes: NDArray[np.uint8], track: NDArray[np.float64], **given: Any) -> PlausibilityResult:
    """Audit a map without a model; `given` are arguments of the context, the part, or attributes of the file."""
    of_part = {key: given.pop(key) for key in ("annotations", "motif_result") if key in given}
    attrs = given.pop("attrs", {})
    context = {"peaks": NO_PEAKS, "settings": QUICK} | given
    section = audit_plausibility(AuditContext(attributions(codes, track, **attrs), None, **context), **of_part)
    json.dumps(section.to_json(), allow_nan=False)
    return section


def planted(rng: np.random.Generator, n: int = 30) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Random windows with the word once in each, and where."""
    codes = random_codes(rng, n, LENGTH)
    mask = np.zeros(codes.shape, dtype=bool)
    for i, start in enumerate(rng.integers(0, LENGTH - len(WORD), size=n)):
        codes[i, start : start + len(WORD)] = encode(WORD)
        mask[i, start : start + len(WORD)] = True
    return codes, mask


def test_a_map_that_is_the_motif(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    values = run(codes, mask.astype(float), motifs=[word_motif()]).to_json()
    assert values["source"] == "motifs"
    assert values["motif_mass"] == pytest.approx(1)
    assert values["coverage"] == pytest.approx(len(WORD) / LENGTH, abs=0.01)
    assert values["within_region"]["expected"] == pytest.approx(values["coverage"], abs=0.01)
    assert values["expected"] < 0.12
    assert values["ci"][0] > 0.8 and values["ci"][0] <= values["gain"] <= values["ci"][1]
    assert values["enrichment"] == pytest.approx(1 / values["expected"])
    assert values["p_value"] == pytest.approx(1 / 100)
    assert values["positive"]["motif_mass"] == pytest.approx(1)


def test_a_uniform_map_gains_nothing(rng: np.random.Generator) -> None:
    codes, _ = planted(rng)
    values = run(codes, np.ones(codes.shape), motifs=[word_motif()]).to_json()
    for part in (values, values["within_region"], values["positive"]):
        assert part["enrichment"] == pytest.approx(1)
        assert part["gain"] == pytest.approx(0, abs=1e-9)
        assert part["ci"] == pytest.approx([0, 0], abs=1e-9)
        assert part["p_value"] == 1.0


def test_a_taste_for_gc_is_not_a_motif(rng: np.random.Generator) -> None:
    weight = np.array([0.1, 1.0, 1.0, 0.1])
    codes = random_codes(rng, 100, 300)
    map_of_gc = weight[codes] * rng.uniform(0.5, 1.5, size=codes.shape)
    rows = []
    for i in range(len(codes)):
        share = np.convolve(weight[codes[i]], np.ones(12), "valid")
        start = int(rng.choice(np.flatnonzero(share >= np.quantile(share, 0.75))))
        rows.append(("chr1", i * 300 + start, i * 300 + start + 12))
    marked = pd.DataFrame(rows, columns=["chrom", "start", "end"])
    section = run(codes, map_of_gc, annotations=marked)
    values = section.to_json()
    assert values["source"] == "annotations"
    assert values["within_region"]["ci"][0] > 0 and values["within_region"]["enrichment"] > 1.2
    assert values["enrichment"] == pytest.approx(1, abs=0.05)
    assert values["ci"][0] <= 0 <= values["ci"][1]
    assert any("preference for G and C" in line for line in section.warnings)


def test_intervals_of_random_maps_miss_chance_as_rarely_as_they_say(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, mask = planted(rng, 40)
    marked = pd.DataFrame({"chrom": "chr1", "start": np.flatnonzero(np.diff(mask.ravel().astype(int)) == 1) + 1})
    marked["end"] = marked["start"] + len(WORD)
    missed, significant = 0, 0
    monkeypatch.setattr(plausibility, "N_PERMUTATIONS", 39)
    for seed in range(100):
        track = np.random.default_rng(seed).exponential(size=codes.shape)
        values = run(codes, track, annotations=marked, settings=AuditSettings(n_bootstrap=300)).to_json()
        missed += not values["ci"][0] <= 0 <= values["ci"][1]
        significant += values["p_value"] <= 0.05
    assert missed <= 12
    assert significant <= 12


def test_a_map_that_avoids_the_motif_is_told(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    section = run(codes, 1.0 - mask, motifs=[word_motif()])
    assert section.to_json()["ci"][1] < 0
    assert section.to_json()["motif_mass"] == pytest.approx(0)
    assert any("avoids known biology" in line for line in section.warnings)


def test_peaks_inside_hits(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    row, start = np.nonzero(np.diff(np.pad(mask, ((0, 0), (1, 0))).astype(int), axis=1) == 1)
    inside = pd.DataFrame({"chrom": "chr1", "start": row * LENGTH + start, "end": row * LENGTH + start + 10})
    values = run(codes, mask.astype(float), motifs=[word_motif()], peaks=inside).to_json()["peaks"]
    assert values["n_peaks"] == len(codes) and values["share_inside"] == 1.0
    assert values["expected"] < 0.25 and values["gain_ci"][0] > 0.5 and values["p_value"] == pytest.approx(0.01)
    beyond = pd.DataFrame({"chrom": ["chr1"], "start": [LENGTH - 5], "end": [LENGTH + 5]})
    section = run(codes, mask.astype(float), motifs=[word_motif()], peaks=beyond)
    assert section.to_json()["peaks"] is None
    assert any("no peak lies in the regions" in line for line in section.untested)


def test_strands_that_carry_alike_and_not(rng: np.random.Generator) -> None:
    codes, mask = planted(rng, 40)
    flipped = codes.copy()
    flipped[:20] = 3 - codes[:20, ::-1]
    where = mask.copy()
    where[:20] = mask[:20, ::-1]
    track = where * rng.normal(1, 0.1, size=where.shape)
    strand = run(flipped, track, motifs=[word_motif()]).to_json()["strand"]
    assert strand["motif"] == "REB1" and {strand["n_forward"], strand["n_reverse"]} <= set(range(19, 24))
    assert strand["p_value"] > 0.01
    section = run(flipped, track * np.where(np.arange(40) < 20, 0.2, 1.0)[:, None], motifs=[word_motif()])
    strand = section.to_json()["strand"]
    assert strand["mean_forward"] > 3 * strand["mean_reverse"] and strand["p_value"] < 1e-6 and strand["auc"] > 0.95
    assert any("average over both strands" in line for line in section.warnings)


def test_motifs_are_listed_by_what_they_hold(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    table = run(codes, mask * 2.0, motifs=[word_motif("AAAAAAAA", "polyA"), word_motif()]).tables["motifs"]
    assert table["motif"].iloc[0] == "REB1"
    first = table.iloc[0]
    assert first["motif_mass"] == pytest.approx(1) and first["n_regions"] == len(codes)
    assert first["mean_attribution"] == pytest.approx(2 * len(WORD), rel=0.1)
    assert first["gain"] == pytest.approx(first["motif_mass"] - first["expected"])


def test_the_threshold_bounds_what_hits_cover(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, 200, 0.05)
    motifs = [word_motif("".join(rng.choice(list("ACGT"), size=6 + i % 5)), f"m{i}", 5 + i % 7) for i in range(150)]
    known = codes != 4
    free, bound = find_hits(codes, motifs, 2e-3, 1.0), find_hits(codes, motifs, 2e-3, 0.25)
    assert free.threshold == 2e-3 and free.mask[known].mean() > 0.3
    assert bound.threshold < 2e-3 and 0.05 < bound.mask[known].mean() <= 0.25
    assert (bound.table["p_value"] <= bound.threshold).all()
    covered = np.zeros(codes.shape, dtype=bool)
    for hit in bound.table.itertuples():
        covered[hit.row, hit.start : hit.end] = True
    assert np.array_equal(covered, bound.mask)
    least = find_hits(codes, motifs, 2e-3, 1e-6)  # no threshold leaves so little: the smallest p-value is taken
    assert len(least.table) and least.threshold == least.table["p_value"].max() == free.table["p_value"].min()


def test_no_hit_is_rarer_than_its_word(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 20, 500)
    motifs = [word_motif("".join(rng.choice(list("ACGT"), size=6)), f"m{i}", 5 + i) for i in range(40)]
    assert len(find_hits(codes, motifs, 4.0**-6 * 1.01, 1.0).table) > 0
    assert len(find_hits(codes, motifs, 4.0**-6 * 0.99, 1.0).table) == 0


@pytest.mark.parametrize("strand", ["+", "-"])
def test_annotations_are_lifted_into_windows(rng: np.random.Generator, strand: str) -> None:
    windows = attributions(random_codes(rng, 3, 50), np.zeros((3, 50)), strand).regions
    places = pd.DataFrame(
        {"chrom": ["chr1", "chr1", "chr2", "chr1"], "start": [45, 100, 0, 148], "end": [60, 110, 9, 500]}
    )
    spans, which = spans_in_windows(windows, places)
    assert which.tolist() == [0, 0, 1, 3]
    assert spans.row.tolist() == [0, 1, 2, 2]
    found = mask_of(spans, (3, 50)).ravel()
    expected = np.zeros(150, dtype=bool)
    for start, end in ((45, 60), (100, 110), (148, 150)):
        expected[start:end] = True
    if strand == "-":
        expected = expected.reshape(3, 50)[:, ::-1].ravel()
    assert np.array_equal(found, expected)


def test_long_annotations_reach_over_short_ones(rng: np.random.Generator) -> None:
    windows = attributions(random_codes(rng, 2, 50), np.zeros((2, 50))).regions
    places = pd.DataFrame({"chrom": "chr1", "start": [0, 5, 60], "end": [100, 10, 70]})
    spans, which = spans_in_windows(windows, places)
    assert list(zip(spans.row.tolist(), which.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 2)]


def test_both_motifs_and_annotations(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    marked = pd.DataFrame({"chrom": ["chr1"], "start": [0], "end": [LENGTH // 2]})
    values = run(codes, mask.astype(float), motifs=[word_motif()], annotations=marked).to_json()
    assert values["source"] == "motifs" and values["motif_mass"] == pytest.approx(1)
    assert 0 <= values["annotations"]["motif_mass"] < 0.1


def pattern(name: str, n: int, q_value: float) -> Pattern:
    seqlets = pd.DataFrame({key: pd.Series([0] * n).astype(kind) for key, kind in SEQLET_COLUMNS.items()})
    match = {"match": "REB1", "accession": "M1", "p_value": q_value, "q_value": q_value}
    return Pattern(name, "pos", "modisco", word_motif(), np.zeros((4, len(WORD))), seqlets, match)


def test_patterns_found(rng: np.random.Generator) -> None:
    result = MotifResult((pattern("a", 30, 1e-8), pattern("b", 10, 0.5)), {"pos": 40}, "db")
    codes, mask = planted(rng, 4)
    section = run(codes, mask.astype(float), motif_result=result)
    found = section.to_json()["patterns"]
    assert found["n_patterns"] == 2 and found["n_named"] == 1 and found["named_share"] == 0.75
    assert found["median_information"] == pytest.approx(word_motif().information.sum())
    assert [each["match"] for each in found["list"]] == ["REB1", None]
    empty = run(codes, mask.astype(float), motif_result=MotifResult((), {"pos": 0}, "db")).to_json()["patterns"]
    assert empty["n_patterns"] == 0 and empty["named_share"] is None and empty["median_information"] is None


def test_nothing_known_is_not_guessed(rng: np.random.Generator) -> None:
    codes, mask = planted(rng, 3)
    section = run(codes, mask.astype(float))
    assert section.to_json()["motif_mass"] is section.to_json()["ci"] is section.to_json()["source"] is None
    assert any("neither known motifs nor annotations" in line for line in section.untested)


def test_a_database_without_hits(rng: np.random.Generator) -> None:
    codes = np.zeros((3, LENGTH), dtype=np.uint8)
    section = run(codes, np.ones(codes.shape), motifs=[word_motif()])
    assert section.to_json()["motif_mass"] is None
    assert any("none of the 1 has a hit" in line for line in section.untested)


def test_annotations_elsewhere(rng: np.random.Generator) -> None:
    codes, mask = planted(rng, 3)
    marked = pd.DataFrame({"chrom": ["1"], "start": [0], "end": [50]})
    section = run(codes, mask.astype(float), annotations=marked)
    assert section.to_json()["annotations"] is None
    assert any("are the chromosomes named alike" in line for line in section.untested)


def test_one_region_has_no_interval(rng: np.random.Generator) -> None:
    codes, mask = planted(rng, 1)
    section = run(codes, mask.astype(float), motifs=[word_motif()])
    assert section.to_json()["motif_mass"] == pytest.approx(1) and section.to_json()["ci"] is None
    assert any("only one region" in line for line in section.untested)


@pytest.mark.parametrize("what", ["zero", "unknown", "unsigned", "negative"])
def test_odd_maps(rng: np.random.Generator, what: str) -> None:
    codes, mask = planted(rng, 5)
    track, attrs = mask.astype(float), {}
    if what == "zero":
        track = track * 0
    elif what == "unknown":
        codes = np.full_like(codes, 4)
    elif what == "unsigned":
        attrs = {"signed": False}
    else:
        track = -track
    section = run(codes, track, motifs=[word_motif()], attrs=attrs)
    if what in ("zero", "unknown"):
        assert section.to_json()["motif_mass"] is None and section.untested
    else:
        assert section.to_json()["motif_mass"] == pytest.approx(1) and section.to_json()["positive"] is None


def test_few_bases_are_scanned_where_windows_are_long(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, mask = planted(rng, 10)
    settings = AuditSettings(n_bootstrap=10)
    monkeypatch.setattr(plausibility, "N_SCAN_BP", 3 * LENGTH)
    section = run(codes, mask.astype(float), motifs=[word_motif()], settings=settings)
    assert section.to_json()["n_regions"] == 3
    assert list(section.tables["plausibility_regions"].columns[:5]) == ["row", "chrom", "start", "end", "name"]


def test_the_same_twice(rng: np.random.Generator) -> None:
    codes, mask = planted(rng)
    track = mask + rng.normal(size=mask.shape)
    one, two = (run(codes, track, motifs=[word_motif()]) for _ in range(2))
    assert json.dumps(one.to_json()) == json.dumps(two.to_json())
    for name in one.tables:
        pd.testing.assert_frame_equal(one.tables[name], two.tables[name])
