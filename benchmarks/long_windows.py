"""Windows of 196,608, 524,288 and 1,048,576 bp: memory and time of a gradient, against a bare loop, and what fits.

    python benchmarks/long_windows.py [--models enformer borzoi unet] [--limit 6] [--narrow 8] [--largest 2]

Each model has random weights and its own depth, kernels and window; its widths are divided by `--narrow` (1 for those
of the paper), since a full Enformer keeps some 40 GB of one window. `enformer` is enformer-pytorch's, `borzoi` is
borzoi-pytorch's (of fewer heads, too), `unet` is made here: seven halvings, attention by
F.scaled_dot_product_attention at 128 bp, and back.

Everything runs in a process of its own with the address space limited to `--limit` GB above what it holds when model
and window are made. First a bare forward and backward pass of the model with frozen weights, and `seqsal.attribute` by
`gradient_x_input`, its second call: processor time and the most memory that was resident. Then both again with a limit
of 75 % of what the bare loop took. `--largest GB` widens the window until a map does not fit, up to `--longest` bp,
with what seqsal does about it and without; 0 leaves that out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import seqsal
from seqsal.models import recompute

LENGTHS = {"enformer": 196_608, "borzoi": 524_288, "unet": 1_048_576}
Tensor = torch.Tensor


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int = 2) -> None:
        super().__init__()
        self.norm, self.qkv, self.out, self.n_heads = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(
            width, width), n_heads  # fmt: skip

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(h)).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(n_in, n_out, 5, padding=2), nn.BatchNorm1d(n_out), nn.GELU())
        self.more = nn.Sequential(nn.Conv1d(n_out, n_out, 5, padding=2), nn.BatchNorm1d(n_out), nn.GELU())

    def forward(self, h: Tensor) -> Tensor:
        h = self.conv(h)
        return h + self.more(h)


class UNet(nn.Module):
    """Down to 128 bp, attention, and up to single bases, two tracks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * (2 + i) // 2 for i in range(8)]
        self.stem = nn.Conv1d(4, widths[0], 15, padding=7)
        self.down = nn.ModuleList(_Block(a, b) for a, b in itertools.pairwise(widths))
        self.middle = nn.Sequential(*(_Attention(widths[-1]) for _ in range(4)))
        self.up = nn.ModuleList(_Block(b, a) for a, b in reversed(list(itertools.pairwise(widths))))
        self.head = nn.Conv1d(widths[0], 2, 1)

    def forward(self, X: Tensor) -> Tensor:
        """(N, 4, L) → (N, 2, L)."""
        h, kept = self.stem(X), []
        for block in self.down:
            h = F.max_pool1d(block(h), 2)
            kept.append(h)
        h = self.middle(h.mT).mT
        for block, skip in zip(self.up, reversed(kept), strict=True):
            h = block(F.interpolate(h + skip, scale_factor=2))
        return F.softplus(self.head(h))


