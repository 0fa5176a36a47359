"""What a user types, `seqsal.attribute(model, X=X, method=…)`, against tangermeme at its best batch size, as ratios.

    python benchmarks/defaults.py [--rounds 5] [--windows 1 10] [--methods ism …] [--network "64-filter …"]

Nothing is said but the method: no batch size, no number of controls, no device. tangermeme's counterparts are
`saliency` (which is gradient × input, corrected), `deep_lift_shap` and `saturation_mutagenesis`; each is timed at
several batch sizes, and its best is taken. Contenders take turns in every round, in random order, each in a process of
its own; the median over the rounds of each ratio is printed. Above 1 means that seqsal is faster. Work is done once
before it is timed, but for the rows that say *first call*: there each round is a fresh process of which the first call
is timed, without the imports of the packages, but with whatever a package loads or compiles when it is first needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from contest import Times, contest, fastest, random_codes, ratios
from models import NETWORKS
from tangermeme.deep_lift_shap import deep_lift_shap
from tangermeme.saliency import saliency
from tangermeme.saturation_mutagenesis import saturation_mutagenesis

import seqsal
from seqsal.sequence.tensors import one_hot_tensor

SEQSAL = "seqsal"
PEERS: dict[str, tuple[Callable[..., object], tuple[int, ...]]] = {
    "gradient_x_input": (saliency, (1, 2, 4, 8, 16)),
    "deeplift_shap": (deep_lift_shap, (2, 4, 8, 16, 32)),
    "ism": (saturation_mutagenesis, (32, 128, 512)),
}
EXTRA = {"deeplift_shap": {"warning_threshold": 1e9}}
WANTED = {"gradient_x_input": 1.2, "deeplift_shap": 2.5, "ism": 2.5}


def make(name: str, method: str, network: str, n_windows: int) -> Callable[[], object]:
    """One contender."""
    factory, length = NETWORKS[network]
    model, X = factory(), one_hot_tensor(torch.from_numpy(random_codes(n_windows, length)))
    if name == SEQSAL:
        return lambda: seqsal.attribute(model, X=X, method=method)
    peer = PEERS[method][0]
    return lambda: peer(model, X, batch_size=int(name), hypothetical=True, device="cpu", **EXTRA.get(method, {}))


def first_calls(method: str, network: str, n_windows: int, n_rounds: int, best: str) -> Times:
    """Time the first call in a fresh process, round by round."""
    rounds = [contest(make, [SEQSAL, best], (method, network, n_windows), 1, warm=False) for _ in range(n_rounds)]
    return {name: [times[name][0] for times in rounds] for name in (SEQSAL, best)}


def compare(method: str, network: str, n_windows: int, n_rounds: int) -> None:
    batches = [str(size) for size in PEERS[method][1]]
    # a seqsal that is warm has seen the method, not the model: a user's first call of each model counts as any other
    times = contest(make, [SEQSAL, *batches], (method, network, n_windows), n_rounds)
    best = fastest(times, batches)
    for label, found in (("", times), (", first call", first_calls(method, network, n_windows, n_rounds, best))):
        median, least, most = ratios(found, best, SEQSAL)
        wanted = f"{WANTED[method]:>8.1f}" if not label else f"{1.0:>8.1f}"
        name = f"{method}, {n_windows} window{'s'[: n_windows > 1]}{label}"
        print(f"{name:<46}{best:>6}{median:>9.2f}{least:>7.2f}{most:>7.2f}{wanted}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--network", default=next(iter(NETWORKS)), choices=list(NETWORKS))
    arguments = parser.parse_args()
    print(f"{arguments.network}, {NETWORKS[arguments.network][1]} bp, default arguments, {arguments.rounds} rounds")
    print(f"{'':<46}{'batch':>6}{'ratio':>9}{'least':>7}{'most':>7}{'wanted':>8}")
    for method in arguments.methods:
        for n_windows in arguments.windows:
            compare(method, arguments.network, n_windows, arguments.rounds)


if __name__ == "__main__":
    main()
