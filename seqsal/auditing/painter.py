"""A control that looks right and is wrong: it paints known motifs and never looks at the model.

Its map has sharp motifs with the right letters at the right positions, so it passes every test of plausibility; and it
says nothing about the model. A pipeline that would believe it would believe anything. To test one's own, give it to the
audit as if it were the method::

    from seqsal.auditing.painter import paint_motifs
    from seqsal.motifs import read_motifs

    paint = paint_motifs(read_motifs("jaspar:2026:vertebrates"))
    painted = dataclasses.replace(attr, track=paint(model, attr.codes), attrs={**attr.attrs, "method": "painter"})
    audit = seqsal.audit(model, painted, explainer=paint)   # plausible, not faithful, the same for a random model
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqsal.auditing.content import Codes, Maps
from seqsal.errors import UsageError
from seqsal.motifs import Motif
from seqsal.motifs.scan import scan_codes

__all__ = ["paint_motifs"]


def paint_motifs(motifs: Sequence[Motif], scale: float = 1.0, *, p_value: float = 1e-4) -> Callable[[Any, Codes], Maps]:
    """Make an explainer that paints motif hits and ignores the model: a negative control for tests of faithfulness.

    At each base of a hit (FIMO, either strand) the map is the height of that base's letter in the motif's logo: its
    share times the information of the position, f · I (Schneider and Stephens 1990, doi:10.1093/nar/18.20.6097), times
    `scale`. Where hits overlap it is the highest; elsewhere it is 0.

    `motifs`: what to paint. `scale`: of the map, in units of the attributed output per bit; not 0. `p_value`: largest
    p-value of a hit. Returns callable: (model, codes (n, L) uint8) → map (n, L) float32, as `seqsal.audit` takes it for
    `explainer`; the model may be None. Raises UsageError: No motifs, a `scale` of 0 or that is not finite, or a
    `p_value` that is no probability (when it first scans).
    """
    motifs = list(motifs)
    if not motifs:
        raise UsageError("motifs: got none, expected at least one to paint; pass those of `read_motifs`")
    if not np.isfinite(scale) or scale == 0:
        raise UsageError(f"scale: got {scale}, expected a number other than 0, such as 1.0")
    heights = [(motif.frequencies * motif.information, motif.width) for motif in motifs]

    def paint(model: Any, codes: Codes) -> Maps:
        painted = np.zeros(codes.shape, dtype=np.float32)
        hits = scan_codes(codes, motifs, p_value=p_value)
        for row, i, start, strand in hits[["row", "motif_idx", "start", "strand"]].itertuples(index=False):
            height, width = heights[i]
            letters = height if strand == "+" else height[::-1, ::-1]
            span = painted[row, start : start + width]
            np.maximum(
                span, letters[codes[row, start : start + width], np.arange(width)], out=span, casting="same_kind"
            )
        return np.float32(scale) * painted

    return paint
