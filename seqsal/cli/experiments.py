"""The verbs of experiments: `insert`, `remove`, `swap`, `pair`, `space`, `scan` and `interactions`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    ensemble_options,
    input_options,
    path_type,
    show_progress,
    stack,
    target_option,
    verb,
)
from seqsal.errors import counted

__all__ = [
    "insert_command", "interactions_command", "pair_command", "remove_command", "scan_command", "space_command",
    "swap_command",
]  # fmt: skip

_MOTIF_HELP = "bases such as GATTACA, a FASTA, a motif file, or jaspar:RELEASE:TAXGROUP"
_motifs = click.option(
    "--motifs", required=True, multiple=True, metavar="WHAT", help=f"Elements: {_MOTIF_HELP}; may be repeated."
)
_a = click.option("--a", required=True, metavar="WHAT", help=f"The first element: {_MOTIF_HELP}.")
_mismatches = click.option(
    "--mismatches", type=click.IntRange(min=0), default=1, show_default=True, help="Most mismatches allowed in a copy."
)
_plot_option = click.option("--plot", type=path_type, help="Picture of the table: .svg, .png or .pdf.")
_rc_average = click.option(
    "--rc-average/--no-rc-average", default=True, show_default=True, help="Average over both strands."
)


def _shared(n_sequences: int) -> Callable[..., Any]:
    return stack(
        ensemble_options,
        target_option,
        input_options,
        click.option(
            "--n-sequences", type=click.IntRange(min=2), default=n_sequences, show_default=True,
            help="Most neutral backgrounds (shuffles of the regions), or windows, to use.",
        ),
        _rc_average,
        click.option("--out", type=path_type, required=True, help="Table to write, ending in .tsv."),
        common_options,
    )  # fmt: skip


def _experiment(
    name: str, example: str, text: str, *own: Callable[..., Any], draw: str | None = None, n_sequences: int = 100
) -> click.Command:
    """Make the command of an experiment, its own options before the shared ones; `draw` names what plots its table."""

    def run(model: str, out: Path, quiet: bool, plot: Path | None = None, **arguments: Any) -> None:
        from seqsal import experiments
        from seqsal.cli.options import check_ending, check_picture
        from seqsal.io.atomic import all_or_nothing, atomic_path, check_distinct

        check_ending(out, ".tsv", name="a table's name")
        if plot is not None:
            check_picture(plot)
            check_distinct([out, plot], ())
        table = getattr(experiments, name)(model, progress=show_progress(quiet), **arguments)
        with all_or_nothing():
            with atomic_path(out) as temporary:
                table.to_csv(temporary, sep="\t", index=False, na_rep="NA", float_format="%.6g")
            if plot is not None:
                from seqsal import plot as pictures
                from seqsal.plot.style import own_style

                with own_style():
                    pictures.save_figure(getattr(pictures, str(draw))(table), plot)
        if not quiet:
            found = int((table["q_value"] <= 0.05).sum())
            click.echo(f"{out}: {counted(len(table), 'row')}, {found:,} with q ≤ 0.05")

    epilog = f"Example: seqsal {name} --model M.safetensors --genome hg38.fa --regions peaks.bed {example} --out E.tsv"
    own = own if draw is None else (*own, _plot_option)
    return verb(name, epilog=epilog, help=text)(stack(*own, _shared(n_sequences))(run))


def _range(ctx: click.Context, parameter: click.Parameter, value: str) -> range:
    first, _, last = value.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise click.BadParameter(f"got {value!r}, expected the least and the most, such as 0-50")
    return range(int(first), int(last) + 1)


def _span(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, _, last = value.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise click.BadParameter(f"got {value!r}, expected offsets in the window, start and end, such as 490-520")
    return int(first), int(last)


insert_command = _experiment(
    "insert", "--motifs jaspar:2026:vertebrates", "Put motifs into neutral sequences: does one suffice?", _motifs
)
remove_command = _experiment(
    "remove", "--motifs motifs.meme", "Replace motifs where they stand by control words: is one needed?",
    _motifs, _mismatches,
)  # fmt: skip
swap_command = _experiment(
    "swap", "--a TGACTCA --motifs motifs.meme", "Write motifs over the copies of another: can one stand in?",
    _a, _motifs, _mismatches,
)  # fmt: skip
pair_command = _experiment(
    "pair", "--motifs motifs.meme --gap 10",
    "Put two motifs at a time into neutral sequences: do they do more together than each alone?", _motifs,
    click.option("--gap", type=click.IntRange(min=0), default=10, show_default=True, help="bp between the two."),
    draw="plot_cooperativity",
)  # fmt: skip
space_command = _experiment(
    "space", "--a TGACTCA --b GATAAG",
    "Put two motifs into neutral sequences at every distance and orientation: where do they work together?", _a,
    click.option("--b", required=True, metavar="WHAT", help=f"The second element: {_MOTIF_HELP}."),
    click.option(
        "--distances", default="0-50", show_default=True, callback=_range, metavar="FROM-TO", help="bp between the two."
    ),
    draw="plot_spacing",
)  # fmt: skip
scan_command = _experiment(
    "scan", "--width 20", "Shuffle a tile at a time along windows: which stretch matters?",
    click.option("--width", type=click.IntRange(min=1), default=20, show_default=True, help="Width of a tile (bp)."),
    click.option("--step", type=click.IntRange(min=1), help="bp from tile to tile [default: half a tile]."),
    click.option("--n-draws", type=click.IntRange(min=2), default=10, show_default=True, help="Shuffles of each tile."),
)  # fmt: skip
interactions_command = _experiment(
    "interactions", "--within 490-520",
    "Change two bases at a time in a stretch of each window: which depend on each other?",
    click.option(
        "--within", callback=_span, metavar="START-END",
        help="Offsets in the window, from 0, end not included [default: its middle 20 bp].",
    ),
    click.option(
        "--n-shuffles", type=click.IntRange(min=1),
        help="Number of shuffled windows, whose pairs give the p-values [default: 10].",
    ),
    draw="plot_interactions", n_sequences=10,
)  # fmt: skip
