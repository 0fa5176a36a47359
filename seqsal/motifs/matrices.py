"""Motif matrices: what a motif is, reading databases and files of them, and writing MEME files.

A motif is kept as the counts that it came with. Its probabilities add a pseudocount b, by default 0.1 of a site shared
out by the background, as FIMO does (Grant et al. 2011, doi:10.1093/bioinformatics/btr064)::

    ppm[a, j] = (n f[a, j] + b q[a]) / (n + b),      f[a, j] = counts[a, j] / Σ_a counts[a, j]

with n the number of sites (20, MEME's assumption, where the source does not say) and q the background.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqsal.errors import MotifError
from seqsal.io.atomic import atomic_path
from seqsal.motifs.formats import MotifRecord, fetch_jaspar, is_jaspar, parse_motifs, read_text
from seqsal.sequence.codes import ALPHABET

__all__ = ["ASSUMED_SITES", "PSEUDOCOUNT", "UNIFORM", "Motif", "read_motifs", "write_meme"]

logger = logging.getLogger(__name__)
MOST_SITES = 1e12  # of a motif; bounds the range of its scores, and with it the memory of a scan
ASSUMED_SITES = 20.0
PSEUDOCOUNT = 0.1
UNIFORM: NDArray[np.float64] = np.full(4, 0.25)
UNIFORM.flags.writeable = False
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "AC": "M", "AG": "R", "AT": "W", "CG": "S", "CT": "Y", "GT": "K",
    "ACG": "V", "ACT": "H", "AGT": "D", "CGT": "B",
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Motif:
    """A motif of W positions.

    Attributes
    ----------
    name
        What it is called: `REB1`.
    accession
        Its identifier in a database: `MA0363.2`; empty when there is none.
    counts
        (4, W) float64, rows A C G T: sites with each base, or any positive multiple of the base frequencies.
    n_sites
        Number of sites behind the counts, or None when the source does not say.

    Raises
    ------
    MotifError
        No name, or counts of another shape, negative, not finite, or with a position that sums to 0.
    """

    name: str
    accession: str
    counts: NDArray[np.float64]
    n_sites: float | None = None

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.float64)
        _check_counts(self.name, counts)
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)

    @property
    def width(self) -> int:
        """Number of positions W."""
        return int(self.counts.shape[1])

    @property
    def label(self) -> str:
        """Accession and name: `MA0363.2 REB1`."""
        return f"{self.accession} {self.name}".strip()

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Share of each base at each position, (4, W), without a pseudocount."""
        return np.asarray(self.counts / self.counts.sum(axis=0))

    @property
    def ppm(self) -> NDArray[np.float64]:
        """Probabilities (4, W) with the pseudocount of a uniform background; columns sum to 1."""
        return self.probabilities()

    def probabilities(self, background: ArrayLike = UNIFORM, pseudocount: float = PSEUDOCOUNT) -> NDArray[np.float64]:
        """Probabilities (4, W) with a pseudocount (sites) shared out by a background (4,)."""
        n_sites = ASSUMED_SITES if self.n_sites is None else self.n_sites
        share = _checked_background(background)[:, None]
        return np.asarray((n_sites * self.frequencies + pseudocount * share) / (n_sites + pseudocount))

    def pwm(self, background: ArrayLike = UNIFORM, pseudocount: float = PSEUDOCOUNT) -> NDArray[np.float64]:
        """Log2 odds (4, W) of :meth:`probabilities` against a background (4,)."""
        odds = self.probabilities(background, pseudocount) / _checked_background(background)[:, None]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log2(odds))

    @property
    def information(self) -> NDArray[np.float64]:
        """Bits at each position, (W,): 2 + Σ_a f log2 f (Schneider and Stephens 1990, doi:10.1093/nar/18.20.6097)."""
        share = self.frequencies
        return np.asarray(2 + (share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=0))

    @property
    def consensus(self) -> str:
        """IUPAC consensus by the rule of Cavener (1987, doi:10.1093/nar/15.4.1353).

        One base when its share is above 0.5 and twice that of the next; two when together they have over 0.75; three
        when the fourth never occurs; else N.
        """
        return "".join(_consensus_letter(column) for column in self.frequencies.T)

    def reverse_complement(self) -> Motif:
        """Return the motif of the other strand, with the same name and accession."""
        return Motif(self.name, self.accession, self.counts[::-1, ::-1], self.n_sites)

    def __repr__(self) -> str:
        return f"Motif({self.label}, {self.consensus}, {self.information.sum():.1f} bits)"


def read_motifs(spec: str | os.PathLike[str]) -> list[Motif]:
    """Read motifs from a JASPAR release or a file.

    Parameters
    ----------
    spec
        `jaspar:RELEASE:TAXGROUP`, for example `jaspar:2026:vertebrates` (the CORE collection, latest versions, by
        accession), or a MEME, JASPAR, TRANSFAC, HOMER, cluster-buster or XMS file, plain or gzipped, whose format is
        told by the content; or patterns of TF-MoDISco or `seqsal motifs` (.h5).

    Returns
    -------
    list of Motif
        In the order of the file; never empty. Motifs of the same accession and name are numbered, with a warning.

    Raises
    ------
    MotifError
        An unknown release or tax group; a file that is missing, empty, malformed, of an unknown format or of protein
        motifs, or a motif without a name. File and line are named.
    """
    text = os.fspath(spec)
    if text.endswith(".h5"):
        from seqsal.motifs.modisco_h5 import read_patterns  # which needs Motif

        return [pattern.motif for pattern in read_patterns(text)]
    records = fetch_jaspar(text) if is_jaspar(text) else parse_motifs(read_text(text), text)
    return [_as_motif(record, text) for record in _distinct(records, text)]


