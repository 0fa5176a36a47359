"""Browser bundles, read back whole; input that could break a file of theirs."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pandas as pd
import pytest
from bundle_checks import check_bundle, read_ra
from click.testing import CliRunner
from track_toys import make_attr

from seqsal.browser import bundle as bundle_module
from seqsal.browser import check_bundle_settings, read_instances, read_motif_instances, read_variants, write_bundle
from seqsal.browser.assembly import ASSEMBLIES
from seqsal.browser.tracks import NEGATIVE, POSITIVE
from seqsal.cli import main
from seqsal.errors import BedError, FastaError, OutputError, RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.bed import write_narrowpeak
from seqsal.io.fasta import Genome
from seqsal.io.tracks import write_bigwig
from seqsal.peaks import read_peaks
from seqsal.plot.style import NEGATIVE as NEGATIVE_HEX
from seqsal.plot.style import POSITIVE as POSITIVE_HEX
from seqsal.regions import make_regions

SEQUENCES = {"chr1": "NNACGTacgtRACGTTGCAnnACGTAGGCTATTTACCAGGATC" * 3, "c2": "acgtTTGCAGGNCAATTGCAT" * 2}
NASTY = "\"><script>alert(1)</script>&\n\ttrack x\\\r\x00\u2028../../etc/passwd'" + "é" * 10_000


def toy(fasta: Path | None = None, rows: int = 6, **sizes: int) -> Attributions:
    """Attributions of windows on both strands, over ends and over each other, on the sequences above."""
    rng = np.random.default_rng(7)
    chrom = ["chr1", "chr1", "chr1", "c2", "c2", "chr1"][:rows]
    start = np.array([-5, 8, 20, 10, 30, 110])[:rows]
    strand = [".", "-", "+", "-", ".", "+"][:rows]
    attr = make_attr(rng.normal(size=(rows, 20)), start=start, chrom=chrom, strand=strand)
    codes = attr.codes
    if fasta is not None:
        with Genome(fasta) as genome:
            codes = genome.read_windows(attr.regions)
    provenance = {"genome": {"file": str(fasta)}} if fasta is not None else {}
    chrom_sizes = {name: len(text) for name, text in SEQUENCES.items()} | sizes
    attrs = {"genome": provenance, "method": "ism", "output_space": "logit", "model": {"file": "a/M.safetensors"}}
    return replace(attr, codes=codes, chrom_sizes=chrom_sizes, attrs=attrs)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "my genome-1.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in SEQUENCES.items()))
    return path


def peak_table(n: int = 4) -> pd.DataFrame:
    start = np.array([3, 30, 12, 100])[:n]
    table = make_regions(["chr1", "chr1", "c2", "chr1"][:n], start, start + 6, summit=np.full(n, 2))
    return table.assign(
        name=["pos_1", "neg_1", "pos_2", "neg_2"][:n], score=[1000, 20, 5, 0][:n], signal=[2.5, -1.25, 0.5, -9][:n],
        p_value=[1e-9, 0.01, 0.02, np.nan][:n], q_value=[1e-7, 0.02, 0.03, np.nan][:n],
    )  # fmt: skip


def motif_table() -> pd.DataFrame:
    table = make_regions(["chr1", "c2"], [3, 12], [9, 18], name=["pos_pattern_1", "neg_pattern_1"], strand=["-", "+"])
    return table.assign(score=[1000.0, 12.6], contribution=[2.5, -0.125], match=["CTCF", ""])


def artifact_table() -> pd.DataFrame:
    return make_regions(["chr1"], [40], [52], name=["adapter"], strand=["+"], score=[np.nan])


@pytest.mark.parametrize("base", [None, "https://lab.example.org:8080/~me/a%20b", "ftp://host/x/"])
def test_everything_reads_back(tmp_path: Path, fasta: Path, base: str | None) -> None:
    attr = toy(fasta)
    tables: Any = {"peaks": peak_table(), "motifs": motif_table(), "artifacts": artifact_table()}
    bundle = write_bundle(tmp_path / "out", attr, **tables, url_base=base)
    items = check_bundle(tmp_path / "out", attr, base=base, sequences=SEQUENCES)
    write_narrowpeak(peak_table(), tmp_path / "p.narrowPeak")
    lines = sorted((tmp_path / "p.narrowPeak").read_text().splitlines())
    assert sorted("\t".join(map(str, item)) for item in items["peaks_positive"] + items["peaks_negative"]) == lines
    assert {item[3].split("\t")[0] for item in items["peaks_negative"]} == {"neg_1", "neg_2"}
    assert items["motifs"] == [
        ("c2", 12, 18, "neg_pattern_1\t13\t+\t12\t18\t213,94,0\tneg_pattern_1\t-0.125"),
        ("chr1", 3, 9, "CTCF\t1000\t-\t3\t9\t0,114,178\tpos_pattern_1\t2.5"),
    ]
    assert items["artifacts"] == [("chr1", 40, 52, "adapter\t0\t+\t40\t52\t148,52,110")]
    assert bundle.reference.name == "my_genome_1" and (tmp_path / "out/my_genome_1/my_genome_1.2bit").exists()
    assert set(bundle.files) == {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    session = ElementTree.parse(tmp_path / "out/igv_session.xml").getroot()
    colors = {element.get("name"): element.get("color") for element in session.iter("Track")}
    assert colors["Negative peaks"] == "213,94,0" and colors["Motif instances"] is None  # its items have their own
    assert session.get("locus") == "chr1:1-120"  # the best peak, as wide as there is room
    assert ("UCSC" in bundle.summary()) == (base is not None)
    assert (base is None) or f"{base.rstrip('/')}/hub.txt" in (tmp_path / "out/BROWSERS.txt").read_text()


def test_the_checks_can_fail(tmp_path: Path, fasta: Path) -> None:
    attr = toy(fasta)
    write_bundle(tmp_path / "out", attr, peaks=peak_table())
    track = np.array(attr.track)
    track[2, 3] += 0.25
    with pytest.raises(AssertionError):
        check_bundle(tmp_path / "out", replace(attr, track=track))
    with pytest.raises(AssertionError):
        check_bundle(tmp_path / "out", attr, sequences={**SEQUENCES, "c2": SEQUENCES["c2"][:-1] + "g"})
    with pytest.raises(AssertionError):
        check_bundle(tmp_path / "out", attr, base="https://example.org/")
    (tmp_path / "out/peaks_negative.bb").unlink()
    with pytest.raises(AssertionError, match="leads nowhere"):
        check_bundle(tmp_path / "out", attr)


def test_colours_are_those_of_the_figures() -> None:
    assert ["#{:02x}{:02x}{:02x}".format(*color) for color in (POSITIVE, NEGATIVE)] == [POSITIVE_HEX, NEGATIVE_HEX]


@pytest.mark.parametrize("links", [True, False])
def test_the_folder_is_complete_by_itself(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    attr = toy(fasta)
    bigwig = tmp_path / "my tracks.bw"
    write_bigwig(attr, attr.chrom_sizes, bigwig)
    if not links:
        monkeypatch.setattr(os, "link", fail_to_link)
    out = tmp_path / "run" / "browser"
    out.parent.mkdir()
    monkeypatch.chdir("/")  # where containers work
    write_bundle(out, attr, bigwig=bigwig, peaks=peak_table())
    assert (out / "attributions.bw").samefile(bigwig) == links
    moved = shutil.move(out, tmp_path / "shared")
    bigwig.unlink()
    check_bundle(Path(moved), attr, sequences=SEQUENCES)


def fail_to_link(source: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def test_names_break_nothing(tmp_path: Path, fasta: Path) -> None:
    attr = toy(fasta)
    attr = replace(attr, attrs={**attr.attrs, "method": NASTY, "model": {"file": f"{NASTY}.pt"}})
    tables: Any = {
        "peaks": peak_table().assign(name=[NASTY, "", "\t", "\\"]),
        "motifs": motif_table().assign(name=[NASTY, "b c"], match=[NASTY, ""]),
        "artifacts": artifact_table().assign(name=[NASTY]),
    }
    write_bundle(tmp_path / "out", attr, **tables)
    items = check_bundle(tmp_path / "out", attr, sequences=SEQUENCES)
    names = [item[3].split("\t")[0] for track in items.values() for item in track]
    assert all(0 < len(name) <= 100 and "<" not in name for name in names)
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert written == {
        "attributions.bw", "peaks_positive.bb", "peaks_negative.bb", "motifs.bb", "artifacts.bb", "hub.txt",
        "genomes.txt", "my_genome_1", "my_genome_1/trackDb.txt", "my_genome_1/my_genome_1.2bit", "igv_session.xml",
        "igv_session.json", "washu.json", "seqsal_tracks.html", "BROWSERS.txt",
    }  # fmt: skip
    for name in ("seqsal_tracks.html", "hub.txt", "my_genome_1/trackDb.txt"):
        assert "<script" not in (tmp_path / "out" / name).read_text()


def test_contigs_with_names_of_all_kinds(tmp_path: Path) -> None:
    name = "a|b'\"<i>é&[x]"
    (tmp_path / "s.fa").write_text(f">{name}\nACGTNACGTACGTACGTACGTACGT\n")
    attr = replace(
        make_attr(np.ones((1, 20)), start=[0], chrom=[name], codes=[[0, 1, 2, 3, 4] + [0, 1, 2, 3] * 3 + [0, 1, 2]]),
        chrom_sizes={name: 25}, attrs={"genome": {"fasta": {"file": str(tmp_path / "s.fa")}}},
    )  # fmt: skip
    write_bundle(tmp_path / "out", attr)
    check_bundle(tmp_path / "out", attr, sequences={name: "ACGTNACGTACGTACGTACGTACGT"})
    assert json.loads((tmp_path / "out/igv_session.json").read_text())["locus"].startswith("a|b'")


def test_without_rows_there_is_no_track(tmp_path: Path, fasta: Path) -> None:
    attr = toy(fasta, rows=1)
    tables: Any = {"peaks": peak_table(0), "motifs": make_regions([], [], []), "artifacts": make_regions([], [], [])}
    bundle = write_bundle(tmp_path / "out", attr, **tables)
    assert check_bundle(tmp_path / "out", attr, sequences=SEQUENCES) == {}
    assert "1 track\n" in bundle.summary()
    locus = json.loads((tmp_path / "out/igv_session.json").read_text())["locus"]
    assert locus == "chr1:1-120"


def test_a_track_without_values(tmp_path: Path, fasta: Path) -> None:
    attr = replace(toy(fasta), codes=np.full((6, 20), 4, np.uint8))
    write_bundle(tmp_path / "out", attr)
    (stanza,) = read_ra(tmp_path / "out/my_genome_1/trackDb.txt")
    assert stanza["type"] == "bigWig 0 1"


def test_again_into_the_same_folder(tmp_path: Path, fasta: Path) -> None:
    attr, out = toy(fasta), tmp_path / "out"
    out.mkdir()
    (out / "motifs.bb").write_text("the user's")
    write_bundle(out, attr, peaks=peak_table())
    assert (out / "motifs.bb").read_text() == "the user's"  # not yet a folder of ours
    (out / "notes.txt").write_text("mine")
    write_bundle(out, attr, artifacts=artifact_table())
    assert check_bundle(out, attr, sequences=SEQUENCES).keys() == {"artifacts"}
    assert not (out / "peaks_positive.bb").exists() and (out / "notes.txt").read_text() == "mine"
    first = {path: path.read_bytes() for path in out.rglob("*.*")}
    write_bundle(out, attr, artifacts=artifact_table())
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == first


def test_what_fails_leaves_the_folder_as_it_was(tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attr, out = toy(fasta), tmp_path / "out"

    def fail(_: object) -> str:
        raise OutputError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="no space left"):
        patch.setattr(bundle_module, "washu_json", fail)
        write_bundle(out, attr)
    assert not out.exists()
    write_bundle(out, attr, peaks=peak_table())
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    with monkeypatch.context() as patch, pytest.raises(OutputError, match="no space left"):
        patch.setattr(bundle_module, "washu_json", fail)
        write_bundle(out, attr, artifacts=artifact_table())
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        write_bundle(tmp_path / "file", attr)


def test_killed_leftovers_go_and_the_current_folder_does_not_matter(
    tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "here", toy(fasta))
    (tmp_path / "there" / ".bundle.999999999.partial").mkdir(parents=True)
    monkeypatch.chdir("/")
    write_bundle(str(tmp_path / "there").lstrip("/"), toy(fasta))
    here, there = (
        {
            path.relative_to(tmp_path / name): path.is_file() and path.read_bytes()
            for path in (tmp_path / name).rglob("*")
        }
        for name in ("here", "there")
    )
    assert here == there


def test_a_bundle_that_was_not_finished_lacks_its_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(source: Path, target: Path) -> None:
        if Path(target).name == "washu.json" and Path(source).parent != Path(target).parent:
            raise KeyboardInterrupt
        move(source, target)

    move, out = os.replace, tmp_path / "out"
    write_bundle(out, toy(), peaks=peak_table())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        write_bundle(out, toy())
    assert not (out / "BROWSERS.txt").exists() and not (out / "peaks_positive.bb").exists()
    write_bundle(out, toy())
    assert (out / "BROWSERS.txt").exists() and not [path for path in out.iterdir() if path.name.startswith(".")]


def test_assemblies_that_browsers_have(tmp_path: Path) -> None:
    attr = toy(chr1=ASSEMBLIES["hg19"]["chr1"], chr2=ASSEMBLIES["hg19"]["chr2"])
    bundle = write_bundle(tmp_path / "out", attr, url_base="https://example.org/x")
    check_bundle(tmp_path / "out", attr, base="https://example.org/x")
    assert read_ra(tmp_path / "out/genomes.txt") == [
        {"genome": "hg19", "trackDb": "https://example.org/x/hg19/trackDb.txt"}
    ]
    assert json.loads((tmp_path / "out/igv_session.json").read_text())["genome"] == "hg19"
    assert bundle.links.keys() == {"UCSC", "IGV-Web", "WashU"} and not list((tmp_path / "out").rglob("*.2bit"))


def test_a_name_for_the_genome(tmp_path: Path, fasta: Path) -> None:
    attr = toy()
    write_bundle(tmp_path / "out", attr, genome_name="GCF_000146045.2")
    check_bundle(tmp_path / "out", attr)
    with pytest.raises(UsageError, match=r"hg38 has 248,956,422 bp of chr1, and these attributions 249,000,000"):
        write_bundle(tmp_path / "no", toy(chr1=249_000_000), genome_name="hg38")
    with pytest.raises(UsageError, match="hg38 has 248,956,422 bp of chr1"):  # of a whole genome, all of it
        write_bundle(tmp_path / "no", toy(fasta), genome_name="hg38")
    for name in ("../hg38", "hg 38", "", "<b>", "hg38\n", "x" * 60):
        with pytest.raises(UsageError, match="--genome-name: got"):
            write_bundle(tmp_path / "no", attr, genome_name=name)
    with pytest.raises(UsageError, match="got both"):
        write_bundle(tmp_path / "no", attr, genome_name="hg38", genome=fasta)
    assert not (tmp_path / "no").exists()


def test_the_genome_as_fasta(tmp_path: Path, fasta: Path) -> None:
    attr = toy()
    write_bundle(tmp_path / "out", attr, genome=fasta)
    with pytest.raises(FastaError, match="has no chr1 of the length that the attributions"):
        write_bundle(tmp_path / "no", toy(chr1=1000), genome=fasta)
    with pytest.raises(FastaError, match="no such file"):
        write_bundle(tmp_path / "no", attr, genome=tmp_path / "none.fa")
    fasta.rename(tmp_path / "hg38.fasta")
    bundle = write_bundle(tmp_path / "hg", attr, genome=tmp_path / "hg38.fasta")
    assert bundle.reference.name == "genome_hg38"  # not to be taken for UCSC's


def test_without_a_genome_there_are_sizes(tmp_path: Path) -> None:
    attr = toy()
    bundle = write_bundle(tmp_path / "out", attr, peaks=peak_table())
    assert not (tmp_path / "out/hub.txt").exists()
    assert (tmp_path / "out/genome.chrom.sizes").read_text() == "chr1\t129\nc2\t42\n"
    assert ElementTree.parse(tmp_path / "out/igv_session.xml").getroot().get("genome") == "genome.chrom.sizes"
    assert json.loads((tmp_path / "out/igv_session.json").read_text())["reference"]["fastaURL"] == "genome.chrom.sizes"
    assert "use --genome-name" in bundle.summary()
    write_bundle(tmp_path / "out", attr, genome_name="hg38")
    assert not (tmp_path / "out/genome.chrom.sizes").exists()


def test_attributions_without_sizes(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no chromosome sizes"):
        write_bundle(tmp_path / "out", replace(toy(), chrom_sizes={}))


@pytest.mark.parametrize(
    "url", ["example.org/x", "file:///tmp", "https://", "http://a b/", "javascript:x//y", "https://x/?a=b", "http://[",
            "https://x:y/", "https://x/#a", 'https://x/"', "https://x/<b>", "https://x/\n", ""],
)  # fmt: skip
def test_addresses_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--url-base: got"):
        write_bundle(tmp_path / "out", toy(), url_base=url)
    with pytest.raises(UsageError, match="--url-base: got"):
        check_bundle_settings({}, {}, url_base=url)


def test_addresses_of_people(tmp_path: Path, fasta: Path) -> None:
    write_bundle(tmp_path / "out", toy(fasta), email="me@lab.org")
    assert read_ra(tmp_path / "out/hub.txt")[0]["email"] == "me@lab.org"
    with pytest.raises(UsageError, match="--email: got"):
        write_bundle(tmp_path / "out", toy(fasta), email="me@lab.org\ntrack x")


def test_items_on_another_genome(tmp_path: Path) -> None:
    for table in (peak_table().assign(chrom="chr7"), peak_table().assign(start=900, end=906)):
        with pytest.raises(RegionError, match=r"peaks: pos_1 at .* and 3 more lie outside"):
            write_bundle(tmp_path / "out", toy(), peaks=table)
    over = make_regions(["chr1", "c2"], [-4, 38], [3, 60])
    write_bundle(tmp_path / "out", toy(), motifs=over, genome_name="hg38")
    items = check_bundle(tmp_path / "out", toy())["motifs"]
    assert [item[:3] for item in items] == [("c2", 38, 42), ("chr1", 0, 3)]


def test_reading_instances(tmp_path: Path) -> None:
    folder = tmp_path / "motifs"
    folder.mkdir()
    header = "#chrom\tstart\tend\tname\tscore\tstrand\tcontribution\tpeak\tsequence\n"
    (folder / "seqlets.bed").write_text(header)
    assert read_motif_instances(folder).empty
    lines = (
        "chr1\t3\t9\tpos_pattern_1\t1000\t-\t2.5\tpos_1\tACGTAC\nchr1\t9\t12\tneg_pattern_1\t5\t+\t-1e-3\tneg_1\tAAA\n"
    )
    (folder / "seqlets.bed").write_text(header + lines)
    (folder / "motifs.tsv").write_text("pattern\tmatch\tq_value\npos_pattern_1\tCTCF\t1e-5\nneg_pattern_1\tSP1\t0.4\n")
    table = read_motif_instances(folder)
    assert table["contribution"].tolist() == [2.5, -0.001] and table["match"].tolist() == [
        "CTCF",
        "",
    ]
    (tmp_path / "plain.bed").write_text("chr1\t3\t9\n")
    assert "contribution" not in read_motif_instances(tmp_path / "plain.bed")
    (tmp_path / "empty.bed").write_text("")
    assert read_instances(tmp_path / "empty.bed").empty
    with pytest.raises(BedError, match="cannot be read"):
        read_instances(tmp_path / "none.bed")


def store_of(attr: Attributions, path: Path) -> Path:
    """Write attributions in the layout of an attribution file."""
    with h5py.File(path, "w") as file:
        for key in ("chrom", "start", "end", "name", "strand"):
            values = attr.regions[key].to_numpy()
            file[f"regions/{key}"] = values.astype(h5py.string_dtype()) if values.dtype.kind not in "i" else values
        file["chrom_sizes/chrom"], file["chrom_sizes/size"] = list(attr.chrom_sizes), list(attr.chrom_sizes.values())
        file["codes"], file["track"], file["prediction"] = attr.codes, attr.track, attr.prediction
        file.attrs.update(method="ism", schema=1, genome=json.dumps(attr.attrs["genome"]))
    return path


def test_command_line(tmp_path: Path, fasta: Path) -> None:
    attr = toy(fasta)
    store = store_of(attr, tmp_path / "A.h5")
    write_narrowpeak(peak_table(), tmp_path / "p.narrowPeak")
    out = tmp_path / "hub"
    options = ["--peaks", str(tmp_path / "p.narrowPeak"), "--url-base", "https://example.org/hub/"]
    done = CliRunner().invoke(main, ["export", str(store), "--format", "hub", "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    assert (
        "browser bundle of 3 tracks" in done.output
        and "hubUrl=https%3A%2F%2Fexample.org%2Fhub%2Fhub.txt" in done.output
    )
    items = check_bundle(out, attr, base="https://example.org/hub/", sequences=SEQUENCES)
    assert len(items["peaks_positive"]) == int((read_peaks(tmp_path / "p.narrowPeak")["signal"] > 0).sum())
    wrong = CliRunner().invoke(main, ["export", str(store), "--format", "bed", "--out", str(out), *options])
    assert wrong.exit_code == 2 and "--peaks is for --format hub" in wrong.output
    wrong = CliRunner().invoke(main, ["export", str(store), "--format", "hub", "--out", str(out), "--url-base", "x"])
    assert wrong.exit_code == 2 and "--url-base: got 'x'" in wrong.output


def test_variants_are_a_track_of_their_own(tmp_path: Path, fasta: Path) -> None:
    """As `seqsal variants` writes them, blue where ALT raises the prediction and orange where it lowers it."""
    head = "chrom\tpos\tid\tref\talt\ttarget\tref_score\talt_score\teffect\tp_value\tq_value"
    rows = ["chr1\t11\trs1\tA\tG\t0\t0\t1.5\t1.5\t0.001\t0.01", "chr1\t41\t.\tAC\tA\t0\t1\t0.5\t-0.5\tNA\tNA"]
    (tmp_path / "V.tsv").write_text("\n".join([head, *rows]) + "\n")
    write_bundle(tmp_path / "out", toy(fasta), variants=read_variants(tmp_path / "V.tsv"))
    items = check_bundle(tmp_path / "out", toy(fasta), sequences=SEQUENCES)
    assert items["variants"] == [
        ("chr1", 10, 11, "rs1:A/G\t300\t.\t10\t11\t0,114,178\t1.5"),
        ("chr1", 40, 42, "AC/A\t0\t.\t40\t42\t213,94,0\t-0.5"),
    ]
