"""`seqsal attribute`: per-base attributions of regions, as an HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    attribution_options,
    common_options,
    ensemble_options,
    input_options,
    path_type,
    resume_option,
    scheduler_option,
    show_progress,
    tiling_options,
    verb,
)

__all__ = ["attribute_command"]


@verb(
    "attribute",
    epilog="Example: seqsal attribute --model M.safetensors --genome hg38.fa --regions peaks.bed --out A.h5",
)
@ensemble_options
@input_options
@tiling_options
@attribution_options
@click.option("--hypothetical", is_flag=True, help="Keep the scores of all four bases, not only of the one there.")
@click.option("--out", type=path_type, required=True, help="Attribution file to write (.h5).")
@click.option("--bigwig", type=path_type, help="Also write the track as bigWig; of an ensemble, NAME.agreement.bw too.")
@scheduler_option
@resume_option
@common_options
def attribute_command(
    model: str | list[str],
    out: Path,
    bigwig: Path | None,
    quiet: bool,
    scheduler: str | None,
    resume: bool,
    **arguments: Any,
) -> None:
    """Attribute the model's output to single bases; an interrupted run resumes."""
    from seqsal.attribution.api import attribute
    from seqsal.io.atomic import check_writable
    from seqsal.io.tracks import write_agreement, write_bigwig

    progress = show_progress(quiet)
    check_writable(out)
    if bigwig is not None:
        agreement = bigwig.with_suffix(".agreement.bw")
        check_writable(bigwig)
    if scheduler is None:
        attr = attribute(model, out=out, resume=resume, progress=progress, **arguments)
    else:
        from seqsal.io.store import read_attributions
        from seqsal.pipeline.schedulers import attribute_on

        attribute_on(scheduler, model, out, progress=progress, **arguments)
        attr = read_attributions(out, in_memory=False)
    if bigwig is not None:
        write_bigwig(attr, attr.chrom_sizes, bigwig, progress=progress)
        if attr.track_sd is not None:
            write_agreement(attr, attr.chrom_sizes, agreement, progress=progress)
    if not quiet:
        click.echo(f"{out}: {attr!r}" + f"\n{bigwig}: track in genome coordinates" * (bigwig is not None))
