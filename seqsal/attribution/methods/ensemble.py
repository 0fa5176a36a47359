"""A method over the members of an ensemble: the mean of their maps, and how far these spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from seqsal.attribution.compute import model_view
from seqsal.attribution.methods.base import Method, ScalarModel, Scores, TargetsModel
from seqsal.models.ensemble import members_of
from seqsal.regions import Span

__all__ = ["MemberScores", "OverMembers"]


class MemberScores(Scores):
    """Means over the members of an ensemble; `spread` has their standard deviations, likewise."""

    spread: Scores


class OverMembers(Method):
    """Attribute each member of an ensemble by itself: mean and standard deviation (n − 1) of maps and predictions.

    Of a method that is linear in the model the mean is the map of the ensemble's mean output; the sum that a method
    promises is then that of the mean output too.
    """

    name = "over_members"

    def __init__(self, methods: Sequence[Method]) -> None:
        """Take one instance for each member, all made alike, since it may keep what it learns about a model."""
        self.methods, method = methods, methods[0]
        self.signed, self.sums_to_difference = method.signed, method.sums_to_difference  # type: ignore[misc]
        self.scores_unknown, self.hypothetical = method.scores_unknown, method.hypothetical  # type: ignore[misc]
        self.needs_gradient, self.measures_noise = method.needs_gradient, method.measures_noise  # type: ignore[misc]
        self._views: dict[int, list[ScalarModel]] = {}

    def keep(self, span: Span, length: int) -> None:
        """Keep what the method keeps; see :meth:`Method.keep`."""
        for method in self.methods:
            method.keep(span, length)

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:
        """Prepare the method for each member; see :meth:`Method.prepare`."""
        views: list[Any] = list(members_of(model))
        if (device := getattr(model, "autocast_device", None)) is not None:
            views = [model_view(view, "bf16", torch.device(device)) for view in views]
        for method, view in zip(self.methods, views, strict=True):
            method.prepare(view, X, batch_size)
        self._views[id(model)] = views

    def windows_at_once(self, batch_size: int) -> int:
        """As many as each member takes; see :meth:`Method.windows_at_once`."""
        return min(method.windows_at_once(batch_size) for method in self.methods)

    def n_passes(self, length: int) -> int:
        """Those of all members; see :meth:`Method.n_passes`."""
        return len(self.methods) * self.methods[0].n_passes(length)

    def attribute(self, model: ScalarModel, X: torch.Tensor) -> Scores:
        """Score one batch by every member; see :meth:`Method.attribute`."""
        pairs = zip(self.methods, self._views[id(model)], strict=True)
        found = [method.attribute(view, X) for method, view in pairs]
        prediction = torch.stack([scores.prediction for scores in found])
        hypothetical = torch.stack([scores.hypothetical for scores in found])
        errors = [scores.completeness_error for scores in found if scores.completeness_error is not None]
        worst = torch.stack(errors).amax(dim=0) if errors else None
        noises = [scores.noise for scores in found if scores.noise is not None]
        noise = torch.stack(noises).square().sum(dim=0).sqrt() / len(found) if noises else None
        mean = MemberScores(prediction.mean(dim=0), hypothetical.mean(dim=0), worst, noise)
        mean.spread = Scores(prediction.std(dim=0), hypothetical.std(dim=0))
        return mean

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch for several targets; see :meth:`Method.attribute_targets`."""
        return [self.attribute(single, X) for single in model.single]

    @property
    def remedy(self) -> str:  # type: ignore[override]
        """What to do when the sum is off, as the members' methods say once they have run."""
        return self.methods[0].remedy

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Options of the method."""
        return self.methods[0].options
