"""The region table, against loops over rows and bioframe."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqsal.errors import RegionError
from seqsal.regions import (
    COLUMNS,
    check_chroms,
    complete_regions,
    fit_windows,
    format_region,
    lift_span,
    make_regions,
    merge_regions,
    parse_region,
    resize_regions,
)
from seqsal.sequence.codes import reverse_complement

spans = st.tuples(st.sampled_from(["chr1", "chr2", "chrX"]), st.integers(0, 200), st.integers(1, 60))


def table_of(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    return make_regions([r[0] for r in rows], [r[1] for r in rows], [r[1] + r[2] for r in rows])


class TestText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("chr1:1,000-2,000", ("chr1", 1000, 2000, ".")),
            ("chr1:10-20(-)", ("chr1", 10, 20, "-")),
            (" chr1:10-20(+) ", ("chr1", 10, 20, "+")),
            ("HLA-A*01:01:5-9", ("HLA-A*01:01", 5, 9, ".")),
        ],
    )
    def test_parse(self, text: str, expected: tuple[str, int, int, str]) -> None:
        assert parse_region(text) == expected

    @given(spans, st.sampled_from("+-."))
    def test_parse_undoes_format(self, span: tuple[str, int, int], strand: str) -> None:
        chrom, start, length = span
        assert parse_region(format_region(chrom, start, start + length, strand)) == (
            chrom,
            start,
            start + length,
            strand,
        )

    @pytest.mark.parametrize(
        "text", ["chr1", "chr1:5", "chr1:-5-10", "chr1:5-x", "chr1:,-3", ":1-2", "chr1:1-2(*)", ""]
    )
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(RegionError, match=r"not understood, expected chrom:start-end"):
            parse_region(text)

    def test_start_must_be_below_end(self) -> None:
        with pytest.raises(RegionError, match="start 20 is not below end 20"):
            parse_region("chr1:20-20")


class TestMakeRegions:
    def test_columns_types_and_defaults(self) -> None:
        regions = make_regions(["chr1", "2"], [-5, 3], [5, 9])
        assert tuple(regions.columns) == COLUMNS
        assert list(regions["name"]) == ["region_1", "region_2"]
        assert regions["score"].isna().all() and (regions["summit"] == -1).all() and (regions["strand"] == ".").all()
        assert [regions[key].dtype for key in ("start", "end", "summit")] == [np.int64] * 3
        assert all(isinstance(value, str) for key in ("chrom", "name", "strand") for value in regions[key])
        pd.testing.assert_frame_equal(make_regions([], [], []), regions.iloc[:0])

    def test_a_column_that_looks_like_a_strand_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        table = pd.DataFrame({"chrom": "chr1", "start": [1, 5], "end": [4, 9], "Orientation": ["minus", "+"]})
        assert complete_regions(table)["strand"].tolist() == ["-", "+"]
        assert "regions: the strand is read from column 'Orientation', since none is named so" in caplog.text

    def test_complete_regions_fills_in_and_keeps_extra_columns(self) -> None:
        given_table = pd.DataFrame({"gene": ["a", "b"], "end": [5, 9], "chrom": [1, 2], "start": [1, 2]}, index=[7, 7])
        regions = complete_regions(given_table)
        assert tuple(regions.columns) == (*COLUMNS, "gene")
        assert regions.index.equals(pd.RangeIndex(2))
        assert regions["chrom"].tolist() == ["1", "2"] and regions["gene"].tolist() == ["a", "b"]
        pd.testing.assert_frame_equal(complete_regions(regions), regions)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"start": [1, 9], "end": [5, 9]}, r"start is not below end in row 1 \(chr1 9 9"),
            ({"start": [1.5, 2], "end": [5, 9]}, "start holds a value that is not an integer"),
            ({"start": ["x", 2], "end": [5, 9]}, "start holds a value that is not an integer"),
            ({"start": [1, 2], "end": [np.nan, 9]}, "end holds a value that is not an integer"),
            ({"start": [1, 2], "end": [5, 9], "strand": ["+", "*"]}, "strand is not"),
            ({"start": [1, 2], "end": [5, 9], "summit": [4, 0]}, "summit lies outside the region in row 0"),
            ({"start": [1, 2], "end": [5, 9], "score": [1.0]}, "1 values of score for 2 starts"),
        ],
    )
    def test_wrong_values_are_named(self, columns: dict[str, list[object]], message: str) -> None:
        with pytest.raises(RegionError, match=message):
            make_regions(["chr1", "chr1"], **columns)  # type: ignore[arg-type]

    def test_missing_columns_are_named(self) -> None:
        with pytest.raises(RegionError, match="no column start, end"):
            complete_regions(pd.DataFrame({"chrom": ["chr1"]}))


class TestResize:
    @given(st.lists(spans, min_size=1), st.integers(1, 80))
    def test_midpoint_stays_and_own_length_changes_nothing(self, rows: list[tuple[str, int, int]], length: int) -> None:
        regions = table_of(rows)
        resized = resize_regions(regions, length)
        assert (resized["end"] - resized["start"] == length).all()
        for (_, start, size), new_start in zip(rows, resized["start"], strict=True):
            assert new_start == (start + start + size) // 2 - length // 2
        for i, (_, _, size) in enumerate(rows):
            pd.testing.assert_frame_equal(resize_regions(regions.iloc[[i]], size), regions.iloc[[i]])

    @given(st.integers(0, 100), st.integers(1, 60), st.data(), st.integers(1, 80))
    def test_summit_stays_on_its_base(self, start: int, size: int, data: st.DataObject, length: int) -> None:
        summit = data.draw(st.integers(0, size - 1))
        resized = resize_regions(make_regions(["chr1"], [start], [start + size], summit=[summit]), length).iloc[0]
        assert resized["start"] + resized["summit"] == start + summit
        assert resized["summit"] == length // 2

    def test_a_length_below_one_is_refused(self) -> None:
        with pytest.raises(RegionError, match="length: got 0 bp"):
            resize_regions(make_regions(["chr1"], [0], [5]), 0)


class TestChroms:
    @staticmethod
    def check(chroms: list[str], genome: list[str]) -> None:
        regions = make_regions(chroms, [0] * len(chroms), [5] * len(chroms))
        check_chroms(regions, dict.fromkeys(genome, 100), regions_name="peaks.bed", genome_name="genome.fa")

    @pytest.mark.parametrize(
        ("chroms", "genome", "cure"),
        [
            (["1", "2"], ["chr1", "chr2"], r"sed 's/\^/chr/' peaks.bed > renamed.bed"),
            (["chr1", "chr2"], ["1", "2"], r"sed 's/\^chr//' peaks.bed > renamed.bed"),
            (["chr1", "chr2", "EBV"], ["1", "2", "EBV"], r"sed 's/\^chr//' peaks.bed"),
            (["I", "II"], ["NC_001133.9"], "of the same assembly"),
        ],
    )
    def test_names_of_both_sides_and_the_cure(self, chroms: list[str], genome: list[str], cure: str) -> None:
        sides = f"peaks.bed: .*named {', '.join(chroms)}, those of genome.fa {', '.join(genome)}; .*{cure}"
        with pytest.raises(RegionError, match=sides):
            self.check(chroms, genome)

    def test_long_lists_are_cut_short(self) -> None:
        with pytest.raises(RegionError, match=r"chr1, chr2, chr3, chr4 … \(22 names\)"):
            self.check(["1"], [f"chr{i}" for i in range(1, 23)])

    def test_a_few_unknown_chromosomes_pass(self) -> None:
        self.check(["chr1", "chr2", "chrUn"], ["chr1", "chr2"])
        self.check([], ["chr1"])


class TestFitWindows:
    SIZES = {"chr1": 100, "chr2": 20}  # noqa: RUF012

    def test_each_kind_of_window(self) -> None:
        windows = make_regions(
            ["chr1", "chr1", "chr9", "chr2", "chr2", "chr1", "chr1"],
            [0, -5, 0, 15, 20, 95, -10],
            [10, 5, 10, 25, 30, 105, 0],
        ).set_index(pd.Index([3] * 7))
        usable, rejected = fit_windows(windows, self.SIZES)
        assert usable["input_row"].tolist() == [0, 1, 3, 5]
        assert usable["padded"].tolist() == [False, True, True, True]
        assert rejected["input_row"].tolist() == [2, 4, 6]
        assert [*usable.columns, "reason"] == list(rejected.columns)
        assert rejected["reason"].tolist() == [
            "no chromosome chr9 in the genome",
            "beyond the end of chr2 (20 bp)",
            "beyond the end of chr1 (100 bp)",
        ]

    def test_a_reason_names_the_other_spelling(self) -> None:
        _, rejected = fit_windows(make_regions(["2", "MT"], [0, 0], [5, 5]), {"chr2": 20, "chrM": 9})
        assert rejected["reason"].tolist() == [
            "no chromosome 2 in the genome, but chr2",
            "no chromosome MT in the genome, but chrM",
        ]

    @given(st.lists(spans))
    def test_no_row_is_lost(self, rows: list[tuple[str, int, int]]) -> None:
        windows = table_of(rows)
        usable, rejected = fit_windows(windows, self.SIZES)
        both = pd.concat([usable, rejected]).sort_values("input_row", ignore_index=True)
        pd.testing.assert_frame_equal(both[list(COLUMNS)], windows)
        assert both["input_row"].tolist() == list(range(len(rows)))
        for row in usable.itertuples():
            assert row.padded == (row.end > self.SIZES[row.chrom])


class TestMerge:
    @settings(deadline=None)  # the first call imports bioframe
    @given(st.lists(spans, max_size=25), st.integers(0, 20))
    def test_against_marking_bases(self, rows: list[tuple[str, int, int]], max_gap: int) -> None:
        merged = merge_regions(table_of(rows), max_gap)
        expected = []
        for chrom in sorted({row[0] for row in rows}):
            current: list[int] = []
            for start, end in sorted((s, s + n) for c, s, n in rows if c == chrom):
                if current and start <= current[1] + max_gap:
                    current[1:] = [max(current[1], end), current[2] + 1]
                else:
                    expected += [(chrom, current)] if current else []
                    current = [start, end, 1]
            expected.append((chrom, current))
        found = merged[["chrom", "start", "end", "n_merged"]].itertuples(index=False)
        assert [(row.chrom, [row.start, row.end, row.n_merged]) for row in found] == expected
        assert tuple(merged.columns) == (*COLUMNS, "n_merged")


@given(st.integers(0, 50), st.integers(1, 40), st.sampled_from("+-."), st.data())
def test_a_lifted_span_holds_the_bases_that_the_model_saw(
    start: int, length: int, strand: str, data: st.DataObject
) -> None:
    genome = np.random.default_rng(0).integers(0, 4, 100).astype(np.uint8)
    window = genome[start : start + length]
    seen = reverse_complement(window) if strand == "-" else window
    span_start = data.draw(st.integers(0, length - 1))
    span_end = data.draw(st.integers(span_start + 1, length))
    low, high = lift_span(start, start + length, strand, span_start, span_end)
    lifted = genome[int(low) : int(high)]
    assert np.array_equal(reverse_complement(lifted) if strand == "-" else lifted, seen[span_start:span_end])


def test_lift_span_broadcasts() -> None:
    low, high = lift_span([0, 100], [50, 150], ["+", "-"], [[1], [2]], [[3], [5]])
    assert low.tolist() == [[1, 147], [2, 145]] and high.tolist() == [[3, 149], [5, 148]]
