"""Motif discovery: from the peaks of an attribution track to patterns with names and places.

For each sign on its own: the seqlets around the peaks (:mod:`seqsal.motifs.seqlets`) are clustered and aligned by
TF-MoDISco (:mod:`seqsal.motifs.modisco`) or, where there are fewer than it needs, by aligned k-mers
(:mod:`seqsal.motifs.kmers`); patterns that are the same motif become one; each is cut to the columns that contribute
and compared with a database.

*What TF-MoDISco leaves out.* With few seqlets its clustering may drop most instances of a motif, and which of them
depends on the last digits of the scores: of 110 peaks of a yeast Reb1 model, some 75 of them over a Reb1 site, it kept
21 and named the motif with q 2e-3, of other draws 55 to 72 (q 2e-7). So below `MODISCO_SURE_SEQLETS` aligned k-mers
look at the seqlets that are left; what they find there joins the pattern that it is the same motif as.

The same attributions and peaks give the same patterns: no step but the decoys of the usage table is random.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.errors import MotifError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.motifs.alignment import Alignment
from seqsal.motifs.kmers import MIN_SEQLETS, align_kmers
from seqsal.motifs.match import best_matches, group_motifs
from seqsal.motifs.matrices import Motif, read_motifs
from seqsal.motifs.modisco import MODISCO_MIN_SEQLETS, align_modisco
from seqsal.motifs.patterns import MotifResult, Pattern, make_pattern, merge_alignments, trim
from seqsal.motifs.seqlets import Seqlets, cut_seqlets
from seqsal.motifs.usage import motif_usage

__all__ = ["ALGORITHMS", "discover_motifs"]

ALGORITHMS = ("auto", "modisco", "kmers")
MODISCO_SURE_SEQLETS = 1_000  # below, TF-MoDISco may drop most instances: aligned k-mers look at what it left out
FLANK_BP = 3  # added to trimmed patterns before they are compared, as short ones have no small p-values
_PSEUDOCOUNT = 0.25  # of each base, for positions that no instance knows
N_BACKGROUND = 2_000  # rows of controls that word frequencies are taken from
_SIGNS = {"pos": "raise", "neg": "lower"}
logger = logging.getLogger(__name__)


def discover_motifs(
    attr: Attributions,
    peaks: pd.DataFrame,
    *,
    motif_db: str | os.PathLike[str] | Sequence[Motif] | None = None,
    algorithm: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> MotifResult:
    """Find the motifs that drive the prediction up and down, name them, and say where they are.

    Parameters
    ----------
    attr
        Attributions; with hypothetical scores where possible, else X · track stands in for them, with a warning.
    peaks
        Table of :func:`seqsal.call_peaks`, or a narrowPeak file as a table.
    motif_db
        What to name patterns by: `jaspar:RELEASE:TAXGROUP`, a MEME, JASPAR, TRANSFAC or HOMER file, or motifs. None
        leaves them without names.
    algorithm
        `auto` takes TF-MoDISco for a sign with `MODISCO_MIN_SEQLETS` seqlets or more, and aligned k-mers below, where
        it finds nothing, and for what it leaves out of fewer than `MODISCO_SURE_SEQLETS`; `modisco` and `kmers` take
        that one.
    seed
        Of the decoys that the usage of the database's motifs is measured against; patterns do not depend on it.
    progress
        Show progress bars.

    Returns
    -------
    MotifResult
        Its `table` has one row a pattern, `seqlets` one an instance. No peak, or too few, is a result without
        patterns, and says so in `warnings`.

    Raises
    ------
    UsageError
        An unknown algorithm; peaks without the columns needed.
    RegionError
        A peak that no window covers.
    MotifError
        The database cannot be read; the algorithm `modisco` cannot cluster the seqlets.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(f"algorithm: got {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    database, database_name = _open_database(motif_db)
    seqlets = cut_seqlets(attr, peaks, progress=progress)
    notes = _Notes()
    notes.add_if(not len(seqlets), "no peaks, so there are no motifs; call peaks with a larger --fdr to see more")
    patterns: list[Pattern] = []
    background = _background(attr)
    for sign in tqdm(_SIGNS, desc="motifs", unit="sign", disable=not progress):
        patterns.extend(_patterns_of_sign(seqlets.of_sign(sign), sign, algorithm, background, attr, notes))
    if database is not None and patterns:
        patterns = _with_matches(patterns, database)
    return MotifResult(
        tuple(patterns),
        {sign: int((seqlets.table["sign"] == sign).sum()) for sign in _SIGNS},
        database=database_name,
        usage=None if database is None else motif_usage(attr, peaks, database, seed=seed, progress=progress),
        warnings=tuple(notes.lines),
    )


def _open_database(
    motif_db: str | os.PathLike[str] | Sequence[Motif] | None,
) -> tuple[Sequence[Motif] | None, str | None]:
    """Motifs of a database, and what it is called."""
    if motif_db is None:
        return None, None
    if isinstance(motif_db, (str, os.PathLike)):
        return read_motifs(motif_db), os.fspath(motif_db)
    return motif_db, f"{len(motif_db)} motifs given"


class _Notes:
    """Warnings, logged and kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add_if(self, condition: bool, text: str) -> None:
        if condition:
            logger.warning("motifs: %s", text)
            self.lines.append(text)


def _background(attr: Attributions) -> NDArray[np.uint8]:
    """Codes (M, L) that word frequencies are taken from: the controls, else the windows themselves."""
    codes = attr.codes if attr.null_codes is None or len(attr.null_codes) == 0 else attr.null_codes
    return np.asarray(codes[:N_BACKGROUND])


def _patterns_of_sign(
    seqlets: Seqlets,
    sign: str,
    algorithm: str,
    background: NDArray[np.uint8],
    attr: Attributions,
    notes: _Notes,
) -> list[Pattern]:
    """Patterns of one sign, numbered from the most frequent."""
    n_seqlets, effect = len(seqlets), _SIGNS[sign]
    if n_seqlets < MIN_SEQLETS:
        notes.add_if(
            n_seqlets > 0,
            f"{n_seqlets} peaks {effect} the prediction, motif discovery needs {MIN_SEQLETS} or more: no pattern",
        )
        return []
    aligned = _align(seqlets, effect, algorithm, background, notes)
    notes.add_if(not aligned, f"nothing recurs in the {n_seqlets} peaks that {effect} the prediction")
    made = [_pattern(group, seqlets, used, attr) for group, used in _merged(aligned, seqlets)]
    kept = [pattern for pattern in made if pattern is not None and pattern.n_seqlets >= MIN_SEQLETS]
    kept.sort(key=lambda pattern: -pattern.n_seqlets)
    return [_renamed(pattern, f"{sign}_pattern_{i}") for i, pattern in enumerate(kept, start=1)]


def _align(
    seqlets: Seqlets, effect: str, algorithm: str, background: NDArray[np.uint8], notes: _Notes
) -> list[tuple[Alignment, str]]:
    """Alignments of one sign's seqlets, each with the name of the algorithm that made it."""
    n_seqlets, peaks = len(seqlets), f"{len(seqlets)} peaks {effect} the prediction"
    used = algorithm
    if algorithm == "auto":
        used = "modisco" if n_seqlets >= MODISCO_MIN_SEQLETS else "kmers"
        few = f"{peaks}, TF-MoDISco needs {MODISCO_MIN_SEQLETS}: aligned k-mers were used instead"
        notes.add_if(used == "kmers", few)
    if used == "kmers":
        return [(alignment, "kmers") for alignment in align_kmers(seqlets, background)]
    notes.add_if(
        seqlets.is_approximate,
        "the attributions keep no hypothetical scores, so TF-MoDISco compared X · track alone; attribute with "
        "--hypothetical for patterns that also know the bases that are not there",
    )
    found, failure = _modisco(seqlets, may_fail=algorithm == "auto")
    if algorithm == "auto":
        notes.add_if(bool(failure), f"{failure}: aligned k-mers were used instead")
        notes.add_if(not found and not failure, f"TF-MoDISco found nothing in {peaks}: aligned k-mers")
        if not found or n_seqlets < MODISCO_SURE_SEQLETS:
            taken = np.concatenate([np.zeros(0, np.int64), *(alignment.rows for alignment in found)])
            left = np.setdiff1d(np.arange(n_seqlets), taken)
            rest = [(alignment, "kmers") for alignment in align_kmers(seqlets, background, left)]
            return [*((alignment, "modisco") for alignment in found), *rest]
    return [(alignment, "modisco") for alignment in found]


def _modisco(seqlets: Seqlets, *, may_fail: bool) -> tuple[list[Alignment], str]:
    """Alignments by TF-MoDISco, and why there are none where it may fail and did."""
    try:
        return align_modisco(seqlets), ""
    except MotifError as error:
        if not may_fail:
            raise
        return [], str(error).removeprefix("seqlets: ").partition(", expected")[0]


def _pattern(alignment: Alignment, seqlets: Seqlets, algorithm: str, attr: Attributions) -> Pattern | None:
    return make_pattern(trim(alignment, seqlets), seqlets, "pattern", algorithm, attr.chrom_sizes)


def _renamed(pattern: Pattern, name: str) -> Pattern:
    motif = Motif(name, "", pattern.motif.counts, pattern.motif.n_sites)
    return replace(pattern, name=name, motif=motif, seqlets=pattern.seqlets.assign(pattern=name))


def _merged(aligned: list[tuple[Alignment, str]], seqlets: Seqlets) -> list[tuple[Alignment, str]]:
    """One alignment a motif: those whose trimmed matrices match are put together, and named by the largest."""
    if len(aligned) < 2:
        return aligned
    ordered = sorted(aligned, key=lambda pair: len(pair[0]), reverse=True)
    flanked = [_with_flanks(trim(alignment, seqlets)).within(seqlets.width) for alignment, _ in ordered]
    usable = [i for i, alignment in enumerate(flanked) if len(alignment)]
    motifs = [Motif(str(i), "", flanked[i].counts(seqlets) + _PSEUDOCOUNT, float(len(flanked[i]))) for i in usable]
    groups = [[ordered[usable[i]] for i in group] for group in group_motifs(motifs)]
    return [(merge_alignments([alignment for alignment, _ in group], seqlets), group[0][1]) for group in groups]


def _with_flanks(alignment: Alignment) -> Alignment:
    return alignment.window(-FLANK_BP, alignment.width + 2 * FLANK_BP)


def _with_matches(patterns: list[Pattern], database: Sequence[Motif]) -> list[Pattern]:
    """Add to each pattern its best match, and turn it to read as that does."""
    best = best_matches([pattern.motif for pattern in patterns], database)
    rows = dict(zip(best["query"], best.to_dict("records"), strict=True))
    return [_named(pattern, rows[pattern.name]) for pattern in patterns]


def _named(pattern: Pattern, best: dict[Hashable, Any]) -> Pattern:
    match = {"match": str(best["target"]), "accession": str(best["accession"])}
    scores = {"p_value": float(best["p_value"]), "q_value": float(best["q_value"])}
    turned = pattern.flip() if best["strand"] == "-" else pattern
    return replace(turned, match={**match, **scores})
