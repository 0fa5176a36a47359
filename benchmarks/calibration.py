"""Peak calls on trained networks, where the truth is known: error rates, recall, and how near the summits are.

    python benchmarks/calibration.py [--datasets 200] [--cache FOLDER] [--method gradient_x_input] [--callers seqsal]

`planted.py` trains six networks (kept in FOLDER) on sequences with planted JASPAR motifs. A data set is 20 to 40 fresh
sequences of 200 to 500 bp with 1 to 5 instances each, attributed with the default number of shuffled controls, and the
same sequences shuffled, attributed with controls of their own. The seeds of the data sets are apart from those that the
caller was developed on (`--seed`).

* **any call**: share of the shuffled data sets in which anything is called.
* **FDP**: mean over data sets of false / (false + true) calls, 0 without calls; **pooled**: of all data sets together.
  A call is true when it shares at least half of the shorter span with an instance of its sign (of either, where the
  method has none), neither true nor false
  when it touches an unplanted match of a planted motif (FIMO p < 1e-4), else false: also on an instance of the other
  sign.
* **recall**: share of all planted instances with a true call, however weak the instance came out.
* **≤ 3 bp**: share of found instances whose nearest true call has its summit (the peer's: the middle of the seqlet)
  within 3 bp of the planted centre.

The peer is tangermeme's recursive_seqlets, run on the track and on its negative; as its documentation says, negative
seqlets over positive ones are dropped. Both are shown at several settings, to be compared at equal measured FDP as
well: q-values and `target_fdr` count the chance matches in the shuffles as false, the measured FDP does not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from planted import DESIGNS, Design, Planted, Trained, draw_sequences, trained
from scipy import stats
from tangermeme.seqlet import recursive_seqlets

import seqsal
from seqsal.io.attributions import Attributions
from seqsal.models import wrap
from seqsal.models.ensemble import Ensemble
from seqsal.motifs.scan import scan_codes
from seqsal.peaks import call_peaks
from seqsal.sequence.codes import one_hot
from seqsal.sequence.draws import dinucleotide_shuffle

FDR = 0.05
NEAR_BP = 3
CHANCE_P = 1e-4
CALL_COLUMNS = ["row", "start", "end", "summit", "sign"]  # offsets along the window; the summit may be a half
Caller = Callable[[Attributions], pd.DataFrame]


@dataclass(frozen=True)
class DataSet:
    """Attributed sequences with their truth, and the same sequences shuffled."""

    design: str
    planted: Planted
    chance: pd.DataFrame
    signal: Attributions
    shuffled: Attributions


def ensemble(design: Design, cache: Path, n_members: int) -> Trained:
    """Train a design, with so many members that differ in their seeds."""
    members = [trained(design, cache, i) for i in range(n_members)]
    if n_members == 1:
        return members[0]
    return replace(members[0], model=Ensemble([wrap(one.model) for one in members]))


def draw_dataset(
    source: Trained, seed: int, method: str = "gradient_x_input", n_controls: int | None = None
) -> DataSet:
    """Draw, attribute and shuffle one data set."""
    rng = np.random.default_rng([seed, source.design.seed, 33])
    n = int(rng.integers(20, 41))
    planted = draw_sequences(rng, n, source.design.length, source.motifs, source.effects)
    shuffled = dinucleotide_shuffle(planted.codes, seed=seed + 1_000_000)
    hits = scan_codes(planted.codes, source.motifs, p_value=CHANCE_P)
    return DataSet(
        source.design.name,
        planted,
        hits[~_touch(hits, planted.instances).any(axis=1)],
        _attribute(source, planted.codes, seed, method, n_controls),
        _attribute(source, shuffled, seed + 500_000, method, n_controls),
    )


def _attribute(
    source: Trained, codes: NDArray[np.uint8], seed: int, method: str, n_controls: int | None
) -> Attributions:
    return seqsal.attribute(
        source.model, X=one_hot(codes), method=method, seed=seed, hypothetical=False, device="cpu", batch_size=64,
        **({"n_controls": n_controls} if n_controls else {}),
    )  # fmt: skip


def ours(fdr: float = FDR, statistic: str = "height") -> Caller:
    """Make seqsal's calls at a rate, in window offsets, a caller."""

    def call(attr: Attributions) -> pd.DataFrame:
        peaks = call_peaks(attr, fdr=fdr, statistic=statistic)
        row = peaks["chrom"].str.removeprefix("sequence_").astype(np.int64) - 1
        return peaks.assign(row=row, summit=peaks["start"] + peaks["summit"])[CALL_COLUMNS]

    return call


