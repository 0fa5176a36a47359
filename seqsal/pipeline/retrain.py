"""What `seqsal retrain` does: takes the shortcuts that an audit found, trains without them, and audits again.

*Remedies.* Of the training part, `randomise` shows the copies of shortcuts in both classes alike, drawn anew each
time; `masks` leaves the sequences, and adds to the loss what maps say of the copies
(:mod:`seqsal.training.relevance`); `both` does both. A composition is always matched: negatives are chosen with that of
the positives, and a term of the loss is how far shuffles of the classes are told apart (:mod:`seqsal.training.priors`).
Each network starts anew, with the sizes, settings and split of the first one, but for `LONGER` times the epochs: copies
and neutral sequences are more to learn from the same examples, and networks of a few hundred examples are not done with
that in the epochs of the first. Its epoch is chosen on the validation part, cleaned of copies.

*Choice.* On the validation part each remedy has its accuracy on cleaned examples, and its reliance on each shortcut:
what copies do when they are written into negatives without any, against their bases in other orders, on both strands,
or, for a composition, the audit's marginal effect. The first that leaves at most `MAX_RELIANCE` of the first model's
reliance, and is as accurate as that model on these examples, is taken. Where there is none, it is the most accurate of
those that leave so little (or the least there is), but for those that lose more than `MOST_LOST` of the first model's
AUROC: a network that learned nothing relies on nothing.

*Before and after* are measured on the test part, which chose nothing: the AUROC on clean examples; the verdict of one
audit each, of the same windows as they are, with the settings of the audit given; and the reliance: the marginal effect
of each shortcut as the audit measures it, in units of the output, for both models with the same word and places, where
each audit takes those that it found itself.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution import METHODS, AttributeOptions, attribute_windows
from seqsal.attribution.methods.registry import parameters_of
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import Finding
from seqsal.auditing.parts.artifacts import ArtifactsResult
from seqsal.auditing.parts.artifacts.effects import marginal_effect
from seqsal.auditing.parts.artifacts.search import PART_BP, Hits, align
from seqsal.auditing.parts.composition import PROPERTIES, class_evidence
from seqsal.auditing.result import AuditResult, read_audit
from seqsal.auditing.run import run_audit
from seqsal.errors import TrainingError, UsageError, counted
from seqsal.experiments.words import Effect
from seqsal.io.atomic import all_or_nothing, atomic_path, check_writable
from seqsal.io.fasta import read_fasta_records
from seqsal.io.inputs import open_codes
from seqsal.models import load_model, resolve_device, wrap
from seqsal.models.checkpoint import load_checkpoint, save_checkpoint, to_json
from seqsal.models.cnn import CNN
from seqsal.motifs import Motif, read_motifs
from seqsal.pipeline.shortcuts import (
    Shortcut,
    balance_composition,
    clean_examples,
    find_copies,
    neutral_kinds,
    read_shortcuts,
)
from seqsal.regions import runs_of
from seqsal.report.retrain import render_retrain
from seqsal.sequence.codes import N_CODE, encode, reverse_complement
from seqsal.sequence.draws import draw_number, mononucleotide_shuffle, random_words
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import predict_raw
from seqsal.training.metrics import auroc, intervals
from seqsal.training.relevance import IRRELEVANT
from seqsal.training.settings import TrainConfig
from seqsal.training.sources import Regions, is_fasta
from seqsal.training.train import TrainResult, train_examples
from seqsal.version import VERSION

__all__ = ["REMEDIES", "Measured", "RetrainResult", "Trial", "effect_text", "retrain", "retrain_paths"]

logger = logging.getLogger(__name__)

REMEDIES = ("randomise", "masks", "both")
SCHEMA = 1
MAX_RELIANCE = 0.05  # of the first model's, that a remedy may leave
N_ORDERS = 4  # of a word's bases, that it is compared with
MOST_LOST = 0.1  # AUROC on clean validation data, beyond which a remedy has not learned what the first model knew
LONGER = 2  # times the epochs, and the patience, of the first model
N_CONTROLS = 500  # of the audits: a number that is not the usual one does not grow (8,000 for some ten windows)
FEW = 30  # held-out positives: fewer say little


@dataclass(frozen=True)
class Trial:
    """A remedy on the validation part: AUROC on clean examples, reliance by shortcut, and the largest share left."""

    remedy: str
    auroc: float
    reliance: Mapping[str, float]
    left: float


@dataclass(frozen=True)
class Measured:
    """A model on the test part.

    `auroc`, `auroc_interval`: on clean examples; `auroc_as_given` on the examples as they are. `faithful`, `plausible`,
    `shortcuts`: of the audit; `said` has its words. `reliance`: marginal effect of each shortcut, in units of the
    output; None where it could not be measured. `range`: of the model, what its audit calls a large change.
    """

    auroc: float
    auroc_interval: Sequence[float]
    auroc_as_given: float
    faithful: bool | None
    plausible: bool | None
    shortcuts: Sequence[str]
    reliance: Mapping[str, float | None]
    range: float
    said: Mapping[str, str]


@dataclass(frozen=True, repr=False)
class RetrainResult:
    """A retrained model, what was tried, and how it compares with the first; `audits` are those of both."""

    training: TrainResult
    remedy: str
    chosen_because: str
    tried: Sequence[Trial]
    before: Measured
    after: Measured
    n_held_out: Mapping[str, int]
    warnings: Sequence[str] = ()
    audits: Sequence[AuditResult] = field(default=(), repr=False)

    @property
    def new_shortcuts(self) -> list[str]:
        """Shortcuts of the retrained model that the first one did not take."""
        return [name for name in self.after.shortcuts if name not in self.before.shortcuts]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what is compared, before and after, as text."""

        def of(one: Measured) -> dict[str, str]:
            low, high = one.auroc_interval
            return {
                "AUROC, clean held-out data": f"{one.auroc:.3f} ({low:.3f} to {high:.3f})",
                "AUROC, held-out data as given": f"{one.auroc_as_given:.3f}",
                "faithful": one.said["faithful"],
                "plausible": one.said["plausible"],
                "shortcuts": ", ".join(one.shortcuts) or "none found",
                **{f"reliance on {name}": effect_text(value) for name, value in one.reliance.items()},
            }

        before, after = of(self.before), of(self.after)
        return [(name, before[name], after[name]) for name in before]

    def summary(self) -> str:
        """Return the table of before and after, and which remedy was taken."""
        rows = [("", "before", "after"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        held = self.n_held_out
        lines += [
            f"on {counted(held['n_positives'], 'held-out positive')} and {counted(held['n_negatives'], 'negative')}; "
            "reliance is the change of the output (logit) by putting it in",
            f"remedy: {self.remedy} ({self.chosen_because})",
            *(f"warning: {line}" for line in self.warnings),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        table = pd.DataFrame(self.rows(), columns=["", "before", "after"]).to_html(index=False, border=0)
        return f"{table}<p>Remedy: {escape(self.remedy)} ({escape(self.chosen_because)})</p>"

    def as_dict(self) -> dict[str, Any]:
        """Return what the `.retrain.json` holds."""
        return {
            "schema": SCHEMA,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "new_shortcuts": self.new_shortcuts,
            "remedy": self.remedy,
            "chosen_because": self.chosen_because,
            "tried": [asdict(one) for one in self.tried],
            "held_out": dict(self.n_held_out),
            "warnings": list(self.warnings),
            "seqsal_version": VERSION,
        }


def effect_text(value: float | None) -> str:
    """Write an effect with its sign, but for one that is rounded to zero, which has none."""
    if value is None:
        return "not measured"
    text = f"{value:+.2f}"
    return text if float(text) else text[1:]


def retrain_paths(out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return where the figures and the page go of a model written to `out`."""
    return Path(out).with_suffix(".retrain.json"), Path(out).with_suffix(".retrain.html")


def retrain(
    model: str | os.PathLike[str],
    audit: str | os.PathLike[str],
    positives: Regions,
    negatives: Regions | None = None,
    *,
    genome: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    remedy: str = "auto",
    motif_db: str | os.PathLike[str] | Sequence[Motif] | None = None,
    seed: int | None = None,
    device: str = "auto",
    progress: bool = False,
) -> RetrainResult:
    """Train a model without the shortcuts that its audit found, and compare the two.

    Parameters
    ----------
    model, audit
        Checkpoint of :func:`seqsal.train_model`, binary and of one target, and the `audit.json` of it.
    positives, negatives, genome
        What it was trained on; negatives that it sampled are sampled as they were, from the checkpoint's settings.
    out
        Checkpoint to write; its figures go to `.retrain.json` of the same name, and a page to `.retrain.html`.
    remedy
        `randomise`, `masks` or `both`; `auto` tries them in this order until one is good enough on the validation part.
    motif_db
        Known motifs for the audit; those of the audit given when None, if it names a release of JASPAR.
    seed
        Of initial weights and whatever is drawn; that of the first model when None.
    device
        `auto`, `cpu` or `cuda[:i]`.
    progress
        Show progress bars.

    Raises
    ------
    UsageError
        The audit is of another model, or found no shortcut; or nothing can be done about one in the way asked for.
    TrainingError
        Too few examples, or a part or class without any; the model is not a binary one of one target.

    Examples
    --------
    >>> result = seqsal.retrain("M.safetensors", "audit.json", "P.bed", genome="G.fa", out="M2.safetensors")
    ... # doctest: +SKIP
    >>> print(result.summary())  # doctest: +SKIP
    """
    task = _Task.of(
        model, audit, positives, negatives, genome=genome, out=out, motif_db=motif_db, seed=seed, device=device,
        progress=progress,
    )  # fmt: skip
    tried, because, chosen = try_remedies(task, task.remedies(remedy))
    result = task.compared(chosen[0], because, tried, chosen[1])
    _write(Path(out), result)
    return result


def try_remedies(task: _Task, remedies: Sequence[str]) -> tuple[list[Trial], str, tuple[Trial, TrainResult]]:
    """Train with each remedy until one is good enough: the trials, why one was chosen, that one and its network."""
    tried: list[tuple[Trial, TrainResult]] = []
    for remedy in remedies:
        made = train_examples(
            task.treated(remedy), task.first.config, task.training, seed=task.seed, device=task.device,
            progress=task.progress,
        )  # fmt: skip
        trial = task.trial(remedy, made.model)
        tried.append((trial, made))
        logger.info("remedy %s: %s", remedy, trial)
        if trial.left <= MAX_RELIANCE and trial.auroc >= task.first_auroc:
            break
    trials = [trial for trial, _ in tried]
    if len(tried) < len(remedies):
        missing = " and ".join(remedies[len(tried) :])
        said = f"{_left(trials[-1])} on validation data, where the first model is no more accurate; {missing} not tried"
        return trials, said, tried[-1]
    chosen, because = choose(trials, task.first_auroc)
    return trials, because, next(one for one in tried if one[0] is chosen)


def mean_output(model: CNN, codes: NDArray[np.uint8], device: torch.device) -> float:
    """Mean over windows and both strands: a network may know an artifact on one of them alone."""
    return float(predict_raw(model, np.concatenate([codes, reverse_complement(codes)]), device)[:, 0].mean())


def choose(trials: Sequence[Trial], first_auroc: float) -> tuple[Trial, str]:
    """Take the most accurate of the remedies that leave little, and say why.

    One that learned far less than the first model, whose AUROC is given, leaves little of anything, and is the last.
    """
    if len(trials) == 1:
        return trials[0], f"{_left(trials[0])} on validation data"
    able = [one for one in trials if one.auroc >= first_auroc - MOST_LOST] or trials
    most = max(MAX_RELIANCE, min(one.left for one in able))
    chosen = max((one for one in able if one.left <= most), key=lambda one: one.auroc)
    others = ", ".join(f"{one.remedy} {one.auroc:.3f} and {one.left:.0%}" for one in trials if one is not chosen)
    return chosen, (
        f"of those tried the most accurate on validation data that leaves at most {most:.0%} of the reliance: AUROC "
        f"{chosen.auroc:.3f}, {_left(chosen)}; {others}"
    )


def _left(trial: Trial) -> str:
    return f"{trial.left:.0%} of the reliance is left"


@dataclass(frozen=True)
class _Task:
    """What all steps work on: the first model, its shortcuts, and the examples in three states.

    `given`: as they are. `copies` (N, W): where copies stand in them. `fair`: composition matched. `clean`: that, and
    without copies in the held-out parts.
    """

    path: Path
    first: CNN
    audit: AuditResult
    shortcuts: Sequence[Shortcut]
    training: TrainConfig
    given: Examples
    fair: Examples
    motifs: Sequence[Motif] | None
    seed: int
    device: torch.device
    progress: bool
    warnings: Sequence[str]
    found: dict[tuple[str, int], tuple[Examples, NDArray[np.bool_]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, model: Any, audit: Any, positives: Any, negatives: Any, *, genome: Any, out: Any, motif_db: Any,
        seed: int | None, device: str, progress: bool,
    ) -> _Task:  # fmt: skip
        """Read and check all that is given, before any work."""
        for path in (check_writable(out), *retrain_paths(out)):
            check_writable(path)
        where = resolve_device(device)
        first, metadata = load_checkpoint(model)
        found = read_audit(audit)
        shortcuts = read_shortcuts(found)
        _check(model, first, metadata, audit, found, shortcuts)
        motifs, warnings = _motifs_of(found, motif_db)
        training = _training_of(metadata)
        split = {part: _held_out_chroms(metadata, part, positives) for part in ("valid", "test")}
        first_seed = int(metadata.get("seed", 0))
        given = load_examples(
            positives, negatives, genome=genome, config=first.config, training=training,
            valid_chroms=split["valid"], test_chroms=split["test"], seed=first_seed,
        )  # fmt: skip
        seed = first_seed if seed is None else seed
        fair = balance_composition(given, shortcuts, training, positives=positives, genome=genome, seed=seed)
        n_test = given.counts("test")["n_positives"]
        if n_test < FEW:
            warnings = [*warnings, f"only {n_test} held-out positives: the figures after are rough"]
        return cls(
            Path(model), first.to(where), found, shortcuts, training, given, fair, motifs, seed, where, progress,
            tuple(warnings),
        )  # fmt: skip

    @property
    def first_auroc(self) -> float:
        """AUROC of the first model on the clean validation part."""
        return self._clean_auroc(self.first, "valid")

    @property
    def words(self) -> list[Shortcut]:
        """The shortcuts that have copies."""
        return [one for one in self.shortcuts if not one.is_composition]

    def copies_of(self, one: Shortcut, examples: Examples) -> NDArray[np.bool_]:
        """Where one stands in the examples given or in the fair ones, (N, W); remembered."""
        key = one.name, id(examples)
        if key not in self.found:
            self.found[key] = examples, find_copies(one, examples.codes, self.training.max_shift)
        return self.found[key][1]

    def all_copies(self, examples: Examples) -> NDArray[np.bool_]:
        """Where any of the shortcuts stands, (N, W)."""
        masks = [self.copies_of(one, examples) for one in self.words]
        return np.any(masks, axis=0) if masks else np.zeros(examples.codes.shape, dtype=bool)

    def remedies(self, asked: str) -> Sequence[str]:
        """Return the remedies to try."""
        if asked not in ("auto", *REMEDIES):
            raise UsageError(f"remedy: got {asked!r}, expected auto or one of {', '.join(REMEDIES)}")
        own = self.all_copies(self.fair)[self.fair.parts == "train"].any(axis=1)
        if self.words and not own.any():
            raise UsageError(
                f"positives: no training example has a copy of {self.words[0].name}, which the audit calls a shortcut; "
                "give the positives and negatives that the model was trained on"
            )
        if asked in ("masks", "both") and not self.words:
            raise UsageError(
                f"remedy: got {asked!r}, but {self.shortcuts[0].name} is everywhere in a sequence, expected something "
                "that can be masked; take randomise, which matches it between the classes"
            )
        if asked != "auto":
            return [asked]
        return REMEDIES if self.words else REMEDIES[:1]

    def treated(self, remedy: str) -> Examples:
        """Return the examples to train on, the held-out parts clean."""
        fair, has_composition = self.fair, len(self.words) < len(self.shortcuts)
        copies = self.all_copies(fair)
        clean = clean_examples(fair, copies, ("valid", "test"), self.seed)
        marks = np.where(copies & (fair.parts == "train")[:, None], np.int8(IRRELEVANT), np.int8(0))
        return replace(
            clean,
            marks=marks if remedy in ("masks", "both") and self.words else None,
            copies=copies if remedy in ("randomise", "both") and self.words else None,
            neutral=neutral_kinds(self.given, self.seed) if has_composition else None,
            provenance={**clean.provenance, "cleaned_of": [one.name for one in self.shortcuts]},
        )

    def held_out(self, part: str) -> tuple[Examples, NDArray[np.int64]]:
        """Return the examples with a part clean, and the rows of that part."""
        return clean_examples(self.fair, self.all_copies(self.fair), (part,), self.seed), self.fair.rows(part)

    def trial(self, remedy: str, model: CNN) -> Trial:
        """Measure a model on the validation part, against the first one."""
        value = self._clean_auroc(model.to(self.device), "valid")
        before, after = (
            {one.name: self._put_in(one, which) for one in self.shortcuts} for which in (self.first, model)
        )
        left = max(abs(after[name]) / max(abs(before[name]), 1e-9) for name in before)
        return Trial(remedy, value, after, float(left))

    def _clean_auroc(self, model: CNN, part: str) -> float:
        clean, rows = self.held_out(part)
        return float(auroc(clean.is_positive[rows], predict_raw(model, clean.codes[rows], self.device)[:, 0]))

    def _put_in(self, one: Shortcut, model: CNN) -> float:
        """Effect of a shortcut on the validation part (see above)."""
        given, is_own = self.given, self.given.parts == "valid"
        if one.is_composition:
            context, flank = self._context(model, "valid"), self.training.max_shift
            inner = given.codes[:, flank : given.codes.shape[1] - flank]
            effects = class_evidence(
                context, inner[is_own & given.is_positive], inner[is_own & ~given.is_positive]
            ).effects
            effect = next(effects[key] for key, (name, _) in PROPERTIES.items() if name == one.name)
            return effect.mean if isinstance(effect, Effect) else 0.0
        copies = self.copies_of(one, given)
        clean = clean_examples(given, copies, ("valid",), self.seed).codes[is_own & ~given.is_positive]
        has = np.asarray(copies.any(axis=1))
        mostly = has[given.is_positive].mean() >= has[~given.is_positive].mean()
        donors = np.flatnonzero((given.parts != "test") & has & (given.is_positive == mostly))
        drawn = random_words(clean, 1, seed=self.seed, draw=draw_number("retrain", 1))[:, 0]
        donor = donors[(drawn % np.uint64(len(donors))).astype(np.int64)]
        where, bases = copies[donor], given.codes[donor]
        written, without = np.where(where, bases, clean), [clean]
        if one.word is not None:  # against its bases in other orders, as the audit does
            alone = np.where(where, bases, np.uint8(N_CODE))
            draws = draw_number("retrain", 20 + np.arange(N_ORDERS))
            orders = [mononucleotide_shuffle(alone, seed=self.seed, draw=draw) for draw in draws]
            without = [np.where(where, order, clean) for order in orders]
        controls = [mean_output(model, codes, self.device) for codes in without]
        return mean_output(model, written, self.device) - float(np.mean(controls))

    def compared(self, chosen: Trial, because: str, tried: Sequence[Trial], best: TrainResult) -> RetrainResult:
        """Measure both models on the test part."""
        contexts = [self._context(model) for model in (self.first, best.model)]
        audits = [run_audit(context) for context in contexts]
        before, after = (
            self._measured(model, context, audit)
            for model, context, audit in zip((self.first, best.model), contexts, audits, strict=True)
        )
        known = [one.name for one in self.shortcuts]
        missed = [name for name in known if name not in before.shortcuts]
        warnings = list(self.warnings)
        if missed:
            warnings.append(
                f"the audit of the held-out positives alone does not find {', '.join(missed)} in the first model "
                "either; judge by the reliance"
            )
        found = [*known, *(name for name in before.shortcuts if name not in known)]
        return RetrainResult(
            best, chosen.remedy, because, tried, replace(before, shortcuts=found), after, self.fair.counts("test"),
            tuple(warnings), tuple(audits),
        )  # fmt: skip

    def _context(self, model: CNN, part: str = "test") -> AuditContext:
        """Attribute the positives of a part as they are, as the audit's maps were made.

        The classes are those of the whole data for the test, as the audit has them, and those of the part otherwise.
        """
        given, flank = self.given, self.training.max_shift
        inner = slice(flank, given.codes.shape[1] - flank)
        rows = np.flatnonzero((given.parts == part) & given.is_positive)
        known = (given.parts == part) | (part == "test")
        made = self.audit.provenance.get("attributions", {})
        method = made.get("method") if made.get("method") in METHODS else "gradient_x_input"
        options = dict(made.get("options", {}))
        own = {name: value for name, value in options.items() if name in parameters_of(METHODS[method])}
        settings = AttributeOptions(
            method=method, method_options=own, rc_average=bool(options.get("rc_average", False)),
            n_controls=N_CONTROLS if part == "test" else 0, seed=self.seed,
        )  # fmt: skip
        read = wrap(model, input_length=model.config.input_length, output_space="logit").to(self.device)
        regions = given.windows.iloc[rows][["chrom", "start", "end", "name", "strand"]].reset_index(drop=True)
        excess = ((regions["end"] - regions["start"]) - model.config.input_length) // 2
        regions["start"], regions["end"] = regions["start"] + excess, regions["end"] - excess
        source = open_codes(given.codes[rows][:, inner], regions)
        attr = attribute_windows(read, source, settings, device=self.device, progress=self.progress)
        ours, theirs = (given.codes[known & mask][:, inner] for mask in (given.is_positive, ~given.is_positive))
        return AuditContext(
            attr, read, settings=self.audit.settings, device=self.device, seed=self.seed, motifs=self.motifs,
            positives=ours, negatives=theirs, progress=self.progress,
        )  # fmt: skip

    def _named(self, audit: AuditResult) -> list[str]:
        """Name the shortcuts of an audit, each piece of a word that is known already by the name of that."""
        words = {one.name: one.word for one in read_shortcuts(audit)}
        same = {
            name: next((known.name for known in self.words if _is_of(words.get(name), known.word)), name)
            for name in audit.verdict.shortcuts
        }
        return list(dict.fromkeys(same.values()))

    def _measured(self, model: CNN, context: AuditContext, audit: AuditResult) -> Measured:
        clean, rows = self.held_out("test")
        raw = predict_raw(model, clean.codes[rows], self.device)
        truth = clean.is_positive[rows]
        value = auroc(truth, raw[:, 0])
        as_given = self.given.rows("test")
        dirty = predict_raw(model, self.given.codes[as_given], self.device)[:, 0]
        metrics = {"auroc": value, "average_precision": 0.0}
        return Measured(
            auroc=value,
            auroc_interval=intervals(metrics, "binary", truth[:, None].astype(np.float32), raw)["auroc_interval"],
            auroc_as_given=auroc(self.given.is_positive[as_given], dirty),
            faithful=audit.verdict.faithful,
            plausible=audit.verdict.plausible,
            shortcuts=self._named(audit),
            reliance={one.name: self._reliance(one, context, audit) for one in self.shortcuts},
            range=context.effect_scale,
            said={about: str(audit.verdict.answer(about)) for about in ("faithful", "plausible")},
        )

    def _reliance(self, one: Shortcut, context: AuditContext, audit: AuditResult) -> float | None:
        """Marginal effect as the audit measures it: of a word where its copies stand, else of the finding."""
        if one.word is None:
            result = audit.of(ArtifactsResult)
            findings: Sequence[Finding] = () if result is None else result.findings
            effect = next((found.marginal_effect for found in findings if found.name == one.name), None)
            return effect if isinstance(effect, float) else None
        word = self._common_part(one)
        flank = self.training.max_shift
        runs = runs_of(self.copies_of(one, self.given)[:, flank : self.given.codes.shape[1] - flank])
        n = len(runs.row)
        zeros = np.zeros(n, dtype=np.int64)
        hits = Hits(runs.row, runs.start, runs.end, np.ones(n, np.int8), zeros, zeros)
        found = marginal_effect(context, word, hits, one.name)
        return found.mean if isinstance(found, Effect) else None

    def _common_part(self, one: Shortcut) -> NDArray[np.uint8]:
        """Return the part of a word that the audit found in most copies."""
        result = self.audit.of(ArtifactsResult)
        findings: Sequence[Finding] = () if result is None else result.findings
        return encode(next(found.sequence for found in findings if found.name == one.name))


def _is_of(word: NDArray[np.uint8] | None, known: NDArray[np.uint8] | None) -> bool:
    """Whether a word is a piece of a known one, on either strand, or holds one."""
    if word is None or known is None:
        return False
    return bool(align(word[None], [known]).score[0, 0] >= min(len(word), len(known), PART_BP))


def _check(
    model: Any, first: CNN, metadata: Mapping[str, Any], path: Any, audit: AuditResult, shortcuts: Sequence[Shortcut]
) -> None:
    """Refuse a model that cannot be trained again, and an audit that is not about it or found nothing."""
    config = first.config
    if config.loss != "binary" or config.n_targets != 1:
        raise TrainingError(
            f"{model}: is a {config.loss} model of {counted(config.n_targets, 'target')}, expected a binary one of "
            "one target; train it again with masks instead (`seqsal train --irrelevant shortcuts.bed`)"
        )
    if "split" not in metadata or "training" not in metadata:
        raise TrainingError(f"{model}: does not say how it was trained, expected a checkpoint of `seqsal train`")
    of, own = (audit.provenance.get("model") or {}).get("sha256"), load_model(model).source["sha256"]
    if of is not None and of != own:
        raise UsageError(
            f"{path}: is about another model (SHA-256 {of[:12]}…, but {model} has {own[:12]}…); give the audit of this "
            "one"
        )
    if not shortcuts:
        raise UsageError(
            f"{path}: found no shortcut, so there is nothing to train away; with masks of your own use "
            "`seqsal train --irrelevant`"
        )


def _training_of(metadata: Mapping[str, Any]) -> TrainConfig:
    known = {name: value for name, value in metadata["training"].items() if name in TrainConfig.__dataclass_fields__}
    first = TrainConfig(**known)
    return replace(
        first, epochs=LONGER * first.epochs, patience=LONGER * first.patience, mine=0, temperature=1.0, match_maps=0.0,
        allow_overlap=True,
    )  # fmt: skip


def _held_out_chroms(metadata: Mapping[str, Any], part: str, positives: Regions) -> list[str] | None:
    """Return the chromosomes of a part; None where sequences without any were split by their names."""
    split = metadata["split"][part]
    names = {name for name, _ in read_fasta_records(positives)} if is_fasta(positives) else set()  # type: ignore[arg-type]
    chroms = [chrom for chrom in split["chroms"] if chrom not in names]
    if chroms and split["n_chroms"] > len(split["chroms"]):
        raise TrainingError(
            f"model: its {part} part has {counted(split['n_chroms'], 'chromosome')}, of which it names "
            f"{len(chroms)}, expected "
            "all, so that none is trained on; train the first model with --valid-chroms and --test-chroms"
        )
    return chroms or None


def _motifs_of(audit: AuditResult, motif_db: Any) -> tuple[Sequence[Motif] | None, list[str]]:
    """Known motifs: those given, or those of the audit where it names a release of JASPAR."""
    if motif_db is not None:
        return (read_motifs(motif_db) if isinstance(motif_db, (str, os.PathLike)) else motif_db), []
    named = str(audit.provenance.get("given", {}).get("motif_db") or "")
    if named.startswith("jaspar:"):
        return read_motifs(named), []
    if named:
        return None, [f"the audit used motifs of {named}, which were not given again: plausible is not tested"]
    return None, []


def _write(out: Path, result: RetrainResult) -> None:
    figures, page = retrain_paths(out)
    with all_or_nothing():
        save_checkpoint(out, result.training.model, result.training.metadata)
        with atomic_path(figures) as temporary:
            text = json.dumps(json.loads(to_json(result.as_dict())), indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        with atomic_path(page) as temporary:
            page_text = render_retrain(
                f"{out.name}: before and after",
                result.rows(),
                reliance={name: (value, result.after.reliance[name]) for name, value in result.before.reliance.items()},
                facts=[("Remedy", result.remedy), ("Chosen because", result.chosen_because),
                       ("New shortcuts", ", ".join(result.new_shortcuts) or "none")],
                tried=[(one.remedy, f"{one.auroc:.3f}", f"{one.left:.0%}") for one in result.tried],
                warnings=result.warnings,
                audits=result.audits,
            )  # fmt: skip
            temporary.write_text(page_text, encoding="utf-8", newline="\n")
