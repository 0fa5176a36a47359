"""Foreign architectures × methods: what works, and what one is told where it does not.

    python benchmarks/zoo.py [--write docs/models.md]

A small network of each kind goes through `seqsal.attribute` by each method. *right* means: gradient × input agrees with
autograd on the model as it is read, mutagenesis with whole forward passes, integrated gradients and DeepLIFT with their
promised sum to 1 %, grad_cam with hooks on its layer, and cam with the output, which its mean gives. *ran* is a map
whose layer shows none of this. The remedies stand below the table.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import seqsal
from seqsal.errors import SeqsalError

LENGTH = 40
METHODS = ("gradient_x_input", "integrated_gradients", "deeplift_shap", "ism", "grad_cam", "cam")
Tensor = torch.Tensor


class _Net(nn.Module):
    """Convolution → body (N, 6, L) → mean → linear head."""

    def __init__(self, body: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv1d(4, 6, 5, padding=2), body or nn.ReLU(), nn.Linear(6, 1)

    def forward(self, X: Tensor) -> Tensor:
        return self.head(self.body(self.stem(X)).mean(-1))


class _Attentive(nn.Module):
    """Both of torch's layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(4, 6, 5), nn.Linear(6, 1)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)

    def forward(self, X: Tensor) -> Tensor:
        h = self.stem(X).mT
        return self.head(self.encoder(self.attention(h, h, h, need_weights=False)[0]).mean(1))


class _Lines(nn.Module):
    """A layer that reads (N, L, 6)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, h: Tensor) -> Tensor:
        out = self.layer(h.mT)
        return (out[0] if isinstance(out, tuple) else out).mT


class _Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: Tensor) -> Tensor:
        return self.function(h)


class _Residual(nn.Module):
    """Dilated convolutions around which values pass, as in BPNet and SpliceAI."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(6, 6, 3, padding=2**i, dilation=2**i) for i in range(3))

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h = h + layer(h).relu()
        return h


class _Scan(nn.Module):
    """A selective state space, step by step, as Mamba's in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv1d(6, 6, 1)

    def forward(self, h: Tensor) -> Tensor:
        decay, state, out = torch.sigmoid(self.gate(h)), torch.zeros_like(h[..., 0]), []
        for i in range(h.shape[-1]):
            state = decay[..., i] * state + (1 - decay[..., i]) * h[..., i]
            out.append(state)
        return torch.stack(out, -1) * F.silu(h)


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return h * torch.sigmoid(h)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return grads[0] * torch.sigmoid(h) * (1 + h * (1 - torch.sigmoid(h)))


def long_filter(h: Tensor) -> Tensor:
    n = 2 * h.shape[-1]
    weights = torch.fft.rfft(torch.linspace(1, 0, h.shape[-1]), n=n)
    return torch.fft.irfft(torch.fft.rfft(h, n=n) * weights, n=n)[..., : h.shape[-1]].relu()


def attention_pool(h: Tensor) -> Tensor:
    h = h.unflatten(2, (-1, 2))
    return (h * (3 * h).softmax(-1)).sum(-1)


class _Tokens(nn.Module):
    """Looks bases up by number."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.net = nn.Embedding(4, 4), _Net()

    def forward(self, codes: Tensor) -> Tensor:
        return self.net(self.table(codes).mT)


