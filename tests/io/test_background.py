"""Background controls: each like its own window, away from every region, and drawn from (seed, bases, draw) alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqsal.errors import SeqsalError
from seqsal.io.background import BackgroundControls, gc_fraction
from seqsal.io.fasta import Genome
from seqsal.io.inputs import open_input
from seqsal.regions import make_regions
from seqsal.sequence.draws import control_parents

LENGTH = 50


def write_genome(path: Path, *, size: int = 20_000, masked: bool = True, n: int = 0) -> Path:
    """Two chromosomes whose G+C rises along them; every second stretch of 500 bp is a soft-masked repeat."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for chrom in ("chr1", "chr2"):
            is_gc = rng.random(size) < np.linspace(0.2, 0.8, size)
            letters = np.where(is_gc, rng.choice(list("CG"), size), rng.choice(list("AT"), size))
            if masked:
                letters = np.where(np.arange(size) // 500 % 2, np.char.lower(letters), letters)
            letters[size - n :] = "N"
            file.write(f">{chrom}\n" + "\n".join("".join(letters[i : i + 60]) for i in range(0, size, 60)) + "\n")
    return path


def draw(genome: Path, regions: pd.DataFrame, n: int, seed: int = 0) -> BackgroundControls:
    with open_input(genome=genome, regions=regions, length=LENGTH) as source:
        parents = control_parents(np.arange(n), len(source), n)
        return BackgroundControls(source, parents, genome, seed=seed)


def regions_of(starts: np.ndarray) -> pd.DataFrame:
    return make_regions(["chr1"] * len(starts), starts, starts + LENGTH)


def test_controls_are_like_their_windows_and_away_from_all(tmp_path: Path) -> None:
    genome, starts = write_genome(tmp_path / "g.fa"), np.arange(100, 18_000, 900)
    regions = regions_of(starts)
    controls = draw(genome, regions, 80)
    codes, places = controls.read(slice(None)), controls.places
    with Genome(genome) as reader:
        wanted = gc_fraction(reader.read_windows(regions))[controls.parents]
        masked = reader.masked_fraction(regions)[controls.parents]
        own_masked = reader.masked_fraction(places)
        anywhere = gc_fraction(reader.read_windows(make_regions("chr2", starts + 3, starts + 3 + LENGTH)))
    assert {0.0, 1.0} <= set(masked)
    gap = np.abs(gc_fraction(codes) - wanted)
    assert gap.mean() < 0.04 < 0.1 < np.abs(anywhere - wanted.mean()).mean()
    assert np.abs(own_masked - masked).mean() < 0.02
    here = places[places["chrom"] == "chr1"]
    distance = np.abs(here["start"].to_numpy()[:, None] - starts).min(axis=1)
    assert len(here) and (distance >= 2 * LENGTH).all()
    assert len(set(map(tuple, places[["chrom", "start"]].to_numpy()))) > 75


def test_a_windows_controls_do_not_depend_on_its_row_their_number_or_the_others(tmp_path: Path) -> None:
    genome, starts = write_genome(tmp_path / "g.fa"), np.arange(100, 18_000, 900)
    order = np.random.default_rng(1).permutation(len(starts))

    def by_window(controls: BackgroundControls, of: np.ndarray) -> dict[tuple[int, int], tuple[str, int]]:
        found, n = {}, pd.Series(controls.parents).groupby(controls.parents).cumcount()
        for parent, number, place in zip(controls.parents, n, controls.places.itertuples(), strict=True):
            found[int(of[parent]), int(number)] = (place.chrom, place.start)
        return found

    first = by_window(draw(genome, regions_of(starts), 60), starts)
    assert by_window(draw(genome, regions_of(starts[order]), 60), starts[order]) == first
    more = by_window(draw(genome, regions_of(starts), 100), starts)
    assert {key: more[key] for key in first} == first
    assert by_window(draw(genome, regions_of(starts), 60, seed=1), starts) != first


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 1_500}, "has room for .* fewer than 80 background controls"),
        ({"n": 19_900, "masked": False}, "nearly all of the genome away from the regions is N"),
    ],
)
def test_a_genome_with_too_little_left_is_one_line(tmp_path: Path, changed: dict, message: str) -> None:
    genome = write_genome(tmp_path / "g.fa", **changed)
    with pytest.raises(SeqsalError, match=message) as error:
        draw(genome, regions_of(np.arange(0, 100, 50)), 80)
    assert "\n" not in str(error.value) and "--null shuffle" in str(error.value)


def test_regions_over_the_whole_genome_and_another_genome_are_refused(tmp_path: Path) -> None:
    genome = write_genome(tmp_path / "g.fa")
    everywhere = np.arange(0, 20_000, 50)
    both = pd.concat([make_regions([chrom] * 400, everywhere, everywhere + 50) for chrom in ("chr1", "chr2")])
    with pytest.raises(SeqsalError, match="has room for 0 windows"):
        draw(genome, both, 10)
    (tmp_path / "other").mkdir()
    other = write_genome(tmp_path / "other" / "g.fa", size=19_000)
    with open_input(genome=genome, regions=regions_of(np.arange(0, 500, 50)), length=LENGTH) as source:
        with pytest.raises(SeqsalError, match="has other bases at the regions"):
            BackgroundControls(source, np.arange(10), other, seed=0)
