"""Elements in neutral sequence and where they stand: insert, remove, swap, pair, space, scan, interactions.

An *element* is a word: a motif's most frequent bases, a record of a FASTA, or letters. *Backgrounds* are dinucleotide
shuffles of the windows, so neutral in motifs and alike in composition. With f the prediction in the output space that
attributions are about, averaged over strands unless told otherwise, each experiment is a mean difference over n
sequences, with its 95 % interval:

* `insert`: f(background with A in its middle) − f(with control words in its place);
* `remove`: f(window) − f(window whose copy of A is replaced by control words), beyond what the same replacement
  elsewhere in the window takes away;
* `swap`: f(window with B in place of its copy of A) − f(window);
* `pair`: f(AB) − f(A) − f(B) + f(background), A and B a gap apart, against pairs of control words: what the two do
  together beyond what each does alone;
* `space`: the same at every distance and orientation;
* `scan`: f(window) − f(window with a tile of it shuffled), tile by tile;
* `interactions`: f(ab) − f(a) − f(b) + f(window), two bases of a window changed, the mean over 3 × 3 changes, against
  pairs as far apart in shuffles.

Control words are other orders of the same bases (:mod:`seqsal.experiments.words`): an effect has to stand out over the
sequences and among the words. `swap`, `space` and `scan` are tested over sequences alone, by a paired t-test. Q-values
are Benjamini–Hochberg's over the rows of a table.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.attribution.api import OpenRequest
from seqsal.errors import UsageError, counted, kind_of, shown
from seqsal.experiments.predict import Predictor
from seqsal.experiments.variants.null import EffectNull
from seqsal.experiments.words import (
    EQUAL,
    MAX_CONTROL_WORDS,
    Effect,
    effect_against,
    paired_effect,
    words_unlike,
    written,
)
from seqsal.io.fasta import read_fasta_records
from seqsal.io.progress import bar
from seqsal.motifs import Motif, read_motifs
from seqsal.motifs.formats import is_jaspar
from seqsal.sequence.codes import ALPHABET, N_CODE, decode, encode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number

__all__ = ["Bench", "Element", "read_elements"]

ORIENTATIONS = ("++", "+-", "-+", "--")
N_ELSEWHERE = 4  # placements of what is replaced elsewhere
NAME_CHARS = 40  # of an element, in messages
FEWEST = 5  # windows with a copy, to test what its removal does
N_SHUFFLES = 10  # that pairs of bases are compared with
PAIRED_BP, MOST_PAIRED = 20, 100  # bases whose pairs are changed: where nobody says which, and at most
FIRST_DRAW = 2_000  # of the shuffles that are backgrounds; others are taken by the audit
_EXPECTED = "expected bases such as GATTACA, a FASTA, a motif file or jaspar:RELEASE:TAXGROUP"
FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz")
Codes = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Element:
    """A word (w,) with its name."""

    name: str
    codes: Codes

    def __len__(self) -> int:
        return len(self.codes)

    def turned(self, strand: str) -> Codes:
        """Return the word as a strand reads it."""
        return reverse_complement(self.codes) if strand == "-" else self.codes


def read_elements(given: Any) -> list[Element]:
    """Read elements: letters, a FASTA, a motif file or database, or motifs, or several of these.

    UsageError: nothing, or letters that are not bases; SeqsalError: a file that cannot be read.

    >>> [(one.name, one.codes.tolist()) for one in read_elements("GATC")]
    [('GATC', [2, 0, 3, 1])]
    """
    if isinstance(given, Motif):
        return [Element(given.name, given.frequencies.argmax(axis=0).astype(np.uint8))]
    if isinstance(given, Element):
        return [given]
    if isinstance(given, (list, tuple)):
        return [element for one in given for element in read_elements(one)]
    if not isinstance(given, (str, os.PathLike)):
        raise UsageError(f"element: got {kind_of(given)}, expected bases, a FASTA, a motif file or motifs")
    text = os.fspath(given)
    if set(text.upper()) <= set(ALPHABET) and not os.path.exists(text):
        if not text:
            raise UsageError(f"element: got an empty text, {_EXPECTED}")
        return [Element(text.upper(), encode(text))]
    if not is_jaspar(text) and not os.path.exists(text):
        if set(text.upper()) <= set("ACGTUNRYSWKMBDHV"):
            raise UsageError(
                f"element: got {shown(text)}, expected A, C, G and T alone, as every base of it is written; choose one "
                "word, or give a motif file, whose most frequent bases are"
            )
        raise UsageError(f"{text}: no such file; {_EXPECTED}")
    if text.endswith(FASTA_SUFFIXES):
        return [Element(name, codes) for name, codes in read_fasta_records(text)]
    return read_elements(read_motifs(text))


class Bench:
    """A model, windows and their shuffles, for experiments; made of an open request, in a `with` block.

    Parameters
    ----------
    opened
        The model and the windows.
    n_sequences
        Backgrounds, and windows, at most.
    rc_average
        Average predictions over both strands.
    progress
        Show a progress bar.

    Raises
    ------
    UsageError
        Fewer than two sequences are wanted.
    """

    def __init__(
        self, opened: OpenRequest, *, n_sequences: int = 100, rc_average: bool = True, progress: bool | None = False
    ) -> None:
        if n_sequences < 2:
            raise UsageError(f"n_sequences: got {n_sequences}, expected 2 or more, for an interval")
        options = opened.request.options
        self.opened, self.seed, self.progress = opened, options.seed, progress
        source = opened.source
        self.length = source.length
        rows = np.arange(min(len(source), n_sequences)) * len(source) // min(len(source), n_sequences)
        self.windows = source.read(rows)
        self.names = source.windows["name"].iloc[rows].tolist()
        n_draws = -(-n_sequences // len(rows))
        draws = [dinucleotide_shuffle(self.windows, seed=self.seed, draw=draw_number("audit", FIRST_DRAW + draw))
                 for draw in range(n_draws)]  # fmt: skip
        self.backgrounds = np.concatenate(draws)[:n_sequences]
        self.predictor = Predictor(
            [opened.model], options.targets[:1], device=opened.device, rc_average=rc_average,
            batch_size=options.batch_size,
        )  # fmt: skip

    def __enter__(self) -> Bench:
        self.predictor.prepare(self.windows[:1], len(self.backgrounds) * MAX_CONTROL_WORDS)
        return self

    def __exit__(self, *error: object) -> None:
        self.predictor.__exit__(None, None, None)

    def insert(self, elements: Sequence[Element]) -> pd.DataFrame:
        """Measure what each element adds to neutral sequence."""
        self._check_width(elements)
        return self._table(self._bar(elements), ("element",), lambda one: [((one.name,), self._inserted(one))])

    def pair(self, elements: Sequence[Element], *, gap: int = 10) -> pd.DataFrame:
        """Measure what each two elements, one twice too, do together `gap` bp apart, beyond what each does alone."""
        self._check_width(elements, gap)
        pairs = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]

        def run(pair: tuple[Element, Element]) -> list[tuple[tuple[Any, ...], Effect]]:
            a, b = pair
            both = np.concatenate([a.codes, b.codes])[None]
            controls = [self._controls(one) for one in pair]
            n = min(map(len, controls))
            against = np.concatenate([one[:n] for one in controls], axis=1)

            def predict(words: Codes) -> Values:
                return np.stack([self._together(word[: len(a)], word[len(a) :], gap) for word in words])

            effect = effect_against(predict, predict(both), against, np.zeros(len(self.backgrounds)), 0.95)
            return [((a.name, b.name, gap), effect)]

        return self._table(self._bar(pairs), ("a", "b", "gap"), run)

    def space(self, a: Element, b: Element, *, distances: Iterable[int] = range(0, 51)) -> pd.DataFrame:
        """Measure what two elements do together at every distance (bp between) and orientation, A on the left."""
        gaps = list(distances)
        if not gaps or min(gaps) < 0:
            raise UsageError(f"distances: got {gaps[:5]}, expected whole numbers of bp, 0 or more")
        self._check_width([a, b], max(gaps))

        def run(gap: int) -> list[tuple[tuple[Any, ...], Effect]]:
            found = []
            for signs in ORIENTATIONS:
                values = self._together(a.turned(signs[0]), b.turned(signs[1]), gap)
                found.append(((a.name, b.name, gap, signs), paired_effect(values, self._scale)))
            return found

        return self._table(self._bar(gaps), ("a", "b", "distance", "orientation"), run)

    def remove(self, elements: Sequence[Element], *, mismatches: int = 1) -> pd.DataFrame:
        """Measure what each element is worth where it stands: the best copy of each window is replaced."""
        self._check_width(elements)

        def run(one: Element) -> list[tuple[tuple[Any, ...], Effect]]:
            rows, start, forward = self._copies(one, mismatches)
            if len(rows) < FEWEST:
                return [((one.name,), Effect(np.nan, None, np.nan, len(rows)))]
            codes = self.windows[rows]
            own = self._predict(codes)

            def predict(words: Codes) -> Values:
                return self.predictor.written(codes, words, start, forward)

            lost = own - self._predict(self._shuffled_elsewhere(codes, start, len(one))).mean(axis=0)
            return [((one.name,), effect_against(predict, own[None], self._controls(one), lost, 0.95))]

        return self._table(self._bar(elements), ("element",), run)

    def swap(self, a: Element, elements: Sequence[Element], *, mismatches: int = 1) -> pd.DataFrame:
        """Measure what each element does in place of the copies of A, begun where these begin."""
        self._check_width([a, *elements])
        rows, start, forward = self._copies(a, mismatches)
        if len(rows) < FEWEST:
            raise UsageError(
                f"{a.name}: {counted(len(rows), 'window')} with a copy, expected {FEWEST} or more; add regions"
            )
        codes = self.windows[rows]
        own = self._predict(codes)

        def run(one: Element) -> list[tuple[tuple[Any, ...], Effect]]:
            at = np.clip(np.where(forward, start, start + len(a) - len(one)), 0, self.length - len(one))
            values = self._predict(written(codes, one.codes[None], at, forward))[0] - own
            return [((a.name, one.name), paired_effect(values, self._scale))]

        return self._table(self._bar(elements), ("a", "b"), run)

    def scan(self, *, width: int = 20, step: int | None = None, n_draws: int = 10) -> pd.DataFrame:
        """Measure what each tile of each window is worth: it is shuffled `n_draws` times."""
        step = max(width // 2, 1) if step is None else step
        if not 1 <= width <= self.length or not 1 <= step <= self.length:
            raise UsageError(
                f"width, step: got {width} bp every {step}, expected each from 1 to {self.length} bp, the window's"
            )
        starts = range(0, self.length - width + 1, step)
        draws = [draw_number("audit", FIRST_DRAW + i) for i in range(n_draws)]
        shuffles = np.stack([dinucleotide_shuffle(self.windows, seed=self.seed, draw=draw) for draw in draws])
        own = self._predict(self.windows)

        def run(start: int) -> list[tuple[tuple[Any, ...], Effect]]:
            replaced = np.repeat(self.windows[None], n_draws, axis=0)
            replaced[:, :, start : start + width] = shuffles[:, :, start : start + width]
            values = own - self._predict(replaced)
            scale = float(np.abs(own).max())
            return [((name, start, start + width), paired_effect(values[:, row], scale))
                    for row, name in enumerate(self.names)]  # fmt: skip

        return self._table(self._bar(starts), ("region", "start", "end"), run)

    def interactions(self, *, within: tuple[int, int] | None = None, n_shuffles: int | None = None) -> pd.DataFrame:
        """Measure for each two bases of a stretch what changing both does beyond changing each."""
        start, end = within or (
            max(self.length // 2 - PAIRED_BP // 2, 0),
            min(self.length // 2 + PAIRED_BP // 2, self.length),
        )
        if not 0 <= start < end - 1 < self.length or end - start > MOST_PAIRED:
            raise UsageError(
                f"within: got {start}-{end}, expected 2 to {MOST_PAIRED} bp in the window of {self.length} bp"
            )
        n_shuffles = min(N_SHUFFLES, len(self.backgrounds)) if n_shuffles is None else n_shuffles
        if not 1 <= n_shuffles <= len(self.backgrounds):
            raise UsageError(f"n_shuffles: got {n_shuffles}, expected 1 to n_sequences, {len(self.backgrounds)}")
        i, j = np.triu_indices(end - start, 1)
        null, rows = [self._pairs(codes, start, end) for codes in self._bar(list(self.backgrounds[:n_shuffles]))], []
        own = [self._pairs(codes, start, end) for codes in self._bar(list(self.windows))]
        parents = np.repeat(np.arange(len(null)), len(i))
        fitted = EffectNull.fit(np.concatenate(null), np.tile(j - i, len(null)), parents)
        for name, codes, effects in zip(self.names, self.windows, own, strict=True):
            p = fitted.p_values(effects, j - i)
            bases = decode(codes[start:end])
            columns = (i + start, j + start, [bases[k] for k in i], [bases[k] for k in j], effects, p)
            rows += [(name, *row) for row in zip(*columns, strict=True)]
        table = pd.DataFrame(rows, columns=["region", "a", "b", "base_a", "base_b", "effect", "p_value"])
        return table.assign(q_value=_q_values(table["p_value"].to_numpy()))

    def _pairs(self, codes: Codes, start: int, end: int) -> Values:
        """Return for each two bases of a window (L,) the mean of f(ab) − f(a) − f(b) + f(window) over 3 × 3 changes."""
        width = end - start
        others = np.array([[base for base in range(4) if base != own][:3] for own in range(N_CODE + 1)], dtype=np.uint8)
        i, j = np.triu_indices(width, 1)
        own = codes[start:end]
        single = np.repeat(own[None], 3 * width, axis=0)  # position by position
        single[np.arange(3 * width), np.repeat(np.arange(width), 3)] = others[own].ravel()
        double = np.repeat(own[None], 9 * len(i), axis=0)
        rows = np.arange(9 * len(i))
        double[rows, np.repeat(i, 9)] = np.repeat(others[own[i]], 3, axis=1).ravel()
        double[rows, np.repeat(j, 9)] = np.tile(others[own[j]], (1, 3)).ravel()
        at, forward = np.array([start]), np.ones(1, dtype=bool)
        values = self.predictor.written(codes[None], np.concatenate([own[None], single, double]), at, forward)[:, 0]
        alone = values[1 : 1 + 3 * width].reshape(width, 3).mean(axis=1)
        beyond = values[1 + 3 * width :].reshape(-1, 9).mean(axis=1) - alone[i] - alone[j] + values[0]
        return np.where(np.abs(beyond) > EQUAL * max(float(np.abs(values).max()), EQUAL), beyond, 0.0)

    def _inserted(self, element: Element) -> Effect:
        start = np.full(len(self.backgrounds), (self.length - len(element)) // 2)
        forward = np.ones(len(start), dtype=bool)

        def predict(words: Codes) -> Values:
            return self.predictor.written(self.backgrounds, words, start, forward)

        controls = self._controls(element)
        return effect_against(predict, predict(element.codes[None]), controls, np.zeros(len(start)), 0.95)

    def _together(self, a: Codes, b: Codes, gap: int) -> Values:
        """Return f(AB) − f(A) − f(B) + f(background), (n,); what float32 rounds off is 0."""
        first = (self.length - len(a) - gap - len(b)) // 2
        second = first + len(a) + gap
        sequences = np.repeat(self.backgrounds[None], 3, axis=0)
        sequences[0, :, first : first + len(a)] = sequences[1, :, first : first + len(a)] = a
        sequences[0, :, second : second + len(b)] = sequences[2, :, second : second + len(b)] = b
        both, one, other = self._predict(sequences)
        beyond = both - one - other + self._neutral
        return np.where(np.abs(beyond) > EQUAL * max(np.abs(both).max(), self._scale), beyond, 0.0)

    @property
    def _neutral(self) -> Values:
        """Return f of the backgrounds, (n,)."""
        if not hasattr(self, "_of_backgrounds"):
            self._of_backgrounds = self._predict(self.backgrounds)
        return self._of_backgrounds

    @property
    def _scale(self) -> float:
        return float(np.abs(self._neutral).max())

    def _copies(
        self, element: Element, mismatches: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Find the best copy of each window that has one: rows, starts and whether it is forward, (m,) each."""
        views = np.lib.stride_tricks.sliding_window_view(self.windows, len(element), axis=1)
        off = np.stack([(views != word).sum(axis=2) for word in (element.codes, reverse_complement(element.codes))])
        least = off.min(axis=(0, 2))
        rows = np.flatnonzero(least <= mismatches)
        flat = off[:, rows].transpose(1, 2, 0).reshape(len(rows), -1).argmin(axis=1) if len(rows) else rows
        return rows, flat // 2, flat % 2 == 0

    def _shuffled_elsewhere(self, codes: Codes, start: NDArray[np.int64], width: int) -> Codes:
        """Put as many bases away from the copies in another order, (N_ELSEWHERE, m, L)."""
        rng = np.random.default_rng([self.seed % 2**32, zlib.crc32(b"elsewhere"), width])
        changed = np.repeat(codes[None], N_ELSEWHERE, axis=0)
        for row, at in enumerate(start.tolist()):
            free = [i for i in range(self.length - width + 1) if i + width <= at or i >= at + width]
            for draw in range(N_ELSEWHERE if free else 0):
                first = int(rng.choice(free))
                span = changed[draw, row, first : first + width]
                changed[draw, row, first : first + width] = rng.permutation(span)
        return changed

    def _controls(self, element: Element) -> Codes:
        rng = np.random.default_rng([self.seed % 2**32, zlib.crc32(decode(element.codes).encode())])
        return words_unlike(element.codes, rng, lambda: self.backgrounds)

    def _predict(self, codes: Codes) -> Values:
        """Predict sequences (..., L), (...)."""
        return self.predictor.predict(codes.reshape(-1, self.length))[:, 0].reshape(codes.shape[:-1])

    def _check_width(self, elements: Sequence[Element], gap: int | None = None) -> None:
        """Raise unless the elements, or each two of them with a gap between, fit into the window."""
        if not elements:
            raise UsageError("element: got none, expected one or more")
        longest = max(elements, key=len)
        name = longest.name[:NAME_CHARS]
        for one in elements:
            if not len(one) or one.codes.max() >= N_CODE:
                raise UsageError(f"{one.name}: holds no bases or unknown ones, expected A, C, G and T alone")
        if gap is not None and 2 * len(longest) + gap > self.length:
            raise UsageError(
                f"{name}: two of {len(longest)} bp and {gap} bp between do not fit into the window of "
                f"{self.length} bp; give shorter distances"
            )
        if len(longest) > self.length:
            raise UsageError(f"{name}: {len(longest)} bp do not fit into the window of {self.length} bp; leave it out")

    def _bar(self, items: Sequence[Any]) -> Iterator[Any]:
        disable = None if self.progress is None else not self.progress
        with bar(
            total=len(items), unit="experiment", disable=disable, delay=3 if self.progress is None else 0
        ) as shown:
            for item in items:
                yield item
                shown.update(1)

    def _table(
        self, items: Iterable[Any], names: tuple[str, ...],
        run: Callable[[Any], list[tuple[tuple[Any, ...], Effect]]],
    ) -> pd.DataFrame:  # fmt: skip
        """Run experiments, and make a table of what they came to."""
        found = [row for item in items for row in run(item)]
        table = pd.DataFrame([key for key, _ in found], columns=list(names))
        table["effect"] = [effect.mean for _, effect in found]
        for side, name in enumerate(("low", "high")):
            table[name] = [np.nan if effect.ci is None else effect.ci[side] for _, effect in found]
        table["p_value"] = p = np.array([effect.p_value for _, effect in found], dtype=np.float64)
        return table.assign(q_value=_q_values(p), n=[effect.n for _, effect in found])


def _q_values(p: Values) -> Values:
    """Return Benjamini–Hochberg's, NaN where nothing was tested."""
    from scipy.stats import false_discovery_control

    q, tested = np.full(len(p), np.nan), np.isfinite(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return q
