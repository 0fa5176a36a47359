"""Everything about CUDA in one go: is it right, does it recover, and what share of the card does it reach.

    make device-check            (or: python benchmarks/device_check.py --device cuda --seconds 450 --json device.json)

Needs torch and a GPU, no network, and at most `--seconds`. Sections run in the order of their importance, each is
skipped when the time left is too short for it, and a section that fails is reported and does not stop the others. It
ends with one table, a JSON file, and exit code 1 when a check failed. `--device cpu --small` runs the same code on a
CPU, so that the script itself is tested where there is no GPU; its figures then mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from models import NETWORKS, dilated_cnn
from torch import nn

METHODS = (
    "saliency", "gradient_x_input", "smoothgrad", "integrated_gradients", "expected_gradients", "deeplift_shap",
    "ism", "cam", "grad_cam",
)  # fmt: skip
FEW = {  # few steps and references: the same code in less time
    "smoothgrad": {"n_samples": 4}, "integrated_gradients": {"n_steps": 8},
    "expected_gradients": {"n_references": 4}, "deeplift_shap": {"n_references": 4},
}  # fmt: skip
LENGTH = 2114


@dataclass
class Row:
    """One line of the table."""

    section: str
    name: str
    value: str
    expected: str = ""
    verdict: str = ""  # ok, FAILED, skipped, or nothing for a figure
    data: dict[str, Any] = field(default_factory=dict)


class Check:
    """The machine under test and what was found so far.

    Parameters
    ----------
    device
        `cuda[:i]` or `cpu`.
    seconds
        Time in all.
    small
        Toy sizes, for a test of the script itself.
    """

    def __init__(self, device: str, seconds: float, small: bool) -> None:
        self.device, self.small = torch.device(device), small
        self.rows: list[Row] = []
        self.end = time.monotonic() + seconds
        self.section = ""

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU to speak of."""
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    def figure(self, name: str, value: str, **data: Any) -> None:
        """Note a figure that is neither right nor wrong."""
        self._add(Row(self.section, name, value, data=data))

    def expect(self, name: str, ok: bool, value: str, expected: str, **data: Any) -> None:
        """Note a check."""
        self._add(Row(self.section, name, value, expected, "ok" if ok else "FAILED", data))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        print(f"{row.section:<12}{row.name:<50}{row.value:<34}{row.expected:<22}{row.verdict}", flush=True)

    def run(self, name: str, section: Callable[[Check], None], needs: float) -> None:
        """Run one section, unless the time left is shorter than it needs."""
        self.section = name
        if self.left() < needs and not self.small:
            self._add(Row(name, "whole section", f"{self.left():.0f} s left", f"{needs:.0f} s", "skipped"))
            return
        start = time.monotonic()
        try:
            section(self)
        except Exception as error:  # the next section is worth having all the same
            traceback.print_exc()
            self._add(Row(name, "whole section", f"{type(error).__name__}: {error}"[:200], "", "FAILED"))
        self.figure("seconds", f"{time.monotonic() - start:.1f}", seconds=time.monotonic() - start)
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def sync(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """Median wall time after one call that warms up."""
        work()
        times = []
        for _ in range(1 if self.small else repeats):
            self.sync()
            start = time.perf_counter()
            work()
            self.sync()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


class Pooled(nn.Module):
    """A small network that every method can explain: convolutions, an average over positions, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(4, 32, 11, padding=5), nn.ReLU(), nn.Conv1d(32, 32, 3, padding=2, dilation=2), nn.ReLU()
        )
        self.head = nn.Linear(32, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(N, 4, L) → (N, 1)."""
        return self.head(self.body(X).mean(-1))


class Recurrent(nn.Module):
    """A convolution, a GRU and attention pooling, whose kernels on a GPU are others than a CPU's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 16, 9, padding=4)
        self.cells = nn.GRU(16, 16, batch_first=True, bidirectional=True)
        self.weight, self.head = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(N, 4, L) → (N, 1)."""
        h, _ = self.cells(torch.relu(self.stem(X)).transpose(1, 2))
        return self.head((self.weight(h).softmax(1) * h).sum(1))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a network with fixed random weights."""
    torch.manual_seed(0)
    return make().eval()


def one_hot(n_windows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Random windows (N, 4, L)."""
    codes = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (n_windows, length)))
    return nn.functional.one_hot(codes, 4).transpose(1, 2).float()


