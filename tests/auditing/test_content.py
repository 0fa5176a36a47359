"""GC, CpG, repeats and shuffles against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqsal.auditing.content import (
    cpg_ratio,
    cpg_sites,
    gc_content,
    repeat_mask,
    unknown_share,
)
from seqsal.sequence.codes import encode
from tests.toys import random_codes

LETTERS = st.text(alphabet="ACGTN", min_size=1, max_size=60)


def codes_of(*sequences: str) -> np.ndarray:
    return np.stack([encode(sequence) for sequence in sequences])


@given(LETTERS)
def test_gc_cpg_and_unknown_bases_are_counted(text: str) -> None:
    codes = codes_of(text)
    known = len(text) - text.count("N")
    n_c, n_g = text.count("C"), text.count("G")
    assert gc_content(codes)[0] == pytest.approx((n_c + n_g) / known if known else 0.5)
    assert unknown_share(codes)[0] == pytest.approx(text.count("N") / len(text))
    assert cpg_ratio(codes)[0] == pytest.approx(text.count("CG") * known / (n_c * n_g) if n_c * n_g else 0.0)
    expected = [text[i : i + 2] == "CG" or (i > 0 and text[i - 1 : i + 1] == "CG") for i in range(len(text))]
    assert cpg_sites(codes)[0].tolist() == expected


def slow_repeats(text: str) -> list[bool]:
    """Every base of a stretch that equals itself shifted by 1 to 6, 12 bp and three copies long."""
    mask = [False] * len(text)
    for unit in range(1, 7):
        for start in range(len(text)):
            for end in range(start + max(12, 3 * unit), len(text) + 1):
                piece = text[start:end]
                if "N" not in piece and all(piece[i] == piece[i - unit] for i in range(unit, len(piece))):
                    mask[start:end] = [True] * (end - start)
    return mask


@pytest.mark.parametrize(
    "text",
    [
        "GCT" + "A" * 12 + "CGT",
        "GCT" + "A" * 11 + "CGT",
        "TG" + "CA" * 6 + "TT",
        "ACGTTG" * 3,
        "ACGTTG" * 2 + "ACGTT",
        "A" * 8 + "N" + "A" * 8,
        "ACG",
    ],
)
def test_repeats_are_those_of_the_definition(text: str) -> None:
    assert repeat_mask(codes_of(text))[0].tolist() == slow_repeats(text)


def test_few_random_bases_lie_in_a_repeat(rng: np.random.Generator) -> None:
    assert repeat_mask(random_codes(rng, 200, 500)).mean() < 1e-3
