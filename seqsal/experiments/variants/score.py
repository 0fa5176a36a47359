"""Effects of variants, f(alt) − f(ref), streamed from a file of variants to a table.

The variants are read three times, some thousand at a time: to check them before any work, to score them together with
their controls, and to write the table, since p- and q-values are known only when all are scored. Between, a few numbers
a variant wait in a temporary file, so that memory does not grow with how many there are.
"""

from __future__ import annotations

import inspect
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, starmap
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution.request import AttributeOptions, as_given, check_reading, read_model
from seqsal.attribution.targets import n_targets_of
from seqsal.errors import ModelError, UsageError, counted, shown
from seqsal.experiments.predict import PairScores, Predictor
from seqsal.experiments.variants.alleles import Allele, check_variants, normalise, pairs_of, read_around, usable
from seqsal.experiments.variants.maps import write_maps
from seqsal.experiments.variants.null import EffectNull, control_windows, default_n_controls, kinds_of
from seqsal.experiments.variants.outputs import (
    annotate_vcf,
    check_outputs,
    motif_changes,
    worst_of,
    write_variant_bed,
)  # fmt: skip
from seqsal.io.atomic import all_or_nothing, atomic_path
from seqsal.io.fasta import Genome
from seqsal.io.inputs import open_input
from seqsal.io.progress import bar
from seqsal.io.variants import Variant, VariantReader
from seqsal.models import SequenceModel, resolve_device
from seqsal.models.contrast import Target
from seqsal.motifs import Motif, read_motifs
from seqsal.sequence.draws import control_parents

__all__ = [
    "COLUMNS", "VariantOptions", "VariantScorer", "VariantSummary", "open_scorer", "score_variants",
    "write_variant_scores",
]  # fmt: skip

logger = logging.getLogger(__name__)
COLUMNS = ("chrom", "pos", "id", "ref", "alt", "target", "ref_score", "alt_score", "effect", "p_value", "q_value")
SPREAD = ("effect_sd", "model_sd", "distance")
MOST_BACKGROUND = 2_000  # windows that controls are put into
FEW_CONTROLS = 100
MATTERS = 0.05  # the q-value of variants whose motifs are named
MOST_MAPS = 200
PathLike = str | os.PathLike[str]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class VariantOptions:
    """How variants are scored; checked when it is made.

    Attributes
    ----------
    target, contrast, target_names
        What is read from the model, as for :class:`seqsal.attribution.AttributeOptions`.
    shifts
        Where else than at L // 2 the variant is put: offsets in bp, over which scores are averaged.
    rc_average
        Average over both strands.
    n_controls
        Matched controls for p-values: a number, 0 for none, or `auto`: as many as variants, 1,000 to 20,000.
    seed
        Of the controls.
    batch_size
        Windows at a time; None lets the device decide.

    Raises
    ------
    UsageError
        A value outside what is allowed.
    """

    target: Target | str | Sequence[Target | str] | None = None
    contrast: Any = None
    target_names: PathLike | Sequence[str] | None = None
    shifts: int | Sequence[int] = 0
    rc_average: bool = True
    n_controls: int | str = "auto"
    seed: int = 0
    batch_size: int | None = None
    engine: AttributeOptions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        engine = AttributeOptions(
            target=self.target, contrast=self.contrast, target_names=self.target_names,
            rc_average=self.rc_average, n_controls=self.n_controls, seed=self.seed,
            batch_size=self.batch_size,
        )  # fmt: skip
        object.__setattr__(self, "engine", engine)
        if not self.offsets or not all(isinstance(one, (int, np.integer)) for one in self.offsets):
            raise UsageError(f"shifts: got {shown(self.shifts)}, expected whole numbers of bp, such as -10,0,10")
        if len(set(self.offsets)) < len(self.offsets):
            raise UsageError(f"shifts: got {', '.join(map(str, self.offsets))}, expected each once")
        if not isinstance(self.n_controls, str) and 0 < self.n_controls < FEW_CONTROLS:
            raise UsageError(f"n_controls: got {self.n_controls}, expected 0 or {FEW_CONTROLS} and more for p-values")

    @property
    def offsets(self) -> tuple[int, ...]:
        """The shifts."""
        return tuple(self.shifts) if isinstance(self.shifts, Sequence) else (self.shifts,)


