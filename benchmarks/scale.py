"""Whole genomes: how time, memory and file size grow, how fast each part is by itself, and what that means for hg38.

    python benchmarks/scale.py [--mbp 1 10] [--models 1 10] [--length 200] [--cores 1] [--step 100] [--schedulers]

*Growth.* `seqsal attribute --regions genome --bigwig` of simulated genomes, by a model that costs nothing (a weight for
each base and position, windows of `--length`), in a process of its own: seconds, largest resident memory and file
sizes, each also per Mbp of genome. With several models, as an ensemble.

*Parts.* Mbp of track per second of processor time of the reader (windows from FASTA), the HDF5 writer and the bigWig
writer with its process. The slowest is what a fast device waits for.

*Peaks and the page* (`--windows 1000000 10000000`). Time and memory of `peaks` and `report` on files of as many
windows, simulated: noise, and a motif in every thousandth.

*Workers* (`--schedulers`). A model whose forward pass sleeps 10 ms a window, as one that waits for a device: `score` by
4 workers against one; and `attribute` (`ism`, the built-in network) by as many workers as cores against one process
with as many threads, in turns, the best of each.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

LENGTH = int(os.environ.get("SCALE_LENGTH", "200"))  # of windows; --length sets it, in other processes too
TURNS = 3  # of one process and of workers
HERE = Path(__file__).resolve().parent


class Free(torch.nn.Module):
    """A weight for each base and position: nothing is left to wait for but seqsal."""

    input_length = LENGTH

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, LENGTH, generator=torch.Generator().manual_seed(seed)))

    def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return (X * self.weight).sum((1, 2))


class Slow(Free):
    """Sleeps 10 ms a window, while a device would work."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:  # noqa: D102
        time.sleep(0.01 * len(X))
        return super().forward(X)


def __getattr__(name: str) -> Callable[[], Free]:
    """Model number i, as `scale:freeI`."""
    if not name.removeprefix("free").isdigit():
        raise AttributeError(name)
    return lambda: Free(int(name.removeprefix("free")))


def slow() -> Slow:
    return Slow(0)


def wide() -> torch.nn.Module:
    """Make a network of some size, as they are in use."""
    from seqsal.models import CNN, CNNConfig

    torch.manual_seed(0)
    return CNN(CNNConfig(LENGTH, n_filters=64)).eval()


def simulate(path: Path, mbp: float) -> Path:
    """Write random chromosomes of at most 1 Mbp."""
    rng = np.random.default_rng(0)
    left = int(mbp * 1e6)
    with path.open("wb") as file:
        for number in range(-(-left // 1_000_000)):
            bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, min(left - number * 1_000_000, 1_000_000))]
            file.write(f">chr{number + 1}\n".encode() + bases.tobytes() + b"\n")
    return path


