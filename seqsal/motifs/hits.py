"""Instances of patterns in all windows: competitive fits of their CWMs to the map, with calibrated p-values.

With Z = X · track (4, L) on the forward strand, and a pattern's CWM c scaled to length 1, a place and a strand have a

    projection  s = Σ c · Z        (what of the map is of this shape, in units of the attributed output)
    similarity  r = s / |Z there|  (cosine: 1 where the map is the CWM at any height)

and a score s · r, which asks for both height and shape. *Scan*: places of all patterns and both strands are taken from
the best score down; what a place has explained counts as 0 for those after it, and one that shares more than a fifth
with a better one goes. *Fi-NeMo* (the package finemo): the map of a window is fitted as a sparse sum of CWMs, so that
patterns compete for each base; places are those with a coefficient above 0, and their scores are the same s · r.

A p-value is the number of hits as good that the same procedure finds in a control, on average, pattern by pattern,
with a tail beyond the best of them (:class:`seqsal.peaks.null.NullDistribution`); q-values are Benjamini–Hochberg's
over the windows.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import MotifError, StoreError, UsageError
from seqsal.io.attributions import Attributions, check_attributions
from seqsal.io.progress import bar
from seqsal.io.sweep import forward_layers
from seqsal.motifs.patterns import Pattern, core_columns
from seqsal.peaks.null import NullDistribution
from seqsal.sequence.codes import N_CODE, one_hot

__all__ = ["ALGORITHMS", "HIT_COLUMNS", "call_hits", "pattern_usage"]

ALGORITHMS = ("auto", "finemo", "scan")
HIT_COLUMNS = ("chrom", "start", "end", "pattern", "match", "strand", "score", "similarity", "contribution", "p_value",
               "q_value", "window")  # fmt: skip
MIN_SIMILARITY = 0.3  # of places that are looked at
CHUNK_BP = 1 << 19
LAMBDA = 0.7  # finemo's default penalty
Codes = NDArray[np.uint8]
Values = NDArray[np.float64]
Fit = Callable[[Codes, Values, Sequence[Values]], pd.DataFrame]
logger = logging.getLogger(__name__)


def call_hits(
    attr: Attributions, patterns: Sequence[Pattern], *, algorithm: str = "auto", fdr: float = 0.05,
    progress: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Find the instances of patterns in all windows, not only under peaks.

    Parameters
    ----------
    attr
        Attributions with controls.
    patterns
        As of :func:`seqsal.discover_motifs` or :func:`seqsal.motifs.read_patterns`.
    algorithm
        `finemo`, `scan`, or `auto`: Fi-NeMo where it is installed, else the scan.
    fdr
        Largest q-value of a hit.
    progress
        Show a progress bar over the windows.

    Returns
    -------
    DataFrame
        A row a hit, in the order of the genome: chrom, start, end, pattern, match (of the pattern, or empty), strand,
        score, similarity, contribution (the sum of the track over the hit), p_value, q_value and window. A place under
        several windows is one hit, the best.

    Raises
    ------
    UsageError
        No patterns, an unknown algorithm, or a rate outside (0, 1].
    StoreError
        There are no controls.
    MotifError
        Fi-NeMo is wanted and not installed; a pattern without contributions or longer than the windows.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.io.attributions import Controls
    >>> from seqsal.motifs import Motif, Pattern
    >>> from seqsal.regions import make_regions
    >>> from seqsal.sequence.codes import encode, one_hot
    >>> rng = np.random.default_rng(0)
    >>> codes, track = rng.integers(0, 4, (40, 60), dtype=np.uint8), rng.normal(0, 0.1, (40, 60)).astype(np.float32)
    >>> controls = Controls(rng.normal(0, 0.1, (80, 60)).astype(np.float32), rng.integers(0, 4, (80, 60), np.uint8))
    >>> codes[:20, 30:38], track[:20, 30:38] = encode("GATTACAC"), 1
    >>> start = 100 * np.arange(40)
    >>> attr = seqsal.Attributions(make_regions(["chr1"] * 40, start, start + 60), codes, track,
    ...                            prediction=np.ones(40, np.float32), controls=controls)
    >>> cwm = one_hot(encode("GATTACAC")).astype(float)
    >>> pattern = Pattern("pos_pattern_1", "pos", "kmers", Motif("pos_pattern_1", "", 20 * cwm), cwm, None)
    >>> hits = call_hits(attr, [pattern], algorithm="scan")
    >>> hits[["start", "end", "strand"]].head(2).to_dict("records"), len(hits)
    ([{'start': 30, 'end': 38, 'strand': '+'}, {'start': 130, 'end': 138, 'strand': '+'}], 20)
    """
    fit = _algorithm(algorithm)
    check_attributions(attr)
    if not patterns:
        raise UsageError("patterns: got none, expected one or more; discover them with `seqsal motifs`")
    if not 0 < fdr <= 1:
        raise UsageError(f"fdr: got {fdr}, expected a rate above 0, at most 1")
    if attr.controls is None or attr.controls.codes is None:
        raise StoreError("attributions: have no controls, as p-values need; `seqsal peaks A.h5 --model M` adds them")
    cwms = [_core(pattern, attr.length) for pattern in patterns]
    null = _all_hits(_control_chunks(attr), cwms, fit, len(attr.controls), progress)
    hits = _all_hits(_window_chunks(attr), cwms, fit, len(attr), progress)
    hits["p_value"], hits["q_value"] = _calibrated(hits, null, len(attr), len(attr.controls))
    return _located(hits[hits["q_value"] <= fdr], attr, patterns)


