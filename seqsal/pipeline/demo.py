"""The demonstration: train on real CTCF sites, explain sites that the training never saw, then a small genome.

Everything comes from `example_data/`, whose README gives the provenance. The chromosomes in `HELD_OUT` are neither
trained on nor used to choose the epoch; the sites explained, and those inside the simulated genome, are theirs.

A second model is trained on the same sites as they come out of a sequencer whose reads were not trimmed: many end in an
adapter. It is as accurate as the first, and the audit tells the two apart. From what that audit found, a third is
trained without the adapter, as by `seqsal retrain`; `index.html` has the three in one table.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import seqsal
from seqsal.errors import OutputError
from seqsal.io.atomic import atomic_path, make_folder
from seqsal.io.bed import read_bed
from seqsal.motifs.discover import compiling_kernels
from seqsal.pipeline.retrain import effect_text, retrain, retrain_paths
from seqsal.pipeline.run import RunResult, run
from seqsal.plot.style import one_line
from seqsal.report.cards import draw_named
from seqsal.report.comparison import MATCH_FDR, FinishedRun, read_run
from seqsal.report.html import render_page
from seqsal.report.sections import Section

__all__ = ["HELD_OUT", "DemoResult", "example_folder", "run_demo"]

HELD_OUT = ["chr8", "chr9", "chr13", "chr20"]
ALIKE: dict[str, Any] = {
    "rc_average": True,
    "motif_db": "jaspar:2026:vertebrates",
}  # binding does not depend on the strand
NETWORK: dict[str, Any] = {"input_length": 200, "n_filters": 32}
MODEL_NAME, RETRAINED, SHORTCUT_PLACES = "model.safetensors", "retrained.safetensors", "shortcuts.bed"
NO_THIRD = "not made: the audit of the second found no shortcut, so there is nothing to train away"
REMEDY = "randomise"  # retrain's first choice; to try all three would take as long as the rest
SITES, HELD_OUT_SITES = "ctcf_sites.fa", "ctcf_sites_held_out.fa"
UNTRIMMED, UNTRIMMED_HELD_OUT = "ctcf_sites_contaminated.fa", "ctcf_sites_contaminated_held_out.fa"
GENOME_FDR = 0.1  # half of its windows hold nothing, which costs power

STEPS = (  # what is done, and why it takes as long as it does
    "1/4 training a network on {n_train} CTCF sites and two shuffles of each: 15 passes over them. In another process "
    "meanwhile, from here to 4/4, the same for a second network, whose sites have sequencing adapters left on",
    "2/4 explaining the {n_held_out} sites of chromosomes that training left out: up to 1,000 shuffled controls for "
    "the q-values, about 1,000 known motifs to name what is found, and an audit that predicts thousands of changed "
    "sequences",
    "3/4 finding sites in a small simulated genome: peaks and motifs alone",
    "4/4 waiting for the second network, its maps and its audit, and for the third: the second trained again without "
    "the shortcut that the audit found, and audited again",
)

logger = logging.getLogger(__name__)

_ASIDE = """import sys; sys.path.append(sys.argv[1])
from pathlib import Path; import seqsal.pipeline.demo as d
d.second_model(Path(sys.argv[2]), threads_at_last=int(sys.argv[3]), device=sys.argv[4], seed=int(sys.argv[5]))"""


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made."""

    test_metrics: dict[str, Any]  # held-out performance of the model
    contaminated_metrics: dict[str, Any]  # that of the model trained on untrimmed reads
    sites: RunResult  # on the real held-out sites
    genome: RunResult  # on the simulated genome
    contaminated: FinishedRun  # on the held-out sites untrimmed, with the model trained on such
    retrained: dict[str, Any] | None  # before and after, of its `.retrain.json`; None where no shortcut was found
    page: Path  # of all three

    def summary(self) -> str:
        """Say what was made and how good the models are; in the last three lines, what to open and to type next."""
        n_tested = f"{self.test_metrics['n_positives']} held-out sites and {self.test_metrics['n_negatives']} shuffles"
        return "\n".join(
            [
                f"model    {_accuracy(self.test_metrics)} on {n_tested}",
                f"         {_verdict(self.sites)}",
                f"second   {_accuracy(self.contaminated_metrics)}, trained on the same sites with adapters left on",
                f"         {_verdict(self.contaminated)}",
                *self._before_after(),
                f"sites    {len(self.sites.peaks)} peaks in {len(self.sites.attr)} real CTCF sites (hg19, q ≤ 0.05)",
                f"genome   {len(self.genome.peaks)} peaks in {len(self.genome.attr)} windows of a simulated genome "
                f"(q ≤ {GENOME_FDR:g}), half of which hold a site",
                f"open     {self.page}: the models in one table, each with its report",
                f"next     {self._next_step()}",
                "yours    seqsal run --model package.module:factory --weights W.pt --genome hg38.fa "
                "--regions peaks.bed --out results/, where there is no model yet after "
                "seqsal train --positives peaks.narrowPeak --genome hg38.fa --out M.safetensors",
            ]
        )

    def _before_after(self) -> list[str]:
        """Put the second model and the third next to each other."""
        if self.retrained is None:
            return [f"third    {NO_THIRD}"]
        before, after = self.retrained["before"], self.retrained["after"]
        rows = [
            ("clean AUROC", *(f"{one['auroc']:.3f}" for one in (before, after))),
            ("faithful", *(one["said"]["faithful"] for one in (before, after))),
            ("plausible", *(one["said"]["plausible"] for one in (before, after))),
            ("shortcuts", *(", ".join(one["shortcuts"]) or "none found" for one in (before, after))),
            *((f"effect of {name}", *(effect_text(one["reliance"].get(name)) for one in (before, after)))
              for name in before["reliance"]),
        ]  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return [
            "third    the second, trained again without what its audit found; before and after:",
            *(f"         {name:{widths[0]}}  {was:{widths[1]}}  {now}" for name, was, now in rows),
        ]

    def _next_step(self) -> str:
        """Return the command that explains untrimmed sites with the third model, or trimmed ones with the second."""
        second, data = self.contaminated.folder, example_folder()
        name, sites = (MODEL_NAME, HELD_OUT_SITES) if self.retrained is None else (RETRAINED, UNTRIMMED_HELD_OUT)
        return (
            f"seqsal run --model {second / name} --fasta {data / sites} --motif-db {ALIKE['motif_db']} "
            f"--out {second / sites.partition('.')[0]}"
        )


