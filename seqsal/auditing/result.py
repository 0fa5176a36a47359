"""What an audit found, in Python and as `audit.json`.

`audit.json` (schema 1) holds `verdict`, one key a part (the names in :data:`seqsal.auditing.parts.PARTS`), and
`warnings`, `untested`, `settings` and `provenance`. Numbers have six significant digits, what could not be had is null,
and the same inputs give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from textwrap import wrap
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from seqsal.auditing.part import R, Results
from seqsal.auditing.parts import PARTS, load_part
from seqsal.auditing.settings import FORMER, AuditSettings
from seqsal.auditing.verdict import Verdict
from seqsal.errors import StoreError, UsageError
from seqsal.io.atomic import atomic_path
from seqsal.io.bed import write_bed
from seqsal.regions import make_regions

__all__ = ["REMEDY", "RETRAIN", "SCHEMA", "AuditResult", "part_lines", "read_audit"]

SCHEMA = 1
DIGITS = 6


@dataclass(frozen=True, repr=False, eq=False)
class AuditResult:
    """Evidence and verdict of an audit.

    Attributes
    ----------
    verdict
        Whether the map is faithful and plausible, the shortcuts, a sentence, and the reasons.
    results
        What each part found, a frozen dataclass each, by its key in `audit.json`.
    warnings
        What to know before trusting the verdict, a sentence each.
    untested
        What was not tested, and why, a sentence each.
    settings
        Sizes and thresholds.
    provenance
        What was audited: attributions, model, files.
    seconds
        Wall time of each part; not in `audit.json`.

    Examples
    --------
    >>> from seqsal.auditing.part import Results
    >>> from seqsal.auditing.verdict import Verdict
    >>> audit = AuditResult(Verdict(True, None, (), "The map shows what the model uses."), Results())
    >>> print(audit)
    The map shows what the model uses.
    faithful: yes · plausible: not tested · shortcuts: none found
    """

    verdict: Verdict
    results: Results
    warnings: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    settings: AuditSettings = field(default_factory=AuditSettings)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Numbers of a part by their keys in `audit.json`."""
        if name not in self.results:
            raise UsageError(f"audit: has no part {name!r}, expected one of {', '.join(self.results)}")
        return self.results[name].to_json()

    def of(self, kind: type[R]) -> R | None:
        """Return the result of a part by its type; None where that part was not run.

        Examples
        --------
        >>> from seqsal.auditing.parts.sanity import SanityResult
        >>> AuditResult(Verdict(None, None, (), ""), Results()).of(SanityResult) is None
        True
        """
        return self.results.of(kind)

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """All tables by `part.name`; none in an audit that was read from a file."""
        parts = self.results.items()
        return MappingProxyType({f"{part}.{name}": one for part, found in parts for name, one in found.tables.items()})

    def table(self, name: str) -> pd.DataFrame:
        """Return a table by `part.name`, or by its name alone where only one part has a table of that name.

        Raises
        ------
        UsageError
            There is no such table, or there are several.

        Examples
        --------
        >>> import pandas as pd
        >>> from seqsal.auditing.part import PartResult
        >>> found = Results(faithfulness=PartResult(tables={"deletion": pd.DataFrame({"share": [0.0, 1.0]})}))
        >>> len(AuditResult(Verdict(None, None, (), ""), found).table("deletion"))
        2
        """
        tables = self.tables
        found = [name] if name in tables else [full for full in tables if full.partition(".")[2] == name]
        if len(found) != 1:
            problem = "several tables are called" if found else "there is no table"
            raise UsageError(f"audit: {problem} {name!r}, expected one of {', '.join(found or tables) or '(none)'}")
        return tables[found[0]]

    def as_dict(self) -> dict[str, Any]:
        """Return what `audit.json` holds.

        Examples
        --------
        >>> AuditResult(Verdict(True, None, (), "Faithful."), Results()).as_dict()["verdict"]["faithful"]
        True
        """
        content = {
            "schema": SCHEMA,
            "verdict": self.verdict.as_dict(),
            **{name: found.to_json() for name, found in self.results.items()},
            "warnings": self.warnings,
            "untested": self.untested,
            "why_not": {name: found.why_not for name, found in self.results.items() if found.why_not},
            "settings": asdict(self.settings),
            "provenance": self.provenance,
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    def to_json(self, path: str | os.PathLike[str]) -> Path:
        """Write `audit.json`.

        Raises
        ------
        OutputError
            The file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> audit = AuditResult(Verdict(True, None, (), "Faithful."), Results())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_audit(audit.to_json(pathlib.Path(folder) / "audit.json")).verdict.text
        'Faithful.'
        """
        text = json.dumps(self.as_dict(), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return Path(path)

    def write_shortcuts_bed(self, path: str | os.PathLike[str]) -> Path:
        """Write where the shortcuts are in the regions audited, as BED6 in order of position; empty without any.

        Raises
        ------
        OutputError
            The file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> audit = AuditResult(Verdict(True, None, (), "Faithful."), Results())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     audit.write_shortcuts_bed(pathlib.Path(folder) / "shortcuts.bed").read_text()
        ''
        """
        write_bed(self.shortcut_hits, path)
        return Path(path)

    @property
    def shortcut_hits(self) -> pd.DataFrame:
        """Region table of the occurrences of shortcuts in the regions audited, in order of position."""
        hits = self.tables.get("artifacts.hits")
        if hits is None or hits.empty:
            return make_regions([], [], [])
        hits = hits[hits["verdict"] == "shortcut"].drop_duplicates(["chrom", "start", "end", "name", "strand"])
        hits = hits.sort_values(["chrom", "start", "end", "name", "strand"], kind="stable")
        columns = {key: hits[key].to_numpy() for key in ("name", "score", "strand")}
        return make_regions(hits["chrom"].to_numpy(), hits["start"].to_numpy(), hits["end"].to_numpy(), **columns)

    def __repr__(self) -> str:
        return text_summary(self)

    def _repr_html_(self) -> str:
        return html_summary(self)


def read_audit(path: str | os.PathLike[str]) -> AuditResult:
    """Read `audit.json` back; the tables of an audit are not in it.

    Raises
    ------
    StoreError
        The file is missing, is not an audit, or is of a newer schema.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "audit.json"
    ...     _ = AuditResult(Verdict(False, None, (), "Not faithful."), Results()).to_json(path)
    ...     read_audit(path).verdict.faithful
    False
    """
    content = _read_json(Path(path))
    if content.get("schema") != SCHEMA:
        raise StoreError(f"{path}: schema {content.get('schema')!r}, expected {SCHEMA}; audit again with this version")
    try:
        why_not = content.get("why_not", {})  # which files of earlier versions lack
        return AuditResult(
            verdict=Verdict.from_dict(content["verdict"]),
            results=Results(
                {
                    name: load_part(name).result.from_json(content[name]).told(why_not.get(name, {}))
                    for name in PARTS
                    if name in content
                }
            ),
            warnings=tuple(content["warnings"]),
            untested=tuple(content["untested"]),
            settings=AuditSettings().changed(
                {name: value for name, value in content["settings"].items() if name not in FORMER}
            ),
            provenance=content["provenance"],
        )
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise StoreError(f"{path}: damaged audit ({error!r}); make it again with `seqsal audit`") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; check the path, or make it with `seqsal audit`") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({error}), expected an audit.json of seqsal") from error
    if not isinstance(content, dict) or "verdict" not in content:
        raise StoreError(f"{path}: has no verdict, expected an audit.json of seqsal; give the file of `seqsal audit`")
    return content


def _plain(value: Any) -> Any:
    """Turn numpy scalars, tuples and mappings into JSON's own; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, str) else str(value)


WIDTH = 120
N_LINES = 2  # of the warnings, and of what was not tested
_LABEL = 15
NOTHING = "nothing could be tested"
RETRAIN = "seqsal retrain --model M.safetensors --audit audit.json --positives P.bed --genome G.fa --out M2.safetensors"
REMEDY = "trains a checkpoint of seqsal train again without what is not biology, and audits it again"


def text_summary(result: AuditResult) -> str:
    """Write the verdict, a line for each part, and the first warnings, about twenty lines in all."""
    verdict = result.verdict
    rows = [_row(part, line) for part, line in part_lines(result).items()]
    rows += [_row("remedy", f"{RETRAIN} {REMEDY}")] * bool(verdict.shortcuts)
    notes = [*_notes("warning", result.warnings), *_notes("not tested", result.untested)]
    return "\n".join([*wrap(verdict.text, WIDTH), verdict.answers, *rows, *notes])


def html_summary(result: AuditResult) -> str:
    """Write the same as a table that stands on its own, on light and dark pages."""
    verdict = result.verdict
    rows = [("verdict", verdict.answers), *part_lines(result).items()]
    rows += [("remedy", f"{RETRAIN} {REMEDY}")] * bool(verdict.shortcuts)
    rows += [("warning", line) for line in result.warnings] + [("not tested", line) for line in result.untested]
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(line)}</td></tr>" for name, line in rows)
    return f'<div class="seqsal-audit">{_STYLE}<p>{escape(verdict.text)}</p><table>{cells}</table></div>'


_STYLE = (
    "<style>.seqsal-audit{font:14px/1.45 system-ui,sans-serif;max-width:64em}"
    ".seqsal-audit p{border-left:4px solid #2a78d6;padding:.2em .8em;margin:.4em 0}"
    ".seqsal-audit table{border-collapse:collapse}"
    ".seqsal-audit th,.seqsal-audit td{text-align:left;vertical-align:top;padding:.15em .8em .15em 0;"
    "background:none;border-bottom:1px solid #8884}.seqsal-audit th{font-weight:600;white-space:nowrap}</style>"
)


def part_lines(result: AuditResult) -> dict[str, str]:
    """Return one line with the numbers that matter for each part that was run."""
    return {name: "; ".join(map(str, part.facts(result.settings))) or NOTHING for name, part in result.results.items()}


def _row(label: str, text: str) -> str:
    first, *rest = wrap(text, WIDTH - _LABEL) or [""]
    return "\n".join([f"{label:<{_LABEL}}{first}", *(" " * _LABEL + line for line in rest)])


def _notes(label: str, lines: Sequence[str]) -> list[str]:
    shown = [_row(label, line) for line in lines[:N_LINES]]
    more = len(lines) - N_LINES
    return [*shown, *([_row(label, f"… and {more} more")] if more > 0 else [])]
