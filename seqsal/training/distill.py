"""A network that learns from others, too: their predictions, and their maps (Hinton, Vinyals and Dean 2015).

The teachers' distribution of each window, as the student sees it in that step, is the mean of theirs: of probabilities
at a temperature T for a binary model (arXiv:1503.02531), of expected counts, or of values. Its divergence from the
student's is added to the loss on the targets: T² Σ p log(p / q) over both classes, the same of two Poisson
distributions, or the squared error; of a profile that over positions, and the squared error of log counts. With
`match_maps` so is 1 − the cosine of the student's map and the mean of theirs.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from seqsal.attribution.methods import gradient_x_input
from seqsal.errors import TrainingError
from seqsal.models.checkpoint import load_checkpoint
from seqsal.models.cnn import CNN, CNNConfig, scalar
from seqsal.training.settings import TrainConfig

__all__ = ["Teacher", "read_teacher", "warn_of_leaks"]

logger = logging.getLogger(__name__)

SAME = {"loss": "loss", "n_targets": "number of targets", "input_length": "window length",
        "output_length": "profile's length", "n_controls": "number of control tracks"}  # fmt: skip


class Teacher:
    """One network or more, of which a student of the same targets and length learns; `digest` tells them apart."""

    def __init__(self, models: Sequence[CNN], temperature: float = 1.0) -> None:
        self.models, self.temperature = [model.eval() for model in models], temperature
        self.loss = models[0].config.loss
        self.mean, self.spread = torch.zeros(1), torch.ones(1)
        digest = hashlib.sha256()
        for model in models:
            for tensor in model.state_dict().values():
                digest.update(tensor.detach().cpu().numpy().tobytes())
        self.digest = digest.hexdigest()

    def prepare(self, mean: NDArray[np.float32], spread: NDArray[np.float32], device: torch.device) -> Teacher:
        """Move to a device, and give values as a student of standardised targets learns them."""
        self.models = [model.to(device) for model in self.models]
        self.mean, self.spread = torch.from_numpy(mean).to(device), torch.from_numpy(spread).to(device)
        return self

    def distance(
        self, raw: torch.Tensor | tuple[torch.Tensor, ...], X: torch.Tensor, controls: Sequence[torch.Tensor] = ()
    ) -> torch.Tensor:
        """Return how far the student's head values (n, T) for windows (n, 4, L) are from the teachers'."""
        with torch.no_grad():
            heads = [model(X, *controls) for model in self.models]
        if isinstance(raw, tuple):
            p = torch.stack([torch.softmax(logits / self.temperature, dim=-1) for logits, _ in heads]).mean(dim=0)
            log_q = torch.log_softmax(raw[0] / self.temperature, dim=-1)
            counts = functional.mse_loss(raw[1], torch.stack([one for _, one in heads]).mean(dim=0))
            return self.temperature**2 * (torch.xlogy(p, p) - p * log_q).sum(dim=-1).mean() + counts
        taught = torch.stack(heads)  # (teachers, n, T)
        if self.loss == "binary":
            p = torch.sigmoid(taught / self.temperature).mean(dim=0)
            entropy = functional.binary_cross_entropy(p, p)
            cross = functional.binary_cross_entropy_with_logits(raw / self.temperature, p)
            return self.temperature**2 * (cross - entropy)
        if self.loss == "count":
            rate = taught.exp().mean(dim=0)
            return (rate * (rate.log() - raw) - rate + raw.exp()).mean()
        return functional.mse_loss(raw, (taught.mean(dim=0) - self.mean) / self.spread)

    def track(self, X: torch.Tensor) -> torch.Tensor:
        """Return the teachers' mean map (n, L) of windows."""
        maps = [gradient_x_input(lambda X, model=model: scalar(model, X), X).track(X) for model in self.models]
        return torch.stack(maps).mean(dim=0).detach()


def read_teacher(
    paths: Sequence[str | os.PathLike[str]] | None, config: CNNConfig, training: TrainConfig
) -> Teacher | None:
    """Read the teachers of a student, None where there are none.

    TrainingError: of other targets or length, or settings that need a teacher, or have no meaning for these.
    """
    wants = {"match_maps": training.match_maps > 0, "temperature": training.temperature != 1}
    if not paths:
        asked = next((name for name, is_set in wants.items() if is_set), None)
        if asked is not None:
            raise TrainingError(
                f"{asked}: got {getattr(training, asked)!r} without a teacher; give --teacher M.safetensors"
            )
        return None
    if wants["temperature"] and config.loss not in ("binary", "profile"):
        raise TrainingError(
            f"temperature: got {training.temperature:g} for a {config.loss} model, expected 1, since it softens the "
            "probabilities of a binary one or a profile; leave it out"
        )
    if config.loss == "profile":
        raise TrainingError("teacher: given for a profile, expected a binary, count or regression model; leave it out")
    models = []
    for path in paths:
        model = load_checkpoint(path)[0]
        for name, what in SAME.items():
            own, wanted = (getattr(one, name, None) for one in (model.config, config))
            if own != wanted:
                raise TrainingError(
                    f"teacher {path}: its {what} is {own}, expected {wanted}, as the student's; train the student with "
                    "the teacher's windows and targets"
                )
        models.append(model)
    return Teacher(models, training.temperature)


def warn_of_leaks(models: Sequence[CNN], test_chroms: NDArray[np.str_], name: str = "teacher") -> None:
    """Tell of chromosomes that a network is tested on and one that it learns from was trained with."""
    for model in models:
        split: dict[str, Any] = getattr(model, "metadata", {}).get("split", {})
        seen = {chrom for part in ("train", "valid") for chrom in split.get(part, {}).get("chroms", ())}
        both = sorted(seen & set(test_chroms.tolist()))
        if both:
            logger.warning(
                "%s: was trained on %s, which this network is tested on, so that its test figures are too good; "
                "hold out the same chromosomes", name, ", ".join(both[:3]) + ("…" if len(both) > 3 else ""),
            )  # fmt: skip
            return
