"""Attributions that other programs make, as attribution files, and the controls that these programs need to score.

Scores meet the windows that they are about (:mod:`seqsal.interop.scores`) and become what seqsal's own attributions are
but for what only the model knows: `method` is `imported`, predictions are NaN, and there are no controls unless they
were scored too.

A control is worth something as a null only if it is what seqsal's own are: a window with its bases in another order and
every dinucleotide as often as before. That can be told from its sequence alone, so nothing but the sequences has to
survive the other program.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.errors import StoreError, UsageError
from seqsal.interop.scores import ArrayOrPath, FilePath, ScoredChunk, ScoredWindows, open_scored_windows
from seqsal.io.atomic import all_or_nothing, atomic_path, check_writable
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.inputs import open_input
from seqsal.io.store import StoreLayout, read_attributions
from seqsal.io.store_writer import AttributionWriter, MemorySink
from seqsal.io.sweep import CHUNK_BP, chunk_rows
from seqsal.regions import format_region, make_regions
from seqsal.sequence.codes import N_CODE, decode
from seqsal.sequence.draws import ShuffledControls, control_parents, default_n_controls
from seqsal.version import VERSION

__all__ = ["ImportedScores", "import_attributions", "write_controls"]

IMPORTED = "imported"
FASTA_SUFFIXES = (".fa", ".fasta")
_N_PAIRS = 16
Rows = NDArray[np.float32]
logger = logging.getLogger(__name__)


def import_attributions(
    scores: ArrayOrPath,
    *,
    sequences: ArrayOrPath | None = None,
    regions: FilePath | pd.DataFrame | None = None,
    genome: FilePath | None = None,
    length: int | None = None,
    stranded: bool = False,
    null: ArrayOrPath | None = None,
    null_sequences: ArrayOrPath | None = None,
    output_space: str = "unknown",
    out: FilePath | None = None,
    progress: bool = False,
) -> Attributions:
    """Take attributions that another program made, so that peaks, motifs, logos and the audit work on them.

    Parameters
    ----------
    scores
        chrombpnet's contribution scores (`*_scores.h5`); `.npz` or `.npy` of (N, 4, L), as modisco-lite reads them, or
        of a track (N, L); such an array; or a bigWig, which needs regions and genome.
    sequences
        One-hot (N, 4, L), an array, `.npz` or `.npy`, or FASTA, where the scores bring none.
    regions, genome
        Where the windows are, one region a row of the scores: the L bp around its summit or else midpoint. The
        sequences come from the genome where nothing else brings them, and else must agree with it.
    length
        L in bp, for a bigWig with regions of several lengths.
    stranded
        Rows of regions on "-" hold the reverse complement; by default every row is forward.
    null, null_sequences
        Scores, and sequences, of the controls of :func:`seqsal.write_controls`; without them there can be no peaks.
    output_space
        What the scores are about, such as `logit`.
    out
        Attribution file to write; the arrays of the result then stay on disk, and memory stays flat.
    progress
        Show a progress bar.

    Returns
    -------
    Attributions
        Of method `imported`; predictions are NaN, and hypothetical scores are kept if the file has them.

    Raises
    ------
    UsageError, StoreError, RegionError, FastaError, BedError, OutputError
        Something is missing, damaged or does not fit: shapes, sequences or places; see the message.

    Examples
    --------
    >>> import numpy as np
    >>> import seqsal
    >>> X = np.eye(4, dtype=np.float32)[None, :, [0, 1, 2, 3, 0]]  # ACGTA
    >>> attr = seqsal.import_attributions(2 * X, sequences=X)
    >>> attr.method, attr.track.tolist()
    ('imported', [[2.0, 2.0, 2.0, 2.0, 2.0]])
    """
    if null is None and null_sequences is not None:
        raise UsageError("null_sequences: given without null; give the scores of the controls too")
    with ExitStack() as files:
        main = open_scored_windows(scores, sequences, regions=regions, genome=genome, length=length, stranded=stranded)
        files.enter_context(main.source)
        controls = None if null is None else open_scored_windows(null, null_sequences, is_null=True)
        if controls is not None:
            files.enter_context(controls.source)
        opened = ImportedScores(main, controls, output_space)
        if out is None:
            sink, layout = MemorySink(opened.layout), opened.layout
            opened.stream(sink, progress=progress)
            return Attributions(
                layout.regions, **sink.fields(None), rejected=layout.rejected, chrom_sizes=dict(layout.chrom_sizes),
                attrs=opened.attrs,
            )  # fmt: skip
        with AttributionWriter(out, opened.layout, opened.attrs, resume=False) as writer:
            opened.stream(writer, progress=progress)
            writer.finish()
    return read_attributions(out, in_memory=False)


def write_controls(
    out: FilePath,
    *,
    genome: FilePath | None = None,
    regions: FilePath | pd.DataFrame | None = None,
    fasta: FilePath | None = None,
    length: int | None = None,
    n_controls: int | None = None,
    seed: int = 0,
    stranded: bool = False,
) -> list[Path]:
    r"""Write dinucleotide-preserving shuffles of windows, to be attributed by another program and imported as `null`.

    Parameters
    ----------
    out
        FASTA, a record a control; `X.regions.bed`, narrowPeak with a line a record, goes next to it.
    genome, regions, fasta
        The windows that are attributed: genome and regions, or sequences alone.
    length
        Window in bp, where the regions differ from it.
    n_controls
        How many; None is one a window, 100 to 1,000 and at least 200 kb.
    seed
        Of the shuffles.
    stranded
        Read regions on "-" as reverse complements; by default all are forward, as in :func:`import_attributions`.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError, FastaError, BedError, RegionError, OutputError
        Input that cannot be used, or a file that cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import seqsal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     windows = Path(folder, "windows.fa")
    ...     _ = windows.write_text(">w1\nACGTACGTGG\n")
    ...     written = seqsal.write_controls(Path(folder, "c.fa"), fasta=windows, n_controls=2)
    ...     print([path.name for path in written], written[0].read_text().count(">"))
    ['c.fa', 'c.regions.bed'] 2
    """
    path = check_writable(out)
    if path.suffix not in FASTA_SUFFIXES:
        raise UsageError(f"{path}: unknown extension, expected {' or '.join(FASTA_SUFFIXES)}; give a FASTA name")
    forward = fasta is None and not stranded  # records are as they are written
    with open_input(genome=genome, regions=regions, fasta=fasta, length=length, ignore_strand=forward) as source:
        n = default_n_controls(len(source), source.length) if n_controls is None else n_controls
        parents = control_parents(np.arange(n, dtype=np.int64), len(source), n)
        windows = source.windows.iloc[parents]
        of = [format_region(*row) for row in zip(windows["chrom"], windows["start"], windows["end"], strict=True)]
        step, controls = chunk_rows(source.length), ShuffledControls(source, parents, seed=seed)
        names = [f"control_{row + 1}" for row in range(len(parents))]
        table = make_regions(names, np.zeros_like(parents), np.full_like(parents, source.length), name=of, score=0)
        values = {"signal": 0.0, "p_value": np.nan, "q_value": np.nan, "summit": source.length // 2}
        beside = path.with_suffix(".regions.bed")
        with all_or_nothing():
            with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
                for start in range(0, len(parents), step):
                    shuffled = controls.read(slice(start, min(start + step, len(parents))))
                    file.writelines(
                        f">control_{row + 1} shuffle of {of[row]}\n{decode(codes)}\n"
                        for row, codes in enumerate(shuffled, start)
                    )
            write_narrowpeak(table.assign(**values), beside)
        return [path, beside]


class RowSink(Protocol):
    """Where rows go: :class:`seqsal.io.store_writer.AttributionWriter`, or memory."""

    def write(self, part: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take rows from `start` on."""
        ...


