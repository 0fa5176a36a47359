"""Speed and values of gradient × input against a bare loop, captum and tangermeme, as ratios in one run.

    python benchmarks/attribution.py [--rounds 5] [--windows 64] [--command-windows 1000] [--device cpu]

Contenders take turns in every round and the median over the rounds of each ratio is printed, so that a machine whose
speed drifts does not decide. Above 1 means that seqsal is faster.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import captum.attr
import numpy as np
import torch
from models import dilated_cnn
from tangermeme.saliency import saliency as tangermeme_saliency

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.attribution.engine import default_n_controls
from seqsal.io.inputs import open_codes, open_input
from seqsal.sequence.codes import decode
from seqsal.sequence.tensors import one_hot_tensor

LENGTH = 2114
BARE_BATCHES = (1, 2, 4, 8, 16, 32, 64)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bare_loop(model: torch.nn.Module, X: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Forward, backward, times input, with frozen parameters; nothing else."""
    tracks = []
    for start in range(0, len(X), batch_size):
        x = X[start : start + batch_size].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
        tracks.append((gradient * x.detach()).sum(1))
    return torch.cat(tracks)


def captum_loop(model: torch.nn.Module, X: torch.Tensor, batch_size: int = 64) -> torch.Tensor:
    method = captum.attr.InputXGradient(model)
    parts = [
        method.attribute(X[start : start + batch_size].detach().requires_grad_(), target=0).detach()
        for start in range(0, len(X), batch_size)
    ]
    return torch.cat(parts).sum(1)


def compare_engines(n_windows: int, n_rounds: int, device: torch.device) -> None:
    codes = np.random.default_rng(0).integers(0, 4, (n_windows, LENGTH), dtype=np.uint8)
    source = open_codes(codes)
    X = one_hot_tensor(torch.from_numpy(codes)).to(device)
    frozen = dilated_cnn().requires_grad_(False).to(device)
    peer = dilated_cnn().to(device)
    ours = seqsal.wrap(dilated_cnn(), input_length=LENGTH)
    plain = AttributeOptions(n_controls=0, method_options={"gradient_correction": False})
    corrected = AttributeOptions(n_controls=0)
    contenders: dict[str, Callable[[], object]] = {
        "captum InputXGradient, batch 64": lambda: captum_loop(peer, X),
        "tangermeme saliency, defaults": lambda: tangermeme_saliency(peer, X.cpu(), device=device),
    }
    for size in BARE_BATCHES:
        contenders[f"bare loop, batch {size}"] = lambda size=size: bare_loop(frozen, X, size)
    mine = lambda: attribute_windows(ours, source, corrected, device=device)  # noqa: E731
    times: dict[str, list[float]] = {name: [] for name in contenders}
    own: list[float] = []
    mine()
    for _ in range(n_rounds):
        own.append(seconds(mine))
        for name, work in contenders.items():
            times[name].append(seconds(work))
    bare = {name: statistics.median(values) for name, values in times.items() if name.startswith("bare")}
    best = min(bare, key=bare.__getitem__)
    print(f"\n{n_windows} windows of {LENGTH} bp, 64-filter 8-block dilated CNN, {device}, {n_rounds} rounds")
    print(f"{'peer':<36}{'peer time / seqsal time':>24}{'least':>8}{'most':>8}")
    for name in (best, *[name for name in times if not name.startswith("bare")]):
        ratios = [theirs / ours_ for theirs, ours_ in zip(times[name], own, strict=True)]
        label = f"{name} (its best)" if name == best else name
        print(f"{label:<36}{statistics.median(ratios):>24.2f}{min(ratios):>8.2f}{max(ratios):>8.2f}")
    print(f"seqsal: {n_windows / statistics.median(own):.1f} windows/s")
    compare_values(ours, source, peer, X, plain, corrected, device)


def compare_values(ours, source, peer, X, plain, corrected, device) -> None:  # type: ignore[no-untyped-def]
    """Print the largest difference relative to the largest value of the track."""
    theirs = {
        "captum": (captum_loop(peer, X), attribute_windows(ours, source, plain, device=device).track),
        "tangermeme": (
            tangermeme_saliency(peer, X.cpu(), device=device).sum(1),
            attribute_windows(ours, source, corrected, device=device).track,
        ),
    }
    for name, (expected, got) in theirs.items():
        expected = expected.cpu().numpy()
        error = np.abs(np.asarray(got) - expected).max() / np.abs(expected).max()
        print(f"values against {name}: largest difference {error:.1e} of the largest attribution")


def compare_command(n_windows: int, device: torch.device) -> None:
    """Time the whole command, FASTA + BED → HDF5 + bigWig, against the engine on the same windows in memory."""
    with tempfile.TemporaryDirectory() as folder:
        genome, regions = write_inputs(Path(folder), n_windows)
        command = [
            sys.executable, "-m", "seqsal", "attribute", "--model", "models:dilated_cnn", "--input-length", str(LENGTH),
            "--genome", str(genome), "--regions", str(regions), "--out", f"{folder}/A.h5", "--bigwig", f"{folder}/A.bw",
            "--device", str(device), "--quiet",
        ]  # fmt: skip
        whole = seconds(lambda: subprocess.run(command, check=True, cwd=Path(__file__).parent))
        with open_input(genome=genome, regions=regions, length=LENGTH) as source:
            codes = source.read(slice(0, n_windows))
        model, options = seqsal.wrap(dilated_cnn(), input_length=LENGTH), AttributeOptions()
        memory = open_codes(codes)
        engine = seconds(lambda: attribute_windows(model, memory, options, device=device))
    n_all = n_windows + default_n_controls(n_windows, LENGTH)
    print(
        f"\nwhole command (start-up, FASTA + BED → HDF5 + bigWig, {n_windows} windows and their controls): "
        f"{engine / whole:.2f} of the engine's speed ({n_all / whole:.1f} against {n_all / engine:.1f} windows/s)"
    )


def write_inputs(folder: Path, n_windows: int) -> tuple[Path, Path]:
    generator = np.random.default_rng(1)
    sequence = decode(generator.integers(0, 4, 5_000_000, dtype=np.uint8))
    genome, regions = folder / "genome.fa", folder / "regions.bed"
    genome.write_text(">chr1\n" + "\n".join(sequence[i : i + 60] for i in range(0, len(sequence), 60)) + "\n")
    starts = np.sort(generator.integers(0, len(sequence) - LENGTH, n_windows))
    regions.write_text("".join(f"chr1\t{start}\t{start + LENGTH}\n" for start in starts))
    return genome, regions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--command-windows", type=int, default=1000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    compare_engines(arguments.windows, arguments.rounds, device)
    if arguments.command_windows:
        compare_command(arguments.command_windows, device)


if __name__ == "__main__":
    main()
