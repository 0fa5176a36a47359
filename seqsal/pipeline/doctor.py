"""What an installation has and whether it works: for a first look, and for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seqsal.errors import counted, first_line
from seqsal.version import VERSION

__all__ = ["Check", "examine"]

FOR_DEVELOPERS = ("test", "docs")
TOLERANCE = 1e-5  # of the self-test, relative to the largest contribution


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `ok` is None where it is missing but not needed."""

    name: str
    text: str
    ok: bool | None = True

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILS", None: "-"}[self.ok]
        return f"{mark:5} {self.name:12} {self.text}"


def examine(folder: str | os.PathLike[str] = ".") -> Iterator[Check]:
    """Look at versions, extras, devices, the folder, known motifs, and compute a map on each device; about two seconds.

    Parameters
    ----------
    folder
        Where results are to be written.

    Examples
    --------
    >>> from seqsal.pipeline.doctor import examine
    >>> all(check.ok is not False for check in examine())
    True
    """
    yield Check("seqsal", f"{VERSION} in {Path(__file__).resolve().parents[1]}")
    yield Check(
        "python", f"{platform.python_version()} on {platform.platform()}, {counted(os.cpu_count() or 1, 'core')}"
    )
    yield from _requirements()
    yield from _devices()
    for name, test in (("writing", lambda: _written(Path(folder))), ("JASPAR", _motifs), ("example data", _examples)):
        yield _tried(name, test)
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0))]
    for device in devices:
        yield _tried("self-test", lambda device=device: _self_test(device))  # type: ignore[misc]


def _tried(name: str, test: Callable[[], str]) -> Check:
    """Make a check of a test that says what it found, or raises."""
    try:
        return Check(name, test())
    except Exception as error:
        return Check(name, f"{type(error).__name__}: {first_line(error)}", ok=False)


def _requirements() -> Iterator[Check]:
    """Versions of what seqsal needs, and of each extra, as its metadata name them."""
    groups: dict[str, list[str]] = {"": []}
    for line in importlib.metadata.requires("seqsal") or []:
        marker = re.search(r"""extra\s*==\s*["'](\w+)["']""", line)
        name = re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0]
        if name != "seqsal":
            groups.setdefault(marker[1] if marker else "", []).append(name)
    for extra, names in groups.items():
        found = {name: _version(name) for name in names}
        missing = [name for name, version in found.items() if version is None]
        text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
        if not extra:
            text += f"; MISSING: {', '.join(missing)}: pip install {' '.join(missing)}" if missing else ""
            yield Check("packages", text, ok=not missing)
        elif extra not in FOR_DEVELOPERS:
            hint = f"not installed: pip install 'seqsal[{extra}]'"
            yield Check(f"[{extra}]", hint if missing else text, ok=None if missing else True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Check]:
    yield Check(
        "cpu", f"{counted(torch.get_num_threads(), 'thread')}, torch built for {torch.version.cuda or 'the CPU'}"
    )
    if not torch.cuda.is_available():
        yield Check("cuda", "no GPU that torch can use", ok=None)
        return
    for i in range(torch.cuda.device_count()):
        one = torch.cuda.get_device_properties(i)
        yield Check(f"cuda:{i}", f"{one.name}, {one.total_memory / 1e9:.0f} GB")


def _written(folder: Path) -> str:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".seqsal-doctor-"):
        return f"{folder.resolve()}, {shutil.disk_usage(folder).free / 1e9:,.0f} GB free"


def _motifs() -> str:
    from seqsal.motifs import read_motifs
    from seqsal.motifs.formats import jaspar_releases

    releases = jaspar_releases()
    n_motifs = len(read_motifs(f"jaspar:{releases[0]}:fungi"))
    return f"releases {', '.join(releases)}, offline ({n_motifs} motifs of fungi read)"


def _examples() -> str:
    from seqsal.pipeline.demo import example_folder

    browser = "igv.js there" if find_spec("igv_notebook") else "no igv.js, reports without a browser"
    return f"{example_folder()}; {browser}"


def _self_test(device: str) -> str:
    """Compare maps of a linear network, through a file, with its weights less their mean over the four bases."""
    from seqsal.attribution.api import attribute
    from seqsal.models import wrap

    start, rng = time.perf_counter(), np.random.default_rng(0)
    codes = rng.integers(0, 4, size=(8, 50))
    weights = rng.normal(size=(4, 50)).astype(np.float32)
    linear = nn.Linear(200, 1, bias=False)
    linear.load_state_dict({"weight": torch.from_numpy(weights.reshape(1, 200))})
    network = nn.Sequential(nn.Flatten(), linear)
    expected = np.take_along_axis(weights - weights.mean(axis=0), codes, axis=0)
    with tempfile.TemporaryDirectory() as folder:
        X, methods = np.eye(4, dtype=np.float32)[codes].transpose(0, 2, 1), ["gradient_x_input", "ism"]
        attr = attribute(wrap(network), X=X, method=methods, out=Path(folder) / "A.h5", device=device, progress=False)
        off = max(float(np.abs(attr.result(name).track[:] - expected).max()) for name in methods)
    if not off <= TOLERANCE * np.abs(expected).max():
        raise RuntimeError(f"maps of a linear network are off by {off:.2g}; please report this")
    return f"{device}: maps by gradient and by mutagenesis are right ({time.perf_counter() - start:.1f} s)"
