"""What sections come to: every criterion on either side of its threshold, and every sentence."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from audit_cases import parts_of

from seqsal.auditing.part import MIN_REGIONS, PartResult, Weight
from seqsal.auditing.parts.artifacts import _NO_MODEL
from seqsal.auditing.parts.stability.locality import Failing, _caveat
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.verdict import FAILURES, Answer, Reason, Verdict, check_failures, conclude, judge
from seqsal.errors import UsageError

Parts = dict[str, dict[str, Any]]
TRUSEQ = {
    "name": "Illumina TruSeq read 1", "verdict": "shortcut", "share_positives": 0.43, "share_negatives": 0.0,
    "n_regions": 43, "marginal_effect": 3.1, "ablation_effect": 2.0,
}  # fmt: skip


def good() -> Parts:
    """Values of parts that speak for the map in every respect."""
    return {
        "faithfulness": {
            "deletion": {"ci": [0.2, 0.5]},
            "insertion": {"ci": [0.1, 0.3]},
            "ism_spearman": 0.7,
            "ism_spearman_ci": [0.6, 0.8],
            "completeness_error": 0.01,
        },
        "sanity": {"randomized_similarity": 0.1},
        "saturation": {"blind_share": 0.1, "recommended_method": None},
        "plausibility": {"motif_mass": 0.6, "expected": 0.2, "gain": 0.4, "ci": [0.3, 0.5]},
    }


def verdict_of(parts: Parts, artifacts: tuple[dict[str, Any], ...] = (), **options: Any) -> Verdict:
    return judge(parts_of({**parts, "artifacts": list(artifacts)}), **options)


def reason_of(verdict: Verdict, name: str) -> Reason:
    return next(reason for reason in verdict.reasons if reason.name == name)


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "deletion": ("faithfulness", {"deletion": {"ci": [-0.1, 0.5]}}, "ranks first changes the output no more"),
    "insertion": ("faithfulness", {"insertion": {"ci": [0.0, 0.5]}}, "restores the output no more"),
    "ism": ("faithfulness", {"ism_spearman": 0.29}, "(correlation 0.29)"),
    "randomization": ("sanity", {"randomized_similarity": 0.93}, "made random (similarity 0.93)"),
    "completeness": ("faithfulness", {"completeness_error": 0.2}, "it misses 20% of what it should add up to"),
    "blindness": ("saturation", {"blind_share": 0.63}, "it shows nothing at 63% of the bases"),
}


def test_a_map_without_signs_is_said_to_have_none() -> None:
    parts = good()
    parts["faithfulness"]["order"] = "magnitude"
    assert "The map has no signs: it says which bases matter" in verdict_of(parts).text


def test_a_gain_that_hardly_matters_is_not_plausible() -> None:
    sections = good()
    sections["plausibility"] = {"motif_mass": 0.30, "expected": 0.28, "gain": 0.02, "ci": [0.01, 0.03]}
    verdict = verdict_of(sections)
    assert verdict.plausible is False
    assert [reason.name for reason in verdict.reasons if reason.outcome == "failed"] == ["gain over matched positions"]


def test_where_nothing_makes_a_difference_nothing_was_tested() -> None:
    sections = good()
    for kind in ("deletion", "insertion"):
        sections["faithfulness"][kind] = {"difference": 0.0, "ci": [0.0, 0.0]}
    outcomes = {reason.name: reason.outcome for reason in verdict_of(sections).reasons}
    assert outcomes["deletion"] == outcomes["insertion"] == "not tested"


def test_a_shortcut_beside_biology_is_told_in_one_breath() -> None:
    verdict = verdict_of(good(), (TRUSEQ,))
    assert verdict.text.startswith("The map shows what the model uses, which is known biology in part (60% of it lies")


def test_all_good() -> None:
    verdict = verdict_of(good())
    assert (verdict.faithful, verdict.plausible, verdict.shortcuts) == (True, True, ())
    assert {reason.outcome for reason in verdict.reasons} == {"passed"}
    assert verdict.text == (
        "The map shows what the model uses, and this is known biology: 60% of it lies in known motifs, where 20% would "
        "by chance."
    )
    assert verdict.failures(FAILURES) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_criterion_alone_makes_a_map_unfaithful(name: str) -> None:
    part, change, words = FAULTS[name]
    parts = good()
    parts[part] |= change
    verdict = verdict_of(parts)
    assert verdict.faithful is False and verdict.plausible is True
    assert [reason.name for reason in verdict.reasons if reason.outcome == "failed"] == [name]
    assert words in verdict.text and "looks like biology but does not show what the model uses" in verdict.text
    (failure,) = verdict.failures(["unfaithful"])
    assert failure.startswith(f"unfaithful ({name}: ")


@pytest.mark.parametrize(
    ("name", "threshold", "value"),
    [
        ("ism", "min_ism_spearman", 0.9),
        ("randomization", "max_randomized_similarity", 0.05),
        ("completeness", "max_completeness_error", 0.001),
        ("blindness", "max_blind_share", 0.05),
    ],
)
def test_thresholds_are_those_of_the_settings(name: str, threshold: str, value: float) -> None:
    verdict = verdict_of(good(), settings=AuditSettings().changed({threshold: value}))
    reason = reason_of(verdict, name)
    assert reason.outcome == "failed" and f"{value:g}" in reason.needed


def test_a_value_at_its_threshold_passes() -> None:
    parts, settings = good(), AuditSettings()
    parts["faithfulness"]["ism_spearman"] = settings.min_ism_spearman
    parts["sanity"]["randomized_similarity"] = settings.max_randomized_similarity
    assert verdict_of(parts).faithful is True


def test_what_was_not_tested_is_none() -> None:
    verdict = verdict_of({"faithfulness": {}, "sanity": {}, "saturation": {}, "plausibility": {}})
    assert verdict.faithful is None and verdict.plausible is None
    assert {reason.outcome for reason in verdict.reasons} == {"not tested"}
    assert verdict.undecided(FAILURES) == {"unfaithful": "not tested", "implausible": "not tested"}
    assert verdict.failures(FAILURES) == []
    assert verdict.answers == "faithful: not tested · plausible: not tested · shortcuts: none found"


def test_sums_alone_do_not_make_a_map_faithful() -> None:
    """Completeness holds for maps that say nothing of single bases; without a model it is all that can be tested."""
    sums = {"faithfulness": {"deletion": {"ci": None}, "insertion": {"ci": None}, "completeness_error": 0.0}}
    assert verdict_of(sums).faithful is None
    sums["faithfulness"]["completeness_error"] = 0.5
    assert verdict_of(sums).faithful is False


@pytest.mark.parametrize("n", [1, MIN_REGIONS - 1, MIN_REGIONS])
def test_few_regions_are_not_enough_data(n: int) -> None:
    parts = good()
    interval = None if n == 1 else [0.2, 0.5]
    curve = {"ci": interval, "n_regions": n}
    parts["faithfulness"] |= {"deletion": curve, "insertion": curve, "ism_n_regions": n, "ism_spearman_ci": interval}
    parts["plausibility"] |= {"ci": interval, "n_regions": n, "source": "motifs"}
    verdict = verdict_of(parts)
    if n >= MIN_REGIONS:
        assert (verdict.faithful, verdict.plausible) == (True, True)
        return
    assert (verdict.faithful, verdict.plausible) == (None, None)
    assert verdict.answers == "faithful: not enough data · plausible: not enough data · shortcuts: not enough data"
    assert verdict.text.count(f"cannot be told from fewer than {MIN_REGIONS} regions") == 2
    assert verdict.undecided(FAILURES) == {"unfaithful": "not enough data", "implausible": "not enough data"}
    parts["plausibility"] |= {"ci": [-0.1, 0.5], "gain": 0.0}  # by chance as well
    assert verdict_of(parts).plausible is None
    parts["faithfulness"]["ism_spearman"] = 0.1  # one case against the map is enough
    assert verdict_of(parts).faithful is False


def test_what_was_not_given_is_not_tested_however_few_the_regions() -> None:
    parts: Parts = {"faithfulness": {"ism_n_regions": 1}, "plausibility": {"n_regions": 1}}
    assert verdict_of(parts).answers == "faithful: not tested · plausible: not tested · shortcuts: none found"


CAVEATS: dict[str, tuple[str, dict[str, Any]]] = {
    "local linearity": ("stability", {"locality": {"picture": "map", "substitutions": {"share_of_regions": 0.96}}}),
    "stability": ("stability", {"substitutions": {"pearson": 0.2, "ci": [0.1, 0.3]}}),
    "positive peaks": (
        "faithfulness",
        {"peaks": {"positive": {"ci": [-0.5, -0.1], "n_regions": 9, "n_peaks": 9, "n_unmatched": 0}}},
    ),
    "labels": ("sanity", {"label": {"depends_on_labels": False}}),
}


@pytest.mark.parametrize("name", CAVEATS)
def test_a_caveat_that_contradicts_yes_changes_it(name: str) -> None:
    part, change = CAVEATS[name]
    parts = good()
    parts[part] = parts.get(part, {}) | change
    verdict = verdict_of(parts)
    assert [reason.name for reason in verdict.reasons if reason.outcome == "failed"] == [name]
    assert verdict.faithful is None and verdict.answer("faithful") == Answer.IN_PART
    assert "only in part: " + reason_of(verdict, name).sentence in verdict.text
    assert "faithful: in part · plausible: yes" in Verdict.from_dict(verdict.as_dict()).answers
    parts["sanity"] = parts.get("sanity", {}) | {"randomized_similarity": 0.9}
    assert verdict_of(parts).faithful is False


OUTCOMES = ("passed", "failed", "not tested", "not enough data")


@pytest.mark.parametrize("about", ["faithful", "plausible"])
def test_no_yes_stands_above_a_reason_against_it(about: str) -> None:
    """All combinations of three criteria of any weight and outcome, decisive or not."""
    kinds = [(weight, outcome, decisive) for weight in Weight for outcome in OUTCOMES for decisive in (True, False)]
    reasons = {kind: Reason(about, "one", 1.0, "", kind[1], kind[0], is_decisive=kind[2]) for kind in kinds}
    for chosen in itertools.combinations_with_replacement(kinds, 3):
        own = [reasons[kind] for kind in chosen]
        answer = conclude(own, about)
        failed = {weight for weight, outcome, _ in chosen if outcome == "failed"}
        decided = any(outcome == "passed" and decisive for _, outcome, decisive in chosen)
        assert (answer == Answer.NO) == (Weight.OVERTURNS in failed)
        assert (answer == Answer.YES) == (decided and not failed & {Weight.OVERTURNS, Weight.LOWERS})
        assert (answer == Answer.IN_PART) == (decided and failed | {Weight.NOTES} == {Weight.LOWERS, Weight.NOTES})
        few = any(outcome == "not enough data" for _, outcome, _ in chosen)
        assert (answer == Answer.TOO_FEW) == (Weight.OVERTURNS not in failed and not decided and few)
        other = "plausible" if about == "faithful" else "faithful"
        assert conclude(own, other) == Answer.UNTESTED


@pytest.mark.parametrize("faithful", Answer)
@pytest.mark.parametrize("plausible", [one for one in Answer if one != Answer.IN_PART])
def test_every_pair_of_answers_has_a_sentence_that_agrees(faithful: Answer, plausible: Answer) -> None:
    def reason(about: str, answer: Answer) -> list[Reason]:
        outcome = {Answer.NO: "failed", Answer.TOO_FEW: "not enough data", Answer.UNTESTED: "not tested"}
        own = [Reason(about, "a", 1.0, "", outcome.get(answer, "passed"), sentence=f"{about} a", is_decisive=True)]
        lowers = Reason(about, "b", 1.0, "", "failed", Weight.LOWERS, f"{about} b")
        return [*own, *([lowers] if answer == Answer.IN_PART else [])]

    class Reasoned(PartResult):
        def reasons(self, settings: AuditSettings) -> Iterator[Reason]:
            yield from [*reason("faithful", faithful), *reason("plausible", plausible)]

    verdict = judge({"part": Reasoned()})
    assert (verdict.answer("faithful"), verdict.answer("plausible")) == (faithful, plausible)
    text = verdict.text
    assert ("was not tested" in text or "was tested" in text) == (Answer.UNTESTED in (faithful, plausible))
    assert ("cannot be told from fewer" in text) == (Answer.TOO_FEW in (faithful, plausible))
    assert ("faithful a" in text) == (faithful == Answer.NO) and ("faithful b" in text) == (faithful == Answer.IN_PART)
    assert text.endswith(".") and "{" not in text


def test_nothing_is_said_about_no_region() -> None:
    """No line of a part with shares of 0 reads "in 0% of regions"."""
    for share, n in ((0.0, 0), (0.001, 1), (0.96, 23)):
        locality = {"picture": "map", "substitutions": {"share_of_regions": share}, "share_of_regions": share}
        found = TRUSEQ | {"n_regions": n, "share": share, "share_positives": None}
        parts = parts_of({"stability": {"locality": locality}, "artifacts": [found]})
        lines = [str(fact) for part in parts.values() for fact in part.facts(AuditSettings())]
        verdict = judge(parts)
        lines += [verdict.text, *(reason.sentence for reason in verdict.reasons)]
        failing = Failing(share, None)
        lines += [_caveat(failing, failing, picture, 0.95) for picture in ("map", "single_effects")]
        assert not [line for line in lines if re.search(r"\b0(%| of)? (of )?(the )?regions", line)]
        assert any("local linearity fails in" in line for line in lines) == (share > 0)
    told = _caveat(Failing(0.0, None), Failing(0.58, None), "map", 0.95)
    assert told.endswith("(reach); with two or three substitutions (local linearity) it does.")


def test_numbers_that_are_none_prove_nothing() -> None:
    parts = good()
    parts["faithfulness"] |= {"completeness_error": float("nan"), "deletion": {"ci": [float("nan"), 1.0]}}
    verdict = verdict_of(parts)
    assert {reason_of(verdict, name).outcome for name in ("completeness", "deletion")} == {"not tested"}


def test_mutagenesis_is_not_compared_with_itself() -> None:
    parts = parts_of(good())
    own = dataclasses.replace(parts["faithfulness"], is_mutagenesis=True)  # type: ignore[call-arg]
    assert reason_of(judge({**parts, "faithfulness": own}), "ism").outcome == "not tested"


@pytest.mark.parametrize(("faithful", "plausible"), list(itertools.product([True, False, None], repeat=2)))
def test_every_combination_has_its_sentence(faithful: bool | None, plausible: bool | None) -> None:
    parts = good()
    if faithful is None:
        parts["faithfulness"] = parts["sanity"] = parts["saturation"] = {}
    if faithful is False:
        parts["sanity"] = {"randomized_similarity": 0.9}
        parts["saturation"] |= {"recommended_method": "deeplift_shap"}
    if plausible is not True:
        parts["plausibility"] = {} if plausible is None else {"motif_mass": 0.2, "expected": 0.2, "ci": [-0.1, 0.1]}
    verdict = verdict_of(parts)
    assert (verdict.faithful, verdict.plausible) == (faithful, plausible)
    text = verdict.text
    assert ("not tested" in text or "was tested" in text) == (faithful is None or plausible is None)
    assert ("does not show what the model uses" in text or "neither what the model uses" in text) == (faithful is False)
    assert ("try deeplift_shap" in text) == (faithful is False)
    assert text.endswith(".") and "{" not in text and "None" not in text


def test_annotations_are_called_so() -> None:
    parts = good()
    parts["plausibility"]["source"] = "annotations"
    assert "60% of it lies in annotated regions" in verdict_of(parts).text


def test_a_shortcut_is_told_in_full() -> None:
    unused = {"name": "T7 promoter", "verdict": "present"}
    verdict = verdict_of(good(), (TRUSEQ, unused), output="logit")
    assert verdict.shortcuts == ("Illumina TruSeq read 1",)
    assert verdict.text.endswith(
        "The model uses Illumina TruSeq read 1, which is not biology: found in 43% of positives and 0% of negatives, "
        "inserting it alone raises the logit by 3.1, removing it lowers the logit by 2."
    )
    assert verdict.failures(["shortcut", "implausible"]) == ["shortcut (Illumina TruSeq read 1)"]


def test_shortcuts_of_unknown_classes_have_no_classes_in_their_sentence() -> None:
    unknown = {"share_positives": None, "share_negatives": None, "ablation_effect": None, "marginal_effect": -1.0}
    assert (
        "found in 43 regions, inserting it alone lowers the output by 1."
        in verdict_of(good(), (TRUSEQ | unknown,)).text
    )
    assert "found in 12% of the regions" in verdict_of(good(), (TRUSEQ | unknown | {"share": 0.12},)).text


def test_a_finding_that_has_a_text_speaks_for_itself() -> None:
    text = "GC content alone tells positives from negatives (AUROC 0.95)."
    verdict = verdict_of(good(), ({"name": "GC content", "verdict": "shortcut", "text": text},))
    assert verdict.text.endswith(f"The model takes a shortcut: {text}")


def test_many_shortcuts_are_listed() -> None:
    verdict = verdict_of(good(), tuple(TRUSEQ | {"name": f"adapter {i}"} for i in range(5)))
    assert verdict.text.count("which is not biology") == 3
    assert verdict.text.endswith("It also uses adapter 3, adapter 4.")


def test_there_and_back() -> None:
    verdict = verdict_of(good(), (TRUSEQ,))
    values = verdict.as_dict()
    assert Verdict.from_dict(values | {"shortcuts": list(values["shortcuts"])}) == verdict


def test_a_verdict_is_read_at_a_glance() -> None:
    verdict = judge({})
    assert repr(verdict) == f"Verdict(faithful=None, plausible=None, shortcuts=(), text={verdict.text!r})"


def test_unknown_failure() -> None:
    with pytest.raises(UsageError, match="fail-on: got 'ugly', expected some of shortcut, unfaithful, implausible"):
        check_failures(["shortcut", "ugly"])
    assert check_failures(["shortcut", "shortcut"]) == ["shortcut"]


def test_shortcuts_that_no_model_was_asked_about_are_not_tested() -> None:
    """An adapter that is there may be used: none found would be a promise that nobody can keep."""
    parts = parts_of({"artifacts": [TRUSEQ | {"verdict": "present"}]})
    assert judge(parts).no_shortcuts == "none found" and "shortcut" not in judge(parts).undecided(FAILURES)
    parts["artifacts"] = dataclasses.replace(parts["artifacts"], untested=(_NO_MODEL,))
    verdict = judge(parts)
    assert verdict.answers.endswith("shortcuts: not tested") and verdict.undecided(FAILURES)["shortcut"] == "not tested"
    assert Verdict.from_dict(verdict.as_dict()).no_shortcuts == "not tested"
    parts["artifacts"] = dataclasses.replace(parts["artifacts"], findings=())
    assert judge(parts).no_shortcuts == "none found"