def pattern_usage(tables: dict[str, pd.DataFrame], n_windows: int) -> pd.DataFrame:
    """Say which target uses which pattern, from the hits on each target's map by name.

    Returns a row a pattern and target: pattern, match, target, n_hits, share (of `n_windows` windows that have one),
    contribution (the mean of a hit); none where a target has no hit of a pattern.

    >>> import pandas as pd
    >>> one = {"pattern": "pos_1", "match": "REB1", "window": "a"}
    >>> pattern_usage({"0": pd.DataFrame([{**one, "contribution": x} for x in (1.0, 3.0)])}, 4).to_dict("records")
    [{'pattern': 'pos_1', 'match': 'REB1', 'target': '0', 'n_hits': 2, 'share': 0.25, 'contribution': 2.0}]
    """
    rows = [
        {"pattern": pattern, "match": match, "target": target, "n_hits": len(own),
         "share": own["window"].nunique() / n_windows, "contribution": float(own["contribution"].mean())}
        for target, table in tables.items()
        for (pattern, match), own in table.groupby(["pattern", "match"], sort=False)
    ]  # fmt: skip
    columns = ["pattern", "match", "target", "n_hits", "share", "contribution"]
    return pd.DataFrame(rows, columns=columns).sort_values(["pattern", "target"], kind="stable", ignore_index=True)


def _algorithm(name: str) -> Fit:
    """Choose how CWMs are fitted."""
    if name not in ALGORITHMS:
        raise UsageError(f"algorithm: got {name!r}, expected one of {', '.join(ALGORITHMS)}")
    is_there = find_spec("finemo") is not None
    if name == "finemo" and not is_there:
        raise MotifError("algorithm: finemo is not installed; pip install finemo, or take --algorithm scan")
    return _fit_finemo if is_there and name != "scan" else _fit_scan


def _core(pattern: Pattern, length: int) -> Values:
    """Return the CWM of a pattern, 0 outside the columns that contribute."""
    first, last = core_columns(pattern.cwm)
    if not pattern.cwm.any() or pattern.cwm.shape[1] > length:
        what = f"is longer than the windows of {length} bp" if pattern.cwm.any() else "contributes nothing"
        raise MotifError(f"{pattern.name}: {what}; leave it out")
    kept = np.zeros_like(pattern.cwm)
    kept[:, first:last] = pattern.cwm[:, first:last]
    return np.asarray(kept / np.linalg.norm(kept))


