"""Where a model's profile is read: bins under a region, a summit, intervals of a file, or a gene's start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import seqsal
from seqsal.attribution.controls import attributer, run_of_attributions
from seqsal.errors import SeqsalError
from seqsal.models.ensemble import Ensemble
from seqsal.models.grid import Grid, find_grid
from seqsal.sequence.codes import encode, one_hot

BIN, CROP, N_BINS = 8, 16, 12
L = BIN * N_BINS + 2 * CROP


class Binned(torch.nn.Module):
    """Two tracks of bins: a convolution over bases, added up in bins of 8 bp behind a crop of 16 bp."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv1d(4, 2, 5, padding=2)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.softplus(self.conv(X))[..., CROP : L - CROP]
        return y.reshape(len(X), 2, N_BINS, BIN).sum(-1)


@pytest.fixture(scope="module")
def module() -> Binned:
    return Binned()


@pytest.fixture
def genome(tmp_path: Any) -> Any:
    path = tmp_path / "g.fa"
    bases = np.random.default_rng(2).integers(0, 4, 900)
    path.write_text(">chr1\n" + "".join("ACGT"[b] for b in bases) + "\n")
    return path


def profile_of(module: Binned, genome: Any, start: int, strand: str = "+") -> np.ndarray[Any, Any]:
    codes = encode(genome.read_text().split("\n")[1][start : start + L])
    codes = (3 - codes)[::-1] if strand == "-" else codes
    with torch.no_grad():
        return module(torch.from_numpy(one_hot(codes[None].copy())))[0].numpy()


@pytest.mark.parametrize("told", [{}, {"bin_size": BIN}, {"crop": CROP}, {"bin_size": BIN, "crop": CROP}])
def test_the_bins_are_measured_or_told(module: Binned, told: dict[str, int]) -> None:
    model = seqsal.wrap(module, reduce="sum", input_length=L)
    assert find_grid(model, L, **told) == Grid(BIN, CROP, N_BINS)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "log_sum", "weighted", "python"])
def test_what_is_read_is_what_a_slow_loop_reads(module: Binned, genome: Any, reduce: str) -> None:
    regions = ["chr1:300-321", "chr1:400-417(-)", "chr1:500-503"]
    how = {"reduce": (lambda p: p.square().sum(-1)) if reduce == "python" else reduce, "input_length": L, "target": 1}
    found = seqsal.score(module, genome=genome, regions=regions, readout_at="region", device="cpu", **how)
    attr = seqsal.attribute(
        module, genome=genome, regions=regions, readout_at="region", device="cpu", method="ism", **how
    )
    expected = []
    for start, end, strand in ((300, 321, "+"), (400, 417, "-"), (500, 503, "+")):
        first = (start + end) // 2 - L // 2
        bins = profile_of(module, genome, first, strand)[1].astype(np.float64)
        values, shares = [], []
        for j in range(N_BINS):
            bases = {CROP + BIN * j + k for k in range(BIN)}
            bases = {first + (L - 1 - b if strand == "-" else b) for b in bases}
            n = len(bases & set(range(start, end)))
            if n:
                values.append(bins[j])
                shares.append(n / BIN)
        v = np.array(values)
        ways = {"sum": v.sum(), "mean": v.mean(), "max": v.max(), "log_sum": np.log(v.sum()),
                "weighted": (v * shares).sum(), "python": (v**2).sum()}  # fmt: skip
        expected.append(ways[reduce])
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)
    np.testing.assert_allclose(attr.prediction, expected, rtol=1e-5)
    assert attr.attrs["readout_at"] == {"size": BIN, "crop": CROP, "n_bins": N_BINS, "at": "region"}
    # each map is that of its own place: nothing outside of the bins' reach counts
    reach = np.flatnonzero(np.asarray(attr.track[2]) != 0)
    assert reach.min() >= L // 2 - 2 * BIN - 2 and reach.max() < L // 2 + 2 * BIN + 2


