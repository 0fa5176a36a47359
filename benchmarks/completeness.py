"""Do contributions add up? DeepLIFT over every kind of operation: seqsal, captum and tangermeme.

    python benchmarks/completeness.py [--windows 8] [--no-peers]

For each network of `toy_operations.py`, the largest |Σ contributions − (f(X) − f(R))| / |f(X) − f(R)| over some
windows, one shuffled reference each: seqsal on the eager, scripted, traced and compiled network in float64 and float32,
the peers on the eager one in float64. What a peer refuses is shown as such; a peer that goes on with a warning is shown
with the error that it warns of.
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

from seqsal.attribution.methods import deeplift_shap
from seqsal.models.state import frozen
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.sequence.tensors import one_hot_tensor

Tensor = torch.Tensor
GOOD = {torch.float64: 1e-6, torch.float32: 1e-3}


class Column(nn.Module):
    """(N,) → (N, 1), which the peers expect."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, X: Tensor) -> Tensor:
        """Score windows."""
        return self.model(X)[:, None]


def seqsal_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    with frozen(model):
        return deeplift_shap(model, X, references=R[:, None]).track(X).sum(1)


def captum_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    attributions = DeepLift(Column(model)).attribute(X.clone().requires_grad_(), R, target=0)
    return attributions.detach().sum((1, 2))


def tangermeme_sum(model: nn.Module, X: Tensor, R: Tensor) -> Tensor:
    attributions = deep_lift_shap(Column(model), X, references=R[:, None], device="cpu", raw_outputs=False)
    return attributions.sum((1, 2))


def compiled(model: nn.Module, X: Tensor) -> nn.Module:
    """Compile the part of a network that has the operation."""
    model.body.compile()
    return model


FORMS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "eager": lambda model, X: model,
    "scripted": lambda model, X: torch.jit.script(model),
    "traced": lambda model, X: torch.jit.trace(model.requires_grad_(), X, check_trace=False),  # as models come
    "compiled": compiled,
}


def error(contender: Callable[[nn.Module, Tensor, Tensor], Tensor], name: str, form: str, X: Tensor, R: Tensor) -> str:
    model = toy(name).to(X.dtype)
    difference = model(X) - model(R)
    try:
        model = FORMS[form](model, X)
    except Exception:  # a toy whose operation is a Python function
        return "no script"
    try:
        total = contender(model, X, R)
    except Exception as refusal:  # a peer may fail in any way
        return f"fails ({type(refusal).__name__})"
    return f"{float(((total - difference).abs() / difference.abs()).max()):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    codes = np.random.default_rng(0).integers(0, 4, (options.windows, LENGTH), dtype=np.uint8)
    shuffled = dinucleotide_shuffle(codes, seed=1)
    columns = [("seqsal", form, dtype) for form in FORMS for dtype in (torch.float64, torch.float32)]
    columns += [(peer, "eager", torch.float64) for peer in ("captum", "tangermeme") if options.peers]
    contenders = {"seqsal": seqsal_sum, "captum": captum_sum, "tangermeme": tangermeme_sum}
    headers = [f"{form if who == 'seqsal' else who} f{torch.finfo(dtype).bits}" for who, form, dtype in columns]
    print(f"largest relative error of the sum over {options.windows} windows of {LENGTH} bp; seqsal's forms, and peers")
    print(f"\n{'operation':<32}" + "".join(f"{name:>14}" for name in headers))
    good, tried = [0] * len(columns), [0] * len(columns)
    for operation in OPERATIONS:
        cells = []
        for i, (who, form, dtype) in enumerate(columns):
            X, R = (one_hot_tensor(torch.from_numpy(c)).to(dtype) for c in (codes, shuffled))
            cells.append(error(contenders[who], operation, form, X, R))
            tried[i] += cells[-1] != "no script"
            good[i] += cells[-1][0].isdigit() and float(cells[-1]) < GOOD[dtype]
        print(f"{operation:<32}" + "".join(f"{cell[:13]:>14}" for cell in cells), flush=True)
    share = [f"{n} of {total}" for n, total in zip(good, tried, strict=True)]
    print(f"\n{'below 1e-6 (f64), 1e-3 (f32)':<32}" + "".join(f"{cell:>14}" for cell in share))


if __name__ == "__main__":
    main()
