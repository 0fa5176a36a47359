"""Instances of patterns in all windows against planted ones, and TF-MoDISco's file, read by its own programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import call, refused
from motif_toys import CTCF, REB1, Planted, plant

from seqsal.errors import MotifError, SeqsalError
from seqsal.motifs import (
    MotifResult,
    call_hits,
    discover_motifs,
    pattern_usage,
    read_motifs,
    read_patterns,
    write_modisco_h5,
)
from seqsal.motifs.hits import _projections
from seqsal.sequence.codes import encode, one_hot


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant(np.random.default_rng(3), {REB1: (60, 1.0), CTCF: (50, -0.8)})


@pytest.fixture(scope="module")
def found(planted: Planted) -> MotifResult:
    return discover_motifs(planted.attr, planted.peaks, algorithm="kmers")


def test_planted_instances_are_found_and_no_others(planted: Planted, found: MotifResult) -> None:
    assert len(found) == 2
    hits = call_hits(planted.attr, found.patterns, algorithm="scan")
    for pattern in found.patterns:
        own, word = hits[hits["pattern"] == pattern.name], REB1 if pattern.sign == "pos" else CTCF
        true = planted.sites[planted.sites["motif"] == word]
        middle = ((own["start"] + own["end"]) / 2).to_numpy()
        off = np.abs(middle[:, None] - ((true["start"] + true["end"]) / 2).to_numpy()).min(axis=1)
        near = np.abs(middle[:, None] - ((true["start"] + true["end"]) / 2).to_numpy()).min(axis=0)
        assert (near <= 2).mean() >= 0.98 and (off > 2).mean() <= 0.06
        assert np.sign(own["contribution"][off <= 2]).eq(1 if pattern.sign == "pos" else -1).all()
    table = pattern_usage({"0": hits}, len(planted.attr))
    assert set(table["pattern"]) == {pattern.name for pattern in found.patterns} and table["n_hits"].min() >= 49


def test_projections_equal_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    codes, track, cwm = rng.integers(0, 5, (2, 30), dtype=np.uint8), rng.normal(size=(2, 30)), rng.normal(size=(4, 6))
    projection, similarity = _projections(codes, np.where(codes == 4, 0, track), cwm)
    for row in range(2):
        Z = one_hot(codes[row]) * track[row]
        for at in range(25):
            there = Z[:, at : at + 6]
            assert np.isclose(projection[row, at], (there * cwm).sum())
            assert np.isclose(similarity[row, at], (there * cwm).sum() / np.linalg.norm(there))


def test_maps_of_noise_have_no_hits(found: MotifResult) -> None:
    noise = plant(np.random.default_rng(9), {"ACGT": (100, 0.0)})
    assert sum(len(call_hits(noise.attr, [pattern], algorithm="scan")) for pattern in found.patterns) <= 2


def test_modisco_file_is_read_by_modisco_and_by_us(planted: Planted, found: MotifResult, tmp_path: Path) -> None:
    from modiscolite.io import write_meme_from_h5
    from modiscolite.report import create_modisco_logos
    from modiscolite.util import MemeDataType

    path = tmp_path / "motifs.h5"
    write_modisco_h5(found.patterns, path, planted.attr)
    with h5py.File(path) as file:
        for pattern in found.patterns:
            group = file[f"{pattern.sign}_patterns/pattern_0"]
            seqlets = {name: group[f"seqlets/{name}"][...] for name in group["seqlets"]}
            assert int(seqlets["n_seqlets"][0]) == pattern.n_seqlets
            np.testing.assert_allclose(seqlets["sequence"].mean(axis=0), group["sequence"][...], atol=1e-6)
            np.testing.assert_allclose(seqlets["contrib_scores"].mean(axis=0), group["contrib_scores"][...], atol=1e-5)
            scores = seqlets["hypothetical_contribs"].mean(axis=0)
            np.testing.assert_allclose(scores, group["hypothetical_contribs"][...], atol=1e-5)
            row, strand = int(seqlets["example_idx"][0]), pattern.seqlets["strand"].iloc[0]
            flank = 30 - pattern.motif.width
            left = flank // 2 if strand == "+" else flank - flank // 2
            start = planted.attr.regions["start"].iloc[row] + seqlets["start"][0]
            assert start == pattern.seqlets["start"].iloc[0] - left and group["sequence"].shape == (30, 4)
            inner = seqlets["sequence"][0].T[:, flank // 2 : flank // 2 + pattern.motif.width]
            np.testing.assert_array_equal(inner, one_hot(encode(pattern.seqlets["sequence"].iloc[0])))
    back = read_patterns(path)
    assert [one.name for one in back] == [one.name for one in found.patterns]
    for ours, theirs in zip(found.patterns, back, strict=True):
        np.testing.assert_allclose(ours.cwm, theirs.cwm, atol=1e-6)
    assert [motif.consensus for motif in read_motifs(path)] == [one.motif.consensus for one in found.patterns]
    write_meme_from_h5(path, MemeDataType.PFM, tmp_path / "theirs.meme", True)
    assert len(read_motifs(tmp_path / "theirs.meme")) == 2
    (tmp_path / "logos").mkdir()
    create_modisco_logos(path, tmp_path / "logos", 0.2, ["pos_patterns", "neg_patterns"])
    assert len(list((tmp_path / "logos").iterdir())) == 4


def test_command_and_what_it_refuses(tmp_path: Path, found: MotifResult, planted: Planted) -> None:
    write_modisco_h5(found.patterns, tmp_path / "motifs.h5", planted.attr)
    refused(
        call("hits", tmp_path / "a.h5", "--motifs", tmp_path / "no.h5", "--out", tmp_path / "h.tsv"), "no.h5", "no such"
    )
    (tmp_path / "bad.h5").write_bytes(b"x")
    with pytest.raises(MotifError, match=r"bad\.h5: cannot be read as patterns"):
        read_patterns(tmp_path / "bad.h5")
    for attr, given, words in (
        (replace(planted.attr, controls=None), found.patterns, "have no controls"),
        (planted.attr, (), "got none"),
        (planted.attr, [replace(found.patterns[0], cwm=np.zeros((4, 8)))], "contributes nothing"),
        (planted.attr, [replace(found.patterns[0], cwm=np.ones((4, 900)))], "longer than the windows"),
    ):
        with pytest.raises(SeqsalError, match=words):
            call_hits(attr, given, algorithm="scan")
