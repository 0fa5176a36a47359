"""Patterns: what a set of aligned seqlets amounts to, and the result that holds them all.

An alignment becomes a pattern in three steps: it is cut to the columns that contribute (`trim`), instances with unknown
bases are dropped, and instances that are the same site twice (two peaks may share one) are counted once. Counts, CWM
and the table of instances are all of what is left, so they always agree.

`write_motifs` writes a result as text; without patterns, the files hold their headers:

===============  ====================================================================================================
motifs.meme      one PFM a pattern, identifier the pattern's name, alternate name its match (q ≤ 0.1) or consensus
motifs.tsv       one row a pattern, best first within a sign (columns of `MotifResult.table`)
seqlets.bed      one row an instance: BED6 with the pattern as name, the motif's strand, and as score 1000 times its
                 |contribution| over the largest of its pattern; then contribution, peak and sequence
motif_usage.tsv  one row a motif of the database, when there was one (columns of `motif_usage`)
===============  ====================================================================================================
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import counted
from seqsal.io.bed import write_tsv
from seqsal.io.views import view
from seqsal.motifs.matrices import Motif, write_meme
from seqsal.motifs.seqlets import Alignment, Seqlets, best_offset, join
from seqsal.sequence.codes import decode, encode, reverse_complement

__all__ = [
    "NAMED_Q", "SEQLET_COLUMNS", "TABLE_COLUMNS", "MotifResult", "Pattern", "core_columns", "make_pattern",
    "merge_alignments", "trim", "write_motifs",
]  # fmt: skip

NAMED_Q = 0.1  # the largest q-value of a match that a pattern is named by
TRIM_SHARE = 0.2  # of the largest contribution of a column
MIN_WIDTH = 5
_N_LISTED = 4
SEQLET_COLUMNS = {
    "chrom": str, "start": np.int64, "end": np.int64, "name": str, "score": np.float64, "strand": str, "pattern": str,
    "sequence": str,
}  # fmt: skip
NAME_COLUMNS = {"match": str, "accession": str, "p_value": np.float64, "q_value": np.float64}
TABLE_COLUMNS = {
    "pattern": str, "sign": str, "n_seqlets": np.int64, **NAME_COLUMNS, "consensus": str,
    "width": np.int64, "information": np.float64, "contribution": np.float64, "algorithm": str,
}  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Pattern:
    """One motif that the attributions show.

    Attributes
    ----------
    name
        `pos_pattern_1`, `neg_pattern_1`, …: the most frequent of each sign first.
    sign
        `pos` when its instances raise the prediction, `neg` when they lower it.
    algorithm
        `modisco` or `kmers`, the fallback for few seqlets.
    motif
        Counts (4, W) of its instances.
    cwm
        (4, W) mean contribution of each base at each position, in units of the attributed output.
    seqlets
        One row an instance, columns `SEQLET_COLUMNS`: where it lies, the peak that it is of (`name`), the summed
        attribution of its bases (`score`), on which strand it reads, and how it reads.
    match
        Best match in the database: `match`, `accession`, `p_value` and `q_value` (however large; `named_match` is
        None above 0.1); None without a database. The pattern is turned to read as its match does.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from seqsal.motifs import Motif, Pattern
    >>> motif = Motif("pos_pattern_1", "", 20 * np.eye(4)[[2, 0, 3, 3, 0]].T)  # GATTA
    >>> site = {"chrom": "chr1", "start": 10, "end": 15, "score": 4.0, "strand": "+", "sequence": "GATTA"}
    >>> seqlets = pd.DataFrame([site | {"name": "pos_1", "pattern": "pos_pattern_1"}])
    >>> match = {"match": "GAT1", "accession": "MA1", "p_value": 1e-6, "q_value": 1e-4}
    >>> pattern = Pattern("pos_pattern_1", "pos", "kmers", motif, motif.frequencies, seqlets, match)
    >>> pattern, pattern.label
    (Pattern(pos_pattern_1, GATTA, 1 instance, GAT1 (q 0.0001), kmers), 'GAT1')
    """

    name: str
    sign: str
    algorithm: str
    motif: Motif
    cwm: NDArray[np.float64]
    seqlets: pd.DataFrame
    match: dict[str, Any] | None = None

    @property
    def n_seqlets(self) -> int:
        """Number of instances."""
        return len(self.seqlets)

    @property
    def named_match(self) -> dict[str, Any] | None:
        """The match where it is good enough to name the pattern: q at most `NAMED_Q`."""
        return self.match if self.match is not None and self.match["q_value"] <= NAMED_Q else None

    @property
    def label(self) -> str:
        """What the pattern goes by: its match where that is good enough, else its consensus."""
        return self.motif.consensus if self.named_match is None else str(self.named_match["match"])

    @property
    def title(self) -> str:
        """Match or consensus, with what to make of it: `REB1 (412 instances, q 1e-8)`."""
        certainty = "" if self.named_match is None else f", q {self.named_match['q_value']:.1g}"
        return f"{self.label} ({counted(self.n_seqlets, 'instance')}{certainty})"

    @property
    def row(self) -> dict[str, Any]:
        """What the pattern is in the table of patterns."""
        match = self.match or {"match": ".", "accession": ".", "p_value": np.nan, "q_value": np.nan}
        return {
            "pattern": self.name,
            "sign": self.sign,
            "n_seqlets": self.n_seqlets,
            **{key: match[key] for key in NAME_COLUMNS},
            "consensus": self.motif.consensus,
            "width": self.motif.width,
            "information": float(self.motif.information.sum()),
            "contribution": float(self.seqlets["score"].mean()),
            "algorithm": self.algorithm,
        }

    def flip(self) -> Pattern:
        """Read the pattern on its other strand."""
        seqlets = self.seqlets.assign(
            strand=self.seqlets["strand"].map({"+": "-", "-": "+"}),
            sequence=[decode(reverse_complement(encode(text))) for text in self.seqlets["sequence"]],
        )
        return replace(self, motif=self.motif.reverse_complement(), cwm=self.cwm[::-1, ::-1], seqlets=seqlets)

    def rename(self, name: str) -> Pattern:
        """Give the pattern, its motif and its instances another name."""
        motif = Motif(name, "", self.motif.counts, self.motif.n_sites)
        return replace(self, name=name, motif=motif, seqlets=self.seqlets.assign(pattern=name))

    def __repr__(self) -> str:
        match = self.named_match
        named = "" if match is None else f", {match['match']} (q {match['q_value']:.2g})"
        found = counted(self.n_seqlets, "instance")
        return f"Pattern({self.name}, {self.motif.consensus}, {found}{named}, {self.algorithm})"


@dataclass(frozen=True, repr=False, eq=False)
class MotifResult:
    """What motif discovery found.

    Attributes
    ----------
    patterns
        Positive ones first, the most frequent of a sign first; empty when there are none.
    n_peaks
        Peaks that were searched, by sign.
    database
        What the patterns were compared with; None for nothing.
    usage
        Table of :func:`seqsal.motifs.usage.motif_usage` for the database's motifs, or None.
    warnings
        What a reader of the result must know: a fallback that was taken, scores that were not there.

    Examples
    --------
    >>> from seqsal.motifs import MotifResult
    >>> nothing = MotifResult((), {"pos": 12, "neg": 0})
    >>> nothing, len(nothing.table)
    (MotifResult(0 patterns from the peaks: 12 pos, 0 neg), 0)
    """

    patterns: tuple[Pattern, ...]
    n_peaks: dict[str, int]
    database: str | None = None
    usage: pd.DataFrame | None = None
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.patterns)

    def __getitem__(self, name: str) -> Pattern:
        """Pattern of a name."""
        return {pattern.name: pattern for pattern in self.patterns}[name]

    @property
    def table(self) -> pd.DataFrame:
        """One row a pattern: name, sign, number of instances, best match, consensus, mean contribution, algorithm."""
        table = pd.DataFrame([pattern.row for pattern in self.patterns], columns=list(TABLE_COLUMNS))
        return table.astype(TABLE_COLUMNS)

    @property
    def seqlets(self) -> pd.DataFrame:
        """All instances in the order of the genome, columns `SEQLET_COLUMNS`."""
        if not self.patterns:
            return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in SEQLET_COLUMNS.items()})
        table = pd.concat([pattern.seqlets for pattern in self.patterns], ignore_index=True)
        return table.sort_values(["chrom", "start", "end", "pattern"], kind="stable", ignore_index=True)

    def summary(self) -> str:
        """Say what was found in one line: `2 patterns: REB1 (412 instances, q 1e-8), …`.

        >>> from seqsal.motifs import MotifResult
        >>> MotifResult((), {"pos": 0, "neg": 0}).summary()
        'no pattern'
        """
        if not self.patterns:
            return "no pattern"
        listed = ", ".join(pattern.title for pattern in self.patterns[:_N_LISTED])
        more = ", …" * (len(self) > _N_LISTED)
        return f"{counted(len(self), 'pattern')}: {listed}{more}"

    def without_peaks(self, fdr: float, best_q: float, rate: float) -> str:
        """Say in a sentence why there are motifs where no peak reaches the rate; empty without motifs.

        `fdr` is the rate of the peaks, `best_q` the smallest q-value, `rate` that of the peaks searched for motifs.

        >>> from seqsal.motifs import MotifResult
        >>> MotifResult((), {"pos": 0, "neg": 0}).without_peaks(0.05, 0.3, 0.2)
        ''
        """
        if not self.patterns:
            return ""
        n, n_weak = len(self), sum(self.n_peaks.values())
        return (
            f"No single peak reaches q ≤ {fdr:g} (the best has q {best_q:.2g}), but {n_weak:,} weaker ones "
            f"(q ≤ {rate:g}) show {f'{n} motifs' if n > 1 else 'a motif'}: what recurs is not chance, though any one "
            "place may be"
        )

    def __repr__(self) -> str:
        peaks = ", ".join(f"{n:,} {sign}" for sign, n in self.n_peaks.items())
        lines = [f"MotifResult({counted(len(self), 'pattern')} from the peaks: {peaks})"]
        return "\n".join([*lines, *(f"  {pattern!r}" for pattern in self.patterns)])

    def _repr_html_(self) -> str:
        return str(view("motifs_html")(self))


def trim(alignment: Alignment, seqlets: Seqlets) -> Alignment:
    """Cut an alignment to the columns that contribute `TRIM_SHARE` of the largest one or more, |Σ_b CWM[b, j]|.

    At least `MIN_WIDTH` columns stay, and an alignment without any contribution stays as it is.
    """
    cwm = alignment.cwm(seqlets)
    first, last = core_columns(cwm)
    return alignment.window(first, last - first) if cwm.any() else alignment


def core_columns(cwm: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and one past the last column of a CWM (4, W) that contribute; all where none does."""
    column = np.abs(cwm.sum(axis=0))
    if not column.any():
        return 0, len(column)
    high = np.flatnonzero(column >= TRIM_SHARE * column.max())
    first, width = int(high[0]), int(high[-1]) + 1 - int(high[0])
    missing = max(0, min(MIN_WIDTH, len(column)) - width)
    first = int(np.clip(first - missing // 2, 0, len(column) - width - missing))
    return first, first + width + missing


def merge_alignments(alignments: list[Alignment], seqlets: Seqlets) -> Alignment:
    """Bring alignments of the same motif into the frame of the largest, and put them together."""
    ordered = sorted(alignments, key=len, reverse=True)
    anchor = ordered[0]
    parts = [anchor]
    for other in ordered[1:]:
        offset, reverse = best_offset(anchor.cwm(seqlets), other.cwm(seqlets))
        turned = other.flip() if reverse else other
        parts.append(turned.window(-offset, anchor.width).within(seqlets.width))
    return join(parts)


def make_pattern(
    alignment: Alignment, seqlets: Seqlets, name: str, algorithm: str, chrom_sizes: dict[str, int]
) -> Pattern | None:
    """Make a pattern of the distinct, complete instances of a trimmed alignment; None when there are none.

    A chromosome that `chrom_sizes` (bp) lacks has no limit.
    """
    complete = alignment.complete(seqlets)
    table = _instances(complete, seqlets, name)
    size = table["chrom"].map(lambda chrom: chrom_sizes.get(chrom, np.iinfo(np.int64).max)).to_numpy(np.int64)
    on_chrom = (table["start"].to_numpy() >= 0) & (table["end"].to_numpy() <= size)
    keep = np.flatnonzero(on_chrom)[_distinct(table[on_chrom], alignment.width)]
    if len(keep) == 0:
        return None
    kept = complete.take(keep)
    counts = kept.counts(seqlets)
    rows = table.iloc[keep].astype(SEQLET_COLUMNS).reset_index(drop=True)
    sign = str(seqlets.table["sign"].iloc[0])
    return Pattern(name, sign, algorithm, Motif(name, "", counts, float(len(kept))), kept.cwm(seqlets), rows)


def _instances(alignment: Alignment, seqlets: Seqlets, name: str) -> pd.DataFrame:
    """Table of instances on the chromosomes."""
    context = seqlets.table.iloc[alignment.rows]
    start = context["start"].to_numpy(np.int64) + alignment.start  # contexts lie on the forward strand
    return pd.DataFrame(
        {
            "chrom": context["chrom"].to_numpy(dtype=object),
            "start": start,
            "end": start + alignment.width,
            "name": context["name"].to_numpy(dtype=object),
            "score": alignment.contributions(seqlets).sum(axis=1, dtype=np.float64),
            "strand": np.where(alignment.reverse, "-", "+"),
            "pattern": name,
            "sequence": [decode(codes) for codes in alignment.codes(seqlets)],
        }
    )


def _distinct(table: pd.DataFrame, width: int) -> NDArray[np.int64]:
    """Rows to keep so that no two instances share half of their bases or more: the stronger of each pair stays."""
    order = np.argsort(-table["score"].abs().to_numpy(), kind="stable")
    chrom, start = table["chrom"].to_numpy(dtype=object), table["start"].to_numpy(np.int64)
    taken: dict[Any, list[int]] = {}
    keep = []
    for row in order:
        cell = int(start[row]) // width
        near = [place for i in (cell - 1, cell, cell + 1) for place in taken.get((chrom[row], i), ())]
        if all(2 * abs(int(start[row]) - place) > width for place in near):
            keep.append(int(row))
            taken.setdefault((chrom[row], cell), []).append(int(start[row]))
    return np.sort(np.array(keep, dtype=np.int64))


_BED_COLUMNS = ("chrom", "start", "end", "pattern", "bed_score", "strand", "score", "name", "sequence")
_BED_HEADER = ("#chrom", "start", "end", "name", "score", "strand", "contribution", "peak", "sequence")


def write_motifs(result: MotifResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `motifs.meme`, `motifs.tsv`, `seqlets.bed` and, where there is one, `motif_usage.tsv`.

    Parameters
    ----------
    result
        Of :func:`seqsal.discover_motifs`; may be without patterns.
    folder
        Where to write; is there already.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        A file cannot be written.

    Examples
    --------
    >>> from seqsal.motifs import MotifResult
    >>> [path.name for path in write_motifs(MotifResult((), {"pos": 0, "neg": 0}), ".")]
    ['motifs.meme', 'motifs.tsv', 'seqlets.bed']
    """
    target = Path(folder)
    written = [target / name for name in ("motifs.meme", "motifs.tsv", "seqlets.bed")]
    named = [Motif(one.label, one.name, one.motif.counts, one.motif.n_sites) for one in result.patterns]
    write_meme(named, written[0])
    write_tsv(result.table, written[1])
    seqlets = result.seqlets
    strength = seqlets["score"].abs()
    largest = strength.groupby(seqlets["pattern"]).transform("max").to_numpy(np.float64)
    share = strength.to_numpy(np.float64) / np.where(largest > 0, largest, 1.0)
    bed = seqlets.assign(bed_score=np.rint(1000 * share).astype(np.int64))[list(_BED_COLUMNS)]
    write_tsv(bed.set_axis(list(_BED_HEADER), axis=1), written[2])
    if result.usage is not None:
        written.append(target / "motif_usage.tsv")
        write_tsv(result.usage, written[3], missing="nan")
    return written
