"""What a run is given, read and checked before anything is computed or written; `seqsal run --dry-run` ends here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from seqsal.attribution.api import make_options
from seqsal.browser import check_bundle_settings
from seqsal.commands.arguments import load_from
from seqsal.errors import UsageError
from seqsal.io.inputs import WindowSource, open_input
from seqsal.motifs import read_motifs
from seqsal.peaks import check_fdr

if TYPE_CHECKING:
    import torch

    from seqsal.attribution import AttributeOptions
    from seqsal.auditing.plan import AuditPlan
    from seqsal.models import SequenceModel

__all__ = ["HYPOTHETICAL_BYTES", "PreparedRun", "config_of", "prepare_run"]

OPTION_NAMES = {  # others are the same
    "compiled": "compile", "n_controls": "controls", "other_models": "other_model", "settings": "setting",
}  # fmt: skip
_PYTHON_ONLY = ("method_options", "hypothetical")
HYPOTHETICAL_BYTES = 2 << 30  # more than this is not kept for the motifs, which then make do with X · track


@dataclass(frozen=True)
class PreparedRun:
    """The checked inputs of a run; a context manager that closes their files.

    Attributes
    ----------
    model, other_models
        As loaded, the others for the audit.
    source
        The windows.
    settings
        How to attribute.
    device
        Where to compute.
    plan
        The audit, its evidence read; None where it was not asked for.
    parameters, inputs
        What was asked for, by name: settings, and files.
    """

    model: SequenceModel
    other_models: Sequence[SequenceModel]
    source: WindowSource
    settings: AttributeOptions
    device: torch.device
    plan: AuditPlan | None
    parameters: Mapping[str, Any] = field(repr=False)
    inputs: Mapping[str, Any] = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()


def prepare_run(
    *,
    model: str,
    genome: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | pd.DataFrame | None = None,
    fasta: str | os.PathLike[str] | None = None,
    method: str | Sequence[str] = "gradient_x_input",
    fdr: float = 0.05,
    motif_db: str | os.PathLike[str] | None = None,
    audit: bool = True,
    genome_name: str | None = None,
    url_base: str | None = None,
    device: str = "auto",
    seed: int = 0,
    **options: Any,
) -> PreparedRun:
    """Read and check what :func:`seqsal.pipeline.run.run` is given, but for `out`, `resume` and `progress`.

    Raises
    ------
    SeqsalError
        Input that cannot be used.
    """
    from seqsal.auditing.plan import EVIDENCE
    from seqsal.models import resolve_device

    parameters = {"model": model, "method": method, "fdr": fdr, "motif_db": motif_db, "device": device, "seed": seed}
    parameters.update({**options, "audit": audit, "genome_name": genome_name, "url_base": url_base})
    inputs = {"genome": genome, "regions": regions, "fasta": fasta}
    where = resolve_device(device)
    check_fdr(fdr)
    if motif_db is not None:
        read_motifs(motif_db)  # what is wrong with it should not be found out after the attribution
    evidence = {name: options.pop(name) for name in (*EVIDENCE, "other_models") if name in options}
    evidence |= {"motif_db": motif_db, "genome": genome}
    ignore_strand = bool(options.pop("ignore_strand", False))
    target = options.get("target")
    others = [load_from(other, dict(options), device) for other in evidence.pop("other_models", ()) if audit]
    scalar = load_from(model, options, device)
    settings = make_options(method, seed, {"hypothetical": None, **options}, target)
    _check_controls(settings)
    source = open_input(**inputs, length=scalar.input_length, ignore_strand=ignore_strand)  # type: ignore[arg-type]
    try:
        check_bundle_settings(source.chrom_sizes, source.provenance, genome_name=genome_name, url_base=url_base)
        plan = _plan_audit(source, evidence) if audit else None
    except BaseException:
        source.close()
        raise
    settings = settings if "hypothetical" in options else _with_room(settings, source)
    return PreparedRun(scalar, others, source, settings, where, plan, parameters, inputs)


def _check_controls(settings: AttributeOptions) -> None:
    if settings.n_controls == 0:
        raise UsageError(
            "controls: got 0, which peaks are called against; expected 1 or more, or `seqsal attribute` instead of run"
        )


def _plan_audit(source: WindowSource, evidence: dict[str, Any]) -> AuditPlan:
    from seqsal.auditing.plan import AuditPlan
    from seqsal.auditing.settings import RUN_SIZES

    sizes = {**RUN_SIZES, **(evidence.get("settings") or {})}
    return AuditPlan(source.windows, source.length, **{**evidence, "settings": sizes})


def _with_room(settings: AttributeOptions, source: WindowSource) -> AttributeOptions:
    """Leave out the hypothetical scores where the file would grow by more than `HYPOTHETICAL_BYTES`."""
    n_bytes = 16 * len(source) * source.length * len(settings.methods)
    return settings if n_bytes <= HYPOTHETICAL_BYTES else replace(settings, hypothetical=False)


def config_of(prepared: PreparedRun) -> dict[str, Any]:
    """Parameters of a run by the names of the command line's options, so that a configuration file can repeat it.

    Left out are the folder, what was not given, and regions that were a table in Python.
    """
    own = prepared.settings.method_options
    given = {**prepared.inputs, **prepared.parameters}
    given = {name: value for name, value in given.items() if name not in (*own, *_PYTHON_ONLY)}
    given["method_option"] = dict(own)
    kept = {name: value for name, value in given.items() if _is_told(value)}
    return {OPTION_NAMES.get(name, name).replace("_", "-"): kept[name] for name in sorted(kept)}


def _is_told(value: Any) -> bool:
    return value is not None and not isinstance(value, pd.DataFrame) and value not in ("", [], (), {})
