"""What a user types, `seqsal.attribute(model, X=X, method=…)`, against tangermeme at its best batch size, as ratios.

    python benchmarks/defaults.py [--rounds 5] [--all] [--windows 1 10] [--methods ism …] [--network "64-filter …"]

Nothing is said but the method: no batch size, no number of controls, no device. tangermeme's counterparts are
`saliency` (which is gradient × input, corrected), `deep_lift_shap` and `saturation_mutagenesis`; integrated gradients
are captum's. Each is tried once at several batch sizes, on little of the work where it is long, and contends at its
best. Contenders take turns in every round, in random order, each in a process of its own; the median over the rounds of
each ratio is printed. Above 1 means that seqsal is faster. Work is done once before it is timed, but for the rows that
say *first call*: there each round is a fresh process of which the first call is timed, without the imports of the
packages, but with whatever a package loads or compiles when it is first needed.

It takes less than ten minutes on two quiet cores. For that, methods that go through the model many times have two
rounds, mutagenesis has one, which is a first call, and of ten windows it is left out unless `--all` is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import captum.attr
import torch
from contest import Times, contest, fastest, random_codes, ratios, seconds
from models import NETWORKS
from tangermeme.deep_lift_shap import deep_lift_shap
from tangermeme.saliency import saliency
from tangermeme.saturation_mutagenesis import saturation_mutagenesis

import seqsal
from seqsal.sequence.tensors import one_hot_tensor

SEQSAL = "seqsal"
THEIRS: dict[str, Any] = {"hypothetical": True, "device": "cpu"}


def integrated(model: torch.nn.Module, X: torch.Tensor, batch_size: int) -> object:
    """Integrate by captum along as many steps as seqsal begins with."""
    method = captum.attr.IntegratedGradients(model)
    return method.attribute(X, target=0, n_steps=50, internal_batch_size=batch_size)


PEERS: dict[str, tuple[Callable[..., object], tuple[int, ...]]] = {
    "gradient_x_input": (partial(saliency, **THEIRS), (1, 4, 16)),
    "saliency": (partial(saliency, **THEIRS), (1, 4, 16)),
    "integrated_gradients": (integrated, (4, 16)),
    "deeplift_shap": (partial(deep_lift_shap, warning_threshold=1e9, **THEIRS), (4, 16)),
    "ism": (partial(saturation_mutagenesis, **THEIRS), (128, 512)),
}
WANTED = {"gradient_x_input": 1.2, "deeplift_shap": 2.5, "ism": 2.5}
CHEAP = ("gradient_x_input", "saliency")  # which may be tried on all windows
SLOW = ("ism",)
FEW_ROUNDS = 2
N_TRIED = 64  # positions of a window that are mutated to find the best batch size
N_TRIALS = 3


def make(name: str, method: str, network: str, n_windows: int, **little: Any) -> Callable[[], object]:
    """One contender; `little` limits what a peer does."""
    factory, length = NETWORKS[network]
    model, X = factory(), one_hot_tensor(torch.from_numpy(random_codes(n_windows, length)))
    if name == SEQSAL:
        return partial(seqsal.attribute, model, X=X, method=method)  # which imports what is loaded lazily
    peer = PEERS[method][0]
    return lambda: peer(model, X, batch_size=int(name), **little)


def best_batch(method: str, network: str, n_windows: int) -> str:
    """Batch size at which the peer is fastest."""
    sizes = [str(size) for size in PEERS[method][1]]
    little = {"start": 0, "end": N_TRIED} if method in SLOW else {}
    trials = {size: make(size, method, network, n_windows if method in CHEAP else 1, **little) for size in sizes}
    times: Times = {size: [] for size in sizes}
    for trial in range(N_TRIALS):
        for size, work in trials.items():
            taken = seconds(work)
            times[size] += [taken] if trial else []  # the first warms up
    return fastest(times, sizes)


def compare(method: str, network: str, n_windows: int, n_rounds: int) -> None:
    """Print the ratios of one method, warm, and for one window of the first call as well."""
    best = best_batch(method, network, n_windows)
    arguments = ([SEQSAL, best], (method, network, n_windows))
    n_rounds = min(n_rounds, 1 if method in SLOW else n_rounds if method in CHEAP else FEW_ROUNDS)
    found = [] if method in SLOW else [("", contest(make, *arguments, n_rounds))]
    if n_windows == 1 or method in SLOW:
        rounds = [contest(make, *arguments, 1, warm=False) for _ in range(min(n_rounds, FEW_ROUNDS))]
        found += [(", first call", {name: [times[name][0] for times in rounds] for name in arguments[0]})]
    for label, times in found:
        median, least, most = ratios(times, best, SEQSAL)
        wanted = WANTED.get(method, 1.0) if not label or method in SLOW else 1.0
        name = f"{method}, {n_windows} window{'s'[: n_windows > 1]}{label}"
        print(f"{name:<46}{best:>6}{median:>9.2f}{least:>7.2f}{most:>7.2f}{wanted:>8.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="several windows by mutagenesis too, for some ten minutes")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--network", default=next(iter(NETWORKS)), choices=list(NETWORKS))
    arguments = parser.parse_args()
    print(f"{arguments.network}, {NETWORKS[arguments.network][1]} bp, default arguments, {arguments.rounds} rounds")
    print(f"{'':<46}{'batch':>6}{'ratio':>9}{'least':>7}{'most':>7}{'wanted':>8}")
    for method in arguments.methods:
        for n_windows in arguments.windows:
            if method in SLOW and n_windows > 1 and not arguments.all:
                print(f"{method}, {n_windows} windows: left out (--all)")
            else:
                compare(method, arguments.network, n_windows, arguments.rounds)


if __name__ == "__main__":
    main()
