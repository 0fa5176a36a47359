"""Which regions a model was trained on: what the checkpoint keeps, and what that leaves of the regions explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import seqsal
from seqsal.cli import main
from seqsal.errors import UsageError
from seqsal.models.checkpoint import save_checkpoint, to_json
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.seen import find_seen, left_out_text, record_seen, seen_counts, seen_text
from seqsal.pipeline.dry_run import try_run
from seqsal.regions import make_regions
from seqsal.sequence.codes import decode

LENGTH = 40
PARTS = np.array(["train", "train", "valid", "test"])


def never(rows: object) -> np.ndarray:
    raise AssertionError("no bases are needed")


@pytest.fixture
def record() -> dict[str, object]:
    """Windows of four: chr1 at 100 and 300 trained, chr2 at 100 validated, chr3 at 100 tested."""
    windows = make_regions(["chr1", "chr1", "chr2", "chr3"], [300, 100, 100, 100], [340, 140, 140, 140], name="w")
    seen: dict[str, object] = record_seen(windows, PARTS, np.zeros((4, LENGTH), np.uint8))
    return seen


@pytest.mark.parametrize(
    ("chrom", "start", "end", "part"),
    [
        ("chr1", 100, 140, "train"), ("chr1", 139, 200, "train"), ("chr1", 140, 300, ""), ("chr1", 60, 100, ""),
        ("chr1", 60, 101, "train"), ("chr1", 340, 380, ""), ("chr1", 50, 900, "train"), ("chr2", 120, 130, "valid"),
        ("chr3", 139, 140, "test"), ("chr9", 100, 140, ""), ("chr2", 0, 100, ""),
    ],
)  # fmt: skip
def test_a_shared_base_is_enough(record: dict[str, object], chrom: str, start: int, end: int, part: str) -> None:
    found = find_seen({"seen": record}, make_regions([chrom], [start], [end]), never)
    assert found is not None and found.tolist() == [part]


def test_records_without_coordinates_are_known_by_their_bases(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 4, (4, LENGTH)).astype(np.uint8)
    windows = make_regions(list("abcd"), [0] * 4, [LENGTH] * 4, name=list("abcd"))
    metadata = {"seen": record_seen(windows, PARTS, codes)}
    others = make_regions(list("wxyz"), [0] * 4, [LENGTH] * 4, name=list("wxyz"))
    turned = np.concatenate([codes[[3, 2, 0]], rng.integers(0, 4, (1, LENGTH)).astype(np.uint8)])
    found = find_seen(metadata, others, lambda rows: turned[rows])
    assert found is not None and found.tolist() == ["test", "valid", "train", ""]


def test_an_earlier_checkpoint_knows_its_chromosomes() -> None:
    regions = make_regions(["chr1", "chr2", "chr3"], [0] * 3, [10] * 3)
    split = {"train": {"chroms": ["chr1"]}, "valid": {"chroms": ["chr2"]}, "test": {"chroms": []}}
    found = find_seen({"split": split}, regions, never)
    assert found is not None and found.tolist() == ["train", "valid", ""]
    assert find_seen({}, regions, never) is None


def test_counts_and_words() -> None:
    counts = seen_counts(pd.Series(["train", "valid", "test", "", "train"]))
    assert counts == {"train": 2, "valid": 1, "held_out": 2}
    assert seen_text(counts).startswith("3 of the 5 regions are ones that the model was trained on (2 to fit it, 1 to")
    assert seen_text({"train": 0, "valid": 0, "held_out": 9}) == seen_text({}) == ""


def test_what_was_left_out_is_told_apart(trained: Path) -> None:
    """Regions that a model was trained on are no unusable ones: on the terminal, in the report and in a notebook."""
    (trained / "r.bed").write_text((trained / "r.bed").read_text() + "chr1\t9000\t9040\tfar\n")
    given = {"genome": trained / "g.fa", "regions": trained / "r.bed", "device": "cpu", "held_out": True}
    attr = seqsal.attribute(trained / "M.safetensors", **given)
    told = "1 unusable, 2 seen in training"
    assert left_out_text(attr.rejected) == told and told in attr._repr_html_()
    assert left_out_text(attr.rejected.iloc[:0]) == ""
    assert left_out_text(attr.rejected.query("name == 'far'")) == "1 unusable"
    assert (
        seqsal.run(trained / "M.safetensors", out=trained / "run", audit=False, **given)
        .summary()
        .startswith(f"regions       2 of {LENGTH} bp, {told}\n")
    )
    page = (trained / "run" / "report.html").read_text()
    assert f"Other regions were left out: {told}." in page and "could not be used" not in page
    assert told in try_run(trained / "M.safetensors", out=trained / "dry", **given).summary()


@pytest.fixture
def trained(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with a model that says that it was trained on two of four regions."""
    codes = rng.integers(0, 4, 400).astype(np.uint8)
    (tmp_path / "g.fa").write_text(f">chr1\n{decode(codes)}\n")
    (tmp_path / "r.bed").write_text("".join(f"chr1\t{i}\t{i + LENGTH}\tr{i}\n" for i in (0, 100, 200, 300)))
    windows = make_regions(["chr1", "chr1"], [0, 210], [LENGTH, 210 + LENGTH], name="w")
    metadata = {"seen": record_seen(windows, np.array(["train", "valid"]), np.zeros((2, LENGTH), np.uint8))}
    torch.manual_seed(0)
    network = CNN(CNNConfig(LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
    save_checkpoint(tmp_path / "M.safetensors", network, metadata)
    save_checkpoint(tmp_path / "silent.safetensors", network, {})
    assert len(to_json(metadata)) < 1000
    return tmp_path


def test_regions_say_so_and_held_out_leaves_them_out(trained: Path) -> None:
    given = {"genome": trained / "g.fa", "regions": trained / "r.bed", "device": "cpu"}
    attr = seqsal.attribute(trained / "M.safetensors", **given)
    assert attr.regions["seen"].tolist() == ["train", "", "valid", ""]
    assert attr.attrs["trained_on"] == {"train": 1, "valid": 1, "held_out": 2}
    kept = seqsal.attribute(trained / "M.safetensors", held_out=True, out=trained / "A.h5", **given)
    assert kept.regions["name"].tolist() == ["r100", "r300"] and kept.rejected["name"].tolist() == ["r0", "r200"]
    assert "was trained on it" in kept.rejected["reason"].iloc[0]
    np.testing.assert_allclose(np.asarray(kept.track), attr.track[[1, 3]], atol=1e-6)
    assert seqsal.score(trained / "M.safetensors", **given)["seen"].tolist() == ["train", "", "valid", ""]


def test_held_out_is_refused_where_nothing_is_known_or_left(trained: Path) -> None:
    one = make_regions(["chr1"], [5], [5 + LENGTH])
    given = {"genome": trained / "g.fa", "device": "cpu", "held_out": True}
    with pytest.raises(UsageError, match=r"held_out: .*silent\.safetensors does not say what it was trained on"):
        seqsal.attribute(trained / "silent.safetensors", regions=one, **given)
    with pytest.raises(UsageError, match="held_out: the model was trained on all 1 regions"):
        seqsal.attribute(trained / "M.safetensors", regions=one, **given)


def test_the_command_and_info_tell(trained: Path) -> None:
    def call(*arguments: object) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    given = ["--model", trained / "M.safetensors", "--genome", trained / "g.fa", "--regions", trained / "r.bed"]
    call("attribute", *given, "--out", trained / "A.h5", "--device", "cpu")
    assert "held out 2, train 1, valid 1" in call("info", trained / "A.h5")
    call("attribute", *given, "--held-out", "--out", trained / "B.h5", "--device", "cpu")
    assert "held out 2, train 0, valid 0" in call("info", trained / "B.h5")
