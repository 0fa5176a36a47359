"""Several models of one kind as one: its output is the mean of theirs, in the output space that they share."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from seqsal.errors import ModelError
from seqsal.models.contrast import Target
from seqsal.models.sequence_model import SequenceModel

__all__ = ["Ensemble", "members_of"]


class Ensemble(SequenceModel):
    """The mean of models that read the same windows and give the same targets, such as seeds or folds.

    Each member is read in its own way (a sigmoid at its end is left out, …) and the mean is of what is attributed:
    logits, not probabilities. Attributing it gives the mean of the members' maps, and how they spread.

    Attributes
    ----------
    members : tuple of SequenceModel
        Two or more; not copied.

    Raises
    ------
    ModelError
        There is one model only, or they differ in length, targets, output space or in how they are read.

    Examples
    --------
    >>> import seqsal, torch
    >>> from seqsal.models.ensemble import Ensemble
    >>> members = [seqsal.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))) for _ in range(2)]
    >>> both, X = Ensemble(members), torch.eye(4)[torch.arange(10) % 4].T[None]
    >>> torch.allclose(both(X), (members[0](X) + members[1](X)) / 2)
    True
    """

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        nn.Module.__init__(self)
        if len(members) < 2:
            raise ModelError(f"model: got an ensemble of {len(members)}, expected two or more models")
        self.members = tuple(members)
        self.module = nn.ModuleList(member.module for member in members)
        sources = [dict(member.source) for member in members]
        self.source = {"ensemble": sources}
        if all("sha256" in source and "factory" not in source for source in sources):
            digest = hashlib.sha256("".join(str(source["sha256"]) for source in sources).encode())
            self.source["sha256"] = digest.hexdigest()
        self.path, self.grid, self._adapter, self._is_single = None, None, None, False
        self._agree()

    def _agree(self) -> None:
        """Take from the members what they share; raise unless they do."""
        first = self.members[0]
        shared = ("input_length", "n_targets", "output_space", "readout", "target")
        words = {"input_length": "windows (bp)", "n_targets": "numbers of targets", "output_space": "output spaces",
                 "readout": "ways of reading", "target": "targets"}  # fmt: skip
        for name in shared:
            found = [getattr(member, name) for member in self.members]
            if any(value != found[0] for value in found):
                named = ", ".join(f"{_name(one)}: {value}" for one, value in zip(self.members, found, strict=True))
                raise ModelError(
                    f"model: the models of the ensemble have different {words[name]} ({named}); give models of one kind"
                )
        for name in (*shared, "terminal", "asked", "extra_inputs"):
            setattr(self, name, getattr(first, name))
        self.no_gradient = next((member.no_gradient for member in self.members if member.no_gradient), "")

    def profile(self, X: torch.Tensor) -> torch.Tensor:
        """Give the mean of the members' profiles; see the base."""
        return torch.stack([member.profile(X) for member in self.members]).mean(dim=0)

    def positions(self, X: torch.Tensor) -> torch.Tensor:
        """Return the mean of the members' positions; see the base."""
        return torch.stack([member.positions(X) for member in self.members]).mean(dim=0)

    def at(self, bins: tuple[tuple[float, float], ...]) -> SequenceModel:
        """Return the ensemble as each member reads some positions alone; see the base."""
        view = copy.copy(self)
        view.members = tuple(member.at(bins) for member in self.members)
        view.readout, view.asked = view.members[0].readout, view.members[0].asked
        return view

    def _columns(self, X: torch.Tensor, *, natural: bool) -> torch.Tensor:
        return torch.stack([member._columns(X, natural=natural) for member in self.members]).mean(dim=0)

    def _ensure_probed(self, X: torch.Tensor) -> int:
        if self.n_targets is None:
            for member in self.members:
                member._ensure_probed(X)
            self._agree()
        assert self.n_targets is not None
        return self.n_targets


def members_of(model: Any, target: Target | None = None) -> list[SequenceModel]:
    """Return the members of an ensemble, each reading the target and places that it reads; none of another model."""
    if not isinstance(model, Ensemble):
        return []
    wanted = model.target if target is None else target
    views = [copy.copy(member) for member in model.members]
    for view in views:
        view.target, view.grid = wanted, model.grid
    return views


def _name(model: SequenceModel) -> str:
    return str(model.path or model.source.get("file") or model.source.get("factory") or type(model.module).__name__)
