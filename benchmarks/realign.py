"""TF-MoDISco's alignments before and after `seqsal.motifs.realign`: instances that are misplaced, and information.

    python benchmarks/realign.py [--sets 5] [--epochs 2 4] [--motifs MA0363 MA0265 MA0139]
    python benchmarks/realign.py --motifs MA0363 --genome G.fa --sites S.bed --test-chroms chrIV chrX

Small networks (16 filters, 2 and 4 epochs) are trained, since poor ones are what misplaces instances. Without a genome
they are trained on 600 random sequences with a site drawn from a JASPAR matrix each, and explain 110 others, whose
sites are the seqlets; the truth is where they were planted. With a genome they are trained on its sites, and the peaks
at those of the test chromosomes are the seqlets; the truth is the best match of the matrix within 25 bp of the summit,
where its log-odds are above 6.

An instance is misplaced if it lies at another place against the truth, or on another strand, than most of its pattern.
Patterns of which 30 % or more are misplaced before are of another motif, and are left out. Printed a set: instances,
misplaced before and after, those that were right and are misplaced after, bits of the trimmed pattern before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import seqsal
from seqsal.models import CNNConfig
from seqsal.motifs.discover import align_modisco
from seqsal.motifs.matrices import Motif, read_motifs
from seqsal.motifs.patterns import trim
from seqsal.motifs.realign import realign
from seqsal.motifs.seqlets import Alignment, Seqlets, cut_seqlets
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode, one_hot, reverse_complement
from seqsal.training import TrainConfig, train_model

N, N_TRAINED, LENGTH = 110, 600, 150
REACH, LEAST = 25, 6.0
Places = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]  # first base, strand, whether it is known


def planted(motif: Motif, epochs: int, seed: int, folder: Path) -> tuple[Seqlets, Places]:
    """Seqlets at sites that were planted, by a network that was trained on others, and where they are."""
    rng = np.random.default_rng(seed)
    ppm = (motif.counts + 0.5) / (motif.counts + 0.5).sum(axis=0)
    width, n = ppm.shape[1], N_TRAINED + N
    codes = rng.integers(0, 4, (n, LENGTH), dtype=np.uint8)
    start, reverse = (LENGTH - width) // 2 + rng.integers(-20, 21, n), rng.random(n) < 0.5
    for i in range(n):
        site = np.array([rng.choice(4, p=column) for column in ppm.T], dtype=np.uint8)
        codes[i, start[i] : start[i] + width] = reverse_complement(site) if reverse[i] else site
    positives, model = folder / "p.fa", folder / "M.safetensors"
    positives.write_text("".join(f">s{i}\n{decode(row)}\n" for i, row in enumerate(codes[:N_TRAINED])))
    config = CNNConfig(LENGTH, n_filters=16, n_blocks=2)
    train_model(positives, config=config, training=TrainConfig(epochs=epochs), seed=seed, out=model)
    own, start, reverse = codes[N_TRAINED:], start[N_TRAINED:], reverse[N_TRAINED:]
    first = 400 * np.arange(N)
    regions = make_regions(["chr1"] * N, first, first + LENGTH)
    attr = seqsal.attribute(model, X=one_hot(own), regions=regions, hypothetical=True, device="cpu")
    summit = start + width // 2 + rng.integers(-3, 4, N)
    peaks = make_regions(["chr1"] * N, first + summit - 5, first + summit + 5, summit=[5] * N)
    seqlets = cut_seqlets(attr, peaks.assign(signal=1.0, sign="pos")).rounded()
    order = (seqlets.table["start"].to_numpy() + seqlets.width // 2) // 400
    offset = seqlets.table["start"].to_numpy() - 400 * order
    return seqlets, (start[order] - offset, reverse[order], np.ones(N, bool))


def of_network(options: argparse.Namespace, epochs: int, seed: int, folder: Path) -> Seqlets:
    """Seqlets of a small network's peaks at the sites of the test chromosomes."""
    model, sites, held = folder / "M.safetensors", folder / "sites.bed", folder / "held.bed"
    table = pd.read_csv(options.sites, sep="\t", header=None, comment="#")
    table[1], table[2] = (table[1] - 100).clip(lower=0), table[1] + 100
    table[table.columns[:3]].to_csv(sites, sep="\t", header=False, index=False)
    table[table[0].isin(options.test_chroms)][[0, 1, 2]].to_csv(held, sep="\t", header=False, index=False)
    train_model(
        sites, genome=options.genome, config=CNNConfig(200, n_filters=16, n_blocks=2),
        training=TrainConfig(epochs=epochs), test_chroms=options.test_chroms, seed=seed, out=model,
    )  # fmt: skip
    attr = seqsal.attribute(model, genome=options.genome, regions=held, hypothetical=True, n_controls=200, device="cpu")
    peaks = seqsal.call_peaks(attr, fdr=1.0, statistic="height", max_controls=200)
    strongest = peaks[peaks["sign"] == "pos"].sort_values("q_value", kind="stable").head(130).sort_index()
    return cut_seqlets(attr, strongest.reset_index(drop=True)).rounded()