def peer(**options: float) -> Caller:
    """Make recursive_seqlets with these options a caller of both signs."""

    def call(attr: Attributions) -> pd.DataFrame:
        found = [_peer_sign(attr, 1, options).assign(sign="pos"), _peer_sign(attr, -1, options).assign(sign="neg")]
        found[1] = found[1][~_touch(found[1], found[0]).any(axis=1)]
        return pd.concat(found, ignore_index=True)

    return call


def _peer_sign(attr: Attributions, sign: int, options: dict[str, float]) -> pd.DataFrame:
    control = torch.from_numpy(sign * np.asarray(attr.controls.track)) if "target_fdr" in options else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where nothing passes
        found = recursive_seqlets(torch.from_numpy(sign * np.asarray(attr.track)), X_control=control, **options)
    found = found.rename(columns={"example_idx": "row"})
    return found.assign(summit=(found["start"] + found["end"] - 1) / 2)


CALLERS: dict[str, Caller] = {
    "seqsal, q < 0.05": ours(),
    "seqsal, q < 0.1": ours(0.1),
    "seqsal, q < 0.15": ours(0.15),
    "seqsal, joint, q < 0.05": ours(statistic="joint"),
    "seqsal, joint, q < 0.1": ours(0.1, statistic="joint"),
    "peer, target_fdr 0.05": peer(target_fdr=0.05),
    "peer, target_fdr 0.1": peer(target_fdr=0.1),
    "peer, target_fdr 0.15": peer(target_fdr=0.15),
    "peer, target_fdr 0.2": peer(target_fdr=0.2),
    "peer, default (p < 0.01)": peer(),
    "peer, p < 1e-3": peer(threshold=1e-3),
    "peer, p < 1e-4": peer(threshold=1e-4),
    "peer, p < 1e-5": peer(threshold=1e-5),
    "peer, p < 1e-6": peer(threshold=1e-6),
}


def _touch(calls: pd.DataFrame, spans: pd.DataFrame, share: float = 0.0) -> NDArray[np.bool_]:
    """Whether each call (k,) shares more than `share` of the shorter with each span (s,), at least one base."""
    a_start, a_end, a_row = (calls[name].to_numpy()[:, None] for name in ("start", "end", "row"))
    b_start, b_end, b_row = (spans[name].to_numpy()[None] for name in ("start", "end", "row"))
    shared = np.minimum(a_end, b_end) - np.maximum(a_start, b_start)
    least = np.maximum(share * np.minimum(a_end - a_start, b_end - b_start), 1)
    return (a_row == b_row) & (shared >= least)


@dataclass(frozen=True)
class Outcome:
    """What a caller did on one data set."""

    any_call: bool
    n_true: int
    n_false: int
    distance: NDArray[np.float64]  # (instances,) of the nearest true summit from the centre, nan where not found

    @property
    def fdp(self) -> float:
        """False discovery proportion, 0 without calls."""
        return self.n_false / max(self.n_true + self.n_false, 1)


def judge(data: DataSet, caller: Caller) -> Outcome:
    """Compare calls with the truth."""
    calls, spans = caller(data.signal), data.planted.instances
    match = _touch(calls, spans, 0.5)
    if data.signal.attrs["signed"]:
        match &= calls["sign"].to_numpy(object)[:, None] == spans["sign"].to_numpy(object)[None]
    is_true = match.any(axis=1)
    is_false = ~is_true & ~_touch(calls, data.chance).any(axis=1)
    centre = (spans["start"] + spans["end"] - 1).to_numpy() / 2
    away = np.where(match, np.abs(calls["summit"].to_numpy()[:, None] - centre[None]), np.inf)
    nearest = away.min(axis=0, initial=np.inf)
    distance = np.where(np.isfinite(nearest), nearest, np.nan)
    return Outcome(len(caller(data.shuffled)) > 0, int(is_true.sum()), int(is_false.sum()), distance)