@dataclass(frozen=True)
class VariantSummary:
    """What was scored: variants, targets, controls, those with q ≤ 0.05 on any target, and what was set aside."""

    n_variants: int
    n_targets: int
    n_controls: int
    n_significant: int
    skipped: str

    def __str__(self) -> str:
        found = f", {self.n_significant:,} with q ≤ 0.05" if self.n_controls else ""
        return f"{counted(self.n_variants, 'variant')} scored{found}"


@dataclass(frozen=True)
class _Scored:
    """What a chunk's variants came to, (n, T) each but `kind` (n,)."""

    ref: Values
    alt: Values
    spread: Values
    model_spread: Values
    distance: Values
    kind: NDArray[np.int64]

    @classmethod
    def of(cls, scores: PairScores, kind: NDArray[np.int64]) -> _Scored:
        """Average evaluations (E, n, T)."""
        effects = scores.alt - scores.ref
        models = np.stack([effects[scores.model == number].mean(0) for number in np.unique(scores.model)])
        none = np.full(effects.shape[1:], np.nan)
        return cls(
            scores.ref.mean(0), scores.alt.mean(0), effects.std(0, ddof=1) if len(effects) > 1 else none,
            models.std(0, ddof=1) if len(models) > 1 else none,
            none if scores.distance is None else scores.distance.mean(0), kind,
        )  # fmt: skip

    def take(self, rows: slice) -> _Scored:
        """Return some of the variants."""
        return _Scored(self.ref[rows], self.alt[rows], self.spread[rows], self.model_spread[rows],
                       self.distance[rows], self.kind[rows])  # fmt: skip

    @property
    def numbers(self) -> Values:
        """All of it, (n, 5 T + 1), as it waits in a file."""
        return np.concatenate(
            [self.ref, self.alt, self.spread, self.model_spread, self.distance, self.kind[:, None]], axis=1
        )


