"""The library of artifacts, and one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqsal.auditing.parts.artifacts.library import LEAST_BP, Artifact, load_library, read_artifacts
from seqsal.errors import FastaError, UsageError


def test_the_library_is_dna_with_sources_and_unique_names() -> None:
    library = load_library()
    assert len({artifact.name for artifact in library}) == len(library) >= 70
    assert len({artifact.sequence for artifact in library}) == len(library)
    assert all(artifact.source and len(artifact.sequence) >= LEAST_BP for artifact in library)


@pytest.mark.parametrize("name", ["Illumina TruSeq read 1", "Tn5 mosaic end", "Template-switch oligo", "loxP"])
def test_the_usual_suspects_are_there(name: str) -> None:
    assert name in {artifact.name for artifact in load_library()}


def test_own_artifacts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.fa"
    path.write_text(">mine a note\nacgtacgtac\nGT\n>other\nTTTTTTTTGG\n")
    assert [(own.name, own.kind, own.sequence) for own in read_artifacts(path)] == [
        ("mine", "user", "ACGTACGTACGT"),
        ("other", "user", "TTTTTTTTGG"),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "holds no record"),
        (">a\nACGTNACGTACG\n", "position 5"),
        (">a\nMKVLAAGIVGLC\n", "a protein as it seems; expected DNA"),
        (">a\nACGTACGTA\n>a\nACGTACGTT\n", "a second record a"),
        (">a\nACGTACG\n", "7 bp, expected 8"),
        (">loxP\nACGTACGTACGT\n", "name of an artifact of the library"),
    ],
)
def test_bad_artifacts_are_one_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "bad.fa"
    path.write_text(text)
    with pytest.raises(FastaError, match=match) as error:
        read_artifacts(path)
    assert "\n" not in str(error.value)


def test_an_artifact_made_in_python_is_checked() -> None:
    with pytest.raises(UsageError, match="expected 8 at least"):
        Artifact("short", "user", "ACGT", "")
    with pytest.raises(UsageError, match="other than A, C, G, T at position 5"):
        Artifact("vague", "user", "ACGTNACGTT", "")
