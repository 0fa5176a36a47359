"""Known sequences that are no biology: adapters, primers, vectors and the like, and the user's own.

The library is the table `library.tsv` next to this module, one line a sequence with where it is from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from seqsal.auditing.content import Codes
from seqsal.errors import FastaError, UsageError
from seqsal.io.fasta import read_fasta_records
from seqsal.sequence.codes import decode, encode

__all__ = ["AMBIGUOUS_KINDS", "LEAST_BP", "Artifact", "load_library", "read_artifacts"]

LEAST_BP = 8
AMBIGUOUS_KINDS = ("homopolymer", "restriction_site")
OWN = "user"


@dataclass(frozen=True)
class Artifact:
    """A sequence that has no business in a genome.

    `name`: what it is called. `kind`: `adapter`, `primer`, `transposon`, `template_switch`, `vector`, `scaffold`,
    `homopolymer`, `restriction_site`, or `user`. The members of `AMBIGUOUS_KINDS` occur in genomes as well. `sequence`:
    letters A, C, G, T; at least `LEAST_BP` bp; either strand counts. `source`: where it is from.
    """

    name: str
    kind: str
    sequence: str
    source: str

    def __post_init__(self) -> None:
        if len(self.sequence) < LEAST_BP:
            raise UsageError(
                f"artifact {self.name!r}: got {len(self.sequence)} bp, expected {LEAST_BP} at least; shorter words are "
                "everywhere by chance"
            )
        other = next((i for i, letter in enumerate(self.sequence, 1) if letter not in "ACGT"), None)
        if other is not None:
            raise UsageError(
                f"artifact {self.name!r}: holds a letter other than A, C, G, T at position {other}; give DNA without "
                "ambiguous bases"
            )

    @property
    def codes(self) -> Codes:
        """The sequence as codes (w,)."""
        return encode(self.sequence)


@cache
def load_library() -> tuple[Artifact, ...]:
    """Return the artifacts that come with seqsal."""
    text = files("seqsal.auditing.parts.artifacts").joinpath("library.tsv").read_text(encoding="utf-8")
    _, *lines = text.splitlines()
    return tuple(Artifact(*line.split("\t")) for line in lines)


def read_artifacts(path: str | os.PathLike[str]) -> tuple[Artifact, ...]:
    """Read one's own artifacts from a FASTA file, plain or gzipped.

    Raises FastaError: A file that is missing, empty or no FASTA; two records of one name; a record that is too short,
    or that holds anything but A, C, G, T. Names that the library has are taken, too.
    """
    taken = {artifact.name for artifact in load_library()}
    artifacts = []
    for name, codes in read_fasta_records(path):
        if name in taken:
            raise FastaError(f"{path}: {name} is the name of an artifact of the library, expected another; rename it")
        try:
            artifacts.append(Artifact(name, OWN, decode(codes), os.path.basename(os.fspath(path))))
        except UsageError as error:
            raise FastaError(f"{path}: {error}") from None
    return tuple(artifacts)