class ImportedScores:
    """Scores of others on their way into attributions, of which `layout` and `attrs` are known before the first row."""

    def __init__(self, main: ScoredWindows, null: ScoredWindows | None = None, output_space: str = "unknown") -> None:
        source = main.source
        if null is not None and null.source.length != source.length:
            raise StoreError(
                f"{null.scores.name}: controls of {null.source.length} bp, expected {source.length} bp as the windows; "
                "make them with `seqsal controls` from the same regions and length"
            )
        self._main, self._null, self._n_missing = main, null, 0
        # whether anywhere more than one of the four bases has a score
        self._keeps_hypothetical = main.scores.has_all_bases and any(
            bool((np.count_nonzero(values, axis=1) > 1).any())
            for values in main.scores.values.read(chunk_rows(4 * source.length))
        )
        self.layout = StoreLayout(
            regions=source.windows,
            rejected=source.rejected,
            length=source.length,
            chrom_sizes=source.chrom_sizes,
            n_controls=0 if null is None else len(null.source),
            hypothetical=self._keeps_hypothetical,
        )
        files = {"scores": main.scores, "null": None if null is None else null.scores}
        self.attrs: dict[str, Any] = {
            "seqsal_version": VERSION,
            "method": IMPORTED,
            "result": IMPORTED,
            "results": [IMPORTED],
            "target": 0,
            "output_space": output_space,
            "gradient_correction": False,
            "signed": True,
            "seed": 0,
            "model": {},
            "genome": dict(source.provenance),
            "options": {"input_length": source.length},
            IMPORTED: {name: {"file": one.name, "format": one.kind} for name, one in files.items() if one is not None},
        }

    def stream(self, sink: RowSink, *, chunk_bp: int = CHUNK_BP, progress: bool = False) -> None:
        """Send every window, then every control, to a sink, `chunk_bp` bases at a time."""
        finder = ParentFinder()
        step = chunk_rows(4 * self.layout.length, chunk_bp)
        total = len(self.layout.regions) + self.layout.n_controls
        with tqdm(total=total, desc="import", unit="window", disable=not progress) as bar:
            for chunk in self._main.chunks(step):
                if self._null is not None:
                    finder.add(chunk.codes)
                sink.write("main", chunk.start, self._arrays(self._main, chunk))
                bar.update(len(chunk.codes))
            if (null := self._null) is not None:
                for chunk in null.chunks(step):
                    source = finder.find(chunk.codes, null.scores.name, chunk.start)
                    arrays = self._arrays(null, chunk)
                    arrays.pop("hypothetical", None)
                    sink.write("null", chunk.start, {**arrays, "source": source})
                    bar.update(len(chunk.codes))
        self._warn()

    def _arrays(self, part: ScoredWindows, chunk: ScoredChunk) -> dict[str, NDArray[Any]]:
        """Rows of the attribution file."""
        values, codes, known = self._finite(part, chunk), chunk.codes, chunk.codes != N_CODE
        arrays: dict[str, NDArray[Any]] = {"codes": codes, "prediction": np.full(len(codes), np.nan, np.float32)}
        if values.ndim == 2:
            return arrays | {"track": np.where(known, values, np.float32(0))}
        present = np.where(known, codes, 0).astype(np.intp)[:, None]
        track = np.where(known, np.take_along_axis(values, present, axis=1)[:, 0], np.float32(0))
        if self._keeps_hypothetical:
            return arrays | {"track": track, "hypothetical": values}
        elsewhere = np.count_nonzero(values, axis=(1, 2)) != np.count_nonzero(track, axis=1)
        if elsewhere.any():
            raise StoreError(
                f"{part.scores.name}: {part.describe(chunk.start + int(np.argmax(elsewhere)))} has scores for bases "
                "that are not in its sequence, expected those of the base that is there or of all four; give the "
                "sequences that were scored"
            )
        return arrays | {"track": track}

    def _finite(self, part: ScoredWindows, chunk: ScoredChunk) -> Rows:
        """Scores with 0 where there is none to be: at unknown bases, and where a bigWig leaves bases out."""
        known = chunk.codes != N_CODE
        lacks = ~np.isfinite(chunk.values if chunk.values.ndim == 2 else chunk.values.sum(axis=1)) & known
        what, remedy = "scores that are not finite", "score it again"
        bad = lacks.any(axis=1)
        if part.scores.kind == "bigwig":
            self._n_missing += int(lacks.sum())
            what, remedy = "no value at all", "give only regions that were scored"
            bad = (lacks == known).all(axis=1) & known.any(axis=1)
        if bad.any():
            where = part.describe(chunk.start + int(np.argmax(bad)))
            others = int(bad.sum()) - 1
            raise StoreError(f"{part.scores.name}: {where} and {others} more have {what}, expected numbers; {remedy}")
        return np.where(np.isfinite(chunk.values), chunk.values, np.float32(0))

    def _warn(self) -> None:
        name = self._main.scores.name
        if self._n_missing:
            logger.warning("%s: has no value at %s bases, which count as 0", name, f"{self._n_missing:,}")
        if self._main.scores.has_all_bases and not self._keeps_hypothetical:
            logger.warning(
                "%s: scores only the base that is there, so there are no hypothetical scores of all four bases", name
            )
        if not self._main.has_sequences:
            logger.warning(
                "%s: no genome was given, so its sequences were not compared with one, and chromosomes count as long "
                "as the windows reach",
                name,
            )


