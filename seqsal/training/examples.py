"""The examples of a training run: windows read into memory as codes, with targets, each in one part of the split."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.errors import TrainingError, UsageError, counted
from seqsal.io.inputs import WindowSource, open_input
from seqsal.models.cnn import CNNConfig
from seqsal.models.seen import record_seen
from seqsal.sequence.codes import N_CODE, reverse_complement
from seqsal.sequence.draws import random_words, window_keys
from seqsal.training.negatives import ClassWindows, sample_negatives
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import Signal, read_tracks
from seqsal.training.sources import Regions, find_contigs, is_fasta
from seqsal.training.split import PARTS, assign_parts, choose_chroms
from seqsal.training.stretches import Stretches, blocks_of, is_many, joined, rows_of, turned_codes

__all__ = ["Examples", "load_examples"]

logger = logging.getLogger(__name__)

MIN_TRAIN = 10  # positives: fewer cannot be told from noise
MIN_HELD_OUT = 2  # of each class, in validation and test
MOST_SHARED = 0.05  # of a class: windows that the other class has as well
LARGEST_TARGET = 1e12  # whose square is still a float32
_UNEVEN_N = 0.02  # difference in the share of N between classes that a model could learn instead of sequence


@dataclass(frozen=True)
class Examples:
    """Windows in memory, N of them, each `max_shift` bp longer than the model's input at both ends.

    Of many windows `codes`, `tracks` and `controls` may be :class:`seqsal.training.stretches.Stretches`, which hold
    bases that windows share once, and of which rows are taken as from an array.

    Parameters
    ----------
    codes : ndarray of uint8, shape (N, input_length + 2 * max_shift)
    targets : ndarray of float32, shape (N, n_targets)
    parts : ndarray of str, shape (N,)
        ``train``, ``valid`` or ``test``.
    is_positive : ndarray of bool, shape (N,)
    chroms : ndarray of str, shape (N,)
    windows
        Region table of the windows, as wide as `codes`.
    marks : ndarray of int8, shape of codes, optional
        1 where a base is relevant, −1 where it is irrelevant, by the masks given.
    copies : ndarray of bool, shape of codes, optional
        Where copies of an artifact stand that is to be seen in both classes alike.
    neutral : ndarray of uint8, shape (kinds, n, width of codes), optional
        Kinds of sequence without sites that are to have the same prediction on average.
    tracks : ndarray of float32, shape (N, n_targets, output_length + 2 * max_shift), optional
        Counts at each base of the profile.
    controls : ndarray of float32, shape (N, n_controls, input_length + 2 * max_shift), optional
    swaps
        For tracks and controls, which of them takes the place of which on the other strand.
    spare
        Negatives that were given and are left to be mined; None where negatives are sampled.
    seen
        The windows by part, as :func:`seqsal.models.seen.record_seen` has them.
    provenance
        JSON values: the input files, how negatives were made, windows left out.
    """

    codes: NDArray[np.uint8]
    targets: NDArray[np.float32]
    parts: NDArray[np.str_]
    is_positive: NDArray[np.bool_]
    chroms: NDArray[np.str_]
    windows: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    marks: NDArray[np.int8] | None = field(default=None, repr=False)
    copies: NDArray[np.bool_] | None = field(default=None, repr=False)
    neutral: NDArray[np.uint8] | None = field(default=None, repr=False)
    tracks: NDArray[np.float32] | None = field(default=None, repr=False)
    controls: NDArray[np.float32] | None = field(default=None, repr=False)
    swaps: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    spare: ClassWindows | None = field(default=None, repr=False)
    seen: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return the indices of the examples of one part, ascending."""
        return np.flatnonzero(self.parts == part)

    def counts(self, part: str) -> dict[str, int]:
        """Count the positives and negatives of one part."""
        rows = self.rows(part)
        n_positive = int(self.is_positive[rows].sum())
        return {"n_positives": n_positive, "n_negatives": len(rows) - n_positive}


