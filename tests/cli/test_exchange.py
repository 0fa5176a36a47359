"""Export and import on the command line, and TF-MoDISco's own command on what was exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from command_line import SMALL_AUDIT
from interop_toys import Case, make_case
from modiscolite.cli import cli as modisco
from motif_toys import REB1, plant

import seqsal
from seqsal.cli import main
from seqsal.io.attributions import Attributions, DiskTable
from seqsal.io.store import StoreLayout
from seqsal.io.store_writer import AttributionWriter
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.motifs.discover import _keep_compiled
from seqsal.motifs.match import threads_kept
from seqsal.sequence.codes import encode, one_hot


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line on stderr that holds every one of `words`."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def store(attr: Attributions, path: Path) -> Path:
    regions = attr.regions.assign(padded=False, input_row=np.arange(len(attr)))
    hypothetical = attr.hypothetical is not None
    layout = StoreLayout(regions, regions[:0], attr.length, attr.chrom_sizes, hypothetical=hypothetical)
    arrays = {key: getattr(attr, key) for key in ("codes", "track", "prediction", "hypothetical")}
    with AttributionWriter(path, layout, attr.attrs) as writer:
        writer.write("main", 0, {key: array for key, array in arrays.items() if array is not None})
        return writer.finish()


@pytest.fixture
def case(tmp_path: Path, rng: np.random.Generator) -> Case:
    case = make_case(tmp_path, rng, length=80)
    store(case.attr, tmp_path / "A.h5")
    return case


def test_there_and_back(case: Case, tmp_path: Path) -> None:
    exported = done("export", tmp_path / "A.h5", "--format", "npz", "--out", tmp_path / "X")
    assert [line.split(": ")[0] for line in exported.output.splitlines()] == [
        str(tmp_path / f"X.{kind}") for kind in ("ohe.npz", "shap.npz", "regions.bed")
    ]
    given = ["--sequences", tmp_path / "X.ohe.npz", "--regions", tmp_path / "X.regions.bed", "--genome", case.genome]
    result = done("import", tmp_path / "X.shap.npz", *given, "--output-space", "logit", "--out", tmp_path / "B.h5")
    assert "method=imported, output_space=logit, 0 controls, with hypothetical" in result.output
    assert "peaks need shuffled controls too: see `seqsal controls`" in result.output
    back = seqsal.read_attributions(tmp_path / "B.h5")
    np.testing.assert_array_equal(back.track, case.attr.track)
    np.testing.assert_array_equal(back.hypothetical, case.attr.hypothetical)
    assert back.regions["name"].tolist() == case.attr.regions["name"].tolist()
    done("export", tmp_path / "B.h5", "--format", "npz", "--out", tmp_path / "Y")
    for kind in ("ohe.npz", "shap.npz"):
        assert (tmp_path / f"X.{kind}").read_bytes() == (tmp_path / f"Y.{kind}").read_bytes()
    refused(call("peaks", tmp_path / "B.h5", "--out", tmp_path / "p.narrowPeak"), "seqsal controls", "--null")


def test_other_formats(case: Case, tmp_path: Path) -> None:
    done("export", tmp_path / "A.h5", "--format", "chrombpnet-h5", "--out", tmp_path / "X.h5")
    where = ["--regions", tmp_path / "X.regions.bed", "--genome", case.genome]
    done("import", tmp_path / "X.h5", *where, "--out", tmp_path / "B.h5")
    rounded = case.attr.hypothetical.astype(np.float16).astype(np.float32)  # type: ignore[union-attr]
    np.testing.assert_array_equal(seqsal.read_attributions(tmp_path / "B.h5").hypothetical, rounded)
    done("export", tmp_path / "A.h5", "--format", "bigwig", "--out", tmp_path / "a.bw")
    done("import", tmp_path / "a.bw", *where, "--out", tmp_path / "C.h5", "--quiet")
    np.testing.assert_array_equal(seqsal.read_attributions(tmp_path / "C.h5").track, case.attr.track)
    refused(call("peaks", tmp_path / "X.h5", "--out", tmp_path / "p.bed"), "as chrombpnet writes them", "seqsal import")
    refused(call("import", tmp_path / "A.h5", "--out", tmp_path / "D.h5"), "an attribution file of seqsal")
    assert not (tmp_path / "D.h5").exists() and not list(tmp_path.glob(".*partial*"))


def test_no_hypothetical_scores(case: Case, tmp_path: Path) -> None:
    store(replace(case.attr, hypothetical=None), tmp_path / "N.h5")
    for kind in ("npz", "chrombpnet-h5"):
        export = ["export", tmp_path / "N.h5", "--format", kind, "--out", tmp_path / "X.h5"]
        refused(call(*export), "hypothetical scores of all four bases", "--hypothetical", "--approximate")
        done(*export, "--approximate")
    np.testing.assert_array_equal(
        np.load(tmp_path / "X.h5.shap.npz")["arr_0"], one_hot(case.attr.codes) * case.attr.track[:, None]
    )


def test_imported_peaks_and_audit_are_those_of_the_original(case: Case, tmp_path: Path) -> None:
    """Another program scores windows and controls; what is imported has the peaks that seqsal's own file has."""
    torch.manual_seed(0)
    config = CNNConfig(input_length=80, n_filters=4, n_blocks=1, stem_kernel=7)
    save_checkpoint(tmp_path / "M.safetensors", CNN(config).eval(), {"history": [], "metrics": {}})
    bed = tmp_path / "r.bed"
    case.attr.regions[["chrom", "start", "end"]].to_csv(bed, sep="\t", header=False, index=False)
    where = ["--genome", case.genome, "--regions", bed]
    model = ["--model", tmp_path / "M.safetensors", "--device", "cpu", "--hypothetical"]
    done("attribute", *model, *where, "--controls", 60, "--out", tmp_path / "own.h5")
    done("controls", *where, "--controls", 60, "--out", tmp_path / "c.fa")
    done("attribute", *model, "--fasta", tmp_path / "c.fa", "--controls", 0, "--out", tmp_path / "c.h5")
    for name in ("own", "c"):
        done("export", tmp_path / f"{name}.h5", "--format", "npz", "--out", tmp_path / name)
    result = done(
        "import", tmp_path / "own.shap.npz", *where, "--null", tmp_path / "c.shap.npz",
        "--null-sequences", tmp_path / "c.ohe.npz", "--out", tmp_path / "B.h5",
    )  # fmt: skip
    assert "60 controls" in result.output and "peaks need" not in result.output
    tables = []
    for name in ("own", "B"):
        done(
            "peaks",
            tmp_path / f"{name}.h5",
            "--fdr",
            1,
            "--statistic",
            "height",
            "--out",
            tmp_path / f"{name}.narrowPeak",
        )
        tables.append(pd.read_csv(tmp_path / f"{name}.tsv", sep="\t").drop(columns="output_space"))
    assert len(tables[0])
    assert tables[0]["effect"].notna().all() and tables[1]["effect"].isna().all()  # for which a model is needed
    pd.testing.assert_frame_equal(*(table.drop(columns=["effect", "effect_sd"]) for table in tables))
    done("logo", tmp_path / "B.h5", "--region", "chr1:110-170", "--out", tmp_path / "logo.svg")
    audit = done("audit", tmp_path / "B.h5", *SMALL_AUDIT, "--out", tmp_path / "audit.json")
    assert "faithful: not tested" in audit.output
    check_reports(tmp_path)


