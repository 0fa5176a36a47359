"""The shuffled controls as peaks need them: read, checked, and fitted by the null distribution of candidates.

That needs the background level of a window, and whether heights are taken relative to it.

A network that saturates is steepest where it is undecided: on shuffled sequence, and on half of a motif, its gradients
are larger than on a site that it is sure of. Then the windows of the data lie *lower* than the controls, and a height
means something only relative to the level of its window, here the mean |track| of the lower three quarters of its
bases, where motifs hardly count. (Figures here are of calls by the height of the smoothed track, before strengths.)
With a CNN trained on 350 CTCF sites (median level of the data 0.84 of that of the controls), none of 61 held-out sites
was called at q ≤ 0.05 from heights as they are, and 42 from relative ones.

A network that adds up what it sees does the opposite: windows with many motifs lie *higher* than the controls, because
motifs take up more than a quarter of the bases or because the network is steeper there. Then dividing punishes the very
windows that hold the signal. Over the six networks of `benchmarks/calibration.py` (development seeds) mean recall at
q ≤ 0.05 was 0.23 from heights as they are and 0.05 from relative ones, the difference being that between 0.55 and 0.05
for the network with the highest ratio of levels (1.4), and none where the ratio is below 1.

So heights are relative where the median level of the windows is below that of the controls, and as they are where it is
not: one choice for the data set, made from medians, which peaks hardly move. Weights for several such features learnt
from data against controls (as target–decoy methods do) were tried and left: they learn that windows of the data differ
from the controls as a whole, and call everything in them (false discovery proportions of 0.3 to 0.8).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqsal.errors import StoreError
from seqsal.io.attributions import Attributions
from seqsal.io.sweep import CHUNK_BP, Axis, Scale, chunk_rows, read_forward
from seqsal.peaks.candidates import SIGNS, CandidateRules, find_candidates, under_seeds
from seqsal.peaks.joint import Windows, describe
from seqsal.peaks.null import Evidence, SignNull
from seqsal.sequence.codes import N_CODE

__all__ = [
    "MAX_CONTROL_BP",
    "choose_scale",
    "control_stride",
    "fit_null",
    "read_controls",
    "read_null",
    "read_windows",
    "shared_part",
    "window_scale",
]

MAX_CONTROL_BP = 50_000_000  # control bases looked at; beyond that, evenly spaced controls
MAX_LEVEL_ROWS, LEVEL_ROWS = 5000, 500  # windows, and controls, that levels are taken of; at a time
MAX_ONE_SIDED = 0.8  # share of the controls' bases of one sign, beyond which their median is taken off
logger = logging.getLogger(__name__)


def control_stride(attr: Attributions) -> int:
    """Return every how many of the controls one is looked at."""
    return -(-attr.n_controls * attr.length // MAX_CONTROL_BP)


def read_controls(
    attr: Attributions, rows: NDArray[np.int64], shared: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Track, less what bases share, and known bases (n, L) of some controls, given by evenly spaced rows.

    Raises
    ------
    StoreError
        Values that are not finite.
    """
    assert attr.controls is not None
    index = slice(int(rows[0]), int(rows[-1]) + 1, int(rows[1] - rows[0]) if len(rows) > 1 else 1)
    values = np.asarray(attr.controls.track[index], dtype=np.float32) - np.float32(shared)
    if not np.isfinite(values).all():
        raise StoreError("controls: the shuffled controls have values that are not finite; attribute again")
    if attr.controls.codes is None:
        return values, np.ones(values.shape, dtype=bool)
    return values, np.asarray(attr.controls.codes[index]) != N_CODE