def load_examples(
    positives: Regions,
    negatives: Regions | None,
    *,
    genome: str | os.PathLike[str] | None,
    config: CNNConfig,
    training: TrainConfig,
    valid_chroms: Sequence[str] | None,
    test_chroms: Sequence[str] | None,
    seed: int,
    signal: Signal | None = None,
    lean: bool = False,
) -> Examples:
    """Read the windows of a training run, make negatives where none are given, and split them.

    `config` and `training` say the input length, loss and targets, and how to sample, shift and split; chromosomes that
    are None are chosen; `seed` is that of the sampling of negatives; `signal` has the targets in place of a column of
    the positives; `lean` lays many windows out together (`Stretches`). TrainingError: too few examples in a part, unfit
    target values, negatives for a model that is not binary or of which many are positives as well; UsageError: regions
    without a genome.
    """
    if negatives is not None and config.loss != "binary":
        raise TrainingError(f"negatives: given for a {config.loss} model, which learns from values; leave them out")
    if signal is not None and (is_fasta(positives) or genome is None or config.loss == "binary"):
        raise UsageError(
            "signal: is read at regions of a genome, as profile, count or regression; give --regions and --genome, and "
            "no FASTA of windows and no --loss binary"
        )
    if signal is None and config.loss == "profile":
        raise UsageError("loss: a profile is learnt from tracks, but none is given; add --signal FILE.bw")
    given = [regions for regions in (positives, negatives) if regions is not None]
    has_flanks = not any(is_fasta(regions) for regions in given)
    lean = lean and has_flanks and (negatives is not None or config.loss != "binary")
    reader = _Reader(genome, config.input_length, training, has_flanks, lean)
    with reader.open(positives, "positives") as source:
        is_contig = find_contigs(positives, source.windows)
        chrom_parts = _chrom_parts(source.windows[~is_contig], is_contig, valid_chroms, test_chroms, training)
        classes = [reader.read(source, is_contig, chrom_parts)]
        chrom_sizes = source.chrom_sizes
    if signal is not None:
        return _with_signal(classes[0], signal, config, training, chrom_sizes, lean=lean)
    targets, spare = _targets(classes[0].windows, config, training), None
    if negatives is not None:
        with reader.open(negatives, "negatives") as source:
            classes.append(reader.read(source, find_contigs(negatives, source.windows), chrom_parts))
        _check_shared(*classes, of_one_genome=has_flanks, allow=training.allow_overlap)
        if training.mine:
            classes[1], spare = _set_aside(classes[0], classes[1], training, seed)
    elif config.loss == "binary":
        classes.append(sample_negatives(classes[0], positives, genome, training, seed))
    examples = replace(_join(classes, targets, config.input_length), spare=spare)
    _check(examples, config)
    return examples


