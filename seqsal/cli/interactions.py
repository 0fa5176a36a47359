"""`seqsal interactions`: two bases of a stretch at a time."""

from __future__ import annotations

import click

from seqsal.cli.experiments import experiment

__all__ = ["interactions_command"]


def _span(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, _, last = value.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise click.BadParameter(f"got {value!r}, expected offsets in the window, start and end, such as 490-520")
    return int(first), int(last)


interactions_command = experiment(
    "interactions", "--within 490-520",
    "Change two bases at a time in a stretch of each window: which depend on each other?",
    click.option(
        "--within", callback=_span, metavar="START-END",
        help="Offsets in the window, from 0, end not included [default: its middle 20 bp].",
    ),
    click.option(
        "--n-shuffles", type=click.IntRange(min=1), default=10, show_default=True,
        help="Number of shuffled windows, whose pairs give the p-values.",
    ),
    draw="plot_interactions",
)  # fmt: skip
