"""Damaged inputs of every kind through every command that reads them: exit code 0 or 2, one line, nothing left behind.

    python tests/attack/damaged_inputs.py [--n 40] [--seed 0] [--kinds bed,fasta]

Each input is a good file that is cut, emptied, repeated, has bytes flipped, lines dropped, doubled or swapped, or odd
text put in. A traceback, an exit code other than 0 and 2, more than one line of error, a file left behind by a command
that failed, more than 2 GB of memory or 60 seconds are counted and printed with the seed that makes it again. Each
input is tried in a process of its own, forked from one that has loaded everything.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from click.testing import CliRunner

__all__ = ["KINDS", "Failure", "attack", "make_good_files"]

MODULES = "seqsal.interop.attributions seqsal.motifs seqsal.peaks seqsal.pipeline.info seqsal.plot modiscolite".split()
MAX_SECONDS, MAX_BYTES = 60, 2 * 10**9

ODD = (
    b"\x00", b"\xff\xfe", b"\r", b"\t", b" ", b"nan", b"inf", b"-1", b"1e308", b"9" * 20, b'"', b"'", b",",
    b"\x1b[31m", b"[", b"]", b"{", b"=", b"#", b">", b"%s", b"\xe2\x80\xa8", b"../../x", b"\n\n", b"-inf",
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What went wrong with one damaged input."""

    kind: str
    command: str
    seed: int
    what: str


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return one damaged form of a file."""
    how = rng.integers(8)
    place = int(rng.integers(max(len(content), 1)))
    if how == 0:
        return content[:place]
    if how == 1:
        flipped = bytearray(content)
        for at in rng.integers(max(len(content), 1), size=rng.integers(1, 9)):
            if len(flipped):
                flipped[at] ^= 1 << int(rng.integers(8))
        return bytes(flipped)
    if how == 2:
        odd = ODD[rng.integers(len(ODD))]
        return content[:place] + odd + content[place:]
    if how == 3:
        return b"" if rng.random() < 0.3 else content[place:]
    if how == 4:
        size = int(rng.integers(1, 64))
        return content[:place] + bytes(rng.integers(0, 256, size, dtype=np.uint8)) + content[place + size :]
    lines = content.split(b"\n")
    at = int(rng.integers(len(lines)))
    if how == 5:
        return b"\n".join(lines[:at] + lines[at + 1 :])
    if how == 6:
        return b"\n".join(lines[: at + 1] + lines[at:])
    fields = lines[at].split(b"\t")
    fields[rng.integers(len(fields))] = ODD[rng.integers(len(ODD))]
    return b"\n".join([*lines[:at], b"\t".join(fields), *lines[at + 1 :]])


def make_good_files(folder: Path) -> dict[str, Path]:
    """Write one good input of each kind."""
    import torch

    import seqsal
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    letters = np.array(list("ACGT"))
    genome = {name: "".join(letters[rng.integers(0, 4, 600)]) for name in ("chr1", "chr2")}
    files = {name: folder / name for name in FILES}
    records = [
        f">{name}\n" + "".join(f"{text[i : i + 60]}\n" for i in range(0, 600, 60)) for name, text in genome.items()
    ]
    files["g.fa"].write_text("".join(records))
    rows = [(f"chr{1 + i % 2}", 20 + 37 * i, 60 + 37 * i, f"r{i}", i, "+-"[i % 2]) for i in range(12)]
    files["r.bed"].write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    save_checkpoint(files["m.safetensors"], CNN(CNNConfig(40, n_filters=4, stem_kernel=5)).eval(), {})
    files["c.toml"].write_text('[score]\ninput-length = 40\nbatch-size = 4\ndevice = "cpu"\n')
    files["m.meme"].write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nMOTIF M1 first\n"
        "letter-probability matrix: alength= 4 w= 6 nsites= 20 E= 0\n"
        + "0.7 0.1 0.1 0.1\n0.1 0.7 0.1 0.1\n0.1 0.1 0.7 0.1\n"
        * 2
    )
    files["m.jaspar"].write_text(">MA1.1 one\n" + "".join(f"{b} [ 8 1 1 8 1 ]\n" for b in "ACGT"))
    attr = seqsal.attribute(
        str(files["m.safetensors"]), genome=files["g.fa"], regions=files["r.bed"], out=files["A.h5"], device="cpu",
        hypothetical=True, n_controls=20,
    )  # fmt: skip
    np.savez(files["s.npz"], attr.hypothetical)
    np.save(files["s.npy"], np.asarray(attr.track))
    call(["export", "--format", "bigwig", files["A.h5"], "--out", files["A.bw"]])
    call(["peaks", files["A.h5"], "--out", files["p.narrowPeak"], "--fdr", "0.99"])
    return files


def call(arguments: list[object]) -> tuple[int, str, BaseException | None]:
    """Run a command in this process: exit code, what it wrote to stderr, and the exception that was not handled."""
    from seqsal.cli import main

    result = CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=True)
    unhandled = result.exception if result.exception and not isinstance(result.exception, SystemExit) else None
    return result.exit_code, result.stderr, unhandled


SCORE = "score --model {m.safetensors} --genome {g.fa} --regions {r.bed} --out {out}/s.tsv --quiet"
IMPORT = "--genome {g.fa} --regions {r.bed} --out {out}/B.h5 --quiet"
MOTIFS = "motifs {A.h5} --peaks {p.narrowPeak} --out {out}/motifs --quiet"
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {  # the file that is damaged, and the commands that read it
    "fasta": ("g.fa", (SCORE,)),
    "fasta alone": ("g.fa", ("score --model {m.safetensors} --fasta {g.fa} --out {out}/s.tsv --quiet",)),
    "bed": ("r.bed", (SCORE,)),
    "toml": ("c.toml", (f"{SCORE} --config {{c.toml}}",)),
    "checkpoint": ("m.safetensors", (SCORE, "info {m.safetensors}")),
    "attributions": (
        "A.h5",
        (
            "info {A.h5}",
            "peaks {A.h5} --out {out}/p.narrowPeak --quiet",
            "export --format bedgraph {A.h5} --out {out}/A.bedGraph --quiet",
            "logo {A.h5} --region chr1:20-60 --out {out}/l.svg",
        ),
    ),
    "meme": ("m.meme", (f"{MOTIFS} --motif-db {{m.meme}}",)),
    "jaspar": ("m.jaspar", (f"{MOTIFS} --motif-db {{m.jaspar}}",)),
    "narrowpeak": ("p.narrowPeak", (MOTIFS,)),
    "npz": ("s.npz", (f"import {{s.npz}} {IMPORT}",)),
    "npy": ("s.npy", (f"import {{s.npy}} {IMPORT}",)),
    "bigwig": ("A.bw", (f"import {{A.bw}} --length 40 {IMPORT}", "info {A.bw}")),
}
FILES = tuple(dict.fromkeys(re.findall(r"{([\w.]+\.\w+)}", str(KINDS))))


def spelled(command: str, files: dict[str, Path], out: Path) -> list[object]:
    """Put the paths into a command."""
    return [
        re.sub(r"{([\w.]+)}", lambda m: str(out if m[1] == "out" else files[m[1]]), word) for word in command.split()
    ]


@contextlib.contextmanager
def _fresh(good: dict[str, Path]) -> Iterator[tuple[dict[str, Path], Path]]:
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        out.mkdir()
        yield {key: Path(shutil.copy(path, folder / path.name)) for key, path in good.items()}, out


def attack(kind: str, good: dict[str, Path], seed: int) -> list[Failure]:
    """Damage one input and give it to every command that reads it."""
    name, commands = KINDS[kind]
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    failures = []
    with _fresh(good) as (files, out):
        files[name].write_bytes(damaged(files[name].read_bytes(), rng))
        for arguments in (spelled(command, files, out) for command in commands):
            before = set(out.rglob("*"))
            code, text, error = call(arguments)
            lines = [line for line in text.splitlines() if "error:" in line or "Error" in line or "See 'seqsal" in line]
            if error is not None:
                last = traceback.extract_tb(error.__traceback__)[-1]
                seqsal = [f for f in traceback.extract_tb(error.__traceback__) if "/seqsal/" in f.filename]
                where = f"{Path(seqsal[-1].filename).name}:{seqsal[-1].lineno}" if seqsal else last.name
                what = f"{type(error).__name__}: {str(error)[:80]!r} at {where}"
            elif code not in (0, 2):
                what = f"exit code {code}"
            elif code == 2 and len(lines) != 1:
                what = f"{len(lines)} lines of error: {text[:200]!r}"
            elif code == 2 and set(out.rglob("*")) - before:
                what = f"left behind: {sorted(p.name for p in set(out.rglob('*')) - before)}"
            else:
                continue
            failures.append(Failure(kind, str(arguments[0]), seed, what))
    return failures


def in_a_process(kind: str, good: dict[str, Path], seed: int) -> list[Failure]:
    """Do as `attack` does in a forked process, and watch its time and memory."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(reader)
            signal.alarm(MAX_SECONDS * len(KINDS[kind][1]))
            with contextlib.redirect_stdout(io.StringIO()), os.fdopen(writer, "wb") as pipe:
                pickle.dump(attack(kind, good, seed), pipe)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        late = f"more than {MAX_SECONDS} s" if code == -signal.SIGALRM else f"the process ended with {code}"
        return [Failure(kind, "all", seed, late)]
    failures: list[Failure] = pickle.loads(said)
    if (n_bytes := usage.ru_maxrss * 1024) > MAX_BYTES:
        failures.append(Failure(kind, "all", seed, f"{n_bytes / 1e9:.1f} GB of memory"))
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # threads do not live on in a fork
    for module in MODULES:
        importlib.import_module(module)
    n_inputs = n_commands = 0
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory() as name:
        good = make_good_files(Path(name))
        for kind in arguments.kinds.split(","):
            found = []
            for seed in range(arguments.seed, arguments.seed + arguments.n):
                found += in_a_process(kind, good, seed)
            n_inputs, n_commands = n_inputs + arguments.n, n_commands + arguments.n * len(KINDS[kind][1])
            print(f"{kind}: {len(found)} of {arguments.n} failed", flush=True)
            for what in dict.fromkeys((one.command, one.what) for one in found):
                seeds = [one.seed for one in found if (one.command, one.what) == what]
                print(f"    {what[0]}: {what[1]}  (seeds {seeds[:5]})", flush=True)
            failures += found
    n_right = n_inputs - len({(one.kind, one.seed) for one in failures})
    print(
        f"{n_right} of {n_inputs} inputs, by {n_commands} commands, with exit code 0 or 2, one line, nothing left"
        f" behind, under {MAX_BYTES / 1e9:.0f} GB and {MAX_SECONDS} s"
    )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