def _with_signal(
    windows: ClassWindows, signal: Signal, config: CNNConfig, training: TrainConfig, chrom_sizes: Mapping[str, int],
    *, lean: bool,
) -> Examples:  # fmt: skip
    """Give windows, those that lie inside their chromosomes, what tracks have there as targets."""
    is_profile = config.loss == "profile"
    length = config.output_length if is_profile else config.input_length
    if len(signal.paths) != config.n_targets or len(signal.controls) != config.n_controls:
        raise TrainingError(
            f"signal: {counted(len(signal.paths), 'track')} and {counted(len(signal.controls), 'control')} for a "
            f"{config.loss} model of {counted(config.n_targets, 'target')} and "
            f"{counted(config.n_controls, 'control')}; give one track for each target, and controls to a profile alone"
        )
    table, flank = windows.windows, training.max_shift
    margin = (windows.codes.shape[1] - length) // 2 - flank * is_profile
    ends = table["chrom"].map(chrom_sizes).to_numpy()
    is_inside = ((table["start"] + margin >= 0) & (table["end"] - margin <= ends)).to_numpy()
    if not is_inside.all():
        n_outside, row = int((~is_inside).sum()), table.loc[~is_inside].iloc[0]
        told = (
            f"signal: {n_outside:,} of {len(table):,} windows reach over an end of their chromosome, first "
            f"{row['name']} at {row['chrom']}:{row['start']}-{row['end']}"
        )
        if not is_inside.any():
            raise TrainingError(f"{told}, expected {length:,} bp inside; give regions further in, or shorter windows")
        logger.warning("%s; they are left out", told)
        windows = replace(
            windows, windows=table[is_inside].reset_index(drop=True),
            codes=rows_of(windows.codes, np.flatnonzero(is_inside)),
            parts=windows.parts[is_inside],
        )  # fmt: skip
        table = windows.windows
    swaps = signal.swap(), signal.swap("control")
    pairs = [f"{signal.names[i]} and {signal.names[j]}" for i, j in enumerate(swaps[0]) if i < j]
    logger.info("signal: %s", f"strands of one experiment: {'; '.join(pairs)}" if pairs else "no strands")
    tracks = controls = None
    if is_profile:
        tracks = read_tracks(signal.paths, table, length + 2 * flank, chrom_sizes, swap=swaps[0], lean=lean)
        targets = np.concatenate([block[..., flank : flank + length].sum(axis=-1) for _, block in blocks_of(tracks)])
        if signal.controls:
            controls = read_tracks(
                signal.controls, table, windows.codes.shape[1], chrom_sizes, swap=swaps[1], name="control",
                lean=lean,
            )  # fmt: skip
    else:
        targets = read_tracks(
            signal.paths, table, length, chrom_sizes, swap=swaps[0], signed=config.loss == "regression",
            reduce="mean" if config.loss == "regression" else "sum",
        )  # fmt: skip
    examples = _join([windows], targets, config.input_length)
    described = {
        "signal": [_file_facts(path) for path in signal.paths], "strands": pairs, "n_outside": int((~is_inside).sum()),
        "control": [_file_facts(path) for path in signal.controls],
    }  # fmt: skip
    examples = replace(
        examples, tracks=tracks, controls=controls, swaps=swaps, provenance=examples.provenance | described
    )
    _check(examples, config)
    return examples