def best_matches(seqlets: Seqlets, motif: Motif) -> Places:
    """Where a matrix fits each seqlet best near its summit."""
    letters = one_hot(seqlets.codes).astype(np.float64)
    ppm = (motif.counts + 0.5) / (motif.counts + 0.5).sum(axis=0)
    log_odds = np.log(ppm / letters.mean(axis=(0, 2))[:, None])
    first, width = seqlets.width // 2 - REACH, log_odds.shape[1]
    places = range(first, first + 2 * REACH - width + 1)
    scores = np.stack([np.einsum("nbw,bw->n", letters[:, :, at : at + width], matrix)
                       for matrix in (log_odds, log_odds[::-1, ::-1]) for at in places], axis=1)  # fmt: skip
    best = scores.argmax(axis=1)
    return first + best % len(places), best >= len(places), scores.max(axis=1) > LEAST


def offsets(alignment: Alignment, truth: Places, width: int) -> NDArray[np.int64]:
    """Where the truth lies in each instance, and its strand, as one number."""
    start, reverse, _ = (one[alignment.rows] for one in truth)
    first = np.where(alignment.reverse, alignment.start + alignment.width - start - width, start - alignment.start)
    return np.asarray(2 * first + (reverse != alignment.reverse))


def misplaced(alignment: Alignment, truth: Places, width: int) -> NDArray[np.bool_]:
    """Whether each instance whose truth is known lies elsewhere than most do."""
    found = offsets(alignment, truth, width)[truth[2][alignment.rows]]
    return np.asarray(found != Counter(found.tolist()).most_common(1)[0][0])


def bits(alignment: Alignment, seqlets: Seqlets) -> float:
    """Information of the trimmed pattern."""
    counts = trim(alignment, seqlets).complete(seqlets).counts(seqlets) + 0.25
    ppm = counts / counts.sum(axis=0)
    return float((2 + (ppm * np.log2(ppm)).sum(axis=0)).sum())


def sets_of(options: argparse.Namespace, known: dict[str, Motif]) -> Iterator[tuple[str, Seqlets, Places, int]]:
    """Yield seqlets, each with its name, the truth and the motif's width."""
    for seed in range(options.sets):
        for name in options.motifs:
            motif = known[name]
            for epochs in options.epochs:
                with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
                    if options.genome is None:
                        seqlets, truth = planted(motif, epochs, seed, Path(folder))
                    else:
                        seqlets = of_network(options, epochs, seed, Path(folder))
                        truth = best_matches(seqlets, motif)
                yield f"{motif.name} {epochs} epochs, seed {seed}", seqlets, truth, motif.counts.shape[1]


def main() -> None:
    """Print the table, and sums by motif."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--motifs", nargs="+", default=["MA0363", "MA0265", "MA0139"])
    for name in ("genome", "sites"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--test-chroms", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    read = [*read_motifs("jaspar:2026:fungi"), *read_motifs("jaspar:2026:vertebrates")]
    known = {motif.accession.partition(".")[0]: motif for motif in read}
    sums: dict[str, list[list[float]]] = {}
    for name, seqlets, truth, width in sets_of(options, known):
        for before in align_modisco(seqlets):
            wrong = misplaced(before, truth, width)
            if len(wrong) < N // 4 or wrong.mean() >= 0.3:
                continue
            after = realign(before, seqlets)
            still = misplaced(after, truth, width)
            row = [
                len(wrong),
                wrong.sum(),
                still.sum(),
                (still & ~wrong).sum(),
                bits(before, seqlets),
                bits(after, seqlets),
            ]
            print(name, *row[:4], f"{row[4]:.2f} {row[5]:.2f}", flush=True)
            sums.setdefault(name.split()[0], []).append([float(one) for one in row])
    print(
        "\n| motif | patterns | instances | misplaced before | after | of those that were right | bits before | after |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in sums.items():
        total, mean = np.sum(rows, axis=0), np.mean(rows, axis=0)
        print(
            f"| {name} | {len(rows)} | "
            + " | ".join(f"{one:.0f}" for one in total[:4])
            + f" | {mean[4]:.2f} | {mean[5]:.2f} |"
        )


if __name__ == "__main__":
    main()
