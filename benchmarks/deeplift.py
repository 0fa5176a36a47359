"""Speed of `deeplift_shap` with 20 shuffled references against tangermeme at its best batch size, as ratios in one run.

    python benchmarks/deeplift.py [--rounds 5] [--windows 32]

Both make their own shuffles. Contenders take turns in every round, in random order, each in a process of its own; the
median over the rounds of each ratio is printed. Above 1 means that seqsal is faster. The networks use `nn.ReLU`
modules, each its own, because tangermeme sees nothing else.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from contest import contest, fastest, random_codes, ratios
from models import NETWORKS
from tangermeme.deep_lift_shap import deep_lift_shap

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.methods.contributions import DeepLiftShap
from seqsal.io.inputs import open_codes
from seqsal.sequence.tensors import one_hot_tensor

N_REFERENCES = 20
PEER_BATCHES = (2, 4, 8, 16, 32)
SEQSAL = "seqsal"


def make(name: str, network: str, n_windows: int) -> Callable[[], object]:
    """One contender on one network."""
    factory, length = NETWORKS[network]
    codes = random_codes(n_windows, length)
    if name == SEQSAL:
        model, source = seqsal.wrap(factory(), input_length=length), open_codes(codes)
        options = AttributeOptions("deeplift_shap", n_controls=0, method_options={"n_references": N_REFERENCES})
        return lambda: attribute_windows(model, source, options, device=torch.device("cpu"))
    model, X = factory(), one_hot_tensor(torch.from_numpy(codes))
    return lambda: deep_lift_shap(
        model, X, n_shuffles=N_REFERENCES, batch_size=int(name), device="cpu", warning_threshold=1e9
    )


def compare_speed(network: str, n_windows: int, n_rounds: int) -> None:
    peers = [str(size) for size in PEER_BATCHES]
    times = contest(make, [SEQSAL, *peers], (network, n_windows), n_rounds)
    best = fastest(times, peers)
    median, least, most = ratios(times, best, SEQSAL)
    length = NETWORKS[network][1]
    print(f"\n{network}: {n_windows} windows of {length} bp, {N_REFERENCES} references, {n_rounds} rounds")
    print(f"tangermeme (its best batch, {best}) time / seqsal time: {median:.2f}", end=" ")
    print(f"(least {least:.2f}, most {most:.2f})")
    print(f"seqsal: {n_windows / statistics.median(times[SEQSAL]):.2f} windows/s")


def compare_values(network: str) -> None:
    """Print the largest difference to tangermeme's values, with the same references."""
    factory, length = NETWORKS[network]
    X = one_hot_tensor(torch.from_numpy(random_codes(2, length)))
    method = DeepLiftShap(n_references=N_REFERENCES)
    model = seqsal.wrap(factory().requires_grad_(False), input_length=length)
    method.prepare(model, X[:1], 4)
    ours = method.attribute(model, X).hypothetical
    R = method.references_of(X)
    theirs = deep_lift_shap(factory(), X, references=R, hypothetical=True, device="cpu", warning_threshold=1e9)
    error = float((ours - theirs).abs().max() / theirs.abs().max())
    print(f"values against tangermeme: largest difference {error:.1e} of the largest value")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=32)
    arguments = parser.parse_args()
    for network in NETWORKS:
        compare_speed(network, arguments.windows, arguments.rounds)
        compare_values(network)


if __name__ == "__main__":
    main()
