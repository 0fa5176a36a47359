"""The audit from start to end: what it is made from is read and checked, every part runs, and the verdict follows."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.attribution.controls import recorded_model
from seqsal.attribution.spans import check_span, find_span
from seqsal.auditing.content import Codes, Ints
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Results
from seqsal.auditing.parts import PARTS, load_part
from seqsal.auditing.parts.artifacts.library import read_artifacts
from seqsal.auditing.parts.strata import read_strata
from seqsal.auditing.result import AuditResult
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.verdict import judge
from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions, check_attributions
from seqsal.io.bed import read_bed
from seqsal.io.inputs import open_input
from seqsal.io.progress import bar as progress_bar
from seqsal.io.store import read_attributions
from seqsal.models import SequenceModel
from seqsal.models.seen import seen_text
from seqsal.motifs import read_motifs
from seqsal.peaks import read_peaks
from seqsal.regions import Span
from seqsal.sequence.codes import codes_from_one_hot
from seqsal.training.sources import is_fasta
from seqsal.version import VERSION

__all__ = ["EVIDENCE", "AuditPlan", "Sequences", "model_at_hand", "open_audited", "read_peaks_of", "run_audit"]

Sequences = str | os.PathLike[str] | pd.DataFrame | NDArray[Any]
_PATH = str | os.PathLike[str]
logger = logging.getLogger(__name__)
EVIDENCE = ("motif_db", "annotations", "artifacts", "positives", "negatives", "genome", "strata", "settings")


class AuditPlan:
    """An audit of windows that need not be attributed yet.

    `regions`, `length`: what gives the region table of the windows, and their length in bp. `evidence`: those
    parameters of :func:`seqsal.audit` that are in `EVIDENCE`. Raises SeqsalError: Something cannot be read.
    """

    def __init__(
        self,
        regions: Callable[[], pd.DataFrame],
        length: int,
        *,
        genome: _PATH | None = None,
        settings: AuditSettings | Mapping[str, Any] | None = None,
        **evidence: Any,
    ) -> None:
        sizes = settings if isinstance(settings, AuditSettings) else AuditSettings().changed(settings or {})
        given, n_most = evidence.get, sizes.n_examples
        self._read = {
            "settings": sizes,
            "positives": read_sequences(given("positives"), "positives", length, genome=genome, n_most=n_most),
            "negatives": read_sequences(given("negatives"), "negatives", length, genome=genome, n_most=n_most),
            "motifs": _read(given("motif_db"), read_motifs),
            "annotations": _read(given("annotations"), read_bed),
            "artifacts": _read(given("artifacts"), read_artifacts),
            "strata": _read(given("strata"), lambda spec: read_strata(str(spec), regions())),
        }
        self._inputs = describe_inputs({**evidence, "genome": genome})

    def run(
        self,
        attr: Attributions,
        model: SequenceModel | None,
        *,
        other_models: Sequence[SequenceModel] = (),
        **options: Any,
    ) -> AuditResult:
        """Audit the windows' attributions.

        `attr`: of the windows. `model`, `other_models`: read as the attributions were made. `options`: further
        arguments of :class:`seqsal.auditing.context.AuditContext`: `peaks`, `patterns`, `explainer`, `device`, `seed`,
        `progress`. Raises ModelError: The model does not give the predictions that the attributions are about.
        """
        context = AuditContext(attr, model, other_models=other_models, **options, **self._read)
        return run_audit(context, inputs=self._inputs)


def run_audit(context: AuditContext, *, inputs: Mapping[str, Any] | None = None) -> AuditResult:
    """Run every part of the audit, and judge; `inputs`, such as the file of known motifs, are for the record."""
    results, seconds = Results(), {}
    with _without_attribution_warnings():
        for name in progress_bar(PARTS, desc="audit", unit="part", disable=not context.progress):
            start = time.perf_counter()
            results[name] = load_part(name).run(context, results)
            seconds[name] = round(time.perf_counter() - start, 3)
    text = seen_text(context.attr.attrs.get("trained_on", {}))
    seen_on = [text] if text else []  # the regions are those of the training
    return AuditResult(
        verdict=judge(results, context.settings, output=context.attr.output_space),
        results=results,
        warnings=_merged([seen_on, *(result.warnings for result in results.values())]),
        untested=_merged(result.untested for result in results.values()),
        settings=context.settings,
        provenance=_provenance(context, inputs or {}),
        seconds=seconds,
    )


@contextmanager
def _without_attribution_warnings() -> Iterator[None]:
    """Silence what attributing says: that is of the methods compared and of changed models, not of the map audited."""
    engine = logging.getLogger("seqsal.attribution.engine")
    level = engine.level
    engine.setLevel(logging.ERROR)
    try:
        yield
    finally:
        engine.setLevel(level)


def _merged(lines: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All sentences in order, each once."""
    return tuple(dict.fromkeys(line for part in lines for line in part))


