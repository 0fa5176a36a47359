"""From evidence to a verdict: whether the map is faithful and plausible, and which shortcuts the model takes.

Each part of the audit gives its own criteria (:class:`seqsal.auditing.part.Reason`), with thresholds in
:class:`seqsal.auditing.settings.AuditSettings`.

*Faithful*: the map says what the model does. All criteria that could be tested must hold, and at least one that asks
the model about the bases of its input (deletion, insertion, mutagenesis) must have been tested:

==============  ======================================================================================================
deletion        taking away the bases that the map ranks first changes the output sooner than a random order: the
                interval of the paired difference of the areas lies above 0
insertion       the same for putting them back
ism             the mean correlation with in-silico mutagenesis is `min_ism_spearman` or more
completeness    attributions miss `max_completeness_error` or less of what they promise to add up to
randomization   with random weights in the model the map changes: their similarity is `max_randomized_similarity` or
                less
blindness       the map is blind at `max_blind_share` or less of the bases that the model relies on
==============  ======================================================================================================

*Plausible*: the map shows known biology. The share of attribution inside known motifs (or annotated regions) exceeds
that of matched positions: the interval of the difference lies above 0, and the difference is `min_gain` or more.

What could not be tested is None, and never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seqsal.auditing.part import FAILED, UNTESTED, PartResult, Reason, Shortcut, from_json, to_json
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import UsageError

__all__ = ["FAILURES", "Reason", "Verdict", "check_failures", "judge"]

FAILURES = ("shortcut", "unfaithful", "implausible")
N_TOLD = 3  # shortcuts that get a sentence of their own
_OUTPUTS = {name: name for name in ("logit", "probability", "count")} | {"log": "log output"}
_UNKNOWN_MASS = "how much of it lies in known motifs is not known"
_SENTENCES = {
    (True, True): "The map shows what the model uses, and this is known biology: {mass}.",
    (True, False): (
        "The map shows what the model uses, but this is not known biology: {mass}; the model has learned something "
        "else, or something that the given motifs do not cover."
    ),
    (True, None): "The map shows what the model uses; whether this is known biology was not tested.",
    (False, True): (
        "The map looks like biology but does not show what the model uses: {mass}, yet {failed}; do not conclude from "
        "it what the model has learned{advice}."
    ),
    (False, False): (
        "The map shows neither what the model uses ({failed}) nor known biology ({mass}); do not use it{advice}."
    ),
    (False, None): (
        "The map does not show what the model uses: {failed}; do not use it{advice}. Whether it shows known biology "
        "was not tested."
    ),
    (None, True): (
        "The map shows known biology: {mass}; whether it shows what the model uses was not tested, so this may be true "
        "of the map alone."
    ),
    (None, False): "The map does not show known biology: {mass}; whether it shows what the model uses was not tested.",
    (None, None): "Neither whether the map shows what the model uses nor whether it shows known biology was tested.",
}
_WITH_SHORTCUTS = "The map shows what the model uses, which is known biology in part ({mass}), and in part is not."


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
        content: dict[str, Any] = to_json(self)
        return content

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """Read what `audit.json` holds."""
        verdict: Verdict = from_json(cls, values)
        return verdict

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
    results: Mapping[str, PartResult], settings: AuditSettings | None = None, *, output: str = "unknown"
) -> Verdict:
    """Come to a verdict.

    Parameters
    ----------
    results
        By the names of the parts; those that are missing were not tested.
    settings
        The thresholds.
    output
        Space of the attributed output, such as `logit`.
    """
    settings = settings or AuditSettings()
    reasons = tuple(reason for result in results.values() for reason in result.reasons(settings))
    faithful, plausible = _conclude(reasons, "faithful"), _conclude(reasons, "plausible")
    called = _OUTPUTS.get(output, "output")
    shortcuts = [one for result in results.values() for one in result.shortcuts(called)]
    advised = next((result.advised_method for result in results.values() if result.advised_method), None)
    mass = next((one.sentence for one in reasons if one.about == "plausible" and one.sentence), _UNKNOWN_MASS)
    failed = [one.sentence for one in reasons if one.about == "faithful" and one.outcome == FAILED]
    sentence = _WITH_SHORTCUTS if shortcuts and faithful and plausible else _SENTENCES[faithful, plausible]
    advice = f", try {advised}" if advised else ""
    caveats = [caveat for result in results.values() for caveat in result.caveats()]
    text = [sentence.format(mass=mass, failed=" and ".join(failed), advice=advice), *caveats, *_told(shortcuts)]
    return Verdict(faithful, plausible, tuple(one.name for one in shortcuts), " ".join(text), reasons)


def _conclude(reasons: Iterable[Reason], about: str) -> bool | None:
    """Return False where a criterion failed, True where none did and a decisive one was tested."""
    tested = [reason for reason in reasons if reason.about == about and reason.outcome != UNTESTED]
    if any(reason.outcome == FAILED for reason in tested):
        return False
    return True if any(reason.is_decisive for reason in tested) else None


def _told(shortcuts: list[Shortcut]) -> list[str]:
    more = ", ".join(one.name for one in shortcuts[N_TOLD:])
    return [*(one.sentence for one in shortcuts[:N_TOLD]), *([f"It also uses {more}."] if more else [])]
