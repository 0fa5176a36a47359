"""The sections of the page, each built by one function; a new kind of result is one more function and template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seqsal.auditing.result import REMEDY, RETRAIN
from seqsal.errors import counted
from seqsal.io.attributions import Attributions
from seqsal.io.rounding import rounding_text
from seqsal.io.tracks import member_size
from seqsal.motifs import MotifResult
from seqsal.peaks import statistic_text, unsettled_text
from seqsal.plot.curves import plot_deletions, plot_score_histogram, plot_training_history
from seqsal.plot.heatmap import plot_heatmap, plot_mean_track
from seqsal.plot.style import POSITIVE, inline_svg, one_line
from seqsal.plot.tracks import negative_peaks
from seqsal.report.audit import answers, artifact_table, draw_curves, draw_field, evidence, reason_rows, worst_cards
from seqsal.report.cards import MAX_PATTERNS, MAX_TARGETS, draw_cards, draw_patterns, draw_targets
from seqsal.report.inputs import ReportInputs
from seqsal.report.methods import methods_text
from seqsal.report.tables import SPACES, element_table, peak_table, region_table, rejected_table, show, usage_table
from seqsal.report.variants import draw_variants, variant_table

__all__ = ["SECTIONS", "Section", "sections_of"]

METHODS = {
    "gradient_x_input": "gradient × input: how steeply the output rises with each base that is there",
    "saliency": "saliency: how steeply the output changes with each base, without regard to direction",
    "smoothgrad": "SmoothGrad: gradients averaged over noisy copies of the input",
    "integrated_gradients": "integrated gradients: gradients summed along the way from a reference to the sequence",
    "expected_gradients": "expected gradients: integrated gradients averaged over many references",
    "deeplift_shap": "DeepLIFT/SHAP: differences from shuffled references, propagated back through the network",
    "ism": "in-silico mutagenesis: the prediction with the base that is there, less the mean over all four, each tried",
    "tiles": "tile perturbation: how much the output falls when a stretch is shuffled, shared out among its bases",
    "cam": "class activation map",
    "grad_cam": "Grad-CAM: activations of the last convolution weighted by their gradients",
}
METRICS = {
    "auroc": ("AUROC", "chance that a positive outscores a negative; 0.5 is guessing, 1 is perfect"),
    "average_precision": (
        "average precision",
        "mean precision over all recalls; guessing gives the share of positives",
    ),
    "pearson": ("Pearson r", "linear correlation of prediction and truth"),
    "spearman": ("Spearman ρ", "rank correlation of prediction and truth"),
}


_NULLS = {
    "shuffle": "shuffled sequences of the same composition",
    "background": "windows of the genome away from the regions, of the same G+C, repeats and Ns",
}
N_AGREEING = 1_000  # windows that the agreement of an ensemble is told of
_CONTROLS = {"shuffle": "shuffled", "background": "of the genome's background"}
MIN_PLOTTED = 5  # elements
MIN_AVERAGED, MOST_AVERAGED = 5, 2_000  # regions
COLORBAR = 0.2  # share of the width that matplotlib gives to a colour bar, which the mean above it leaves free


@dataclass(frozen=True)
class Section:
    """One section: where it is linked, what it says first, and the template that shows its context."""

    key: str
    title: str
    lead: str
    template: str
    context: Mapping[str, Any] = field(default_factory=dict)


def _section(key: str, title: str, lead: str, template: str = "", **context: Any) -> Section:
    return Section(key, title, lead, f"section_{template or key}.html", context)


def build_summary(inputs: ReportInputs) -> Section:
    """Say what was done and what came out, in numbers."""
    attr, peaks = inputs.attr, inputs.peaks
    n_negative = int(negative_peaks(peaks).sum()) if len(peaks) else 0
    rate = f" at q ≤ {peaks.attrs['fdr']:g}" if "fdr" in peaks.attrs else ""
    n_positive, note = len(peaks) - n_negative, f"peaks{rate} that {{}} the prediction"
    tiles = [
        {"value": show(len(attr)), "label": "Regions explained", "note": f"{show(attr.length)} bp each"},
        {"value": show(n_positive), "label": "Activating peaks", "note": note.format("raise"), "tone": "pos"},
        {"value": show(n_negative), "label": "Repressing peaks", "note": note.format("lower"), "tone": "neg"},
        *metric_tiles(inputs),
    ]
    space = attr.output_space
    return _section(
        "summary",
        "Summary",
        f"A model predicted {show(len(attr))} {'region' if len(attr) == 1 else 'regions'} of {show(attr.length)} bp, "
        "and each base was scored for its effect on the prediction. Runs of bases that stand out against "
        f"{_NULLS[attr.null]} are called peaks.",
        tiles=tiles,
        notice=_weaker(inputs),
        method=METHODS.get(attr.method, attr.method),
        unit=space,
        unit_text=SPACES.get(space, ""),
        facts=model_facts(inputs),
        training=training_figure(inputs),
        stopped=inputs.part("model").get("stopped"),
        curves=test_curves(inputs),
    )


def _weaker(inputs: ReportInputs) -> str:
    """Say that no peak reaches the rate where motifs were found among weaker ones."""
    rate, motifs = inputs.run_info.get("seqlet_fdr"), inputs.motifs
    if len(inputs.peaks) or motifs is None or rate is None or "best_q" not in inputs.peaks.attrs:
        return ""
    return motifs.without_peaks(inputs.peaks.attrs["fdr"], inputs.peaks.attrs["best_q"], rate)


def build_verdict(inputs: ReportInputs) -> Section | None:
    """Say first whether the map can be believed."""
    audit = inputs.audit
    if audit is None:
        return None
    return _section(
        "verdict",
        "Verdict",
        audit.verdict.text,
        answers=answers(audit),
        reasons=reason_rows(audit),
        warnings=audit.warnings,
        untested=audit.untested,
        remedy=(RETRAIN, REMEDY) if audit.verdict.shortcuts else None,
    )


def build_audit(inputs: ReportInputs) -> Section | None:
    """Show the evidence behind the verdict."""
    audit = inputs.audit
    if audit is None:
        return None
    return _section(
        "audit",
        "Audit",
        "The evidence behind the verdict. If the map is right, replacing its top bases by shuffled sequence must lower "
        "the prediction sooner than replacing any others, and putting them back must raise it sooner.",
        curves=draw_curves(inputs, audit),
        field=draw_field(audit),
        evidence=evidence(audit),
        artifacts=artifact_table(audit),
        has_hits=len(audit.shortcut_hits) > 0,
        worst=worst_cards(inputs, audit),
    )


def build_scores(inputs: ReportInputs) -> Section | None:
    """Show how predictions are distributed."""
    values = inputs.values
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    space = inputs.attr.output_space
    is_squashed = space in ("logit", "log") and inputs.raw_column != space
    figure = inline_svg(
        lambda ax: plot_score_histogram(finite, ax, label="prediction" if is_squashed else f"prediction ({space})"),
        (9.0, 2.2),
        key="scores-figure",
        label=f"Histogram of {len(finite)} predictions from {finite.min():.3g} to {finite.max():.3g}",
    )
    quartiles = [show(float(value)) for value in np.percentile(finite, [0, 25, 50, 75, 100])]
    return _section(
        "scores",
        "Predictions",
        "How many regions got which score. Two separate humps mean that the model is sure of most regions.",
        figure=figure,
        quartiles=list(zip(("lowest", "25 %", "median", "75 %", "highest"), quartiles, strict=True)),
    )


def build_gallery(inputs: ReportInputs) -> Section | None:
    """Picture the regions with the highest predictions."""
    cards = draw_cards(inputs)
    if not cards:
        return None
    which = "highest predictions" if inputs.knows_predictions else "most attribution; predictions are not known"
    return _section(
        "top-regions",
        "Top regions",
        f"The regions with the {which} (overlapping ones are shown once). Above, the attribution of every "
        "base, with peaks as boxes beneath; the grey span is enlarged below as letters, whose height is the "
        "attribution. Letters that hang upside down lower the prediction. All are on the + strand and on one scale, so "
        "that heights compare between regions.",
        template="gallery",
        cards=cards,
    )


def build_average(inputs: ReportInputs) -> Section | None:
    """Draw all regions at once, aligned at their summits: each as a line of a heat map, and their mean."""
    n = len(inputs.attr)
    if n < MIN_AVERAGED:
        return None
    rows = np.sort(inputs.order[np.unique(np.linspace(0, n - 1, MOST_AVERAGED).astype(np.int64))])
    which = (
        "All regions" if n <= MOST_AVERAGED else f"{show(len(rows))} of {show(n)} regions, evenly from all predictions"
    )
    left = 0.95  # inches: two lines, and ticks such as −0.25
    figures = [
        inline_svg(lambda ax: plot_mean_track(inputs.attr, rows, ax), (9.0, 1.9), key="average-mean",
                   label="Mean attribution at each distance from the middle of the regions",
                   margins=(left, 0.35 + COLORBAR * (8.65 - left), 0.45, 0.08)),
        inline_svg(lambda ax: plot_heatmap(inputs.attr, ax, rows=rows), (9.0, 4.2), key="average-heatmap",
                   label="Attribution of every region as a heat map, the highest prediction at the top",
                   margins=(left, 0.35, 0.45, 0.08)),
    ]  # fmt: skip
    return _section(
        "average",
        "Average map",
        f"{which} around their summits (or middles), read as the model read them. Above the mean attribution, with the "
        "half of the regions that lie nearest to the median shaded; below one line for each region, the highest "
        "prediction at the top: blue raises the prediction, orange lowers it.",
        figures=figures,
    )


def build_targets(inputs: ReportInputs) -> Section | None:
    """Set the maps of several targets, or contrasts, by one method next to each other."""
    every = [inputs.attr.result(name) for name in inputs.attr.results] if len(inputs.attr.results) > 1 else []
    of_one_method = [result for result in every if result.method == inputs.attr.method]
    if len(of_one_method) < 2:
        return None
    left_out = len(of_one_method) - MAX_TARGETS
    more = f" {left_out} more {'is' if left_out == 1 else 'are'} in the attribution file." if left_out > 0 else ""
    return _section(
        "targets",
        "Targets side by side",
        "The top regions once more, as each target or contrast of the run has them. Within a region all maps are on "
        f"one scale, so that heights compare between targets; the numbers are the predictions.{more}",
        cards=draw_targets(inputs, of_one_method[:MAX_TARGETS]),
    )


def build_motifs(inputs: ReportInputs) -> Section | None:
    """Picture the patterns among the peaks, and list which known motifs the model uses."""
    motifs = inputs.motifs
    if motifs is None:
        return None
    return _section(
        "motifs",
        "Motifs",
        "Sequences that recur under the peaks, aligned. The upper logo shows how often each base occurs, the lower one "
        "what each contributes on average; a letter below the line lowers the prediction. Locations are 0-based, end "
        "not included.",
        cards=draw_patterns(inputs, motifs),
        searched=_searched(inputs, motifs),
        n_left_out=max(0, len(motifs) - MAX_PATTERNS),
        notes=motifs.warnings,
        database=motifs.database,
        usage=usage_table(motifs),
    )


def _searched(inputs: ReportInputs, motifs: MotifResult) -> str:
    """Say which peaks were searched, as they may be more than are listed."""
    n_pos, n_neg = motifs.n_peaks.get("pos", 0), motifs.n_peaks.get("neg", 0)
    text = f"Searched: {show(n_pos)} activating and {show(n_neg)} repressing peaks"
    rate = inputs.run_info.get("seqlet_fdr")
    if rate is None or n_pos + n_neg <= len(inputs.peaks):
        return f"{text}."
    return f"{text} up to q {rate:g}, more than are listed under Peaks: false ones do not recur, so they make no motif."


def build_elements(inputs: ReportInputs) -> Section | None:
    """List the elements, those to test first at the top, and show whether deleting them does what the map says."""
    table, elements = element_table(inputs), inputs.elements
    if table is None or elements is None:
        return None
    measured = elements[elements["effect"].notna()]
    figure, agreement = None, ""
    if len(measured) >= MIN_PLOTTED:
        said = measured["signal_pos"] + measured["signal_neg"]
        r = float(np.corrcoef(said, measured["effect"])[0, 1]) if said.std() and measured["effect"].std() else np.nan
        agreement = f"Pearson r {r:.2f} over {counted(len(measured), 'element')}" if np.isfinite(r) else ""
        figure = inline_svg(
            lambda ax: plot_deletions(said.to_numpy(), measured, ax, unit=inputs.attr.output_space),
            (4.6, 2.9), key="elements-figure", label="Attribution of each element and the effect of deleting it",
        )  # fmt: skip
    return _section(
        "elements",
        "Elements",
        "Peaks that lie together, as one element, in the order in which to test them: by q-value, then by what "
        "deleting the element in silico does to the prediction.",
        table=table,
        file="elements.tsv",
        figure=figure,
        agreement=agreement,
    )


def build_genome(inputs: ReportInputs) -> Section:
    """Leave room for the genome browser; `view` and `igv` of the page say what it holds."""
    return _section(
        "genome",
        "Genome browser",
        "The sequence and what each base contributes, with peaks, motifs and artifacts beneath. Drag to move along, "
        "and zoom in until bars become letters. Every location on this page that is a link leads here.",
    )


def build_variants(inputs: ReportInputs) -> Section | None:
    """Picture both alleles of the variants that matter most."""
    maps = inputs.variants
    if maps is None:
        return None
    return _section(
        "variants",
        "Variants",
        "What each variant does to the prediction. Of those that matter most, the map of the reference is drawn over "
        "that of the alternative allele, on one scale, and the difference beneath; the allele is shaded, and where it "
        "has no base there is a gap. A motif is named where one allele has it and the other has not.",
        table=variant_table(maps),
        cards=draw_variants(inputs, maps),
        file="the table of seqsal variants",
    )


def build_peaks(inputs: ReportInputs) -> Section:
    """List the peaks, those that stand out most first."""
    return _section(
        "peaks",
        "Peaks",
        f"Stretches of bases whose attribution stands out against {_NULLS[inputs.attr.null]}{_judged(inputs)}.",
        template="table",
        table=peak_table(inputs),
        file="peaks.tsv",
        empty=_no_peaks(inputs),
    )


def _judged(inputs: ReportInputs) -> str:
    """Say what the peaks were judged by, where that is known."""
    attrs = inputs.peaks.attrs
    return f"; judged {statistic_text(attrs)}" if "statistic" in attrs else ""


def _no_peaks(inputs: ReportInputs) -> str:
    """Say that there is no peak, and how far from one the best candidate was when that is known."""
    fdr, best = inputs.peaks.attrs.get("fdr"), inputs.peaks.attrs.get("best_q")
    if fdr is None or best is None:
        if inputs.attr.n_controls:
            return f"No peak was called: nothing stands out against {_NULLS[inputs.attr.null]}."
        return "No peak could be called: these attributions have no controls to compare with."
    text = f"No peak was called at a false discovery rate of {fdr:g}; the best candidate has a q-value of {best:.3g}. "
    if not inputs.peaks.attrs.get("is_settled", True):
        text += f"That is not certain: {unsettled_text(inputs.peaks.attrs, 0)}. "
    if inputs.motifs is not None and len(inputs.motifs):
        n = len(inputs.motifs)
        return text + (
            f"The model does rely on short motifs: {n} pattern{'s recur' if n > 1 else ' recurs'} among the candidates "
            "of a larger q-value (see Motifs). It is single peaks that cannot be told from chance at this rate; "
            "more regions, more controls or a larger --fdr list them."
        )
    return text + "Either the model does not rely on short motifs here, or there are too few regions to tell."


def build_regions(inputs: ReportInputs) -> Section:
    """List every region with its score."""
    lead = "Every region and what the model predicts for it, highest first."
    return _section("regions", "All regions", lead, "table", table=region_table(inputs), file="scores.tsv")


def build_rejected(inputs: ReportInputs) -> Section | None:
    """List the regions that were left out."""
    table = rejected_table(inputs)
    if table is None:
        return None
    lead = "Regions of the input that were left out, and why. They appear nowhere else on this page."
    return _section("left-out", "Left out", lead, "table", table=table, file="run.json")


def build_run(inputs: ReportInputs) -> Section:
    """Say how to make the page again."""
    return _section(
        "run",
        "This run",
        "The command, settings, inputs and versions: all that is needed to repeat the run.",
        command=value_text(inputs.run_info.get("command", "")),
        methods=methods_text(inputs),
        groups=run_facts(inputs),
    )


def metric_tiles(inputs: ReportInputs) -> list[dict[str, str]]:
    """Tiles for what is known about the model on data that it was not trained on."""
    metrics = inputs.part("model").get("metrics")
    metrics = metrics.get("test", metrics) if isinstance(metrics, Mapping) else {}
    return [
        {"value": f"{float(metrics[key]):.3f}", "label": f"Test {label}", "note": f"{_certainty(metrics, key)}{note}"}
        for key, (label, note) in METRICS.items()
        if isinstance(metrics, Mapping) and isinstance(metrics.get(key), (int, float))
    ]


def _certainty(metrics: Mapping[str, Any], key: str) -> str:
    """Interval of a metric, and what it was measured on, as far as the checkpoint says."""
    text = ""
    if interval := metrics.get(f"{key}_interval"):
        text += f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}; "
    if metrics.get("n_positives"):
        negatives = f", {show(metrics['n_negatives'])} negatives" if metrics.get("n_negatives") else ""
        kind = f" ({metrics['negatives']})" if negatives and metrics.get("negatives") else ""
        text += f"{show(metrics['n_positives'])} {'positives' if negatives else 'regions'}{negatives}{kind}; "
    return text


def _ensemble_text(attr: Attributions) -> str:
    """Say how far the members of an ensemble agree, on the first windows; nothing of one model."""
    if attr.track_sd is None or attr.prediction_sd is None:
        return ""
    rows = slice(0, N_AGREEING)
    mean = np.asarray(attr.track[rows], dtype=np.float64)
    size = member_size(attr, mean, np.asarray(attr.track_sd[rows], dtype=np.float64))
    agreement = float(np.abs(mean).sum() / max(size.sum(), np.finfo(float).tiny))
    return (
        f"{len(attr.attrs['model']['ensemble'])} models; mean map and prediction are shown; standard deviation of "
        f"predictions {np.median(attr.prediction_sd[rows]):.2g} (median), agreement of maps {agreement:.2f} (0 to 1)"
    )


def model_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Name and value of what identifies the model and how it was attributed."""
    attrs = inputs.attr.attrs
    stored = attrs.get("model")
    model = (dict(stored) if isinstance(stored, Mapping) else {"file": stored or ""}) | inputs.part("model")
    seen = {part: show(n) for part, n in (attrs.get("trained_on") or {}).items()}
    trained_on = "the model does not say"
    if seen:
        trained_on = f"{seen['train']}; {seen['valid']} chose the epoch; {seen['held_out']} are held out"
    facts = {
        "Model": ", ".join(PurePath(str(one.get("file", ""))).name for one in model.get("ensemble", [model])),
        "Ensemble": _ensemble_text(inputs.attr),
        "SHA-256": str(model.get("sha256", ""))[:16],
        "Target": attrs.get("target_name", attrs.get("target", "")),
        "Method": inputs.attr.method,
        "Gradient correction": attrs.get("gradient_correction", ""),
        "Output attributed": inputs.attr.output_space,
        "Precision": f"{attrs.get('precision', '')}{', compiled' if attrs.get('compiled') else ''}",
        "Scores": rounding_text(attrs["keep_bits"]) if "keep_bits" in attrs else "",
        "Controls": f"{show(inputs.attr.n_controls)} {_CONTROLS[inputs.attr.null]}" if inputs.attr.n_controls else 0,
        "Seed": attrs.get("seed", ""),
        "Regions it was trained on": trained_on,
        "Other results in attributions.h5": ", ".join(inputs.attr.results[1:]),
    }
    return [(name, value_text(value)) for name, value in facts.items() if value not in ("", None)]