class VariantScorer:
    """Models, a genome and variants, open and checked; a context manager that closes them.

    Raises
    ------
    SeqsalError
        Input that cannot be used; see the message.
    """

    def __init__(
        self, models: Sequence[SequenceModel], genome: PathLike, variants: PathLike | pd.DataFrame,
        options: VariantOptions, *, device: torch.device, background: PathLike | pd.DataFrame | None = None,
        motifs: Sequence[Motif] = (), progress: bool | None = False,
    ) -> None:  # fmt: skip
        self.options, self.progress, self.motifs = options, progress, motifs
        self.score_jobs: Callable[[Iterable[Any]], Iterator[Any]] = lambda jobs: starmap(self.score_alike, jobs)
        self.length = _common_length(models, options.offsets)
        with ExitStack() as stack:
            self.reader = stack.enter_context(VariantReader(variants))
            self.genome = stack.enter_context(Genome(genome))
            self.n_variants = check_variants(self.reader, self.genome, self.length)
            self.reach = max(map(abs, options.offsets))
            auto = default_n_controls(self.n_variants)
            self.n_controls = auto if isinstance(options.n_controls, str) else options.n_controls
            self.pool = None if background is None or not self.n_controls else self._background(background, genome)
            self.predictor = stack.enter_context(
                Predictor(models, options.engine.targets, device=device, rc_average=options.rc_average,
                          batch_size=options.batch_size)
            )  # fmt: skip
            self.predictor.prepare(np.zeros((1, self.length), dtype=np.uint8), self.n_variants)
            options.engine.check_names(n_targets_of(models[0]))
            own = getattr(models[0], "target", 0)
            self.targets = [options.engine.name_of(one) or str(own if one is None else one) for one in
                            options.engine.targets]  # fmt: skip
            self.waiting: IO[bytes] = stack.enter_context(tempfile.TemporaryFile(prefix="seqsal-"))
            self._files = stack.pop_all()
        skipped = self.reader.describe_skipped()
        if skipped:
            logger.warning("%s: not scored are %s", self.reader.name, skipped)

    def rows(self) -> Iterator[pd.DataFrame]:
        """Score everything, and yield the table in chunks, a row for each variant and target."""
        effects, kinds, parents = self._score()
        n_targets = len(self.targets)
        numbers = np.memmap(self.waiting, dtype=np.float64, mode="r", shape=(self.n_variants, 5 * n_targets + 1))
        p_values = np.full((self.n_variants, n_targets), np.nan)
        q_values = p_values.copy()
        if self.n_controls:
            of_variants = np.asarray(numbers[:, -1]).astype(np.int64)
            for t in range(n_targets):
                own = np.asarray(numbers[:, n_targets + t] - numbers[:, t])
                p_values[:, t] = EffectNull.fit(effects[:, t], kinds, parents).p_values(own, of_variants)
                q_values[:, t] = _q_values(p_values[:, t])
        self.n_significant = int((q_values <= MATTERS).any(axis=1).sum())
        first = 0
        for chunk in self._chunks():
            part = slice(first, first + len(chunk))
            yield self._table(chunk, np.array(numbers[part]), p_values[part], q_values[part])
            first += len(chunk)

    def summary(self) -> VariantSummary:
        """Say what came out, once the rows are made."""
        skipped = self.reader.describe_skipped()
        return VariantSummary(self.n_variants, len(self.targets), self.n_controls, self.n_significant, skipped)

    def write_maps(self, table: pd.DataFrame, out: PathLike) -> None:
        """Write maps of both alleles, by the first model, of the variants of some rows."""
        write_maps(
            self.predictor.models[0], self.genome, table, out, length=self.length, engine=self.options.engine,
            device=str(self.predictor.device),
        )  # fmt: skip

    def close(self) -> None:
        """Close the files, and give the models back."""
        self._files.close()

    def __enter__(self) -> VariantScorer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _chunks(self) -> Iterator[list[Variant]]:
        for chunk in self.reader.chunks():
            yield list(usable(self.reader, self.genome, chunk, self.length))

    def _score(self) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
        """Score variants into the waiting file, and return effects (M, T), kinds and variants (M,) of the controls."""
        n_each = np.bincount(
            control_parents(np.arange(self.n_controls), self.n_variants, self.n_controls), minlength=self.n_variants
        )
        effects, kinds, parents, first = [], [], [], 0
        disable = None if self.progress is None else not self.progress
        with bar(
            total=self.n_variants, unit="variant", disable=disable, delay=3 if self.progress is None else 0
        ) as shown:
            for chunk in self._chunks():
                alleles = [normalise(self.genome, variant, self.length) for variant in chunk]
                scored = np.empty((len(chunk), 5 * len(self.targets) + 1))
                groups = list(_alike(alleles))
                jobs = (([alleles[row] for row in rows], n_each[first + rows]) for rows in groups)
                for rows, (own, controls) in zip(groups, self.score_jobs(jobs), strict=True):
                    scored[rows] = own.numbers
                    effects.append(controls.alt - controls.ref)
                    kinds.append(controls.kind)
                    parents.append(np.repeat(first + rows, n_each[first + rows]))
                self.waiting.write(scored.tobytes())
                first += len(chunk)
                shown.update(len(chunk))
        self.waiting.flush()
        return np.concatenate(effects), np.concatenate(kinds), np.concatenate(parents)

    def score_alike(self, alleles: Sequence[Allele], n_each: NDArray[np.int64]) -> tuple[_Scored, _Scored]:
        """Score variants that all change the length by as much, and their controls."""
        reach = self.reach + abs(alleles[0].shift) + 1
        around = read_around(self.genome, alleles, self.length, reach)
        at = self.length // 2 + reach
        kinds = kinds_of(around, alleles, at, self.options.rc_average)
        pool = None if self.pool is None else self._cut(self.pool, around.shape[1])
        controls, rows = control_windows(around, alleles, at, n_each, seed=self.options.seed, pool=pool)
        both = np.concatenate([around, controls])
        of_both = [*alleles, *(alleles[row] for row in rows)]
        parts = [self.predictor.score(pairs_of(both, of_both, self.length, shift)) for shift in self.options.offsets]
        scored = _Scored.of(PairScores.join(parts), np.concatenate([kinds, kinds[rows]]))
        return scored.take(slice(len(alleles))), scored.take(slice(len(alleles), None))

    def _background(self, regions: PathLike | pd.DataFrame, genome: PathLike) -> NDArray[np.uint8]:
        """Read windows (B, L + room) that controls are put into."""
        with open_input(genome=genome, regions=regions, length=3 * self.length + 2 * self.reach + 2) as source:
            rows = np.arange(min(len(source), MOST_BACKGROUND)) * len(source) // min(len(source), MOST_BACKGROUND)
            return source.read(rows)

    def _cut(self, pool: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
        first = (pool.shape[1] - length) // 2
        return pool[:, first : first + length]

    def _table(self, chunk: Sequence[Variant], numbers: Values, p: Values, q: Values) -> pd.DataFrame:
        """Make the rows of some variants, those of one variant together."""
        n_targets = len(self.targets)
        columns = {name: np.repeat(np.array([getattr(one, name) for one in chunk], dtype=object), n_targets)
                   for name in COLUMNS[:5]}  # fmt: skip
        ref, alt, *spread = (numbers[:, i * n_targets : (i + 1) * n_targets].ravel() for i in range(5))
        table = pd.DataFrame({
            **columns, "target": np.tile(self.targets, len(chunk)), "ref_score": ref, "alt_score": alt,
            "effect": alt - ref, "p_value": p.ravel(), "q_value": q.ravel(),
        }).astype({"pos": np.int64})  # fmt: skip
        if self.motifs:
            matters = (q <= MATTERS).any(axis=1) if self.n_controls else np.ones(len(chunk), dtype=bool)
            rows = np.flatnonzero(matters).tolist()
            found = motif_changes(self.genome, [chunk[i] for i in rows], self.motifs)
            changes = dict(zip(rows, found, strict=True))
            named = [changes.get(i, ("", "")) for i in range(len(chunk))]
            for side, name in enumerate(("motif_gained", "motif_lost")):
                table[name] = np.repeat(np.array([one[side] or None for one in named], dtype=object), n_targets)
        is_given = self._has_spread
        return table.assign(**{name: one for name, one, given in zip(SPREAD, spread, is_given, strict=True) if given})

    @property
    def _has_spread(self) -> tuple[bool, bool, bool]:
        """Whether there is more than one evaluation, more than one model, and a profile."""
        models = self.predictor.models
        n = len(models) * len(self.options.offsets) * (1 + self.options.rc_average)
        return n > 1, len(models) > 1, any(model.has_profile for model in models)


def _alike(alleles: Sequence[Allele]) -> Iterable[NDArray[np.int64]]:
    """Yield the rows of alleles that are scored together: single bases, others that keep the length, each shift."""
    keys = np.array([(one.shift, one.shift == 0 and len(one.ref) == 1) for one in alleles], dtype=np.int64)
    _, group = np.unique(keys.reshape(-1, 2), axis=0, return_inverse=True)
    return (np.flatnonzero(group == number) for number in range(int(group.max()) + 1 if len(group) else 0))


def _q_values(p: Values) -> Values:
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, method="bh"))