def check_reports(folder: Path) -> None:
    """The page for imported attributions without a model, and with the model that they are of."""
    page, some_rows = folder / "report.html", DiskTable.frame

    def frame(table: DiskTable, rows: Any = slice(None), columns: Any = None) -> pd.DataFrame:
        assert not isinstance(rows, slice) or not {"name", "strand"} <= {*table.columns} or "reason" in table.columns
        return some_rows(table, rows, columns)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DiskTable, "frame", frame)  # that of the regions is never read whole
        assert "faithful: not tested" in done("report", folder / "B.h5", "--out", page).output
    text = page.read_text()
    assert "prediction not known" in text and "most attribution; predictions are not known" in text
    assert (
        'id="verdict"' in text and 'id="peaks"' in text and "nan" not in text.split("<script")[0].split("</style>")[1]
    )
    own = ["report", folder / "own.h5", "--model", folder / "M.safetensors", "--device", "cpu", "--out", page]
    assert "faithful: not tested" not in done(*own).output
    assert "prediction not known" not in page.read_text()


def test_a_report_without_controls_says_so(case: Case, tmp_path: Path) -> None:
    done("report", tmp_path / "A.h5", "--out", tmp_path / "report.html", "--quiet")
    assert "have no controls to compare with" in (tmp_path / "report.html").read_text()


