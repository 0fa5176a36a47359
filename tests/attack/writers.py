"""Everything that writes, killed, stopped, on a full disk, and several at once: nothing lost, nothing half-written.

    python tests/attack/writers.py kill|stop|full|errors|race [--n 300] [--seed 0] [--only attribute,run]

*kill* kills the process group at one of the changes that a command makes to files (write, rename, fsync, …): the
same command again must end with the bytes of an undisturbed one, and no other file. *stop* sends SIGTERM there: exit
code 143, one line, and then the same. *full* lets every write fail from one on, as a full disk does, *errors* one of
them: exit code 2, one line, and what was there before, or 0 and the right bytes. *race* starts three at once: at least
one must end well, the others well or saying that another process writes, and one's bytes must be there.

Changes are counted, and disturbed, by `faults.c`, preloaded into every process of a trial; trials are forked from one
process that has loaded everything. It needs Linux and a C compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import hashlib
import io
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
if __package__ in (None, ""):
    sys.path[:0] = [str(HERE.parent)]

MODULES = (
    "h5py", "matplotlib.figure", "memelite", "modiscolite", "numba", "pyjaspar", "scipy.stats", "seqsal.auditing",
    "seqsal.browser", "seqsal.interop.attributions", "seqsal.interop.modisco", "seqsal.motifs", "seqsal.peaks",
    "seqsal.pipeline.run", "seqsal.pipeline.units", "seqsal.plot", "seqsal.report", "seqsal.training",
    *(f"seqsal.cli.{verb}" for verb in (
        "attribute audit compare controls export import_ logo merge peaks plan run score work".split())),
)  # fmt: skip
QUICK = ("h5py", "matplotlib.figure", "seqsal.attribution.controls", "seqsal.attribution.engine", "seqsal.io.config",
         "seqsal.interop.attributions", "seqsal.peaks", "seqsal.pipeline.elements", "seqsal.plot",
         *(f"seqsal.cli.{verb}" for verb in ("attribute", "controls", "export", "import_", "logo", "peaks", "score")),
)  # fmt: skip
COUNT, KILL, FULL, ERROR, STOP, COUNT_WRITES, OFF = 0, 1, 2, 3, 4, 5, -1
WINDOWS = "--model {in}/M.safetensors --genome {in}/genome.fa --regions {in}/regions.bed --device cpu --quiet"
FEW = WINDOWS.replace("regions.bed", "few.bed")
COMMANDS = {  # what each writes goes to {out}
    "attribute": f"attribute {WINDOWS} --out {{out}}/A.h5 --controls 20 --hypothetical --batch-size 8",
    "rounded": f"attribute {WINDOWS} --out {{out}}/A.h5 --controls 400 --keep-bits 7 --batch-size 8",  # in slots
    "run": f"run {FEW} --out {{out}}/run --no-audit --motif-db {{in}}/m.meme --fdr 0.99",
    "several": f"attribute {WINDOWS} --out {{out}}/A.h5 --method saliency --method ism --controls 5 --no-resume",
    "plan": f"plan {WINDOWS} --units 2 --controls 9 --out {{out}}/new",
    "work": "work {out}/plan --task 1 --quiet",
    "merge": "merge {out}/done --out {out}/A.h5 --quiet",
    "score": f"score {WINDOWS} --out {{out}}/s.tsv",
    "controls": "controls --genome {in}/genome.fa --regions {in}/regions.bed --length 60 --out {out}/c.fa --controls 9",
    "peaks": "peaks {out}/bare.h5 --model {in}/M.safetensors --device cpu --fdr 0.99 --out {out}/p.narrowPeak --quiet",
    "motifs": "motifs {in}/A.h5 --peaks {in}/p.narrowPeak --motif-db {in}/m.meme --out {out}/motifs --quiet",
    "logo": "logo {in}/A.h5 --region chr1:110-150 --out {out}/l.svg",
    "logo pdf": "logo {in}/A.h5 --region chr1:110-150 --out {out}/l.pdf",
    "logo png": "logo {in}/A.h5 --region chr1:110-150 --out {out}/l.png",
    "bigwig": "export {in}/A.h5 --format bigwig --out {out}/A.bw --quiet",
    "bedgraph": "export {in}/A.h5 --format bedgraph --out {out}/A.bedgraph --quiet",
    "bed": "export {in}/A.h5 --format bed --out {out}/A.bed --quiet",
    "chrombpnet-h5": "export {in}/A.h5 --format chrombpnet-h5 --out {out}/C.h5 --quiet",
    "npz": "export {in}/A.h5 --format npz --out {out}/C --quiet",
    "hub": "export {in}/A.h5 --format hub --peaks {in}/p.narrowPeak --out {out}/hub --quiet",
    "import": "import {in}/s.npz --genome {in}/genome.fa --regions {in}/regions.bed --out {out}/B.h5 --quiet",
    "compare": "compare {in}/A.h5 {in}/B.h5 --out {out}/c.tsv --bigwig {out}/c.bw --quiet",
    "audit": "audit {in}/A.h5 --out {out}/audit.json --quiet",
    "train": "train --positives {in}/sites.fa --epochs 2 --device cpu --out {out}/T.safetensors --quiet",
}


@dataclass(frozen=True)
class Ended:
    """How a trial ended: exit code (128 + signal where one ended it), what it said, changes counted, whether hit."""

    code: int
    said: str
    n_changes: int
    was_hit: bool

    @property
    def lines(self) -> list[str]:
        """What it said but for warnings."""
        return [
            line for line in self.said.splitlines() if line and ": warning: " not in line and ": info: " not in line
        ]


class Faults:
    """The control of `faults.c`, and the processes that it is preloaded into."""

    def __init__(self) -> None:
        self._file = open(os.environ["SEQSAL_FAULTS"], "r+b")
        self._map = mmap.mmap(self._file.fileno(), 48)

    def set(self, mode: int, at: int = 0, value: int = 0) -> None:
        self._map[:48] = struct.pack("6q", mode, at, value, 0, 0, 0)

    def start(self, arguments: list[str], folder: Path) -> tuple[int, int]:
        """Fork a process that runs a command; returns it and what to read its stderr from."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return pid, reader
        code = 99
        try:
            os.setpgid(0, 0)
            os.dup2(writer, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.chdir(folder)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
            sys.stdout = io.StringIO()
            from seqsal.cli import main

            try:
                main(arguments)
            except SystemExit as end:
                code = int(end.code or 0)  # type: ignore[arg-type]
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 1
        finally:
            os._exit(code)

    def end(self, pid: int, reader: int) -> Ended:
        """Wait for a process."""
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        status = os.waitpid(pid, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its children, where a signal ended it alone
        code = os.waitstatus_to_exitcode(status)
        _, _, _, n, hit, _ = struct.unpack("6q", self._map[:48])
        return Ended(128 - code if code < 0 else code, said, n, bool(hit))

    def run(self, arguments: list[str], folder: Path, mode: int = OFF, at: int = 0, value: int = 0) -> Ended:
        """Run a command with a fault."""
        self.set(mode, at, value)
        try:
            return self.end(*self.start(arguments, folder))
        finally:
            self.set(OFF)


@dataclass(frozen=True)
class Lab:
    """Good inputs, and for each command what it writes when it is left alone."""

    inputs: Path
    faults: Faults

    def words(self, command: str, out: Path) -> list[str]:
        """Spell out a command, which may be followed by options, or `--model2` for another model."""
        name, dashes, more = command.partition(" --")
        words = [*COMMANDS[name].split(), *(dashes + more).split()]
        if "--model2" in words:
            words = [word.replace("M.safetensors", "M2.safetensors") for word in words if word != "--model2"]
        return [word.replace("{in}", str(self.inputs)).replace("{out}", str(out)) for word in words]

    @contextlib.contextmanager
    def folder(self, command: str) -> Iterator[Path]:
        """Yield a folder to write to, with what the command changes."""
        with tempfile.TemporaryDirectory(prefix="trial-") as name:
            if "{out}/bare.h5" in COMMANDS[command]:
                shutil.copy(self.inputs / "bare.h5", name)
            for plan in ("plan", "done"):
                if f"{{out}}/{plan} " in COMMANDS[command]:
                    shutil.copytree(self.inputs / plan, Path(name) / plan)
            yield Path(name)

    @functools.cache  # noqa: B019 -- there is one lab
    def undisturbed(self, command: str, mode: int) -> tuple[dict[str, str], int]:
        """Return what a command writes, and in how many changes of files, or writes alone."""
        with self.folder(command) as out:
            ended = self.faults.run(self.words(command, out), out, mode)
            assert ended.code == 0, (command, ended.said)
            return contents(out), ended.n_changes


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file, but for the times in `run.json` and in the metadata of a model."""
    found = {}
    for path in sorted(folder.rglob("*")):
        data = b"folder" if path.is_dir() else path.read_bytes()
        if path.name == "run.json":
            data = json.dumps({**json.loads(data), "seconds": 0}).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def differences(found: dict[str, str], expected: dict[str, str]) -> str:
    """Name what differs; empty where nothing does."""
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return ", ".join(f"{'-' if name not in found else '+' if name not in expected else '~'}{name}" for name in names)


def killed(lab: Lab, command: str, at: int, expected: dict[str, str], mode: int = KILL) -> str:
    """Kill a command at one change, or before it where it made fewer, and run it again; returns what is wrong."""
    with lab.folder(command) as out:
        words = lab.words(command, out)
        ended = lab.faults.run(words, out, mode, at, signal.SIGTERM)
        if not ended.was_hit:
            wrong = f"exit code {ended.code}" if ended.code else differences(contents(out), expected)
            fewer = at > 1 and not wrong
            return killed(lab, command, at - 1, expected, mode) if fewer else f"was not hit, {wrong}"
        if mode == STOP and ended.code != 0:
            if ended.code != 143 or len(ended.lines) != 1 or "terminated" not in ended.said:
                return f"exit code {ended.code}: {ended.said[-300:]!r}"
            left = [name for name in contents_names(out) if is_hidden(name) and not name.endswith(".h5.partial")]
            if left and not left[0].endswith("controls.partial"):
                return f"left behind: {left}"
        if mode == KILL and ended.code != 128 + signal.SIGKILL:
            return f"exit code {ended.code}: {ended.said[-300:]!r}"
        again = lab.faults.run(words, out)
        if again.code:
            return f"then exit code {again.code}: {again.said[-300:]!r}"
        return differences(contents(out), expected)


def contents_names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in Path(name).parts)


def full(lab: Lab, command: str, at: int, expected: dict[str, str], mode: int = FULL) -> str:
    """Fail the writes of a command; returns what is wrong."""
    with lab.folder(command) as out:
        before = contents(out)
        ended = lab.faults.run(lab.words(command, out), out, mode, at, errno.ENOSPC if mode == FULL else errno.EIO)
        found = contents(out)
        if ended.code == 0:
            return differences(found, expected)
        if ended.code != 2 or len(ended.lines) != 1 or "rror: " not in ended.lines[0]:
            return f"exit code {ended.code}: {ended.said[-300:]!r}"
        if mode == FULL and "space" not in ended.lines[0]:
            return f"does not tell of the disk: {ended.lines[0]!r}"
        if command == "run":  # whole stages stay, without the run.json that says that all are there
            wrong = [name for name in found if found[name] != expected.get(name) or name == "run/run.json"]
            return f"left behind: {wrong}" if wrong else ""
        found.pop(".T.training.safetensors", None)  # of `train`, for when there is space again
        return differences(found, before)


FULL_QUICK = ["attribute", "peaks", "chrombpnet-h5", "npz", "logo pdf", "score", "import", "controls"]
RACES = {  # commands that start at once, and those whose bytes may be there
    "attribute": ("attribute", "attribute --no-resume", "attribute"),
    "two settings": ("attribute", "several", "several"),
    "run": ("run", "run", "run --model2"),
    "peaks": ("peaks", "peaks", "peaks"),
}


def race(lab: Lab, kind: str, seed: int, known: dict[str, dict[str, str]]) -> str:
    """Start commands at once; returns what is wrong."""
    rng = np.random.default_rng(seed)
    with lab.folder(RACES[kind][0]) as out:
        lab.faults.set(OFF)
        started = []
        for i in rng.permutation(len(RACES[kind])):
            started.append((RACES[kind][i], *lab.faults.start(lab.words(RACES[kind][i], out), out)))
            time.sleep(float(rng.choice([0, 0, 0.002, 0.02, 0.2])))
        ended = [(name, lab.faults.end(pid, reader)) for name, pid, reader in started]
        won = [name for name, end in ended if end.code == 0]
        for _, end in ended:
            if end.code not in (0, 2) or (end.code == 2 and "another process" not in end.said):
                return f"exit code {end.code}: {end.said[-300:]!r}"
        if not won:
            return f"nobody ended well: {[end.said[-200:] for _, end in ended]}"
        wrong = {name: differences(contents(out), known[name]) for name in won}
        return "" if "" in wrong.values() else str(wrong)


def prepare(folder: Path, quick: bool) -> Lab:
    """Write the inputs, and import everything once, so that a fork begins with it; nothing is computed before one.

    Of what is imported and written `quick` leaves out what the commands of `--only quick` do not need.
    """
    import importlib

    import torch
    from command_line import Inputs

    for module in QUICK if quick else MODULES:
        importlib.import_module(module)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    Inputs.write(folder, rng)
    lines = (folder / "regions.bed").read_text().splitlines(keepends=True)
    (folder / "few.bed").write_text("".join(lines[:3]))
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    torch.manual_seed(1)
    save_checkpoint(folder / "M2.safetensors", CNN(CNNConfig(60, n_filters=4, n_blocks=1, stem_kernel=7)).eval(), {})
    (folder / "m.meme").write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\nMOTIF M1 first\n"
        "letter-probability matrix: alength= 4 w= 6 nsites= 20 E= 0\n"
        + "0.7 0.1 0.1 0.1\n0.1 0.7 0.1 0.1\n0.1 0.1 0.7 0.1\n"
        * 2
    )
    sites = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(60)]
    (folder / "sites.fa").write_text("".join(f">chr{i % 6}:{i}00-{i}60\n{site}\n" for i, site in enumerate(sites)))
    np.savez(folder / "s.npz", rng.normal(size=(20, 4, 60)).astype(np.float32))
    lab = Lab(folder, Faults())
    made = f"attribute {WINDOWS} --hypothetical --out {{in}}/"
    plans = [*(f"plan {WINDOWS} --units 2 --controls 9 --out {{in}}/{name}" for name in ("plan", "done")),
             *(f"work {{in}}/done --task {task}" for task in (0, 1))]  # fmt: skip
    for words in (f"{made}A.h5 --controls 20", f"{made}B.h5 --seed 2", f"{made}bare.h5 --method saliency",
                  "peaks {in}/A.h5 --out {in}/p.narrowPeak --fdr 0.99", *([] if quick else plans)):  # fmt: skip
        ended = lab.faults.run(words.replace("{in}", str(folder)).split(), folder)
        assert ended.code == 0, (words, ended.said)
    return lab


def attack(lab: Lab, what: str, n: int, seed: int, only: list[str]) -> tuple[int, int]:
    """Run the trials; returns how many went right, and how many there were."""
    rng = np.random.default_rng(seed)
    n_right = n_done = 0
    if only == ["quick"]:
        only = {"race": ["attribute", "peaks"], "full": FULL_QUICK, "errors": FULL_QUICK}.get(what, ["attribute"])
    if what == "race":
        kinds = [kind for kind in RACES if not only or kind in only]
        known = {name: _known(lab, name) for name in sorted({name for kind in kinds for name in RACES[kind]})}
        for i in range(n):
            kind = kinds[i % len(kinds)]
            wrong = race(lab, kind, seed + i, known)
            n_right, n_done = n_right + (not wrong), n_done + 1
            if wrong:
                print(f"    race {kind}, seed {seed + i}: {wrong}", flush=True)
        return n_right, n_done
    names = only or (
        ["attribute", "rounded", "several", "run", "work", "merge", "train"]
        if what in ("kill", "stop")
        else list(COMMANDS)
    )
    counting = COUNT if what in ("kill", "stop") else COUNT_WRITES
    plan = sorted(((name, *lab.undisturbed(name, counting)) for name in names), key=lambda one: one[2])
    trial = {"kill": (killed, KILL), "stop": (killed, STOP), "full": (full, FULL), "errors": (full, ERROR)}[what]
    for i, (name, expected, n_changes) in enumerate(plan):
        share = min(n_changes, (n - n_done) // (len(plan) - i))  # every change of what makes few
        places = sorted(1 + rng.choice(n_changes, share, replace=False))
        n_good = 0
        for at in map(int, places):
            wrong = trial[0](lab, name, at, expected, trial[1])
            n_good += not wrong
            if wrong:
                print(f"    {what} {name} at {at} of {n_changes}: {wrong}", flush=True)
        print(f"{what} {name}: {n_good} of {share} right, {n_changes} changes", flush=True)
        n_right, n_done = n_right + n_good, n_done + share
    return n_right, n_done


def _known(lab: Lab, command: str) -> dict[str, str]:
    with lab.folder(command.split()[0]) as out:
        assert lab.faults.run(lab.words(command, out), out).code == 0
        return contents(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "stop", "full", "errors", "race"], nargs="+")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if "SEQSAL_FAULTS" not in os.environ:
        sys.exit(_preloaded())
    n_failed = 0
    with tempfile.TemporaryDirectory(prefix="inputs-") as name:
        lab = prepare(Path(name), given.only == "quick")
        for what in given.what:
            began = time.perf_counter()
            n_right, n_done = attack(lab, what, given.n, given.seed, [one for one in given.only.split(",") if one])
            print(f"{what}: {n_right} of {n_done} right ({time.perf_counter() - began:.0f} s)", flush=True)
            n_failed += n_done - n_right
    sys.exit(1 if n_failed else 0)


def _preloaded() -> int:
    """Build `faults.c`, and run this script again with it."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        library, control = Path(name) / "faults.so", Path(name) / "control"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "faults.c", "-ldl"], check=True)
        control.write_bytes(struct.pack("6q", OFF, 0, 0, 0, 0, 0))
        environment = {"LD_PRELOAD": str(library), "SEQSAL_FAULTS": str(control), "PYTHONDONTWRITEBYTECODE": "1",
                       "OMP_NUM_THREADS": "1"}  # fmt: skip
        return subprocess.run([sys.executable, *sys.argv], env=os.environ | environment, check=False).returncode


if __name__ == "__main__":
    main()
