"""`seqsal audit`: whether a map can be believed, and whether the model takes a shortcut."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from seqsal.auditing.parts import PARTS
from seqsal.cli.options import (
    NUMBER_OR_TEXT,
    check_ending,
    common_options,
    end_by_verdict,
    evidence_options,
    motif_db_option,
    optional_model_options,
    path_type,
    pop_reading,
    result_option,
    scheduler_option,
    show_progress,
    verb,
)
from seqsal.errors import UsageError

__all__ = ["audit_command"]

_PARTS = "; ".join(f"{name}: {question}" for name, question in PARTS.items())


@verb(
    "audit",
    epilog="Example: seqsal audit --model M.safetensors A.h5 --motif-db jaspar:2026:vertebrates "
    f"--fail-on shortcut,unfaithful --out audit.json. What is tested: {_PARTS}.",
)
@click.argument("attributions", type=path_type)
@optional_model_options
@result_option
@motif_db_option
@click.option("--peaks", type=path_type, help="narrowPeak of `seqsal peaks`; called at q ≤ 0.05 without it.")
@click.option(
    "--span", type=NUMBER_OR_TEXT, metavar="BP|region",
    help="Audit only this many bases in the middle of each window, or the regions that the windows were laid around.",
)  # fmt: skip
@click.option("--flank", type=click.IntRange(min=0), default=0, help="Widen the span by this many bp on either side.")
@click.option("--contrast", metavar="A-B", help="Audit the result of this contrast, where the file has several.")
@click.option(
    "--readout-at", metavar="PLACE",
    help="Where the model is read: where the attributions were, which the file records; another PLACE is refused.",
)  # fmt: skip
@evidence_options
@click.option("--genome", type=path_type, help="Genome FASTA, for --positives and --negatives that are BED.")
@click.option(
    "--out",
    type=path_type,
    required=True,
    help="Audit to write (.json); positions of shortcuts go to .shortcuts.bed of the same name.",
)
@scheduler_option
@common_options
@click.pass_context
def audit_command(
    ctx: click.Context,
    attributions: Path,
    model: str | None,
    other_models: tuple[str, ...],
    result: str | None,
    out: Path,
    quiet: bool,
    scheduler: str | None,
    fail_on: list[str],
    **arguments: Any,
) -> None:
    """Test whether attributions are faithful and plausible, and whether the model takes a shortcut.

    The model is read as the attributions were made. Without --model it is the seqsal checkpoint that the file names, if
    that is unchanged; where it is not at hand, only the tests that need no model are run.
    """
    from seqsal.attribution.request import read_model_of
    from seqsal.auditing import audit
    from seqsal.auditing.run import model_at_hand, open_audited
    from seqsal.auditing.verdict import check_failures
    from seqsal.io.atomic import all_or_nothing, check_distinct, check_writable
    from seqsal.io.store import read_attributions

    check_ending(out, ".json")
    bed = out.with_suffix(".shortcuts.bed")
    check_writable(bed)
    check_distinct([bed], arguments.values())
    check_failures(fail_on)
    of = {name: arguments.pop(name) for name in ("span", "flank", "contrast", "readout_at")}
    whole = read_attributions(attributions, result, in_memory=False)
    attr, given = open_audited(whole, **of), model_at_hand(whole) if model is None else model
    reading = pop_reading(arguments) | {"device": arguments["device"]}
    first, *others = [None if one is None else read_model_of(one, attr, **reading) for one in (given, *other_models)]
    with _workers(scheduler, attributions, given, arguments["seed"], {"result": result, **of}, reading):
        found = audit(
            first,
            attr,
            other_models=[one for one in others if one is not None],
            progress=show_progress(quiet),
            **arguments,
        )
    with all_or_nothing():
        found.to_json(out)
        found.write_shortcuts_bed(bed)
    if not quiet:
        click.echo(f"{found!r}\n{out}")
    end_by_verdict(ctx, found, fail_on)


def _workers(scheduler: str | None, attributions: Path, model: Any, *how: Any) -> AbstractContextManager[None]:
    """Have the model's work done by the workers of a scheduler, if there is one."""
    if scheduler is None:
        return nullcontext()
    if model is None:
        raise UsageError("scheduler: does the work of a model, and none was given; give --model, or leave it out")
    from seqsal.pipeline.schedulers import audit_on

    return audit_on(scheduler, attributions, [*map(str, model)] if isinstance(model, list) else str(model), *how)
