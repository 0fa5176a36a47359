"""Speed and values of gradient × input against a bare loop, captum and tangermeme, as ratios in one run.

Also as a share of the device's convolutions, and of the whole command against the engine.

    python benchmarks/attribution.py [--rounds 5] [--windows 64] [--command-windows 1000] [--device cpu]

Contenders take turns in every round, in random order, each in a process of its own, and the median over the rounds of
each ratio is printed, so that a machine whose speed drifts does not decide. Above 1 means that seqsal is faster.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import captum.attr
import numpy as np
import torch
from contest import contest, fastest, random_codes, ratios, seconds
from engine_alone import attribute_codes
from models import dilated_cnn
from numpy.typing import NDArray
from tangermeme.saliency import saliency as tangermeme_saliency

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.io.inputs import open_codes, open_input
from seqsal.io.tracks import write_bigwig
from seqsal.sequence.codes import decode
from seqsal.sequence.draws import default_n_controls
from seqsal.sequence.tensors import one_hot_tensor

LENGTH = 2114
HERE = Path(__file__).parent
SEQSAL = "seqsal"
BARE_BATCHES = (1, 2, 4, 8, 16, 32, 64)


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


def make_contenders(codes: NDArray[np.uint8], device: torch.device) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by name, on the same windows."""
    X = one_hot_tensor(torch.from_numpy(codes)).to(device)
    host = X.cpu()
    frozen, peer = dilated_cnn().requires_grad_(False).to(device), dilated_cnn().to(device)
    source, ours = open_codes(codes), seqsal.wrap(dilated_cnn(), input_length=LENGTH)
    options = AttributeOptions(n_controls=0)
    contenders: dict[str, Callable[[], object]] = {
        SEQSAL: lambda: attribute_windows(ours, source, options, device=device),
        "captum InputXGradient, batch 64": lambda: captum_loop(peer, X),
        "tangermeme saliency, defaults": lambda: tangermeme_saliency(peer, host, device=device),
    }
    for size in BARE_BATCHES:
        contenders[f"bare loop, batch {size}"] = lambda size=size: bare_loop(frozen, X, size)
    return contenders


def make(name: str, n_windows: int, device: str) -> Callable[[], object]:
    return make_contenders(random_codes(n_windows, LENGTH), torch.device(device))[name]


def compare_engines(n_windows: int, n_rounds: int, device: str) -> None:
    """Print the peers' times over seqsal's, each contender in its own process so that none warms another's memory."""
    names = list(make_contenders(random_codes(2, LENGTH), torch.device(device)))
    times = contest(make, names, (n_windows, device), n_rounds)
    best = fastest(times, [name for name in names if name.startswith("bare")])
    print(f"\n{n_windows} windows of {LENGTH} bp, 64-filter 8-block dilated CNN, {device}, {n_rounds} rounds")
    print(f"{'peer':<36}{'peer time / seqsal time':>24}{'least':>8}{'most':>8}")
    for name in (best, *[name for name in names if not name.startswith("bare") and name != SEQSAL]):
        median, least, most = ratios(times, name, SEQSAL)
        label = f"{name} (its best)" if name == best else name
        print(f"{label:<36}{median:>24.2f}{least:>8.2f}{most:>8.2f}")
    print(f"seqsal: {n_windows / statistics.median(times[SEQSAL]):.1f} windows/s")


def compare_ceiling(n_windows: int, n_rounds: int, device: torch.device) -> None:
    """Print the engine's convolutions per second as a share of what the device does with nothing but convolutions.

    The ceiling is the best that a block's convolution (64 → 64 channels, width 3, undilated), forward and backward in
    turn, reaches over batch sizes and layouts, with all cores.
    """
    times = [seconds(make_contenders(random_codes(n_windows, LENGTH), device)[SEQSAL]) for _ in range(n_rounds + 1)]
    reached = flops(dilated_cnn()) * n_windows / statistics.median(times[1:])
    ceiling = max(convolution_flops(size, last, device) for size in (4, 16, 64) for last in (False, True))
    print(f"\nconvolutions: {reached / 1e9:.0f} GFLOP/s of {ceiling / 1e9:.0f}, {reached / ceiling:.2f} of the ceiling")
    print(f"from memory to memory: {n_windows / statistics.median(times[1:]):.1f} windows/s")


def flops(network: torch.nn.Module) -> int:
    """Operations of the convolutions of a window, forward and backward to the input; none changes the length."""
    weights = [module.weight.numel() for module in network.modules() if isinstance(module, torch.nn.Conv1d)]
    return 2 * 2 * sum(weights) * LENGTH


