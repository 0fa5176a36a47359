"""Strata read from files, and differences between them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from audit_cases import Ignores, context_of, regions_of
from scipy import stats

from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts import strata as module
from seqsal.auditing.parts.strata import audit_strata, read_strata
from seqsal.errors import RegionError, SeqsalError, UsageError
from seqsal.regions import make_regions
from tests.toys import Linear, random_codes

LENGTH = 40
GC = torch.tensor([-1.0, 1.0, 1.0, -1.0])[:, None].expand(4, LENGTH).clone()


@pytest.fixture
def regions() -> pd.DataFrame:
    return make_regions(["chr1", "chr1", "chr2"], [100, 300, 50], [200, 400, 150], name=["a", "b", "c"])


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def skewed(rng: np.random.Generator) -> AuditContext:
    """A model of GC on 60 sequences, of which the last 30 are rich in GC."""
    codes = random_codes(rng, 60, LENGTH)
    codes[30:] = np.where(rng.random((30, LENGTH)) < 0.8, rng.integers(1, 3, (30, LENGTH)), codes[30:])
    return context_of(Linear(GC), codes)


class TestReading:
    def test_a_table_with_a_header_is_joined_by_name(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        path = write(tmp_path / "s.tsv", "name\tbatch\nc\tx\na\ty\nb\tNA\n")
        strata = read_strata(f"{path}:batch", regions)
        assert strata["batch"].tolist() == ["y", None, "x"]
        assert strata.attrs == {"source": f"{path}:batch", "n_unmatched": 1, "joined_by": "name"}

    def test_a_bed_is_joined_by_the_span_around_the_centre(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        path = write(tmp_path / "s.bed", "chr2\t0\t101\tp\tz\nchr1\t140\t160\tq\ty\nchr1\t140\t400\tr\tx\n")
        strata = read_strata(f"{path}:5", regions)
        assert strata["column 5"].tolist() == ["y", "x", "z"]
        assert strata.attrs["joined_by"] == "place"

    def test_a_span_ends_before_its_end(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        path = write(tmp_path / "s.bed", "chr1\t100\t150\tp\tleft\nchr1\t150\t160\tq\tright\n")
        assert read_strata(f"{path}:5", regions)["column 5"].tolist() == ["right", None, None]

    def test_repeated_names_are_no_names(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        lines = "chrom,start,end,name,batch\nchr1,0,200,a,x\nchr1,200,500,a,y\nchr2,0,200,a,z\n"
        strata = read_strata(f"{write(tmp_path / 's.csv', lines)}:batch", regions)
        assert strata["batch"].tolist() == ["x", "y", "z"]

    def test_a_header_a_comment_sign_and_gzip(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        path = tmp_path / "a:b.bed.gz"
        path.write_bytes(gzip.compress(b"track name=x\n#chrom\tstart\tend\tlab\nchr1\t0\t500\tA\nchr2\t0\t500\tB\n"))
        assert read_strata(f"{path}:lab", regions)["lab"].tolist() == ["A", "A", "B"]
        assert read_strata(f"{path}:4", regions)["lab"].tolist() == ["A", "A", "B"]

    def test_unmatched_regions_are_told(
        self, tmp_path: Path, regions: pd.DataFrame, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write(tmp_path / "s.tsv", "name\tbatch\na\ty\n")
        with caplog.at_level("WARNING"):
            read_strata(f"{path}:batch", regions)
        assert "has no entry for 2 of the 3 regions" in caplog.text

    @pytest.mark.parametrize(
        ("text", "column", "error", "message"),
        [
            (
                "name\tbatch\na\tx\n",
                "lab",
                UsageError,
                r"has no column 'lab', expected one of its columns name, batch$",
            ),
            ("chr1\t1\t5\tx\n", "9", UsageError, r"has no column '9', expected .* no header, .* 1 to 4$"),
            ("chr1\t1\t5\tx\n", "0", UsageError, r"has no column '0'"),
            ("name\tbatch\nz\tx\n", "batch", UsageError, r"none of its 1 rows belongs to one of the 3 regions"),
            ("chr1\t900\t950\tx\n", "4", UsageError, r"neither by name nor by place"),
            ("1\t100\t200\tx\n", "4", RegionError, r"named 1, .* sed 's/\^/chr/'"),
            ("", "4", UsageError, r"holds no rows"),
            ("name\tbatch\n", "batch", UsageError, r"holds no rows"),
        ],
    )
    def test_what_cannot_be_used_is_said(
        self, tmp_path: Path, regions: pd.DataFrame, text: str, column: str, error: type[SeqsalError], message: str
    ) -> None:
        path = write(tmp_path / "s.tsv", text)
        with pytest.raises(error, match=message) as caught:
            read_strata(f"{path}:{column}", regions)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("spec", ["s.tsv", "s.tsv:", ":batch"])
    def test_a_spec_has_two_parts(self, regions: pd.DataFrame, spec: str) -> None:
        with pytest.raises(UsageError, match="expected FILE:COLUMN"):
            read_strata(spec, regions)

    def test_a_missing_or_binary_file_is_said(self, tmp_path: Path, regions: pd.DataFrame) -> None:
        with pytest.raises(UsageError, match="no such file"):
            read_strata(f"{tmp_path / 'none.bed'}:4", regions)
        (tmp_path / "x.bed").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UsageError, match="cannot be read as text"):
            read_strata(f"{tmp_path / 'x.bed'}:4", regions)


class TestDifferences:
    def test_a_model_of_gc_differs_between_batches_of_other_gc(self, skewed: AuditContext) -> None:
        strata = pd.DataFrame({"batch": ["poor"] * 30 + ["rich"] * 30})
        section = audit_strata(skewed, strata)
        tests = section.tables["strata_tests"].set_index(["factor", "feature"])
        found = tests.loc["batch", "prediction"]
        values = np.asarray(skewed.attr.prediction, dtype=float)
        expected = stats.kruskal(values[:30], values[30:])
        assert found["p_value"] == pytest.approx(expected.pvalue)
        assert found["effect"] == pytest.approx(expected.statistic / 59)
        assert found["differs"]
        assert (found["highest"], found["lowest"]) == ("rich", "poor")
        assert any(line.startswith("By batch, the prediction differs") for line in section.warnings)
        q_values = stats.false_discovery_control(section.tables["strata_tests"]["p_value"])
        np.testing.assert_allclose(section.tables["strata_tests"]["q_value"], q_values)

    def test_a_random_batch_does_not_differ(self, skewed: AuditContext, rng: np.random.Generator) -> None:
        section = audit_strata(skewed, pd.DataFrame({"batch": rng.permutation(["x", "y"] * 30)}))
        tests = section.tables["strata_tests"]
        assert not tests.loc[tests["factor"] == "batch", "differs"].any()
        assert not section.warnings

    def test_an_adapter_of_one_batch_is_found(self, skewed: AuditContext, rng: np.random.Generator) -> None:
        strata = pd.DataFrame({"batch": ["x"] * 20 + ["y"] * 40})
        everywhere = pd.DataFrame({"row": rng.permutation(60)[:20], "name": "primer"})
        hits = pd.concat([pd.DataFrame({"row": range(15), "name": "adapter"}), everywhere])
        section = audit_strata(skewed, strata, hits=hits)
        table = section.tables["strata_artifacts"].set_index(["artifact", "factor"])
        found = table.loc["adapter", "batch"]
        one_sided = stats.fisher_exact([[15, 5], [0, 40]], alternative="greater").pvalue
        assert found["p_value"] == pytest.approx(2 * one_sided)
        assert (found["stratum"], found["share_inside"], found["share_outside"]) == ("x", 0.75, 0.0)
        assert section.to_json()["artifacts"][0]["artifact"] == "adapter"
        assert not table.loc["primer", "differs"].any()
        assert any("adapter is in 75% of the regions of batch x" in line for line in section.warnings)

    def test_small_strata_are_left_out_and_told(self, skewed: AuditContext) -> None:
        strata = pd.DataFrame({"batch": ["x"] * 4 + [None] * 16 + ["y"] * 40})
        section = audit_strata(skewed, strata)
        assert [factor["factor"] for factor in section.to_json()["factors"]] == ["gc"]
        assert any("Differences by batch were not tested" in line for line in section.untested)
        assert any("Differences by chromosome were not tested" in line for line in section.untested)

    def test_many_numbers_are_cut_into_thirds(self) -> None:
        labels = module._levels(pd.Series([*range(15), np.nan]))
        assert labels.tolist() == ["low"] * 5 + ["middle"] * 5 + ["high"] * 5 + [None]
        assert module._levels(pd.Series([1, 2, 1])).tolist() == ["1", "2", "1"]

    def test_strata_of_another_length_are_refused(self, skewed: AuditContext) -> None:
        with pytest.raises(UsageError, match="got 3 rows, expected 60, one for each region"):
            audit_strata(skewed, pd.DataFrame({"batch": ["x"] * 3}))

    def test_a_model_that_ignores_its_input_differs_nowhere(self, rng: np.random.Generator) -> None:
        section = audit_strata(context_of(Ignores(), random_codes(rng, 30, LENGTH), peaks=pd.DataFrame()))
        assert not section.tables["strata_tests"]["differs"].any()
        json.dumps(section.to_json(), allow_nan=False)

    def test_without_a_model_and_with_one_region(self, skewed: AuditContext) -> None:
        bare = AuditContext(skewed.attr, None)
        features = set(audit_strata(bare).tables["strata_tests"]["feature"])
        assert "ism_agreement" not in features
        assert "prediction" in features
        one = audit_strata(context_of(Linear(GC), skewed.codes(np.array([0])), peaks=pd.DataFrame()))
        assert one.to_json()["factors"] == []
        assert len(one.untested) == 2

    def test_shares_of_the_map_are_those_of_its_bases(self, rng: np.random.Generator) -> None:
        weight = torch.zeros(4, LENGTH)
        weight[:, :2], weight[:, 20] = 1.0, 2.0  # both edge bases at the left, and one in the middle
        peaks = regions_of(3, LENGTH).assign(start=[20, 60, 100], end=[21, 61, 101])
        context = context_of(Linear(weight), random_codes(rng, 12, LENGTH), peaks=peaks,
                             method_options={"gradient_correction": False})  # fmt: skip
        table = audit_strata(context).tables["strata_regions"]
        np.testing.assert_allclose(table["edge_share"], 0.5)
        np.testing.assert_allclose(table["peak_share"], [0.5, 0.5, 0.5] + [0.0] * 9)
        np.testing.assert_allclose(table["strength"], 4.0, rtol=1e-6)
        np.testing.assert_allclose(table["from_centre"], (19.5 + 18.5 + 2 * 0.5) / 4)
