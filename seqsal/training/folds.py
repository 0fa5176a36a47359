"""Cross-validation by chromosome: one network a fold, each tested on chromosomes that it never saw."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from seqsal.errors import TrainingError, counted
from seqsal.io.atomic import atomic_path, check_writable, locked
from seqsal.io.inputs import open_input
from seqsal.models.cnn import CNNConfig
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import PROFILE_METRICS, Signal
from seqsal.training.sources import Regions, common_length, find_contigs, is_fasta, read_table
from seqsal.training.train import default_config, train_model
from seqsal.version import VERSION

__all__ = ["FoldsResult", "train_folds"]

METRICS = ("auroc", "average_precision", "pearson", "spearman", *PROFILE_METRICS)


@dataclass(frozen=True)
class FoldsResult:
    """The networks of a cross-validation.

    `paths`: one checkpoint a fold; `chroms`: what each was tested on; `metrics`: of each on its test chromosomes.
    """

    paths: list[Path]
    chroms: list[list[str]]
    metrics: list[dict[str, Any]]

    def summary(self) -> str:
        """Say how well each fold does on chromosomes that it never saw, and all together."""
        lines = []
        each = [{name: _mean_of(one.get(name)) for name in METRICS} for one in self.metrics]  # over several targets
        names = [name for name in METRICS if all(one[name] is not None for one in each)]
        for path, chroms, metrics in zip(self.paths, self.chroms, each, strict=True):
            said = ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.3f}" for name in names)
            lines.append(f"{path}: test {said}; on {', '.join(chroms[:6])}{', …' * (len(chroms) > 6)}")
        for name in names:
            values = np.array([one[name] for one in each])
            lines.append(f"test {name.replace('_', ' ')}: {values.mean():.3f}, sd over folds {values.std(ddof=1):.3f}")
        return "\n".join(lines)


def _mean_of(value: Any) -> Any:
    """Return the mean over targets of a metric, None where one has none."""
    values = value if isinstance(value, list) else [value]
    return float(np.mean(values)) if all(isinstance(one, float) for one in values) else None


def train_folds(
    positives: Regions, n_folds: int, out: str | os.PathLike[str], *, config: CNNConfig | None = None,
    training: TrainConfig | None = None, resume: bool = True, seed: int = 0, **options: Any,
) -> FoldsResult:  # fmt: skip
    """Train one network a fold: fold k is tested on the k-th group of chromosomes, and chooses its epoch on the next.

    Parameters
    ----------
    positives
        As for :func:`seqsal.training.train_model`, on chromosomes.
    n_folds
        Groups of chromosomes, with as equal numbers of positives as they allow; 3 or more.
    out
        ``M.safetensors`` stands for ``M.fold1.safetensors``, …; ``M.folds.json`` says what each is.
    config, training, seed, options
        As for :func:`seqsal.training.train_model`, but for its choice of chromosomes.
    resume
        Keep the folds that an earlier call of the same settings and files finished, and go on with the others.

    Raises
    ------
    TrainingError
        As :func:`seqsal.training.train_model`; or positives lie on fewer chromosomes than there are folds.
    """
    tracks = Signal(tuple(options["signal"]), tuple(options.get("control", ()))) if options.get("signal") else None
    config, training = (
        config
        or default_config(None if options.get("init") else common_length(positives), tracks, options.get("init")),
        training or TrainConfig(),
    )
    for name in ("valid_chroms", "test_chroms"):
        if options.pop(name, None):
            raise TrainingError(f"{name}: is for one network, while folds take turns; leave it out, or leave folds out")
    groups = _groups(_chroms_of(positives, config.input_length), n_folds)
    stem = check_writable(out)
    paths = [stem.with_name(f"{stem.stem}.fold{i + 1}{stem.suffix}") for i in range(n_folds)]
    record = stem.with_suffix(".folds.json")
    given = {"positives": positives, **options}
    wanted = {"folds": groups, "seed": seed, "config": asdict(config), "training": asdict(training),
              "inputs": {name: _identity(value) for name, value in given.items() if name not in ("progress", "device")},
              "versions": [VERSION, torch.__version__]}  # fmt: skip
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True, default=str).encode()).hexdigest()
    with locked(stem):
        done = _finished(record, digest) if resume else {}
        for i, path in enumerate(paths):
            if path.name in done and done[path.name]["sha256"] == _sha256(path):
                continue
            found = train_model(
                positives, config=config, training=training, test_chroms=groups[i],
                valid_chroms=groups[(i + 1) % n_folds], out=path, resume=resume, seed=seed, **options,
            )  # fmt: skip
            done[path.name] = {"sha256": _sha256(path), "chroms": groups[i], "test": found.test_metrics}
            with atomic_path(record) as temporary:
                temporary.write_text(json.dumps({"settings": digest, "folds": done}, indent=1) + "\n")
    each = [done[path.name] for path in paths]
    return FoldsResult(paths, groups, [one["test"] for one in each])


def _chroms_of(positives: Regions, length: int) -> pd.Series:
    """Chromosome of each positive."""
    if not is_fasta(positives):
        return read_table(positives)["chrom"]
    with open_input(fasta=positives, length=length) as source:  # type: ignore[arg-type]
        if find_contigs(positives, source.windows).any():
            raise TrainingError(
                "folds: are groups of chromosomes, and records of the FASTA have no coordinates; name them "
                "chrom:start-end, as bedtools getfasta does, or give BED and genome"
            )
        return source.windows["chrom"]


def _groups(chroms: pd.Series, n_folds: int) -> list[list[str]]:
    """Share chromosomes out to folds, the one with most positives first, each to the fold that has fewest."""
    counts = chroms.value_counts()
    if n_folds < 3:
        raise TrainingError(f"folds: got {n_folds}, expected 3 or more, since each trains, validates and tests")
    if len(counts) < n_folds:
        raise TrainingError(
            f"folds: got {n_folds}, but positives lie on {counted(len(counts), 'chromosome')}, which leaves folds "
            f"without any; give {len(counts)} at most"
        )
    groups: list[list[str]] = [[] for _ in range(n_folds)]
    sizes = np.zeros(n_folds)
    for chrom in sorted(counts.index, key=lambda chrom: (-counts[chrom], chrom)):
        fewest = int(sizes.argmin())
        groups[fewest].append(str(chrom))
        sizes[fewest] += counts[chrom]
    return groups


def _identity(value: Any) -> Any:
    """Return what tells one input from another: the bytes of a file, the rows of a table, each of a list."""
    if isinstance(value, (list, tuple)):
        return [_identity(one) for one in value]
    if isinstance(value, (list, tuple)):
        return [_identity(one) for one in value]
    if isinstance(value, pd.DataFrame):
        return hashlib.sha256(value.to_csv().encode()).hexdigest()
    return _sha256(Path(value)) if isinstance(value, (str, os.PathLike)) and Path(value).is_file() else value


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finished(record: Path, digest: str) -> dict[str, Mapping[str, Any]]:
    """Folds that a record of the same settings names."""
    try:
        found = json.loads(record.read_text())
        return dict(found["folds"]) if found["settings"] == digest else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