def test_bad_reports(case: Case, tmp_path: Path) -> None:
    refused(call("report", tmp_path / "A.h5", "--out", tmp_path / "r.pdf"), "r.pdf", ".html")
    refused(call("report", tmp_path / "none.h5", "--out", tmp_path / "r.html"), "none.h5")
    refused(call("report", tmp_path / "A.h5", "--out", tmp_path / "r.html", "--quiet",
                 "--motif-db", "jaspar:2026:martians"), "martians")  # fmt: skip
    assert not list(tmp_path.glob("r.*"))


def test_other_versions_say_who_wrote_them(case: Case, tmp_path: Path) -> None:
    for schema, cure in ((0, "make the file again"), (99, "upgrade seqsal"), ("x", "make the file again")):
        with h5py.File(tmp_path / "A.h5", "r+") as file:
            file.attrs["schema"], file.attrs["seqsal_version"] = schema, "9.9.9"
        result = call("peaks", tmp_path / "A.h5", "--out", tmp_path / "p.narrowPeak")
        refused(result, f"schema {schema} written by seqsal 9.9.9", cure)


def test_regions_of_another_genome(case: Case, tmp_path: Path) -> None:
    done("export", tmp_path / "A.h5", "--format", "chrombpnet-h5", "--out", tmp_path / "X.h5")
    other = tmp_path / "other.fa"
    other.write_text("".join(f">{chrom}\n{'ACGT' * 1000}\n" for chrom in ("chr1", "chr2")))
    given = ["import", tmp_path / "X.h5", "--regions", tmp_path / "X.regions.bed", "--out", tmp_path / "B.h5"]
    refused(call(*given, "--genome", other), "X.h5: the sequence of r0 (chr1:100-180) differs from the genome's at")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of modisco-lite
@pytest.mark.parametrize("kind", ["npz", "chrombpnet-h5"])
def test_modisco_finds_the_motif_in_what_was_exported(
    tmp_path: Path, rng: np.random.Generator, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(plant(rng, {REB1: (150, 1.0)}).attr, tmp_path / "A.h5")
    done("export", tmp_path / "A.h5", "--format", kind, "--out", tmp_path / ("X.h5" if kind != "npz" else "X"))
    inputs = ["-i", "X.h5"] if kind != "npz" else ["-s", "X.ohe.npz", "-a", "X.shap.npz"]
    monkeypatch.chdir(tmp_path)
    _keep_compiled()
    with threads_kept():
        found = CliRunner().invoke(modisco, ["motifs", *inputs, "-n", "500", "-w", "150", "-o", "found.h5"])
    assert found.exit_code == 0, (found.output, found.exception)
    with h5py.File(tmp_path / "found.h5") as file:
        pattern = file["pos_patterns/pattern_0"]
        scores, n_seqlets = pattern["contrib_scores"][...].T, int(pattern["seqlets/n_seqlets"][0])
    word = one_hot(encode(REB1))
    hits = [
        float((turned[:, at : at + 8] * word).sum() / scores.sum())
        for turned in (scores, scores[::-1, ::-1])
        for at in range(scores.shape[1] - 7)
    ]
    assert n_seqlets > 100 and max(hits) > 0.8  # most of the pattern's contribution lies on the planted word
