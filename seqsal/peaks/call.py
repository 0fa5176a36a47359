"""Peaks of an attribution track, tested against shuffled controls.

The windows are averaged in genome coordinates (:mod:`seqsal.io.sweep`), so that overlapping windows are merged before
anything is called: a base counts once and no peak is called twice. An average over windows varies less than the single
windows of the controls, so overlap makes the test conservative. Where windows contradict each other, most of their
attribution cancels, and a warning says so.

Candidates (:mod:`seqsal.peaks.candidates`), all of them or those under the seeds of a coarse map, have a strength in
the track as it is or relative to their window (:mod:`seqsal.peaks.controls`). The strengths of the controls' candidates
give p-values (:mod:`seqsal.peaks.null`), and these q-values (:mod:`seqsal.peaks.pool`).

What a q-value is about: candidates that are no higher than shuffled sequence gives. A chance match of a motif in the
shuffles, which the model may read as it reads a real one, counts as null; so among calls on sequence with real motifs
the share that no motif explains is smaller than q. `benchmarks/calibration.py` measures both, on six trained networks
and 204 data sets of 20 to 40 windows, next to tangermeme 1.6's recursive_seqlets (RS) on the same attributions::

                         any call on shuffles   false calls   recall   summit within 3 bp
    q ≤ 0.05                    0.005              0.021       0.315        0.955
    q ≤ 0.1                     0.025              0.046       0.427        0.951
    RS, target_fdr 0.05         0.064              0.025       0.170        0.716
    RS, target_fdr 0.1          0.147              0.049       0.279        0.818
    RS, p < 0.01 (default)      1.000              0.356       0.723        0.888
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import BedError, MethodError, ModelError, StoreError, UsageError, counted
from seqsal.io.attributions import Array, Attributions, check_attributions
from seqsal.io.bed import read_bed, write_tsv
from seqsal.io.sweep import CHUNK_BP, Axis, Scale, TrackBlock, blend_weights, sweep_track
from seqsal.peaks.candidates import SEED_REACH_BP, SIGNS, CandidateRules, Candidates, find_candidates, under_seeds
from seqsal.peaks.controls import choose_scale, control_stride, read_null, read_windows, shared_part, window_scale
from seqsal.peaks.effects import Agreement, Effects
from seqsal.peaks.joint import SAMPLED_BP, Windows, describe, fit_joint, joint_weights, too_few
from seqsal.peaks.null import Evidence, SignNull
from seqsal.peaks.pool import PEAK_COLUMNS, Pool, peak_table
from seqsal.sequence.draws import default_n_controls

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "PEAK_COLUMNS",
    "call_peaks",
    "check_fdr",
    "check_statistic",
    "null_text",
    "read_peaks",
    "statistic_text",
    "unsettled_text",
    "write_peaks_tsv",
]

_CHECKED_ROWS = 4096  # read at a time
MUCH_CANCELLED = 0.5  # share of the attribution where windows overlap
Found = tuple[TrackBlock, tuple[float, float], dict[str, Candidates]]
WEAK = (0.1, 0.2, 0.3)  # rates that are named where no peak is called
REACHED = 50  # peaks stronger than every control, for which there should be enough controls
PLACE = ("chrom", "start", "end", "strand")
STATISTICS = ("auto", "height", "joint")
logger = logging.getLogger(__name__)


def call_peaks(
    attr: Attributions,
    *,
    model: nn.Module | str | os.PathLike[str] | None = None,
    device: str = "auto",
    fdr: float = 0.05,
    min_width: int = 4,
    max_width: int = 50,
    smooth_bp: int = CandidateRules.smooth_bp,
    sign: str = "both",
    seeds: Attributions | str | None = None,
    statistic: str = "auto",
    kept_fdr: float = 0.0,
    max_controls: int | None = None,
    null: str | None = None,
    genome: str | os.PathLike[str] | None = None,
    chunk_bp: int = CHUNK_BP,
    progress: bool = False,
) -> pd.DataFrame:
    """Call the bases that drive the prediction up (`pos`) and down (`neg`), at a false discovery rate.

    Parameters
    ----------
    attr
        Attributions; read in chunks of rows. Shuffled controls that they lack are made now and kept with them, which
        may take longer than the attributions did.
    model, device
        What to make missing controls with, as for :func:`seqsal.attribute`; None is the model that the attributions
        remember, or the seqsal checkpoint that their file names.
    fdr
        Largest q-value reported, in (0, 1].
    min_width, max_width
        Limits of a peak's width (bp): narrower candidates are dropped, wider ones trimmed around the summit.
    smooth_bp
        Support of the triangular smoothing kernel (bp), odd.
    sign
        `both`, `pos` or `neg`: which candidates are tested.
    seeds
        A coarse map of the same windows and controls, such as Grad-CAM, or its name among `attr.results`: only what
        lies under its maxima is tested.
    statistic
        What candidates are judged by: `height`, or `joint`: height and, where the model is at hand, what deleting the
        candidate does to its prediction, how it looks on the other strand, and its height in maps by other methods of
        the file (:mod:`seqsal.peaks.effects`); among 100 windows or more the weights of these, of shape and of the
        window's prediction are learned from the controls (:mod:`seqsal.peaks.joint`). It finds more and takes longer.
        Where there is neither a model nor enough to learn from, the height is taken, and a line says so. `auto` is
        `joint` where the model is at hand, else `height`.
    kept_fdr
        Where it is larger than fdr, weaker peaks up to this q-value are in the table too; everything else goes by fdr.
    max_controls
        While the number of peaks depends on which controls were drawn, or so many candidates cannot reach the fdr with
        so few controls, more are made, up to this number. None is
        :func:`seqsal.attribution.controls.most_controls` where their number is the usual one or grew from it, and else
        the number that there is.
    null, genome
        What the controls are: `shuffle` (is a sequence special against its own composition?) or `background` (is a
        place special in its genome? :mod:`seqsal.io.background`), windows of the file `genome`, by default the one that
        the windows were read from. None takes the controls that there are, or else shuffles. Controls of the other
        kind are replaced.
    chunk_bp
        Values read at a time; does not change the result.
    progress
        Show a progress bar.

    Returns
    -------
    DataFrame
        Sorted by chrom and start, columns `PEAK_COLUMNS`: `score` is -100 log10 q, at most 1000; `signal` the signed
        sum of the track over the peak, in units of the attributed output; `summit` the offset from start (bp) of the
        highest smoothed value; `n_windows` the windows that cover the summit. Names count from the strongest of each
        sign: `pos_1`, `neg_1`, …. No peak at this fdr is a result: an empty table. `attrs` holds `best_q`, the
        smallest q-value of any candidate (an upper bound of it when above fdr), `n_candidates`,
        `n_null_candidates`, `n_controls`, `null`, `output_space`, `fdr`, `best_q_range` (two standard errors over
        draws of the controls), `is_settled`, whether another draw would give about as many peaks, `n_needed`, how many
        peaks stronger than every control it takes to reach the fdr by count, `relative`, whether strengths are relative
        to the level of their windows, `subtracted`, what was taken off every base of a one-sided map first
        (:func:`seqsal.peaks.controls.shared_part`), the `statistic`, whether its weights were learned
        (`is_learned`), what was `asked` besides (effect, strand, bases, others), and why it is the height where that
        was not asked for (`by_height_since`).

    Raises
    ------
    StoreError
        No controls, and no model to make them with; a track or controls without any variation; values that are not
        finite; seeds of other windows or controls, or none of that name.
    UsageError
        An argument outside its range.
    ModelError
        The model is not the one that made the attributions.

    Examples
    --------
    >>> import numpy as np, seqsal, torch
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch...>
    >>> motif = torch.nn.Conv1d(4, 1, 5)
    >>> model = torch.nn.Sequential(motif, torch.nn.ReLU(), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten())
    >>> X = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(4, size=(3, 60))].transpose(0, 2, 1)
    >>> attr = seqsal.attribute(model, X=X, device="cpu", n_controls=20)
    >>> peaks = seqsal.call_peaks(attr, fdr=0.2)
    >>> peaks.attrs["n_controls"], list(peaks)[:4]
    (20, ['chrom', 'start', 'end', 'name'])
    """
    rules = CandidateRules(smooth_bp=smooth_bp, min_width=min_width, max_width=max_width)
    if sign not in ("both", *SIGNS):
        raise UsageError(f"sign: got {sign!r}, expected both, {' or '.join(SIGNS)}")
    check_statistic(statistic)
    check_fdr(fdr)
    check_attributions(attr)
    coarse = attr.result(seeds) if isinstance(seeds, str) else seeds
    if coarse is not None:
        check_seeds(attr, coarse)
    make = partial(_make_controls, attr, coarse, model, null=null, genome=genome, device=device, progress=progress)
    make(None)
    most = _most_controls(attr) if max_controls is None else max_controls
    axis, is_first = Axis.of(attr), True
    is_learned = not too_few(attr)
    effects, by_height_since = _how_judged(attr, statistic, model, device)
    is_joint = statistic != "height" and not by_height_since
    while True:
        shared = shared_part(attr, warn=is_first)
        scale = choose_scale(attr, axis, shared=shared, chunk_bp=chunk_bp)
        windows = Windows.of(attr, axis) if is_joint else None
        controls, n_read = read_null(
            attr, rules, scale=scale, seeds=coarse, windows=windows, shared=shared, chunk_bp=chunk_bp
        )
        controls = {name: controls[name] for name in SIGNS if sign in ("both", name)}
        n_null = sum(map(len, controls.values()))
        agreement = Agreement.of(attr, coarse) if is_joint else None
        if agreement is not None:
            controls = agreement.of_controls(controls, control_stride(attr), rules.widths, scale)
        if effects is not None:
            effects.aim(controls, n_read, rules.widths, scale, shared)
            controls = effects.of_controls(controls, control_stride(attr))
        track = _Track(attr, coarse, axis, rules, scale, shared, windows, effects, agreement, chunk_bp, progress)
        if windows is None:
            by_height = {name: SignNull.fit(one.features, one.unit, n_read) for name, one in controls.items()}
            pool = Pool(fdr, by_height, kept_fdr=kept_fdr)
        else:
            data = track.sample(list(controls)) if is_learned else None
            learned = fit_joint(data, controls, windows, n_read, len(rules.widths))
            weights = None if data is None else joint_weights(learned, data)
            pool = Pool(fdr, learned, track.describe, weights, kept_fdr)
        del controls  # of which the pool has what it needs
        overlap = _Overlap()
        for found in track.candidates(overlap):
            pool.add(*found)
        pool.check_varies()
        if is_first:
            overlap.warn()
        spread, is_first = pool.spread(), False
        n_needed = pool.n_needed()
        is_enough = spread.is_settled and n_needed <= max(REACHED, spread.n_calls)
        wanted = attr.n_controls * _doublings(n_needed / max(REACHED, spread.n_calls))
        if is_enough or attr.n_controls >= most or not make(min(wanted, most)):
            break
    peaks = peak_table(pool, axis)
    n_called = int((peaks["q_value"] <= fdr).sum())
    peaks.attrs.update(
        best_q=pool.best_q(),
        fdr=fdr,
        n_candidates=pool.n_tested,
        n_null_candidates=n_null,
        n_controls=attr.n_controls,
        null=attr.null,
        output_space=attr.output_space,
        relative=scale is not None,
        subtracted=shared,
        statistic="joint" if is_joint else "height",
        is_learned=is_joint and is_learned,
        asked=(*(() if effects is None else effects.asked), *(() if agreement is None else ("others",))),
        by_height_since=by_height_since,
        best_q_range=spread.best_q_range,
        is_settled=spread.is_settled,
        n_needed=n_needed,
    )
    if not n_called and pool.best_q() < WEAK[-1]:
        logger.warning("peaks: %s", none_text(peaks.attrs, pool.n_called))
    if n_called < n_needed > 10:
        logger.warning("peaks: %s", out_of_reach_text(peaks.attrs))
    elif not spread.is_settled:
        logger.warning("peaks: %s", unsettled_text(peaks.attrs, n_called))
    logger.info("%d peaks at q ≤ %g among %d candidates", n_called, fdr, pool.n_tested)
    return peaks


def _how_judged(
    attr: Attributions, statistic: str, model: nn.Module | str | os.PathLike[str] | None, device: str
) -> tuple[Effects | None, str]:
    """Return what asks the model, where it is wanted and at hand, and why the height is taken where it was not wanted.

    A model is asked, and a score learned, among enough windows; by `joint` the one also where the other cannot be done.
    """
    effects, why = None, ""
    if statistic != "height":
        few = too_few(attr)
        effects = Effects.of(attr, model, device, is_steady=not few)
        if effects is None:
            why = "the model is not at hand" if statistic == "auto" else few and f"{few} to learn from"
    if why:
        logger.info("peaks: called by their height alone, since %s", why)
    return effects, why


def _doublings(factor: float) -> int:
    """Return the power of 2, at least 2, that is no less than this."""
    return 1 << int(np.ceil(np.log2(max(factor, 2))))


def none_text(attrs: Mapping[Any, Any], n_called: Callable[[float], int]) -> str:
    """Say that no peak has a q-value so small, and at which rate there are some."""
    rate = next(rate for rate in WEAK if rate > max(attrs["best_q"], attrs["fdr"]))
    n = max(1, n_called(rate))
    return (
        f"none at q ≤ {attrs['fdr']:g}; the smallest q-value is {attrs['best_q']:.2g}, and {n:,} "
        f"{'is' if n == 1 else 'are'} at q ≤ {rate:g} (--fdr {rate:g})"
    )


def unsettled_text(attrs: Mapping[Any, Any], n_peaks: int) -> str:
    """Say that other controls might give another number of peaks, and what would help."""
    low, high = attrs["best_q_range"]
    return (
        f"their number ({n_peaks:,} at q ≤ {attrs['fdr']:g}) depends on which {attrs['n_controls']:,} controls were "
        f"drawn (--seed): the smallest q-value lies between {low:.2g} and {high:.2g}; more controls, such as "
        f"--controls {4 * attrs['n_controls']} (`seqsal peaks`: --max-controls), or more regions tell"
    )


def null_text(attrs: Mapping[Any, Any]) -> str:
    """Say what peaks were compared with."""
    kind, where = {
        "shuffle": ("shuffled window", ""), "background": ("window", " of the genome away from the regions"),
    }[attrs.get("null", "shuffle")]  # fmt: skip
    return counted(attrs["n_controls"], kind) + where


def statistic_text(attrs: Mapping[Any, Any]) -> str:
    """Say what peaks were judged by."""
    why = attrs.get("by_height_since", "")
    return "by joint evidence" if attrs.get("statistic") == "joint" else f"by height{f', since {why}' if why else ''}"


def out_of_reach_text(attrs: Mapping[Any, Any]) -> str:
    """Say what so few controls cannot show among so many candidates, and how many would."""
    n_needed, n_controls = attrs["n_needed"], attrs["n_controls"]
    return (
        f"among {counted(attrs['n_candidates'], 'candidate')}, {counted(n_controls, 'control')} reach q ≤ "
        f"{attrs['fdr']:g} by count only "
        f"for {n_needed:,} peaks or more that are all stronger than every control; for 10 of them it would take about "
        f"{_two_digits(n_controls * n_needed / 10):,} controls, for one {_two_digits(n_controls * n_needed):,} "
        "(`seqsal attribute --controls N`, or --max-controls N)"
    )


def _two_digits(number: float) -> int:
    """Round up to two digits."""
    unit = 10 ** max(len(str(int(number))) - 2, 0)
    return int(-(-number // unit)) * unit


def _most_controls(attr: Attributions) -> int:
    """To how many controls they may grow: no further than they are where their number was chosen by somebody."""
    from seqsal.attribution.controls import most_controls

    usual = default_n_controls(len(attr), attr.length)
    if attr.method == "imported" or attr.n_controls not in [usual << i for i in range(10)]:
        return attr.n_controls
    try:
        return most_controls(attr)
    except (StoreError, MethodError):  # by a method that cannot be repeated
        return attr.n_controls


def _make_controls(
    attr: Attributions,
    coarse: Attributions | None,
    model: nn.Module | str | os.PathLike[str] | None,
    n_controls: int | None,
    **how: Any,
) -> bool:
    """Make the controls that are lacking, all of them or, where a number is given, as far as it can be done."""
    share = max((n_controls or 0) - attr.n_controls, 1) / max(len(attr), 1)
    why = (
        "since the number of peaks depends on which controls were drawn, or too few were there to reach the q-value; "
        f"it takes {share:.2g} times as long as the windows took"
    ) if n_controls else ""  # fmt: skip
    null = how["null"] or attr.null
    lacking = (one for one in (attr, coarse) if one and (one.n_controls < (n_controls or 1) or one.null != null))
    for lacks in lacking:
        from seqsal.attribution.controls import make_controls  # which waits for torch

        try:
            make_controls(lacks, model, n_controls=n_controls, why=why, **{**how, "null": null})
        except (StoreError, ModelError) as error:
            if n_controls is None:
                raise
            logger.info("no more controls can be made: %s", error)
            return False
        if coarse is not None and attr.n_controls == coarse.n_controls:
            check_seeds(attr, coarse)
    return True


def check_fdr(fdr: float) -> None:
    """Raise unless peaks can be called at this rate.

    Raises
    ------
    UsageError
        It is not above 0 and at most 1.
    """
    if not 0 < fdr <= 1:
        raise UsageError(f"fdr: got {fdr}, expected a rate above 0 and at most 1, for example 0.05")


def check_statistic(statistic: str) -> None:
    """Raise unless peaks can be judged by this.

    Raises
    ------
    UsageError
        It is none of `auto`, `height` and `joint`.
    """
    if statistic not in STATISTICS:
        raise UsageError(f"statistic: got {statistic!r}, expected {', '.join(STATISTICS[:-1])} or {STATISTICS[-1]}")


def read_peaks(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a narrowPeak file; an empty one, as `seqsal peaks` writes when none is called, is a table without rows.

    Raises
    ------
    BedError
        There is no such file, or it has no summits.
    """
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})
    table = read_bed(path)
    if "signal" not in table:
        raise BedError(f"{path}: has no summits, expected a narrowPeak file of 10 columns as `seqsal peaks` writes it")
    return table


