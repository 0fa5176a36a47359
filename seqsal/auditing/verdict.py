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

*Weights.* A criterion that fails overturns the answer (no), or lowers it (yes becomes in part), or is only noted, as
its :class:`~seqsal.auditing.part.Weight` says. The lowering ones of *faithful*:

==============  ======================================================================================================
linearity       sums of what the map gives say what two or three substitutions do, in half of the regions or more
stability       the map stays as it is after substitutions that leave the prediction as it is
peaks           replacing its peaks does not change the output less than replacing as many bases elsewhere
labels          the map of a network trained on permuted labels is another one
==============  ======================================================================================================

An answer that rests on fewer than `MIN_REGIONS` regions is *not enough data*. What is neither yes nor no is None in
`audit.json`, with its word in `said`; it is never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from seqsal.auditing.part import (
    FAILED,
    MIN_REGIONS,
    PASSED,
    TOO_FEW,
    PartResult,
    Reason,
    Weight,
    from_json,
    to_json,
)
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import UsageError

__all__ = ["FAILURES", "Answer", "Reason", "Verdict", "check_failures", "judge"]

FAILURES = ("shortcut", "unfaithful", "implausible")
N_TOLD = 3  # shortcuts that get a sentence of their own
_OUTPUTS = {name: name for name in ("logit", "probability", "count")} | {"log": "log output"}
_UNKNOWN_MASS = "how much of it lies in known motifs is not known"


class Answer(StrEnum):
    """What is said of the map: whether it is faithful, or plausible."""

    YES = "yes"
    IN_PART = "in part"
    NO = "no"
    TOO_FEW = "not enough data"
    UNTESTED = "not tested"


_OPEN = {
    Answer.UNTESTED: "was not tested",
    Answer.TOO_FEW: f"cannot be told from fewer than {MIN_REGIONS} regions",
}
_SHOWN = {  # faithful, when it is no open question; None stands for a plausible that is one
    (Answer.YES, Answer.YES): "The map shows what the model uses, and this is known biology: {mass}.",
    (Answer.YES, Answer.NO): (
        "The map shows what the model uses, but this is not known biology: {mass}; the model has learned something "
        "else, or something that the given motifs do not cover."
    ),
    (Answer.YES, None): "The map shows what the model uses; whether this is known biology {plausible}.",
    (Answer.IN_PART, Answer.YES): (
        "The map shows what the model uses only in part: {failed}. What it shows is known biology: {mass}."
    ),
    (Answer.IN_PART, Answer.NO): (
        "The map shows what the model uses only in part: {failed}. What it shows is not known biology: {mass}."
    ),
    (Answer.IN_PART, None): (
        "The map shows what the model uses only in part: {failed}. Whether it shows known biology {plausible}."
    ),
    (Answer.NO, Answer.YES): (
        "The map looks like biology but does not show what the model uses: {mass}, yet {failed}; do not conclude from "
        "it what the model has learned{advice}."
    ),
    (Answer.NO, Answer.NO): (
        "The map shows neither what the model uses ({failed}) nor known biology ({mass}); do not use it{advice}."
    ),
    (Answer.NO, None): (
        "The map does not show what the model uses: {failed}; do not use it{advice}. Whether it shows known biology "
        "{plausible}."
    ),
    (None, Answer.YES): (
        "The map shows known biology: {mass}; whether it shows what the model uses {faithful}, so this may be true of "
        "the map alone."
    ),
    (None, Answer.NO): (
        "The map does not show known biology: {mass}; whether it shows what the model uses {faithful}."
    ),
    (None, None): (
        "Whether the map shows what the model uses {faithful}, and whether it shows known biology {plausible}."
    ),
}
_NOTHING = "Neither whether the map shows what the model uses nor whether it shows known biology was tested."
_WITH_SHORTCUTS = "The map shows what the model uses, which is known biology in part ({mass}), and in part is not."


