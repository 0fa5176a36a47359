"""The local caveat: how far from the sequence that it is about a map still says what the model does.

A map is a linear picture of the model around one sequence X: substituting bases should change the prediction by the
sum of what the map gives to them,

    Δ(X') = Σ_i h[x'_i, i] − h[x_i, i],

h the scores of all four bases (a first-order Taylor expansion for gradients; the single effects themselves for
in-silico mutagenesis). It is probed at real sequences X', never at blends of bases, which no genome has: double and
triple substitutions, among the top positions of the map and anywhere, and paths to dinucleotide shuffles of X, on which
more and more of the bases that differ are replaced, in random order. With R = f(X') − f(X), the picture fails at a
*cliff*, where R is large and Δ explains little of it or has the other sign, and on a *plateau*, where Δ is large and
little of it happens. What is large and little say `LARGE_CHANGE` and
`MAX_UNEXPLAINED`.

*Local linearity* is judged by the double and triple substitutions; the paths tell the *reach* of the picture.
*Additivity* leaves the map out: it sets R against the sum of the real effects of the single substitutions. What that
sum misses is epistasis, interaction of bases in the model, which no map of one number a base can show. None of the
three is *completeness*, the sum over the whole window that a method promises.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.content import Codes, Flags, Ints, Values
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import NOT_IN_JSON, Interval, of_regions
from seqsal.auditing.stats import mean_known, number, pearson, share_interval
from seqsal.sequence.codes import N_CODE

__all__ = ["ABOUT", "LARGE_CHANGE", "Locality", "linear_picture", "make_probes", "probe_locality", "sum_changes"]

ABOUT = "The map is about this sequence and its neighbours"
LOCAL = ("gradient_x_input", "smoothgrad", "ism")  # promise what a substitution does, to first order
CHUNK_BP = 1 << 25  # codes predicted at a time
N_COMBINATIONS = 5  # double substitutions, and triple ones, among the top positions of the map and elsewhere
LARGE_CHANGE = 0.25  # of the model's range: a change of the prediction that the map should account for
MAX_UNEXPLAINED = 0.25  # the map fails where the smaller of real and linear change is below this share of the larger
MAX_FAILING_SHARE = 0.1  # of the changed sequences of a region at which its map may fail
SIZES = {"double": 2, "triple": 3}
PATH_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the bases in which the shuffle differs
TOP_SHARE = 0.05  # of the window: the map's top positions
MIN_TOP_BP = 10


class LinearPicture(NamedTuple):
    """What a map says of every substitution.

    `changes`: (n, 4, L), in units of the prediction; 0 for the base that is there. `kind`: `map`: scores of all four
    bases, in their own units, by a method that promises what single substitutions do to first order (gradients,
    in-silico mutagenesis). `scaled_map`: the same on the scale that fits the real single effects best, for methods that
    promise another thing, such as a sum. `scaled_track`: any substitution loses what the map gives to the base that is
    there, on the best scale; which base is put in place it cannot know, and it fails more often for that.
    `single_effects`: the real effects, because the map has no signs.
    """

    changes: Values
    kind: str


@dataclass(frozen=True)
class Failing:
    """Share of the regions where the linear picture fails too often, and its interval.

    The share is None where no sequence could be changed, the interval with fewer than two regions.
    """

    share_of_regions: float | None
    ci: Interval | None


@dataclass(frozen=True)
class Additivity:
    """How well the sum of single effects gives the real change: r, and what it misses of the model's range."""

    pearson: float | None
    median_missed: float | None
    mean_missed: float | None


@dataclass(frozen=True)
class Locality:
    """Where the linear picture holds.

    `share_of_regions`, `ci`, `substitutions`, `paths`: where it fails: at all changed sequences, at substitutions, on
    paths to shuffles. `n_probes`, `n_cliffs`, `n_plateaus`: sequences tried, and failures of either kind. `picture`:
    kind of the :class:`LinearPicture`. `additivity`: by kind of change. `regions`: one row a region, the worst first,
    with the real change and what the map adds up to of its worst failure. `probes`: one row a kind and place, with the
    correlations of the real change with the linear one and with the sum of single effects. `warning`: the local caveat.
    """

    share_of_regions: float | None
    ci: Interval | None
    substitutions: Failing
    paths: Failing
    n_regions: int
    n_probes: int
    n_cliffs: int
    n_plateaus: int
    picture: str
    additivity: dict[str, Additivity]
    regions: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, metadata=NOT_IN_JSON)
    probes: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, metadata=NOT_IN_JSON)
    warning: str = field(default="", metadata=NOT_IN_JSON)


