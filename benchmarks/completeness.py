"""Do contributions add up? DeepLIFT over every kind of operation: seqsal, captum and tangermeme.

    python benchmarks/completeness.py [--windows 8]

For each network of `toy_operations.py`, the largest |Σ contributions − (f(X) − f(R))| / |f(X) − f(R)| over some
windows, one shuffled reference each, in float64. What a peer refuses is shown as such; a peer that goes on with a
warning is shown with the error that it warns of.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import DeepLift
from tangermeme.deep_lift_shap import deep_lift_shap
from torch import nn
from toy_operations import LENGTH, OPERATIONS, toy

from seqsal.attribution.methods.contributions import DeepLiftShap
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.sequence.tensors import one_hot_tensor

Tensor = torch.Tensor
GOOD = 1e-6


class Column(nn.Module):
    """(N,) → (N, 1), which the peers expect."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, X: Tensor) -> Tensor:
        """Score windows."""
        return self.model(X)[:, None]


def seqsal_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    method = DeepLiftShap(n_references=1, seed=1)
    method.prepare(model, X[:1], len(X))
    scores = method.attribute(model, X)
    return (scores.hypothetical * X).sum((1, 2))


def captum_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    attributions = DeepLift(Column(model)).attribute(X.clone().requires_grad_(), R, target=0)
    return attributions.detach().sum((1, 2))


def tangermeme_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    attributions = deep_lift_shap(Column(model), X, references=R[:, None], device="cpu", raw_outputs=False)
    return attributions.sum((1, 2))


def error(contender: Callable[[nn.Module, Tensor, Tensor], Tensor], name: str, X: Tensor, R: Tensor) -> str:
    model = toy(name).double()
    difference = model(X) - model(R)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            total = contender(model, X, R)
    except Exception as refusal:  # a peer may fail in any way
        return f"fails ({type(refusal).__name__})"
    return f"{float(((total - difference).abs() / difference.abs()).max()):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=8)
    n_windows = parser.parse_args().windows
    codes = np.random.default_rng(0).integers(0, 4, (n_windows, LENGTH), dtype=np.uint8)
    X, R = (one_hot_tensor(torch.from_numpy(c)).double() for c in (codes, dinucleotide_shuffle(codes, seed=1)))
    contenders = {"seqsal": seqsal_sum, "captum": captum_sum, "tangermeme": tangermeme_sum}
    print(f"largest relative error of the sum over {n_windows} windows of {LENGTH} bp, float64\n")
    print(f"{'operation':<34}" + "".join(f"{name:>22}" for name in contenders))
    n_good = dict.fromkeys(contenders, 0)
    for operation in OPERATIONS:
        cells = {name: error(contender, operation, X, R) for name, contender in contenders.items()}
        for name, cell in cells.items():
            n_good[name] += not cell.startswith("fails") and float(cell) < GOOD
        print(f"{operation:<34}" + "".join(f"{cell:>22}" for cell in cells.values()))
    print(f"\n{'below ' + format(GOOD, '.0e'):<34}" + "".join(f"{n:>15} of {len(OPERATIONS)}" for n in n_good.values()))


if __name__ == "__main__":
    main()