def _common_length(models: Sequence[SequenceModel], offsets: Sequence[int]) -> int:
    """Window length of all models."""
    lengths = {model.input_length for model in models}
    if None in lengths:
        raise ModelError("model: its window is not known; give it by --input-length (input_length=)")
    if len(lengths) > 1:
        raise ModelError(
            f"model: the windows of the ensemble are {', '.join(map(str, sorted(lengths, key=str)))} bp; give models "
            "of one length"
        )
    length = int(next(iter(lengths)))  # type: ignore[arg-type]
    if max(map(abs, offsets)) >= length // 2:
        raise UsageError(
            f"shifts: got {max(offsets, key=abs)}, expected less than half of the window, {length // 2} bp"
        )
    if len({model.output_space for model in models}) > 1:
        raise ModelError("model: the models of the ensemble give different output spaces; give models of one kind")
    return length


def open_scorer(
    model: Any, *, genome: PathLike, variants: PathLike | pd.DataFrame,
    background: PathLike | pd.DataFrame | None = None, motif_db: PathLike | Sequence[Motif] | None = None,
    device: str = "auto", progress: bool | None = False,
    reading: Mapping[str, Any] | None = None, **options: Any,
) -> VariantScorer:  # fmt: skip
    """Check what is wanted, read the models and open the files."""
    wanted, where = VariantOptions(**options), resolve_device(device)
    motifs = read_motifs(motif_db) if isinstance(motif_db, (str, os.PathLike)) else motif_db or ()
    given, own = list(model) if isinstance(model, (list, tuple)) else [model], as_given(reading or {})
    if not given:
        raise UsageError("model: got none, expected one or more")
    for one in given:
        check_reading(one, own, known=inspect.signature(score_variants).parameters)
    models = [read_model(one, device=where, target=wanted.engine.targets[0], **own) for one in given]
    return VariantScorer(
        models, genome, variants, wanted, device=where, background=background, motifs=motifs, progress=progress
    )


