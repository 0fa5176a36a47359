"""`seqsal report`: the page for any attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqsal.cli.options import (
    check_ending,
    common_options,
    motif_db_option,
    optional_model_options,
    path_type,
    pop_reading,
    result_option,
    show_progress,
    verb,
)

if TYPE_CHECKING:
    import pandas as pd

    from seqsal.io.attributions import Attributions
    from seqsal.models import SequenceModel

__all__ = ["report_command"]


@verb(
    "report",
    epilog="Example: seqsal report A.h5 --motif-db jaspar:2026:vertebrates --out report.html",
)
@click.argument("attributions", type=path_type)
@optional_model_options
@result_option
@motif_db_option
@click.option("--peaks", type=path_type, help="narrowPeak of `seqsal peaks`; called at q ≤ 0.05 without it.")
@click.option(
    "--variants", type=path_type, metavar="H5",
    help="Variants to show too: --attributions of `seqsal variants`, which may also be given alone, as A.h5.",
)  # fmt: skip
@click.option("--out", type=path_type, required=True, help="Page to write (.html).")
@common_options
def report_command(
    attributions: Path,
    model: str | None,
    result: str | None,
    motif_db: str | None,
    peaks: Path | None,
    variants: Path | None,
    out: Path,
    device: str,
    seed: int,
    quiet: bool,
    **reading: Any,
) -> None:
    """Call peaks, find motifs, audit, and put all of it on one page; for imported attributions too."""
    import numpy as np

    from seqsal.attribution.request import read_model_of
    from seqsal.auditing import audit
    from seqsal.auditing.settings import RUN_SIZES
    from seqsal.experiments.variants import has_variants, read_variant_maps
    from seqsal.io.store import read_attributions
    from seqsal.motifs import discover_motifs
    from seqsal.peaks import merge_peaks
    from seqsal.pipeline.elements import MERGE_BP, describe_calls, motifs_of
    from seqsal.report import ReportInputs, write_report, write_variant_report

    check_ending(out, ".html")
    if has_variants(attributions) and variants is None:
        write_variant_report(out, read_variant_maps(attributions), {"attributions": str(attributions)})
        if not quiet:
            click.echo(out)
        return
    maps = None if variants is None else read_variant_maps(variants)
    shared: dict[str, Any] = {"motif_db": motif_db, "seed": seed, "progress": show_progress(quiet)}
    attr = read_attributions(attributions, result, in_memory=False)
    loaded = None if model is None else read_model_of(model, attr, device=device, **pop_reading(reading))
    table = _peaks_of(attr, peaks, loaded, device, show_progress(quiet))
    motifs = discover_motifs(attr, table, **shared)
    found = audit(loaded, attr, peaks=table, patterns=motifs, settings=RUN_SIZES, device=device, **shared)
    elements = None
    if {"q_value", "sign"} <= set(table):
        named: dict[str, Any] = {"motifs": motifs_of(motifs), "model": loaded, "device": device}
        elements = describe_calls(merge_peaks(table, MERGE_BP, attr), attr, **named)
    scores = attr.regions.assign(prediction=np.asarray(attr.prediction, dtype=np.float64))
    given = {
        "attributions": attributions,
        "model": model,
        "peaks": peaks,
        "variants": variants,
        "motif_db": motif_db,
        "seed": seed,
    }
    info = {"parameters": {name: str(value) for name, value in given.items() if value is not None}}
    title = f"{attr.method} · {attributions.name}"
    shown = ReportInputs(
        attr, scores, table, info, elements=elements, motifs=motifs, audit=found, title=title, variants=maps
    )
    write_report(out, shown)
    if not quiet:
        click.echo(f"{found.verdict.text}\n{found.verdict.answers}\n{out}")


def _peaks_of(
    attr: Attributions, peaks: Path | None, model: SequenceModel | None, device: str, progress: bool
) -> pd.DataFrame:
    """Peaks of a file, or called; none where there are no controls and no model to make them with."""
    import pandas as pd

    from seqsal.peaks import PEAK_COLUMNS, call_peaks, read_peaks

    if peaks is not None:
        return read_peaks(peaks)
    if attr.n_controls or model is not None:
        return call_peaks(attr, model=model, device=device, progress=progress)
    return pd.DataFrame({key: pd.Series(dtype=kind) for key, kind in PEAK_COLUMNS.items()})