def attribute(check: Check, model: nn.Module, X: torch.Tensor, method: str, **options: Any) -> Any:
    """`seqsal.attribute` without controls, on the device unless told otherwise."""
    import seqsal

    options = {"device": str(check.device), "n_controls": 0, **FEW.get(method, {}), **options}
    return seqsal.attribute(model, X=X, method=method, **options)


def difference(a: Any, b: Any) -> float:
    """Largest difference relative to the largest value of the second."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def correlation(a: Any, b: Any) -> float:
    """Pearson correlation of all values."""
    return float(np.corrcoef(np.asarray(a, float).ravel(), np.asarray(b, float).ravel())[0, 1])


def machine(check: Check) -> None:
    """Measure what the card can do at best: the ceilings that the shares below refer to."""
    check.figure("torch", torch.__version__)
    if check.on_gpu:
        properties = torch.cuda.get_device_properties(check.device)
        check.figure("card", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    size = 256 if check.small else 8192
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ):
        a, b = (torch.randn(size, size, device=check.device, dtype=dtype) for _ in range(2))
        with tensor_cores(tf32):
            rate = 2 * size**3 / check.seconds(lambda a=a, b=b: a @ b)
        check.figure(f"matrix product {size}, {name}", f"{rate / 1e12:.2f} TFLOP/s", tflops=rate / 1e12)
    for name in ("fp32", "tf32", "bf16"):
        best = max(convolution_rate(check, n, name) for n in ((4,) if check.small else (64, 256, 1024)))
        check.figure(f"convolution 64→64, width 3, fwd + bwd, {name}", f"{best / 1e12:.2f} TFLOP/s", tflops=best / 1e12)
        CEILING[name] = best
    n = (1 << 20) if check.small else (1 << 31)
    buffer = torch.empty(n, dtype=torch.uint8, device=check.device)
    check.figure("copy on the device", f"{2 * n / check.seconds(lambda: buffer.clone()) / 1e9:.0f} GB/s")


CEILING: dict[str, float] = {}  # operations a second of a 64-channel convolution by precision


@contextlib.contextmanager
def tensor_cores(allowed: bool) -> Iterator[None]:
    """Allow TF32, and give the switches back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def convolution_rate(check: Check, n_windows: int, precision: str) -> float:
    """Operations a second of one convolution, forward and backward to its input."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    X = torch.randn(n_windows, 64, LENGTH, device=check.device, dtype=dtype)
    weight = torch.randn(64, 64, 3, device=check.device, dtype=dtype)
    shape = ([1], [1], [1], False, [0], 1)

    def both() -> None:
        Y = torch.ops.aten.convolution(X, weight, None, *shape)
        torch.ops.aten.convolution_backward(Y, X, weight, None, *shape, [True, False, False])

    with tensor_cores(precision == "tf32"):
        return 2 * 2 * weight.numel() * LENGTH * n_windows / check.seconds(both)


def correctness(check: Check) -> None:
    """Every method on the device against the CPU, in each precision, and against itself."""
    X = one_hot(6, 60 if check.small else 200)
    networks = {"pooled CNN": seeded(Pooled)} | ({} if check.small else {"GRU + attention": seeded(Recurrent)})
    for name, model in networks.items():
        for method in METHODS:
            if name != "pooled CNN" and method in ("cam", "grad_cam"):
                continue
            try:
                cpu = attribute(check, model, X, method, device="cpu").track
                gpu = attribute(check, model, X, method).track
            except Exception as error:
                check.expect(f"{method}, {name}", False, f"{type(error).__name__}: {error}"[:90], "a map")
                continue
            off = difference(gpu, cpu)
            check.expect(
                f"{method}, {name}: float32", off < 1e-3, f"{off:.1e} of the largest", "< 1e-3", difference=off
            )
            again = attribute(check, model, X[torch.tensor([4, 0, 3])], method, batch_size=2).track
            off = difference(again, np.asarray(gpu)[[4, 0, 3]])
            check.expect(f"{method}, {name}: subset, other batch", off < 1e-4, f"{off:.1e}", "< 1e-4", difference=off)
            if name != "pooled CNN" or method in ("ism", "deeplift_shap"):
                continue
            for precision in ("tf32", "bf16") if check.on_gpu else ("bf16",):
                r = correlation(attribute(check, model, X, method, precision=precision).track, cpu)
                check.expect(f"{method}: {precision}", r > 0.98, f"r = {r:.5f}", "r > 0.98", r=r)
    state = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads()
    attribute(check, seeded(Pooled), X, "gradient_x_input", precision="tf32" if check.on_gpu else "fp32")
    after = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.get_num_threads()
    check.expect("switches and threads as found", state == after, str(after), str(state))


def memory(check: Check) -> None:
    """Batches that do not fit are halved, the maps stay the same, and everything is given back."""
    if not check.on_gpu:
        check.figure("skipped", "needs a GPU")
        return
    model, X = dilated_cnn(), one_hot(256, LENGTH)
    free = attribute(check, model, X, "gradient_x_input").track
    attribute(check, model, X[:2], "gradient_x_input")
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(check.device)
    available, _ = torch.cuda.mem_get_info(check.device)
    ballast = torch.empty(available - (1 << 30), dtype=torch.uint8, device=check.device)  # 1 GiB is left
    for method in ("gradient_x_input", "deeplift_shap", "ism"):
        windows = X if method == "gradient_x_input" else X[:2]
        start = time.perf_counter()
        tight = attribute(check, model, windows, method, batch_size=4096).track
        text = f"in {time.perf_counter() - start:.1f} s"
        roomy = free if method == "gradient_x_input" else attribute(check, model, windows, method, device="cpu").track
        off = difference(tight, roomy)
        check.expect(f"1 GiB left, batch of 4096: {method}", off < 1e-3, f"{off:.1e}, {text}", "< 1e-3")
    del ballast
    gc.collect()
    torch.cuda.empty_cache()
    leaked = torch.cuda.memory_allocated(check.device) - before
    check.expect("memory given back", leaked < 1 << 20, f"{leaked / 2**20:.1f} MiB kept", "< 1 MiB")
    for method in METHODS[:7]:
        torch.cuda.reset_peak_memory_stats(check.device)
        attribute(check, seeded(Pooled) if method == "cam" else model, X[:8], method)
        peak = torch.cuda.max_memory_allocated(check.device) / 2**30
        check.figure(f"peak memory, {method}, 8 windows", f"{peak:.2f} GiB", gib=peak)


def training(check: Check) -> None:
    """Training on the device: a planted motif is learnt, in the time that it takes."""
    import seqsal

    generator = np.random.default_rng(0)
    n, length = (60, 100) if check.small else (2000, 200)
    letters = np.array(list("ACGT"))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("positives", "negatives"):
            lines = []
            for i in range(n):
                codes = generator.integers(0, 4, length)
                if name == "positives":
                    start = generator.integers(10, length - 20)
                    codes[start : start + 8] = [3, 3, 0, 1, 1, 1, 2, 3]
                lines.append(f">{name}{i}\n{''.join(letters[codes])}\n")
            (Path(folder) / f"{name}.fa").write_text("".join(lines))
        start = time.perf_counter()
        result = seqsal.train_model(
            f"{folder}/positives.fa", f"{folder}/negatives.fa", out=f"{folder}/M.safetensors", device=str(check.device)
        )
        seconds = time.perf_counter() - start
        auroc = result.test_metrics["auroc"]
        check.expect(
            "planted motif learnt", check.small or auroc > 0.95, f"AUROC {auroc:.3f} in {seconds:.1f} s", "> 0.95"
        )
        model = seqsal.load_model(f"{folder}/M.safetensors", device=str(check.device))
        cpu = seqsal.load_model(f"{folder}/M.safetensors", device="cpu")
        X = one_hot(32, length)
        off = difference(
            seqsal.score(model, X=X, device=str(check.device))["logit"], seqsal.score(cpu, X=X, device="cpu")["logit"]
        )
        check.expect("checkpoint predicts the same on the CPU", off < 1e-3, f"{off:.1e}", "< 1e-3")


def speed(check: Check) -> None:
    """Windows a second and the share of the card's convolutions; against bare loops, compiled or as CUDA graphs."""
    n_windows = 4 if check.small else 2048
    for label, (make, length) in NETWORKS.items():
        if check.small and label == "Basset":
            continue
        X = one_hot(n_windows, length)
        work = 2 * 2 * convolution_macs(make(), length)
        for precision in ("fp32", "tf32", "bf16") if check.on_gpu else ("fp32",):
            model = make()
            seconds = check.seconds(partial(attribute, check, model, X, "gradient_x_input", precision=precision))
            rate = n_windows / seconds
            share = rate * work / CEILING.get(precision, float("nan"))
            check.figure(
                f"gradient_x_input, {label}, {precision}",
                f"{rate:.0f} windows/s, {share:.2f} of the ceiling", windows_per_second=rate, share=share,
            )  # fmt: skip
            if check.left() < 60:
                return
    X, bare = one_hot(n_windows, LENGTH), dilated_cnn().requires_grad_(False).to(check.device)
    times = {}
    for size in (2,) if check.small else (32, 128, 512):
        times[f"bare loop, batch {size}"] = check.seconds(lambda size=size: bare_loop(bare, X, size, check.device))
    times["seqsal"] = check.seconds(lambda: attribute(check, dilated_cnn(), X, "gradient_x_input"))
    if check.on_gpu:
        times["bare loop in a CUDA graph, batch 128"] = check.seconds(graph_loop(bare, X.to(check.device), 128))
    for name, seconds in times.items():
        check.figure(name, f"{n_windows / seconds:.0f} windows/s, {seconds / times['seqsal']:.2f} of seqsal's time")
    for method, n in () if check.small else (("deeplift_shap", 16), ("ism", 2), ("integrated_gradients", 64)):
        seconds = check.seconds(partial(attribute, check, dilated_cnn(), X[:n], method), repeats=1)
        check.figure(f"{method}, dilated CNN", f"{n / seconds:.2f} windows/s", windows_per_second=n / seconds)


