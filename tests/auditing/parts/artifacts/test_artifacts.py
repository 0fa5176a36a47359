"""The whole search, on models that read a word: what is a shortcut, what is only there, and what is biology."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from audit_cases import Ignores, context_of
from numpy.typing import NDArray
from torch import nn
from toys import random_codes

from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.artifacts import Artifact, ArtifactsResult, audit_artifacts, effects
from seqsal.auditing.parts.artifacts.biology import all_motifs
from seqsal.sequence.codes import encode, one_hot, reverse_complement

LENGTH = 120
ADAPTER = "TGGAATTCTCGGGTGCCAAGG"
NAME = "Illumina small RNA 3'"


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "N_NEUTRAL", 24)
    monkeypatch.setattr(effects, "N_REMOVED", 16)


class Reads(nn.Module):
    """f(X) = effect · (bases of the best match of a word, on either strand, beyond 3/4 of it) + some of each base."""

    def __init__(self, word: str, effect: float = 1.0) -> None:
        super().__init__()
        both = np.stack([one_hot(encode(word)), one_hot(reverse_complement(encode(word)))])
        self.kernel = nn.Parameter(torch.from_numpy(both))
        self.effect = effect

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        match = nn.functional.conv1d(X, self.kernel).amax(dim=(1, 2))
        return self.effect * torch.relu(match - 0.75 * self.kernel.shape[2]) + 0.01 * X[:, 2].sum(dim=1)


def with_word(
    rng: np.random.Generator, word: str, n: int = 200, share: float = 0.5, at: int | None = None
) -> NDArray[np.uint8]:
    codes = random_codes(rng, n, LENGTH)
    for row in np.flatnonzero(rng.random(n) < share):
        start = int(rng.integers(0, LENGTH - len(word) + 1)) if at is None else at
        codes[row, start : start + len(word)] = encode(word)
    return codes


def audited(module: nn.Module, codes: NDArray[np.uint8], **given: Any) -> ArtifactsResult:
    return audit_artifacts(context_of(module, codes, **given))


def named(section: ArtifactsResult, name: str) -> dict[str, Any]:
    return next(value for value in section.to_json() if value["name"] == name)


def shortcuts(section: ArtifactsResult) -> list[str]:
    return [value["name"] for value in section.to_json() if value["verdict"] == "shortcut"]


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(("part", "at"), [((0, 21), None), ((3, 15), 40), ((6, 15), None), ((0, 8), 100)])
def test_an_adapter_that_the_model_reads_is_a_shortcut(
    rng: np.random.Generator, part: tuple[int, int], at: int | None, classes: bool
) -> None:
    word = ADAPTER[slice(*part)]
    codes, positives = (with_word(rng, word, at=at) for _ in range(2))
    given = {"positives": positives, "negatives": random_codes(rng, 200, LENGTH)} if classes else {}
    section = audited(Reads(word), codes, **given)
    found = named(section, NAME)
    assert shortcuts(section) == [NAME]
    assert (found["sequence"], found["strand"]) == (word, "+")
    assert found["marginal_effect"] > 0.5 and found["ablation_effect"] > 0.5
    assert found["position"]["fixed"] == (at is not None)
    assert found["enriched_in"] == ("positives" if classes else "regions")
    assert found["enrichment"] > 5 and found["attribution_share"] > 0.05
    assert 0.4 < found["share"] < 0.65


def test_an_adapter_of_the_negatives_is_a_shortcut_too(rng: np.random.Generator) -> None:
    section = audited(
        Reads(ADAPTER, -1.0),
        random_codes(rng, 150, LENGTH),
        positives=random_codes(rng, 200, LENGTH),
        negatives=with_word(rng, ADAPTER),
    )
    found = named(section, NAME)
    assert shortcuts(section) == [NAME]
    assert found["enriched_in"] == "negatives" and found["marginal_effect"] < 0
    assert found["n_regions"] == 0 and found["ablation_effect"] is None


def test_an_adapter_that_both_classes_have_is_only_there(rng: np.random.Generator) -> None:
    codes, positives, negatives = (with_word(rng, ADAPTER) for _ in range(3))
    section = audited(Reads(ADAPTER), codes, positives=positives, negatives=negatives)
    assert named(section, NAME)["verdict"] == "present"
    assert not shortcuts(section)


def test_an_adapter_that_the_model_does_not_read_is_only_there(rng: np.random.Generator) -> None:
    section = audited(Reads("CACGTGACCTGACGT"), with_word(rng, ADAPTER))
    assert named(section, NAME)["verdict"] == "present"
    assert not shortcuts(section)


def test_members_that_share_a_part_do_not_share_the_copies(rng: np.random.Generator) -> None:
    word = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"
    section = audited(Reads(word), with_word(rng, word))
    assert shortcuts(section) == ["Illumina TruSeq read 1"]
    assert named(section, "Illumina TruSeq read 2")["verdict"] == "clean"


def test_a_shared_part_names_the_family(rng: np.random.Generator) -> None:
    section = audited(Reads("AGATCGGAAGAGC"), with_word(rng, "AGATCGGAAGAGC"))
    (name,) = shortcuts(section)
    assert {name, *named(section, name)["family"]} >= {"Illumina TruSeq read 1", "Illumina TruSeq read 2"}


@pytest.mark.parametrize("accession", ["MA0139.2", "MA0506.3", "MA0018.5", "MA0363.3"])
def test_sites_of_proteins_are_no_shortcuts(rng: np.random.Generator, accession: str) -> None:
    motif = next(motif for motif in all_motifs() if motif.accession == accession)
    codes = random_codes(rng, 200, LENGTH)
    for row in codes:
        at = int(rng.integers(0, LENGTH - motif.width))
        row[at : at + motif.width] = [rng.choice(4, p=column / column.sum()) for column in motif.ppm.T]
    consensus = "".join("ACGT"[base] for base in motif.ppm.argmax(axis=0))
    own = [Artifact("piece", "user", consensus[:9] if len(consensus) > 9 else consensus[:8], "test")]
    section = audited(Reads(consensus), codes, artifacts=own)
    assert not shortcuts(section)
    assert named(section, "piece")["verdict"] == "clean"


@pytest.mark.parametrize(("at", "verdict"), [(90, "shortcut"), (None, "present")])
def test_a_tail_is_a_shortcut_only_at_one_place(rng: np.random.Generator, at: int | None, verdict: str) -> None:
    section = audited(Reads("A" * 22), with_word(rng, "A" * 22, at=at))
    assert named(section, "poly-A / poly-T")["verdict"] == verdict


def test_hits_are_lifted_to_the_genome_with_their_strand(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 60, LENGTH)
    codes[:30, 10:31] = encode(ADAPTER)
    codes[30:, 50:71] = reverse_complement(encode(ADAPTER))
    context = context_of(Reads(ADAPTER), codes)
    context.attr.regions["strand"] = ["+", "-"] * 30
    hits = audit_artifacts(context).tables["hits"].sort_values("row").reset_index(drop=True)
    windows = context.attr.regions
    assert len(hits) == 60 and set(hits["verdict"]) == {"shortcut"}
    first = np.where(np.arange(60) < 30, 10, 50)
    forward = windows["start"].to_numpy() + np.where(windows["strand"] == "-", LENGTH - first - 21, first)
    np.testing.assert_array_equal(hits["start"], forward)
    np.testing.assert_array_equal(hits["end"], forward + 21)
    same = (np.arange(60) < 30) == (windows["strand"].to_numpy() == "+")
    np.testing.assert_array_equal(hits["strand"], np.where(same, "+", "-"))


def test_without_classes_or_a_model_it_says_what_is_not_tested(rng: np.random.Generator) -> None:
    context = context_of(Reads(ADAPTER), with_word(rng, ADAPTER))
    section = audit_artifacts(AuditContext(context.attr, None))
    assert any("classes are not known" in text for text in section.untested)
    assert any("no model" in text for text in section.untested)
    assert named(section, NAME)["verdict"] == "present"


def test_a_word_of_every_region_is_warned_of(rng: np.random.Generator) -> None:
    section = audited(Reads(ADAPTER), with_word(rng, ADAPTER, share=1.1, at=20))
    assert any("constant part" in text for text in section.warnings)


@pytest.mark.parametrize("codes", [np.full((20, 60), 4), np.zeros((3, 60)), np.full((1, 60), 2), np.zeros((5, 7))])
def test_dull_input_finds_nothing_and_is_plain_json(codes: NDArray[Any]) -> None:
    section = audited(Ignores(), codes.astype(np.uint8))
    assert not shortcuts(section)
    json.dumps(section.to_json(), allow_nan=False)


def test_artifacts_longer_than_a_window_are_found_in_part(rng: np.random.Generator) -> None:
    codes = random_codes(rng, 100, 18)
    codes[:50, 2:16] = encode(ADAPTER[:14])
    section = audited(
        Reads(ADAPTER[:14]), codes, artifacts=[Artifact("long", "user", "GATTACAGGCTTAACGTCCAGT", "test")]
    )
    assert NAME in shortcuts(section)
    assert any("longer than the windows" in text for text in section.untested)


def test_the_same_seed_gives_the_same_values(rng: np.random.Generator) -> None:
    codes = with_word(rng, ADAPTER)
    first, second = (audited(Reads(ADAPTER), codes, seed=3).to_json() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
