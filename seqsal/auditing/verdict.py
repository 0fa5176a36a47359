"""From evidence to a verdict: whether the map is faithful and plausible, and which shortcuts the model takes.

Every criterion has a threshold in :class:`seqsal.auditing.settings.AuditSettings`, and leaves a reason behind.

*Faithful*: the map says what the model does. All criteria that could be tested must hold, and at least one that asks
the model about the bases of its input (deletion, insertion, mutagenesis) must have been tested:

==============  ======================================================================================================
deletion        taking away the bases that the map ranks first changes the output sooner than a random order: the
                interval of the paired difference of the areas lies above 0
insertion       the same for putting them back
ism             the mean correlation with in-silico mutagenesis is `min_ism_spearman` or more
randomization   with random weights in the model the map changes: their similarity is `max_randomized_similarity` or
                less
completeness    attributions miss `max_completeness_error` or less of what they promise to add up to
blindness       the map is blind at `max_blind_share` or less of the bases that the model relies on
==============  ======================================================================================================

*Plausible*: the map shows known biology. The share of attribution inside known motifs (or annotated regions) exceeds
that of matched positions: the interval of the difference lies above 0, and the difference is `min_gain` or more.

What could not be tested is None, and never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seqsal.auditing.section import AuditSection
from seqsal.auditing.sentences import shortcut_sentences, verdict_sentence
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import UsageError

__all__ = ["FAILURES", "Reason", "Verdict", "check_failures", "judge"]

FAILURES = ("shortcut", "unfaithful", "implausible")
PASSED, FAILED, NOT_TESTED = "passed", "failed", "not tested"
_ASKS_MODEL = ("deletion", "insertion", "ism")
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """One criterion of a verdict.

    Attributes
    ----------
    about
        `faithful` or `plausible`.
    name
        Of the criterion.
    got
        What was measured; for a difference, its interval's lower end. None when it was not.
    needed
        What it takes to pass.
    outcome
        `passed`, `failed` or `not tested`.
    """

    about: str
    name: str
    got: float | None
    needed: str
    outcome: str

    def __str__(self) -> str:
        got = "" if self.got is None else f": {self.got:.3g}"
        return f"{self.name}{got} (needed {self.needed}), {self.outcome}"


@dataclass(frozen=True)
class Verdict:
    """What an audit comes to.

    Attributes
    ----------
    faithful, plausible
        None where it could not be tested.
    shortcuts
        Names of what the model uses that is not biology.
    text
        All of it in a sentence or a few.
    reasons
        The criteria.
    """

    faithful: bool | None
    plausible: bool | None
    shortcuts: tuple[str, ...]
    text: str
    reasons: tuple[Reason, ...] = ()

    @property
    def answers(self) -> str:
        """The three answers in one line: `faithful: yes · plausible: not tested · shortcuts: none found`."""
        said = {True: "yes", False: "no", None: "not tested"}
        shortcuts = ", ".join(self.shortcuts) or "none found"
        return f"faithful: {said[self.faithful]} · plausible: {said[self.plausible]} · shortcuts: {shortcuts}"

    def as_dict(self) -> dict[str, Any]:
        """Return what `audit.json` holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Read what `audit.json` holds."""
        return cls(
            values["faithful"],
            values["plausible"],
            tuple(values["shortcuts"]),
            values["text"],
            tuple(Reason(**reason) for reason in values["reasons"]),
        )

    def failures(self, names: Iterable[str]) -> list[str]:
        """Return, for each of `FAILURES` that is named and holds, what it is and why.

        Raises
        ------
        UsageError
            A name that is none of them.
        """
        holds = {
            "shortcut": bool(self.shortcuts),
            "unfaithful": self.faithful is False,
            "implausible": self.plausible is False,
        }
        why = {
            "shortcut": ", ".join(self.shortcuts),
            "unfaithful": self._why("faithful"),
            "implausible": self._why("plausible"),
        }
        return [f"{name} ({why[name]})" for name in check_failures(names) if holds[name]]

    def undecided(self, names: Iterable[str]) -> list[str]:
        """Return those of the names whose answer is None, so that they cannot be told to hold or not."""
        answers = {"shortcut": True, "unfaithful": self.faithful, "implausible": self.plausible}
        return [name for name in check_failures(names) if answers[name] is None]

    def _why(self, about: str) -> str:
        return "; ".join(str(one) for one in self.reasons if one.about == about and one.outcome == FAILED)


def check_failures(names: Iterable[str]) -> list[str]:
    """Return the names, each once, if all are among `FAILURES`.

    Raises
    ------
    UsageError
        A name that is none of them.
    """
    once = list(dict.fromkeys(names))
    for name in once:
        if name not in FAILURES:
            raise UsageError(f"fail-on: got {name!r}, expected some of {', '.join(FAILURES)}, separated by commas")
    return once


def judge(
    sections: Mapping[str, AuditSection],
    settings: AuditSettings | None = None,
    *,
    method: str = "unknown",
    output: str = "unknown",
) -> Verdict:
    """Come to a verdict.

    Parameters
    ----------
    sections
        By their keys in `audit.json`; those that are missing were not tested.
    settings
        The thresholds.
    method
        That made the map: one of in-silico mutagenesis is not compared with itself.
    output
        Space of the attributed output, such as `logit`.
    """
    settings = settings or AuditSettings()
    reasons = (*_faithful_reasons(sections, settings, method), *_plausible_reasons(sections, settings))
    faithful, plausible = _conclude(reasons, "faithful", _ASKS_MODEL), _conclude(reasons, "plausible")
    used = _shortcuts(sections)
    recommended = _values(sections, "saturation").get("recommended_method")
    sentences = [
        verdict_sentence(
            faithful, plausible, reasons, _values(sections, "plausibility"), recommended, takes_shortcuts=bool(used)
        ),
        *shortcut_sentences(used, output),
    ]
    return Verdict(faithful, plausible, tuple(str(one["name"]) for one in used), " ".join(sentences), reasons)


def _conclude(reasons: Iterable[Reason], about: str, needs: tuple[str, ...] = ()) -> bool | None:
    """Return False where a criterion failed, True where none did and one of `needs`, or any, was tested."""
    tested = [reason for reason in reasons if reason.about == about and reason.outcome != NOT_TESTED]
    if any(reason.outcome == FAILED for reason in tested):
        return False
    return True if any(not needs or reason.name in needs for reason in tested) else None


def _faithful_reasons(sections: Mapping[str, AuditSection], settings: AuditSettings, method: str) -> tuple[Reason, ...]:
    curves, sanity = _values(sections, "faithfulness"), _values(sections, "sanity")
    correlation = None if method == "ism" else curves.get("ism_spearman")
    blind = _values(sections, "saturation").get("blind_share")
    above = f"an interval ({settings.confidence:.0%}) of the gain over random order above 0"
    return (
        _above("faithful", "deletion", _lower(curves.get("deletion")), 0.0, above, strict=True),
        _above("faithful", "insertion", _lower(curves.get("insertion")), 0.0, above, strict=True),
        _above("faithful", "ism", correlation, settings.min_ism_spearman),
        _below("faithful", "randomization", sanity.get("randomized_similarity"), settings.max_randomized_similarity),
        _below("faithful", "completeness", curves.get("completeness_error"), settings.max_completeness_error),
        _below("faithful", "blindness", blind, settings.max_blind_share),
    )


def _plausible_reasons(sections: Mapping[str, AuditSection], settings: AuditSettings) -> tuple[Reason, ...]:
    values = _values(sections, "plausibility")
    needed = "an interval of the gain over matched positions above 0"
    return (
        _above("plausible", "known biology", _lower(values), 0.0, needed, strict=True),
        _above("plausible", "gain over matched positions", values.get("gain"), settings.min_gain),
    )


def _above(
    about: str, name: str, got: float | None, least: float, needed: str | None = None, *, strict: bool = False
) -> Reason:
    known = _known(got)
    holds = known is not None and (known > least if strict else known >= least)
    return Reason(about, name, known, needed or f"{least:g} or more", _outcome(known, holds))


def _below(about: str, name: str, got: float | None, most: float) -> Reason:
    known = _known(got)
    return Reason(about, name, known, f"{most:g} or less", _outcome(known, known is not None and known <= most))


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _outcome(got: float | None, holds: bool) -> str:
    return NOT_TESTED if got is None else PASSED if holds else FAILED


def _lower(values: Values | None) -> float | None:
    """Lower end of the interval of a gain over chance; None where nothing that was tried made any difference."""
    interval = (values or {}).get("ci")
    return None if interval is None or tuple(interval) == (0, 0) else interval[0]


def _values(sections: Mapping[str, AuditSection], name: str) -> Values:
    return sections[name].values if name in sections else {}


def _shortcuts(sections: Mapping[str, AuditSection]) -> list[Values]:
    found = sections["artifacts"].values if "artifacts" in sections else []
    return [one for one in found if one["verdict"] == "shortcut"]
