"""One locus in a notebook: what a first and a second call of `seqsal.attribute` cost, as ratios of processor time.

    python benchmarks/locus.py [--rounds 12]

A second call on the same model, of one window of 2,114 bp given as an array: by `gradient_x_input` against a bare
forward and backward pass, by `deeplift_shap` against the engine alone; and the first call's overhead in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from contest import random_codes
from models import NETWORKS

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.io.inputs import open_codes
from seqsal.sequence.codes import one_hot
from seqsal.sequence.tensors import one_hot_tensor

NETWORK = "64-filter 8-block dilated CNN"


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(ours: Callable[[], object], theirs: Callable[[], object], n_rounds: int) -> tuple[float, float]:
    """Median of ours over theirs, taken in turns, and the median of theirs in seconds."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(n_rounds)]
    return statistics.median(a / b for a, b in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    n_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    factory, length = NETWORKS[NETWORK]
    codes = random_codes(1, length)
    X, device = one_hot(codes), torch.device("cpu")
    seqsal.attribute(factory(), X=X, device="cpu")  # what is imported is imported now
    net = factory().eval().requires_grad_(False)
    given = one_hot_tensor(torch.from_numpy(codes))

    def bare() -> None:
        window = given.clone().requires_grad_()
        torch.autograd.grad(net(window).sum(), window)

    first = seconds(lambda: seqsal.attribute(net, X=X, device="cpu"))
    of_bare, once = ratio(lambda: seqsal.attribute(net, X=X, device="cpu"), bare, n_rounds)
    print(f"gradient_x_input, second call / bare forward and backward: {of_bare:.2f}")
    print(f"first call: {first - once:.2f} s more than the bare passes")
    wrapped, options = seqsal.wrap(net, input_length=length), AttributeOptions("deeplift_shap")

    def engine() -> object:
        return attribute_windows(wrapped, open_codes(codes), options, device=device)

    engine()
    of_engine, _ = ratio(
        lambda: seqsal.attribute(net, X=X, method="deeplift_shap", device="cpu"), engine, max(n_rounds // 4, 3)
    )
    print(f"deeplift_shap, second call / the engine alone: {of_engine:.2f}")


if __name__ == "__main__":
    main()
