"""The example data say of themselves what is true."""

from __future__ import annotations

from pathlib import Path

import pytest

HELD_OUT = {"chr8", "chr9", "chr13", "chr20"}


def read_fasta(path: Path) -> dict[str, str]:
    records = (record.split("\n", 1) for record in path.read_text().split(">")[1:])
    return {name: "".join(sequence.split()) for name, sequence in records}


def read_bed(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


@pytest.fixture
def sites(example_data: Path) -> dict[str, str]:
    return read_fasta(example_data / "ctcf_sites.fa")


def test_sites_have_their_coordinates_and_length(example_data: Path, sites: dict[str, str]) -> None:
    assert len(sites) == 500
    assert {len(sequence) for sequence in sites.values()} == {200}
    assert {f"{chrom}:{start}-{end}" for chrom, start, end in read_bed(example_data / "ctcf_sites.bed")} == set(sites)


def test_contaminated_sites_end_in_the_adapter(example_data: Path, sites: dict[str, str]) -> None:
    adapter = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"
    contaminated = read_fasta(example_data / "ctcf_sites_contaminated.fa")
    assert list(contaminated) == list(sites)
    n_contaminated = 0
    for name, sequence in contaminated.items():
        kept = len([1 for a, b in zip(sequence, sites[name], strict=True) if a == b])
        n_adapter = next((n for n in range(len(adapter), 15, -1) if sequence.endswith(adapter[:n])), 0)
        assert sequence[: 200 - n_adapter] == sites[name][: 200 - n_adapter]
        assert (n_adapter > 0) == (kept < 200)
        n_contaminated += n_adapter > 0
    assert n_contaminated / len(sites) == pytest.approx(0.6, abs=0.05)
    held_out = read_fasta(example_data / "ctcf_sites_contaminated_held_out.fa")
    assert held_out == {name: s for name, s in contaminated.items() if name.split(":")[0] in HELD_OUT}


def test_the_truth_is_in_the_simulated_genome(example_data: Path, sites: dict[str, str]) -> None:
    genome = read_fasta(example_data / "simulated_genome.fa")
    truth = read_bed(example_data / "simulated_genome_sites.bed")
    assert {name.split(":")[0] for *_, name, _, _ in truth} == HELD_OUT
    assert {name for *_, name, _, _ in truth} == {name for name in sites if name.split(":")[0] in HELD_OUT}
    for contig, start, end, name, _, strand in truth:
        embedded = genome[contig][int(start) : int(end)]
        if strand == "-":
            embedded = embedded.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        assert embedded == sites[name].upper()


def test_regions_cover_sites_or_background_as_they_are_named(example_data: Path) -> None:
    truth = [
        (chrom, int(start), int(end)) for chrom, start, end, *_ in read_bed(example_data / "simulated_genome_sites.bed")
    ]
    kinds = {"site": 0, "background": 0}
    for chrom, start, end, name in read_bed(example_data / "simulated_genome_regions.bed"):
        overlap = sum(max(0, min(int(end), e) - max(int(start), s)) for c, s, e in truth if c == chrom)
        kind = name.split("_")[0]
        kinds[kind] += 1
        assert (overlap >= 130) if kind == "site" else (overlap == 0)
    assert kinds == {"site": 61, "background": 61}
