"""`make dist`: sdist and wheel from nothing but this tree, checked, and installed where nothing else is.

    python recipes/dist.py --out dist --pythons python3.11 python3.12 [--constraint 'torch<2.14']

Both archives are built in an environment of their own and looked at by twine; the wheel is built from the sdist, so
that the sdist is complete. For each Python the wheel is then installed with the newest dependencies into a fresh
environment, and `seqsal doctor` is run there. What it took is printed: seconds and megabytes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = "https://github.com/seqsal/seqsal/blob/main/"
PICTURES = "https://raw.githubusercontent.com/seqsal/seqsal/main/"
EXTRAS = ("jupyter", "variants", "tables", "distributed")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command; what it says on stdout, or the end of the script."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def environment(python: str, folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with some packages; its Python."""
    run(python, "-m", "venv", folder)
    inside = folder / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return inside


def with_addresses(text: str) -> str:
    """README for where no file lies next to it: links and pictures by their addresses."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?://)", rf"\1{PICTURES}", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?://|#)", rf"\1{PAGES}", text)


def build(out: Path) -> Path:
    """Build sdist and wheel into `out`, and check them; the wheel."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "demo_out"))
        readme = (tree / "README.md").read_text(encoding="utf-8")
        (tree / "README.md").write_text(with_addresses(readme), encoding="utf-8")
        python = environment(sys.executable, Path(folder) / "venv", "build", "twine")
        run(python, "-m", "build", "--outdir", out.resolve(), tree)  # the wheel is made of the sdist
        print(run(python, "-m", "twine", "check", "--strict", *out.iterdir()).strip())
    for path in sorted(out.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
    return next(out.glob("*.whl"))


def install(wheel: Path, python: str, constraints: Sequence[str]) -> None:
    """Install the wheel into a fresh environment, and let it examine itself."""
    with tempfile.TemporaryDirectory() as folder:
        home, limits = Path(folder) / "venv", Path(folder) / "limits.txt"
        limits.write_text("".join(f"{one}\n" for one in constraints))
        start = time.perf_counter()
        inside = environment(python, home, "--constraint", limits, f"{wheel}[{','.join(EXTRAS)}]")
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and not path.is_symlink())
        version = run(inside, "-c", "import platform; print(platform.python_version())").strip()
        said = run(home / "bin" / "seqsal", "doctor", cwd=Path(folder))
        torch = run(inside, "-c", "import torch; print(torch.__version__)").strip()
        print(
            f"Python {version}: installed in {seconds:.0f} s, {size / 1e9:.2f} GB with torch {torch}; "
            f"{said.splitlines()[-1]}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--pythons", nargs="*", default=[sys.executable])
    parser.add_argument("--constraint", action="append", default=[])
    given = parser.parse_args()
    made = build(given.out)
    for one in given.pythons:
        if (found := shutil.which(one)) is None:
            print(f"{one}: not here, not tried")
        else:
            install(made, found, given.constraint)