def _window_chunks(attr: Attributions) -> Iterator[tuple[Codes, Values]]:
    step = max(1, CHUNK_BP // attr.length)
    for first in range(0, len(attr), step):
        codes, layers = forward_layers(attr, slice(first, min(first + step, len(attr))), all_bases=False)
        yield codes, layers[:, 0].astype(np.float64)


def _control_chunks(attr: Attributions) -> Iterator[tuple[Codes, Values]]:
    controls = attr.controls
    assert controls is not None and controls.codes is not None
    step = max(1, CHUNK_BP // attr.length)
    for first in range(0, len(controls), step):
        part = slice(first, min(first + step, len(controls)))
        yield np.asarray(controls.codes[part]), np.asarray(controls.track[part], dtype=np.float64)


def _all_hits(
    chunks: Iterator[tuple[Codes, Values]], cwms: Sequence[Values], fit: Fit, n: int, progress: bool
) -> pd.DataFrame:
    """Fit all windows: row, pattern (number), start, end, reverse, score, similarity, contribution."""
    parts, first = [], 0
    with bar(total=n, desc="hits", unit="window", disable=not progress) as shown:
        for codes, track in chunks:
            hits = fit(codes, np.where(codes == N_CODE, 0.0, track), cwms)
            parts.append(hits.assign(row=hits["row"] + first))
            first += len(codes)
            shown.update(len(codes))
    return pd.concat(parts, ignore_index=True)


def _projections(codes: Codes, track: Values, cwm: Values) -> tuple[Values, Values]:
    """Projection and similarity, (n, L − W + 1) each, of a CWM (4, W) of length 1."""
    n_places = codes.shape[1] - cwm.shape[1] + 1
    known = np.concatenate([cwm, np.zeros((1, cwm.shape[1]))])  # of N
    on = np.flatnonzero(cwm.any(axis=0))
    projection, square = np.zeros((len(codes), n_places)), np.zeros((len(codes), n_places))
    for j in on:
        here = slice(j, j + n_places)
        projection += known[codes[:, here], j] * track[:, here]
        square += track[:, here] ** 2
    similarity = np.divide(projection, np.sqrt(square), out=np.zeros_like(projection), where=square > 0)
    return projection, similarity


def _fit_scan(codes: Codes, track: Values, cwms: Sequence[Values]) -> pd.DataFrame:
    """Keep of places that overlap the one of the best score."""
    parts = []
    for number, cwm in enumerate(cwms):
        for reverse in (False, True):
            projection, similarity = _projections(codes, track, cwm[::-1, ::-1] if reverse else cwm)
            score = np.where(similarity >= MIN_SIMILARITY, projection * similarity, 0.0)
            padded = np.pad(score, ((0, 0), (1, 1)))
            row, start = np.nonzero((score > 0) & (score >= padded[:, :-2]) & (score >= padded[:, 2:]))
            parts.append(_places(number, cwm, reverse, row, start, score[row, start], similarity[row, start]))
    found = pd.concat(parts, ignore_index=True).sort_values("score", ascending=False, kind="stable", ignore_index=True)
    return _with_contribution(_competed(found, codes, track, cwms), track)


def _places(
    number: int, cwm: Values, reverse: bool, row: NDArray[Any], start: NDArray[Any], score: Values, similarity: Values
) -> pd.DataFrame:
    """Make a table of places of one CWM, cut to the columns that contribute."""
    on = np.flatnonzero((cwm[::-1, ::-1] if reverse else cwm).any(axis=0))
    return pd.DataFrame({"row": row, "pattern": number, "start": start + on[0], "end": start + on[-1] + 1,
                         "reverse": reverse, "score": score, "similarity": similarity})  # fmt: skip


def _competed(found: pd.DataFrame, codes: Codes, track: Values, cwms: Sequence[Values]) -> pd.DataFrame:
    """Keep places from the best down, as far as they explain what no better one does."""
    free, taken, kept = track.copy(), dict[int, list[tuple[int, int]]](), []
    cores = [cwm[:, cwm.any(axis=0)] for cwm in cwms]
    columns = (found[name].tolist() for name in ("row", "pattern", "start", "end", "reverse", "score", "similarity"))
    for i, (row, number, low, high, reverse, score, similarity) in enumerate(zip(*columns, strict=True)):
        shared = [min(high, b) - max(low, a) for a, b in taken.get(row, ())]
        if 5 * max(shared, default=0) > high - low:
            continue
        if max(shared, default=0) > 0:
            core = cores[number][::-1, ::-1] if reverse else cores[number]
            projections = _projections(codes[row : row + 1, low:high], free[row : row + 1, low:high], core)
            projection, similarity = (float(one[0, 0]) for one in projections)
            score = projection * similarity
        if similarity >= MIN_SIMILARITY:
            taken.setdefault(row, []).append((low, high))
            free[row, low:high] = 0
            kept.append((i, score, similarity))
    rows, scores, similarities = zip(*kept, strict=True) if kept else ((), (), ())
    return found.iloc[list(rows)].assign(score=np.array(scores), similarity=np.array(similarities))


def _with_contribution(places: pd.DataFrame, track: Values) -> pd.DataFrame:
    """Add the sum of the track over each place."""
    sums = np.concatenate([np.zeros((len(track), 1)), track.cumsum(axis=1)], axis=1)
    row, start, end = (places[name].to_numpy() for name in ("row", "start", "end"))
    return places.assign(contribution=sums[row, end] - sums[row, start])


def _fit_finemo(codes: Codes, track: Values, cwms: Sequence[Values]) -> pd.DataFrame:
    """Fit windows by Fi-NeMo, and score what it finds as the scan does."""
    import warnings

    import torch

    fit_contribs = importlib.import_module("finemo.hitcaller").fit_contribs  # which need not be installed

    width = max(cwm.shape[1] for cwm in cwms)
    both = [np.pad(one, ((0, 0), (0, width - one.shape[1]))) for cwm in cwms for one in (cwm, cwm[::-1, ::-1])]
    matrices = np.stack(both).astype(np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that there is no GPU, and of windows without a map
        found, _ = fit_contribs(
            cwms=matrices, contribs=track.astype(np.float16), sequences=one_hot(codes).astype(np.int8),
            cwm_trim_mask=matrices.any(axis=1).astype(np.int8), use_hypothetical=False,
            lambdas=np.full(len(both), LAMBDA, dtype=np.float16), batch_size=min(len(codes), 64),
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        )  # fmt: skip
    row, motif, start = (found[name].to_numpy().astype(np.int64) for name in ("peak_id", "motif_id", "hit_start"))
    parts = [_places(0, cwms[0], False, *(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 2)]
    for number, cwm in enumerate(cwms):
        for reverse in (False, True):
            projection, similarity = _projections(codes, track, cwm[::-1, ::-1] if reverse else cwm)
            own = (motif == 2 * number + reverse) & (start < projection.shape[1])
            at = row[own], start[own]
            parts.append(_places(number, cwm, reverse, *at, projection[at] * similarity[at], similarity[at]))
    kept = pd.concat(parts, ignore_index=True)
    return _with_contribution(kept[kept["score"] > 0], track)


def _calibrated(hits: pd.DataFrame, null: pd.DataFrame, n_windows: int, n_controls: int) -> tuple[Values, Values]:
    """Return p- and q-values, pattern by pattern."""
    p, q = np.ones(len(hits)), np.ones(len(hits))
    for number in hits["pattern"].unique():
        own, other = np.flatnonzero(hits["pattern"] == number), null[null["pattern"] == number]
        distribution = NullDistribution.fit(other["score"].to_numpy(), other["row"].to_numpy(np.int64), n_controls)
        rate = (1 + len(other)) / (1 + n_controls)  # of hits a control, as (1 + count) / (1 + n) is of the null
        p[own] = np.minimum(rate * distribution.p_values(hits["score"].to_numpy()[own]), 1.0)
        order = own[np.argsort(-p[own], kind="stable")]
        of_rank = p[order] * max(n_windows, len(own)) / np.arange(len(own), 0, -1)
        q[order] = np.minimum(np.minimum.accumulate(of_rank), 1.0)
    return p, q


def _located(hits: pd.DataFrame, attr: Attributions, patterns: Sequence[Pattern]) -> pd.DataFrame:
    """Put hits on the chromosomes; of those at one place the best stays."""
    window = attr.rows(hits["row"].to_numpy(), ["chrom", "start", "name"])
    number = hits["pattern"].to_numpy()
    names = np.array([pattern.name for pattern in patterns], dtype=object)
    matches = np.array([(one.named_match or {}).get("match", "") for one in patterns], dtype=object)
    start = window["start"].to_numpy(np.int64)
    table = hits.reset_index(drop=True).assign(
        chrom=window["chrom"], start=start + hits["start"].to_numpy(), end=start + hits["end"].to_numpy(),
        pattern=names[number], match=matches[number], strand=np.where(hits["reverse"], "-", "+"),
        window=window["name"],
    )  # fmt: skip
    place = ["chrom", "start", "end", "pattern", "strand"]
    table = table.sort_values("score", ascending=False, kind="stable").drop_duplicates(place)
    return table.sort_values(place, kind="stable", ignore_index=True)[list(HIT_COLUMNS)]