def test_a_variants_effect_is_not_diluted(module: Binned, genome: Any) -> None:
    """Averaged over the window an effect shrinks with the bins; read where it is, it does not."""
    codes = encode(genome.read_text().split("\n")[1][300 : 300 + L])[None].copy()
    both = np.concatenate([codes, codes])
    at = L // 2
    both[1, at] = (both[1, at] + 1) % 4
    how = {"X": one_hot(both), "target": 0, "device": "cpu", "input_length": L}
    with torch.no_grad():
        change = np.diff(module(torch.from_numpy(one_hot(both)))[:, 0].numpy(), axis=0)[0]
    everywhere = np.diff(seqsal.score(module, reduce="mean", **how)["prediction"])[0]
    here = np.diff(seqsal.score(module, reduce="mean", readout_at="summit±0", **how)["prediction"])[0]
    hit = CROP + BIN * np.flatnonzero(change)[0] <= at < CROP + BIN * (np.flatnonzero(change)[-1] + 1)
    assert hit and here == pytest.approx(change[(at - CROP) // BIN], rel=1e-4)
    assert abs(everywhere) < abs(here) * 2 / N_BINS


def write_gtf(path: Any, chrom: str = "chr1") -> Any:
    lines = [
        f'{chrom}\tx\tgene\t331\t400\t.\t+\t.\tgene_id "G1.2"; gene_name "MYC";',
        f'{chrom}\tx\texon\t331\t340\t.\t+\t.\tgene_id "G1.2"; gene_name "MYC";',
        f'{chrom}\tx\texon\t361\t365\t.\t+\t.\tgene_id "G1.2"; gene_name "MYC";',
        f'{chrom}\tx\tgene\t250\t350\t.\t-\t.\tgene_id "G2"; gene_name "FOS";',
    ]
    path.write_text("#!genome-build\n" + "\n".join(lines) + "\n")
    return path


def test_genes_and_files(module: Binned, genome: Any, tmp_path: Any) -> None:
    gtf, bed = write_gtf(tmp_path / "g.gtf"), tmp_path / "b.bed"
    bed.write_text("chr1\t330\t331\nchr1\t340\t342\n")
    first = 340 - L // 2
    profile = profile_of(module, genome, first)[0]
    at = lambda *bases: sorted({(b - first - CROP) // BIN for b in bases})  # noqa: E731
    how = {"genome": genome, "regions": "chr1:330-350", "reduce": "sum", "input_length": L, "device": "cpu"}
    for readout, gene, bins in (
        (f"tss:{gtf}", "MYC", at(330)),
        (f"tss:{gtf}", "G2", at(349)),  # of the minus strand: its end
        (f"tss±10:{gtf}", "MYC", at(*range(320, 341))),
        (f"exons:{gtf}", "MYC", at(*range(330, 340), *range(360, 365))),
        (bed, None, at(330, 340, 341)),
        ("summit+-9", None, at(*range(331, 350))),
        ("summit:9", None, at(*range(331, 350))),
    ):
        given = {} if gene is None else {"gene": gene}
        found = seqsal.score(module, readout_at=readout, **given, **how)["prediction"][0]
        assert found == pytest.approx(profile[bins].sum(), rel=1e-5), readout
    # nearest to the middle of the window
    later = profile_of(module, genome, first + 4)[0][(349 - first - 4 - CROP) // BIN]
    found = seqsal.score(module, readout_at=f"tss:{gtf}", **{**how, "regions": "chr1:334-354"})
    assert found["prediction"][0] == pytest.approx(later, rel=1e-5)


def test_a_file_remembers_where_it_was_read(module: Binned, genome: Any, tmp_path: Any) -> None:
    regions = ["chr1:300-321", "chr1:400-417(-)", "chr1:500-503"]
    how = {"genome": genome, "regions": regions, "readout_at": "region", "reduce": "sum", "input_length": L,
           "device": "cpu", "span": 30}  # fmt: skip
    made = seqsal.attribute(module, out=tmp_path / "A.h5", n_controls=4, **how)
    read = seqsal.read_attributions(tmp_path / "A.h5")
    assert read.regions["readout"].tolist() == ["300-321", "400-417", "500-503"]
    plain = seqsal.attribute(module, **how)
    from seqsal.attribution.controls import make_controls

    later = make_controls(plain, module, n_controls=4, device="cpu")
    np.testing.assert_allclose(later.track, np.asarray(made.controls.track), atol=1e-6)
    from seqsal.attribution.request import read_model_of
    from seqsal.auditing.context import AuditContext
    from seqsal.auditing.run import open_audited

    context = AuditContext(read, read_model_of(module, read))  # predicts what is on record
    rows = np.array([2, 0])
    np.testing.assert_allclose(context.predict(context.codes(rows), rows=rows), read.prediction[rows], rtol=1e-5)
    np.testing.assert_allclose(context.attribute(context.codes(rows), rows=rows), read.track[rows], atol=1e-6)
    assert open_audited(tmp_path / "A.h5", readout_at="region").attrs["readout_at"]["at"] == "region"
    with pytest.raises(SeqsalError, match="got 'summit±3', but the attributions are of 'region'"):
        open_audited(read, readout_at="summit±3")


def test_members_are_asked_where_the_ensemble_was_read(genome: Any) -> None:
    members = [seqsal.wrap(Binned(seed), reduce="sum", input_length=L) for seed in range(2)]
    attr = seqsal.attribute(
        Ensemble(members), genome=genome, regions=["chr1:300-321", "chr1:340-361"], readout_at="summit±9", device="cpu"
    )
    attribute = attributer(attr, run_of_attributions(attr), most_passes=8)
    assert attribute is not None
    tracks = [track for track, _ in attribute(np.asarray(attr.codes))]
    np.testing.assert_allclose(np.mean(tracks, axis=0), attr.track, atol=1e-6)
    np.testing.assert_allclose(np.std(tracks, axis=0, ddof=1), attr.track_sd, atol=1e-6)


class Flat(torch.nn.Module):
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X.sum((1, 2))[:, None, None].expand(-1, 1, 7) * 0 + 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"readout_at": "sumit±3"}, "expected 'region', 'summit±100'"),
        ({"readout_at": "tss:nowhere.gtf"}, "cannot be read as GTF"),
        ({"readout_at": "tss:G", "gene": "MYCC"}, "has no gene 'MYCC'; did you mean 'MYC'"),
        ({"readout_at": "tss:OTHER"}, "those of the regions chr1; rename them.*renamed.gtf"),
        ({"readout_at": "BED"}, "has no interval in the window"),
        ({"readout_at": "OUTSIDE"}, "outside the model's output, chr1:292-388"),
        ({"readout_at": "region", "reduce": None}, "reduce"),
        ({"readout_at": "region", "bin_size": 40}, "do not fit into its window"),
        ({"gene": "MYC"}, "chooses among genes"),
        ({"readout_at": "region", "gene": "MYC"}, "chooses among genes"),
    ],
)
def test_bad_readouts(given: dict[str, Any], message: str, module: Binned, genome: Any, tmp_path: Any) -> None:
    gtf, other = write_gtf(tmp_path / "g.gtf"), write_gtf(tmp_path / "o.gtf", "1")
    (tmp_path / "far.bed").write_text("chr1\t800\t801\n")
    (tmp_path / "edge.bed").write_text("chr1\t278\t280\n")
    files = {"tss:G": f"tss:{gtf}", "tss:OTHER": f"tss:{other}", "BED": str(tmp_path / "far.bed"),
             "OUTSIDE": str(tmp_path / "edge.bed")}  # fmt: skip
    given = {**given, "readout_at": files.get(given.get("readout_at", ""), given.get("readout_at"))}
    how = {"genome": genome, "regions": "chr1:330-350", "reduce": "sum", "input_length": L, "device": "cpu"}
    with pytest.raises(SeqsalError, match=message):
        seqsal.attribute(module, **{**how, **given})


def test_a_model_whose_bins_cannot_be_placed_says_what_to_tell() -> None:
    X = np.eye(4, dtype=np.float32)[np.random.default_rng(0).integers(0, 4, (1, 50))].transpose(0, 2, 1)
    with pytest.raises(SeqsalError, match="give bin_size and crop"):
        seqsal.score(Flat(), X=X, reduce="sum", readout_at="summit±3", device="cpu", output_space="linear")