def seqsal_command(cores: int, *words: object) -> tuple[float, float, float]:
    """Seconds by the clock and of processors, and MB of memory at most, of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    report = "import resource, sys; from seqsal.cli import main\ntry: main()\nfinally:\n    " + (
        "u = resource.getrusage(resource.RUSAGE_SELF); print('USED', u.ru_maxrss, file=sys.stderr)"
    )
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", report, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    rss = next(int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("USED"))
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used, rss / 1024


def growth(folder: Path, sizes: list[float], models: list[int], cores: int, step: int) -> None:
    print(f"{'Mbp':>6} {'models':>6} {'seconds':>8} {'s/Mbp':>7} {'RSS MB':>7} {'A.h5 MB/Mbp':>12} {'A.bw MB/Mbp':>12}")
    for mbp in sizes:
        genome = simulate(folder / "g.fa", mbp)
        for n in models:
            chosen = [word for i in range(n) for word in ("--model", f"scale:free{i}")]
            out, track = folder / "A.h5", folder / "A.bw"
            seconds, used, rss = seqsal_command(
                cores, "attribute", *chosen, "--genome", genome, "--regions", "genome", "--step", step, "--device",
                "cpu", "--out", out, "--bigwig", track, "--quiet",
            )  # fmt: skip
            sizes_mb = [path.stat().st_size / 1e6 / mbp for path in (out, track)]
            print(f"{mbp:6g} {n:6} {seconds:8.1f} {used / mbp:7.2f} {rss:7.0f} {sizes_mb[0]:12.1f} {sizes_mb[1]:12.1f}")
            for path in folder.glob("A.*"):
                path.unlink()
        for path in folder.glob("g.fa*"):
            path.unlink()


def used() -> float:
    """Seconds of processor time of this process and those that it has waited for."""
    return sum(
        one.ru_utime + one.ru_stime for one in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def parts(folder: Path, step: int, mbp: float) -> dict[str, float]:
    """Mbp of track per second of processor time of the reader and of both writers."""
    from seqsal.io.attributions import Attributions
    from seqsal.io.inputs import open_input
    from seqsal.io.store import StoreLayout
    from seqsal.io.store_writer import AttributionWriter
    from seqsal.io.tracks import write_bigwig

    found: dict[str, float] = {}
    with open_input(genome=simulate(folder / "p.fa", mbp), regions="genome", length=LENGTH, step=step) as source:
        n, rows = len(source), (1 << 20) // LENGTH
        track_mbp = n * LENGTH / 1e6
        start = used()
        codes = np.concatenate([source.read(slice(i, min(i + rows, n))) for i in range(0, n, rows)])
        found["reader"] = track_mbp / (used() - start)
        values = np.random.default_rng(0).normal(size=codes.shape).astype(np.float32)
        layout = StoreLayout(source.windows, source.rejected, LENGTH, source.chrom_sizes)
        with AttributionWriter(folder / "w.h5", layout, {"method": "none"}) as writer:
            start = used()
            for i in range(0, n, rows):
                part = slice(i, min(i + rows, n))
                arrays = {"codes": codes[part], "track": values[part], "prediction": values[part, 0]}
                writer.write("main", i, arrays)
            found["HDF5 writer"] = track_mbp / (used() - start)
            writer.write("null", 0, {})
            writer.finish()
        attr = Attributions(source.windows, codes, values, values[:, 0])
        start = used()
        write_bigwig(attr, source.chrom_sizes, folder / "w.bw")
        found["bigWig writer (of genome)"] = mbp / (used() - start)
    return found


def arithmetic(rates: dict[str, float], step: int) -> None:
    """Say what the rates of one core come to for hg38."""
    hg38, windows = 3_100.0, 3.1e9 / step
    print(f"\nhg38: {hg38:,.0f} Mbp, {windows / 1e6:,.0f} million windows of {LENGTH} bp at steps of {step}, "
          f"{windows * LENGTH / 1e6:,.0f} Mbp of track")  # fmt: skip
    for name, rate in rates.items():
        of = hg38 if "genome" in name else windows * LENGTH / 1e6
        print(f"  {name}: {of / rate / 3600:.1f} h on one core, {of / rate / 3600 / 64:.2f} h on 64")


def schedulers(folder: Path, cores: int) -> None:
    """Compare workers that have started and know the model, so that only their sharing of the work is timed."""
    from distributed import LocalCluster

    import seqsal
    from seqsal.pipeline.schedulers import attribute_on, score_on

    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *sys.path])
    given = {"genome": simulate(folder / "s.fa", 0.4), "regions": "genome", "device": "cpu"}
    seconds: dict[str, float] = {}

    def clock(name: str, work: Callable[[], object]) -> None:
        work()  # everything is loaded and known
        start = time.perf_counter()
        work()
        seconds[name] = time.perf_counter() - start
        print(f"{name}: {seconds[name]:.1f} s", flush=True)

    for n in (1, 4):
        with LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0") as cluster:
            address = cluster.scheduler_address
            clock(f"slow model, score, {n} workers", lambda to=address: score_on(to, "scale:slow", **given))
    given |= {"genome": simulate(folder / "t.fa", 0.4), "method": "ism"}
    found: dict[str, list[float]] = {}
    with LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=":0") as cluster:
        ways: dict[str, Callable[[Path], object]] = {
            "attribute, one process": lambda out: seqsal.attribute("scale:wide", out=out, **given),
            f"attribute, {cores} workers": lambda out: attribute_on(
                cluster.scheduler_address, "scale:wide", out, **given
            ),
        }
        for turn in range(TURNS + 1):  # in turns, next to whatever else the machine does; the first loads everything
            for name, work in ways.items():
                start = time.perf_counter()
                work(folder / f"{name} {turn}.h5")
                found.setdefault(name, []).append(time.perf_counter() - start)
    for name, took in found.items():
        seconds[name] = min(took[1:])
        print(f"{name}: {', '.join(f'{one:.1f}' for one in took[1:])} s", flush=True)
    slow_ratio = seconds["slow model, score, 1 workers"] / seconds["slow model, score, 4 workers"]
    ratio = seconds[f"attribute, {cores} workers"] / seconds["attribute, one process"]
    print(f"slow model: 4 workers {slow_ratio:.2f} times as fast as one")
    print(f"attribute: {cores} workers take {ratio:.2f} times as long as one process with as many threads")


def simulate_windows(path: Path, n_windows: int, n_controls: int) -> None:
    """Write an attribution file of noise, where every thousandth window has a motif; in parts, of flat memory."""
    from seqsal.io.store import StoreLayout
    from seqsal.io.store_writer import AttributionWriter
    from seqsal.regions import make_regions
    from seqsal.sequence.codes import encode

    rng, motif = np.random.default_rng(0), encode("TTACCCGTAA")
    number, size = np.arange(n_windows), 1_000_000 * LENGTH
    chrom = pd.array([f"chr{i + 1}" for i in range(-(-n_windows * LENGTH // size))])[number * LENGTH // size]
    start = number * LENGTH % size
    regions = make_regions(chrom, start, start + LENGTH)
    regions["padded"], regions["input_row"] = False, number
    layout = StoreLayout(
        regions, regions.iloc[:0].assign(reason=""), LENGTH, dict.fromkeys(pd.unique(chrom), size), n_controls
    )
    with AttributionWriter(path, layout, {"method": "simulated", "model": {}, "target": 0, "seed": 0}) as writer:
        for group, n in (("main", n_windows), ("null", n_controls)):
            for first in range(0, n, 100_000):
                rows = min(100_000, n - first)
                codes = rng.integers(0, 4, (rows, LENGTH), dtype=np.uint8)
                track = rng.normal(0, 0.05, (rows, LENGTH)).astype(np.float32)
                arrays = {"codes": codes, "track": track, "prediction": track.sum(axis=1)}
                if group == "main":
                    for row in range(0, rows, 1000):
                        at = rng.integers(5, LENGTH - 15)
                        codes[row, at : at + 10], track[row, at : at + 10] = motif, rng.normal(0.6, 0.1, 10)
                else:
                    arrays["source"] = rng.integers(0, n_windows, rows)
                writer.write(group, first, arrays)
        writer.finish()


def calls(folder: Path, windows: list[int]) -> None:
    """Time and memory of peaks and the page of so many windows; a hundredth of them as controls."""
    print(f"{'windows':>12} {'':>8} {'seconds':>8} {'RSS MB':>7}")
    for n in windows:
        simulate_windows(folder / "A.h5", n, max(n // 100, 1000))
        peaks = folder / "P.narrowPeak"
        for words in (("peaks", folder / "A.h5", "--out", peaks),
                      ("report", folder / "A.h5", "--peaks", peaks, "--out", folder / "R.html")):  # fmt: skip
            _, used, rss = seqsal_command(1, *words, "--quiet")
            print(f"{n:12,} {words[0]:>8} {used:8.1f} {rss:7.0f}", flush=True)
        size = (folder / "A.h5").stat().st_size / 1e9
        print(f"{len(peaks.read_text().splitlines()):12,} peaks, A.h5 {size:.1f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbp", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--step", type=int, default=100)
    parser.add_argument("--schedulers", action="store_true")
    parser.add_argument("--windows", type=int, nargs="+", help="of simulated files, for peaks and the page")
    given = parser.parse_args()
    if given.length != LENGTH:
        os.environ["SCALE_LENGTH"] = str(given.length)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    torch.set_num_threads(given.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.schedulers:
            schedulers(folder, given.cores)
            return
        if given.windows:
            calls(folder, given.windows)
            return
        growth(folder, given.mbp, given.models, given.cores, given.step)
        rates = parts(folder, given.step, max(given.mbp))
        for part, rate in rates.items():
            print(f"{part}: {rate:,.1f} Mbp/s")
        arithmetic(rates, given.step)


if __name__ == "__main__":
    main()
