"""Faithfulness: whether the bases that a map names are those that the model uses.

Five questions, each against what a map that knows nothing would give: do bases removed (deletion) and restored
(insertion) in the order of the map change the output faster than in random order, in the reverse order, and in the
order of their distance to the centre, which any model of centred regions favours (:mod:`seqsal.auditing.curves`); do
whole
peaks change it more than as many bases elsewhere (:mod:`seqsal.auditing.peak_effects`); does the map agree with the
effect
of losing each base, and does it foretell what small sets of substitutions do
(:mod:`seqsal.auditing.local_agreement`); and
do attributions sum to what their method promises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.auditing.context import AuditContext
from seqsal.auditing.curve_summary import CurveSummary, areas_by_region, empty_values, rounding_of
from seqsal.auditing.curves import ReplacementCurves, replacement_curves
from seqsal.auditing.local_agreement import LocalAgreement, local_agreement
from seqsal.auditing.peak_effects import PeakEffects, peak_effects
from seqsal.auditing.section import AuditSection
from seqsal.auditing.stats import mean_interval

__all__ = ["audit_faithfulness"]

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
REGION_COLUMNS = ["chrom", "start", "end", "name"]
SIGN_WORDS = {"pos": "positive", "neg": "negative"}


def audit_faithfulness(context: AuditContext) -> AuditSection:
    """Test whether the bases that the map names are those that the model uses.

    Parameters
    ----------
    context
        What is audited. Without a model only the sums of the attributions are looked at.

    Returns
    -------
    AuditSection
        `values` are in units of the attributed output unless said otherwise, and None where not defined:

        - `deletion`, `insertion`: mean area under the curve by the map (`auc`) and by `random_auc`, `reverse_auc` and
          `centre_auc`; `difference` to random order, positive for a faithful map (random − map for deletion, map −
          random for insertion), its `ci`, `share_better` (regions where the map beats random order) and `normalised`
          (sum of the differences over the size of the sum of f(x) − f(shuffle), no unit, with `normalised_ci`; None
          where on average regions are predicted as their shuffles are); `against` has difference, ci and share_better
          for each baseline; and `n_regions`.
        - `peaks`: for `positive` and `negative` ones the `change` of the output when they are replaced, that of
          matched spans (`random_change`), and their `difference`, positive for a faithful map, with its `ci`.
        - `ism_spearman`, `ism_pearson` with `…_ci`: mean correlation with the effect of losing each base;
          `ism_share_below`, regions below `min_ism_spearman`; `ism_n_regions` and `ism_n_undefined`.
        - `infidelity` and `permuted_infidelity`, from 0 to 1, and `infidelity_ci`.
        - `completeness_error`: median share of the promised sum that the attributions miss.
        - `order`: `attribution`, or `magnitude` for a map without signs; `n_untestable`: sampled regions that no
          shuffle changes; `n_passes`: sequences that were predicted.

        `tables`: `deletion` and `insertion` (order, share of the bases, mean, lo, hi), `faithfulness_regions`, and
        `ism_worst`, the regions of least agreement.
    """
    return _Audit(context).section()


class _Audit:
    """One audit, with what its parts share."""

    def __init__(self, context: AuditContext) -> None:
        self.context, self.settings = context, context.settings
        self.signed = bool(context.attr.attrs.get("signed", True))
        self.values: dict[str, Any] = {}
        self.tables: dict[str, pd.DataFrame] = {}
        self.warnings: list[str] = []
        self.untested: list[str] = []

    def section(self) -> AuditSection:
        self.values |= {"order": "attribution" if self.signed else "magnitude", "n_untestable": 0, "n_passes": 0}
        if self.context.model is None:
            self.untested.append(
                "Without the model, deletion, insertion, peaks and in-silico mutagenesis could not be tested."
            )
            self._report_curves(None)
            self._report_peaks({}, 0.0)
            self._report_local(None)
        else:
            self._ask_model()
        self._report_completeness()
        return AuditSection("faithfulness", self.values, self.tables, tuple(self.warnings), tuple(self.untested))

    def _ask_model(self) -> None:
        context, settings = self.context, self.settings
        sampled = context.rows(settings.n_regions)
        rows = self._testable(sampled)
        curves = self._curves(rows) if len(rows) else None
        rounding = 0.0 if curves is None else rounding_of(curves)
        effects = {}
        if curves is not None:
            effects = peak_effects(context, rows, context.codes(rows), curves.prediction)
        local = local_agreement(context, signed=self.signed, rounding=rounding)
        self._report_curves(curves)
        self._report_peaks(effects, rounding)
        self._report_local(local)
        parts = [part for part in (curves, *effects.values(), local) if part is not None]
        self.values["n_untestable"] = len(sampled) - len(rows)
        self.values["n_passes"] = int(sum(part.n_passes for part in parts))
        self.tables["faithfulness_regions"] = self._region_table(rows, curves, effects, local)

    def _testable(self, rows: Rows) -> Rows:
        """Leave out regions that no shuffle changes: all N, of one base only, or of a few bases."""
        codes = self.context.codes(rows)
        changes = np.zeros(len(rows), dtype=bool)
        for draw in range(self.settings.n_draws):
            changes |= (self.context.shuffled(codes, draw) != codes).any(axis=1)
        n_left_out = int((~changes).sum())
        if n_left_out:
            self.untested.append(
                f"{n_left_out} of {len(rows)} regions could not be tested by deletion and insertion, because "
                "shuffling does not change them (unknown bases, or a single repeat)."
            )
        return rows[changes]

    def _curves(self, rows: Rows) -> ReplacementCurves:
        context, settings = self.context, self.settings
        codes, track = context.codes(rows), context.track(rows).astype(np.float64)
        curves = replacement_curves(
            context.predict,
            codes,
            track if self.signed else np.abs(track),
            (context.shuffled(codes, draw) for draw in range(settings.n_draws)),
            context.rng("faithfulness orders"),
            settings.n_steps,
            progress=context.progress,
        )
        if np.abs(curves.outputs - curves.prediction[:, None]).max() <= rounding_of(curves):
            self.warnings.append(
                "The prediction does not change when every base is replaced: the model ignores its input here, and no "
                "map of it can be right or wrong."
            )
            curves.outputs[:] = curves.prediction[:, None]
        return curves

    def _report_curves(self, curves: ReplacementCurves | None) -> None:
        for kind in ("deletion", "insertion"):
            self.values[kind] = empty_values()
        if curves is None:
            return
        if len(curves.prediction) == 1:
            self.untested.append("With one region alone there are no confidence intervals.")
        for kind in ("deletion", "insertion"):
            rng = self.context.rng(f"faithfulness {kind} bootstrap")
            summary = CurveSummary(curves, kind, self.settings, rng)
            self.values[kind] = summary.values()
            self.tables[kind] = summary.table()
        if all(self.values[kind]["normalised"] is None for kind in ("deletion", "insertion")):
            self.untested.append(
                "How large the differences are for the model could not be said, because on average it predicts the "
                "regions as it predicts their shuffles."
            )
        self._warn_of_curves()

    def _warn_of_curves(self) -> None:
        words = {
            "deletion": "Replacing bases in the order of the map does not lower the prediction faster than",
            "insertion": "Restoring bases in the order of the map does not raise the prediction faster than",
        }
        baselines = {"random": "random order", "centre": "going from the centre outwards"}
        for kind, start in words.items():
            for order, name in baselines.items():
                found = self.values[kind]["against"].get(order)
                if found and found["ci"] and found["ci"][0] <= 0:
                    low, high = found["ci"]
                    self.warnings.append(
                        f"{start} {name} (difference {found['difference']:.3g}, confidence interval {low:.3g} to "
                        f"{high:.3g})."
                    )

    def _report_peaks(self, effects: dict[str, PeakEffects], rounding: float) -> None:
        self.values["peaks"] = {}
        for sign, word in SIGN_WORDS.items():
            found = effects.get(sign)
            summary = None if found is None else found.summarise(self.context, self.signed, rounding)
            self.values["peaks"][word] = summary
            if summary is None or (sign == "neg" and not self.signed):
                continue
            if not summary["n_regions"]:
                self.untested.append(f"No {word} peaks could be replaced: none lies within a tested region.")
            elif summary["ci"] and summary["ci"][0] <= 0:
                verb = "lower" if sign == "pos" else "raise"
                self.warnings.append(
                    f"Replacing whole {word} peaks does not {verb} the prediction more than replacing as many bases "
                    f"elsewhere in the same {summary['n_regions']} regions."
                )

    def _report_local(self, local: LocalAgreement | None) -> None:
        found = {name: _defined(getattr(local, name, None)) for name in ("spearman", "pearson", "infidelity")}
        permuted = _defined(getattr(local, "permuted_infidelity", None))
        for name, values in found.items():
            key = name if name == "infidelity" else f"ism_{name}"
            self.values[key] = _mean(values)
            self.values[f"{key}_ci"] = mean_interval(values, self.context.rng(f"{key} bootstrap"), self.settings)
        self.values["permuted_infidelity"] = _mean(permuted)
        spearman, least = found["spearman"], self.settings.min_ism_spearman
        self.values["ism_share_below"] = _mean((spearman < least).astype(np.float64))
        self.values["ism_n_regions"] = len(spearman)
        self.values["ism_n_undefined"] = 0 if local is None else len(local.rows) - len(spearman)
        if local is not None:
            self._comment_on_local(local)
            self.tables["ism_worst"] = self._worst(local)

    def _comment_on_local(self, local: LocalAgreement) -> None:
        rho, least, n_undefined = (self.values[key] for key in ("ism_spearman", "ism_share_below", "ism_n_undefined"))
        if n_undefined:
            self.untested.append(
                f"In {n_undefined} of {len(local.rows)} regions map or in-silico mutagenesis is the same at every "
                "base, so that they cannot be correlated."
            )
        if self.context.attr.method == "ism":
            self.untested.append("The map is in-silico mutagenesis itself, so that agreeing with it proves nothing.")
        if rho is not None and rho < self.settings.min_ism_spearman:
            self.warnings.append(
                f"The map hardly agrees with what single substitutions do (mean rank correlation {rho:.2f}, below "
                f"{self.settings.min_ism_spearman:g} in {least:.0%} of the regions)."
            )
        if not self.signed:
            self.untested.append("The map has no signs, so that it foretells no changes: infidelity is not defined.")

    def _report_completeness(self) -> None:
        self.values["completeness_error"] = None
        stored = self.context.attr.completeness_error
        errors = _defined(None if stored is None else np.asarray(stored, dtype=np.float64))
        if len(errors):
            median = float(np.median(errors))
            self.values["completeness_error"] = median
            if median > self.settings.max_completeness_error:
                self.warnings.append(
                    f"The attributions miss {median:.1%} of the sum that their method promises, in the median region."
                )

    def _region_columns(self, rows: Rows) -> pd.DataFrame:
        regions = self.context.attr.regions.iloc[rows][REGION_COLUMNS].reset_index(drop=True)
        regions.insert(0, "row", rows)
        return regions

    def _region_table(
        self, rows: Rows, curves: ReplacementCurves | None, effects: dict[str, PeakEffects], local: LocalAgreement
    ) -> pd.DataFrame:
        every = np.union1d(self.context.rows(self.settings.n_regions), local.rows)
        table = self._region_columns(every)
        columns = {name: (local.rows, getattr(local, name)) for name in ("spearman", "pearson", "infidelity")}
        columns = {name if name == "infidelity" else f"ism_{name}": column for name, column in columns.items()}
        if curves is not None:
            columns = {name: (rows, values) for name, values in areas_by_region(curves).items()} | columns
        for sign, found in effects.items():
            columns[f"{SIGN_WORDS[sign]}_peaks_change"] = rows[found.index], found.change
            columns[f"{SIGN_WORDS[sign]}_peaks_random_change"] = rows[found.index], found.random_change
        for name, (where, values) in columns.items():
            table[name] = pd.Series(values, index=where, dtype=np.float64).reindex(every).to_numpy()
        return table

    def _worst(self, local: LocalAgreement) -> pd.DataFrame:
        table = self._region_columns(local.rows).assign(ism_spearman=local.spearman, ism_pearson=local.pearson)
        table = table[np.isfinite(local.spearman)].sort_values("ism_spearman", kind="stable")
        return table.head(self.settings.n_worst).reset_index(drop=True)


def _defined(values: Values | None) -> Values:
    return np.zeros(0) if values is None else values[np.isfinite(values)]


def _mean(values: Values) -> float | None:
    return float(values.mean()) if len(values) else None
