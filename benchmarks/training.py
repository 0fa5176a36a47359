"""What it costs to show windows to a network in training: against data that are ready in memory, and for a million.

    python benchmarks/training.py [--windows 640] [--filters 32] [--length 500] [--many 100000 1000000]

*Loading*: a step of `seqsal train` (rows drawn, windows cropped, moved, turned and made one-hot, learning rate,
averaged weights, losses kept) against a bare loop of forward pass, loss, backward pass and AdamW over one-hot batches
that are ready in memory; windows one by one, and laid out together (`seqsal.training.stretches`). Rounds take turns;
medians of processor time.

*Memory*: a genome of 5 Mbp and a BED of many regions of 500 bp, with values to learn, in a process of its own each:
largest memory after reading them, and after 20 batches too, and what a window adds to it. Windows one by one would add
a byte a base, and more than once while they are read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from seqsal.models import CNN, CNNConfig
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode
from seqsal.sequence.tensors import one_hot_tensor
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import TrainingState, View, _Loop, augmented_batch
from seqsal.training.settings import TrainConfig
from seqsal.training.stretches import Stretches, turned_codes

CPU = torch.device("cpu")


def loop_of(model: CNN, examples: Examples, training: TrainConfig) -> _Loop:
    """Return the training loop of some examples."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, foreach=True)
    return _Loop(
        TrainingState(model, CNN(model.config), CNN(model.config), optimizer), examples, training, 0, CPU, None
    )


def loading(n_windows: int, n_filters: int, length: int) -> None:
    """Print how fast an epoch is, as a share of the bare loop's speed."""
    training = TrainConfig(epochs=1, batch_size=64)
    width = length + 2 * training.max_shift
    rng = np.random.default_rng(0)
    starts = np.arange(n_windows) * 7
    genome = rng.integers(0, 4, starts[-1] + width, dtype=np.uint8)
    codes = genome[starts[:, None] + np.arange(width)]
    windows = make_regions(["chr1"] * n_windows, starts, starts + width)
    laid = Stretches.lay(windows, width, turned_codes)
    laid.put(np.arange(n_windows), codes)
    labels = (np.arange(n_windows)[:, None] % 2).astype(np.float32)
    parts = np.full(n_windows, "train")
    config = CNNConfig(length, n_filters=n_filters)
    X, y = one_hot_tensor(torch.from_numpy(codes[:, :length])), torch.from_numpy(labels)
    bare = CNN(config).train()
    optimizer = torch.optim.AdamW(bare.parameters(), foreach=True)

    def run_bare() -> None:
        for rows in torch.randperm(n_windows).split(training.batch_size):
            optimizer.zero_grad(set_to_none=True)
            functional.binary_cross_entropy_with_logits(bare(X[rows]), y[rows]).backward()
            optimizer.step()

    runs = {"ready in memory": run_bare}
    for name, given in (("one by one", codes), ("laid out together", laid)):
        examples = Examples(given, labels, parts, labels[:, 0] == 1, np.full(n_windows, "chr1"))  # type: ignore[arg-type]
        loop = loop_of(CNN(config), examples, training)
        runs[name] = lambda loop=loop: loop._train(1, torch.Generator().manual_seed(0))  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(4):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    first = statistics.median(seconds["ready in memory"][1:])  # the first round warms up
    print("| windows | processor s an epoch | share of the bare loop's speed |\n|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times[1:]):.2f} | {first / statistics.median(times[1:]):.2f} |")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_many(folder: str, n_windows: int, length: int, answer: Any) -> None:
    """Read many windows, show some batches of them, and answer with peak memory (MB) and processor seconds."""
    before, begin = _peak_mb(), time.process_time()
    training = TrainConfig(batch_size=64, epochs=1)
    config = CNNConfig(length, n_filters=4, loss="regression")
    examples = load_examples(
        f"{folder}/{n_windows}.bed", None, genome=f"{folder}/genome.fa", config=config, training=training,
        valid_chroms=None, test_chroms=None, seed=0, lean=True,
    )  # fmt: skip
    read, seconds = _peak_mb(), time.process_time() - begin
    loop, generator = loop_of(CNN(config), examples, training), torch.Generator().manual_seed(0)
    for rows, _ in zip(loop._batches(generator), range(20), strict=False):
        codes, _ = loop._shown(rows, generator)
        view = View.draw(len(rows), codes.shape[1] - length, generator, reverse_complement=True, device=CPU)
        augmented_batch(codes, length, view)
    answer.put((before, read, _peak_mb(), seconds))


def memory(numbers: list[int], length: int) -> None:
    """Print the largest memory for so many windows of one small genome."""
    rng = np.random.default_rng(0)
    size = 1_250_000
    context = multiprocessing.get_context("spawn")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        chroms = [f"chr{i}" for i in range(1, 5)]
        text = "".join(f">{chrom}\n{decode(rng.integers(0, 4, size, dtype=np.uint8))}\n" for chrom in chroms)
        Path(folder, "genome.fa").write_text(text)
        print("\n| regions | before (MB) | read (MB) | and shown (MB) | processor s |\n|---|---|---|---|---|")
        for n in numbers:
            starts = np.linspace(100, size - length - 100, n // 4).astype(int)
            table = pd.DataFrame({"chrom": np.repeat(chroms, len(starts)), "start": np.tile(starts, 4)})
            table["end"], table["name"] = table["start"] + length, "."
            table["score"] = rng.integers(0, 1000, len(table))
            table.to_csv(f"{folder}/{n}.bed", sep="\t", header=False, index=False)
            answer = context.Queue()
            process = context.Process(target=read_many, args=(folder, n, length, answer))
            process.start()
            found.append(answer.get())
            process.join()
            before, read, shown, seconds = found[-1]
            print(f"| {n:,} | {before:.0f} | {read:.0f} | {shown:.0f} | {seconds:.1f} |", flush=True)
    if len(numbers) > 1:
        more = (found[-1][2] - found[0][2]) * 2**20 / (numbers[-1] - numbers[0])
        print(f"\na window adds {more:.0f} bytes; its bases alone are {length + 16}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("windows", 640), ("filters", 32), ("length", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--many", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loading(arguments.windows, arguments.filters, arguments.length)
    if arguments.many:
        memory(arguments.many, arguments.length)


if __name__ == "__main__":
    main()
