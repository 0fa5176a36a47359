"""`seqsal audit`: whether a map can be believed, and whether the model cheats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    common_options,
    end_by_verdict,
    evidence_options,
    motif_db_option,
    optional_model_options,
    path_type,
    result_option,
    show_progress,
)

__all__ = ["audit_command"]


@click.command(
    "audit",
    epilog="Example: seqsal audit --model M.safetensors A.h5 --motif-db jaspar:2026:vertebrates "
    "--fail-on shortcut,unfaithful --out audit.json",
)
@click.argument("attributions", type=path_type)
@optional_model_options
@result_option
@motif_db_option
@click.option("--peaks", type=path_type, help="narrowPeak of `seqsal peaks`; called at q ≤ 0.05 without it.")
@evidence_options
@click.option("--genome", type=path_type, help="Genome FASTA, for --positives and --negatives that are BED.")
@click.option(
    "--out", type=path_type, required=True, help="Audit to write (.json); the places of shortcuts as BED beside it."
)
@common_options
@click.pass_context
def audit_command(
    ctx: click.Context, attributions: Path, out: Path, quiet: bool, fail_on: list[str], **arguments: Any
) -> None:
    """Test whether attributions are faithful and plausible, and whether the model takes a shortcut.

    The model is read as the attributions were made. Without one, what asks no model is tested.
    """
    from seqsal.commands.audit import audit_to_file

    audit = audit_to_file(attributions, out, fail_on=fail_on, progress=show_progress(quiet), **arguments)
    if not quiet:
        click.echo(f"{audit!r}\n{out}")
    end_by_verdict(ctx, audit, fail_on)
