"""`--config FILE`: values of a verb's options from a TOML file, checked like those of the command line.

A key is the name of an option, or of the argument of Python that it stands for (as run.toml has it), with dashes or
underscores. A value means what it means on the command line: relative paths start at the current folder, a repeated
option is a list, NAME=VALUE options may be a table. What the command line says wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seqsal.errors import SeqsalError, did_you_mean

__all__ = ["config_option"]

_TRUST = ("trust-model", "trust-pickle")
_NOT_IN_FILES = ("config", "help", "dry_run", "trust_model")


def _take(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    from seqsal.io.config import read_config

    if value is None:
        return
    verb = str(ctx.info_name)
    try:
        given = read_config(value, verb)
    except SeqsalError as error:
        raise click.UsageError(f"{error}.", ctx) from error
    options = _options(ctx.command)
    found: dict[str, Any] = {}
    for key, entry in given.items():
        if key.replace("_", "-") in _TRUST:
            raise click.UsageError(
                f"{value}: {key}: a file cannot say that a model is trusted; give --trust-model on the command line.",
                ctx,
            )
        option, is_negated = options.get(key.replace("_", "-"), (None, False))
        if option is None or option.name is None:
            hint = did_you_mean(key.replace("_", "-"), options) or f"; `seqsal {verb} --help` lists them"
            raise click.UsageError(f"{value}: {key}: no such option of {verb}{hint}.", ctx)
        if option.name in found:
            raise click.UsageError(f"{value}: {key}: given twice, by two of its names; keep one.", ctx)
        found[option.name] = _read(ctx, f"{value}: {key}", option, entry, is_negated)
    ctx.default_map = {**(ctx.default_map or {}), **found}


def _options(command: click.Command) -> dict[str, tuple[click.Option, bool]]:
    """Options of a command by name, and whether the name says no to it."""
    named: dict[str, tuple[click.Option, bool]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in _NOT_IN_FILES:
            named[str(option.name).replace("_", "-")] = (option, False)  # its name in Python, as run.toml has it
            named |= {name.lstrip("-"): (option, True) for name in option.secondary_opts}
            named |= {name.lstrip("-"): (option, False) for name in option.opts}
    return named


def _read(ctx: click.Context, where: str, option: click.Option, entry: Any, is_negated: bool) -> Any:
    """Check a value, and give it in the form that click takes from a command line."""
    if option.is_flag:
        if not isinstance(entry, bool):
            raise click.UsageError(f"{where}: got {_shown(entry)}, expected true or false.", ctx)
        return entry is not is_negated
    if isinstance(entry, Mapping):
        entries: list[Any] = [f"{name}={_spelled(one)}" for name, one in entry.items()]
    else:
        entries = entry if isinstance(entry, list) else [entry]
    if isinstance(entry, list) and not option.multiple:
        if option.name != "fail_on":
            raise click.UsageError(f"{where}: got a list, expected one value.", ctx)
        entries = [",".join(map(str, entries))]
    if not entries and (option.default or isinstance(option.show_default, str)):
        raise click.UsageError(f"{where}: got none, expected one or more.", ctx)
    for one in entries:
        _check(ctx, where, option, one)
    return entries if option.multiple else entries[0]


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(ctx: click.Context, where: str, option: click.Option, one: Any) -> None:
    """Raise unless `one` is of the option's type: what click would turn into it is not enough."""
    kinds, expected = _wanted(option.type)
    if (isinstance(one, bool) and bool not in kinds) or not isinstance(one, kinds):
        raise click.UsageError(f"{where}: got {_shown(one)}, expected {expected}.", ctx)
    try:
        option.type.convert(one, option, ctx)
    except (click.BadParameter, ValueError) as error:  # ValueError: a NUL in a path
        raise click.UsageError(f"{where}: {getattr(error, 'message', f'{error}.')}", ctx) from error


def _wanted(kind: click.ParamType) -> tuple[tuple[type, ...], str]:
    """Python types of a value, and what people call it."""
    if isinstance(kind, click.types.IntParamType):
        return (int,), "a whole number"
    if isinstance(kind, click.types.FloatParamType):
        return (int, float), "a number"
    if kind.name == "number or text":
        return (int, str), "a whole number or a text in quotes"
    if kind.name == "flag or number":
        return (bool, int), "true, false or a whole number"
    if kind.name == "number":
        return (int, str), "a whole number or 'auto'"
    return (str,), "a text in quotes"


def _shown(entry: Any) -> str:
    return _spelled(entry) if isinstance(entry, bool) else repr(entry)


config_option = click.option(
    "--config", type=click.Path(path_type=Path, readable=False), metavar="TOML", is_eager=True, expose_value=False,
    callback=_take, help="Read options from this file, by their names; the command line takes precedence.",
)  # fmt: skip