def make(name: str, narrow: int) -> tuple[nn.Module, dict[str, Any]]:
    """Make a model, and say how it is read."""
    torch.manual_seed(0)
    if name == "enformer":
        from enformer_pytorch import Enformer

        module = Enformer.from_hparams(
            dim=1536 // narrow, depth=11, heads=8, output_heads={"human": 16}, target_length=896, use_tf_gamma=False,
            dim_divisible_by=128 // narrow, attn_dim_key=64 // narrow,
        )  # fmt: skip
        return module, {"layout": "NLC", "output": "human", "reduce": "mean", "track_layout": "NLT"}
    if name == "borzoi":
        return _borzoi(narrow), {"reduce": "mean"}
    return UNet(64 // narrow), {"reduce": "mean"}


class _NarrowNN:
    """torch.nn with the widths that borzoi-pytorch has written down divided."""

    def __init__(self, narrow: int) -> None:
        self.narrow = narrow

    def __getattr__(self, name: str) -> Any:
        kind = getattr(nn, name)
        if name not in ("Conv1d", "BatchNorm1d"):
            return kind
        width = {n: n // self.narrow for n in (512, 608, 736, 896, 1056, 1280, 1920)}

        class Narrow(kind):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, **more: Any) -> None:
                super().__init__(
                    *(width.get(one, one) for one in args), **{key: width.get(one, one) for key, one in more.items()}
                )

        return Narrow


def _borzoi(narrow: int) -> nn.Module:
    import borzoi_pytorch.pytorch_borzoi_model as borzoi

    borzoi.nn = _NarrowNN(narrow)
    module = borzoi.Borzoi.from_hparams(
        dim=1536 // narrow, heads=max(8 // narrow, 1), attn_dim_key=64, attn_dim_value=192,
    )  # fmt: skip
    module.human_head = nn.Conv1d(1920 // narrow, 16, 1)
    found: nn.Module = module
    return found


def work(
    how: str, name: str, narrow: int, length: int, limit: float, method: str = "gradient_x_input", n_runs: int = 2
) -> dict[str, float]:
    """Take one map, bare or by seqsal, with memory limited; seconds of the last run and GB."""
    torch.set_num_threads(1)
    module, reading = make(name, narrow)
    module = module.eval().requires_grad_(False)
    codes = np.random.default_rng(0).integers(0, 4, (1, length))
    X = torch.from_numpy(np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1).copy())
    if how == "kept":
        recompute.free_bytes = lambda device: 1 << 62
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = _resident()
    bound = held + int(limit * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))

    def bare() -> None:
        window = X.clone().requires_grad_()
        fed = window.mT if reading.get("layout") == "NLC" else window
        out = module(fed)
        out = out[reading["output"]][..., 0] if "output" in reading else out[:, 0]
        torch.autograd.grad(out.mean(), window)

    def ours() -> None:
        options = {"n_references": 1, "allow_incomplete": True} if method == "deeplift_shap" else {}
        seqsal.attribute(model, X=X.numpy(), method=method, device="cpu", **options)

    model = None if how == "bare" else seqsal.wrap(module, **reading)
    run = bare if how == "bare" else ours
    try:
        for _ in range(n_runs):
            begun = time.process_time()
            run()
    except (RuntimeError, MemoryError, seqsal.SeqsalError) as error:
        return {"failed": 1, "why": str(error)[:80]}  # type: ignore[dict-item]
    return {"seconds": time.process_time() - begun, "gigabytes": _resident() - before}


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(*given: Any) -> dict[str, Any]:
    """Work in a process of its own."""
    call = [sys.executable, __file__, "--work", json.dumps(given)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"failed": 1, "why": f"exit {done.returncode}: {done.stderr[-80:]}"}


def shown(found: dict[str, Any]) -> str:
    """Seconds and memory, or that it does not fit."""
    if "failed" in found:
        return f"does not fit ({found['why']})"
    return f"{found['seconds']:.0f} s, {found['gigabytes']:.2f} GB"


WAYS = {"kept": "all kept", "ours": "as seqsal chooses"}


def largest(how: str, name: str, method: str, given: argparse.Namespace) -> str:
    """Widen the window by a half until it does not fit."""
    length, fit = 1 << 16, 0
    while length <= given.longest and "failed" not in measure(
        how, name, given.narrow, length, given.largest, method, 1
    ):
        length, fit = length * 3 // 2 // 128 * 128, length
    return f"{fit:,} bp fit" + (f", {length:,} do not" if length <= given.longest else ", the longest that was tried")


def main() -> None:
    """Print what each model takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--limit", type=float, default=6)
    parser.add_argument("--narrow", type=int, default=8)
    parser.add_argument("--largest", type=float, default=2)
    parser.add_argument("--longest", type=int, default=1 << 20)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(*given.work)))
        return
    for name in given.models:
        length = LENGTHS[name]
        bare = measure("bare", name, given.narrow, length, given.limit)
        ours = measure("ours", name, given.narrow, length, given.limit)
        print(f"{name}, {length:,} bp, widths / {given.narrow}, {given.limit:g} GB", flush=True)
        print(f"  bare {shown(bare)}; seqsal {shown(ours)}", flush=True)
        if "failed" not in {**bare, **ours}:
            print(f"  speed against the bare loop: {bare['seconds'] / ours['seconds']:.2f}", flush=True)
            tight = 0.75 * bare["gigabytes"]
            for how in ("bare", "ours"):
                found = measure(how, name, given.narrow, length, tight)
                print(f"  with {tight:.2f} GB: {'seqsal' if how == 'ours' else how} {shown(found)}", flush=True)
    if given.largest:
        for name, method in itertools.product(given.models, ("gradient_x_input", "deeplift_shap")):
            for how in ("kept", "ours"):
                print(
                    f"{name}, {given.largest:g} GB, {method}, {WAYS[how]}: {largest(how, name, method, given)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
