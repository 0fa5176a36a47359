"""Speed of `deeplift_shap` with 20 shuffled references against tangermeme at its best batch size, as ratios in one run.

    python benchmarks/deeplift.py [--rounds 5] [--windows 32]

Both make their own shuffles. Contenders take turns in every round, in random order, each in a process of its own; the
median over the rounds of each ratio is printed. Above 1 means that seqsal is faster. The networks use `nn.ReLU`
modules, each its own, because tangermeme sees nothing else.
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
from tangermeme.deep_lift_shap import deep_lift_shap

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.deeplift import DeepLiftShap
from seqsal.io.inputs import open_codes
from seqsal.sequence.tensors import one_hot_tensor

N_REFERENCES = 20
PEER_BATCHES = (2, 4, 8, 16, 32)
SEQSAL = "seqsal"


def random_codes(n_windows: int, length: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 4, (n_windows, length), dtype=np.uint8)


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


def serve(name: str, network: str, n_windows: int, pipe: Connection) -> None:
    """Run one contender in a process of its own, once for every message, and send back the seconds."""
    warnings.simplefilter("ignore")
    work = make(name, network, n_windows)
    work()
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
    length = NETWORKS[network][1]
    print(f"\n{network}: {n_windows} windows of {length} bp, {N_REFERENCES} references, {n_rounds} rounds")
    print(f"tangermeme (its best batch, {best}) time / seqsal time: {statistics.median(ratios):.2f}", end=" ")
    print(f"(least {min(ratios):.2f}, most {max(ratios):.2f})")
    print(f"seqsal: {n_windows / statistics.median(times[SEQSAL]):.2f} windows/s")


def compare_values(network: str) -> None:
    """Print the largest difference to tangermeme's values, with the same references."""
    factory, length = NETWORKS[network]
    X = one_hot_tensor(torch.from_numpy(random_codes(2, length)))
    method = DeepLiftShap(n_references=N_REFERENCES)
    model = seqsal.wrap(factory().requires_grad_(False), input_length=length)
    method.prepare(model, X[:1], 4)
    ours = method.attribute(model, X, np.arange(2)).hypothetical
    R = method.references_of(X, np.arange(2))
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
