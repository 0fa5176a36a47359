"""Peak calling: how often it calls pure noise, and what a million positions cost, beside tangermeme.

    python benchmarks/peaks.py [--datasets 200] [--positions 1000000] [--windows 50000 200000 800000] [--joint]

Second table: simulated tracks without any signal, data and controls from one law, autocorrelated as attributions are
(weights over 7 bp), called at q < 0.05. A calibrated caller calls anything in at most 5 % of the data sets. The peer's
columns are the mean number of calls by tangermeme's recursive_seqlets on the same tracks, at its default threshold and
with the same controls at its `target_fdr=0.05`, and the share of data sets in which the latter calls anything.

First table: seconds for the calls of both signs, against recursive_seqlets (which finds one sign) on the same track;
and seconds of the processor by joint evidence, for two networks on windows of 200 bp with 1,000 controls, against a
bare loop of the same forward passes. With `--joint` that alone.

Third table: the largest memory of a process that calls so many windows of 100 bp, their track drawn as it is read, and
what that grows by with each window more; with `--windows` that alone.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from tangermeme.seqlet import recursive_seqlets

from seqsal import attribute
from seqsal.io.attributions import Attributions, Controls
from seqsal.models import CNN, CNNConfig
from seqsal.peaks import call_peaks
from seqsal.regions import make_regions

FDR = 0.05
KERNEL = np.array([0.2, 0.5, 0.8, 1.0, 0.8, 0.5, 0.2])
DESIGNS = ((1, 10, 1000), (50, 50, 200), (40, 200, 500), (200, 50, 500))  # windows, controls, bp
Draw = Callable[[np.random.Generator, int, int], NDArray[np.float64]]
LAWS: dict[str, Draw] = {
    "normal": lambda rng, n, length: rng.normal(size=(n, length)),
    "laplace": lambda rng, n, length: rng.laplace(size=(n, length)),
    "t(4)": lambda rng, n, length: rng.standard_t(4, size=(n, length)),
    "t(3)": lambda rng, n, length: rng.standard_t(3, size=(n, length)),
    "laplace, scale per window": lambda rng, n, length: (
        rng.laplace(size=(n, length)) * np.exp(rng.normal(0, 0.5, size=(n, 1)))
    ),
}


def noise(law: Draw, rng: np.random.Generator, n: int, length: int) -> NDArray[np.float32]:
    white = law(rng, n, length + len(KERNEL) - 1)
    smooth = sum(weight * white[:, i : i + length] for i, weight in enumerate(KERNEL))
    return np.asarray(smooth, dtype=np.float32)


def attributions(track: NDArray[np.float32], controls: NDArray[np.float32]) -> Attributions:
    n, length = track.shape
    start = np.arange(n) * (length + 10)
    return Attributions(
        regions=make_regions(["chr1"] * n, start, start + length),
        codes=np.zeros(track.shape, np.uint8),
        track=track,
        prediction=np.zeros(n, np.float32),
        controls=Controls(controls, np.zeros(controls.shape, np.uint8)),
    )


def peer_calls(track: NDArray[np.float32], controls: NDArray[np.float32] | None) -> int:
    control = None if controls is None else torch.from_numpy(controls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where nothing passes
        return len(recursive_seqlets(torch.from_numpy(track), X_control=control, target_fdr=FDR))


def calibration(n_sets: int) -> None:
    limit = stats.binom.isf(0.01, n_sets, FDR) / n_sets
    print(f"noise only, {n_sets} data sets a row (peer: {n_sets // 10}); share with any call at q < {FDR}")
    print(f"99 % limit of a true rate of 5 %: {limit:.3f}")
    print(f"{'law':26s} windows controls   bp  seqsal  calls | peer: default  fdr, any  fdr, calls")
    for name, law in LAWS.items():
        for design in DESIGNS:
            print(f"{name:26s} {_calibration_row(law, design, n_sets)}", flush=True)


def _calibration_row(law: Draw, design: tuple[int, int, int], n_sets: int) -> str:
    n, n_controls, length = design
    ours, peer, peer_fdr = [], [], []
    for seed in range(n_sets):
        rng = np.random.default_rng([seed, n, n_controls])
        track, null = noise(law, rng, n, length), noise(law, rng, n_controls, length)
        ours.append(len(call_peaks(attributions(track, null), fdr=FDR)))
        if seed < n_sets // 10:
            peer.append(peer_calls(track, None))
            peer_fdr.append(peer_calls(track, null))
    return (
        f"{n:7d} {n_controls:8d} {length:4d} {np.mean(np.array(ours) > 0):7.3f} {np.mean(ours):6.2f} |"
        f"       {np.mean(peer):7.1f}  {np.mean(np.array(peer_fdr) > 0):8.2f}  {np.mean(peer_fdr):10.1f}"
    )


def speed(n_positions: int) -> None:
    length, rng = 2114, np.random.default_rng(0)
    n = n_positions // length
    track, null = noise(LAWS["laplace"], rng, n, length), noise(LAWS["laplace"], rng, n, length)
    peer_calls(track[:2], None)  # compile
    timed: dict[str, float] = {}
    for what, call in (
        ("seqsal, one control a window", lambda: call_peaks(attributions(track, null))),
        ("seqsal, 100 controls", lambda: call_peaks(attributions(track, null[:100]))),
        ("recursive_seqlets, default", lambda: peer_calls(track, None)),
        ("recursive_seqlets, with controls", lambda: peer_calls(track, null)),
    ):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        timed[what] = min(seconds)
    reference = timed["recursive_seqlets, default"]
    print(f"\n{n * length:,} positions, best of 3, one thread; ratio = recursive_seqlets at its default / this")
    for what, best in timed.items():
        print(
            f"{what:34s} {best:7.2f} s  {best * 1e6 / (n * length):6.2f} s per million  ratio {reference / best:5.2f}"
        )


class Passes(torch.nn.Module):
    """A network that counts the windows it reads, and how long they take a processor."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.n, self.seconds = network, 0, 0.0

    def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: D102
        began = time.process_time()
        found: torch.Tensor = self.network(X)
        self.n, self.seconds = self.n + len(X), self.seconds + time.process_time() - began
        return found


