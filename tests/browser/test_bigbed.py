"""bigBed read back by pyBigWig, its header, and disks that fill."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
from bundle_checks import read_bigbed

from seqsal.browser.tracks import MOTIF_SCHEMA, PEAK_SCHEMA, PLAIN_SCHEMA, BedSchema, FeatureTrack, Row
from seqsal.errors import OutputError

SIZES = {"chr2": 5000, "chr10": 900, "chr1": 1_000_000}


def write_bigbed(path: Path, rows: list[Row], sizes: dict[str, int], schema: BedSchema) -> None:
    FeatureTrack(path.stem, "Items", "items", (0, 0, 0), schema, rows).write(path.parent, sizes)


def test_items_in_any_order_read_back(tmp_path: Path) -> None:
    rows = [("chr2", 10, 20, "a\t0\t+\t1\t2\t3\t4"), ("chr10", 0, 900, "é\t1\t.\t1\t2\t3\t4"),
            ("chr2", 10, 15, "b\t2\t-\t1\t2\t3\t4"), ("chr1", 5, 6, "c\t3\t+\t1\t2\t3\t4")]  # fmt: skip
    for name, order in (("a.bb", rows), ("b.bb", rows[::-1])):
        write_bigbed(tmp_path / name, order, SIZES, PEAK_SCHEMA)
    assert read_bigbed(tmp_path / "a.bb", SIZES, "bigNarrowPeak") == sorted(rows)
    assert (tmp_path / "a.bb").read_bytes() == (tmp_path / "b.bb").read_bytes()


def test_many_items_on_many_contigs(tmp_path: Path) -> None:
    sizes = {f"contig_{i}": 10_000 for i in range(700)}
    rows = [(chrom, i * 7, i * 7 + 9, f"i{i}\t0\t+\t0\t0\t0,0,0") for chrom in sizes for i in range(20)]
    write_bigbed(tmp_path / "a.bb", rows, sizes, PLAIN_SCHEMA)
    assert sorted(read_bigbed(tmp_path / "a.bb", sizes, "bigBed 9 .")) == sorted(rows)


def test_types_for_track_db() -> None:
    assert [schema.trackdb_type for schema in (PEAK_SCHEMA, MOTIF_SCHEMA, PLAIN_SCHEMA)] == [
        "bigNarrowPeak", "bigBed 9 +", "bigBed 9 ."
    ]  # fmt: skip


def test_a_full_disk(tmp_path: Path) -> None:
    rows = [("chr1", i, i + 9, f"{i * 7919 % 100_003:x}\t0\t+\t0\t0\t0,0,0") for i in range(20_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=r"a\.bb"):
            write_bigbed(tmp_path / "a.bb", rows, SIZES, PLAIN_SCHEMA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
