"""Compiling numba's kernels ahead of their first use, in another process, while this one has other work.

On a fresh installation TOMTOM, FIMO and TF-MoDISco take about a minute to compile; numba keeps the result on disk.
Nothing depends on it: what is not ready is compiled where it is used.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from seqsal.motifs.match import match_motifs
from seqsal.motifs.matrices import Motif
from seqsal.motifs.modisco import MODISCO_MIN_SEQLETS, align_modisco
from seqsal.motifs.scan import scan_codes
from seqsal.motifs.seqlets import CONTEXT_BP, Seqlets

__all__ = ["compile_kernels", "compiling"]


def compile_kernels() -> None:
    """Cluster seqlets, name a motif and scan a window, so that numba compiles and keeps all that this takes."""
    rng = np.random.default_rng(0)
    motifs = [Motif(f"motif_{i}", "", rng.integers(1, 50, (4, 8)).astype(np.float64), 100.0) for i in range(60)]
    match_motifs(motifs[:1], motifs)
    scan_codes(rng.integers(0, 4, (4, 200), dtype=np.uint8), motifs[:2])
    align_modisco(_two_words(rng))


def _two_words(rng: np.random.Generator) -> Seqlets:
    """Make seqlets of two words of 12 bases, so that there is something to split and to merge."""
    n, width, half = 2 * MODISCO_MIN_SEQLETS, 12, CONTEXT_BP // 2
    codes = rng.integers(0, 4, (n, CONTEXT_BP), dtype=np.uint8)
    contributions = rng.normal(0, 0.1, (n, CONTEXT_BP)).astype(np.float32)
    word = np.s_[half - width // 2 : half + width // 2]
    codes[: n // 2, word], codes[n // 2 :, word] = rng.integers(0, 4, (2, width))
    contributions[:, word] += 1
    hypothetical = np.where(np.arange(4)[None, :, None] == codes[:, None], contributions[:, None], -0.1)
    table = pd.DataFrame({"sign": ["pos"] * n})
    return Seqlets(table, codes, hypothetical.astype(np.float32), contributions, is_approximate=False)


@contextmanager
def compiling() -> Iterator[None]:
    """Run :func:`compile_kernels` in another process for as long as the block lasts, at most."""
    command = [sys.executable, "-m", "seqsal.motifs.compile"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    compile_kernels()