def compiled(check: Check) -> None:
    """Measure what `--compile` brings, after its own compilation."""
    if not check.on_gpu:
        check.figure("skipped", "needs a GPU")
        return
    model, X = dilated_cnn(), one_hot(2048, LENGTH)
    plain = attribute(check, model, X, "gradient_x_input")
    start = time.perf_counter()
    fused = attribute(check, model, X, "gradient_x_input", compile=True)
    first = time.perf_counter() - start
    off = difference(fused.track, plain.track)
    check.expect("compiled map equals the plain one", off < 1e-2, f"{off:.1e}", "< 1e-2")
    ratio = check.seconds(lambda: attribute(check, model, X, "gradient_x_input")) / check.seconds(
        lambda: attribute(check, model, X, "gradient_x_input", compile=True)
    )
    check.figure("--compile", f"{ratio:.2f} times the speed, first call {first:.0f} s", ratio=ratio, first=first)


def convolution_macs(network: nn.Module, length: int) -> int:
    """Multiply-adds of all convolutions of one window in a forward pass, counted by hooks."""
    total = 0

    def count(module: nn.Conv1d, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output.shape[-1]

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv1d)]
    with torch.no_grad():
        network(one_hot(1, length))
    for hook in hooks:
        hook.remove()
    return total


def bare_loop(model: nn.Module, X: torch.Tensor, size: int, device: torch.device) -> torch.Tensor:
    """Copy, forward, backward, times input; nothing else."""
    tracks = []
    for start in range(0, len(X), size):
        x = X[start : start + size].to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(model(x).sum(), x)
        tracks.append((gradient * x.detach()).sum(1).cpu())
    return torch.cat(tracks)


