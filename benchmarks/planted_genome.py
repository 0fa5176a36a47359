"""Elements planted into a genome: what `seqsal.call_peaks` finds of them among windows that hold nothing.

    python benchmarks/planted_genome.py --genome sacCer3.fa.gz [--megabases 20] [--cache FOLDER] [--seed 0]

Half of the genome is a Markov chain with the dinucleotides of human DNA, half has the composition of a real one: blocks
of 1 kb of `--genome`, each dinucleotide-shuffled. Into it 25 elements a megabase are planted, in 0.25 % of the windows:
two or three activating motifs of a network of `planted.py` within 120 bp. Windows of 200 bp at steps of 100 are
attributed, and peaks that raise the prediction are called as a user calls them, controls growing by themselves.

* **false**: calls that share no base with an element. Chance matches of the motifs count as false.
* **clear**: elements that the model itself scores above the 99.9th percentile of the windows without one.
* **recall**: share of the clear ones, and of all, with a call.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from genome import LENGTH, STEP, write_tiles
from numpy.typing import NDArray
from planted import DESIGNS, Trained, draw_background, trained

import seqsal
from seqsal.io.fasta import Genome
from seqsal.models.checkpoint import save_checkpoint
from seqsal.sequence.codes import decode, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle

PER_MEGABASE, ELEMENT_BP, BLOCK = 25, 120, 1000
N_CHROMS = 10
RATES = (0.05, 0.1)


def background(rng: np.random.Generator, n_blocks: int, genome: Path) -> NDArray[np.uint8]:
    """Blocks (n, 1000) of a Markov chain, and as many of a shuffled real genome."""
    chain = draw_background(rng, n_blocks - n_blocks // 2, BLOCK)
    with Genome(genome) as reader:
        sizes = {chrom: size for chrom, size in reader.chrom_sizes.items() if size > BLOCK}
        tables = [
            pd.DataFrame({"chrom": chrom, "start": np.arange(0, size - BLOCK, BLOCK), "strand": "."})
            for chrom, size in sizes.items()
        ]
        table = pd.concat(tables).sample(n_blocks // 2, replace=True, random_state=int(rng.integers(1 << 31)))
        real = reader.read_windows(table.assign(end=table["start"] + BLOCK, name="").reset_index(drop=True))
    real = np.where(real > 3, rng.integers(4, size=real.shape), real).astype(np.uint8)
    return np.concatenate([chain, dinucleotide_shuffle(real, seed=int(rng.integers(1 << 31)))])


def plant(rng: np.random.Generator, bases: NDArray[np.uint8], source: Trained, n: int) -> pd.DataFrame:
    """Plant elements into chromosomes (c, L), at least 1 kb apart; their places."""
    places = rng.choice(bases.size // BLOCK - 1, n, replace=False) * BLOCK + BLOCK // 2
    rows = []
    for place in np.sort(places).tolist():
        chrom, start = divmod(place, bases.shape[1])
        at = start
        for i in rng.choice(3, size=rng.integers(2, 4)):  # the activators
            site = source.motifs[i].ppm.argmax(0).astype(np.uint8)
            if at + len(site) > start + ELEMENT_BP:
                break
            bases[chrom, at : at + len(site)] = site if rng.random() < 0.5 else reverse_complement(site[None])[0]
            end = at + len(site)
            at = end + int(rng.integers(4, 30))
        rows.append((f"chr{chrom}", start, end))
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def prepare(options: argparse.Namespace) -> tuple[Path, pd.DataFrame]:
    """Make the genome and attribute its windows, as far as it has not been done; the file, and the elements."""
    options.cache.mkdir(parents=True, exist_ok=True)
    stem = options.cache / f"planted-{options.megabases:g}-{options.seed}"
    fasta, tiles, out, truth = (stem.with_name(stem.name + end) for end in (".fa", ".bed", ".h5", ".tsv"))
    if not out.exists():
        rng, source = np.random.default_rng([options.seed, 51]), trained(DESIGNS[1], options.cache)
        blocks = background(rng, int(options.megabases * 1e6 / BLOCK), options.genome)
        bases = blocks[: len(blocks) // N_CHROMS * N_CHROMS].reshape(N_CHROMS, -1)
        elements = plant(rng, bases, source, int(PER_MEGABASE * options.megabases))
        elements.to_csv(truth, sep="\t", index=False)
        fasta.write_text("".join(f">chr{i}\n{decode(row)}\n" for i, row in enumerate(bases)))
        write_tiles(fasta, tiles)
        save_checkpoint(stem.with_name(stem.name + ".safetensors"), source.model, {"history": [], "metrics": {}})
        seqsal.attribute(
            stem.with_name(stem.name + ".safetensors"), genome=fasta, regions=tiles, out=out, device="cpu",
            hypothetical=False, **({"n_controls": options.controls} if options.controls else {}),
        )  # fmt: skip
    return out, pd.read_csv(truth, sep="\t")


def touches(spans: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether spans (n,) share a base with any of the others, which do not overlap."""
    found = np.zeros(len(spans), dtype=bool)
    for chrom, here in others.sort_values("start").groupby("chrom"):
        rows = np.flatnonzero((spans["chrom"] == chrom).to_numpy())
        after = np.searchsorted(here["end"].to_numpy(), spans["start"].to_numpy()[rows], side="right")
        first = np.append(here["start"].to_numpy(), np.iinfo(np.int64).max)[after]
        found[rows] = first < spans["end"].to_numpy()[rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genome", type=Path, required=True)
    parser.add_argument("--megabases", type=float, default=20)
    parser.add_argument("--controls", type=int, help="made with the windows; the usual number, from which they grow")
    parser.add_argument("--max-controls", type=int, help="to which they grow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "seqsal-calibration")
    parser.add_argument("--statistics", nargs="+", default=["height", "joint"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    path, elements = prepare(options)
    attr = seqsal.read_attributions(path, in_memory=False)
    prediction, has_element = np.asarray(attr.prediction), touches(attr.regions, elements)
    limit = np.quantile(prediction[~has_element], 0.999)
    is_clear = touches(elements, attr.regions[prediction > limit])
    print(
        f"{len(attr):,} windows of {LENGTH} bp at steps of {STEP} over {options.megabases:g} Mb, {len(elements)} "
        f"elements, {is_clear.sum()} of them clear"
    )
    for statistic in options.statistics:
        began = time.process_time()
        peaks = seqsal.call_peaks(
            attr, fdr=max(RATES), statistic=statistic, sign="pos", device="cpu", max_controls=options.max_controls
        )
        seconds, memory = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for rate in RATES:
            calls = peaks[peaks["q_value"] <= rate]
            is_true, is_found = touches(calls, elements), touches(elements, calls)
            false = (~is_true).mean() if len(calls) else 0
            print(
                f"{statistic:7s} q <= {rate:<5g} {len(calls):5d} calls, false {false:.3f}, "
                f"recall {is_found[is_clear].mean():.3f} of the clear, {is_found.mean():.3f} of all",
                flush=True,
            )
        print(f"{attr.n_controls:,} controls, {seconds:.0f} s of the processor, {memory:.0f} MB at most")


if __name__ == "__main__":
    main()