@dataclass(frozen=True)
class _Changes:
    """Of P probes of n regions, each (P, n): real and linear changes, sums of single effects, bases replaced."""

    names: list[tuple[str, str]]
    real: Values
    linear: Values
    additive: Values
    n_replaced: Ints
    scale: float

    @property
    def tried(self) -> Flags:
        """Which probes change a sequence."""
        return self.n_replaced > 0

    @cached_property
    def cliffs(self) -> Flags:
        """Where a large change is not in the picture, (P, n)."""
        real = np.abs(self.real)
        unexplained = self.linear * np.sign(self.real) < MAX_UNEXPLAINED * real
        return (real >= LARGE_CHANGE * self.scale) & unexplained

    @cached_property
    def plateaus(self) -> Flags:
        """Where little happens of a large change in the picture, (P, n); never a cliff."""
        real, linear = np.abs(self.real), np.abs(self.linear)
        return (linear >= LARGE_CHANGE * self.scale) & (real < MAX_UNEXPLAINED * linear) & ~self.cliffs

    def share_failing(self, probes: Flags | slice, confidence: float) -> Failing:
        """Share of the regions in which the picture fails at more than `MAX_FAILING_SHARE` of some probes."""
        n_tried = self.tried[probes].sum(0)
        fails = (self.cliffs | self.plateaus)[probes].sum(0) > MAX_FAILING_SHARE * n_tried
        n, n_failing = int((n_tried > 0).sum()), int(fails[n_tried > 0].sum())
        return Failing(n_failing / n if n else None, share_interval(n_failing, n, confidence))


def probe_locality(context: AuditContext) -> Locality:
    """Probe the linear picture of the `n_small` regions; the model's range has to be above 0.

    Takes, for each region, 4 · `N_COMBINATIONS` + 5 · `n_draws` + 1 forward passes in addition to the shared in-silico
    mutagenesis; twice that with averages over strands.
    """
    settings = context.settings
    rows = context.rows(settings.n_small)
    picture = linear_picture(context, settings.n_small)
    changes = _measure(context, rows, picture)
    near = np.array([kind in SIZES for kind, _ in changes.names])
    everywhere, substitutions, paths = (
        changes.share_failing(probes, settings.confidence) for probes in (slice(None), near, ~near)
    )
    return Locality(
        everywhere.share_of_regions,
        everywhere.ci,
        substitutions,
        paths,
        n_regions=len(rows),
        n_probes=int(changes.tried.sum()),
        n_cliffs=int(changes.cliffs.sum()),
        n_plateaus=int(changes.plateaus.sum()),
        picture=picture.kind,
        additivity=_additivity(changes),
        regions=_region_table(context, rows, changes),
        probes=_probe_table(changes),
        warning=_caveat(substitutions, paths, picture.kind, settings.confidence),
    )


def linear_picture(context: AuditContext, n: int) -> LinearPicture:
    """Say what the map of `rows(n)` predicts for every substitution.

    Scores of all four bases that were not kept are computed again, one attribution a window; see :class:`LinearPicture`
    for what is done where there are none.
    """
    attr, rows, effects = context.attr, context.rows(n), context.substitutions(n)
    if not context.signed:
        return LinearPicture(effects.astype(np.float64), "single_effects")
    codes = context.codes(rows)
    there = np.minimum(codes, N_CODE - 1).astype(np.int64)[:, None]
    scores = context.hypothetical(rows)
    if scores is None:
        changes = -context.track(rows).astype(np.float64)[:, None] * (np.arange(4)[:, None] != there)
    else:
        changes = scores.astype(np.float64) - np.take_along_axis(scores, there, axis=1)
    changes *= (codes != N_CODE)[:, None]
    if scores is not None and attr.method in LOCAL:
        return LinearPicture(changes, "map")
    size = (changes * changes).sum()
    scale = (changes * effects).sum() / size if size > 0 else 0.0
    return LinearPicture(scale * changes, "scaled_track" if scores is None else "scaled_map")


