"""`seqsal audit`: whether a map can be believed, as `audit.json`, and where the shortcuts are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqsal.auditing import audit
from seqsal.commands.arguments import READING, PathArgument, check_ending, told_reading
from seqsal.io.atomic import check_writable
from seqsal.io.store import read_attributions

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = ["audit_to_file"]


def audit_to_file(
    attributions: PathArgument,
    out: PathArgument,
    *,
    model: str | None = None,
    other_models: Sequence[str] = (),
    result: str | None = None,
    fail_on: Sequence[str] = (),
    **arguments: Any,
) -> AuditResult:
    """Do what `seqsal audit` does: audit attributions, write `audit.json` and where the shortcuts are beside it.

    Parameters
    ----------
    attributions
        Attribution file.
    out
        `audit.json`; `audit.shortcuts.bed` goes beside it.
    model, other_models
        As :func:`seqsal.load_model` takes them; read as the attributions say, unless `arguments` say otherwise.
    result
        Which result of the attribution file; None is the first.
    fail_on
        Checked here for unknown names; what follows from them is for the caller.
    arguments
        Those of :func:`seqsal.audit`, and of how to read the model.
    """
    from seqsal.auditing.given import load_audited
    from seqsal.auditing.verdict import check_failures

    check_ending(out, ".json")
    bed = Path(out).with_suffix(".shortcuts.bed")
    check_writable(bed)
    check_failures(fail_on)
    reading = told_reading({name: arguments.pop(name) for name in READING if name in arguments})
    attr = read_attributions(attributions, result, in_memory=False)
    reading["device"] = arguments.get("device", "auto")
    first, *others = [None if one is None else load_audited(one, attr, **reading) for one in (model, *other_models)]
    found = audit(first, attr, other_models=[one for one in others if one is not None], **arguments)
    found.to_json(out)
    found.write_shortcuts_bed(bed)
    return found
