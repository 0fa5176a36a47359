"""The demonstration does what README says of it: held-out CTCF sites recognised, and peaks on their motif."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from seqsal.auditing.result import read_audit
from seqsal.cli import main
from seqsal.models import load_checkpoint
from seqsal.pipeline import demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the demo made: `demo_out` where `make demo` has written it since the code was changed, else just now."""
    made, code = ROOT / "demo_out", [ROOT / "constraints.txt", *(ROOT / "seqsal").rglob("*.py")]
    runs = [made / run / "run.json" for run in ("", "genome", "contaminated")]
    written = [path.stat().st_mtime for path in runs if path.is_file()]
    if len(written) == len(runs) and min(written) > max(path.stat().st_mtime for path in code):
        return made
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "index.html" in result.output
    return tmp_path / "demo"


@pytest.mark.slow
def test_demo(folder: Path, example_data: Path) -> None:
    scores = pd.read_csv(folder / "genome" / "scores.tsv", sep="\t")
    is_site = scores["name"].str.startswith("site")
    assert scores["logit"][is_site].median() > scores["logit"][~is_site].max()
    peaks = pd.read_csv(folder / "peaks.tsv", sep="\t")
    assert (peaks["sign"] == "pos").sum() >= 20
    assert (peaks["chrom"].isin(["chr8", "chr9", "chr13", "chr20"])).all()
    truth = pd.read_csv(folder / "genome" / "peaks.tsv", sep="\t")
    sites = pd.read_csv(example_data / "simulated_genome_sites.bed", sep="\t", header=None)
    on_site = [
        bool(((sites[0] == peak.chrom) & (sites[1] < peak.end) & (peak.start < sites[2])).any())
        for peak in truth[truth["sign"] == "pos"].itertuples()
    ]
    assert len(on_site) >= 10
    assert sum(on_site) >= 0.85 * len(on_site)  # the rate asked for is 10 %
    for run in (folder, folder / "genome"):
        motifs = pd.read_csv(run / "motifs" / "motifs.tsv", sep="\t")
        assert motifs["match"][0] == "CTCF" and motifs["q_value"][0] < 1e-4
        assert motifs["n_seqlets"][0] >= 10
    info = json.loads((folder / "run.json").read_text())
    assert info["n_peaks"] == len(peaks)
    check_verdicts(folder)


def check_verdicts(folder: Path) -> None:
    """The audit tells the two models of the same sites apart, which their accuracy does not."""
    good, bad = (json.loads((run / "audit.json").read_text()) for run in (folder, folder / "contaminated"))
    assert good["verdict"]["faithful"] is True and good["verdict"]["plausible"] is True
    assert good["verdict"]["shortcuts"] == [] and (folder / "shortcuts.bed").read_text() == ""
    assert bad["verdict"]["shortcuts"] == ["Illumina TruSeq read 1"]
    told = [str(read_audit(run / "audit.json")) for run in (folder, folder / "contaminated")]
    assert ["seqsal retrain --model M.safetensors" in one for one in told] == [False, True]
    places = (folder / "contaminated" / "shortcuts.bed").read_text().splitlines()
    assert 30 <= len(places) <= 45  # 60 % of 61
    metrics = [
        load_checkpoint(run / "model.safetensors")[1]["metrics"]["test"] for run in (folder, folder / "contaminated")
    ]
    check_retrained(folder)
    assert abs(metrics[0]["auroc"] - metrics[1]["auroc"]) < 0.02 and min(one["auroc"] for one in metrics) > 0.9
    assert 'id="verdict"' in (folder / "contaminated" / "report.html").read_text()


def check_retrained(folder: Path) -> None:
    """Training again without the adapter takes it away, costs no accuracy and brings nothing new."""
    made = json.loads((folder / "contaminated" / "retrained.retrain.json").read_text())
    before, after = made["before"], made["after"]
    name = "Illumina TruSeq read 1"
    assert before["shortcuts"] == [name] and after["shortcuts"] == [] and made["new_shortcuts"] == []
    assert abs(after["reliance"][name]) <= 0.05 * abs(before["reliance"][name])
    assert after["auroc"] > before["auroc"]
    page = (folder / "index.html").read_text()
    for link in ("report.html", "contaminated/report.html", "contaminated/retrained.retrain.html"):
        assert f'href="{link}"' in page and (folder / link).is_file()
    for one in (before, after):
        assert f"<td>{one['auroc']:.3f}</td>" in page
    assert "which is CTCF (MA0139" in page and "retrain --model contaminated/model.safetensors" in page
    assert all('aria-label="Attribution of every base of chr' in page and f'id="site-{i}-' in page for i in range(3))


def test_each_step_is_told_and_the_end_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What takes minutes is left out here: the steps, and the last lines, are those of the demo."""
    made = SimpleNamespace(peaks=[], attr=[], audit=None, motifs=pd.DataFrame())
    metrics = {"auroc": 0.9, "average_precision": 0.9, "n_positives": 61, "n_negatives": 244}
    monkeypatch.setattr(demo, "run", lambda model, out, **other: SimpleNamespace(**vars(made), folder=Path(out)))
    monkeypatch.setattr(demo, "train", lambda *given, **other: metrics)
    monkeypatch.setattr(demo, "held_out_metrics", lambda folder: metrics)
    aside = SimpleNamespace(wait=lambda: 0)
    monkeypatch.setattr(demo, "_second_model_aside", lambda *given: nullcontext(aside))
    monkeypatch.setattr(demo, "read_run", lambda folder: SimpleNamespace(**vars(made), folder=Path(folder)))
    with caplog.at_level("INFO", "seqsal.pipeline.demo"):
        summary = demo.run_demo(tmp_path / "out").summary().splitlines()
    assert [line[:4] for line in caplog.messages] == ["1/4 ", "2/4 ", "3/4 ", "4/4 "]
    assert "439 CTCF sites" in caplog.messages[0] and "61 sites" in caplog.messages[1]
    assert sum(line.startswith("third") for line in summary) == 1 and "no shortcut" in summary[4]
    assert "no shortcut" in (tmp_path / "out" / "index.html").read_text()  # and only two rows
    assert [line.split()[0] for line in summary[-3:]] == ["open", "next", "yours"]
    assert str(tmp_path / "out" / "index.html") in summary[-3] and (tmp_path / "out" / "index.html").is_file()
    for line in summary[-2:]:  # what they say to type is understood
        words = line.partition("seqsal ")[2].partition(",")[0].split()
        command = main.get_command(click.Context(main), words[0])  # type: ignore[attr-defined]
        assert command is not None and command.make_context(words[0], words[1:])


def held_out_records(example_data: Path) -> set[str]:
    text = (example_data / "ctcf_sites_held_out.fa").read_text()
    return {line[1:] for line in text.splitlines() if line.startswith(">")}


def test_explained_sites_are_on_held_out_chromosomes(example_data: Path) -> None:
    from seqsal.pipeline.demo import HELD_OUT

    names = held_out_records(example_data)
    everything = (example_data / "ctcf_sites.fa").read_text()
    assert len(names) == 61
    assert {name.split(":")[0] for name in names} == set(HELD_OUT)
    headers = [line[1:] for line in everything.splitlines() if line.startswith(">")]
    assert names == {name for name in headers if name.split(":")[0] in HELD_OUT}
