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
    epilog="Example: seqsal report A.h5 --motif-db jaspar:2026:vertebrates --out report.html. For several runs: "
    "seqsal report results_a/ results_b/ --out comparison.html",
)
@click.argument("attributions", nargs=-1, required=True, metavar="A.h5 | RUN...", type=path_type)
@optional_model_options
@result_option
@motif_db_option
@click.option("--peaks", type=path_type, help="narrowPeak of `seqsal peaks`; called at q ≤ 0.05 without it.")
@click.option(
    "--variants", type=path_type, metavar="H5",
    help="Variants to show too: --attributions of `seqsal variants`, which may also be given alone, as A.h5.",
)  # fmt: skip
@click.option("--genes", type=path_type, metavar="GTF", help="Gene models for the page's genome browser.")
@click.option("--out", type=path_type, required=True, help="Page to write (.html).")
@common_options
def report_command(
    attributions: tuple[Path, ...],
    model: str | None,
    result: str | None,
    motif_db: str | None,
    peaks: Path | None,
    variants: Path | None,
    genes: Path | None,
    out: Path,
    device: str,
    seed: int,
    quiet: bool,
    **reading: Any,
) -> None:
    """Call peaks, find motifs, audit, and put all of it on one page; for imported attributions too.

    Without --model it is the seqsal checkpoint that the file names, if that is unchanged.

    Folders of finished runs, two or more, are put next to each other on a page instead: what each found, whether it can
    be believed, the peaks that they have in common, and how alike their maps are.
    """
    from seqsal.errors import UsageError
    from seqsal.experiments.variants import has_variants, read_variant_maps
    from seqsal.report import write_comparison, write_variant_report

    check_ending(out, ".html")
    first = attributions[0]
    if len(attributions) > 1 or first.is_dir():
        if not all(one.is_dir() for one in attributions):
            raise UsageError("report: got several files, expected one attribution file, or folders of runs to compare")
        write_comparison(out, attributions)
    elif has_variants(first) and variants is None:
        write_variant_report(out, read_variant_maps(first), {"attributions": str(first)})
    else:
        given = {"attributions": first, "model": model, "peaks": peaks, "variants": variants, "motif_db": motif_db,
                 "genes": genes, "seed": seed}  # fmt: skip
        said = _write_page(out, given, result, device, show_progress(quiet), pop_reading(reading))
        if not quiet:
            click.echo(said)
    if not quiet:
        click.echo(out)


def _write_page(
    out: Path, given: dict[str, Any], result: str | None, device: str, progress: bool, reading: dict[str, Any]
) -> str:
    """Do what is missing for the page of one attribution file, and write it; the verdict in a sentence and in words."""
    from seqsal.attribution.request import read_model_of
    from seqsal.auditing import audit
    from seqsal.auditing.run import model_at_hand
    from seqsal.auditing.settings import RUN_SIZES
    from seqsal.experiments.variants import read_variant_maps
    from seqsal.io.store import read_attributions
    from seqsal.motifs import discover_motifs
    from seqsal.peaks import merge_peaks
    from seqsal.pipeline.elements import MERGE_BP, describe_calls, motifs_of
    from seqsal.report import ReportInputs, write_report
    from seqsal.report.genome import gene_models

    model, variants = given["model"], given["variants"]
    maps = None if variants is None else read_variant_maps(variants)
    shared: dict[str, Any] = {"motif_db": given["motif_db"], "seed": given["seed"], "progress": progress}
    attr = read_attributions(given["attributions"], result, in_memory=False)
    genes = gene_models(attr, given["genes"])
    model = model_at_hand(attr) if model is None else model
    loaded = None if model is None else read_model_of(model, attr, device=device, **reading)
    table = _peaks_of(attr, given["peaks"], loaded, device, progress)
    motifs = discover_motifs(attr, table, **shared)
    found = audit(loaded, attr, peaks=table, patterns=motifs, settings=RUN_SIZES, device=device, **shared)
    elements = None
    if {"q_value", "sign"} <= set(table):
        named: dict[str, Any] = {"motifs": motifs_of(motifs), "model": loaded, "device": device}
        elements = describe_calls(merge_peaks(table, MERGE_BP, attr), attr, **named)
    info = {"parameters": {name: str(value) for name, value in given.items() if value is not None}}
    title = f"{attr.method} · {given['attributions'].name}"
    shown: dict[str, Any] = {"elements": elements, "motifs": motifs, "audit": found, "variants": maps, "genes": genes}
    write_report(out, ReportInputs(attr, None, table, info, title=title, **shown))
    return f"{found.verdict.text}\n{found.verdict.answers}"


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
