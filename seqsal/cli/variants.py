"""`seqsal variants`: how much each variant changes a prediction."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from seqsal.cli.options import (
    NumberOrAuto,
    common_options,
    motif_db_option,
    one_or_many,
    path_type,
    pop_reading,
    reading_options,
    scheduler_option,
    show_progress,
    targets_option,
    verb,
)

__all__ = ["variants_command"]


def _offsets(ctx: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"got {value!r}, expected whole numbers of bp, such as -10,0,10") from None


def _by(scheduler: str, arguments: dict[str, Any]) -> Any:
    """Open a scorer whose work is that of a scheduler's workers."""
    from seqsal.pipeline.schedulers import variants_on

    return variants_on(scheduler, **arguments)


@verb(
    "variants",
    epilog="Example: seqsal variants --model M.safetensors --genome hg38.fa --vcf V.vcf.gz --out V.tsv",
)
@click.option(
    "--model", required=True, multiple=True, metavar="M", callback=one_or_many,
    help="A model, as for `seqsal score`; given several times, an ensemble whose scores are averaged.",
)  # fmt: skip
@click.option("--genome", type=path_type, required=True, help="Genome FASTA, which REF is compared with.")
@click.option(
    "--vcf", "variants", type=path_type, required=True,
    help="VCF or BCF, or a table with the columns chrom, pos, ref and alt.",
)  # fmt: skip
@click.option("--out", type=path_type, required=True, help="Table to write, ending in .tsv.")
@targets_option
@click.option(
    "--shifts", default="0", show_default=True, metavar="BP,…", callback=_offsets,
    help="Offsets of the variant from the window's centre to average over, such as -10,0,10.",
)  # fmt: skip
@click.option("--rc-average/--no-rc-average", default=True, show_default=True, help="Average over both strands.")
@click.option(
    "--controls", "n_controls", type=NumberOrAuto(), default="auto", show_default=True, metavar="N|auto",
    help="Matched controls for p-values; 0 for none. auto: as many as variants, 1,000 to 20,000.",
)  # fmt: skip
@click.option(
    "--background", type=path_type, metavar="BED",
    help="Regions to put controls into [default: shuffles of the variants' own windows].",
)  # fmt: skip
@click.option(
    "--annotated", type=path_type, metavar="VCF", help="The VCF with the scores in INFO, ending in .vcf or .vcf.gz."
)
@click.option("--bed", type=path_type, help="BED of the variants for browsers, coloured by sign.")
@click.option(
    "--attributions", type=path_type, metavar="H5",
    help="Maps of both alleles of the 200 variants that matter most: rows 2i and 2i + 1 are REF and ALT.",
)  # fmt: skip
@click.option(
    "--report", type=path_type, metavar="HTML",
    help="Page of those variants: a table, both alleles as logos and their difference, a genome browser.",
)  # fmt: skip
@motif_db_option
@click.option("--batch-size", type=click.IntRange(min=1), help="Windows at a time [default: by the device].")
@reading_options
@scheduler_option
@common_options
def variants_command(
    out: Path, annotated: Path | None, bed: Path | None, attributions: Path | None, report: Path | None, quiet: bool,
    scheduler: str | None, **arguments: Any,
) -> None:  # fmt: skip
    """Score variants: how each changes the prediction, with p- and q-values against matched controls."""
    from seqsal.cli.options import check_ending
    from seqsal.experiments.variants import open_scorer, read_variant_maps, write_variant_scores
    from seqsal.io.atomic import check_distinct, check_writable
    from seqsal.report import write_variant_report

    check_ending(out, ".tsv", name="a table's name")
    if report is not None:
        check_ending(report, ".html")
    others = [one for one in (annotated, bed, attributions, report) if one is not None]
    check_distinct([out, *others], [arguments["variants"], arguments["genome"]])
    for one in others:
        check_writable(one)
    reading = pop_reading(arguments)
    named = arguments["model"] if isinstance(arguments["model"], (list, tuple)) else [arguments["model"]]
    given = {"model": ", ".join(map(str, named)), "genome": arguments["genome"], "vcf": arguments["variants"]}
    with TemporaryDirectory(prefix="seqsal-") as folder:
        maps = Path(folder, "maps.h5") if attributions is None and report is not None else attributions
        arguments |= {"reading": reading, "progress": show_progress(quiet)}
        with open_scorer(**arguments) if scheduler is None else _by(scheduler, arguments) as scorer:
            summary = write_variant_scores(scorer, out, annotated=annotated, bed=bed, attributions=maps)
        if report is not None and maps is not None:
            write_variant_report(report, read_variant_maps(maps), {name: str(one) for name, one in given.items()})
    if not quiet:
        click.echo(f"{out}: {summary}")