class _TwoHeads(nn.Module):
    """A profile and log counts, as BPNet."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.profile, self.counts = _Residual(), nn.Conv1d(6, 2, 3), nn.Linear(6, 1)
        self.stem = nn.Conv1d(4, 6, 5, padding=2)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(self.stem(X))
        return self.profile(h), self.counts(h.mean(-1))


class _Ensemble(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(_Net() for _ in range(3))

    def forward(self, X: Tensor) -> Tensor:
        return torch.stack([member(X) for member in self.members]).mean(0)


def compiled_part() -> nn.Module:
    module = _Net(nn.Sequential(nn.ReLU(), nn.Conv1d(6, 6, 3, padding=1)))
    module.body.compile()
    return module


def exported(module: nn.Module) -> nn.Module:
    shapes = ({0: torch.export.Dim("n", min=1)},)
    return torch.export.export(module.eval(), (windows(),), dynamic_shapes=shapes).module()


def quantised() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 8), nn.ReLU(), nn.Linear(8, 1))
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear})


def recurrent(kind: type[nn.RNNBase]) -> nn.Module:
    return _Net(_Lines(kind(6, 3, batch_first=True, bidirectional=True)))


def transformer() -> nn.Module:
    return _Net(_Lines(nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)))


MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "CNN, ReLU and average (DeepSTARR, Basset)": (_Net, {}),
    "max pooling": (lambda: _Net(nn.Sequential(nn.ReLU(), nn.MaxPool1d(4))), {}),
    "dilated residual (SpliceAI)": (lambda: _Net(_Residual()), {}),
    "BPNet, log counts": (_TwoHeads, {"output": 1}),
    "BPNet, profile": (_TwoHeads, {"output": 0, "reduce": "profile"}),
    "BPNet, profile over both strands": (_TwoHeads, {"output": 0, "reduce": "profile_both"}),
    "LSTM (DanQ)": (lambda: recurrent(nn.LSTM), {}),
    "GRU": (lambda: recurrent(nn.GRU), {}),
    "attention pooling (Enformer)": (lambda: _Net(_Applied(attention_pool)), {}),
    "transformer encoder (Borzoi)": (transformer, {}),
    "state space, plain torch (Mamba)": (lambda: _Net(_Scan()), {}),
    "long convolution by FFT (Hyena)": (lambda: _Net(_Applied(long_filter)), {}),
    "numbers of bases, embedding": (_Tokens, {"layout": "NL"}),
    "`autograd.Function`, old style": (lambda: _Net(_Applied(_Swish.apply)), {}),
    "ensemble": (_Ensemble, {}),
    "float64 weights": (lambda: _Net().double(), {}),
    "torch.compile": (lambda: torch.compile(_Net()), {}),
    "compiled part (cherimoya)": (compiled_part, {}),
    "scripted": (lambda: torch.jit.script(_Net()), {}),
    "traced": (lambda: torch.jit.trace(_Net(), windows()), {}),
    "attention and encoder, scripted": (lambda: torch.jit.script(_Attentive()), {}),
    "attention and encoder, traced": (lambda: torch.jit.trace(_Attentive().eval(), windows(), check_trace=False), {}),
    "the same, traced under no_grad": (lambda: torch.no_grad()(torch.jit.trace)(_Attentive().eval(), windows()), {}),
    "frozen script": (lambda: torch.jit.freeze(torch.jit.script(_Net().eval())), {}),
    "exported": (lambda: exported(_Net()), {}),
    "bases through argmax": (lambda: nn.Sequential(_Applied(lambda X: X.argmax(1)), _Tokens()), {}),
    "whole numbers out (classes, counts)": (
        lambda: nn.Sequential(_Net(), _Applied(lambda z: (1e4 * z).round().long())),
        {},
    ),
    "quantised at run time": (quantised, {}),
    "reentrant checkpoint": (lambda: _Net(_Applied(lambda h: checkpoint(torch.relu, h, use_reentrant=True))), {}),
}


def windows() -> Tensor:
    """Three windows of random bases, (3, 4, L)."""
    codes = torch.randint(0, 4, (3, LENGTH), generator=torch.Generator().manual_seed(0))
    return F.one_hot(codes, 4).mT.float().contiguous()


def verdict(module: nn.Module, reading: dict[str, Any], method: str) -> str:
    """`right`, `ran`, `off by …`, or what a user is told."""
    X = windows()
    try:
        model = seqsal.wrap(module, input_length=LENGTH, **reading)
        attr = seqsal.attribute(model, X=X, method=method, device="cpu")
    except SeqsalError as error:
        return str(error)
    if method == "cam":  # whose mean and the head's bias are the output, where the map has a value for each base
        rest = np.asarray(attr.prediction) - np.asarray(attr.track).mean(1)
        return "right" if np.ptp(rest) < 1e-3 * np.ptp(np.asarray(attr.prediction)) else "ran"
    if attr.completeness_error is not None:
        error = float(np.max(attr.completeness_error))
        return "right" if error < 0.01 else "no sum" if model.readout.weighs_logits else f"off by {error:.2g}"
    expected = _grad_cam(model, X) if method == "grad_cam" else _expected(model, X, method)
    if expected is None:
        return "ran"
    found = torch.from_numpy(np.asarray(attr.track)).double()
    error = float((found - expected).abs().max() / expected.abs().max())
    return "right" if error < 1e-3 else f"off by {error:.2g}"


def _grad_cam(model: Any, X: Tensor) -> Tensor | None:
    """Weigh what hooks see of the last wide convolution with a gradient that does not cancel; None without hooks."""
    seen: list[Tensor] = []
    found: Tensor | None = None
    layers = [part for part in model.modules() if isinstance(part, nn.Conv1d) and part.kernel_size[0] > 1]
    hooks = [layer.register_forward_hook(lambda _, __, out: seen.append(out)) for layer in layers]
    with model.frozen():
        total = model(X.clone().requires_grad_()).sum()
    for hook in hooks:
        hook.remove()
    for A, G in zip(seen, torch.autograd.grad(total, seen, allow_unused=True) if seen else (), strict=True):
        if G is not None and G.mean(2).abs().max() > 1e-4 * G.abs().max() and A.shape[2] == LENGTH:
            found = (G.mean(2, keepdim=True) * A).sum(1).double().detach()
    return found


def _expected(model: Any, X: Tensor, method: str) -> Tensor:
    if method == "gradient_x_input":
        with model.frozen():
            leaf = X.clone().requires_grad_()
            (g,) = torch.autograd.grad(model(leaf).sum(), leaf)
        return ((g - g.mean(1, keepdim=True)) * X).sum(1).double()
    track = torch.zeros(len(X), LENGTH, dtype=torch.float64)
    with model.frozen(), torch.no_grad():
        for i in range(LENGTH):
            changed = X.repeat(4, 1, 1)
            changed[:, :, i] = torch.eye(4).repeat_interleave(len(X), 0)
            scores = model(changed).double().reshape(4, len(X))
            track[:, i] = model(X).double() - scores.mean(0)
    return track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="put the table into this file, between its markers")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    options = parser.parse_args()
    told: dict[str, int] = {}
    lines = ["| | " + " | ".join(METHODS) + " |", "| --- |" + " --- |" * len(METHODS)]
    for name, (make, reading) in MODELS.items():
        torch.manual_seed(0)
        module = make()
        cells = []
        for method in METHODS:
            cell = verdict(module, reading, method)
            if len(cell) > 20:
                cell = re.sub(r"(?<=off by )[\d.]+", "…", cell.replace(f"; {method} needs", "; … needs"))
                cell = f"refused ({told.setdefault(cell, len(told) + 1)})"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    text = "\n".join([*lines, "", *(f"{number}. {message}" for message, number in told.items())])
    print(text)
    if options.write:
        before, start, rest = options.write.read_text().partition("<!-- table -->\n")
        _, end, after = rest.partition("<!-- end -->")
        options.write.write_text(f"{before}{start}{text}\n{end}{after}")


if __name__ == "__main__":
    main()
