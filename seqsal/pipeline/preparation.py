"""What a run is given, read and checked before anything is computed or written; `seqsal run --dry-run` ends here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from seqsal.attribution.api import OpenRequest, open_request
from seqsal.attribution.request import ModelSpec, make_request, model_name, read_model
from seqsal.auditing.run import EVIDENCE, AuditPlan
from seqsal.auditing.settings import RUN_SIZES
from seqsal.browser import check_bundle_settings
from seqsal.errors import UsageError
from seqsal.io.atomic import check_distinct
from seqsal.io.content import Closing
from seqsal.models import SequenceModel
from seqsal.motifs import read_motifs
from seqsal.peaks import check_fdr, check_statistic
from seqsal.regions import cut_windows
from seqsal.sequence.draws import default_n_controls

__all__ = ["WRITTEN", "PreparedRun", "config_of", "prepare_run"]

WRITTEN = (
    ("report", "report.html"),
    ("attributions", "attributions.h5"),
    ("track", "attributions.bw"),
    ("", "agreement.bw"),
    ("scores", "scores.tsv"),
    ("peaks", "peaks.narrowPeak"),
    ("", "peaks.tsv"),
    ("elements", "elements.bed"),
    ("", "elements.tsv"),
    ("motifs", "motifs"),
    ("audit", "audit.json"),
    ("", "shortcuts.bed"),
    ("browser", "browser"),
    ("parameters", "run.json"),
    ("", "run.toml"),
)
HYPOTHETICAL_BYTES = 2 << 30  # more than this is not kept for the motifs, which then make do with X · track
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class PreparedRun(Closing):
    """The checked inputs of a run; a context manager that closes their files.

    The request with its model and windows, the models and the plan of the audit (None without one), and `parameters`:
    everything given to the run, by the names of `run`'s arguments, but for arrays and tables.
    """

    opened: OpenRequest
    other_models: Sequence[SequenceModel]
    plan: AuditPlan | None
    parameters: Mapping[str, Any] = field(repr=False)
    may_grow: bool = True

    def close(self) -> None:
        """Close the files."""
        self.opened.source.close()


def prepare_run(
    model: ModelSpec,
    *,
    out: PathLike,
    fdr: float = 0.05,
    statistic: str = "auto",
    motif_db: PathLike | None = None,
    audit: bool = True,
    genome_name: str | None = None,
    url_base: str | None = None,
    other_models: Sequence[PathLike | nn.Module] = (),
    **options: Any,
) -> PreparedRun:
    """Read and check what :func:`seqsal.pipeline.run.run` is given, but for `resume` and `progress`."""
    own = {"fdr": fdr, "statistic": statistic, "motif_db": motif_db, "audit": audit, "genome_name": genome_name,
           "url_base": url_base}  # fmt: skip
    evidence = {name: options.pop(name) for name in EVIDENCE if name in options and name != "genome"}
    known = ("resume", "progress", "other_models", *own, *EVIDENCE)
    request = make_request(model, known=known, **{"hypothetical": None, "n_controls": "auto", **options})
    if request.options.n_controls == 0:
        raise UsageError(
            "controls: got 0, which peaks are called against; expected 1 or more, or `seqsal attribute` instead of run"
        )
    inputs = (model, request.genome, request.regions, request.fasta, motif_db, *evidence.values(), *other_models)
    check_distinct((Path(out) / name for _, name in WRITTEN), inputs)
    check_fdr(fdr)
    check_statistic(statistic)
    if motif_db is not None:
        read_motifs(motif_db)  # what is wrong with it should not be found out after the attribution
    opened = open_request(request)
    source, plan, others = opened.source, None, []
    try:
        check_bundle_settings(source.chrom_sizes, source.provenance, genome_name=genome_name, url_base=url_base)
        if audit:
            how: dict[str, Any] = {"device": opened.device, "target": request.options.targets[0]}
            others = [
                read_model(one, **how, **({} if isinstance(one, SequenceModel) else request.reading))
                for one in other_models
            ]
            sizes = {**RUN_SIZES, **(evidence.get("settings") or {})}
            read = {**evidence, "motif_db": motif_db, "genome": request.genome, "settings": sizes}
            plan = AuditPlan(lambda: cut_windows(source.windows, opened.span), opened.span.length, **read)
    except BaseException:
        source.close()
        raise
    settled = opened.request.options
    if settled.n_controls == "auto":
        settled = replace(settled, n_controls=default_n_controls(len(source), opened.span.length))
    n_bytes = 16 * len(source) * opened.span.length * len(settled.methods)
    if settled.hypothetical is None and n_bytes > HYPOTHETICAL_BYTES:
        settled = replace(settled, hypothetical=False)
    opened = replace(opened, request=replace(request, options=settled))
    parameters = {**request.arguments(), **own, **evidence, "other_models": list(map(model_name, other_models))}
    return PreparedRun(opened, others, plan, parameters, may_grow=request.options.n_controls == "auto")


def config_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a run as a configuration file holds them, so that it can repeat the run.

    Left out are what was not given, arrays and tables of Python, and that the model is trusted, which no file may say.
    """
    plain = (str, os.PathLike, int, float, list, tuple, Mapping)
    left_out = ("hypothetical", "trust_model", "trust_pickle")
    names = sorted(name for name, value in parameters.items() if isinstance(value, plain) and name not in left_out)
    return {name.replace("_", "-"): parameters[name] for name in names if parameters[name] not in ("", [], (), {})}
