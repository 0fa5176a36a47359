"""The control that paints motifs: right letters, right places, whatever the model."""

from __future__ import annotations

import numpy as np
import pytest

from seqsal.auditing.painter import paint_motifs
from seqsal.errors import UsageError
from seqsal.motifs import Motif
from seqsal.sequence.codes import reverse_complement

COUNTS = np.full((4, 8), 1.0)
COUNTS[[0, 1, 1, 2, 3, 0, 2, 2], np.arange(8)] = 57.0  # ACCGTAGG
MOTIF = Motif("toy", "", COUNTS)
HEIGHT = 0.95 * (2 + 0.95 * np.log2(0.95) + 0.05 * np.log2(0.05 / 3))  # f · I of each letter
SITE = np.array([0, 1, 1, 2, 3, 0, 2, 2], dtype=np.uint8)


def test_letters_have_the_height_of_the_logo() -> None:
    codes = np.full((2, 30), 3, dtype=np.uint8)
    codes[1, 5:13] = SITE
    painted = paint_motifs([MOTIF], scale=2.0)(None, codes)
    assert painted.dtype == np.float32 and painted.shape == (2, 30)
    expected = np.zeros((2, 30))
    expected[1, 5:13] = 2 * HEIGHT
    np.testing.assert_allclose(painted, expected, rtol=1e-6)


def test_the_other_strand_is_painted_alike(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, size=(20, 40), dtype=np.uint8)
    codes[::2, 10:18] = SITE
    codes[3] = 4
    paint = paint_motifs([MOTIF], p_value=1e-3)
    forward = paint(None, codes)
    assert (forward[::2, 10:18] > 0).all() and not forward[3].any()
    np.testing.assert_array_equal(paint(None, reverse_complement(codes))[:, ::-1], forward)


def test_overlapping_hits_show_the_higher_letter() -> None:
    codes = np.full((1, 30), 3, dtype=np.uint8)
    codes[0, 5:13] = SITE
    weak = Motif("weak", "", COUNTS + 3)
    both = paint_motifs([weak, MOTIF], p_value=1e-3)(None, codes)
    np.testing.assert_array_equal(both, paint_motifs([MOTIF], p_value=1e-3)(None, codes))


def test_nothing_to_paint_is_refused() -> None:
    with pytest.raises(UsageError, match="motifs: got none, expected at least one to paint"):
        paint_motifs([])
    for scale in (0.0, np.nan):
        with pytest.raises(UsageError, match=r"scale: got .*, expected a number other than 0"):
            paint_motifs([MOTIF], scale)
    with pytest.raises(UsageError, match="p_value: got 2"):
        paint_motifs([MOTIF], p_value=2)(None, SITE[None])
