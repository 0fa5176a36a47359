"""What is added to the loss on targets: masks, priors of maps, matched compositions, a teacher; each a term by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from seqsal.attribution.methods import gradient_x_input
from seqsal.models.cnn import scalar
from seqsal.sequence.tensors import one_hot_tensor
from seqsal.training.priors import CHANGES, composition_term, consistency_term, fourier_term, map_distance
from seqsal.training.relevance import Relevance, predicting

if TYPE_CHECKING:
    from seqsal.models.cnn import CNN
    from seqsal.training.distill import Teacher
    from seqsal.training.examples import Examples
    from seqsal.training.settings import TrainConfig

__all__ = ["TERMS", "Shown", "Terms"]

# by name: what the term is, and what its weight is called
TERMS = {
    "irrelevant": ("attribution of irrelevant bases", "masks"),
    "relevant": ("attribution of relevant bases", "masks"),
    "fourier": ("Fourier prior", "prior fourier"),
    "consistency": ("inconsistency of maps", "prior consistency"),
    "composition": ("composition of sequence without sites", "composition"),
    "teacher": ("distance from the teacher", "teacher"),
    "maps": ("distance from the teacher's maps", "teacher's maps"),
}
COMPOSITION_WEIGHT = 1.0
Head = torch.Tensor | tuple[torch.Tensor, ...]


class Shown(NamedTuple):
    """A batch as the network sees it: windows (n, 4, L), marks (n, L) or None, targets and head values (n, T).

    A profile's head values are its logits and log counts; `controls` are what its network reads besides windows.
    """

    X: torch.Tensor
    marks: torch.Tensor | None
    targets: torch.Tensor
    raw: Head
    generator: torch.Generator
    step: int
    controls: Sequence[torch.Tensor] = ()


class Terms:
    """The terms of a training, and their weights."""

    def __init__(
        self, model: CNN, examples: Examples, training: TrainConfig,
        device: torch.device, teacher: Teacher | None, n_steps: int,
    ) -> None:  # fmt: skip
        self.model, self.training, self.teacher, self.n_steps = model, training, teacher, n_steps
        self.relevance = Relevance(model, training)
        self.priors = training.prior_weights
        self.has_classes = model.config.loss == "binary"
        self.neutral = None if examples.neutral is None else torch.from_numpy(examples.neutral).to(device)

    def weight(self, name: str, step: float) -> float:
        """Return the weight of a term at a step."""
        if name in ("train", "teacher"):
            return 1.0
        given = {"maps": self.training.match_maps, "composition": COMPOSITION_WEIGHT, **self.priors}
        risen = min(1.0, step / max(1.0, self.training.mask_warmup * self.n_steps))
        return given.get(name, self.training.mask_weight) * risen

    def said(self, names: Sequence[str]) -> str:
        """Name the weights of some terms, for a message."""
        return " or ".join(
            f"the weight of the {kind} ({self.weight(name, self.n_steps):g})"
            for kind, name in {TERMS[name][1]: name for name in reversed(names)}.items()
        )

    def __call__(self, shown: Shown) -> dict[str, torch.Tensor]:
        """Return the terms of a batch, with graphs down to the parameters of the network."""
        found: dict[str, torch.Tensor] = {}
        if shown.marks is not None:
            found |= self.relevance(shown.X, shown.marks)
        if self.teacher is not None:
            found["teacher"] = self.teacher.distance(shown.raw, shown.X, shown.controls)
        if self.priors or self.training.match_maps:
            found |= self._of_maps(shown)
        if self.neutral is not None:
            found["composition"] = self._composition(shown.generator, len(shown.X))
        return found

    def _of_maps(self, shown: Shown) -> dict[str, torch.Tensor]:
        X = shown.X[(shown.targets > 0).any(dim=1)] if self.has_classes else shown.X
        if not len(X):
            return {}
        found = {}
        kind = CHANGES[shown.step % len(CHANGES)]
        with predicting(self.model):
            track = self._map(X)
            if "fourier" in self.priors:
                found["fourier"] = fourier_term(track)
            if "consistency" in self.priors:
                found["consistency"] = consistency_term(self._map, X, track, kind, shown.generator)
        if self.teacher is not None and self.training.match_maps:
            found["maps"] = map_distance(track, self.teacher.track(X))
        return found

    def _map(self, X: torch.Tensor) -> torch.Tensor:
        return gradient_x_input(lambda X: scalar(self.model, X), X, create_graph=True).track(X)

    def _composition(self, generator: torch.Generator, n: int) -> torch.Tensor:
        """Compare kinds of neutral sequences, as many of all together as a batch has windows."""
        assert self.neutral is not None
        n_kinds, n_each, width = self.neutral.shape
        rows = torch.randint(n_each, (max(2, n // n_kinds),), generator=generator).to(self.neutral.device)
        length = self.model.config.input_length
        first = (width - length) // 2
        codes = self.neutral[:, rows, first : first + length].flatten(0, 1)
        with predicting(self.model):
            return composition_term(self.model(one_hot_tensor(codes))[:, 0].view(n_kinds, -1))