@dataclass(frozen=True)
class Verdict:
    """What an audit comes to.

    `faithful`, `plausible`: None where it is neither true nor false. `shortcuts`: names of what the model uses that is
    not biology. `text`: all of it in a sentence or a few. `reasons`: the criteria. `said`: the :class:`Answer` to
    `faithful`, to `plausible`, and to `shortcuts` where these were not tested.
    """

    faithful: bool | None
    plausible: bool | None
    shortcuts: tuple[str, ...]
    text: str
    reasons: tuple[Reason, ...] = field(default=(), repr=False)
    said: dict[str, str] = field(default_factory=dict, repr=False)

    def answer(self, about: str) -> Answer:
        """Return the answer to `faithful` or `plausible` in a word."""
        plain = {True: Answer.YES, False: Answer.NO, None: Answer.UNTESTED}[getattr(self, about)]
        return Answer(self.said.get(about, plain))  # verdicts of earlier versions have no words

    @property
    def answers(self) -> str:
        """The three answers in one line: `faithful: yes · plausible: not tested · shortcuts: none found`."""
        said = [f"{about}: {self.answer(about)}" for about in ("faithful", "plausible")]
        return " · ".join([*said, f"shortcuts: {', '.join(self.shortcuts) or self.no_shortcuts}"])

    @property
    def no_shortcuts(self) -> str:
        """What to say where no shortcut was found: with too few regions for any answer, they could not be."""
        if "shortcuts" in self.said:
            return self.said["shortcuts"]
        is_open = {self.answer(about) for about in ("faithful", "plausible")} <= {Answer.TOO_FEW, Answer.UNTESTED}
        return str(Answer.TOO_FEW) if is_open and Answer.TOO_FEW in self.said.values() else "none found"

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
        """Return, for each of `FAILURES` that is named and holds, what it is and why."""
        found = {
            "shortcut": (bool(self.shortcuts), ", ".join(self.shortcuts)),
            "unfaithful": (self.faithful is False, self._why("faithful")),
            "implausible": (self.plausible is False, self._why("plausible")),
        }
        return [f"{name} ({found[name][1]})" for name in check_failures(names) if found[name][0]]

    def undecided(self, names: Iterable[str]) -> dict[str, Answer]:
        """Return those of the names that cannot be told to hold or not, with the answer there is."""
        about = {"unfaithful": "faithful", "implausible": "plausible"}
        named = {name: about[name] for name in check_failures(names) if name in about}
        found = {name: self.answer(one) for name, one in named.items() if getattr(self, one) is None}
        if "shortcut" in names and "shortcuts" in self.said:
            found["shortcut"] = Answer(self.said["shortcuts"])
        return found

    def _why(self, about: str) -> str:
        failed = (one for one in self.reasons if one.about == about and one.outcome == FAILED)
        return "; ".join(str(one) for one in failed if one.weight == Weight.OVERTURNS)


def check_failures(names: Iterable[str]) -> list[str]:
    """Return the names, each once, if all are among `FAILURES`."""
    once = list(dict.fromkeys(names))
    for name in once:
        if name not in FAILURES:
            raise UsageError(f"fail-on: got {name!r}, expected some of {', '.join(FAILURES)}, separated by commas")
    return once


def judge(
    results: Mapping[str, PartResult], settings: AuditSettings | None = None, *, output: str = "unknown"
) -> Verdict:
    """Come to a verdict from the parts' results by name; `output` is the space of the attributed output."""
    settings = settings or AuditSettings()
    reasons = tuple(reason for result in results.values() for reason in result.reasons(settings))
    said = {about: conclude(reasons, about) for about in ("faithful", "plausible")}
    called = _OUTPUTS.get(output, "output")
    shortcuts = [one for result in results.values() for one in result.shortcuts(called)]
    text = [_sentence(said, reasons, results, bool(shortcuts))]
    text += [one.sentence for one in reasons if one.weight == Weight.NOTES]
    text += [one.sentence for one in shortcuts[:N_TOLD]]
    if more := ", ".join(one.name for one in shortcuts[N_TOLD:]):
        text.append(f"It also uses {more}.")
    if not shortcuts and any(result.leaves_shortcuts_open for result in results.values()):
        said["shortcuts"] = Answer.UNTESTED
    plain = {Answer.YES: True, Answer.NO: False}
    return Verdict(
        plain.get(said["faithful"]),
        plain.get(said["plausible"]),
        tuple(one.name for one in shortcuts),
        " ".join(text),
        reasons,
        {about: str(answer) for about, answer in said.items()},
    )


def conclude(reasons: Iterable[Reason], about: str) -> Answer:
    """Answer from the criteria: each does what its weight says, and a yes needs a decisive one that passed."""
    own = [reason for reason in reasons if reason.about == about]
    failed = {reason.weight for reason in own if reason.outcome == FAILED}
    if Weight.OVERTURNS in failed:
        return Answer.NO
    if not any(reason.is_decisive and reason.outcome == PASSED for reason in own):
        return Answer.TOO_FEW if any(reason.outcome == TOO_FEW for reason in own) else Answer.UNTESTED
    return Answer.IN_PART if Weight.LOWERS in failed else Answer.YES


def _sentence(
    said: Mapping[str, Answer], reasons: Iterable[Reason], results: Mapping[str, PartResult], has_shortcuts: bool
) -> str:
    """Say both answers in a sentence or two."""
    keys = tuple(None if answer in _OPEN else answer for answer in said.values())
    if set(said.values()) == {Answer.UNTESTED}:
        return _NOTHING
    decides = Weight.LOWERS if said["faithful"] == Answer.IN_PART else Weight.OVERTURNS
    about = [one for one in reasons if one.outcome == FAILED and one.about == "faithful" and one.weight == decides]
    mass = next((one.sentence for one in reasons if one.about == "plausible" and one.sentence), _UNKNOWN_MASS)
    advised = next((result.advised_method for result in results.values() if result.advised_method), None)
    form = _WITH_SHORTCUTS if has_shortcuts and keys == (Answer.YES, Answer.YES) else _SHOWN[keys]  # type: ignore[index]
    return form.format(
        mass=mass,
        failed=" and ".join(one.sentence for one in about),
        advice=f", try {advised}" if advised else "",
        **{about: _OPEN.get(answer, "") for about, answer in said.items()},
    )
