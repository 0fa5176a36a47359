"""Compiling numba's kernels ahead of their first use, in another process, while this one has other work.

On a fresh installation TOMTOM and FIMO take most of a minute to compile; numba keeps the result on
disk. Nothing depends on it: what is not ready is compiled where it is used.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from seqsal.motifs.match import match_motifs
from seqsal.motifs.matrices import Motif
from seqsal.motifs.scan import scan_codes

__all__ = ["compile_kernels", "compiling"]


def compile_kernels() -> None:
    """Name a motif and scan a window, so that numba compiles and keeps all that this takes."""
    rng = np.random.default_rng(0)
    motifs = [Motif(f"motif_{i}", "", rng.integers(1, 50, (4, 8)).astype(np.float64), 100.0) for i in range(60)]
    match_motifs(motifs[:1], motifs)
    scan_codes(rng.integers(0, 4, (4, 200), dtype=np.uint8), motifs[:2])


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