def _accuracy(metrics: dict[str, Any]) -> str:
    return f"AUROC {metrics['auroc']:.3f}, average precision {metrics['average_precision']:.3f}"


def _verdict(run: RunResult | FinishedRun) -> str:
    return "not audited" if run.audit is None else run.audit.verdict.answers


def example_folder() -> Path:
    """Where the example data are; OutputError where they were left out of this installation."""
    folder = Path(seqsal.__file__).parent / "example_data"
    if not (folder / "ctcf_sites.fa").exists():
        raise OutputError(f"{folder}: the example data are not installed; use a clone of the repository")
    return folder


def run_demo(out: str | os.PathLike[str], *, device: str = "auto", seed: int = 0, progress: bool = False) -> DemoResult:
    """Train, then run on real held-out sites and on a genome."""
    data = example_folder()
    settings: dict[str, Any] = {"device": device, "seed": seed, "progress": progress}
    counts = {"n_held_out": _count_records(data / HELD_OUT_SITES)}
    counts["n_train"] = _count_records(data / SITES) - counts["n_held_out"]
    steps = (text.format_map(counts) for text in STEPS)
    with make_folder(out) as folder, make_folder(folder / "contaminated") as second, compiling_kernels():
        logger.info(next(steps))
        with _second_model_aside(second, device, seed) as aside:
            metrics = train(folder, data / SITES, **settings)
            logger.info(next(steps))
            model = str(folder / MODEL_NAME)
            sites = run(model, out=folder, fasta=data / HELD_OUT_SITES, genome_name="hg19", **ALIKE, **settings)
            logger.info(next(steps))
            genome = run(
                model, out=folder / "genome", genome=data / "simulated_genome.fa",
                regions=data / "simulated_genome_regions.bed", fdr=GENOME_FDR,
                audit=False, **ALIKE, **settings,  # the model is the same, and half of the windows are background
            )  # fmt: skip
            logger.info(next(steps))
            is_made = aside.wait() == 0
        if not is_made:
            second_model(second, **settings)
        contaminated, page = read_run(second), folder / "index.html"
        result = DemoResult(
            metrics, held_out_metrics(second), sites, genome, contaminated, _read_retrained(contaminated), page
        )
        with atomic_path(page) as temporary:
            sections = [_models(result), *_one_site(result, device)]
            temporary.write_text(render_page("Models of CTCF", sections), "utf-8", newline="\n")
    return result


