"""Speed of `ism` against tangermeme's saturation mutagenesis at its best batch size, as ratios in one run.

    python benchmarks/ism.py [--rounds 3] [--windows 2]

tangermeme also computes only what a substitution changes, where that is faster and the job takes longer than thirty
seconds. The times of both include what each does to learn about the model before its first window. Contenders take
turns in every round, in random order, each in a process of its own; the median over the rounds of each ratio is
printed. Above 1 means that seqsal is faster.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from contest import contest, fastest, random_codes, ratios
from models import NETWORKS
from tangermeme.saturation_mutagenesis import saturation_mutagenesis

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.ism.mutants import Mutator
from seqsal.io.inputs import open_codes
from seqsal.sequence.tensors import one_hot_tensor

PEER_BATCHES = (32, 128, 512)
SEQSAL = "seqsal"
MAX_DIFFERENCE = 1e-4  # of the largest value


def make(name: str, network: str, n_windows: int) -> Callable[[], object]:
    """One contender on one network."""
    factory, length = NETWORKS[network]
    codes = random_codes(n_windows, length)
    if name == SEQSAL:
        model, source = seqsal.wrap(factory(), input_length=length), open_codes(codes)
        options = AttributeOptions("ism", n_controls=0)
        return lambda: attribute_windows(model, source, options, device=torch.device("cpu"))
    model, X = factory(), one_hot_tensor(torch.from_numpy(codes))
    return lambda: saturation_mutagenesis(model, X, batch_size=int(name), device="cpu", hypothetical=True)


def compare_speed(network: str, n_windows: int, n_rounds: int) -> None:
    peers = [str(size) for size in PEER_BATCHES]
    times = contest(make, [SEQSAL, *peers], (network, n_windows), n_rounds, warm=False)
    best = fastest(times, peers)
    median, least, most = ratios(times, best, SEQSAL)
    print(f"\n{network}: {n_windows} windows of {NETWORKS[network][1]} bp, {n_rounds} rounds")
    print(f"tangermeme (its best batch, {best}) time / seqsal time: {median:.2f}", end=" ")
    print(f"(least {least:.2f}, most {most:.2f})")
    print(f"seqsal: {n_windows / statistics.median(times[SEQSAL]):.2f} windows/s")


def compare_values(network: str) -> None:
    """Print the largest difference to whole forward passes by tangermeme, and fail where it is more than rounding.

    In double precision: a substitution changes the dilated network's output by 2e-4 of it at most, so that rounding the
    output to single precision is 7e-4 of the effects, for whole passes as well.
    """
    factory, length = NETWORKS[network]
    X = one_hot_tensor(torch.from_numpy(random_codes(1, length)))
    start, stop = length // 2 - 10, length // 2 + 10
    with torch.no_grad():
        mutator = Mutator(factory().double(), X.double(), 4, 64)
        outputs = mutator(X.double(), np.arange(start, stop))[0, :, start:stop]
    theirs = saturation_mutagenesis(
        factory().double(), X, start=start, end=stop, device="cpu", dtype=torch.float64, hypothetical=True, fast=False
    )[0]
    difference = float((outputs - outputs.mean(0) - theirs).abs().max() / theirs.abs().max())
    print(f"values against tangermeme: largest difference {difference:.1e} of the largest value")
    if not difference <= MAX_DIFFERENCE:
        raise SystemExit(f"values differ by {difference:.1e}, expected at most {MAX_DIFFERENCE:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=2)
    arguments = parser.parse_args()
    for network in NETWORKS:
        compare_speed(network, arguments.windows, arguments.rounds)
        compare_values(network)


if __name__ == "__main__":
    main()