def write_meme(motifs: Sequence[Motif], path: str | os.PathLike[str], background: ArrayLike = UNIFORM) -> None:
    """Write motifs as a MEME minimal file, which the tools of the MEME suite read.

    The identifier is the accession, followed by the name; or the name alone. White space in them becomes `_`. The
    probabilities are the frequencies without a pseudocount, since readers add their own.

    Parameters
    ----------
    motifs
        What to write; may be empty.
    path
        The file.
    background
        (4,) base frequencies that the file states.

    Raises
    ------
    MotifError
        Two motifs would have the same identifier.
    OutputError
        The file cannot be written.
    """
    letters = zip(ALPHABET, _checked_background(background), strict=True)
    head = [
        "MEME version 4\n",
        f"ALPHABET= {ALPHABET}\n",
        "strands: + -\n",
        "Background letter frequencies",
        " ".join(f"{letter} {share:.6g}" for letter, share in letters) + "\n",
    ]
    words = [(motif.accession, motif.name) if motif.accession.strip() else (motif.name,) for motif in motifs]
    names = [" ".join("_".join(word.split()) for word in pair) for pair in words]
    repeated = [name for name, count in Counter(name.split()[0] for name in names).items() if count > 1]
    if repeated:
        raise MotifError(
            f"{path}: {len(repeated)} identifiers are those of several motifs, the first {repeated[0]!r}; expected one "
            "motif an identifier, rename or drop the others"
        )
    blocks = []
    for motif, name in zip(motifs, names, strict=True):
        sites = "" if motif.n_sites is None else f" nsites= {max(1, round(motif.n_sites))} E= 0"
        rows = [
            " ".join(f"{value:.6f}" for value in column) for column in motif.frequencies.T
        ]  # gimmemotifs splits at " "
        matrix = f"letter-probability matrix: alength= 4 w= {motif.width}{sites}"
        blocks.append("\n".join([f"MOTIF {name}\n", matrix, *rows, ""]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*head, *blocks]), encoding="utf-8")


def _distinct(records: Sequence[MotifRecord], source: str) -> list[MotifRecord]:
    """Add numbers to motifs that have the same accession and name, so that rows about them can be told apart."""
    taken = {(record.accession, record.name) for record in records}
    if len(taken) == len(records):
        return list(records)
    seen: set[tuple[str, str]] = set()
    distinct = []
    for record in records:
        name, number = record.name, 2
        while (record.accession, name) in (seen if name == record.name else seen | taken):
            name, number = f"{record.name}_{number}", number + 1
        seen.add((record.accession, name))
        distinct.append(record._replace(name=name))
    changed = [(old, new) for old, new in zip(records, distinct, strict=True) if old.name != new.name]
    old, new = changed[0]
    logger.warning(
        "%s: %d motifs have the name of another, the first %r (line %d); numbered, such as %r",
        source, len(changed), old.name, old.line, new.name,
    )  # fmt: skip
    return distinct


def _as_motif(record: MotifRecord, source: str) -> Motif:
    """Turn a parsed record into a motif; what is wrong with it is said with file and line."""
    with np.errstate(over="ignore"):  # too large counts are refused below
        total = record.counts.sum(axis=0)
    n_sites = record.n_sites
    if n_sites is None and not np.allclose(total, 1.0, atol=0.05):
        n_sites = float(total.max())
    try:
        return Motif(record.name, record.accession, record.counts, n_sites)
    except MotifError as error:
        where = f"{source}, line {record.line}" if record.line else source
        raise MotifError(f"{where}: {error}") from None


def _check_counts(name: str, counts: NDArray[np.float64]) -> None:
    if not name.strip():
        raise MotifError("a motif without a name; give it one")
    if counts.ndim != 2 or counts.shape[0] != 4 or counts.shape[1] == 0:
        raise MotifError(f"motif {name!r} has counts of shape {counts.shape}, expected (4, W), rows A, C, G, T")
    bad = ~((counts >= 0) & (counts <= MOST_SITES))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise MotifError(
            f"motif {name!r} has {counts[row, column]} for {ALPHABET[row]} at position {column + 1}, expected a "
            f"number from 0 to {MOST_SITES:.0e}; correct the matrix"
        )
    empty = np.flatnonzero(counts.sum(axis=0) == 0)
    if len(empty):
        raise MotifError(
            f"motif {name!r} has only zeros at position {empty[0] + 1}, expected counts; a position that says nothing "
            "has four equal values"
        )


def _checked_background(background: ArrayLike) -> NDArray[np.float64]:
    share = np.asarray(background, dtype=np.float64)
    if share.shape != (4,) or not np.all(share > 0) or not np.isfinite(share).all():
        raise MotifError(f"background: got {background!r}, expected four positive frequencies of A, C, G and T")
    return np.asarray(share / share.sum())


def _consensus_letter(share: NDArray[np.float64]) -> str:
    order = np.argsort(-share, kind="stable")
    ranked = share[order]
    if ranked[0] > 0.5 and ranked[0] > 2 * ranked[1]:
        n_letters = 1
    elif ranked[0] + ranked[1] > 0.75:
        n_letters = 2
    elif ranked[3] == 0:
        n_letters = 3
    else:
        return "N"
    return _IUPAC["".join(sorted(ALPHABET[i] for i in order[:n_letters]))]