def _file_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    with Path(path).open("rb") as file:
        return {"file": Path(path).name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _set_aside(
    positive: ClassWindows, negative: ClassWindows, training: TrainConfig, seed: int
) -> tuple[ClassWindows, ClassWindows]:
    """Train on as many of the given negatives as would be sampled, and leave the others of the part to be mined."""
    of_training = np.flatnonzero(negative.parts == "train")
    n_kept = training.negatives_per_positive * int((positive.parts == "train").sum())
    order = np.argsort(random_words(negative.codes[of_training], 1, seed=seed)[:, 0], kind="stable")
    spare = np.sort(of_training[order[n_kept:]])
    if not len(spare):
        raise TrainingError(
            f"mine: all {len(of_training):,} negatives of the training part are trained on from the start "
            f"({training.negatives_per_positive} a positive), so none is left to mine; give more, or a smaller "
            "--negatives-per-positive"
        )
    kept = np.setdiff1d(np.arange(len(negative.parts)), spare)
    first, rest = (
        ClassWindows(negative.windows.iloc[rows].reset_index(drop=True), negative.codes[rows], negative.parts[rows],
                     negative.provenance)
        for rows in (kept, spare)
    )  # fmt: skip
    return first, rest


def _chrom_parts(
    placed: pd.DataFrame,
    is_contig: NDArray[np.bool_],
    valid_chroms: Sequence[str] | None,
    test_chroms: Sequence[str] | None,
    training: TrainConfig,
) -> dict[str, str]:
    if is_contig.any() and not (valid_chroms or test_chroms) and placed.empty:
        return {}
    return choose_chroms(
        placed["chrom"].to_numpy(),
        valid_chroms=valid_chroms,
        test_chroms=test_chroms,
        valid_fraction=training.valid_fraction,
        test_fraction=training.test_fraction,
    )


@dataclass(frozen=True)
class _Reader:
    """Reads windows `max_shift` longer at both ends: real sequence, or N where one class has none to show there."""

    genome: str | os.PathLike[str] | None
    length: int
    training: TrainConfig
    has_flanks: bool
    lean: bool = False

    def open(self, regions: Regions, name: str) -> WindowSource:
        if is_fasta(regions):
            return open_input(fasta=regions, length=self.length)  # type: ignore[arg-type]
        if self.genome is None:
            raise UsageError(
                f"{name}: are regions, which need a genome to be read from; give --genome, or a FASTA file instead"
            )
        flank = self.training.max_shift if self.has_flanks else 0
        source = open_input(genome=self.genome, regions=regions, length=self.length + 2 * flank)
        longest = max(source.chrom_sizes, key=source.chrom_sizes.__getitem__)
        if self.length > source.chrom_sizes[longest]:  # found before anything as long is read
            source.close()
            raise TrainingError(
                f"input_length: got {self.length:,} bp, but no chromosome of {self.genome} is as long (the longest, "
                f"{longest}, has {source.chrom_sizes[longest]:,} bp); give shorter windows"
            )
        return source

    def read(self, source: WindowSource, is_contig: NDArray[np.bool_], chrom_parts: dict[str, str]) -> ClassWindows:
        training = self.training
        parts = assign_parts(
            source.windows, is_contig, chrom_parts, valid=training.valid_fraction, test=training.test_fraction
        )
        if self.lean and is_many(len(source), source.length):
            return ClassWindows(source.windows, self._lay(source), parts, source.provenance)
        codes = source.read(slice(0, len(source)))
        if not self.has_flanks:
            flank = training.max_shift
            codes = np.pad(codes, ((0, 0), (flank, flank)), constant_values=N_CODE)
        return ClassWindows(source.windows, codes, parts, source.provenance)

    @staticmethod
    def _lay(source: WindowSource) -> Any:
        """Read windows in blocks, along their chromosomes, into what they share."""
        laid = Stretches.lay(source.windows, source.length, turned_codes)
        for rows in np.array_split(np.argsort(laid.at.numpy(), kind="stable"), -(-len(laid) * source.length >> 21)):
            laid.put(rows, source.read(rows))
        return laid


def _targets(windows: pd.DataFrame, config: CNNConfig, training: TrainConfig) -> NDArray[np.float32]:
    """Return the positives' targets, shape (P, n_targets): ones, or the values of the target columns."""
    if config.loss == "binary" and config.n_targets == 1:
        return np.ones((len(windows), 1), dtype=np.float32)
    columns = training.target_columns
    if len(columns) != config.n_targets:
        raise TrainingError(
            f"target_columns: {len(columns)} given ({', '.join(columns)}) for {counted(config.n_targets, 'target')}; "
            "name one for each"
        )
    missing = [column for column in columns if column not in windows]
    if missing:
        raise TrainingError(
            f"target_columns: the positives have no column {missing[0]!r}; "
            f"they have {', '.join(map(str, windows.columns))}"
        )
    given = windows[list(columns)]
    values = given.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    allowed = {
        "binary": (np.isin(values, (0, 1)), "0 or 1"),
        "count": (values >= 0, "counts of 0 or more"),
        "regression": (np.isfinite(values), "a number for each region (column 5 of a BED file)"),
    }
    is_good, expected = allowed[config.loss]
    is_good &= np.abs(values) <= LARGEST_TARGET
    if not is_good.all():
        row, column = np.argwhere(~is_good)[0]
        raise TrainingError(
            f"target_columns: {columns[column]} of region {windows['name'].iloc[row]} is "
            f"{given.iloc[row, column]!s:.40}, expected {expected}, {LARGEST_TARGET:g} at most; complete the "
            "positives or leave such regions out"
        )
    return values.astype(np.float32)


def _check_shared(positive: ClassWindows, negative: ClassWindows, *, of_one_genome: bool, allow: bool) -> None:
    """Tell of windows of both classes with the same bases, on either strand, or half or more of the same place.

    A shuffled or edited sequence in a FASTA often keeps the name, and so the place, of the one that it was made from:
    places count only where both classes are read from `of_one_genome`.
    """
    keys, places = [], []
    for part in (positive, negative):
        blocks = [np.minimum(window_keys(block), window_keys(reverse_complement(block)))
                  for _, block in blocks_of(part.codes)]  # fmt: skip
        keys.append(np.concatenate(blocks))
        places.append(part.windows[["chrom", "start"]].where(part.windows["chrom"] != part.windows["name"]))
    n_shared = []
    for own, other in ((0, 1), (1, 0)):
        shared = np.isin(keys[own], keys[other])
        starts = {chrom: np.sort(rows.to_numpy()) for chrom, rows in places[other].groupby("chrom")["start"]}
        for chrom, rows in places[own].groupby("chrom")["start"] if of_one_genome else ():
            near = starts.get(chrom, np.empty(0))
            at = np.searchsorted(near, rows)
            around = np.concatenate([[-np.inf], near, [np.inf]])
            distance = np.minimum(rows - around[at], around[at + 1] - rows)
            shared[rows.index] |= (distance <= positive.codes.shape[1] // 2).to_numpy()
        n_shared.append(int(shared.sum()))
    if not any(n_shared):
        return
    told = (
        f"negatives: {n_shared[1]:,} of {len(keys[1]):,} are positives as well, and {n_shared[0]:,} of "
        f"{len(keys[0]):,} positives are negatives (the same bases, or half or more of the same place)"
    )
    if not allow and any(n > MOST_SHARED * len(key) for n, key in zip(n_shared, keys, strict=True)):
        raise TrainingError(
            f"{told}, expected {MOST_SHARED:.0%} at most; remove them, or give --allow-overlap (allow_overlap=True)"
        )
    logger.warning("%s", told)


def _join(classes: list[ClassWindows], targets: NDArray[np.float32], length: int) -> Examples:
    """Put positives and negatives, whose targets are 0, into one set."""
    n_positives = len(targets)
    codes: Any = joined([part.codes for part in classes])
    all_targets = np.zeros((len(codes), targets.shape[1]), dtype=np.float32)
    all_targets[:n_positives] = targets
    windows, parts = pd.concat([part.windows for part in classes]), np.concatenate([part.parts for part in classes])
    flank = (codes.shape[1] - length) // 2
    return Examples(
        codes=codes,
        targets=all_targets,
        parts=parts,
        is_positive=np.arange(len(codes)) < n_positives,
        chroms=windows["chrom"].to_numpy(dtype=str),
        windows=windows.reset_index(drop=True),
        seen=record_seen(windows, parts, _inner(codes, slice(flank, flank + length))),
        provenance={name: part.provenance for name, part in zip(("positives", "negatives"), classes, strict=False)},
    )


def _inner(codes: Any, where: slice) -> NDArray[np.uint8]:
    """Return part of all windows; of stretches, which are no records of a FASTA, none of the bases are asked for."""
    if isinstance(codes, Stretches):
        return np.broadcast_to(np.uint8(0), (len(codes), where.stop - where.start))
    found: NDArray[np.uint8] = codes[:, where]
    return found


def _check(examples: Examples, config: CNNConfig) -> None:
    for part in PARTS:
        counts = examples.counts(part)
        least = MIN_TRAIN if part == "train" else MIN_HELD_OUT
        if config.loss != "binary":
            counts.pop("n_negatives")
        for what, n in counts.items():
            if n < least:
                raise TrainingError(
                    f"{part} part: {n} {what.removeprefix('n_')}, expected {least} at least; give more regions, "
                    "or other --valid-chroms and --test-chroms"
                )
    unknown = np.concatenate([(block == N_CODE).mean(axis=1) for _, block in blocks_of(examples.codes)])
    if config.loss == "binary":
        gap = unknown[examples.is_positive].mean() - unknown[~examples.is_positive].mean()
        if abs(gap) > _UNEVEN_N:
            logger.warning(
                "positives are %.1f %% N and negatives %.1f %%: a model can tell them apart by that; "
                "give both one length",
                100 * unknown[examples.is_positive].mean(),
                100 * unknown[~examples.is_positive].mean(),
            )