def _provenance(context: AuditContext, inputs: Mapping[str, Any]) -> dict[str, Any]:
    attr = context.attr
    keys = ("method", "target", "output_space", "options", "model", "genome", "seed")
    model = None if context.model is None else dict(context.model.source)
    return {
        "seqsal_version": VERSION,
        "attributions": {"n_regions": len(attr), "length": attr.length, "result": attr.name}
        | {key: attr.attrs[key] for key in keys if key in attr.attrs},
        "model": model,
        "n_other_models": len(context.other_models),
        "has_explainer": context.explainer is not None,
        "n_positives": None if context.positives is None else len(context.positives),
        "n_negatives": None if context.negatives is None else len(context.negatives),
        "given": dict(inputs),
        "seed": context.seed,
    }


def read_sequences(
    given: Sequences | None, name: str, length: int, *, genome: _PATH | None = None, n_most: int = 5_000
) -> Codes | None:
    """Read windows of one class as codes (n, L), at most `n_most`, evenly spread; None stays.

    `given` is a FASTA or BED file, a region table, codes (n, L) or one-hot (n, 4, L); `name` is for messages. Regions
    are centred on L = `length` bp, records cropped or padded with N.
    """
    if given is None:
        return None
    if isinstance(given, np.ndarray):
        codes = _as_codes(given, name, length)
        return codes[_evenly(len(codes), n_most)]
    if not isinstance(given, pd.DataFrame) and not Path(given).is_file():
        raise UsageError(f"{name}: {given}: no such file, expected a FASTA or BED file; check the path")
    if is_fasta(given):
        source = open_input(fasta=given, length=length)  # type: ignore[arg-type]
    elif genome is None:
        raise UsageError(
            f"{name}: are regions, which need a genome to be read from; give --genome, or a FASTA file instead"
        )
    else:
        source = open_input(genome=genome, regions=given, length=length)
    with source:
        return source.read(_evenly(len(source), n_most))


