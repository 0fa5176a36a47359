"""Scores of variants against slow loops, against planted truth, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import Inputs, call, refused
from numpy.typing import NDArray
from pages import Page, rows_of
from torch import nn
from toys import Small, random_codes

import seqsal
from seqsal.browser import read_variants
from seqsal.errors import SeqsalError, UsageError
from seqsal.experiments.variants import read_variant_maps
from seqsal.plot import plot_variant
from seqsal.sequence.codes import decode, encode, one_hot, reverse_complement

LENGTH = 41


def genome_of(path: Path, chroms: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in chroms.items()))
    return path


def slow_windows(bases: str, pos: int, ref: str, alt: str, shift: int) -> tuple[str, list[str]]:
    """Windows by the words of the documentation, one base at a time."""
    start, ref, alt = pos - 1, ref.upper(), alt.upper()
    while ref and alt and ref[-1] == alt[-1] != "N":
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0] == alt[0] != "N":
        ref, alt, start = ref[1:], alt[1:], start + 1
    moved = 0
    while (not ref) != (not alt) and start and moved < LENGTH and bases[start - 1] == (ref or alt)[-1] != "N":
        start, moved = start - 1, moved + 1
        ref, alt = (bases[start] + ref[:-1] if ref else ""), (bases[start] + alt[:-1] if alt else "")
    room = "N" * 3 * LENGTH
    before, after = room + bases[:start], bases[start + len(ref) :] + room
    index = LENGTH // 2 + shift
    there = "".join(r if b == "N" else b for r, b in zip(ref, bases[start : start + len(ref)], strict=True))
    window = (before[len(before) - index :] + there + after)[:LENGTH]
    left = (before[len(before) - index :] + alt + after)[:LENGTH]
    n_after = LENGTH - index - len(ref)
    right = before + alt + after[: max(n_after, 0)]
    right = right[: len(right) + min(n_after, 0)][-LENGTH:]
    return window, [left] if len(ref) == len(alt) else [left, right]


def predictions(model: nn.Module, windows: list[str], both_strands: bool) -> NDArray[np.float64]:
    codes = np.stack([encode(window) for window in windows])
    found = []
    for one in (codes, reverse_complement(codes)) if both_strands else (codes,):
        with torch.no_grad():
            found.append(model(torch.from_numpy(one_hot(one))).double().numpy())
    return np.mean(found, axis=0)


def random_variants(rng: np.random.Generator, chroms: dict[str, str], n: int) -> pd.DataFrame:
    """Variants of every kind, written in any way, at the ends and over N too."""
    rows = []
    while len(rows) < n:
        chrom = rng.choice(list(chroms))
        bases = chroms[chrom]
        start = int(rng.choice([rng.integers(len(bases)), 0, len(bases) - 1, 1], p=[0.9, 0.04, 0.03, 0.03]))
        ref = bases[start : start + int(rng.choice([1, 1, 1, 2, 3, 6]))]
        alts = ["".join(rng.choice(list("ACGT"), int(rng.choice([1, 1, 1, 2, 4, 7])))) for _ in range(2)]
        alts = [alt if rng.random() < 0.5 else ref[0].replace("N", "A") + alt for alt in alts]
        alts = [alt for alt in alts if alt != ref][: int(rng.integers(1, 3))]
        if alts:
            rows.append((chrom, start + 1, f"v{len(rows)}", ref, ",".join(alts)))
    return pd.DataFrame(rows, columns=["chrom", "pos", "id", "ref", "alt"])


@pytest.fixture(scope="module")
def chroms() -> dict[str, str]:
    rng = np.random.default_rng(3)
    first, second = (decode(row) for row in random_codes(rng, 2, 700, 0.02))
    return {"chr1": first[:300] + "CACACACACACAAAAAAA" + first[300:], "chr2": second}


@pytest.mark.parametrize("shifts, rc_average", [(0, False), ([-7, 0, 4], True)])
def test_scores_are_those_of_a_slow_loop(
    tmp_path: Path, chroms: dict[str, str], shifts: int | list[int], rc_average: bool
) -> None:
    genome, n = genome_of(tmp_path / "g.fa", chroms), 2_000 if rc_average else 400
    variants, model = random_variants(np.random.default_rng(0), chroms, n), Small().eval()
    table = seqsal.score_variants(
        model, genome=genome, variants=variants, shifts=shifts, rc_average=rc_average, n_controls=0, device="cpu",
        input_length=LENGTH,
    )  # fmt: skip
    split = [(row.chrom, row.pos, row.ref, alt) for row in variants.itertuples() for alt in row.alt.split(",")]
    assert list(table[["chrom", "pos", "ref", "alt"]].itertuples(index=False, name=None)) == split
    expected = np.zeros((len(split), 2))
    offsets = [shifts] if isinstance(shifts, int) else shifts
    for shift in offsets:
        windows = [slow_windows(chroms[chrom], pos, ref, alt, shift) for chrom, pos, ref, alt in split]
        sizes = [len(alts) for _, alts in windows]
        expected[:, 0] += predictions(model, [ref for ref, _ in windows], rc_average) / len(offsets)
        alt_values = predictions(model, [alt for _, alts in windows for alt in alts], rc_average)
        of = np.repeat(np.arange(len(split)), sizes)
        expected[:, 1] += np.bincount(of, alt_values) / np.array(sizes) / len(offsets)
    np.testing.assert_allclose(table["ref_score"], expected[:, 0], atol=1e-5)
    np.testing.assert_allclose(table["alt_score"], expected[:, 1], atol=1e-5)
    np.testing.assert_allclose(table["effect"], expected[:, 1] - expected[:, 0], atol=1e-5)
    assert ("effect_sd" in table) == (rc_average or len(offsets) > 1) and table["p_value"].isna().all()
    assert min(sizes) == 1 and max(sizes) == 2 and max(len(alt) for *_, alt in split) > 4


class Planted(nn.Module):
    """Counts exact copies of a word, next to a little of everything else."""

    WORD = "GATTACAG"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 1, len(self.WORD))
        self.conv.weight.data[0] = torch.from_numpy(one_hot(encode(self.WORD)))
        self.conv.bias.data[:] = 0.5 - len(self.WORD)
        torch.manual_seed(1)
        self.rest = nn.Conv1d(4, 6, 5)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(X)).sum((1, 2)) + 0.03 * torch.tanh(self.rest(X)).mean((1, 2))


def test_planted_variants_are_found_at_calibrated_q(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    n_planted, n_others, step = 500, 5_000, 50
    codes = rng.integers(0, 4, (n_planted + n_others) * step, dtype=np.uint8)
    word, rows, is_planted = encode(Planted.WORD), [], np.zeros(n_planted + n_others, dtype=bool)
    is_planted[rng.permutation(len(is_planted))[:n_planted]] = True
    for i, planted in enumerate(is_planted):
        at = i * step + step // 2
        other = (codes[at] + rng.integers(1, 4)) % 4
        if planted:
            offset = int(rng.integers(len(word)))
            codes[at - offset : at - offset + len(word)] = word
            other = (word[offset] + rng.integers(1, 4)) % 4
            if rng.random() < 0.5:  # made, not broken
                codes[at], other = other, codes[at]
        rows.append(("c", at + 1, decode(codes[at : at + 1]), decode(np.array([other], dtype=np.uint8))))
    genome = genome_of(tmp_path / "g.fa", {"c": decode(codes)})
    variants = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    table = seqsal.score_variants(Planted(), genome=genome, variants=variants, input_length=LENGTH, device="cpu")
    order = np.argsort(-table["effect"].abs().to_numpy(), kind="stable")
    hits = is_planted[order]
    precision = float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
    called = (table["q_value"] <= 0.05).to_numpy()
    assert precision >= 0.95
    assert called[is_planted].mean() > 0.9
    assert (called & ~is_planted).sum() <= 0.06 * called.sum()
    p_values = table["p_value"].to_numpy()[~is_planted]  # a tenth of the controls are those of planted variants
    assert abs((p_values <= 0.05).mean() - 0.05) < 0.015 and abs((p_values <= 0.5).mean() - 0.5) < 0.05


def test_targets_models_and_profiles_have_their_columns(tmp_path: Path, chroms: dict[str, str]) -> None:
    genome = genome_of(tmp_path / "g.fa", chroms)
    variants = random_variants(np.random.default_rng(1), chroms, 30)
    nets = [nn.Sequential(nn.Conv1d(4, 3, 7), nn.Flatten(), nn.Linear(3 * (LENGTH - 6), 2)).eval() for _ in range(2)]
    given = {"genome": genome, "variants": variants, "n_controls": 0, "device": "cpu", "input_length": LENGTH}
    table = seqsal.score_variants(nets, target=[1, 0], **given)
    assert table["target"].tolist()[:4] == ["1", "0", "1", "0"] and "model_sd" in table and "distance" not in table
    single = [seqsal.score_variants(net, target=0, **given) for net in nets]
    both = table[table["target"] == "0"].reset_index(drop=True)
    np.testing.assert_allclose(both["effect"], (single[0]["effect"] + single[1]["effect"]) / 2, atol=1e-6)
    apart = np.abs(single[0]["effect"] - single[1]["effect"]) / np.sqrt(2)
    np.testing.assert_allclose(both["model_sd"], apart, atol=1e-6)
    difference = seqsal.score_variants(nets[0], contrast="1-0", **given)
    one = seqsal.score_variants(nets[0], target=1, **given)
    np.testing.assert_allclose(difference["effect"], one["effect"] - single[0]["effect"], atol=1e-6)
    assert set(difference["target"]) == {"1-0"}
    profile = seqsal.score_variants(nn.Conv1d(4, 2, 5).eval(), reduce="profile", **given)
    assert profile["distance"].between(0, 1).all() and profile["distance"].max() > 0


def test_controls_do_not_depend_on_the_company(tmp_path: Path, chroms: dict[str, str]) -> None:
    from seqsal.experiments.variants.alleles import normalise, read_around
    from seqsal.experiments.variants.null import control_windows
    from seqsal.io.fasta import Genome
    from seqsal.io.variants import VariantReader

    genome = Genome(genome_of(tmp_path / "g.fa", chroms))
    table = pd.DataFrame({"chrom": "chr2", "pos": [100, 200, 300], "ref": [chroms["chr2"][i] for i in (99, 199, 299)]})
    reader = VariantReader(table.assign(alt=["G" if base != "G" else "T" for base in table["ref"]]))
    alleles = [normalise(genome, one, LENGTH) for one in next(reader.chunks())]
    around = read_around(genome, alleles, LENGTH, 1)
    at = LENGTH // 2 + 1
    controls, rows = control_windows(around, alleles, at, np.array([2, 1, 2]), seed=0, pool=None)
    alone, _ = control_windows(around[2:], alleles[2:], at, np.array([2]), seed=0, pool=None)
    assert rows.tolist() == [0, 0, 1, 2, 2] and (controls[3:] == alone).all()
    assert (controls[:, at - 1 : at + 2] == around[rows, at - 1 : at + 2]).all()
    assert (controls[0] != controls[1]).any()


def test_the_command_writes_the_contract(tmp_path: Path) -> None:
    inputs = Inputs.write(tmp_path, np.random.default_rng(0))
    bases = (tmp_path / "genome.fa").read_text().splitlines()[1]
    at = bases.index("ACG", 500)
    lines = ["#chrom\tpos\tid\tref\talt", f"chr1\t{at + 1}\trs1\tA\tC,T", f"chr1\t{at + 2}\t.\tC\tCGG"]
    (tmp_path / "v.tsv").write_text("\n".join(lines) + "\n")
    given = ["variants", "--model", inputs.model, "--genome", tmp_path / "genome.fa", "--vcf", tmp_path / "v.tsv",
             "--device", "cpu"]  # fmt: skip
    result = call(*given, "--controls", "200", "--out", tmp_path / "out.tsv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    names = "chrom pos id ref alt target ref_score alt_score effect p_value q_value effect_sd"
    assert list(table) == names.split() and table["id"].tolist() == ["rs1", "rs1", "."]
    np.testing.assert_allclose(table["effect"], table["alt_score"] - table["ref_score"], atol=1e-6)
    assert table["p_value"].between(0, 1, inclusive="right").all()
    again = call(*given, "--controls", "200", "--out", tmp_path / "again.tsv")
    assert again.exit_code == 0 and (tmp_path / "again.tsv").read_bytes() == (tmp_path / "out.tsv").read_bytes()
    plain = call(*given, "--shifts", "0", "--no-rc-average", "--controls", "0", "--out", tmp_path / "plain.tsv")
    assert plain.exit_code == 0, plain.output
    table = pd.read_csv(tmp_path / "plain.tsv", sep="\t")
    low = at - inputs_length(inputs) // 2
    X = encode(bases[low : low + inputs_length(inputs)])[None].repeat(2, axis=0)
    X[1, inputs_length(inputs) // 2] = 1
    with torch.no_grad():
        scores = seqsal.load_model(inputs.model)(torch.from_numpy(one_hot(X))).numpy()
    np.testing.assert_allclose(table.loc[0, ["ref_score", "alt_score"]].astype(float), scores, atol=1e-5)


def inputs_length(inputs: Inputs) -> int:
    length = seqsal.load_model(inputs.model).input_length
    assert length is not None
    return length


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs.write(tmp_path_factory.mktemp("variants"), np.random.default_rng(0))


def wrong_tables(bases: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    other = {"A": "C", "C": "G", "G": "T", "T": "A", "N": "A"}
    first = bases.index("ACG", 100)
    swapped = "".join(f"chr1\t{i + 1}\t{other[bases[i]]}\t{bases[i]}\n" for i in range(first, first + 9))
    header = "chrom\tpos\tref\talt\n"
    return {
        "no column": ("chrom\tpos\tref\n", ("no column alt", "chrom, pos, ref and alt")),
        "not a number": (header + "chr1\tten\tA\tC\n", ("v.tsv:2", "whole number")),
        "too few": (header + "chr1\t10\n", ("v.tsv:2", "expected chrom, pos")),
        "empty": (header, ("no variant that can be scored",)),
        "swapped": (header + swapped, ("REF differs from the genome at 9 of 9", "and 4 more", "at 9 of them",
                                       "swapped", "--check-ref")),
        "beyond": (header + "chr1\t999999\tA\tC\n", ("1 of 1 variants lie beyond", "chr1:999999")),
        "names": (header + "1\t10\tA\tC\n", ("its chromosomes are named 1", "s/^/chr/")),
        "symbolic": (header + f"chr1\t{first + 1}\tA\t<DEL>\nchr1\t{first + 1}\tA\tA[chr2:3[\n",
                     ("1 symbolic allele (", "1 breakend (", "<DEL>")),
        "too long": (header + f"chr1\t{first + 1}\tA\t{'A' * 70}\n", ("longer than the window of 60 bp",)),
        "bad REF": (header + "chr1\t10\t7\tC\n", ("REF of chr1:10", "not bases")),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(wrong_tables("ACG" * 60)))
def test_bad_tables_are_refused_in_a_line(small: Inputs, tmp_path: Path, kind: str) -> None:
    bases = (small.folder / "genome.fa").read_text().splitlines()[1]
    text, words = wrong_tables(bases)[kind]
    (tmp_path / "v.tsv").write_text(text)
    given = ["--model", small.model, "--genome", small.folder / "genome.fa", "--vcf", tmp_path / "v.tsv"]
    refused(call("variants", *given, "--device", "cpu", "--out", tmp_path / "out.tsv"), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.tsv"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"shifts": [0, 0]}, ("shifts", "each once")),
        ({"shifts": 40}, ("less than half of the window",)),
        ({"n_controls": 5}, ("n_controls", "100")),
        ({"model": []}, ("model: got none",)),
        ({"input_length": None}, ("its window is not known",)),
        ({"variants": "missing.vcf"}, ("no such file",)),
        ({"genme": "x"}, ("did you mean", "genome")),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, chroms: dict[str, str], options: dict[str, object], words: tuple[str, ...]
) -> None:
    genome = genome_of(tmp_path / "g.fa", chroms)
    variants = random_variants(np.random.default_rng(1), chroms, 3)
    given = {"model": Small().eval(), "genome": genome, "variants": variants, "input_length": LENGTH, **options}
    with pytest.raises(SeqsalError) as error:
        seqsal.score_variants(given.pop("model"), device="cpu", **given)  # type: ignore[arg-type]
    for word in words:
        assert word in str(error.value)


def test_everything_around_the_table_is_written_together(tmp_path: Path) -> None:
    pytest.importorskip("pysam")
    inputs = Inputs.write(tmp_path, np.random.default_rng(0))
    bases = (tmp_path / "genome.fa").read_text().splitlines()[1]
    sites = [i for i in range(100, 2800, 90) if "N" not in bases[i - 3 : i + 4]]
    other = {"A": "C", "C": "G", "G": "T", "T": "A"}
    header = "##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    records = [f"chr1\t{i + 1}\trs{i}\t{bases[i]}\t{other[bases[i]]},<DEL>,{bases[i]}GG\t.\t.\tDP=3\n" for i in sites]
    (tmp_path / "v.vcf").write_text(header + "".join(records))
    word = bases[sites[3] - 3 : sites[3] + 4]
    counts = one_hot(encode(word)).T * 20
    rows = "\n".join(" ".join(str(value / 20) for value in row) for row in counts)
    meme = f"MEME version 4\n\nMOTIF here\nletter-probability matrix: alength= 4 w= 7 nsites= 20\n{rows}\n"
    (tmp_path / "m.meme").write_text(meme)
    given = ["variants", "--model", inputs.model, "--genome", tmp_path / "genome.fa", "--vcf", tmp_path / "v.vcf",
             "--device", "cpu", "--controls", "0", "--out", tmp_path / "out.tsv"]  # fmt: skip
    given += ["--report", tmp_path / "v.html"]
    extra = ["--annotated", tmp_path / "a.vcf.gz", "--bed", tmp_path / "v.bed", "--attributions", tmp_path / "a.h5",
             "--motif-db", tmp_path / "m.meme"]  # fmt: skip
    result = call(*given, *extra)
    assert result.exit_code == 0, (result.output, result.exception)
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert len(table) == 2 * len(sites) and "symbolic allele" in result.stderr
    lost = table[table["pos"] == sites[3] + 1].iloc[0]["motif_lost"].split("|")
    assert lost[0] == "here" and float(lost[1]) > 8 and int(lost[2]) == sites[3] - 2 and lost[3] == "+"

    import gzip

    lines = gzip.open(tmp_path / "a.vcf.gz", "rt").read().splitlines()
    body = [line.split("\t") for line in lines if line[0] != "#"]
    assert any(line.startswith("##INFO=<ID=SEQSAL") for line in lines) and len(body) == len(sites)
    entries = [entry.split("|") for fields in body for entry in fields[7].removeprefix("DP=3;SEQSAL=").split(",")]
    assert [entry[0] for entry in entries] == table["alt"].tolist()
    np.testing.assert_allclose([float(entry[4]) for entry in entries], table["effect"], atol=1e-6)

    track = [line.split("\t") for line in (tmp_path / "v.bed").read_text().splitlines()]
    assert [int(line[1]) + 1 for line in track] == table["pos"].tolist() and len(track[0]) == 9
    attr = seqsal.read_attributions(tmp_path / "a.h5")
    assert len(attr) == 2 * len(table)
    names = [f"{row.chrom}:{row.pos}:{row.ref}>{row.alt}" for row in table.itertuples()]
    assert attr.regions["name"].tolist() == [f"{name}|{side}" for name in names for side in ("ref", "alt")]
    np.testing.assert_allclose(attr.prediction[::2], table["ref_score"], atol=1e-5)
    middle = attr.length // 2
    assert (attr.codes[0] != attr.codes[1]).nonzero()[0].tolist() == [middle]
    assert attr.regions["start"][0] + middle + 1 == table["pos"][0]

    maps = read_variant_maps(tmp_path / "a.h5")
    pd.testing.assert_frame_equal(maps.table[["pos", "alt", "effect"]], table[["pos", "alt", "effect"]], rtol=1e-6)
    for row, name in ((0, names[0]), (1, names[1])):  # a substitution, an insertion of two bases behind the first
        one = maps.aligned(name)
        assert one.codes[0].tolist() != one.codes[1].tolist() and one.last - one.first == 1 + row
        np.testing.assert_allclose(one.difference.sum(), maps.difference[row].sum(), atol=1e-5)
        np.testing.assert_array_equal(one.codes[1, one.first : one.last], encode([other[bases[sites[0]]], "GG"][row]))
    np.testing.assert_array_equal(maps.difference[0], attr.track[1] - attr.track[0])
    axes = plot_variant(maps, f"rs{sites[3]}")
    assert "here" in axes[0].get_title(loc="left") and axes[0].get_ylim() == axes[1].get_ylim()
    with pytest.raises(UsageError, match="expected an id, or chrom:pos:REF>ALT"):
        maps.find("rs0")
    boxes = read_variants(tmp_path / "out.tsv")
    assert (
        boxes["effect"].tolist() == table["effect"].tolist() and (boxes["start"] + 1).tolist() == table["pos"].tolist()
    )
    page = Page((tmp_path / "v.html").read_text())
    assert {"variants", "variant-1", "genome", "run"} <= set(page.ids) and "audit" not in page.ids
    assert len(page.all("svg")) >= 3 * 10
    assert len(rows_of((tmp_path / "v.html").read_text(), "variants-table")) == len(table)


@pytest.mark.parametrize(
    "extra, words",
    [
        (["--annotated", "a.vcf"], ("is a table", "leave --annotated out")),
        (["--bed", "a.txt"], ("unknown extension", ".bed")),
        (["--bed", "v.tsv.bed", "--attributions", "v.tsv.bed"], ("two outputs have this name",)),
        (["--motif-db", "missing.meme"], ("missing.meme", "no such file")),
    ],
)
def test_wrong_outputs_are_refused(small: Inputs, tmp_path: Path, extra: list[str], words: tuple[str, ...]) -> None:
    bases = (small.folder / "genome.fa").read_text().splitlines()[1]
    at = bases.index("ACG", 100)
    (tmp_path / "v.tsv").write_text(f"chrom\tpos\tref\talt\nchr1\t{at + 1}\tA\tC\n")
    paths = [tmp_path / one if "." in one else one for one in extra]
    given = ["--model", small.model, "--genome", small.folder / "genome.fa", "--vcf", tmp_path / "v.tsv"]
    result = call("variants", *given, "--device", "cpu", "--controls", "0", "--out", tmp_path / "out.tsv", *paths)
    refused(result, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.tsv"]
