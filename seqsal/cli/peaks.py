"""`seqsal peaks`: candidate regulatory elements from an attribution file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqsal.cli.options import (
    NULLS,
    config_option,
    device_option,
    motif_db_option,
    optional_model_options,
    path_type,
    pop_reading,
    result_option,
    show_progress,
    statistic_option,
    talk_options,
    verb,
)
from seqsal.errors import counted

if TYPE_CHECKING:
    from seqsal.io.attributions import Attributions

__all__ = ["peaks_command"]


@verb("peaks", epilog="Example: seqsal peaks A.h5 --out P.narrowPeak --fdr 0.05")
@click.argument("attributions", type=path_type)
@optional_model_options
@result_option
@click.option("--out", type=path_type, required=True, help="narrowPeak to write; a .tsv table of the same name too.")
@click.option("--fdr", type=float, default=0.05, show_default=True, help="Largest q-value reported.")
@click.option(
    "--sign", type=click.Choice(["both", "pos", "neg"]), default="both", show_default=True, help="Which peaks."
)
@click.option("--min-width", type=click.IntRange(min=1), default=4, show_default=True, help="Narrowest peak (bp).")
@click.option("--max-width", type=click.IntRange(min=1), default=50, show_default=True, help="Widest peak (bp).")
@statistic_option
@click.option(
    "--null", type=click.Choice(NULLS),
    help="What peaks are compared with: dinucleotide shuffles of the regions (is this sequence special against its own "
    "composition?), or the genome's background (is this place special?): windows away from the regions, of the same "
    "G+C, soft-masked share and Ns. Controls of the other kind are replaced [default: what the file has, or shuffle].",
)  # fmt: skip
@click.option("--genome", type=path_type, help="Genome of the background [default: that of the regions].")
@click.option(
    "--max-controls", type=click.IntRange(min=1),
    help="Most controls that are made while the number of peaks depends on which were drawn, or too few to "
    "reach the rate [default: 8 times the usual number, or about as many as windows].",
)  # fmt: skip
@click.option(
    "--merge", metavar="BP", type=click.IntRange(min=0),
    help="Join peaks at most this far apart, of either sign, to elements, written next to the peaks: "
    "NAME.elements.bed and .tsv.",
)  # fmt: skip
@click.option(
    "--from", "seeds", metavar="RESULT|FILE",
    help="Grow peaks from the maxima of a coarse map of the same windows: another result of the file, such as "
    "grad_cam, or another file.",
)  # fmt: skip
@motif_db_option
@device_option
@config_option
@talk_options
def peaks_command(
    attributions: Path,
    model: str | None,
    result: str | None,
    seeds: str | None,
    out: Path,
    merge: int | None,
    motif_db: str | None,
    device: str,
    quiet: bool,
    **arguments: Any,
) -> None:
    """Call peaks of both signs against the controls in the file, shuffles or background.

    Controls that the file lacks are made now, and added to it: by --model, or the checkpoint that the file names. More
    are made while the number of peaks depends on which were drawn. The tables say what deleting each call in silico
    does to the prediction, where the model is at hand, and with --motif-db the motif inside.
    """
    from seqsal.attribution.request import read_model_of
    from seqsal.errors import UsageError
    from seqsal.io.atomic import all_or_nothing, check_distinct, check_writable
    from seqsal.io.bed import write_narrowpeak
    from seqsal.io.store import read_attributions
    from seqsal.motifs import read_motifs
    from seqsal.peaks import call_peaks, merge_peaks, null_text, statistic_text, write_peaks_tsv
    from seqsal.pipeline.elements import describe_calls, write_elements

    table = out.with_suffix(".tsv")
    if table == out:
        raise UsageError(f"{out}: ends in .tsv, as the table of the same name will; give a name ending in .narrowPeak")
    check_writable(out)
    reading = pop_reading(arguments)
    bed, about = (out.with_suffix(f".elements.{kind}") for kind in ("bed", "tsv"))
    check_distinct([table, *([bed, about] if merge is not None else [])], [attributions, model, seeds, motif_db])
    attr = read_attributions(attributions, result, in_memory=False)
    motifs = [] if motif_db is None else read_motifs(motif_db)
    coarse = None if seeds is None else _open_seeds(attr, seeds)
    loaded = None if model is None else read_model_of(model, attr, device=device, **reading)
    peaks = call_peaks(attr, model=loaded, device=device, seeds=coarse, progress=show_progress(quiet), **arguments)
    elements = None if merge is None else merge_peaks(peaks, merge, attr)
    how: dict[str, Any] = {"model": loaded, "device": device, "motifs": motifs, "progress": show_progress(quiet)}
    peaks = describe_calls(peaks, attr, **how)
    elements = None if elements is None else describe_calls(elements, attr, **how)
    with all_or_nothing():
        write_narrowpeak(peaks, out)
        write_peaks_tsv(peaks, table)
        if elements is not None:
            write_elements(elements, bed, about, attr.output_space)
    if not quiet:
        n_negative = int((peaks["sign"] == "neg").sum())
        click.echo(
            f"{out}: {counted(len(peaks), 'peak')} at q ≤ {arguments['fdr']:g} ({n_negative:,} negative); "
            f"best q {peaks.attrs['best_q']:.2g} of {counted(peaks.attrs['n_candidates'], 'candidate')}, "
            f"against {null_text(peaks.attrs)}, {statistic_text(peaks.attrs)}"
        )
        if elements is not None:
            n_both = int((elements["sign"] == "both").sum())
            click.echo(f"{bed}: {counted(len(elements), 'element')} ({n_both:,} with peaks of both signs)")


def _open_seeds(attr: Attributions, seeds: str) -> Attributions:
    """Open the coarse map that `--from` names: a result of the same file, or another file and perhaps its result."""
    from seqsal.errors import UsageError
    from seqsal.io.store import read_attributions

    if seeds in attr.results:
        return attr.result(seeds)
    path, _, name = (seeds, "", "") if Path(seeds).exists() else seeds.rpartition(":")
    if path and Path(path).exists():
        return read_attributions(path, name or None, in_memory=False)
    raise UsageError(
        f"--from: got {seeds!r}, expected another result of the file (it has {', '.join(attr.results)}) or an "
        "attribution file; to make one: `seqsal attribute … --method gradient_x_input --method grad_cam`"
    )
