"""The map of a model whose weights are random: from the output down, layer by layer, and all at once.

After Adebayo et al. 2018 (arXiv:1810.03292). A *cascade* randomises ever more layers from the output down; the
*independent* test one layer, with the others as they were; *all* every layer, in several draws. Only the last is
judged. How weights are drawn is said in :mod:`seqsal.auditing.parts.sanity.randomize`.

Three measures, one value a region, over the known positions:

* ``similarity``: Spearman's ρ of |map|, the order of importance; ``signed_similarity``: Spearman's ρ of the map. Both
  are those of Adebayo et al. 2018 (arXiv:1810.03292).
* ``mass_similarity``: Pearson's r of |map|, which the few largest values make. It sees what ranks do not: a map that is
  the same at ten bases of 200 and noise elsewhere has a ρ of about 0.15, and an r near 1.

Maps may be alike because of where the network looks: at the middle only, or more there than at the edges. So the map
before is compared with the map after of a shuffle of its region too, which a network reads at the same positions, so
that only what goes beyond that counts, as a share of what could::

    excess = (s − b) / (1 − b),   s: mean over regions of s(aᵢ, bᵢ),   b: mean of s(aᵢ, b of the shuffle), at least 0

It is 1 for maps that are the same, and 0 for those of which only positions are. (Another region instead of a shuffle
would not do: where all regions have their motif in the middle, maps that paint motifs are alike in all of them.)
Positions at which no map of any region has a value are left out: nothing is compared there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch

from seqsal.agreement.measures import row_moments
from seqsal.attribution.methods.registry import make_method
from seqsal.auditing.content import Codes, Flags, Maps, Values
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Interval, Measured, Notes, NotTested, measured
from seqsal.auditing.parts.sanity.randomize import Layer, Randomizer
from seqsal.auditing.settings import AuditSettings
from seqsal.auditing.stats import interval_of, mean_known, rank_correlation, resample_means
from seqsal.errors import MethodError, ModelError
from seqsal.sequence.codes import N_CODE

__all__ = ["Comparison", "LayerSimilarity", "RandomWeights", "WeightTest"]

N_RANDOMIZATIONS = 3  # draws of random weights for the whole model
N_RANDOM_LAYERS = 10  # that are randomised one by one, and stages from the output down, at most; evenly spaced
MAX_RANDOM_PASSES = 50_000  # of single windows: layer by layer is left out, and regions are, where it would take more
MEASURES = ("similarity", "signed_similarity", "mass_similarity")
SAME = 1e-9  # from 1: maps that are the same, up to rounding
MIN_REGIONS = 8  # that layers are looked at one by one with
COLUMNS = {
    "kind": str, "stage": np.int64, "layer": str, "seed": np.int64, "n_layers": np.int64, "n_regions": np.int64,
    **dict.fromkeys(MEASURES, np.float64),
}  # fmt: skip


def map_similarity(a: Maps, b: Maps, known: Flags) -> dict[str, Values]:
    """Compare maps (n, L) region by region over known positions, (n,) by `MEASURES`.

    NaN where a is flat; 0 where b alone is, for then nothing of a is left; 1 where both are the same and not 0.
    """
    sizes = np.abs(a), np.abs(b)
    values = {
        "similarity": rank_correlation(*sizes, known),
        "signed_similarity": rank_correlation(a, b, known),
        "mass_similarity": row_moments(*sizes, known).pearson(),
    }
    same = ((a == b) | ~known).all(axis=1) & ((a != 0) & known).any(axis=1)
    for name, value in values.items():
        own = a if name == "signed_similarity" else sizes[0]
        flat = np.where(known, own, np.inf).min(axis=1) >= np.where(known, own, -np.inf).max(axis=1)
        values[name] = np.where(same, 1.0, np.where(np.isnan(value) & ~flat, 0.0, value))
    return values


class Comparison:
    """Maps (n, L) of n regions before, after in D draws, and after of a shuffle of each region in as many.

    `same`, `shuffled`: by measure, (n,), mean over draws of the similarity of the map before with that after of the
    same region, and of its shuffle. A draw whose signs are opposite as a whole counts as alike.
    """

    def __init__(self, before: Maps, after: Sequence[Maps], of_shuffles: Sequence[Maps], known: Flags) -> None:
        known = known & np.logical_or.reduce([(maps != 0).any(axis=0) for maps in (before, *after)])
        self.same = {name: np.zeros(len(before)) for name in MEASURES}
        self.shuffled = {name: np.zeros(len(before)) for name in MEASURES}
        for maps, shuffles in zip(after, of_shuffles, strict=True):
            same, shuffled = (map_similarity(before, other, known) for other in (maps, shuffles))
            for name in MEASURES:
                sign = -1.0 if name == "signed_similarity" and (mean_known(same[name]) or 0.0) < 0 else 1.0
                self.same[name] += sign * same[name] / len(after)
                self.shuffled[name] += sign * shuffled[name] / len(after)

    @property
    def strongest(self) -> str:
        """The measure by which the maps are most alike."""
        return max(MEASURES, key=self._excess)

    def excess(self, measure: str) -> float | None:
        """Return how much more alike maps are than with those of shuffles; None where undefined."""
        value = self._excess(measure)
        return value if np.isfinite(value) else None

    def _excess(self, measure: str) -> float:
        s, b = mean_known(self.same[measure]), mean_known(self.shuffled[measure])
        return -np.inf if s is None else float(_beyond(np.array(s), np.array(b or 0.0)))

    def interval(self, measure: str, rng: np.random.Generator, settings: AuditSettings) -> Interval | None:
        """Return a confidence interval of the excess; None with fewer than two regions that have a value."""
        both = np.stack([self.same[measure], self.shuffled[measure]], axis=1)  # (n, 2)
        both = both[np.isfinite(both).all(axis=1)]
        if len(both) < 2:
            return None
        resampled = _beyond(*resample_means(both, rng, settings.n_bootstrap).T)[:, None]
        return interval_of(resampled, len(both), settings.confidence)


def _beyond(s: Values, b: Values) -> Values:
    b = np.maximum(b, 0.0)
    return np.where(s >= 1 - SAME, 1.0, (s - b) / np.maximum(1 - b, SAME))


@dataclass(frozen=True)
class LayerSimilarity:
    """How alike maps are when some layers have random weights: means over regions of the measures, None where flat."""

    layer: str
    n_layers: int
    similarity: float | None
    signed_similarity: float | None
    mass_similarity: float | None


@dataclass(frozen=True, kw_only=True)
class RandomWeights:
    """What became of the map when all weights were random.

    `randomized_similarity`, `randomized_ci`: how alike the two are beyond what the random model's map of shuffles is
    (1: the same), by the `measure` by which they are most alike; the interval is None for one region alone.
    `depends_on_model`: whether that is little. `raw_similarity`, `baseline_similarity`: what it is made of.
    `between_randomized`: the raw similarity of two random models. `cascade`, `layers`: for each layer, with those above
    it, and alone; empty where that would take too many passes. `n_regions`: with how many regions it was tried.
    """

    depends_on_model: bool | NotTested
    randomized_similarity: Measured
    randomized_ci: Interval | None = None
    measure: str | None = None
    raw_similarity: Measured
    baseline_similarity: Measured
    between_randomized: Measured
    cascade: tuple[LayerSimilarity, ...] = ()
    layers: tuple[LayerSimilarity, ...] = ()
    n_regions: int = 0


def without_random_weights(why: NotTested) -> RandomWeights:
    """Say of every number why it is not there."""
    return RandomWeights(
        depends_on_model=why,
        randomized_similarity=why,
        raw_similarity=why,
        baseline_similarity=why,
        between_randomized=why,
    )


class WeightTest:
    """Compares the maps of some regions with those of the model with random weights.

    `codes`, `before`: (n, L): the regions, and their maps by the model as it is.
    """

    def __init__(self, context: AuditContext, notes: Notes) -> None:
        assert context.model is not None
        self._context, self._notes, self._warnings = context, notes, notes.warnings
        rows = context.rows(context.settings.n_small)
        codes = context.codes(rows)
        both = context.in_windows(np.concatenate([codes, context.shuffled(codes)]), rows)
        self._randomizer = Randomizer(context.model, both, context.rng, context.device)
        self._stages = spread_evenly(len(self._randomizer.layers), N_RANDOM_LAYERS)
        n_regions = self._plan(passes_per_window(context, codes[:1]))
        self.rows = context.rows(n_regions)
        self.codes = context.codes(self.rows)
        self._known = self.codes != N_CODE
        self._shuffled = context.shuffled(self.codes)
        self.before = context.attribute(self.codes, rows=self.rows)
        self._rows: list[dict[str, Any]] = []

    def run(self) -> RandomWeights:
        """Make weights random, all of them and layer by layer."""
        reason = self._why_not()
        if reason is not None:
            return without_random_weights(self._notes.not_tested(reason))
        layers = self._randomizer.layers
        looks = [self._look("all", len(layers), layers, draw) for draw in range(N_RANDOMIZATIONS)]
        found = [look for look in looks if look is not None]
        if not found:
            why = "With random weights the model gives no finite map, so nothing is compared with it."
            return without_random_weights(self._notes.not_tested(why))
        after, of_shuffles = [list(maps) for maps in zip(*found, strict=True)]
        comparison = Comparison(self.before, after, of_shuffles, self._known)
        for stage in self._stages:
            if stage < len(layers):
                self._look("cascade", stage, layers[:stage])
            if len(layers) > 1:
                self._look("independent", stage, layers[stage - 1 : stage])
        return self._judged(comparison, after)

    @property
    def table(self) -> pd.DataFrame:
        """What every random model gave, with `COLUMNS`."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS)).astype(COLUMNS)

    def _plan(self, n_passes: int) -> int:
        """Say how many regions can be looked at; leaves the stages out where they would be too few."""
        n_small = self._context.settings.n_small
        n_maps = 1 + 2 * N_RANDOMIZATIONS + 2 * len(self._stages)
        n_regions = MAX_RANDOM_PASSES // (n_passes * n_maps)
        if n_regions < min(MIN_REGIONS, n_small):
            self._stages = []
            n_regions = MAX_RANDOM_PASSES // (n_passes * (1 + 2 * N_RANDOMIZATIONS))
        return min(max(n_regions, 1), n_small)

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
        """Note how alike a random model's maps are; return them, and where all is random those of shuffles too.

        The random model has other draws of references and noise, since maps that share them are alike for that.
        """
        shuffles = self._shuffled if kind == "all" else self._shuffled[:0]
        try:
            with self._randomizer.randomized(layers, draw) as model:
                both = np.concatenate([self.codes, shuffles])
                maps = self._context.attribute(both, model=model, draw=1, rows=self.rows)
        except (ModelError, MethodError):  # infinite values, or a structure that the method cannot explain
            return None
        n = len(self.codes)
        alike = map_similarity(self.before, maps[:n], self._known)
        means = {name: mean_known(values) for name, values in alike.items()}
        label = self._randomizer.label(layers[-1])
        sizes = {"n_layers": len(layers), "n_regions": n}
        self._rows.append({"kind": kind, "stage": stage, "layer": label, "seed": draw, **sizes, **means})
        return maps[:n], maps[n:]

    def _judged(self, comparison: Comparison, after: Sequence[Maps]) -> RandomWeights:
        measure, context = comparison.strongest, self._context
        alike = comparison.excess(measure)
        assert alike is not None  # some map is not flat
        pairs = [map_similarity(a, b, self._known)[measure] for a, b in itertools.pairwise(after)]
        raw, other = mean_known(comparison.same[measure]), mean_known(comparison.shuffled[measure])
        self._warn(alike, raw or 0.0, other or 0.0)
        return RandomWeights(
            depends_on_model=alike <= context.settings.max_randomized_similarity,
            randomized_similarity=alike,
            randomized_ci=comparison.interval(measure, context.rng("random weights"), context.settings),
            measure=measure,
            raw_similarity=measured(raw, "the maps are flat"),
            baseline_similarity=measured(other, "the maps of shuffles are flat"),
            between_randomized=measured(
                mean_known(np.concatenate(pairs)) if pairs else None, "there is one random model only"
            ),
            cascade=self._listed("cascade", "all"),
            layers=self._listed("independent"),
            n_regions=len(self.codes),
        )

    def _warn(self, alike: float, raw: float, baseline: float) -> None:
        threshold = self._context.settings.max_randomized_similarity
        if alike > threshold:
            text = (
                f"The map hardly depends on the model: with random weights it is still {alike:.2f} like the map of the "
                f"trained model (1: the same; at most {threshold:g} expected), so it does not show what the model "
                "learned."
            )
            if self._context.explainer is not None and alike >= 1 - SAME:
                text += " It is the very same map: check that the explainer uses the model that it is given."
            self._warnings.append(text)
        elif raw > threshold:
            self._warnings.append(
                f"With random weights the map stays similar ({raw:.2f}), but hardly more so than with that of shuffles "
                f"({baseline:.2f}): what they share is where in the window the model looks."
            )
        if len(self.codes) == 1:
            self._warnings.append("Random weights were tried on one region only, so there is no confidence interval.")

    def _listed(self, *kinds: str) -> tuple[LayerSimilarity, ...]:
        rows = [row for row in self._rows if row["kind"] in kinds and row["seed"] == 0] if self._stages else []
        rows = [row if self._context.signed else row | {"signed_similarity": None} for row in rows]
        names = [one.name for one in fields(LayerSimilarity)]
        rows = sorted(rows, key=lambda row: row["stage"])
        return tuple(LayerSimilarity(**{name: row[name] for name in names}) for row in rows)


def passes_per_window(context: AuditContext, codes: Codes) -> int:
    """Count the passes that attributing a window takes; an explainer of the caller's is tried on codes (1, L)."""
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