def datasets(
    sources: list[Trained], n_sets: int, seed: int, method: str, n_controls: int | None = None
) -> Iterator[DataSet]:
    """Draw data sets, from each network in turn."""
    for i in range(n_sets):
        yield draw_dataset(sources[i % len(sources)], seed + i, method, n_controls)


def _table(instances: pd.DataFrame, outcomes: dict[str, list[Outcome]]) -> None:
    groups = [(s, k) for s in ("pos", "neg") for k in ("strong", "weak")]
    print(f"{'':26s} any call    FDP  pooled | recall  {'  '.join(f'{s} {k:6s}' for s, k in groups)} |  ≤ {NEAR_BP} bp")
    for name, of_sets in outcomes.items():
        distance = np.concatenate([outcome.distance for outcome in of_sets])
        found = np.isfinite(distance)
        n_true, n_false = sum(o.n_true for o in of_sets), sum(o.n_false for o in of_sets)
        cells = [found[(instances["sign"] == s) & (instances["strength"] == k)].mean() for s, k in groups]
        print(
            f"{name:26s} {np.mean([o.any_call for o in of_sets]):8.3f} {np.mean([o.fdp for o in of_sets]):6.3f} "
            f"{n_false / max(n_true + n_false, 1):7.3f} | {found.mean():6.3f}  "
            f"{'  '.join(f'{cell:10.3f}' for cell in cells)} | {(distance[found] <= NEAR_BP).mean():7.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=204)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "seqsal-calibration")
    parser.add_argument("--method", default="gradient_x_input")
    parser.add_argument("--members", type=int, default=1, help="of each network, an ensemble")
    parser.add_argument("--seed", type=int, default=0, help="of the first data set")
    parser.add_argument("--callers", default="", help="how the names of those to try begin, such as 'seqsal, q'")
    parser.add_argument("--designs", default="", help="what is in the names of the networks, such as 'mean'")
    parser.add_argument("--controls", type=int, help="so many and no more; the usual number, from which they grow")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.cache.mkdir(parents=True, exist_ok=True)
    sources = [ensemble(design, options.cache, options.members) for design in DESIGNS if options.designs in design.name]
    callers = {name: call for name, call in CALLERS.items() if name.startswith(options.callers)}
    began, instances = time.perf_counter(), []
    by_design: dict[str, dict[str, list[Outcome]]] = {s.design.name: {name: [] for name in callers} for s in sources}
    spans: dict[str, list[pd.DataFrame]] = {s.design.name: [] for s in sources}
    for data in datasets(sources, options.datasets, options.seed, options.method, options.controls):
        spans[data.design].append(data.planted.instances)
        for name, caller in callers.items():
            by_design[data.design][name].append(judge(data, caller))
    for source in sources:
        name = source.design.name
        known = ", ".join(f"{motif.name} {e:+.1f}" for motif, e in zip(source.motifs, source.effects, strict=True))
        print(f"\n{name} ({known}; test {_metric(source)}): {len(spans[name])} data sets")
        _table(pd.concat(spans[name], ignore_index=True), by_design[name])
        instances += spans[name]
    limit = stats.binom.isf(0.05, options.datasets, FDR) / options.datasets
    print(f"\nall {options.datasets} data sets, {options.method}, {time.perf_counter() - began:.0f} s")
    print(f"a true rate of 5 % gives any calls in more than {limit:.3f} of them one time in 20")
    together = {name: [o for s in sources for o in by_design[s.design.name][name]] for name in callers}
    _table(pd.concat(instances, ignore_index=True), together)


def _metric(source: Trained) -> str:
    name = "auroc" if source.design.loss == "binary" else "pearson"
    return f"{name} {source.metrics[name]:.2f}"


if __name__ == "__main__":
    main()
