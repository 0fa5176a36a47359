"""The part of every window that is kept: `span` of a request, found in the windows, cut out and put back.

The model always reads whole windows. Methods that follow a gradient score all of a window in one go and are cut
afterwards, after the check of the sum that they promise, which is one of the whole window; mutagenesis scores the kept
bases alone.
"""

from __future__ import annotations

import operator
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import UsageError, shown
from seqsal.regions import Span, cut_windows, lift_span
from seqsal.sequence.codes import N_CODE

__all__ = ["KeptSpans", "WindowReader", "check_span", "find_span"]

Codes = NDArray[np.uint8]
Rows = NDArray[np.int64]


class WindowReader(Protocol):
    """Where windows come from: :class:`seqsal.io.inputs.WindowSource` or codes in memory."""

    windows: pd.DataFrame
    rejected: pd.DataFrame
    length: int
    chrom_sizes: dict[str, int]
    provenance: dict[str, Any]

    def read(self, rows: slice | Rows) -> Codes:
        """Return codes of some windows, (n, L) uint8."""
        ...


def check_span(span: Any, flank: int) -> int | str | Span | None:
    """Return a span in plain form: a number of bases, ``region``, a :class:`Span`, or None for the whole window.

    Raises
    ------
    UsageError
        It is none of these, or there is a flank with nothing to widen.
    """
    expected = "a number of bases, 'region' or 'window'"
    text = span.strip() if isinstance(span, str) else None
    if text is not None and text.isdigit():
        span = int(text)
    if text == "window" or span is None:
        if flank:
            raise UsageError(
                f"flank: got {flank} bp, which widens a span; give span too, {expected.removesuffix(chr(39))}"
            )
        return None
    if text == "region" or isinstance(span, Span):
        return text or span
    if isinstance(span, (tuple, list)) and len(span) == 2:
        return Span(*map(int, span))
    try:
        width = operator.index(span)
    except TypeError:
        width = 0
    if width < 1 or isinstance(span, bool):
        raise UsageError(f"span: got {shown(span)}, expected {expected}")
    return width


def find_span(span: int | str | Span | None, flank: int, source: WindowReader) -> Span:
    """Say which part of the windows is kept: the middle one of so many bases, or where the regions are.

    Raises
    ------
    UsageError
        It is wider than the windows or outside of them, or they were not laid around regions.
    """
    length = source.length
    if span is None:
        return Span(0, length)
    if isinstance(span, Span):
        if not 0 <= span.start < span.end <= length:
            raise UsageError(f"span: got {span.start} to {span.end}, expected a part of the window, 0 to {length}")
        return span
    if span == "region":
        if "region_start" not in source.windows:
            raise UsageError(
                "span: got 'region' for windows that are given directly, expected genome and regions, or fasta; "
                "give a number of bases"
            )
        first, last = _region_offsets(source.windows)
        return Span(int(first.min()), int(last.max()))
    assert isinstance(span, int)
    width = span + 2 * flank
    if width > length:
        of_flanks = f" with {flank} bp on either side" if flank else ""
        raise UsageError(
            f"span: got {width:,} bp{of_flanks}, wider than the model's window of {length:,} bp; give that at most"
        )
    start = (length - width) // 2
    return Span(start, start + width)


class KeptSpans:
    """The kept span of every window, as a reader of K bases a window.

    Bases of a span that are outside a narrower region read as N.

    Attributes
    ----------
    windows
        Their table, with where the windows are that they are parts of.
    """

    def __init__(self, source: WindowReader, span: Span) -> None:
        self.source, self.span, self.length = source, span, span.length
        self.windows, self.rejected = cut_windows(source.windows, span), source.rejected
        self.chrom_sizes, self.provenance = source.chrom_sizes, source.provenance
        self.inside = _inside(self.windows)

    def read(self, rows: slice | Rows) -> Codes:
        """Return codes of some spans, (n, K) uint8."""
        return self.cut(self.source.read(rows), rows)

    def cut(self, codes: Codes, rows: slice | Rows) -> Codes:
        """Return the spans (n, K) of whole windows (n, L), which are some rows of the source."""
        kept = codes[:, self.span.start : self.span.end]
        if self.inside is None:
            return kept
        first, last = (column[rows, None] for column in self.inside)
        offset = np.arange(self.length)
        return np.where((offset >= first) & (offset < last), kept, np.uint8(N_CODE))

    def put(self, kept: Codes, rows: Rows) -> Codes:
        """Return whole windows (n, L), those of some rows with other known bases in their spans (n, K)."""
        if self.length == self.source.length:
            return kept
        codes = np.array(self.source.read(rows))
        here = codes[:, self.span.start : self.span.end]
        np.copyto(here, kept, where=kept != N_CODE)
        return codes


def _inside(regions: pd.DataFrame) -> tuple[Rows, Rows] | None:
    """Where the region begins and ends in each span, if some are narrower than the span."""
    if "region_start" not in regions:
        return None
    first, last = _region_offsets(regions)
    is_all = (last - first == (regions["end"] - regions["start"]).to_numpy()).all()
    return None if is_all else (first, last)


def _region_offsets(windows: pd.DataFrame) -> tuple[Rows, Rows]:
    """Where the region that each window, or span, was laid around begins and ends in it, as the model reads it."""
    start, end, strand = (windows[key].to_numpy() for key in ("start", "end", "strand"))
    low, high = (windows[key].to_numpy(np.int64) - start for key in ("region_start", "region_end"))
    return lift_span(np.zeros_like(low), end - start, strand, low, high)
