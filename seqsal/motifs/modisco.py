"""Patterns from many seqlets: TF-MoDISco (Shrikumar et al. 2018, arXiv:1811.00416), as modisco-lite implements it.

The seqlets are those of our peaks, `SEQLET_BP` around each summit; modisco-lite's own calling of seqlets, which has no
calibrated error, is passed by: `seqlets_to_patterns` takes seqlets that are already there. It clusters them by their
gapped k-mers and then by the continuous Jaccard similarity of their hypothetical and actual scores (Leiden, best of
`N_LEIDEN_RUNS` fixed seeds), aligns each cluster, and splits and merges clusters. All its random choices have fixed
seeds, so the same seqlets give the same patterns.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from seqsal.errors import MotifError
from seqsal.motifs.match import announce_compilation, threads_kept
from seqsal.motifs.seqlets import SEQLET_BP, Alignment, Seqlets
from seqsal.sequence.codes import one_hot

__all__ = ["MODISCO_MIN_SEQLETS", "align_modisco"]

MODISCO_MIN_SEQLETS = 100  # modisco-lite's own least size of a metacluster
N_LEIDEN_RUNS = 16


def align_modisco(seqlets: Seqlets) -> list[Alignment]:
    """Cluster and align the seqlets of one sign, largest pattern first; `MotifError` where that cannot be done."""
    from modiscolite import core, tfmodisco

    _keep_compiled()
    announce_compilation("modiscolite", "TF-MoDISco", 50)
    letters = np.ascontiguousarray(one_hot(seqlets.codes).transpose(0, 2, 1), dtype=np.float32)  # (n, W, 4)
    scores = np.ascontiguousarray(seqlets.hypothetical.transpose(0, 2, 1), dtype=np.float32)
    tracks = core.TrackSet(one_hot=letters, contrib_scores=letters * scores, hypothetical_contribs=scores)
    first = (seqlets.width - SEQLET_BP) // 2
    pieces = [core.Seqlet(row, first, first + SEQLET_BP, False) for row in range(len(seqlets))]
    try:
        with threads_kept(), np.errstate(divide="ignore", invalid="ignore"):  # N in every seqlet, at windows' ends
            patterns = tfmodisco.seqlets_to_patterns(
                seqlets=tracks.create_seqlets(pieces),
                track_set=tracks,
                track_signs=-1 if (seqlets.table["sign"] == "neg").all() else 1,
                trim_to_window_size=30,
                initial_flank_to_add=10,
                n_leiden_runs=N_LEIDEN_RUNS,
            )
    except BaseException as error:
        if not _is_failure(error):
            raise
        raise MotifError(
            f"seqlets: TF-MoDISco cannot cluster these {len(seqlets)} ({str(error).rstrip('.')}), expected some that "
            "resemble each other and differ; take aligned k-mers with --algorithm kmers"
        ) from error
    aligned = [_alignment(pattern) for pattern in patterns or []]
    return sorted(aligned, key=len, reverse=True)


def _is_failure(error: BaseException) -> bool:
    """Whether modisco-lite met seqlets that it cannot handle; leidenalg raises BaseException itself for NaN."""
    return type(error) is BaseException or isinstance(error, (ValueError, ArithmeticError, np.linalg.LinAlgError))


@cache
def _keep_compiled() -> None:
    """Let numba keep on disk what it compiles for modisco-lite, which does so itself only where it may fork."""
    from numba.core.dispatcher import Dispatcher

    loaded = [module for name, module in sys.modules.items() if name.startswith("modiscolite.")]
    for function in {value for module in loaded for value in vars(module).values() if isinstance(value, Dispatcher)}:
        if function.__module__.startswith("modiscolite"):
            try:
                function.enable_caching()
            except RuntimeError:  # no folder can be written: compiled in every process
                return


def _alignment(pattern: object) -> Alignment:
    """Coordinates of a pattern's seqlets, all of its length."""
    members = pattern.seqlets  # type: ignore[attr-defined]
    rows, start, reverse = zip(*((one.example_idx, one.start, one.is_revcomp) for one in members), strict=True)
    width = int(pattern.length)  # type: ignore[attr-defined]
    return Alignment(np.array(rows, dtype=np.int64), np.array(start, dtype=np.int64), np.array(reverse, bool), width)
