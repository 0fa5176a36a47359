"""What is known of a file, as text with aligned columns and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqsal.errors import one_line

__all__ = ["FileInfo", "size_text", "table_text", "version_facts"]

_HASH_DIGITS = 12


@dataclass(frozen=True)
class FileInfo:
    """What a file or folder is and where it comes from."""

    path: Path
    kind: str  # such as `attributions`
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON values by name, in the order in which they are told
    n_bytes: int = 0  # of a folder, of all that is in it

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values; NaN and infinities become None."""
        everything = {"path": str(self.path), "kind": self.kind, "n_bytes": self.n_bytes, **self.facts}
        plain: dict[str, Any] = _plain(everything)
        return plain

    def to_json(self) -> str:
        """Write :meth:`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def summary(self) -> str:
        """Say what it is, then its facts in two columns."""
        rows = [row for name, value in self.facts.items() for row in _rows(_label(name), value)]
        return f"{self.path}: {self.kind}, {size_text(self.n_bytes)}\n{table_text(rows)}".rstrip()


def version_facts(made_by: Any, schema: Any, known: int) -> dict[str, Any]:
    """Say what wrote a file, and whether this version can read it."""
    facts: dict[str, Any] = {"written_by": f"seqsal {made_by or 'of an unknown version'}", "schema": schema}
    if schema == known:
        return facts
    is_newer = isinstance(schema, int) and schema > known
    remedy = "upgrade seqsal" if is_newer else "make it again with this version"
    return {**facts, "unreadable": f"this seqsal reads schema {known}; {remedy}"}


def size_text(n_bytes: float) -> str:
    """Write a number of bytes with a decimal unit: `1.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:,.0f} {unit}" if unit == "bytes" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"


def table_text(rows: Sequence[tuple[str, str]]) -> str:
    """Write names and values in two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def _label(key: str) -> str:
    """Name of a fact as people read it: `n_regions` is `regions`, `length_bp` is `length (bp)`."""
    text = key.removeprefix("n_").replace("_", " ")
    return f"{text.removesuffix(' bp')} (bp)" if text.endswith(" bp") else text


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    """Lines of one fact: several of a list of tables or sentences, and of a table of tables."""
    if isinstance(value, Sequence) and any(isinstance(one, Mapping) or " " in str(one) for one in value):
        lines = [value] if isinstance(value, str) else value
        return [("" if i else name, _text(one)) for i, one in enumerate(lines)]
    if not isinstance(value, Mapping):
        return [(name, _text(value))]
    nested = {key: one for key, one in value.items() if isinstance(one, Mapping) and one}
    plain = {key: one for key, one in value.items() if key not in nested}
    rows = [(name, _text(plain))] if plain or not nested else []
    return rows + [(f"{name}: {_label(key)}", _text(one)) for key, one in nested.items()]


def _text(value: Any, key: str = "") -> str:
    """Write a value in one line; `key` tells sizes and checksums."""
    if isinstance(value, Mapping):
        texts = {name: _text(one, name) for name, one in value.items()}
        bare = ("file", "name", "text", "n_bytes")
        return ", ".join(one if name in bare else f"{_label(name)} {one}" for name, one in texts.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if key == "n_bytes":
        return size_text(value)
    if key.endswith("sha256"):
        return str(value)[:_HASH_DIGITS]
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return one_line(" ".join(str(value).split()))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