def score_variants(
    model: nn.Module | PathLike | Sequence[nn.Module | PathLike],
    *,
    genome: PathLike,
    variants: PathLike | pd.DataFrame,
    target: int | str | Sequence[int | str] | None = None,
    contrast: Any = None,
    target_names: PathLike | Sequence[str] | None = None,
    shifts: int | Sequence[int] = 0,
    rc_average: bool = True,
    n_controls: int | str = "auto",
    background: PathLike | pd.DataFrame | None = None,
    motif_db: PathLike | Sequence[Motif] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    progress: bool | None = None,
    **reading: Any,
) -> pd.DataFrame:
    r"""Score variants: how each changes the prediction, and how often chance changes it as much.

    Parameters
    ----------
    model
        As for :func:`seqsal.attribute`, or several of one kind (an ensemble), whose scores are averaged.
    genome
        Genome FASTA; every REF is compared with it.
    variants
        A VCF or BCF (pysam reads them), or a table with chrom, pos (from 1), ref and alt: a file or a DataFrame.
    target, contrast, target_names
        Which outputs or differences of outputs, as for :func:`seqsal.attribute`.
    shifts
        Offsets in bp of the variant from the window's centre, over which scores are averaged.
    rc_average
        Average over both strands.
    n_controls
        Matched controls for p-values, see :mod:`seqsal.experiments.variants.null`; `auto`, or 0 for no p-values.
    background
        Regions that controls are put into; None shuffles the variants' own windows.
    motif_db
        Known motifs, as :func:`seqsal.motifs.read_motifs` reads them, to name what the variants with q ≤ 0.05 (or all,
        without controls) make and break: the columns `motif_gained` and `motif_lost`, `name|bits|position|strand`.
    seed
        Of the controls.
    batch_size, device, progress
        As for :func:`seqsal.score`.
    reading
        How a model file or a module is read, as in :func:`seqsal.load_model` and :func:`seqsal.wrap`.

    Returns
    -------
    DataFrame
        A row for each variant and target, in the order of the file: chrom, pos, id, ref, alt, target, ref_score,
        alt_score, effect (alt_score − ref_score, in the output space that attributions are about), p_value and q_value
        (Benjamini–Hochberg, by target; NaN without controls); then `effect_sd` over strands, shifts and models,
        `model_sd` over the models of an ensemble, and `distance`, the Jensen–Shannon distance of profiles, where there
        are any.

    Raises
    ------
    SeqsalError
        Input that cannot be used, such as a REF that differs from the genome; see the message.

    Examples
    --------
    >>> import pandas as pd, seqsal, tempfile, torch
    >>> from pathlib import Path
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6, 1))
    >>> variants = pd.DataFrame({"chrom": ["chr1"], "pos": [5], "ref": ["A"], "alt": ["G"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     genome = Path(folder, "genome.fa")
    ...     _ = genome.write_text(">chr1\nCCGTACGTTG\n")
    ...     table = seqsal.score_variants(model, genome=genome, variants=variants, rc_average=False, n_controls=0,
    ...                                   input_length=6, device="cpu")
    >>> weight = model[1].weight.detach().reshape(4, 6)[:, 3]  # at L // 2
    >>> bool(abs(table["effect"][0] - float(weight[2] - weight[0])) < 1e-5)
    True
    """
    options = {"target": target, "contrast": contrast, "target_names": target_names, "shifts": shifts,
               "rc_average": rc_average, "n_controls": n_controls, "seed": seed,
               "batch_size": batch_size}  # fmt: skip
    with open_scorer(
        model, genome=genome, variants=variants, background=background, motif_db=motif_db, device=device,
        progress=progress,
        reading=reading, **options,
    ) as scorer:  # fmt: skip
        return pd.concat(scorer.rows(), ignore_index=True)


def write_variant_scores(
    scorer: VariantScorer, out: PathLike, *, annotated: Path | None = None, bed: Path | None = None,
    attributions: Path | None = None, n_maps: int = MOST_MAPS,
) -> VariantSummary:  # fmt: skip
    """Score what is open, and write the table as it comes: tabs, nine digits, NA where there is no value.

    `annotated` is the VCF with the scores in INFO, `bed` a track for browsers, `attributions` the maps of both alleles
    of the `n_maps` variants that matter most. All files get their names together.
    """
    check_outputs(scorer.reader, annotated, bed)
    rows = scorer.rows()
    first, top = next(rows), pd.DataFrame()
    with all_or_nothing(), atomic_path(out) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for number, table in enumerate(chain([first], rows)):
                table.to_csv(file, sep="\t", index=False, header=not number, na_rep="NA", float_format="%.9g")
                top = worst_of([top, table] if len(top) else [table], n_maps) if attributions is not None else top
        if annotated is not None:
            annotate_vcf(scorer.reader, temporary, annotated)
        if bed is not None:
            write_variant_bed(temporary, bed)
        if attributions is not None:
            scorer.write_maps(top, attributions)
    return scorer.summary()