def shared_part(attr: Attributions, *, warn: bool = True) -> float:
    """Return what each base bears of a far-off reference: the controls' median where most are on one side, else 0.

    A method that promises a sum shares f(X) − f(R) among the bases. Where the reference R, an even mixture of bases
    say, predicts something that no sequence does, each base bears a part of that, and a site of one sign is told from
    the others by lying nearer to 0. In one of the six networks of `benchmarks/calibration.py` 98 % of the bases of
    shuffles are negative in `integrated_gradients`; in the other five 34 to 67 %, in `deeplift_shap` 48 to 52 %. As the
    map is, 15 % of the calls there are false at q ≤ 0.05 and 47 % at 0.1 (two development sets); less its median 1 and
    11 %, with three times the recall.
    """
    if attr.completeness_error is None or attr.controls is None:
        return 0.0
    rows = np.arange(0, attr.n_controls, -(-attr.n_controls // MAX_LEVEL_ROWS), dtype=np.int64)
    values, known = read_controls(attr, rows)
    n_negative, n_positive = (int(side.sum(where=known)) for side in (values < 0, values > 0))
    more = max(n_negative, n_positive)
    if not known.any() or more <= MAX_ONE_SIDED * (n_negative + n_positive):
        return 0.0
    shared = float(np.median(values[known]))
    if warn:
        logger.warning(
            "controls: %.0f %% of their bases have attributions %s 0, since the reference of %s predicts something far "
            "from what sequences do and every base bears a part of the difference; peaks are called from the map less "
            "that part, the controls' median of %.3g, and so are their signals. Shuffled references, as deeplift_shap "
            "has by default, and gradient_x_input need no such correction",
            100 * more / (n_negative + n_positive),
            "below" if n_negative > n_positive else "above",
            attr.method,
            shared,
        )
    return shared


def read_windows(
    attr: Attributions, rows: NDArray[np.int64], shared: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Track, less what bases share, and known bases (n, L) of some windows, on the forward strand."""
    values, known = read_forward(attr, rows)
    return values - np.float32(shared), known


def choose_scale(attr: Attributions, axis: Axis, *, shared: float = 0.0, chunk_bp: int = CHUNK_BP) -> Scale | None:
    """Return :func:`window_scale` where the windows lie lower than the controls in the median, else None."""
    step = min(chunk_rows(attr.length, chunk_bp), LEVEL_ROWS)
    n_read = min(len(attr), MAX_LEVEL_ROWS)
    rows = axis.rows_at(np.unique(np.round(np.linspace(0, len(attr) - 1, n_read)).astype(np.int64)))
    stride = -(-attr.n_controls // MAX_LEVEL_ROWS)
    controls = np.arange(0, attr.n_controls, stride, dtype=np.int64)
    medians = []
    for read, chosen in ((read_windows, rows), (read_controls, controls)):
        chunks = (read(attr, chosen[i : i + step], shared) for i in range(0, len(chosen), step))
        levels = [window_scale(values, known)[known.any(axis=1)] for values, known in chunks]
        medians.append(float(np.median(np.concatenate(levels))) if any(map(len, levels)) else np.nan)
    return window_scale if medians[0] < medians[1] else None


def window_scale(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the background level of each window: mean |track| over the lower three quarters of its known bases.

    Parameters
    ----------
    values, known
        (n, L) track, and which bases are known.

    Returns
    -------
    ndarray, shape (n,)
        Above 0: the mean over all known bases where three quarters of them are 0, and 1 where all are.
    """
    magnitude = np.sort(np.where(known, np.abs(values), np.inf), axis=1)  # unknown bases last
    n_known = known.sum(axis=1)
    total = np.cumsum(np.where(np.isfinite(magnitude), magnitude, 0.0), axis=1, dtype=np.float64)
    row = np.arange(len(values))
    n_low = np.maximum(n_known * 3 // 4, 1)
    low = total[row, n_low - 1] / n_low
    full = total[row, -1] / np.maximum(n_known, 1)
    return np.where(low > 0, low, np.where(full > 0, full, 1.0))


def read_null(
    attr: Attributions,
    rules: CandidateRules,
    *,
    scale: Scale | None = window_scale,
    seeds: Attributions | None = None,
    windows: Windows | None = None,
    shared: float = 0.0,
    chunk_bp: int = CHUNK_BP,
) -> tuple[dict[str, Evidence], int]:
    """Find the candidates of the controls, a chunk of rows at a time; of both signs, and the number of controls read.

    With `windows` they are described for :mod:`seqsal.peaks.joint`.

    Raises
    ------
    StoreError
        Values that are not finite, or that are all equal.
    """
    parts: dict[str, list[Evidence]] = {sign: [] for sign in SIGNS}
    lowest, highest = np.inf, -np.inf
    rows = np.arange(0, attr.n_controls, control_stride(attr), dtype=np.int64)
    step = chunk_rows(attr.length, chunk_bp)
    for i in range(0, len(rows), step):
        chunk = rows[i : i + step]
        values, known = read_controls(attr, chunk, shared)
        if not known.any():
            continue
        lowest, highest = min(lowest, float(values[known].min())), max(highest, float(values[known].max()))
        positions = (np.arange(len(chunk), dtype=np.int64)[:, None] * (attr.length + 1) + np.arange(attr.length))[known]
        level = np.ones(len(chunk)) if scale is None and windows is None else window_scale(values, known)
        track = (values if scale is None else values / level[:, None])[known]
        found = find_candidates(positions, track, rules)
        if seeds is not None:
            found = under_seeds(positions, read_controls(seeds, chunk)[0][known], found)
        for sign, candidates in found.items():
            if windows is not None:
                candidates = candidates.take(windows.is_compared(positions[candidates.summit] % (attr.length + 1)))
            row, offset = np.divmod(positions[candidates.summit], attr.length + 1)
            features: NDArray[np.floating] = candidates.profile
            fold = np.zeros(len(row), dtype=np.int64)
            if windows is not None:
                prediction, fold = windows.of_controls(attr, chunk[row])
                features = describe(candidates, sign, track, prediction, level[row], windows.place(offset))
            parts[sign].append(Evidence(features, i + row, fold, offset))
    if not lowest < highest:
        raise StoreError(
            "controls: all values of the shuffled controls are equal, expected a track that varies; check that the "
            "model depends on its input, then attribute again"
        )
    return {sign: Evidence.join(parts[sign]) for sign in SIGNS}, len(rows)


def fit_null(attr: Attributions, rules: CandidateRules, **how: Any) -> dict[str, SignNull]:
    """Fit the strengths of the controls' candidates; options as of :func:`read_null`."""
    found, n_read = read_null(attr, rules, **how)
    return {sign: SignNull.fit(one.features, one.unit, n_read) for sign, one in found.items()}
