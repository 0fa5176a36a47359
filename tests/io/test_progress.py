"""One bar for a whole piece of work: it never goes back, counts steps within steps, and is the only one."""

from __future__ import annotations

import pytest

from seqsal.io import progress
from seqsal.io.progress import bar, stage, whole


def test_one_bar_moves_through_stages_and_steps_within_steps(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []
    with whole({"first": 1, "second": 3}):
        owner = progress._current.get()
        assert owner is not None
        stage("first")
        with bar(total=10, desc="own", unit="window") as part:
            for _ in range(5):
                part.update(2)
                seen.append(owner.bar.n)
        stage("second")
        for _ in bar(range(2), desc="parts"):
            with bar(total=4) as inner:
                inner.set_postfix(loss=1)
                for _ in range(4):
                    inner.update()
                    seen.append(owner.bar.n)
            with bar(total=1) as again:  # a step that begins anew does not take the bar back
                again.update(0)
                seen.append(owner.bar.n)
        stage("not planned")
        seen.append(owner.bar.n)
    assert seen == sorted(seen) and seen[4] == pytest.approx(0.25) and seen[-1] == pytest.approx(1)
    assert seen[5] == pytest.approx(0.25 + 0.75 / 8)
    text = capsys.readouterr().err
    assert "100%" in text and " left" in text and "own" not in text and "parts" not in text
    assert progress._current.get() is None


def test_without_a_whole_each_step_has_its_bar_and_quiet_ones_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    with whole({"a": 1}, disable=True):
        stage("a")
        assert list(bar([1, 2], desc="own")) == [1, 2]
    assert "own" in capsys.readouterr().err
    with whole({"a": 1}), bar(total=2, disable=True) as hidden:
        hidden.update()
    assert list(bar([1], disable=True)) == [1]
    assert "own" not in capsys.readouterr().err
