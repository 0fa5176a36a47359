"""Speed of `ism` against tangermeme's saturation mutagenesis at its best batch size, as ratios in one run.

    python benchmarks/ism.py [--rounds 3] [--windows 2]

tangermeme also computes only what a substitution changes, where that is faster and the job takes longer than thirty
seconds. The times of both include what each does to learn about the model before its first window. Contenders take
turns in every round, in random order, each in a process of its own; the median over the rounds of each ratio is
printed. Above 1 means that seqsal is faster.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from models import NETWORKS
from numpy.typing import NDArray
from tangermeme.saturation_mutagenesis import saturation_mutagenesis

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.mutants import Mutator
from seqsal.io.inputs import open_codes
from seqsal.sequence.tensors import one_hot_tensor

PEER_BATCHES = (32, 128, 512)
SEQSAL = "seqsal"
MAX_DIFFERENCE = 1e-4  # of the largest value


def random_codes(n_windows: int, length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 4, (n_windows, length), dtype=np.uint8)


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


def serve(name: str, network: str, n_windows: int, pipe: Connection) -> None:
    """Time one contender in a process of its own, once for every message."""
    warnings.simplefilter("ignore")
    work = make(name, network, n_windows)
    pipe.send(0.0)
    while pipe.recv():
        start = time.perf_counter()
        work()
        pipe.send(time.perf_counter() - start)


def compare_speed(network: str, n_windows: int, n_rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    names = [SEQSAL, *map(str, PEER_BATCHES)]
    pipes = {}
    for name in names:
        pipes[name], child = context.Pipe()
        context.Process(target=serve, args=(name, network, n_windows, child), daemon=True).start()
        pipes[name].recv()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(n_rounds):
        random.shuffle(names)
        for name in names:
            pipes[name].send(True)
            times[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    best = min(map(str, PEER_BATCHES), key=lambda name: statistics.median(times[name]))
    ratios = [theirs / ours for theirs, ours in zip(times[best], times[SEQSAL], strict=True)]
    print(f"\n{network}: {n_windows} windows of {NETWORKS[network][1]} bp, {n_rounds} rounds")
    print(f"tangermeme (its best batch, {best}) time / seqsal time: {statistics.median(ratios):.2f}", end=" ")
    print(f"(least {min(ratios):.2f}, most {max(ratios):.2f})")
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
