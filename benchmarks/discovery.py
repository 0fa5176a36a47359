"""Motif discovery in many peaks: processor time and what of planted motifs is found, also with all seqlets clustered.

    python benchmarks/discovery.py [--peaks 100 1000 3000 10000] [--sets one four rare] [--seed 0] [--all]
    python benchmarks/discovery.py --attributions A.h5 --narrowpeak P.narrowPeak --motif-db jaspar:2026:fungi [--all]

Simulated peaks are of 40 bp, in windows of 150 bp, each around a site drawn from a JASPAR matrix on either strand, up
to 5 bp off the middle. Bases of a site contribute 0.3 × log2(p / ¼) × half the information of their column, with a
height for each site (normal, 1 ± 0.15) and noise; others are noise (0.05). Of `one` all sites are REB1's; of `four`
half are REB1's, a quarter ABF1's, 15 % RAP1's and 10 % CBF1's; of `rare` 1 % are ABF1's, 2 % RAP1's and 30 % of the
peaks are noise. Printed a set: seconds by the clock and of processors, largest resident memory; right instances (place
and strand against the motif, as those of most of the pattern) as share of the sites of each motif; of all instances
those that are wrong; names by TOMTOM with the correlation of the matrix with the one that was planted. `--all` clusters
all seqlets from 16 seeds until nothing improves, in the same run, and so may take hours.

With attributions and peaks instead: the patterns with their names and, with `--all`, the largest cosine of each CWM of
the one way with those of the other.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.io.attributions import Attributions, Controls
from seqsal.io.store import read_attributions
from seqsal.motifs import Motif, MotifResult, Pattern, discover_motifs, read_motifs
from seqsal.motifs.seqlets import best_offset
from seqsal.peaks import read_peaks
from seqsal.regions import make_regions
from seqsal.sequence.codes import one_hot, reverse_complement

LENGTH, STEP, PEAK_BP = 150, 400, 40
SETS = {
    "one": {"REB1": 1.0},
    "four": {"REB1": 0.5, "ABF1": 0.25, "RAP1": 0.15, "CBF1": 0.1},
    "rare": {"REB1": 0.67, "RAP1": 0.02, "ABF1": 0.01, "": 0.3},
}


def plant(n: int, shares: dict[str, float], known: dict[str, Motif], seed: int) -> tuple[Attributions, pd.DataFrame]:
    """Attributions, and peaks with `motif` (empty for noise), `first` base of the site and its `strand`."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (n, LENGTH), dtype=np.uint8)
    scores = rng.normal(0, 0.05, (n, 4, LENGTH))
    names = rng.choice(list(shares), n, p=list(shares.values()))
    middle, reverse = LENGTH // 2 + rng.integers(-5, 6, n), rng.random(n) < 0.5
    first = middle.copy()
    for row, name in enumerate(names):
        if not name:
            scores[row][:, middle[row] - 5 : middle[row] + 5] += rng.normal(0.5, 0.3, 10)
            continue
        ppm = (known[name].counts + 0.5) / (known[name].counts + 0.5).sum(axis=0)
        odds = np.log2(ppm / 0.25)
        weight = 0.3 * odds * (ppm * odds).sum(axis=0) / 2
        site = np.array([rng.choice(4, p=column) for column in ppm.T], dtype=np.uint8)
        if reverse[row]:
            site, weight = reverse_complement(site), weight[::-1, ::-1]
        first[row] -= len(site) // 2
        here = slice(first[row], first[row] + len(site))
        codes[row, here] = site
        scores[row][:, here] += weight * rng.normal(1, 0.15) + rng.normal(0, 0.1, weight.shape)
    track = (scores * one_hot(codes)).sum(axis=1)
    start = STEP * np.arange(n)
    n_controls = 500
    controls = Controls(
        rng.normal(0, 0.05, (n_controls, LENGTH)).astype(np.float32),
        rng.integers(0, 4, (n_controls, LENGTH), dtype=np.uint8),
    )
    attr = Attributions(
        make_regions(["chr1"] * n, start, start + LENGTH), codes, track.astype(np.float32), np.zeros(n, np.float32),
        hypothetical=scores.astype(np.float32), controls=controls, chrom_sizes={"chr1": STEP * n + LENGTH},
        attrs={"method": "simulated", "seed": 0},
    )  # fmt: skip
    left = LENGTH // 2 - PEAK_BP // 2
    peaks = make_regions(["chr1"] * n, start + left, start + left + PEAK_BP, summit=[PEAK_BP // 2] * n)
    signal = track[:, left : left + PEAK_BP].sum(axis=1)
    peaks = peaks.assign(signal=np.abs(signal), name=[f"p{i}" for i in range(n)], motif=names, first=start + first)
    return attr, peaks.assign(site_strand=np.where(reverse, "-", "+"))


@contextmanager
def everything() -> Iterator[None]:
    """Cluster all seqlets from 16 seeds, and look for no more instances."""
    changed = {"N_LEIDEN_RUNS": (16, 16), "N_LEIDEN_ITERATIONS": -1, "with_instances": lambda found, *_: found}
    with mock.patch.multiple("seqsal.motifs.discover", **changed):
        yield


def used() -> float:
    """Seconds of processor time of this process and those that it has waited for."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def right(pattern: Pattern, peaks: pd.DataFrame, known: dict[str, Motif]) -> tuple[str, NDArray[np.bool_]]:
    """Name the motif that most instances of a pattern are of, and say which instances are right."""
    own = peaks.set_index("name").loc[pattern.seqlets["name"]]
    name = Counter(own["motif"]).most_common(1)[0][0]
    if not name:
        return "noise", np.zeros(len(own), bool)
    start, end, strand = (pattern.seqlets[key].to_numpy() for key in ("start", "end", "strand"))
    first = own["first"].to_numpy()
    offset = np.where(strand == "+", first - start, end - first - known[name].width)
    place = 2 * offset + (own["site_strand"].to_numpy() == strand)
    most = Counter(place[(own["motif"] == name).to_numpy()]).most_common(1)[0][0]
    return name, np.asarray((own["motif"] == name).to_numpy() & (place == most))


def likeness(pattern: Pattern, motif: Motif) -> float:
    """Correlation of a pattern's frequencies with a matrix at the best offset and strand, over shared positions."""
    one, other = pattern.motif.frequencies - 0.25, motif.frequencies - 0.25
    offset, reverse = best_offset(other, one)
    one = one[::-1, ::-1] if reverse else one
    low, high = max(offset, 0), min(offset + one.shape[1], other.shape[1])
    return float(np.corrcoef(one[:, low - offset : high - offset].ravel(), other[:, low:high].ravel())[0, 1])


def show_planted(result: MotifResult, peaks: pd.DataFrame, known: dict[str, Motif]) -> None:
    found, wrong, total, listed = Counter[str](), 0, 0, []
    for pattern in result.patterns:
        name, is_right = right(pattern, peaks, known)
        found[name] += int(is_right.sum())
        wrong, total = wrong + int((~is_right).sum()), total + len(is_right)
        alike = f" r {likeness(pattern, known[name]):.3f}" if name in known else ""
        listed.append(f"{name}: {pattern.label} {pattern.n_seqlets} {pattern.algorithm}{alike}")
    shares = [f"{name} {found[name] / n:.3f}" for name, n in peaks["motif"].value_counts().items() if name]
    print(f"    found of {', '.join(shares)}; wrong {wrong / max(total, 1):.4f}; {'; '.join(listed)}", flush=True)


def timed(
    attr: Attributions, peaks: pd.DataFrame, motif_db: str | list[Motif], max_clustered: int, what: str
) -> MotifResult:
    wall, before = time.perf_counter(), used()
    with mock.patch("seqsal.motifs.discover.motif_usage", lambda *_, **__: None):  # whose time is another's
        result = discover_motifs(attr, peaks, motif_db=motif_db, max_clustered=max_clustered)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {time.perf_counter() - wall:.1f} s, processors {used() - before:.1f} s, {rss:.0f} MB", flush=True)
    return result


def both_ways(
    attr: Attributions, peaks: pd.DataFrame, motif_db: str | list[Motif], given: argparse.Namespace, what: str
) -> list[MotifResult]:
    results = [timed(attr, peaks, motif_db, given.max_clustered, what)]
    if given.all:
        with everything():
            results.append(timed(attr, peaks, motif_db, 10**9, f"{what}, all clustered"))
    return results


def largest_cosine(pattern: Pattern, others: MotifResult) -> float:
    best = 0.0
    for other in others.patterns:
        offset, reverse = best_offset(other.cwm, pattern.cwm)
        one = pattern.cwm[::-1, ::-1] if reverse else pattern.cwm
        low, high = max(offset, 0), min(offset + one.shape[1], other.cwm.shape[1])
        dot = float((one[:, low - offset : high - offset] * other.cwm[:, low:high]).sum())
        best = max(best, dot / float(np.linalg.norm(one) * np.linalg.norm(other.cwm)))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peaks", type=int, nargs="+", default=[100, 1000, 3000, 10_000])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-clustered", type=int, default=2_000)
    parser.add_argument("--all", action="store_true", help="cluster all seqlets, too, as TF-MoDISco does by itself")
    parser.add_argument("--attributions")
    parser.add_argument("--narrowpeak")
    parser.add_argument("--motif-db", default="jaspar:2026:fungi")
    given = parser.parse_args()
    motifs = read_motifs(given.motif_db)
    if given.attributions:
        peaks = read_peaks(given.narrowpeak)
        results = both_ways(read_attributions(given.attributions), peaks, motifs, given, f"{len(peaks)} peaks")
        for i, result in enumerate(results):
            for pattern in result.patterns:
                alike = f", cosine {largest_cosine(pattern, results[1 - i]):.3f}" if given.all else ""
                print(f"    {pattern!r}{alike}", flush=True)
        return
    known = {motif.name: motif for motif in motifs}
    discover_motifs(*plant(120, SETS["one"], known, 1))  # everything is compiled and loaded
    for n in given.peaks:
        for name in given.sets:
            attr, peaks = plant(n, SETS[name], known, given.seed)
            for result in both_ways(attr, peaks, motifs, given, f"{name}, {n} peaks"):
                show_planted(result, peaks, known)


if __name__ == "__main__":
    main()
