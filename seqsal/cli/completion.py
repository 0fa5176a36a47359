"""`seqsal completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion_command"]

_VARIABLE = "_SEQSAL_COMPLETE"


@click.command(
    "completion",
    epilog="Example: seqsal completion bash >> ~/.bashrc, or seqsal completion zsh >> ~/.zshrc, or "
    "seqsal completion fish > ~/.config/fish/completions/seqsal.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes a SHELL complete seqsal's verbs, options and file names."""
    complete = get_completion_class(shell)
    assert complete is not None  # click has the three
    click.echo(complete(ctx.find_root().command, {}, "seqsal", _VARIABLE).source())
