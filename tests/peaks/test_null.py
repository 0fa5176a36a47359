"""P-values: exact where they can be, against known tails, and honest about few controls."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from track_toys import make_attr, noise

from seqsal.errors import StoreError
from seqsal.peaks import call_peaks
from seqsal.peaks.candidates import UNMEASURED, CandidateRules
from seqsal.peaks.controls import fit_null
from seqsal.peaks.null import Evidence, NullDistribution, SignNull, dispersion, fit_tail, window_levels

RULES = CandidateRules()


def each_its_own(heights: np.ndarray) -> NullDistribution:
    return NullDistribution.fit(heights, np.arange(len(heights)), len(heights))


@pytest.mark.parametrize(
    "law",
    [stats.expon(), stats.uniform(), stats.genpareto(0.3), stats.norm()],
    ids=["exponential", "uniform", "pareto", "normal"],
)
def test_tail_follows_exact_quantiles(law: stats.rv_continuous) -> None:
    n = 5000
    heights = law.ppf((np.arange(n) + 0.5) / n)  # the sample without sampling noise
    null = each_its_own(heights)
    for p in (0.3, 0.1, 0.03, 1e-2, 4e-3):
        assert null.p_values(np.array([law.isf(p)]))[0] == pytest.approx(p, rel=0.06)  # one more count in 5000 p
    assert null.p_values(np.array([law.isf(1e-3)]))[0] == pytest.approx(1e-3, rel=0.7)  # within the last five controls
    tiny = null.p_values(np.array([law.isf(1e-5)]))[0]
    assert 1e-5 < tiny < 100e-5  # beyond the controls: too large rather than too small, most for a bounded law


def test_posterior_average_has_the_closed_form_of_a_known_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqsal.peaks import null as tail

    monkeypatch.setattr(tail, "SHAPES", np.zeros(1))
    monkeypatch.setattr(tail, "LOG_SCALES", np.linspace(-6, 6, 2001))
    exceedances = np.array([0.2, 1.0, 0.5, 2.3, 0.7])
    y = np.array([0.0, 0.5, 2.0, 10.0, 50.0])
    expected = (1 + y / exceedances.sum()) ** -len(exceedances)
    np.testing.assert_allclose(fit_tail(exceedances).survival(y), expected, rtol=1e-2)


def test_p_values_fall_with_height_and_never_to_zero(rng: np.random.Generator) -> None:
    null = each_its_own(rng.exponential(size=300))
    p = null.p_values(np.concatenate([[0], np.geomspace(1e-3, 1e12, 2000)]))
    assert (np.diff(p) <= 1e-15).all()
    assert p[0] == 1
    assert p[-1] > 0


def test_bulk_is_the_count_of_controls() -> None:
    heights = np.arange(1, 101, dtype=float)
    p = each_its_own(heights).p_values(np.array([0.5, 1.0, 50.0, 50.5]))
    np.testing.assert_allclose(p, np.array([101, 101, 52, 51]) / 101)


def test_few_or_equal_controls_fall_back_to_counts() -> None:
    assert each_its_own(np.zeros(0)).p_values(np.array([5.0])) == pytest.approx([1.0])
    assert each_its_own(np.array([1.0, 2, 3])).p_values(np.array([5.0])) == pytest.approx([0.25])
    assert each_its_own(np.ones(99)).p_values(np.array([2.0])) == pytest.approx([0.01])


def test_p_values_are_uniform_under_the_null_even_with_few_controls(rng: np.random.Generator) -> None:
    n_sets = 1000
    p = np.array([each_its_own(rng.exponential(size=60)).p_values(rng.exponential(size=1))[0] for _ in range(n_sets)])
    for level in (0.2, 0.05, 0.01, 0.003):
        share = (p <= level).mean()
        limit = stats.binom.isf(0.001, n_sets, level) / n_sets
        assert share <= limit


def test_clusters_make_the_tail_less_sure(rng: np.random.Generator) -> None:
    heights = rng.exponential(size=400)
    tight = NullDistribution.fit(heights, np.argsort(np.argsort(heights)) // 40, 10)
    spread = NullDistribution.fit(heights, np.arange(400) % 10, 10)
    far = np.array([3 * heights.max()])
    assert tight.p_values(far) > 2 * spread.p_values(far)
    assert dispersion(rng.poisson(3, size=5000)) == pytest.approx(1, abs=0.1)
    assert dispersion(np.array([30, 0, 0])) == 30
    assert dispersion(np.array([7])) == 1


def test_fit_null_is_independent_of_chunks_and_skips_unknown_bases(rng: np.random.Generator) -> None:
    track = noise(rng, 12, 300)
    whole = fit_null(make_attr(track[:1], controls=track), RULES)
    small = fit_null(make_attr(track[:1], controls=track), RULES, chunk_bp=700)
    for sign in ("pos", "neg"):
        np.testing.assert_array_equal(whole[sign].distribution.heights, small[sign].distribution.heights)
        x = np.linspace(0, 5, 50)
        np.testing.assert_array_equal(whole[sign].distribution.p_values(x), small[sign].distribution.p_values(x))
    codes = np.zeros(track.shape, np.uint8)
    codes[6:] = 4
    masked = fit_null(make_attr(track[:1], controls=track, control_codes=codes), RULES)
    half = fit_null(make_attr(track[:1], controls=track[:6]), RULES)
    np.testing.assert_array_equal(masked["pos"].distribution.heights, half["pos"].distribution.heights)


def test_very_many_controls_are_thinned_evenly(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    track = noise(rng, 20, 100)
    monkeypatch.setattr("seqsal.peaks.controls.MAX_CONTROL_BP", 700)
    thinned = fit_null(make_attr(track[:1], controls=track), RULES)
    monkeypatch.undo()
    expected = fit_null(make_attr(track[:1], controls=track[::3]), RULES)
    np.testing.assert_array_equal(thinned["neg"].distribution.heights, expected["neg"].distribution.heights)


def test_controls_that_cannot_serve_are_refused() -> None:
    track = np.ones((1, 20))
    for controls in (None, np.zeros((0, 20))):
        with pytest.raises(StoreError, match=r"no shuffled controls.*seqsal attribute … --controls N"):
            call_peaks(make_attr(track, controls=controls))
    with pytest.raises(StoreError, match="controls are equal"):
        fit_null(make_attr(track, controls=np.zeros((3, 20))), RULES)
    with pytest.raises(StoreError, match="controls have values that are not finite"):
        fit_null(make_attr(track, controls=np.full((3, 20), np.nan)), RULES)


def test_strengths_are_relative_to_the_shuffles_of_their_window(rng: np.random.Generator) -> None:
    """From the definition; windows that nothing is known of, and what was not asked about, stay as they are."""
    n, home = 600, np.append(np.repeat(np.arange(3), 40), -1)
    control = np.append(rng.integers(120, size=n - 4), [120] * 4)
    strengths = rng.exponential(size=n) * np.array([1.0, 3.0, 1.0, 1.0])[home[control]]
    strengths[::7] -= UNMEASURED
    asked = strengths > -UNMEASURED / 2

    def strongest(values: NDArray[np.float64]) -> float:
        return float(np.mean(np.sort(values)[-int(np.ceil(len(values) / 10)) :]))

    levels = window_levels(strengths, control, home)
    for window in range(3):
        share = strongest(strengths[asked & (home[control] == window)]) / strongest(strengths[asked])
        assert levels[window] == pytest.approx((40 * share + 20) / 60)
    assert levels[1] > 1.1 > 0.9 > levels[0]
    profiles = np.where(asked, strengths, 1.0)[:, None]
    answers = np.where(asked, 0.0, np.nan)[:, None]
    null = SignNull.fit(profiles, control, 121, answers, (1,), home)
    assert null.levels is not None
    features = np.column_stack([[2.0] * 4, [0.0, 0.0, 0.0, np.nan]])
    found = null.strengths(Evidence(features, np.array([0, 1, 7, 1]), *np.zeros((2, 4), dtype=np.int64)))
    plain = 2 / null.ruler.reference[0]
    np.testing.assert_allclose(found, [plain / null.levels[0], plain / null.levels[1], plain, plain - UNMEASURED])
