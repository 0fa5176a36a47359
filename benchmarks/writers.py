"""Both writers by themselves, and what an attribution file takes next to the entropy of its track.

    python benchmarks/writers.py [--mbp 16] [--length 200 2000] [--keep-bits 7 15] [--trials 3] [--compiled] [--file …]

*Speed.* Windows of `--length` at steps of half of it, over `--mbp` of genome, their values at hand in memory: Mbp of
track (window bases, two to each base of the genome) to HDF5, table and renaming included, and Mbp of genome to bigWig,
blending included; `h5py` is a bare loop that writes the same arrays, unpacked and without a table. By processor time,
and by the clock, the best of `--trials`. With `--compiled` the loops that numba compiles for more values are compiled,
however few there are. Then HDF5 with the track rounded to each of `--keep-bits`, next to a bare loop
with HDF5's own shuffle and gzip (level 1) of the rounded track and of the bases.

*Size.* Of what was written (normal values, random bases) and of each `--file`: bytes a base of its windows, next to
what is left of its track by xz and by the entropy of its bytes, each of the four for itself.
"""

from __future__ import annotations

import argparse
import lzma
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from seqsal.io import packing, sweep
from seqsal.io.attributions import Attributions
from seqsal.io.rounding import round_bits
from seqsal.io.store import StoreLayout
from seqsal.io.store_writer import AttributionWriter
from seqsal.io.tracks import write_bigwig
from seqsal.regions import make_regions

ROW_BP = 1 << 20  # handed to the HDF5 writer at a time
XZ_BP = 1 << 22  # of a track that xz packs: the middle of it


def best(work: Callable[[], object], made: Path, mbp: float, trials: int) -> str:
    """Mbp in a second of processor time and of the clock, without the removal of the last trial's file."""
    rates = []
    for _ in range(trials):
        made.unlink(missing_ok=True)
        used, start = time.process_time(), time.perf_counter()
        work()
        rates.append((mbp / (time.process_time() - used), mbp / (time.perf_counter() - start)))
    return "{:8.1f} {:8.1f}".format(*np.max(rates, axis=0))


def speed(folder: Path, mbp: float, length: int, all_bits: list[int], trials: int) -> None:
    start = np.arange(0, int(mbp * 1e6) - length + 1, length // 2)
    n, size = len(start), int(mbp * 1e6)
    rng = np.random.default_rng(0)
    regions = make_regions(np.full(n, "chr1", dtype=object), start, start + length)
    codes = rng.integers(0, 4, (n, length), dtype=np.uint8)
    track = rng.standard_normal((n, length), dtype=np.float32)
    attr = Attributions(regions=regions, codes=codes, track=track, prediction=track[:, 0])

    def to_hdf5(keep_bits: int | None = None) -> None:
        layout = StoreLayout(regions, regions[:0], length, {"chr1": size}, keep_bits=keep_bits)
        with AttributionWriter(folder / "A.h5", layout, {"method": "none"}, resume=False) as writer:
            step = max(ROW_BP // length, 1)
            for i in range(0, n, step):
                rows = slice(i, i + step)
                writer.write("main", i, {"codes": codes[rows], "track": track[rows], "prediction": track[rows, 0]})
            writer.finish()

    def bare(keep_bits: int | None = None) -> None:
        with h5py.File(folder / "bare.h5", "w") as file:
            step = max(ROW_BP // length, 1)
            arrays = {"codes": codes, "track": track, "prediction": track[:, 0]}
            packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "chunks": (step, length)}
            made = {
                name: file.create_dataset(
                    name, rows.shape, rows.dtype, **(packed if keep_bits and rows.ndim > 1 else {})
                )
                for name, rows in arrays.items()
            }
            for i in range(0, n, step):
                for name, rows in arrays.items():
                    some = rows[i : i + step]
                    made[name][i : i + step] = round_bits(some, keep_bits) if keep_bits and name == "track" else some
            file.flush()
            os.fsync(file.id.get_vfd_handle())

    print(f"{length:7} h5py   {best(bare, folder / 'bare.h5', n * length / 1e6, trials)}", flush=True)
    print(f"{length:7} HDF5   {best(to_hdf5, folder / 'A.h5', n * length / 1e6, trials)}", flush=True)
    sizes(folder / "A.h5")
    big_wig = folder / "A.bw"
    print(
        f"{length:7} bigWig {best(lambda: write_bigwig(attr, {'chr1': size}, big_wig), big_wig, mbp, trials)}",
        flush=True,
    )
    for bits in all_bits:
        for name, path, work in (("gzip", folder / "bare.h5", bare), ("HDF5", folder / "A.h5", to_hdf5)):
            rates = best(lambda w=work, b=bits: w(b), path, n * length / 1e6, trials)
            print(f"{length:7} {name:6} {rates}  {bits} bits", flush=True)
            sizes(path)


def sizes(path: Path) -> None:
    with h5py.File(path, "r") as file:
        shape = file["track"].shape
        n_rows = max(XZ_BP // shape[1], 1)
        first = max((shape[0] - n_rows) // 2, 0)
        track = file["track"][first : first + n_rows]
    planes = np.ascontiguousarray(track).view(np.uint8).reshape(-1, 4).T
    shares = [np.bincount(plane, minlength=256) / plane.size for plane in planes]
    entropy = sum(-(share[share > 0] * np.log2(share[share > 0])).sum() for share in shares) / 8
    xz = len(lzma.compress(np.ascontiguousarray(planes).tobytes(), preset=6)) / track.size
    whole = path.stat().st_size / np.prod(shape)
    print(f"{path.name}: {np.prod(shape) / 1e6:.1f} Mbp of track, {whole:.2f} bytes a base; xz {xz:.2f}, "
          f"entropy {entropy:.2f}; {whole - min(xz, entropy):.2f} more")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbp", type=float, default=16)
    parser.add_argument("--length", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--keep-bits", type=int, nargs="*", default=[7, 15])
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--file", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    if given.compiled:
        packing.MANY = sweep.MANY = 0
    for path in given.file:
        sizes(path)
    if given.length:
        print(f"{'bp':>7} {'':6} {'Mbp/s: core':>8} {'clock':>8}")
    with tempfile.TemporaryDirectory() as name:
        for length in given.length:
            speed(Path(name), given.mbp, length, given.keep_bits, given.trials)


if __name__ == "__main__":
    main()
