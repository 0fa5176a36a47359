"""The verdict in sentences that a biologist understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["criterion_sentence", "shortcut_sentences", "verdict_sentence"]

N_TOLD = 3  # shortcuts that get a sentence of their own
Values = Mapping[str, Any]

_OUTPUTS = {name: name for name in ("logit", "probability", "count")} | {"log": "log output"}
_FAILED = {
    "deletion": "taking away the bases that it ranks first changes the output no more than taking away random ones",
    "insertion": "putting back the bases that it ranks first restores the output no more than putting back random ones",
    "ism": "it hardly agrees with the effects of single substitutions (correlation {got:.2f})",
    "randomization": "it barely changes when the model's weights are made random (similarity {got:.2f})",
    "completeness": "it misses {got:.0%} of what it should add up to",
    "blindness": "it shows nothing at {got:.0%} of the bases that the model relies on",
}
_VERDICTS = {
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
_BESIDE_SHORTCUTS = "The map shows what the model uses, which is known biology in part ({mass}), and in part is not."


class Criterion(Protocol):
    """What a sentence needs to know of a criterion."""

    @property
    def name(self) -> str:
        """Of the criterion."""

    @property
    def got(self) -> float | None:
        """What was measured."""

    @property
    def outcome(self) -> str:
        """`passed`, `failed` or `not tested`."""


def verdict_sentence(
    faithful: bool | None,
    plausible: bool | None,
    criteria: Iterable[Criterion],
    plausibility: Values,
    recommended: str | None = None,
    *,
    takes_shortcuts: bool = False,
) -> str:
    """Say in one sentence what a combination of faithful and plausible means, with the numbers behind it.

    Parameters
    ----------
    faithful, plausible
        The verdict.
    criteria
        Those that failed are told.
    plausibility
        Values of that part: `motif_mass`, `expected` and `source`.
    recommended
        A method that would do better, or None.
    takes_shortcuts
        Whether the sentences that follow tell of shortcuts.
    """
    failed = [criterion_sentence(one) for one in criteria if one.outcome == "failed" and one.name in _FAILED]
    text = _BESIDE_SHORTCUTS if takes_shortcuts and faithful and plausible else _VERDICTS[faithful, plausible]
    return text.format(
        mass=_mass(plausibility),
        failed=" and ".join(failed),
        advice=f", try {recommended}" if recommended else "",
    )


def criterion_sentence(criterion: Criterion) -> str:
    """Say what it means that a criterion of faithfulness failed."""
    return _FAILED[criterion.name].format(got=criterion.got)


def shortcut_sentences(shortcuts: Sequence[Values], output: str = "unknown") -> list[str]:
    """Say of each shortcut how often it occurs and what it does, the first few in full.

    Parameters
    ----------
    shortcuts
        Entries of `artifacts` in `audit.json`.
    output
        What the model's output is called, such as `logit`.
    """
    called = _OUTPUTS.get(output, "output")
    sentences = [_shortcut_sentence(one, called) for one in shortcuts[:N_TOLD]]
    more = [str(one["name"]) for one in shortcuts[N_TOLD:]]
    return [*sentences, *([f"It also uses {', '.join(more)}."] if more else [])]


def _shortcut_sentence(one: Values, output: str) -> str:
    if one.get("text"):
        return f"The model takes a shortcut: {one['text']}"
    return f"The model uses {one['name']}, which is not biology: {_facts(one, output)}."


def _mass(values: Values) -> str:
    mass, expected = values.get("motif_mass"), values.get("expected")
    if mass is None or expected is None:
        return "how much of it lies in known motifs is not known"
    where = "annotated regions" if values.get("source") == "annotations" else "known motifs"
    return f"{mass:.0%} of it lies in {where}, where {expected:.0%} would by chance"


def _facts(one: Values, output: str) -> str:
    facts = [_occurrence(one)]
    # an effect is what the sequence adds to the output, so that taking it away does the opposite
    for key, action, sign in (("marginal_effect", "inserting it alone", 1), ("ablation_effect", "removing it", -1)):
        effect = one.get(key)
        if effect is not None:
            facts.append(f"{action} {'raises' if sign * effect > 0 else 'lowers'} the {output} by {abs(effect):.2g}")
    return ", ".join(facts)


def _occurrence(one: Values) -> str:
    positives, negatives = one.get("share_positives"), one.get("share_negatives")
    if positives is not None and negatives is not None:
        return f"found in {positives:.0%} of positives and {negatives:.0%} of negatives"
    share = one.get("share")
    return f"found in {one['n_regions']:,} regions" if share is None else f"found in {share:.0%} of the regions"