def sum_changes(changes: NDArray[np.floating], codes: Codes, changed: Codes) -> Values:
    """Sum changes (n, 4, L) over the bases in which `changed` (n, L) differs from `codes` (n, L); (n,)."""
    put = np.minimum(changed, N_CODE - 1).astype(np.int64)[:, None]
    at = np.take_along_axis(changes, put, axis=1)[:, 0]
    return np.where(changed != codes, at, 0.0).sum(axis=1, dtype=np.float64)


def _measure(context: AuditContext, rows: Ints, picture: LinearPicture) -> _Changes:
    codes, effects = context.codes(rows), context.substitutions(context.settings.n_small)
    before = context.predict(codes, rows=rows)
    names: list[tuple[str, str]] = []
    real: list[Values] = []
    sums: list[tuple[Values, Values, Ints]] = []
    probes, n_each = make_probes(context, rows), max(1, CHUNK_BP // codes.size)
    while batch := list(itertools.islice(probes, n_each)):
        after = context.predict(np.concatenate([probe.codes for probe in batch]), rows=rows)
        real.append(after.reshape(len(batch), len(codes)) - before)
        for probe in batch:
            names.append((probe.kind, probe.place))
            linear, additive = (sum_changes(each, codes, probe.codes) for each in (picture.changes, effects))
            sums.append((linear, additive, (probe.codes != codes).sum(1)))
    linear, additive, n_replaced = (np.stack(column) for column in zip(*sums, strict=True))
    return _Changes(names, np.concatenate(real), linear, additive, n_replaced, context.effect_scale)


def _region_table(context: AuditContext, rows: Ints, changes: _Changes) -> pd.DataFrame:
    failing, n_tried = changes.cliffs | changes.plateaus, changes.tried.sum(0)
    off = np.where(failing, np.abs(changes.real - changes.linear), -1.0)
    worst, each = off.argmax(0), np.arange(len(rows))
    fails = failing.any(0)
    names = np.array([f"{kind}, {place}" for kind, place in changes.names], dtype=object)
    table = context.region_table(rows).assign(
        n_probes=n_tried,
        n_cliffs=changes.cliffs.sum(0),
        n_plateaus=changes.plateaus.sum(0),
        failing_share=failing.sum(0) / np.maximum(n_tried, 1),
        worst_kind=np.where(fails, names[worst], ""),
        worst_change=np.where(fails, changes.real[worst, each], np.nan),
        worst_linear=np.where(fails, changes.linear[worst, each], np.nan),
    )
    return table.iloc[np.lexsort((rows, -off.max(0), -table["failing_share"]))].reset_index(drop=True)


def _probe_table(changes: _Changes) -> pd.DataFrame:
    records = []
    for name in dict.fromkeys(changes.names):
        own = np.array([other == name for other in changes.names])
        used = changes.tried[own]
        real, linear, additive = (values[own][used] for values in (changes.real, changes.linear, changes.additive))
        n = max(int(used.sum()), 1)
        records.append(
            {
                "kind": name[0],
                "place": name[1],
                "n_probes": int(used.sum()),
                "n_substitutions": changes.n_replaced[own].sum() / n,
                "cliffs": changes.cliffs[own].sum() / n,
                "plateaus": changes.plateaus[own].sum() / n,
                "linear_pearson": pearson(real, linear),
                "additive_pearson": pearson(real, additive),
                "additive_misses": _median(np.abs(real - additive) / changes.scale),
            }
        )
    return pd.DataFrame(records)


def _additivity(changes: _Changes) -> dict[str, Additivity]:
    result = {}
    for kind in (*SIZES, "path"):
        own = changes.tried & np.array([name == kind for name, _ in changes.names])[:, None]
        real, additive = changes.real[own], changes.additive[own]
        off = np.abs(real - additive) / changes.scale
        result[kind] = Additivity(pearson(real, additive), _median(off), mean_known(off))
    return result


def _median(values: Values) -> float | None:
    return number(np.median(values)) if len(values) else None


def _caveat(substitutions: Failing, paths: Failing, picture: str, confidence: float) -> str:
    """Say how far the picture holds: local linearity and reach, which is another thing than completeness."""
    near, far = ("interaction of bases",) * 2 if picture == "single_effects" else ("local linearity", "reach")
    tried = {
        f"with two or three substitutions ({near})": substitutions,
        f"on the way to a shuffled sequence ({far})": paths,
    }
    shares = {where: found.share_of_regions for where, found in tried.items() if found.share_of_regions is not None}
    if not shares:
        return f"{ABOUT}: how far it reaches could not be tried, because no base of these regions can be changed."
    failing = []
    for where, share in shares.items():
        ci = tried[where].ci
        in_words = "" if ci is None else f" ({confidence:.0%} CI {ci[0]:.0%}–{ci[1]:.0%})"
        failing += [f"in {of_regions(share)}{in_words} {where}"] if share else []
    adds = "the sum of single effects is" if picture == "single_effects" else "it adds up to"
    if not failing:
        return f"{ABOUT}: {adds} what the model does in all of the regions that were tried."
    adds = f"{adds} not" if picture == "single_effects" else "it does not add up to"
    holds = "".join(f"; {where} it {'is' if picture == 'single_effects' else 'does'}" for where, one in shares.items()
                    if not one)  # fmt: skip
    return f"{ABOUT}: {adds} what the model does {', and '.join(failing)}{holds}."


class Probe(NamedTuple):
    """A changed sequence of each of n regions, (n, L).

    `kind`: `double`, `triple` or `path`. `place`: `top` or `random`; of a path, the share of the bases replaced.
    """

    kind: str
    place: str
    codes: Codes


def make_probes(context: AuditContext, rows: Ints) -> Iterator[Probe]:
    """Make the changed sequences of some windows; unknown bases stay."""
    codes, size = context.codes(rows), np.abs(context.track(rows))
    known = codes != N_CODE
    n_top = min(max(MIN_TOP_BP, round(TOP_SHARE * codes.shape[1])), codes.shape[1])
    first = np.argsort(np.where(known, -size, np.inf), axis=1, kind="stable")[:, :n_top]
    top = np.zeros_like(known)
    np.put_along_axis(top, first, True, axis=1)
    rng = context.rng("locality")
    for (kind, k), (place, mask) in itertools.product(SIZES.items(), (("top", top & known), ("random", known))):
        for _ in range(N_COMBINATIONS):
            yield Probe(kind, place, _substitute(codes, mask, k, rng))
    for draw in range(context.settings.n_draws):
        shuffled = context.shuffled(codes, draw)
        order = _random_ranks(shuffled != codes, rng)
        n_different = (shuffled != codes).sum(1, keepdims=True)
        for share in PATH_SHARES:
            replaced = order < np.ceil(share * n_different)
            yield Probe("path", f"{share:g}", np.where(replaced, shuffled, codes))


def _substitute(codes: Codes, mask: Flags, k: int, rng: np.random.Generator) -> Codes:
    """Put another base at k random positions of a mask (n, L)."""
    other = (codes + rng.integers(1, 4, size=codes.shape, dtype=np.uint8)) % 4
    return np.where(_random_ranks(mask, rng) < k, other, codes)


def _random_ranks(mask: Flags, rng: np.random.Generator) -> Ints:
    """Rank the positions of a mask (n, L) in random order, from 0 in each row; L elsewhere."""
    keys = np.where(mask, rng.random(mask.shape), 2.0)
    ranks = np.empty(mask.shape, dtype=np.int64)
    np.put_along_axis(ranks, keys.argsort(axis=1), np.arange(mask.shape[1])[None], axis=1)
    return np.where(mask, ranks, mask.shape[1])
