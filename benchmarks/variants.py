"""Effects of variants: speed against tangermeme's, as ratios in one run, and memory.

    python benchmarks/variants.py [--rounds 3] [--variants 128] [--memory 100000]

Both score the same substitutions of one base, on one strand, without p-values. tangermeme gets one-hot windows ready
made and its best batch size; seqsal starts from a FASTA and a table of variants, as a function, and as the command
does, which keeps freed memory. Processor seconds, contenders taking turns in processes of their own; the median over
the rounds of each ratio is printed. Above 1 seqsal is faster.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from contest import contest, fastest, random_codes, ratios
from models import NETWORKS
from tangermeme.variant_effect import substitution_effect
from torch import nn

import seqsal
from seqsal.cli import keep_freed_memory
from seqsal.experiments.variants import open_scorer, write_variant_scores
from seqsal.models import CNN, CNNConfig
from seqsal.sequence.codes import decode
from seqsal.sequence.tensors import one_hot_tensor

PEER_BATCHES = (4, 16, 32, 128)
SEQSAL, COMMAND = "seqsal", "seqsal variants"
MAX_DIFFERENCE = 1e-5  # of the largest score


def built_in() -> nn.Module:
    """Make the built-in network with random weights."""
    torch.manual_seed(0)
    return CNN(CNNConfig(input_length=1000)).eval()


MODELS = {**NETWORKS, "built-in": (built_in, 1000)}


def substitutions(n: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n, L) and the bases (n,) that are put into their middles."""
    codes = random_codes(n, length)
    return codes, (codes[:, length // 2] + 1 + np.arange(n) % 3) % 4


def make(name: str, network: str, n: int) -> Callable[[], np.ndarray]:
    """One contender on one network."""
    factory, length = MODELS[network]
    codes, put = substitutions(n, length)
    torch.set_num_threads(1)
    if name == COMMAND:
        keep_freed_memory()
    elif name != SEQSAL:
        model, X = factory(), one_hot_tensor(torch.from_numpy(codes))
        rows = torch.from_numpy(np.stack([np.arange(n), np.full(n, length // 2), put], axis=1).astype(np.int64))

        def theirs() -> np.ndarray:
            before, after = substitution_effect(model, X, rows, batch_size=int(name), device="cpu")
            return (after - before).numpy()[:, 0]

        return theirs
    path = Path(tempfile.mkdtemp()) / "genome.fa"
    path.write_text(f">c\n{decode(codes.ravel())}\n")
    at = np.arange(n) * length + length // 2
    ref, alt = list(decode(codes.ravel()[at])), list(decode(put))
    table = pd.DataFrame({"chrom": "c", "pos": at + 1, "ref": ref, "alt": alt})
    model = seqsal.wrap(factory(), input_length=length)
    given = {"genome": path, "variants": table, "rc_average": False, "n_controls": 0, "device": "cpu"}
    return lambda: seqsal.score_variants(model, **given)["effect"].to_numpy()


def compare(network: str, n: int, n_rounds: int) -> None:
    """Print the ratio of times, and fail where the effects differ."""
    ours, theirs = make(SEQSAL, network, 16)(), make("16", network, 16)()
    difference = float(np.abs(ours - theirs).max())
    peers = [str(size) for size in PEER_BATCHES]
    times = contest(make, [SEQSAL, COMMAND, *peers], (network, n), n_rounds, processor=True)
    best = fastest(times, peers)
    print(f"{network}: effects differ by {difference:.1e}")
    for own in (SEQSAL, COMMAND):
        for batch in dict.fromkeys((best, "32")):
            median, least, most = ratios(times, batch, own)
            what = f"its {'best' if batch == best else 'default'} batch, {batch}"
            print(f"  tangermeme ({what}) / {own}: {median:.2f} ({least:.2f} to {most:.2f})")
        print(f"  {own}: {n / statistics.median(times[own]):.0f} variants a second of one core")
    if not difference <= MAX_DIFFERENCE:
        raise SystemExit(f"effects differ by {difference:.1e}, expected at most {MAX_DIFFERENCE:.0e}")


def memory(n: int) -> None:
    """Print how the peak memory grows from a tenth of the variants to all of them, p-values included."""
    rng, length = np.random.default_rng(0), 60
    bases = random_codes(1, 2_000_000)[0]
    torch.manual_seed(0)
    model = seqsal.wrap(CNN(CNNConfig(input_length=length, n_filters=4, n_blocks=1, stem_kernel=7)).eval())
    with tempfile.TemporaryDirectory() as folder:
        genome, out = Path(folder, "genome.fa"), Path(folder, "out.tsv")
        genome.write_text(f">c\n{decode(bases)}\n")
        for share in (n // 10, n):
            at = rng.integers(100, len(bases) - 100, share)
            alt = (bases[at] + 1) % 4
            table = Path(folder, "v.tsv")
            rows = zip((at + 1).tolist(), decode(bases[at]), decode(alt), strict=True)
            table.write_text("chrom\tpos\tref\talt\n" + "".join(f"c\t{p}\t{r}\t{a}\n" for p, r, a in rows))
            with open_scorer([model], genome=genome, variants=table, device="cpu", n_controls=2_000) as scorer:
                summary = write_variant_scores(scorer, out)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"memory: {summary}; peak {peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", type=int, default=128)
    parser.add_argument("--memory", type=int, default=100_000)
    parser.add_argument("--network", choices=list(MODELS), action="append")
    given = parser.parse_args()
    for network in given.network or list(MODELS):
        compare(network, given.variants, given.rounds)
    if given.memory:
        memory(given.memory)


if __name__ == "__main__":
    main()