class ParentFinder:
    """Finds the window that a control is a shuffle of, by its dinucleotides.

    The 16 counts of adjacent known bases, and the number of pairs with an unknown one, are the same in a window and in
    its shuffles.
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._n = 0

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Take windows (n, L), the next rows."""
        for row, key in enumerate(_composition(codes), start=self._n):
            self._rows.setdefault(key.tobytes(), row)
        self._n += len(codes)

    def find(self, codes: NDArray[np.uint8], name: str, first: int) -> NDArray[np.int64]:
        """Return the row (n,) that each control (n, L) is a shuffle of; raises StoreError where there is none."""
        rows = np.array([self._rows.get(key.tobytes(), -1) for key in _composition(codes)], dtype=np.int64)
        if (rows < 0).any():
            raise StoreError(
                f"{name}: sequence {first + int(np.argmax(rows < 0))} (from 0) is not a dinucleotide-preserving "
                "shuffle of any of the windows, which controls must be; make them with `seqsal controls` from the same "
                "regions, score them as the windows were, and give those"
            )
        return rows


def _composition(codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the counts (n, 17) of the dinucleotides, and of pairs with an unknown base."""
    left, right = codes[:, :-1].astype(np.int64), codes[:, 1:].astype(np.int64)
    pair = np.where((left == N_CODE) | (right == N_CODE), _N_PAIRS, 4 * left + right)
    pair += np.arange(len(codes))[:, None] * (_N_PAIRS + 1)
    counts = np.bincount(pair.ravel(), minlength=len(codes) * (_N_PAIRS + 1))
    return counts.reshape(len(codes), _N_PAIRS + 1).astype(np.int32)
