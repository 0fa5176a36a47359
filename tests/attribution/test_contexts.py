"""Whatever context a call is made in, it computes what it computes outside, or says in one line what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from nets import Body, random_X

import seqsal
from seqsal.errors import ModelError, SeqsalError

CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("method", ["gradient_x_input", "integrated_gradients", "deeplift_shap", "ism", "grad_cam"])
def test_contexts_of_the_caller_do_not_reach_in(context: str, method: str) -> None:
    model, X = Body(), random_X(3)
    outside = seqsal.attribute(model, X=X, method=method, device="cpu")
    score = seqsal.score(model, X=X, device="cpu")
    with CONTEXTS[context]():
        inside = seqsal.attribute(model, X=X, method=method, device="cpu")
        again = seqsal.score(seqsal.wrap(model), X=X, device="cpu")
    np.testing.assert_array_equal(inside.track, outside.track)
    np.testing.assert_array_equal(again["prediction"], score["prediction"])


def test_weights_made_in_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        model = Body()
    with pytest.raises(ModelError, match=r"made inside torch.inference_mode\(\).*load the model outside of it"):
        seqsal.attribute(model, X=random_X(2), device="cpu")


@pytest.mark.parametrize("kind", ["requires grad", "bfloat16", "float64", "whole numbers", "inference"])
def test_windows_of_any_kind_of_tensor(kind: str) -> None:
    model, X = Body(), random_X(3)
    with torch.inference_mode(kind == "inference"):
        given = {
            "requires grad": lambda: X.clone().requires_grad_(), "bfloat16": X.bfloat16, "float64": X.double,
            "whole numbers": X.long, "inference": X.clone,
        }[kind]()  # fmt: skip
    expected = seqsal.attribute(model, X=X, device="cpu").track
    np.testing.assert_array_equal(seqsal.attribute(model, X=given, device="cpu").track, expected)


ARRAY = np.zeros((50, 4, 400))


@pytest.mark.parametrize(
    "given",
    [
        {"target": lambda y: y[0]}, {"target": "liver"}, {"target": {"a": 1}}, {"target": 1.5}, {"target": ARRAY},
        {"method": ARRAY}, {"method": "integrated_gradients", "baseline": ARRAY[0]}, {"n_controls": ARRAY},
        {"method": "deeplift_shap", "n_references": ARRAY}, {"method": "grad_cam", "layer": torch.nn.Conv1d(4, 4, 4)},
        {"batch_size": ARRAY}, {"seed": ARRAY}, {"device": ARRAY}, {"layout": ARRAY}, {"input_length": "4"},
        {"output_space": ARRAY}, {"rc_average": "yes"}, {"draw": ARRAY}, {"channel_order": ARRAY},
        {"X": None, "genome": "g.fa", "regions": ["a.bed"]}, {"X": None, "fasta": ARRAY},
    ],
    ids=lambda given: "-".join(given),
)  # fmt: skip
def test_an_argument_of_the_wrong_type_is_one_short_line(given: dict[str, Any]) -> None:
    with pytest.raises(SeqsalError, match=", expected ") as caught:
        seqsal.attribute(Body(), **{"X": random_X(2), "device": "cpu", **given})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 and "0., 0." not in str(caught.value)
