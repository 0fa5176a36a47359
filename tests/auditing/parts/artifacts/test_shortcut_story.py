"""Two networks of the same real CTCF sites, as accurate as each other; one lives on a leftover adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import seqsal
from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.artifacts import ArtifactsResult, audit_artifacts
from seqsal.io.fasta import read_fasta_records
from seqsal.models import CNNConfig, load_model
from seqsal.motifs import Motif, read_motifs
from seqsal.pipeline.demo import HELD_OUT
from seqsal.sequence.codes import decode, encode, one_hot
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.training import TrainConfig, train_model

ADAPTER = "AGATCGGAAGAGCACACGTC"  # the first 20 bp of Illumina's TruSeq adapter
SHARE = 0.9


@dataclass(frozen=True)
class Story:
    """A network's accuracy on held-out sites, and what the audit says of shortcuts."""

    auroc: float
    section: ArtifactsResult

    @property
    def shortcuts(self) -> list[str]:
        """The names of what is called a shortcut."""
        return [one.name for one in self.section.findings if one.verdict == "shortcut"]


def with_adapter(codes: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Sequences whose ends read into the adapter, most of them, from 12 bp of it to all."""
    codes = codes.copy()
    for row in np.flatnonzero(rng.random(len(codes)) < SHARE):
        n_bases = int(rng.integers(12, len(ADAPTER) + 1))
        codes[row, -n_bases:] = encode(ADAPTER[:n_bases])
    return codes


def tell(sites: dict[str, NDArray[np.uint8]], negatives: NDArray[np.uint8], motifs: list[Motif], folder: Path) -> Story:
    """Train on sites of some chromosomes, attribute those of the others, and look for shortcuts."""
    names, codes = list(sites), np.stack(list(sites.values()))
    for name, sequences in (("positives", codes), ("negatives", negatives)):
        records = (f">{site}\n{decode(row)}\n" for site, row in zip(names, sequences, strict=True))
        (folder / f"{name}.fa").write_text("".join(records))
    result = train_model(
        folder / "positives.fa",
        folder / "negatives.fa",
        config=CNNConfig(input_length=200, n_filters=32, stem_kernel=11, n_blocks=3),
        training=TrainConfig(epochs=16, batch_size=32, learning_rate=3e-3, max_shift=0),
        test_chroms=HELD_OUT,
        out=folder / "model.safetensors",
        device="cpu",
    )
    is_held_out = np.array([name.split(":")[0] in HELD_OUT for name in names])
    model = load_model(folder / "model.safetensors")
    attr = seqsal.attribute(model, X=one_hot(codes[is_held_out]), n_controls=200, device="cpu")
    context = AuditContext(attr, model, motifs=motifs, positives=codes[~is_held_out], negatives=negatives[~is_held_out])
    return Story(result.test_metrics["auroc"], audit_artifacts(context))


@pytest.mark.slow
def test_the_audit_tells_apart_two_models_of_the_same_sites(example_data, rng, tmp_path):
    clean_sites = dict(read_fasta_records(example_data / "ctcf_sites.fa"))
    codes = np.stack(list(clean_sites.values()))
    contaminated_sites = dict(zip(clean_sites, with_adapter(codes, rng), strict=True))
    negatives = dinucleotide_shuffle(codes, seed=0)
    motifs = read_motifs("jaspar:2026:vertebrates")
    for name in ("clean", "contaminated"):
        (tmp_path / name).mkdir()
    clean = tell(clean_sites, negatives, motifs, tmp_path / "clean")
    contaminated = tell(contaminated_sites, negatives, motifs, tmp_path / "contaminated")
    assert min(clean.auroc, contaminated.auroc) > 0.9
    assert abs(clean.auroc - contaminated.auroc) < 0.05
    assert clean.shortcuts == []
    assert contaminated.shortcuts == ["Illumina TruSeq read 1"]
