"""Motif discovery: from the peaks of an attribution track to patterns with names and positions.

For each sign on its own: the seqlets around the peaks (:mod:`seqsal.motifs.seqlets`) are clustered and aligned by
TF-MoDISco or, where there are fewer than it needs, by aligned k-mers (:mod:`seqsal.motifs.kmers`); patterns that are
the same motif become one; each is cut to the columns that contribute and compared with a database.

*TF-MoDISco* (Shrikumar et al. 2018, arXiv:1811.00416) is modisco-lite's. The seqlets are those of our peaks,
`SEQLET_BP` around each summit; modisco-lite's own calling of seqlets, which has no calibrated error, is passed by:
`seqlets_to_patterns` takes seqlets that are already there. It clusters them by their gapped k-mers and then by the
continuous Jaccard similarity of their hypothetical and actual scores (Leiden, best of `leiden_runs` fixed seeds),
aligns each cluster, and splits and merges clusters. All its random choices have fixed seeds, so the same seqlets give
the same patterns.

*Many seqlets.* Nearly all its time goes into Leiden, and of alike seqlets, each of which is a neighbour of nearly all
others, that time grows with their square. So at most `MAX_CLUSTERED` of a sign are clustered, at even steps down their
order of strength, since the strongest may all be of one motif; above `FULL_LEIDEN_SEQLETS` from fewer seeds, as what
they gain is how a motif is cut into patterns that are put together again. Then every other seqlet is looked at for
instances of the patterns (:mod:`seqsal.motifs.instances`). ``benchmarks/discovery.py`` measures time and what is found.

*Misplaced instances.* Of motifs that resemble their own reverse complement it aligns some on the wrong strand;
:mod:`seqsal.motifs.realign` moves them to where all others say that they belong.

*What TF-MoDISco leaves out.* With few seqlets its clustering may drop most instances of a motif, and which of them
depends on the last digits of the scores: of 110 peaks of a yeast Reb1 model, some 75 of them over a Reb1 site, it kept
21 and named the motif with q 2e-3, of other draws 55 to 72 (q 2e-7). So aligned k-mers look at the seqlets that
are left; what they find there joins the pattern that it is the same motif as. From `MODISCO_SURE_SEQLETS` on they look
at what has no instance of the patterns, at most `MAX_CLUSTERED` seqlets, and only what is in `MIN_SHARE` of all counts.

The same attributions and peaks give the same patterns: no step but the decoys of the usage table is random, and scores
are rounded first, since which seqlets TF-MoDISco clusters hangs on their last digits, and those on the size of batches.

*First use.* On a fresh installation TOMTOM and TF-MoDISco take minutes to compile; numba keeps the result on
disk. That is said when it is about to happen, and `compiling_kernels` does it ahead in another process.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import MotifError, UsageError, counted
from seqsal.io.attributions import Attributions, check_attributions
from seqsal.io.progress import bar as progress_bar
from seqsal.motifs.instances import with_instances
from seqsal.motifs.kmers import MIN_SEQLETS, align_kmers
from seqsal.motifs.match import announce_compilation, best_matches, group_motifs, match_motifs, threads_kept
from seqsal.motifs.matrices import Motif, read_motifs
from seqsal.motifs.patterns import MotifResult, Pattern, make_pattern, merge_alignments, trim
from seqsal.motifs.realign import realign
from seqsal.motifs.scan import scan_codes
from seqsal.motifs.seqlets import CONTEXT_BP, SEQLET_BP, Alignment, Seqlets, cut_seqlets
from seqsal.motifs.usage import motif_usage
from seqsal.sequence.codes import one_hot

__all__ = [
    "ALGORITHMS", "MAX_CLUSTERED", "MODISCO_MIN_SEQLETS", "align_modisco", "compile_kernels", "compile_modisco",
    "compile_tomtom", "compiling_kernels", "discover_motifs", "leiden_runs",
]  # fmt: skip

ALGORITHMS = ("auto", "modisco", "kmers")
MODISCO_MIN_SEQLETS = 100  # modisco-lite's own least size of a metacluster
N_LEIDEN_RUNS = (2, 16)
N_LEIDEN_ITERATIONS = 2  # leidenalg's own default; later ones moved a few seqlets between clusters of one motif
FULL_LEIDEN_SEQLETS = 250
MAX_CLUSTERED = 2_000
MODISCO_SURE_SEQLETS = 1_000  # below, TF-MoDISco may drop most instances: aligned k-mers look at all that it left out
MIN_SHARE = 0.002  # of a sign's seqlets
FLANK_BP = 3  # added to trimmed patterns before they are compared, as short ones have no small p-values
MORE_PEAKS = "give more regions, or call peaks with a larger --fdr"
_PSEUDOCOUNT = 0.25  # of each base, for positions that no instance knows
N_BACKGROUND = 2_000  # rows of controls that word frequencies are taken from
COMPILE_CODE = "import sys; sys.path.append(sys.argv[1]); import seqsal.motifs.discover as d; d.compile_kernels()"
_SIGNS = {"pos": "raise", "neg": "lower"}
logger = logging.getLogger(__name__)


def discover_motifs(
    attr: Attributions,
    peaks: pd.DataFrame,
    *,
    motif_db: str | os.PathLike[str] | Sequence[Motif] | None = None,
    algorithm: str = "auto",
    max_clustered: int = MAX_CLUSTERED,
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
    max_clustered
        Seqlets of a sign that TF-MoDISco clusters, at even steps down their order of strength; instances of its
        patterns are then looked for in all others. Its time grows with the square of this.
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
        An unknown algorithm; fewer than `MODISCO_MIN_SEQLETS` to cluster; peaks without the columns needed.
    RegionError
        A peak that no window covers.
    MotifError
        The database cannot be read; the algorithm `modisco` cannot cluster the seqlets.

    Examples
    --------
    >>> import numpy as np, pandas as pd, seqsal
    >>> from seqsal.regions import make_regions
    >>> from seqsal.sequence.codes import encode
    >>> codes = np.random.default_rng(0).integers(0, 4, (12, 60), dtype=np.uint8)
    >>> codes[:, 26:34] = encode("GATTACAC")
    >>> track = np.zeros((12, 60), np.float32)
    >>> track[:, 26:34] = 1
    >>> start = 100 * np.arange(12)
    >>> windows = make_regions(["chr1"] * 12, start, start + 60)
    >>> attr = seqsal.Attributions(windows, codes, track, prediction=np.ones(12, np.float32))
    >>> peaks = make_regions(["chr1"] * 12, start + 26, start + 34, summit=[4] * 12).assign(signal=8.0)
    >>> motifs = seqsal.discover_motifs(attr, peaks, algorithm="kmers")
    >>> motifs
    MotifResult(1 pattern from the peaks: 12 pos, 0 neg)
      Pattern(pos_pattern_1, GATTACAC, 12 instances, kmers)
    """
    check_attributions(attr)
    if algorithm not in ALGORITHMS:
        raise UsageError(f"algorithm: got {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    if max_clustered < MODISCO_MIN_SEQLETS:
        raise UsageError(f"max_clustered: got {max_clustered}, expected {MODISCO_MIN_SEQLETS} or more seqlets")
    if isinstance(motif_db, (str, os.PathLike)):
        database: Sequence[Motif] | None = read_motifs(motif_db)
        database_name: str | None = os.fspath(motif_db)
    else:
        database, database_name = motif_db, None if motif_db is None else f"{counted(len(motif_db), 'motif')} given"
    seqlets = cut_seqlets(attr, peaks, progress=progress)
    notes = [] if len(seqlets) else ["no peaks, so there are no motifs; call peaks with a larger --fdr to see more"]
    patterns: list[Pattern] = []
    for sign in progress_bar(_SIGNS, desc="motifs", unit="sign", disable=not progress):
        patterns.extend(_patterns_of_sign(seqlets.of_sign(sign), sign, algorithm, max_clustered, attr, notes))
    for note in notes:
        logger.warning("motifs: %s", note)
    if database is not None and patterns:
        patterns = _with_matches(patterns, database)
    return MotifResult(
        tuple(patterns),
        {sign: int((seqlets.table["sign"] == sign).sum()) for sign in _SIGNS},
        database=database_name,
        usage=None if database is None else motif_usage(attr, peaks, database, seed=seed, progress=progress),
        warnings=tuple(notes),
    )


def _patterns_of_sign(
    seqlets: Seqlets, sign: str, algorithm: str, max_clustered: int, attr: Attributions, notes: list[str]
) -> list[Pattern]:
    """Patterns of one sign, numbered from the most frequent."""
    peaks = f"{counted(len(seqlets), 'peak')} {_SIGNS[sign]}{'s' * (len(seqlets) == 1)} the prediction"
    if len(seqlets) < MIN_SEQLETS:
        if len(seqlets):
            notes.append(f"{peaks}, motif discovery needs {MIN_SEQLETS} or more: no pattern; {MORE_PEAKS}")
        return []
    rough = seqlets.rounded()  # where a pattern lies hangs on this alone, what it contributes on the full digits
    aligned = _align(rough, peaks, algorithm, max_clustered, attr, notes)
    if not aligned:
        notes.append(f"nothing recurs in the {_that(peaks)}")
    made = [
        make_pattern(trim(alignment, rough), seqlets, "pattern", used, attr.chrom_sizes)
        for alignment, used in _merged(aligned, rough)
    ]
    kept = [pattern for pattern in made if pattern is not None and pattern.n_seqlets >= MIN_SEQLETS]
    kept.sort(key=lambda pattern: -pattern.n_seqlets)
    return [pattern.rename(f"{sign}_pattern_{i}") for i, pattern in enumerate(kept, start=1)]


def _align(
    seqlets: Seqlets, peaks: str, algorithm: str, max_clustered: int, attr: Attributions, notes: list[str]
) -> list[tuple[Alignment, str]]:
    """Alignments of one sign's seqlets, each with the name of the algorithm that made it."""
    n_seqlets, used = len(seqlets), algorithm
    from seqsal.attribution.controls import control_codes  # which waits for torch

    # word frequencies are those of the controls, or of the windows of maps that seqsal did not make
    has_controls = attr.n_controls > 0 or ("seed" in attr.attrs and attr.method != "imported")
    background = control_codes(attr, N_BACKGROUND) if has_controls else np.asarray(attr.codes[:N_BACKGROUND])
    if algorithm == "auto":
        used = "modisco" if n_seqlets >= MODISCO_MIN_SEQLETS else "kmers"
        if used == "kmers":
            notes.append(
                f"{peaks}, TF-MoDISco needs {MODISCO_MIN_SEQLETS}: aligned k-mers were used instead, which find the "
                f"frequent motifs; for rarer ones, {MORE_PEAKS}"
            )
    if used == "kmers":
        return [(alignment, "kmers") for alignment in align_kmers(seqlets, background)]
    if seqlets.is_approximate:
        notes.append(
            "the attributions keep no hypothetical scores, so TF-MoDISco compared X · track alone; attribute with "
            "--hypothetical for patterns that also know the bases that are not there"
        )
    rows = _spread(n_seqlets, max_clustered)
    if len(rows) < n_seqlets:
        notes.append(
            f"{peaks}: TF-MoDISco clustered {len(rows):,} of them, at even steps down their order of strength, and "
            "instances of its patterns were looked for in all others"
        )
    try:
        found, failure = _clustered(seqlets, rows), ""
    except MotifError as error:
        if algorithm != "auto":
            raise
        found, failure = [], str(error).removeprefix("seqlets: ").partition(", expected")[0]
    if n_seqlets >= MODISCO_SURE_SEQLETS or len(rows) < n_seqlets:
        found = with_instances(
            [one for one, _ in _merged([(one, "modisco") for one in found], seqlets)], seqlets, len(rows)
        )
    named = [(alignment, "modisco") for alignment in found]
    if algorithm != "auto":
        return named
    if failure:
        notes.append(f"{failure}: aligned k-mers were used instead")
    elif not found:
        notes.append(f"TF-MoDISco found nothing in the {_that(peaks)}: aligned k-mers")
    left = np.setdiff1d(np.arange(n_seqlets), np.concatenate([np.zeros(0, np.int64), *(one.rows for one in found)]))
    looked = left[_spread(len(left), max_clustered)]
    rest = align_kmers(seqlets, background, looked)
    if n_seqlets >= MODISCO_SURE_SEQLETS:
        rest = [one for one in rest if len(one) * len(left) >= MIN_SHARE * n_seqlets * len(looked)]
    return [*named, *((alignment, "kmers") for alignment in rest)]


def _that(peaks: str) -> str:
    """Make `100 peaks raise …` part of a sentence."""
    return peaks.replace(" peaks ", " peaks that ", 1)


def _spread(n: int, most: int) -> NDArray[np.int64]:
    """Rows of n, at even steps if those are more than `most`."""
    return np.arange(n) if n <= most else np.arange(most) * n // most


def _clustered(seqlets: Seqlets, rows: NDArray[np.int64]) -> list[Alignment]:
    """TF-MoDISco's alignments of some of the seqlets."""
    some = seqlets.take(rows)
    if len(some) >= MODISCO_SURE_SEQLETS:
        logger.warning(
            "motifs: TF-MoDISco clusters %s, about half a minute for each thousand", counted(len(some), "seqlet")
        )
    found = (realign(one, some) for one in align_modisco(some))
    return [Alignment(rows[one.rows], one.start, one.reverse, one.width) for one in found]


def align_modisco(seqlets: Seqlets) -> list[Alignment]:
    """Cluster and align the seqlets of one sign, largest pattern first; `MotifError` where that cannot be done."""
    from modiscolite import core, tfmodisco

    _keep_compiled()
    announce_compilation("modiscolite", "TF-MoDISco", 50)
    letters = np.ascontiguousarray(one_hot(seqlets.codes).transpose(0, 2, 1), dtype=np.float32)  # (n, W, 4)
    scores = np.ascontiguousarray(seqlets.hypothetical.transpose(0, 2, 1), dtype=np.float32)
    tracks = core.TrackSet(one_hot=letters, contrib_scores=letters * scores, hypothetical_contribs=scores)
    first = (seqlets.width - SEQLET_BP) // 2
    pieces = [core.Seqlet(row, first, first + SEQLET_BP, False) for row in range(len(seqlets))]
    try:
        with threads_kept(), np.errstate(divide="ignore", invalid="ignore"):  # N in every seqlet, at windows' ends
            patterns = tfmodisco.seqlets_to_patterns(
                seqlets=tracks.create_seqlets(pieces),
                track_set=tracks,
                track_signs=-1 if (seqlets.table["sign"] == "neg").all() else 1,
                trim_to_window_size=30,
                initial_flank_to_add=10,
                n_leiden_runs=leiden_runs(len(seqlets)),
                n_leiden_iterations=-1 if len(seqlets) <= FULL_LEIDEN_SEQLETS else N_LEIDEN_ITERATIONS,
            )
    except BaseException as error:
        # leidenalg raises BaseException itself for NaN
        if type(error) is not BaseException and not isinstance(error, (ValueError, ArithmeticError)):
            raise
        raise MotifError(
            f"seqlets: TF-MoDISco cannot cluster these {len(seqlets)} ({str(error).rstrip('.')}), expected some that "
            "resemble each other and differ; take aligned k-mers with --algorithm kmers"
        ) from error
    aligned = [_alignment(pattern) for pattern in patterns or []]
    return sorted(aligned, key=len, reverse=True)


def leiden_runs(n_seqlets: int) -> int:
    """Seeds that Leiden starts from: 16 to `FULL_LEIDEN_SEQLETS`, then as many fewer as there are more seqlets.

    >>> [leiden_runs(n) for n in (100, 250, 500, 1000, 2000, 20_000)]
    [16, 16, 8, 4, 2, 2]
    """
    low, high = N_LEIDEN_RUNS
    return max(low, min(high, high * FULL_LEIDEN_SEQLETS // n_seqlets))


@cache
def _keep_compiled() -> None:
    """Let numba keep on disk what it compiles for modisco-lite, which does so itself only where it may fork."""
    from numba.core.dispatcher import Dispatcher

    loaded = [module for name, module in sys.modules.items() if name.startswith("modiscolite.")]
    for function in {value for module in loaded for value in vars(module).values() if isinstance(value, Dispatcher)}:
        if function.__module__.startswith("modiscolite"):
            try:
                function.enable_caching()
            except RuntimeError:  # no folder can be written: compiled in every process
                return


def _alignment(pattern: object) -> Alignment:
    """Coordinates of a pattern's seqlets, all of its length."""
    members = pattern.seqlets  # type: ignore[attr-defined]
    rows, start, reverse = zip(*((one.example_idx, one.start, one.is_revcomp) for one in members), strict=True)
    width = int(pattern.length)  # type: ignore[attr-defined]
    return Alignment(np.array(rows, dtype=np.int64), np.array(start, dtype=np.int64), np.array(reverse, bool), width)


def _merged(aligned: list[tuple[Alignment, str]], seqlets: Seqlets) -> list[tuple[Alignment, str]]:
    """One alignment a motif: those whose trimmed matrices match are put together, and named by the largest."""
    if len(aligned) < 2:
        return aligned
    ordered = sorted(aligned, key=lambda pair: len(pair[0]), reverse=True)
    cores = [trim(alignment, seqlets) for alignment, _ in ordered]
    flanked = [core.window(-FLANK_BP, core.width + 2 * FLANK_BP).within(seqlets.width) for core in cores]
    usable = [i for i, alignment in enumerate(flanked) if len(alignment)]
    motifs = [Motif(str(i), "", flanked[i].counts(seqlets) + _PSEUDOCOUNT, float(len(flanked[i]))) for i in usable]
    groups = [[ordered[usable[i]] for i in group] for group in group_motifs(motifs)]
    return [(_together([alignment for alignment, _ in group], seqlets), group[0][1]) for group in groups]


def _together(alignments: list[Alignment], seqlets: Seqlets) -> Alignment:
    merged = merge_alignments(alignments, seqlets)
    return realign(merged, seqlets) if len(alignments) > 1 else merged


def _with_matches(patterns: list[Pattern], database: Sequence[Motif]) -> list[Pattern]:
    """Add to each pattern its best match, and turn it to read as that does."""
    best = best_matches([pattern.motif for pattern in patterns], database).rename(columns={"target": "match"})
    return [
        replace(
            pattern.flip() if row["strand"] == "-" else pattern,
            match={key: row[key] for key in ("match", "accession", "p_value", "q_value")},
        )
        for pattern, row in zip(patterns, best.to_dict("records"), strict=True)
    ]


def compile_kernels() -> None:
    """Have numba compile and keep what naming motifs, scanning windows and TF-MoDISco take."""
    compile_tomtom()
    compile_modisco()


def compile_tomtom() -> None:
    """Name a motif and scan a window, so that numba compiles and keeps what that takes."""
    rng = np.random.default_rng(0)
    motifs = [Motif(f"motif_{i}", "", rng.integers(1, 50, (4, 8)).astype(np.float64), 100.0) for i in range(60)]
    match_motifs(motifs[:1], motifs)
    scan_codes(rng.integers(0, 4, (4, 200), dtype=np.uint8), motifs[:2])


def compile_modisco() -> None:
    """Cluster seqlets, so that numba compiles and keeps what that takes."""
    align_modisco(_two_words(np.random.default_rng(0)))


def _two_words(rng: np.random.Generator) -> Seqlets:
    """Make seqlets of two words of 12 bases, so that there is something to split and to merge."""
    n, width, half = 2 * MODISCO_MIN_SEQLETS, 12, CONTEXT_BP // 2
    codes = rng.integers(0, 4, (n, CONTEXT_BP), dtype=np.uint8)
    contributions = rng.normal(0, 0.1, (n, CONTEXT_BP)).astype(np.float32)
    word = np.s_[half - width // 2 : half + width // 2]
    codes[: n // 2, word], codes[n // 2 :, word] = rng.integers(0, 4, (2, width))
    contributions[:, word] += 1
    hypothetical = np.where(np.arange(4)[None, :, None] == codes[:, None], contributions[:, None], -0.1)
    table = pd.DataFrame({"sign": ["pos"] * n})
    return Seqlets(table, codes, hypothetical.astype(np.float32), contributions, is_approximate=False)


@contextmanager
def compiling_kernels() -> Iterator[subprocess.Popen[bytes]]:
    """Run :func:`compile_kernels` in another process for as long as the block lasts, at most.

    It looks for modules where they are installed and then where seqsal is, never in the current folder first.
    """
    command = [sys.executable, "-P", "-c", COMPILE_CODE, str(Path(__file__).resolve().parents[2])]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
