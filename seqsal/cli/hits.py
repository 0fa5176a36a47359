"""`seqsal hits`: instances of patterns in all windows."""

from __future__ import annotations

from pathlib import Path

import click

from seqsal.cli.options import check_ending, config_option, path_type, result_option, show_progress, talk_options, verb
from seqsal.errors import counted

__all__ = ["hits_command"]


@verb("hits", epilog="Example: seqsal hits A.h5 --motifs motifs/ --out hits.tsv")
@click.argument("attributions", type=path_type)
@result_option
@click.option(
    "--motifs", type=path_type, required=True, multiple=True, metavar="DIR|H5",
    help="Patterns: a folder of `seqsal motifs`, or a file of TF-MoDISco; may be repeated.",
)  # fmt: skip
@click.option(
    "--algorithm", type=click.Choice(["auto", "finemo", "scan"]), default="auto", show_default=True,
    help="How CWMs are fitted to the map; auto takes Fi-NeMo where it is installed.",
)  # fmt: skip
@click.option("--fdr", type=float, default=0.05, show_default=True, help="Largest q-value of a hit.")
@click.option("--usage", type=path_type, metavar="TSV", help="Table: which of the results uses which pattern.")
@click.option("--out", type=path_type, required=True, help="Table of hits to write, ending in .tsv.")
@config_option
@talk_options
def hits_command(
    attributions: Path, result: str | None, motifs: tuple[Path, ...], algorithm: str, fdr: float, usage: Path | None,
    out: Path, quiet: bool,
) -> None:  # fmt: skip
    """Find the instances of patterns in all windows, with p- and q-values from the controls; needs no model."""
    from dataclasses import replace

    from seqsal.io.atomic import all_or_nothing, check_distinct
    from seqsal.io.bed import write_tsv
    from seqsal.io.store import read_attributions
    from seqsal.motifs import call_hits, pattern_usage, read_patterns

    for path in (out, *([] if usage is None else [usage])):
        check_ending(path, ".tsv", name="a table's name")
    check_distinct([out, *([] if usage is None else [usage])], [attributions])
    patterns = []
    for folder in motifs:
        own = read_patterns(folder)
        stem = f"{folder.stem}/" if len(motifs) > 1 else ""
        patterns += [replace(one, name=f"{stem}{one.name}") for one in own]
    attr, how = read_attributions(attributions, result, in_memory=False), {"algorithm": algorithm, "fdr": fdr}
    hits = call_hits(attr, patterns, progress=show_progress(quiet), **how)  # type: ignore[arg-type]
    with all_or_nothing():
        write_tsv(hits, out)
        if usage is not None:
            tables = {attr.results[0] if result is None else result: hits} if len(attr.results) < 2 else {
                name: call_hits(attr.result(name), patterns, progress=show_progress(quiet), **how)  # type: ignore[arg-type]
                for name in attr.results
            }  # fmt: skip
            write_tsv(pattern_usage(tables, len(attr)), usage)
    if not quiet:
        click.echo(
            f"{out}: {counted(len(hits), 'hit')} of {hits['pattern'].nunique()} of {counted(len(patterns), 'pattern')}"
        )
