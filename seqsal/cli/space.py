"""`seqsal space`: two motifs at every distance and orientation."""

from typing import Any

import click

from seqsal.cli.experiments import MOTIF_HELP, a_option, experiment

__all__ = ["space_command"]


def _range(ctx: click.Context, parameter: click.Parameter, value: str) -> range:
    first, _, last = value.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise click.BadParameter(f"got {value!r}, expected the least and the most, such as 0-50")
    return range(int(first), int(last) + 1)


_distances: Any = click.option(
    "--distances", default="0-50", show_default=True, callback=_range, metavar="FROM-TO", help="bp between the two."
)
space_command = experiment(
    "space", "--a TGACTCA --b GATAAG",
    "Put two motifs into neutral sequences at every distance and orientation: where do they work together?", a_option,
    click.option("--b", required=True, metavar="WHAT", help=f"The second element: {MOTIF_HELP}."), _distances,
    draw="plot_spacing",
)  # fmt: skip
