"""From an excess and its effect to a verdict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from seqsal.auditing.finding import Effect
from seqsal.auditing.parts.artifacts import Examined, _judged, _too_few
from seqsal.auditing.parts.artifacts.biology import FEW_COPIES, LONGEST_SITE
from seqsal.auditing.parts.artifacts.library import Artifact
from seqsal.auditing.settings import AuditSettings

SCALE = 10.0
SETTINGS = AuditSettings()


def finding(
    mean: float, p_value: float, enriched_in: str = "positives", name: str = "adapter", n: int = 64, width: int = 13
) -> Examined:
    effect = Effect(mean, None, p_value, 64)
    found = cast(Any, SimpleNamespace(explained_by=None, part=(0, width), n_with=n))
    return Examined(Artifact(name, "adapter", "AGATCGGAAGAGC", ""), found, enriched_in, 1e-9, 1e-9, marginal=effect)


def verdicts(*findings: Examined, classes: bool = True) -> list[str]:
    codes = np.zeros((1, 1), dtype=np.uint8) if classes else None
    context = SimpleNamespace(settings=SETTINGS, effect_scale=SCALE, positives=codes, negatives=codes)
    return [item.verdict for item in _judged(cast(Any, context), findings)]


@pytest.mark.parametrize(
    ("mean", "p_value", "verdict"),
    [
        (2.0, 0.04, "shortcut"),
        (-2.0, 0.04, "shortcut"),
        (2.0, 0.06, "present"),
        (0.9, 1e-9, "present"),  # below a tenth of the range
        (1.1, 1e-9, "shortcut"),
    ],
)
def test_use_is_an_effect_that_is_large_and_significant(mean: float, p_value: float, verdict: str) -> None:
    assert verdicts(finding(mean, p_value)) == [verdict]


def test_effects_of_several_artifacts_share_an_error_rate() -> None:
    others = [finding(0.0, 0.9, name=f"unused {i}") for i in range(3)]
    assert verdicts(finding(2.0, 0.04), *others) == ["present"] * 4
    assert verdicts(finding(2.0, 0.01), *others) == ["shortcut", *["present"] * 3]


def test_what_both_classes_have_is_no_shortcut() -> None:
    assert verdicts(finding(2.0, 1e-9, enriched_in="regions")) == ["present"]
    assert verdicts(finding(2.0, 1e-9, enriched_in="regions"), classes=False) == ["shortcut"]


@pytest.mark.parametrize(
    ("n", "width", "verdict"),
    [
        (FEW_COPIES - 1, 8, "present"),
        (FEW_COPIES - 1, LONGEST_SITE, "present"),
        (FEW_COPIES, 8, "shortcut"),
        (5, LONGEST_SITE + 1, "shortcut"),  # no site of a protein is as long
    ],
)
def test_few_copies_of_what_may_be_a_site_are_no_shortcut(n: int, width: int, verdict: str) -> None:
    found = finding(2.0, 1e-9, n=n, width=width)
    assert verdicts(found) == [verdict]
    (judged,) = _judged(cast(Any, SimpleNamespace(settings=SETTINGS, effect_scale=SCALE, positives=None,
                                                  negatives=None)), [found])  # fmt: skip
    told = f"{n} regions with a copy cannot tell"
    assert [told in line for line in _too_few([judged])] == [True] * (verdict == "present")