def second_model(folder: Path, *, threads_at_last: int | None = None, **settings: Any) -> None:
    """Train the second model, explain the untrimmed held-out sites with it, and train it again without its shortcut.

    `threads_at_last` is for the last of the three, when the first model no longer needs its half.
    """
    import torch

    data, model = example_folder(), folder / MODEL_NAME
    train(folder, data / UNTRIMMED, **settings)
    audit = run(str(model), out=folder, fasta=data / UNTRIMMED_HELD_OUT, **ALIKE, **settings).audit
    if audit is not None and audit.verdict.shortcuts:
        torch.set_num_threads(threads_at_last or torch.get_num_threads())
        retrain(model, folder / "audit.json", data / UNTRIMMED, out=folder / RETRAINED, remedy=REMEDY, **settings)


def _read_retrained(second: FinishedRun) -> dict[str, Any] | None:
    """Read before and after; None where the second model has no shortcut."""
    if second.audit is None or not second.audit.verdict.shortcuts:
        return None
    return dict(json.loads(retrain_paths(second.folder / RETRAINED)[0].read_text(encoding="utf-8")))


def _models(result: DemoResult) -> Section:
    """Build the table of `index.html`: a row for each model, with what its audit says and a link to its page."""
    trimmed, untrimmed = "trimmed reads", "reads with adapters left on 60 % of the sites"
    made, first, second = result.retrained, result.sites, result.contaminated
    as_given = {"auroc": result.contaminated_metrics["auroc"], "reliance": {}}
    before = as_given if made is None else made["before"]
    rows = [
        ("First", "report.html", trimmed, result.test_metrics["auroc"], *_answers(first), "–"),
        ("Second", "contaminated/report.html", untrimmed, before["auroc"], *_answers(second), _effects(before)),
    ]
    lead = (
        "Networks that tell CTCF binding sites from shuffled sequence, measured on chromosomes that none was trained "
        "on. "
    )
    if made is None:
        lead += f"A third was {NO_THIRD}."
    else:
        lead += (
            "Each is accurate on data like its own; only the audit says that the second uses "
            f"{', '.join(made['before']['shortcuts'])}, which is not biology. The third was trained on "
            "the same data without that (seqsal retrain)."
        )
        after = made["after"]
        said = after["said"]["faithful"], after["said"]["plausible"], ", ".join(after["shortcuts"]) or "none found"
        page = retrain_paths(result.contaminated.folder / RETRAINED)[1].name
        rows.append(
            ("Third: the second, retrained", f"contaminated/{page}", "the same, adapters in both classes alike",
             after["auroc"], *said, _effects(after))
        )  # fmt: skip
    tops = [_top_motifs(motifs) for motifs in (read_run(first.folder).motifs, second.motifs)]
    lead += " The first looks most at {}; the second at {}.".format(*tops)
    command = (
        f"seqsal retrain --model contaminated/{MODEL_NAME} --audit contaminated/audit.json --positives {UNTRIMMED} "
        f"--out {RETRAINED}"
    )
    return Section("models", "The models", lead, "section_models.html",
                   {"rows": rows, "retrained": made is not None, "command": command})  # fmt: skip