def graph_loop(model: nn.Module, X: torch.Tensor, size: int) -> Callable[[], object]:
    """Capture the bare loop as a CUDA graph, which shows by its absence what launching kernels costs."""
    x = X[:size].clone().requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            torch.autograd.grad(model(x).sum(), x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        (gradient,) = torch.autograd.grad(model(x).sum(), x)

    def run() -> None:
        for start in range(0, len(X) - size + 1, size):
            x.data.copy_(X[start : start + size])
            graph.replay()
            (gradient * x.detach()).sum(1).cpu()

    return run


def long_windows(check: Check) -> None:
    """Time, memory and share of the ceiling of one long window: bare, by seqsal, and where it would not fit."""
    from long_windows import UNet

    from seqsal.models import recompute

    width = 4 if check.small else 32
    torch.manual_seed(0)
    wrapped = seqsal_model(UNet(width))
    bare = wrapped.module.requires_grad_(False)
    for length in (1 << 15,) if check.small else (196_608, 524_288, 1_048_576):
        X = one_hot(1, length)
        work = 2 * 2 * convolution_macs(UNet(width), length // 64) * 64
        ways: dict[str, Callable[[], Any]] = {
            "bare loop": lambda X=X: bare_loop(lambda x: bare(x)[:, 0].mean(1), X, 1, check.device),
            "seqsal": lambda X=X: attribute(check, wrapped, X, "gradient_x_input", gradient_correction=False).track,
        }
        ways["seqsal, laid aside"] = ways["seqsal"]
        tracks = {}
        for way, run in ways.items():
            bare.to(check.device if way == "bare loop" else "cpu")
            with mock.patch.object(recompute, "free_bytes", lambda device: 0) if "aside" in way else (
                contextlib.nullcontext()
            ):  # fmt: skip
                if check.on_gpu:
                    torch.cuda.reset_peak_memory_stats(check.device)
                seconds = check.seconds(lambda run=run, way=way, tracks=tracks: tracks.update({way: run()}))
            gib = torch.cuda.max_memory_allocated(check.device) / 2**30 if check.on_gpu else float("nan")
            share = work / seconds / CEILING.get("fp32", float("nan"))
            check.figure(
                f"U-net, attention, {length:,} bp, {way}",
                f"{seconds:.2f} s, {gib:.2f} GiB, {share:.2f} of ceiling", seconds=seconds, gib=gib, share=share,
            )  # fmt: skip
        first, plain, aside = tracks.values()
        off = max(difference(plain, first), difference(aside, first))
        check.expect(f"maps of {length:,} bp agree", off < 1e-3, f"{off:.1e}", "< 1e-3")
        if check.left() < 60 and not check.small:
            return


def seqsal_model(network: nn.Module) -> Any:
    """Wrap a network of two tracks, of whose first the mean is read."""
    import seqsal

    return seqsal.wrap(network.eval(), reduce="mean", output_space="linear")


def end_to_end(check: Check) -> None:
    """FASTA + BED → HDF5, and where the time goes: reader, copy, kernels, writer."""
    import seqsal
    from seqsal.io.inputs import open_input

    n_windows, size = (8, 20_000) if check.small else (20_000, 20_000_000)
    generator = np.random.default_rng(1)
    sequence = np.array(list("ACGT"))[generator.integers(0, 4, size)]
    starts = np.sort(generator.integers(0, size - LENGTH, n_windows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["".join(sequence[i : i + 60]) for i in range(0, size, 60)]
        (folder / "g.fa").write_text(">chr1\n" + "\n".join(lines) + "\n")
        (folder / "r.bed").write_text("".join(f"chr1\t{start}\t{start + LENGTH}\n" for start in starts))

        def read() -> None:
            with open_input(genome=folder / "g.fa", regions=folder / "r.bed", length=LENGTH) as source:
                for start in range(0, n_windows, 1024):
                    source.read(slice(start, min(start + 1024, n_windows)))

        def whole(model: nn.Module, out: str, device: str) -> None:
            seqsal.attribute(
                seqsal.wrap(model, input_length=LENGTH), genome=folder / "g.fa", regions=folder / "r.bed",
                out=folder / out, device=device, n_controls=0, resume=False,
            )  # fmt: skip

        X = one_hot(min(n_windows, 2048), LENGTH)
        scale = n_windows / len(X)
        parts = {
            "reader alone": check.seconds(read, 1),
            "copy to the device": scale * check.seconds(lambda: X.to(check.device), 1),
            "kernels (from memory to memory)": scale
            * check.seconds(lambda: attribute(check, dilated_cnn(), X, "gradient_x_input"), 1),
            "reader and writer (a model that costs nothing)": check.seconds(lambda: whole(Free(), "free.h5", "cpu"), 1),
            "whole, FASTA + BED → HDF5": check.seconds(lambda: whole(dilated_cnn(), "A.h5", str(check.device)), 1),
        }
    for part, seconds in parts.items():
        share = seconds / parts["whole, FASTA + BED → HDF5"]
        check.figure(part, f"{n_windows / seconds:.0f} windows/s, {share:.2f} of the whole", seconds=seconds)


class Free(nn.Module):
    """Σ w · x: a model whose passes cost next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4)[:, None])

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """(N, 4, L) → (N, 1)."""
        return (X * self.weight).sum((1, 2))[:, None]


def marked_tests(check: Check) -> None:
    """Run the project's own tests that need a GPU."""
    if importlib.util.find_spec("pytest") is None:
        check.figure("tests marked cuda", "pytest is not installed")
        return
    root = Path(__file__).resolve().parents[1]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "cuda",
        "-p",
        "no:cacheprovider",
        "tests/attribution",
        "tests/models",
    ]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=max(check.left(), 5))
    except subprocess.TimeoutExpired:
        check.expect("tests marked cuda", False, "out of time", "passed")
        return
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    if done.returncode not in (0, 5):
        print(done.stdout[-4000:], done.stderr[-2000:])
    check.expect("tests marked cuda", done.returncode in (0, 5), last, "passed")


SECTIONS: tuple[tuple[str, Callable[[Check], None], float], ...] = (
    ("machine", machine, 10),
    ("correctness", correctness, 30),
    ("memory", memory, 30),
    ("training", training, 20),
    ("speed", speed, 30),
    ("end to end", end_to_end, 30),
    ("long", long_windows, 60),
    ("compile", compiled, 60),
    ("tests", marked_tests, 30),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=450)
    parser.add_argument("--json", type=Path, default=Path("device.json"))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", help="names of sections, separated by commas")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --small tries the script itself")
    missing = [
        name for name in ("pandas", "h5py", "pyfaidx", "bioframe", "scipy") if not importlib.util.find_spec(name)
    ]
    if missing:
        parser.error(f"not installed here: {', '.join(missing)}; 'make device-site' collects them into device_site/")
    check = Check(arguments.device, arguments.seconds, arguments.small)
    for name, section, needs in SECTIONS:
        if not arguments.only or name in arguments.only.split(","):
            check.run(name, section, needs)
    failed = [row for row in check.rows if row.verdict == "FAILED"]
    print(f"\n{len(check.rows)} rows, {sum(row.verdict == 'ok' for row in check.rows)} ok, {len(failed)} failed")
    for row in failed:
        print(f"FAILED {row.section}: {row.name}: {row.value} (expected {row.expected})")
    arguments.json.write_text(json.dumps([asdict(row) for row in check.rows], indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