def training_figure(inputs: ReportInputs) -> Any:
    """Loss by epoch, when the run knows how the model was trained."""
    history = inputs.part("model").get("history")
    if not history:
        return None
    best = inputs.part("model").get("best_epoch")
    return inline_svg(
        lambda ax: plot_training_history(history, ax, best_epoch=best),
        (4.6, 2.0),
        key="training",
        label="Loss by training epoch",
    )


def test_curves(inputs: ReportInputs) -> list[tuple[str, Any]]:
    """Draw the ROC and the precision-recall curve of the test part, when the checkpoint has them."""
    model = inputs.part("model")
    curves, test = model.get("curves") or {}, (model.get("metrics") or {}).get("test", {})
    n_positive, n_negative = test.get("n_positives", 0), test.get("n_negatives", 0)
    guess = n_positive / max(n_positive + n_negative, 1)
    drawn, x_of = [], {"roc": "false_positive_rate", "precision_recall": "recall"}
    x_of["calibration"] = "predicted_probability"
    for key, title, guessing in (
        ("roc", "ROC curve", ((0, 1), (0, 1))),
        ("precision_recall", "Precision and recall", ((0, 1), (guess, guess))),
        ("calibration", "Calibration", ((0, 1), (0, 1))),
    ):
        if key not in curves:
            continue
        (x_name, x), (y_name, y) = sorted(curves[key].items(), key=lambda item: item[0] != x_of[key])

        def draw(ax: Axes, x: Any = x, y: Any = y, names: Any = (x_name, y_name), guessing: Any = guessing) -> None:
            ax.plot(*guessing, color="#7f7f7f", linestyle="dashed", linewidth=1.0)
            ax.plot(x, y, color=POSITIVE, linewidth=1.6, marker="o" if len(x) < 20 else None, markersize=3.5)
            ax.set(xlabel=names[0].replace("_", " "), ylabel=names[1].replace("_", " "), xlim=(0, 1), ylim=(0, 1.02))

        drawn.append((f"{title} on the test part", inline_svg(draw, (3.4, 2.6), key=f"curve-{key}", label=title)))
    return drawn