def describe_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Name the inputs for the record: files without their folder, which does not change what is in them."""
    named = {}
    for name, value in inputs.items():
        if isinstance(value, (str, Path)):
            named[name] = str(value).rpartition("/")[2]
        elif value is not None:
            named[name] = f"{type(value).__name__} of {len(value)}"
    return named


def open_audited(
    attr: Attributions | _PATH | None,
    *,
    span: Any = None,
    flank: int = 0,
    contrast: Any = None,
    readout_at: _PATH | None = None,
) -> Attributions:
    """Open the attributions to be audited; a file stays on disk.

    `span`, widened by `flank` bp on either side, leaves the rest of the windows out, `contrast` takes the result of
    this contrast, and `readout_at` makes sure that this is where they were read. UsageError: they hold nothing of the
    kind.
    """
    if attr is None:
        raise UsageError("attr: none given, expected attributions or a file of them; give seqsal.audit(model, attr)")
    if isinstance(attr, (str, os.PathLike)):
        opened = read_attributions(attr, in_memory=False)
    else:
        check_attributions(attr)
        opened = attr
    if not len(opened):
        raise RegionError("attributions: hold no regions, expected at least one; check how they were made")
    read_at = opened.attrs.get("readout_at", {}).get("at", "")
    if readout_at is not None and os.fspath(readout_at) != read_at:
        raise UsageError(
            f"readout_at: got {os.fspath(readout_at)!r}, but the attributions are of "
            + (f"{read_at!r}" if read_at else "all of the output")
            + "; attribute again with this one"
        )
    opened = opened if contrast is None else _of_contrast(opened, contrast)
    if span is not None or flank:
        source: Any = SimpleNamespace(length=opened.length, windows=opened.regions)
        found = find_span(check_span(span, flank), flank, source)
        if span == "region":  # of windows that were laid without a flank
            most = min(found.start, opened.length - found.end)
            if flank > most:
                raise UsageError(
                    f"flank: got {flank:,} bp, expected {most:,} at most, what the windows of {opened.length:,} bp "
                    "hold on either side of the regions"
                )
            found = Span(found.start - flank, found.end + flank)
        first = opened.span.start
        opened = opened.cut(Span(first + found.start, first + found.end)) if found.length < opened.length else opened
    return opened


def model_at_hand(attr: Attributions) -> Path | list[Path] | None:
    """Return the checkpoint that attributions name, None where it is not at hand or has changed; a line says which."""
    model, reason = recorded_model(attr)
    if model is None:
        logger.info(
            "audit: of the attributions only what needs no model is tested (no faithfulness, sanity, stability or "
            "saturation), as %s; give it (--model M)",
            reason,
        )
    else:
        names = ", ".join(map(str, model if isinstance(model, list) else [model]))
        logger.info("audit: the model is %s, which the attributions name", names)
    return model


def _of_contrast(attr: Attributions, contrast: Any) -> Attributions:
    """Return the result that is about a contrast, written in any way."""
    results = [attr.result(name) for name in attr.results]
    texts = [str(one.attrs.get("contrast", {}).get("text", "")) for one in results]
    for one, text in zip(results, texts, strict=True):
        if text and text.replace(" ", "") == str(contrast).replace(" ", ""):
            return one
    has = ", ".join(filter(None, texts)) or "targets"
    raise UsageError(f"contrast: the attributions are not of {str(contrast)!r} but of {has}; attribute it first")


def _read(given: Any, read: Callable[[Any], Any]) -> Any:
    """Read a file; what is no file, or None, stays."""
    return read(given) if isinstance(given, (str, os.PathLike)) else given


def read_peaks_of(attr: Attributions, peaks: _PATH | pd.DataFrame | None) -> pd.DataFrame | None:
    """Read peaks that were called on attributions; a table, or None, stays as it is."""
    if peaks is None or isinstance(peaks, pd.DataFrame):
        return peaks
    table = read_peaks(peaks)
    if len(table) and not any(table["chrom"].isin(attr.column("chrom", rows)).any() for rows in attr.row_blocks()):
        raise RegionError(
            f"{peaks}: no peak is on a chromosome of the attributions ({table['chrom'].iloc[0]} against "
            f"{attr.column('chrom', slice(1))[0]}); give the peaks that were called on them"
        )
    return table if "sign" in table else table.assign(sign=np.where(table["signal"] < 0, "neg", "pos"))


def _as_codes(array: NDArray[Any], name: str, length: int) -> Codes:
    codes = codes_from_one_hot(array) if array.ndim == 3 else array
    if codes.ndim != 2 or codes.shape[1] != length or not len(codes) or codes.dtype != np.uint8:
        raise UsageError(
            f"{name}: got an array {array.shape} of {array.dtype}, expected codes (n, {length}) of uint8 or one-hot "
            f"(n, 4, {length}); cut the sequences to the windows of the attributions"
        )
    return codes


def _evenly(n: int, n_most: int) -> Ints:
    """Return at most so many of n rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, n_most)).round().astype(np.int64))
