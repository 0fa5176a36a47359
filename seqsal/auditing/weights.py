"""The map of a model whose weights are random: from the output down, layer by layer, and all at once.

After Adebayo et al. 2018 (arXiv:1810.03292). A *cascade* randomises ever more layers from the output down; the
*independent* test one layer, with the others as they were; *all* every layer, in several draws. Only the last is
judged. How weights are drawn is said in :mod:`seqsal.auditing.randomize`, how maps are compared in
:mod:`seqsal.auditing.before_after`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution.methods.registry import make_method
from seqsal.auditing.before_after import MEASURES, SAME, Comparison, attribute_afresh, map_similarity
from seqsal.auditing.context import AuditContext
from seqsal.auditing.randomize import Layer, Randomizer
from seqsal.auditing.stats import mean_known
from seqsal.errors import MethodError, ModelError
from seqsal.sequence.codes import N_CODE

__all__ = ["COLUMNS", "WeightTest", "passes_per_window", "spread_evenly"]

MIN_REGIONS = 8  # that layers are looked at one by one with
COLUMNS = {
    "kind": str, "stage": np.int64, "layer": str, "seed": np.int64, "n_layers": np.int64, "n_regions": np.int64,
    **dict.fromkeys(MEASURES, np.float64),
}  # fmt: skip
Maps = NDArray[np.float32]


class WeightTest:
    """Compares the maps of some regions with those of the model with random weights.

    Parameters
    ----------
    context
        One that can attribute.

    Attributes
    ----------
    codes, before
        (n, L): the regions, and their maps by the model as it is.
    values
        What is found, by the names in :func:`seqsal.auditing.sanity.audit_sanity`.
    warnings, untested
        Sentences.
    """

    def __init__(self, context: AuditContext) -> None:
        assert context.model is not None
        self._context = context
        codes = context.codes(context.rows(context.settings.n_small))
        both = np.concatenate([codes, context.shuffled(codes)])
        self._randomizer = Randomizer(context.model, both, context.rng, context.device)
        n_layers = len(self._randomizer.layers)
        self._stages = spread_evenly(n_layers, context.settings.n_random_layers)
        n_regions = self._plan(passes_per_window(context, codes[:1]))
        self.codes = context.codes(context.rows(n_regions))
        self._shuffled = context.shuffled(self.codes)
        self.before = context.attribute(self.codes)
        self.values: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.untested: list[str] = []
        self._rows: list[dict[str, Any]] = []

    def run(self) -> None:
        """Fill `values`, `warnings` and `untested`."""
        reason = self._why_not()
        if reason is not None:
            self.untested.append(reason)
            return
        draws = range(self._context.settings.n_randomizations)
        layers = self._randomizer.layers
        looks = [self._look("all", len(layers), layers, draw) for draw in draws]
        found = [look for look in looks if look is not None]
        if not found:
            self.untested.append("With random weights the model gives no finite map, so nothing is compared with it.")
            return
        after, of_shuffles = [list(maps) for maps in zip(*found, strict=True)]
        self._judge(Comparison(self.before, after, of_shuffles, self._known), after)
        for stage in self._stages:
            if stage < len(layers):
                self._look("cascade", stage, layers[:stage])
            if len(layers) > 1:
                self._look("independent", stage, layers[stage - 1 : stage])
        self._list_layers()

    @property
    def table(self) -> pd.DataFrame:
        """What every random model gave, with `COLUMNS`."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS)).astype(COLUMNS)

    @property
    def _known(self) -> NDArray[np.bool_]:
        return np.asarray(self.codes != N_CODE)

    def _plan(self, n_passes: int) -> int:
        """Say how many regions can be looked at; leaves the stages out where they would be too few."""
        settings = self._context.settings
        n_maps = 1 + 2 * settings.n_randomizations + 2 * len(self._stages)
        n_regions = settings.max_random_passes // (n_passes * n_maps)
        if n_regions < min(MIN_REGIONS, settings.n_small):
            self._stages = []
            n_regions = settings.max_random_passes // (n_passes * (1 + 2 * settings.n_randomizations))
        return min(max(n_regions, 1), settings.n_small)

    def _why_not(self) -> str | None:
        same = map_similarity(self.before, self.before, self._known)["similarity"]
        if not self._randomizer.layers:
            return "Random weights were not tried, because the model has no parameters that can be changed."
        if not np.isfinite(same).any():
            return "Random weights were not tried, because the map is the same at every base: nothing can be compared."
        if not self._randomizer.can_change:
            return "Random weights were not tried, because those of the model are all alike within each tensor."
        return None

    def _look(self, kind: str, stage: int, layers: Sequence[Layer], draw: int = 0) -> tuple[Maps, Maps] | None:
        """Note how alike a random model's maps are; return them, and where all is random those of shuffles too."""
        shuffles = self._shuffled if kind == "all" else self._shuffled[:0]
        try:
            with self._randomizer.randomized(layers, draw) as model:
                maps = attribute_afresh(self._context, np.concatenate([self.codes, shuffles]), model)
        except (ModelError, MethodError):  # infinite values, or a structure that the method cannot explain
            return None
        n = len(self.codes)
        alike = map_similarity(self.before, maps[:n], self._known)
        means = {name: mean_known(values) for name, values in alike.items()}
        label = self._randomizer.label(layers[-1])
        sizes = {"n_layers": len(layers), "n_regions": n}
        self._rows.append({"kind": kind, "stage": stage, "layer": label, "seed": draw, **sizes, **means})
        return maps[:n], maps[n:]

    def _judge(self, comparison: Comparison, after: Sequence[Maps]) -> None:
        settings, measure = self._context.settings, comparison.strongest
        alike = comparison.excess(measure)
        assert alike is not None  # some map is not flat
        raw, other = mean_known(comparison.same[measure]), mean_known(comparison.shuffled[measure])
        self.values = {
            "depends_on_model": alike <= settings.max_randomized_similarity,
            "randomized_similarity": alike,
            "randomized_ci": comparison.interval(measure, self._context.rng("random weights"), settings),
            "measure": measure,
            "raw_similarity": raw,
            "baseline_similarity": other,
            "between_randomized": self._between(after, measure),
            "n_regions": len(self.codes),
        }
        self._warn()

    def _between(self, after: Sequence[Maps], measure: str) -> float | None:
        pairs = [map_similarity(a, b, self._known)[measure] for a, b in itertools.pairwise(after)]
        return mean_known(np.concatenate(pairs)) if pairs else None

    def _warn(self) -> None:
        threshold = self._context.settings.max_randomized_similarity
        alike, raw = self.values["randomized_similarity"], self.values["raw_similarity"]
        if alike > threshold:
            self.warnings.append(_independent(alike, threshold, given=self._context.explainer is not None))
        elif raw > threshold:
            baseline = self.values["baseline_similarity"] or 0.0
            self.warnings.append(
                f"With random weights the map stays similar ({raw:.2f}), but hardly more so than with that of shuffles "
                f"({baseline:.2f}): what they share is where in the window the model looks."
            )
        if len(self.codes) == 1:
            self.warnings.append("Random weights were tried on one region only, so there is no confidence interval.")

    def _list_layers(self) -> None:
        signed = bool(self._context.attr.attrs.get("signed", True))
        stages = {"cascade": ("cascade", "all"), "layers": ("independent",)}
        for name, kinds in stages.items():
            rows = [row for row in self._rows if row["kind"] in kinds and row["seed"] == 0]
            rows = sorted(rows, key=lambda row: row["stage"]) if self._stages else []
            self.values[name] = [_entry(row, signed) for row in rows]


