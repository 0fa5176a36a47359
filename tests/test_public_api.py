"""The names that `import seqsal` promises."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

import seqsal
from seqsal import plot
from seqsal.motifs.hits import call_hits


@pytest.mark.parametrize("name", seqsal.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(seqsal, name)
    assert isinstance(value, str) or (value.__doc__ and value.__doc__.strip())


TAKE_ATTRIBUTIONS = {
    "call_peaks": seqsal.call_peaks,
    "discover_motifs": lambda attr: seqsal.discover_motifs(attr, pd.DataFrame()),
    "call_hits": lambda attr: call_hits(attr, []),
    "audit": lambda attr: seqsal.audit(None, attr),
    **{
        name: getattr(plot, name)
        for name in plot.__all__
        if callable(getattr(plot, name)) and next(iter(inspect.signature(getattr(plot, name)).parameters), "") == "attr"
    },
}


@pytest.mark.parametrize("given", [np.zeros((2, 9)), "A.h5", torch.nn.Linear(2, 2), None], ids=repr)
@pytest.mark.parametrize("name", TAKE_ATTRIBUTIONS)
def test_what_is_no_attributions_is_named(name: str, given: object) -> None:
    if name == "audit" and (given is None or isinstance(given, str)):
        pytest.skip("takes files too, and has its own words for none")
    with pytest.raises(seqsal.SeqsalError, match=r"attr: got .*, expected seqsal.Attributions; ") as error:
        TAKE_ATTRIBUTIONS[name](given)
    assert ("seqsal.read_attributions('A.h5')" in str(error.value)) is isinstance(given, str)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = seqsal.nonsense


def test_dir_lists_the_public_names() -> None:
    assert set(seqsal.__all__) <= set(dir(seqsal))
