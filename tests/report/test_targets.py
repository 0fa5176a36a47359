"""Several targets of one run, side by side on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from seqsal.report import ReportInputs
from seqsal.report.html import render_report
from seqsal.report.sections import build_targets

Make = Callable[..., ReportInputs]


def several(make_inputs: Make, names: list[str], methods: list[str]) -> ReportInputs:
    inputs = make_inputs(6)
    results: dict[str, Any] = {}
    order = [f"{method}.{name}" for name, method in zip(names, methods, strict=True)]
    for i, (key, name, method) in enumerate(zip(order, names, methods, strict=True)):
        attrs = {**inputs.attr.attrs, "method": method, "result": key, "results": order, "target_name": name}
        track = np.asarray(inputs.attr.track) * (i + 1)
        results[key] = replace(inputs.attr, attrs=attrs, track=track, open_result=lambda name: results[name])
    return replace(inputs, attr=results[order[0]])


def test_the_maps_of_targets_stand_below_each_other_on_one_scale(make_inputs: Make) -> None:
    inputs = several(make_inputs, ["liver", "kidney", "liver - <b>kidney"], ["ism", "ism", "ism"])
    section = build_targets(inputs)
    assert section is not None and len(section.context["cards"]) == inputs.n_top
    first = section.context["cards"][0]
    assert [chip.split()[0] for chip in first.chips[:2]] == ["liver", "kidney"] and len(first.pictures) == 3
    page = render_report(inputs)
    assert "Targets side by side" in page and "liver - &lt;b&gt;kidney" in page and "<b>kidney" not in page


def test_one_target_or_one_of_each_method_has_no_such_section(make_inputs: Make) -> None:
    assert build_targets(make_inputs(3)) is None
    assert build_targets(several(make_inputs, ["liver", "liver"], ["ism", "saliency"])) is None
    many = several(make_inputs, [f"cell {i}" for i in range(10)], ["ism"] * 10)
    section = build_targets(many)
    assert section is not None and "2 more are in the attribution file" in section.lead
    assert len(section.context["cards"][0].pictures) == 8