def passes_per_window(context: AuditContext, codes: NDArray[np.uint8]) -> int:
    """Count the passes that attributing a window takes.

    Parameters
    ----------
    context
        One that can attribute.
    codes
        (1, L), which an explainer of the caller's is tried on.
    """
    if context.explainer is None:
        given = dict(context.attr.attrs.get("options", {}))
        options = {key: value for key, value in given.items() if key not in ("rc_average", "input_length")}
        n_passes = make_method(context.attr.method, **options).n_passes(codes.shape[1])
        return n_passes * (2 if context.rc_average else 1)
    assert context.model is not None
    n_passes = 0

    def count(_module: object, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal n_passes
        n_passes += len(given[0]) if given else 1

    hook = context.model.register_forward_pre_hook(count)
    try:
        context.attribute(codes)
    finally:
        hook.remove()
    return max(n_passes, 1)


def spread_evenly(n: int, n_picked: int) -> list[int]:
    """Pick numbers from 1 to n, evenly spaced, n among them, and 1 where more than one is picked."""
    if n <= n_picked:
        return list(range(1, n + 1))
    return sorted({round(float(value)) for value in np.linspace(n, 1, n_picked)})


def _entry(row: dict[str, Any], signed: bool) -> dict[str, Any]:
    entry = {name: row[name] for name in ("layer", "n_layers", *MEASURES)}
    return entry if signed else entry | {"signed_similarity": None}


def _independent(alike: float, threshold: float, *, given: bool) -> str:
    text = (
        f"The map hardly depends on the model: with random weights it is still {alike:.2f} like the map of the trained "
        f"model (1: the same; at most {threshold:g} expected), so it does not show what the model learnt."
    )
    if given and alike >= 1 - SAME:
        return text + " It is the very same map: see that the explainer asks the model that it is given."
    return text
