"""The demonstration: train on real CTCF sites, explain sites that the training never saw, then a small genome.

Everything comes from `example_data/`, whose README gives the provenance. The chromosomes in `HELD_OUT` are neither
trained on nor used to choose the epoch; the sites explained, and those inside the simulated genome, are theirs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seqsal
from seqsal.api import train_to_file
from seqsal.errors import OutputError
from seqsal.io.folder import make_folder
from seqsal.pipeline import RunResult, run

__all__ = ["HELD_OUT", "DemoResult", "example_folder", "run_demo"]

HELD_OUT = ["chr8", "chr9", "chr13", "chr20"]
TRAINING: dict[str, Any] = {"epochs": 30, "patience": 15}  # few sites to learn from take more passes
MOTIF_DB = "jaspar:2026:vertebrates"
GENOME_FDR = 0.1  # half of its windows hold nothing, which costs power


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes
    ----------
    test_metrics
        Held-out performance of the model.
    sites, genome
        The runs on the real held-out sites and on the simulated genome.
    """

    test_metrics: dict[str, Any]
    sites: RunResult
    genome: RunResult

    def summary(self) -> str:
        """Say what was made, how good the model is, and what to open first."""
        metrics = self.test_metrics
        return "\n".join(
            [
                f"model    AUROC {metrics['auroc']:.3f}, average precision {metrics['average_precision']:.3f} on "
                f"{metrics['n_positives']} held-out sites and {metrics['n_negatives']} shuffles",
                f"sites    {len(self.sites.peaks)} peaks in {len(self.sites.attr)} real CTCF sites (hg19, q ≤ 0.05)",
                f"genome   {len(self.genome.peaks)} peaks in {len(self.genome.attr)} windows of a simulated genome "
                f"(q ≤ {GENOME_FDR:g}), half of which hold a site",
                f"open     {self.sites.folder / 'report.html'}",
            ]
        )


def example_folder() -> Path:
    """Where the example data are.

    Raises
    ------
    OutputError
        They were left out of this installation.
    """
    folder = Path(seqsal.__file__).parent / "example_data"
    if not (folder / "ctcf_sites.fa").exists():
        raise OutputError(f"{folder}: the example data are not installed; use a clone of the repository")
    return folder


def run_demo(out: str | os.PathLike[str], *, device: str = "auto", seed: int = 0, progress: bool = False) -> DemoResult:
    """Train, then run on real held-out sites and on a genome.

    Parameters
    ----------
    out
        Folder: the model and the run on the sites go there, the run on the genome into its `genome` subfolder.
    device
        `auto`, `cpu` or `cuda[:i]`.
    seed
        Seeds the training and the controls.
    progress
        Show progress bars.
    """
    data = example_folder()
    settings: dict[str, Any] = {"device": device, "seed": seed, "progress": progress}
    with make_folder(out) as folder:
        model = folder / "model.safetensors"
        trained = train_to_file(model, positives=data / "ctcf_sites.fa", test_chroms=HELD_OUT, **TRAINING, **settings)
    settings |= {"rc_average": True, "motif_db": MOTIF_DB}  # binding does not depend on the strand
    sites = run(model=str(model), out=folder, fasta=data / "ctcf_sites_held_out.fa", **settings)
    genome = run(
        model=str(model),
        out=folder / "genome",
        genome=data / "simulated_genome.fa",
        regions=data / "simulated_genome_regions.bed",
        fdr=GENOME_FDR,
        **settings,
    )
    return DemoResult(trained.test_metrics, sites, genome)
