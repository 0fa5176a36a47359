"""Attributions made by others, as an attribution file.

Scores (:mod:`seqsal.interop.foreign`) meet the windows that they are about (:mod:`seqsal.interop.scored_windows`),
and become
what seqsal's own attributions are but for what only the model knows: `method` is `imported`, predictions are NaN, and
there are no controls unless they were scored too (:mod:`seqsal.interop.controls`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from seqsal.errors import StoreError, UsageError
from seqsal.interop.controls import ParentFinder
from seqsal.interop.foreign import Given, Scores
from seqsal.interop.scored_windows import ScoredChunk, ScoredWindows, open_scored_windows
from seqsal.io.store_layout import StoreLayout
from seqsal.io.sweep import CHUNK_BP, chunk_rows
from seqsal.sequence.codes import N_CODE
from seqsal.version import VERSION

__all__ = ["IMPORTED", "ImportedScores", "RowSink"]

IMPORTED = "imported"
Rows = NDArray[np.float32]
_PATH = str | os.PathLike[str]
logger = logging.getLogger(__name__)


class RowSink(Protocol):
    """Where rows go: :class:`seqsal.io.store_writer.AttributionWriter`, or memory."""

    def write(self, part: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take rows from `start` on."""
        ...


class ImportedScores:
    """Scores of others on their way into attributions; a context manager.

    Parameters
    ----------
    scores
        A file, or an array (N, 4, L) or (N, L): see :mod:`seqsal.interop.foreign`.
    sequences
        One-hot (N, 4, L) as an array, `.npz` or `.npy`, or a FASTA of the windows, where the scores bring none.
    regions, genome
        Where the windows are; sequences come from the genome where there are no others, and else must agree with it.
    length
        L, for a bigWig with regions of several lengths, which are centred on summit or midpoint.
    stranded
        Rows of regions on "-" are reverse complements; by default all rows are forward.
    null, null_sequences
        The same for dinucleotide-preserving shuffles of the windows: scores, and one-hot or FASTA.
    output_space
        What the scores are about, such as `logit`.

    Attributes
    ----------
    layout
        What the attributions hold.
    attrs
        What they say about themselves.

    Raises
    ------
    UsageError
        Something needed is missing, or contradicts something else.
    StoreError
        A file is damaged or of another kind, or its shape, values or sequences cannot be.
    RegionError
        As many regions as scores are needed, on the genome, and with the sequences that were scored.
    """

    def __init__(
        self,
        scores: Given,
        *,
        sequences: Given | None = None,
        regions: _PATH | pd.DataFrame | None = None,
        genome: _PATH | None = None,
        length: int | None = None,
        stranded: bool = False,
        null: Given | None = None,
        null_sequences: Given | None = None,
        output_space: str = "unknown",
    ) -> None:
        if null is None and null_sequences is not None:
            raise UsageError("null_sequences: given without null; give the scores of the controls too")
        self._files = ExitStack()
        with ExitStack() as opened:
            self._main = open_scored_windows(
                scores, sequences, regions=regions, genome=genome, length=length, stranded=stranded
            )
            opened.enter_context(self._main.source)
            self._null = None if null is None else open_scored_windows(null, null_sequences, is_null=True)
            if self._null is not None:
                opened.enter_context(self._null.source)
                self._check_null(self._null)
            self._keeps_hypothetical = _scores_absent_bases(self._main.scores)
            self._files = opened.pop_all()
        self._n_missing = 0
        source = self._main.source
        self.layout = StoreLayout(
            regions=source.windows,
            rejected=source.rejected,
            length=source.length,
            chrom_sizes=source.chrom_sizes,
            n_controls=0 if self._null is None else len(self._null.source),
            hypothetical=self._keeps_hypothetical,
        )
        self.attrs = self._describe(output_space)

    def stream(self, sink: RowSink, *, chunk_bp: int = CHUNK_BP, progress: bool = False) -> None:
        """Send every window, then every control, to a sink.

        Parameters
        ----------
        sink
            Takes them.
        chunk_bp
            Bases at a time.
        progress
            Show a progress bar.
        """
        finder = ParentFinder()
        step = chunk_rows(4 * self.layout.length, chunk_bp)
        total = len(self.layout.regions) + self.layout.n_controls
        with tqdm(total=total, desc="import", unit="window", disable=not progress) as bar:
            for chunk in self._main.chunks(step):
                if self._null is not None:
                    finder.add(chunk.codes)
                sink.write("main", chunk.start, self._arrays(self._main, chunk))
                bar.update(len(chunk.codes))
            if self._null is not None:
                self._stream_null(self._null, finder, sink, step, bar)
        self._warn()

    def _stream_null(self, null: ScoredWindows, finder: ParentFinder, sink: RowSink, step: int, bar: tqdm[Any]) -> None:
        for chunk in null.chunks(step):
            source = finder.find(chunk.codes, null.scores.name, chunk.start)
            arrays = self._arrays(null, chunk)
            arrays.pop("hypothetical", None)
            sink.write("null", chunk.start, {**arrays, "source": source})
            bar.update(len(chunk.codes))

    def close(self) -> None:
        """Release the files."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        what, cure = "scores that are not finite", "score it again"
        bad = lacks.any(axis=1)
        if part.scores.kind == "bigwig":
            self._n_missing += int(lacks.sum())
            what, cure = "no value at all", "give only regions that were scored"
            bad = (lacks == known).all(axis=1) & known.any(axis=1)
        if bad.any():
            where = part.describe(chunk.start + int(np.argmax(bad)))
            others = int(bad.sum()) - 1
            raise StoreError(f"{part.scores.name}: {where} and {others} more have {what}, expected numbers; {cure}")
        return np.where(np.isfinite(chunk.values), chunk.values, np.float32(0))

    def _check_null(self, null: ScoredWindows) -> None:
        if null.source.length != self._main.source.length:
            raise StoreError(
                f"{null.scores.name}: controls of {null.source.length} bp, expected {self._main.source.length} bp as "
                "the windows; make them with `seqsal controls` from the same regions and length"
            )

    def _describe(self, output_space: str) -> dict[str, Any]:
        """Root attributes of the attribution file."""
        files = {"scores": self._main.scores, "null": None if self._null is None else self._null.scores}
        return {
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
            "genome": dict(self._main.source.provenance),
            "options": {"input_length": self.layout.length},
            IMPORTED: {
                name: {"file": scores.name, "format": scores.kind}
                for name, scores in files.items()
                if scores is not None
            },
        }

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


def _scores_absent_bases(scores: Scores) -> bool:
    """Whether anywhere more than one of the four bases has a score."""
    if not scores.has_all_bases:
        return False
    step = chunk_rows(4 * scores.length)
    return any(bool((np.count_nonzero(values, axis=1) > 1).any()) for values in scores.values.read(step))
