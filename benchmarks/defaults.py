"""What a user types, `seqsal.attribute(model, X=X, method=…)`, against tangermeme at its best batch size, as ratios.

    python benchmarks/defaults.py [--rounds 5] [--windows 1 10] [--methods ism …] [--network "64-filter …"]

Nothing is said but the method: no batch size, no number of controls, no device. tangermeme's counterparts are
`saliency` (which is gradient × input, corrected), `deep_lift_shap` and `saturation_mutagenesis`; integrated gradients
are captum's. Each is timed at several batch sizes, and its best is taken. Contenders take turns in every round, in
random order, each in a process of its own; the median over the rounds of each ratio is printed. Above 1 means that
seqsal is faster. Work is done once before it is timed, but for mutagenesis and the rows that say *first call*: there
each round is a fresh process of which the first call is timed, without the imports of the packages, but with whatever
a package loads or compiles when it is first needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import captum.attr
import torch
from contest import Times, contest, fastest, random_codes, ratios
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
SLOW_ROUNDS = 1  # of those that take a minute for ten windows
SLOW = ("ism",)


def make(name: str, method: str, network: str, n_windows: int) -> Callable[[], object]:
    """One contender."""
    factory, length = NETWORKS[network]
    model, X = factory(), one_hot_tensor(torch.from_numpy(random_codes(n_windows, length)))
    if name == SEQSAL:
        return lambda: seqsal.attribute(model, X=X, method=method)
    peer = PEERS[method][0]
    return lambda: peer(model, X, batch_size=int(name))


def first_calls(method: str, network: str, n_windows: int, n_rounds: int, best: str) -> Times:
    """Time the first call in a fresh process, round by round."""
    rounds = [contest(make, [SEQSAL, best], (method, network, n_windows), 1, warm=False) for _ in range(n_rounds)]
    return {name: [times[name][0] for times in rounds] for name in (SEQSAL, best)}


def compare(method: str, network: str, n_windows: int, n_rounds: int) -> None:
    batches = [str(size) for size in PEERS[method][1]]
    n_rounds = SLOW_ROUNDS if method in SLOW and n_windows > 1 else n_rounds
    warm = method not in SLOW
    times = contest(make, [SEQSAL, *batches], (method, network, n_windows), n_rounds, warm=warm)
    best = fastest(times, batches)
    first = first_calls(method, network, n_windows, min(n_rounds, 2), best) if n_windows == 1 else None
    for label, found in (("", times), *([(", first call", first)] if first else [])):
        median, least, most = ratios(found, best, SEQSAL)
        wanted = f"{1.0 if label else WANTED.get(method, 1.0):>8.1f}"
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