def _top_motifs(motifs: pd.DataFrame) -> str:
    """Name the first two motifs of a run's table by what they resemble."""
    named = [
        f"{one['consensus']}, which is {one['match']} ({one['accession']}, q {one['q_value']:.0e})"
        if one["q_value"] <= MATCH_FDR
        else f"{one['consensus']}, which is no known motif"
        for _, one in motifs.head(2).iterrows()
    ]
    return ", and at ".join(named) or "no motif that recurs"


def _one_site(result: DemoResult, device: str) -> Iterator[Section]:
    """Draw the map of one untrimmed site by each model, where there are three and the shortcut has places."""
    second = result.contaminated.folder
    if result.retrained is None or not (second / SHORTCUT_PLACES).read_text(encoding="utf-8"):
        return
    models = {
        "First, of trimmed reads": result.sites.folder / MODEL_NAME,
        "Second, of reads with adapters": second / MODEL_NAME,
        "Third, the second retrained": second / RETRAINED,
    }
    sites = example_folder() / UNTRIMMED_HELD_OUT
    maps = [
        seqsal.attribute(str(model), fasta=sites, rc_average=True, n_controls=0, device=device)
        for model in models.values()
    ]
    adapters = read_bed(second / SHORTCUT_PLACES)[["chrom", "start", "end"]].set_axis(
        ["chrom", "first", "last"], axis=1
    )
    held = maps[-1].regions.reset_index(names="row").merge(adapters, on="chrom")
    held = held[(held["first"] >= held["start"]) & (held["last"] <= held["end"])]
    site = held.iloc[int(np.argmax(maps[-1].prediction[held["row"].to_numpy()]))]
    row = int(site["row"])
    named = [(f"{name}: logit {one.prediction[row]:.1f}", one) for name, one in zip(models, maps, strict=True)]
    figures = draw_named(named, row, key="site", highlight=[(int(site["first"]), int(site["last"]))])
    yield Section(
        "site", "One site, as each model reads it",
        f"A held-out site as it came from the sequencer ({one_line(site['name'])}), with an adapter left on, in grey. "
        "Above the line, a base raises the model's prediction of “bound”; all maps are on one scale.",
        "section_average.html", {"figures": figures},
    )  # fmt: skip


def _answers(run: RunResult | FinishedRun) -> tuple[str, str, str]:
    if run.audit is None:
        return ("not audited",) * 3
    verdict = run.audit.verdict
    found = ", ".join(verdict.shortcuts) or verdict.no_shortcuts
    return str(verdict.answer("faithful")), str(verdict.answer("plausible")), found


def _effects(measured: dict[str, Any]) -> str:
    return "; ".join(effect_text(effect) for effect in measured["reliance"].values()) or "–"


def _count_records(path: Path) -> int:
    return path.read_text(encoding="ascii").count(">")


@contextmanager
def _second_model_aside(folder: Path, device: str, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """Make the second model in another process meanwhile, each with half of the threads: the two share nothing.

    What goes wrong there comes up again, and is told, when the same is done here.
    """
    import torch

    n_threads = torch.get_num_threads()
    given = [str(one) for one in (Path(seqsal.__file__).parents[1], folder, n_threads, device, seed)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _ASIDE, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(max(n_threads // 2, 1))},
    )  # fmt: skip
    torch.set_num_threads(max(n_threads - n_threads // 2, 1))
    try:
        yield process
    finally:
        torch.set_num_threads(n_threads)
        process.terminate()
        process.wait()


def train(folder: Path, positives: Path, **settings: Any) -> dict[str, Any]:
    """Train a model and return its held-out performance."""
    from seqsal.models import CNNConfig
    from seqsal.training import TrainConfig, train_model

    training = TrainConfig(epochs=15, patience=8, negatives_per_positive=2)
    train_model(
        positives, test_chroms=HELD_OUT, config=CNNConfig(**NETWORK), training=training, out=folder / MODEL_NAME,
        **settings,
    )  # fmt: skip
    return held_out_metrics(folder)


def held_out_metrics(folder: Path) -> dict[str, Any]:
    """Held-out performance of the model in a folder."""
    from seqsal.models import load_checkpoint

    return dict(load_checkpoint(folder / MODEL_NAME)[1]["metrics"]["test"])
