"""Configuration files (TOML): options of a verb by name, at the top level or in a table of the verb's name."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from typing import Any

from seqsal.errors import UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.content import read_content

__all__ = ["read_config", "write_config"]


def read_config(path: str | os.PathLike[str], verb: str) -> dict[str, Any]:
    """Read the values for a verb such as `run`, at the top level of a TOML file or in a table named for the verb.

    UsageError: the file is missing or not TOML, or holds values both at its top level and in the verb's table.
    """
    try:
        content = tomllib.loads(read_content(path, "TOML file", UsageError).data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"{path}: not TOML ({reason}), expected lines like fdr = 0.1; put texts in quotes") from error
    own = content.get(verb)
    if not isinstance(own, dict):
        return content
    loose = next((key for key, value in content.items() if not isinstance(value, dict)), None)
    if loose is not None:
        raise UsageError(f"{path}: {loose} stands outside the table [{verb}]; move it below that line")
    return own


def write_config(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write values (texts, numbers, truth values, lists and tables of these) as the top level of a TOML file."""
    lines = [f"{_key(key)} = {_toml(value)}" for key, value in values.items()]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8", errors="replace")


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("-", "").replace("_", "").isalnum() else _text(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_toml(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, (int, float)) else _text(str(value))


def _text(value: str) -> str:
    """Quote as JSON does, whose escapes TOML shares, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