def write_peaks_tsv(peaks: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a peak table, all columns with a header line, as tab-separated text.

    A last column tells the `output_space` that `signal` is in, for a table of :func:`call_peaks`.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    space = peaks.attrs.get("output_space")
    write_tsv(peaks if space is None else peaks.assign(output_space=space), path, missing="")


@dataclass(frozen=True)
class _Stretch:
    """A stretch of the track, with the coarse map at the same positions."""

    fine: TrackBlock
    coarse: TrackBlock | None

    def join(self, other: _Stretch) -> _Stretch:
        joined = None if self.coarse is None or other.coarse is None else self.coarse.join(other.coarse)
        return _Stretch(self.fine.join(other.fine), joined)

    def take(self, keep: slice) -> _Stretch:
        return _Stretch(self.fine.take(keep), None if self.coarse is None else self.coarse.take(keep))


@dataclass(frozen=True)
class _Track:
    """The track with its candidates, a piece at a time."""

    attr: Attributions
    seeds: Attributions | None
    axis: Axis
    rules: CandidateRules
    scale: Scale | None
    shared: float
    windows: Windows | None
    effects: Effects | None
    agreement: Agreement | None
    chunk_bp: int
    progress: bool

    def candidates(self, overlap: _Overlap | None = None, every: int = 1) -> Iterator[Found]:
        """Yield pieces of track, the span of summits that are due in each, and its candidates.

        Of `every` so many stretches of the genome one is looked at.
        """
        reach = SEED_REACH_BP if self.seeds is not None else self.rules.reach_bp
        for stretch, due in _overlapping_pieces(self._stretches(overlap or _Overlap()), reach):
            fine = stretch.fine
            if every > 1 and not (fine.positions // SAMPLED_BP % every == 0).any():
                continue
            found = find_candidates(fine.positions, self._searched(fine), self.rules)
            if stretch.coarse is not None:
                found = under_seeds(fine.positions, stretch.coarse.values, found)
            yield fine, due, found

    def _stretches(self, overlap: _Overlap) -> Iterator[_Stretch]:
        overlap.scale = self.scale if self.windows is None else window_scale
        sweep = partial(sweep_track, axis=self.axis, chunk_bp=self.chunk_bp)
        read = partial(read_windows, self.attr, shared=self.shared)
        fine = sweep(self.attr, scale=overlap.scale_windows, read=read, progress=self.progress)
        if self.seeds is None:
            yield from (_Stretch(overlap.counted(block), None) for block in fine)
            return
        coarse = sweep(self.seeds)  # the same windows and sequences have the same positions
        for block, under in zip(fine, coarse, strict=True):
            yield _Stretch(overlap.counted(block), under)

    def _searched(self, block: TrackBlock) -> NDArray[np.float64]:
        """Return the values that candidates are found in: as they are, or relative to the level of their window."""
        return block.values if self.scale is None else block.scaled

    def describe(self, block: TrackBlock, found: dict[str, Candidates]) -> dict[str, Evidence]:
        """Say what candidates of each sign are judged by jointly."""
        assert self.windows is not None
        described = {sign: self._described(block, sign, candidates) for sign, candidates in found.items()}
        if self.agreement is not None:
            described = self.agreement.of_windows(described, self.windows)
        return described if self.effects is None else self.effects.of_windows(described, self.windows)

    def _described(self, block: TrackBlock, sign: str, candidates: Candidates) -> Evidence:
        assert self.windows is not None
        summit = candidates.summit
        window = self.windows.at(block.positions[summit])
        offset = block.positions[summit] - self.windows.start[window]
        smallest = np.finfo(np.float32).tiny
        level = np.abs(block.values[summit]) / np.maximum(np.abs(block.scaled[summit]), smallest)
        values, level = self._searched(block), np.maximum(level, smallest)
        prediction, place = self.windows.prediction[window], self.windows.place(offset)
        features = describe(candidates, sign, values, prediction, level, place)
        return Evidence(features, window, self.windows.fold[window], offset)

    def sample(self, signs: Sequence[str]) -> dict[str, Evidence]:
        """Candidates to learn from: all of them, or those of stretches all over the genome."""
        parts: dict[str, list[Evidence]] = {name: [] for name in signs}
        assert self.windows is not None
        every = self.windows.every
        for block, due, candidates in self.candidates(every=every):
            where = {name: block.positions[candidates[name].summit] for name in signs}
            mine = {
                name: candidates[name].take((at >= due[0]) & (at < due[1]) & (at // SAMPLED_BP % every == 0))
                for name, at in where.items()
            }
            for name, one in self.describe(block, mine).items():
                parts[name].append(one)
        return {name: Evidence.join(one) for name, one in parts.items()}


class _Overlap:
    """How much attribution cancels where windows overlap, counted in passing.

    Over the windows that cover a base, Σ w |v| exceeds |Σ w v| only where their signs differ.
    """

    scale: Scale | None = None

    def __init__(self) -> None:
        self._given = self._kept = self._kept_shared = 0.0

    def scale_windows(self, values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Levels of windows (n, L) on their way into the sweep; ones where the track is taken as it is."""
        self._given += float((np.abs(values, dtype=np.float64) * blend_weights(values.shape[1])).sum(where=known))
        return np.ones(len(values)) if self.scale is None else self.scale(values, known)

    def counted(self, block: TrackBlock) -> TrackBlock:
        """Pass on a block that came out of the sweep."""
        kept = np.abs(block.values) * block.weights
        self._kept += float(kept.sum())
        self._kept_shared += float(kept.sum(where=block.n_windows > 1))
        return block

    def warn(self) -> None:
        """Warn where windows contradict each other."""
        lost = self._given - self._kept
        shared = self._kept_shared + lost
        if self._kept_shared > 0 and lost > MUCH_CANCELLED * shared:
            logger.warning(
                "track: where windows overlap, %.0f %% of their attribution cancels, because they disagree on the sign "
                "of the same bases; peaks there are those of the mean. Check that the windows show one sequence, or "
                "give windows that do not overlap",
                100 * lost / shared,
            )


def _overlapping_pieces(stretches: Iterator[_Stretch], reach_bp: int) -> Iterator[tuple[_Stretch, tuple[float, float]]]:
    """Yield pieces of track with the span of summits that are due in each.

    Pieces overlap by `reach_bp` on both sides of the due span, and the spans tile the axis, so that the candidates do
    not depend on where the track is cut.
    """
    held: _Stretch | None = None
    due_from = -np.inf
    for stretch in stretches:
        held = stretch if held is None else held.join(stretch)
        positions = held.fine.positions
        if not len(positions):
            continue
        due_to = max(due_from, float(positions[-1] - reach_bp + 1))
        yield held, (due_from, due_to)
        held = held.take(slice(int(np.searchsorted(positions, due_to - reach_bp)), None))
        due_from = due_to
    if held is not None and len(held.fine.positions):
        yield held, (due_from, np.inf)


def check_seeds(attr: Attributions, seeds: Attributions) -> None:
    """Raise unless a coarse map is about the same windows and the same controls.

    Raises
    ------
    UsageError
        It is the fine track itself.
    StoreError
        Other regions, other sequences, or other controls.
    """
    if seeds is attr:
        raise UsageError(
            f"seeds: {seeds.name} is the track that is called, expected a coarser map of the same windows; attribute "
            "with both: `seqsal attribute … --method gradient_x_input --method grad_cam`"
        )
    if len(attr) != len(seeds) or not all(
        attr.rows(rows, PLACE).equals(seeds.rows(rows, PLACE)) for rows in attr.row_blocks()
    ):
        raise StoreError(
            f"seeds: are about other windows ({len(seeds):,} of {seeds.length:,} bp) than the track ({len(attr):,} of "
            f"{attr.length:,} bp), expected the same in the same order; attribute the same regions with both methods"
        )
    own, others = attr.controls, seeds.controls
    if own and others and (len(own) != len(others) or not _same_codes(own.codes, others.codes)):
        raise StoreError(
            f"seeds: have other shuffled controls ({seeds.n_controls:,}) than the track ({attr.n_controls:,}), "
            "expected the same ones; attribute with the same --seed and --controls, or with both methods in one run"
        )
    if not _same_codes(attr.codes, seeds.codes):
        raise StoreError("seeds: are about other sequences than the track; attribute the same genome with both methods")


def _same_codes(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None:
        return a is b
    if a is b:
        return True
    chunks = (slice(i, i + _CHECKED_ROWS) for i in range(0, len(a), _CHECKED_ROWS))
    return a.shape == b.shape and all(np.array_equal(a[rows], b[rows]) for rows in chunks)
