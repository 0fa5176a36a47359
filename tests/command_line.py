"""What tests of the command line share: calling it, what a refusal looks like, and small inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result
from toys import random_codes

from seqsal.cli import main
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.sequence.codes import decode

LENGTH = 60
_SIZES = "n_regions=8 n_ism_regions=2 n_small=4 n_steps=4 n_draws=1 n_bootstrap=100"
SMALL_AUDIT = [word for size in _SIZES.split() for word in ("--setting", size)]


def call(*arguments: object, **settings: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **settings)  # type: ignore[arg-type]


def refused(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line on stderr that holds every one of `words`."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if "warning" not in line]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], (word, lines[0])


@dataclass
class Inputs:
    """A small genome, 20 regions and a model in a folder."""

    folder: Path

    @property
    def given(self) -> list[object]:
        return ["--model", self.model, "--genome", self.folder / "genome.fa", "--regions",
                self.folder / "regions.bed", "--device", "cpu"]  # fmt: skip

    def keep(self, n: int) -> None:
        """Keep the first n regions, for tests of whole runs: the page draws a picture of each."""
        bed = self.folder / "regions.bed"
        bed.write_text("".join(bed.read_text().splitlines(keepends=True)[:n]))

    @property
    def model(self) -> Path:
        return self.folder / "M.safetensors"

    @classmethod
    def write(cls, folder: Path, rng: np.random.Generator) -> Inputs:
        codes = random_codes(rng, 2, 3000, 0.01)
        records = [f">{name}\n{decode(row)}\n" for name, row in zip(("chr1", "chr2"), codes, strict=True)]
        (folder / "genome.fa").write_text("".join(records))
        starts = enumerate(range(100, 2700, 130))
        (folder / "regions.bed").write_text(
            "".join(f"chr{i % 2 + 1}\t{start}\t{start + 80}\tr{i}\n" for i, start in starts)
        )
        torch.manual_seed(0)
        model = CNN(CNNConfig(input_length=LENGTH, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
        history = [{"epoch": 1, "valid_auroc": 0.9}]
        save_checkpoint(
            folder / "M.safetensors", model, {"history": history, "best_epoch": 1, "metrics": {}, "seed": 3}
        )
        return cls(folder)