def jointly(n_positions: int) -> None:
    """Processor seconds by joint evidence: all, within the network's forward passes, and of as many in a bare loop."""
    length, n_controls = 200, 1000
    torch.manual_seed(0)
    read = (torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(), torch.nn.Linear(4, 1))
    one = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 11), torch.nn.ReLU(), *read)
    eye = np.eye(4, dtype=np.float32)
    X = eye[np.random.default_rng(0).integers(0, 4, (n_positions // length, length))].transpose(0, 2, 1)
    print(f"by joint evidence, windows of {length} bp, {n_controls:,} controls, seconds of one processor")
    for name, network in (("one convolution", one), ("CNN of 64 filters", CNN(CNNConfig(length, n_filters=64)))):
        model = Passes(network.eval())
        attr = attribute(model, X=X, device="cpu", n_controls=n_controls)
        began = time.process_time()
        call_peaks(attr, max_controls=n_controls, statistic="height")
        by_height, model.n, model.seconds = time.process_time() - began, 0, 0.0
        began = time.process_time()
        call_peaks(attr, max_controls=n_controls, statistic="joint")
        seconds, n, forward = time.process_time() - began, model.n, model.seconds
        few = torch.from_numpy(np.ascontiguousarray(X[:2048]))
        began = time.process_time()
        with torch.no_grad():
            for i in range(0, len(few), 256):
                model.network(few[i : i + 256])
        bare = (time.process_time() - began) / len(few) * n
        print(
            f"{name:18s} height {by_height:5.2f}, joint {seconds:6.2f}, of which {n:,} forward passes {forward:6.2f}; "
            f"these in a bare loop {bare:6.2f}",
            flush=True,
        )


class Endless:
    """A track (n, L) of which a part is drawn, over and over, when it is read."""

    def __init__(self, n: int, length: int) -> None:
        self.shape, self.dtype, self.ndim = (n, length), np.dtype(np.float32), 2
        self._bank = noise(LAWS["laplace"], np.random.default_rng(0), 5000, length)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        wanted = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else np.asarray(rows)
        return self._bank[wanted % len(self._bank)]


def memory_of(n: int) -> tuple[float, float, float]:
    """MB of this process with the table of n regions, and after calling them; seconds of the processor."""
    length, start = 100, np.arange(n) * 110
    attr = Attributions(
        regions=make_regions(["chr1"] * n, start, start + length),
        codes=np.broadcast_to(np.uint8(0), (n, length)),
        track=Endless(n, length),
        prediction=np.broadcast_to(np.float32(0), (n,)),
        controls=Controls(noise(LAWS["laplace"], np.random.default_rng(1), 4000, length)),
    )
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
    call_peaks(attr, max_controls=4000)
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - began


def memory(sizes: list[int]) -> None:
    context, rows = multiprocessing.get_context("spawn"), []
    for n in sizes:
        with context.Pool(1) as pool:
            rows.append(pool.apply(memory_of, (n,)))
        before, most, seconds = rows[-1]
        print(f"{n:9,} windows: {before:6.0f} MB before, {most:6.0f} MB at most, {seconds:5.1f} s", flush=True)
    pairs = itertools.pairwise(zip(rows, sizes, strict=True))
    per_window = [(b[1] - a[1]) / (m - n) * 2**20 for (a, n), (b, m) in pairs]
    print("bytes a window more:", ", ".join(f"{one:.0f}" for one in per_window))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--positions", type=int, default=1_000_000)
    parser.add_argument("--joint", action="store_true", help="time joint evidence alone")
    parser.add_argument("--windows", type=int, nargs="+", help="of the table of memory, which is then the only one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.windows:
        return memory(options.windows)
    if options.joint:
        return jointly(options.positions)
    speed(options.positions)
    jointly(options.positions)
    print()
    calibration(options.datasets)
    memory([50_000, 200_000, 800_000])


if __name__ == "__main__":
    main()