def run_facts(inputs: ReportInputs) -> list[tuple[str, list[tuple[str, str]]]]:
    """Parameters, inputs and versions of the run, each a title and its names and values; empty ones are left out."""
    groups = [
        (title, _flat(inputs.part(key)))
        for key, title in (("parameters", "Parameters"), ("inputs", "Inputs"), ("versions", "Versions"))
    ]
    return [group for group in groups if group[1]]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted names with text values."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows.extend(_flat(value, f"{prefix}{key}."))
        else:
            rows.append((one_line(f"{prefix}{key}"), value_text(value)))
    return rows


def value_text(value: Any) -> str:
    """One line of at most 400 characters: lists with commas, yes and no, a dash for None."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return one_line("–" if value is None else value, 400)


SECTIONS: tuple[Callable[[ReportInputs], Section | None], ...] = (
    build_verdict,
    build_summary,
    build_genome,
    build_gallery,
    build_targets,
    build_average,
    build_motifs,
    build_variants,
    build_elements,
    build_audit,
    build_scores,
    build_peaks,
    build_regions,
    build_rejected,
    build_run,
)


def sections_of(inputs: ReportInputs) -> list[Section]:
    """Build the sections that there is something for."""
    builders = (build_variants, build_genome, build_run) if inputs.only_variants else SECTIONS
    return [section for build in builders if (section := build(inputs)) is not None]