def convolution_flops(batch_size: int, channels_last: bool, device: torch.device) -> float:
    """Operations per second of a convolution, forward and backward to its input."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    X = torch.randn(batch_size, 64, 1, LENGTH, device=device).contiguous(memory_format=order)
    weight = torch.randn(64, 64, 1, 3, device=device).contiguous(memory_format=order)
    shape = ([1, 1], [0, 1], [1, 1], False, [0, 0], 1)

    def both() -> None:
        for _ in range(10):
            Y = torch.ops.aten.convolution(X, weight, None, *shape)
            torch.ops.aten.convolution_backward(Y, X, weight, None, *shape, [True, False, False])

    both()
    return 10 * 2 * 2 * weight.numel() * LENGTH * batch_size / min(seconds(both) for _ in range(5))


def compare_values(n_windows: int, device: torch.device) -> None:
    """Print the largest difference relative to the largest value of the track."""
    codes = random_codes(n_windows, LENGTH)
    X = one_hot_tensor(torch.from_numpy(codes)).to(device)
    source, peer = open_codes(codes), dilated_cnn().to(device)
    ours = seqsal.wrap(dilated_cnn(), input_length=LENGTH)
    plain = AttributeOptions(n_controls=0, method_options={"gradient_correction": False})
    theirs = {
        "captum": (captum_loop(peer, X), plain),
        "tangermeme": (tangermeme_saliency(peer, X.cpu(), device=device).sum(1), AttributeOptions(n_controls=0)),
    }
    for name, (tensor, options) in theirs.items():
        expected = tensor.cpu().numpy()
        error = np.abs(np.asarray(attribute_windows(ours, source, options, device=device).track) - expected).max()
        print(f"values against {name}: largest difference {error / np.abs(expected).max():.1e} of the largest value")


def compare_command(n_windows: int, n_rounds: int, device: torch.device) -> None:
    """Time FASTA + BED → HDF5 + bigWig against the engine alone, both within a running Python and both as processes.

    The engine attributes the same windows, and as many controls, from memory to memory; as a process it starts Python,
    loads torch and reads the windows from a file. Medians over the rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        genome, regions = write_inputs(Path(folder), n_windows)
        arguments = {"genome": genome, "regions": regions, "input_length": LENGTH, "device": str(device)}
        command = [
            sys.executable, "-m", "seqsal", "attribute", "--model", "models:dilated_cnn", "--input-length", str(LENGTH),
            "--genome", str(genome), "--regions", str(regions), "--bigwig", f"{folder}/A.bw", "--device", str(device),
            "--controls", str(default_n_controls(n_windows, LENGTH)), "--quiet", "--out",
        ]  # fmt: skip
        with open_input(genome=genome, regions=regions, length=LENGTH) as source:
            codes = source.read(slice(0, n_windows))
        np.save(f"{folder}/codes.npy", codes)
        alone = [sys.executable, "engine_alone.py", f"{folder}/codes.npy", str(device)]

        def within(i: int) -> None:
            n_controls = default_n_controls(n_windows, LENGTH)
            attr = seqsal.attribute(
                "models:dilated_cnn", out=f"{folder}/work{i}.h5", n_controls=n_controls, **arguments
            )
            write_bigwig(attr, attr.chrom_sizes, f"{folder}/B.bw")

        rounds = [
            (
                seconds(lambda: attribute_codes(codes, device)),
                seconds(lambda i=i: within(i)),
                seconds(lambda: subprocess.run(alone, check=True, cwd=HERE)),
                seconds(lambda i=i: subprocess.run([*command, f"{folder}/{i}.h5"], check=True, cwd=HERE)),
            )
            for i in range(n_rounds)
        ]
    n_all = n_windows + default_n_controls(n_windows, LENGTH)
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    print(f"\nFASTA + BED → HDF5 + bigWig, {n_windows} windows and their controls, share of the engine's speed:")
    for label, engine, whole in (("within a running Python", *medians[:2]), ("as processes", *medians[2:])):
        print(f"{engine / whole:.2f} {label} ({n_all / whole:.1f} of {n_all / engine:.1f} windows/s)")


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
    compare_engines(arguments.windows, arguments.rounds, arguments.device)
    compare_values(arguments.windows, device)
    compare_ceiling(arguments.windows, arguments.rounds, device)
    if arguments.command_windows:
        compare_command(arguments.command_windows, 3, device)


if __name__ == "__main__":
    main()
