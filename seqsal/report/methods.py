"""What a paper's methods section has to say of a run: versions, parameters, numbers and statistics, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from seqsal.errors import counted
from seqsal.models.seen import left_out_text
from seqsal.plot.style import one_line
from seqsal.plot.tracks import negative_peaks
from seqsal.report.inputs import ReportInputs
from seqsal.report.tables import show
from seqsal.version import VERSION

__all__ = ["methods_text"]

SOURCES = {  # what is said of a method, and whom to cite
    "gradient_x_input": ("gradient × input", ""),
    "saliency": ("the magnitude of the gradient", "Simonyan et al. 2013"),
    "smoothgrad": ("SmoothGrad", "Smilkov et al. 2017"),
    "integrated_gradients": ("integrated gradients", "Sundararajan et al. 2017"),
    "expected_gradients": ("expected gradients", "Erion et al. 2021"),
    "deeplift_shap": ("DeepLIFT with shuffled references", "Shrikumar et al. 2017; Lundberg and Lee 2017"),
    "ism": ("in-silico mutagenesis of every base", ""),
    "tiles": ("perturbation of tiles", "Toneyan and Koo 2024"),
    "cam": ("class activation maps", "Zhou et al. 2016"),
    "grad_cam": ("Grad-CAM", "Selvaraju et al. 2017"),
}
SAID_ELSEWHERE = ("gradient_correction", "input_length", "rc_average")
NULLS = {
    "shuffle": "dinucleotide-preserving shuffles of the regions",
    "background": "windows of the genome away from the regions, matched in G+C, repeats and Ns",
}


def methods_text(inputs: ReportInputs) -> str:
    """Describe the run in sentences that can be pasted into a paper."""
    return " ".join(_sentences(inputs))


def _sentences(inputs: ReportInputs) -> Iterator[str]:
    attr, versions, given = inputs.attr, inputs.part("versions"), inputs.part("parameters")
    with_torch = f" (PyTorch {versions['torch']})" if "torch" in versions else ""
    stored = attr.attrs.get("model")
    model = (dict(stored) if isinstance(stored, Mapping) else {"file": stored}) | inputs.part("model")
    named = f" of the model {one_line(PurePath(str(model['file'])).name)}" if model.get("file") else ""
    named += f" (SHA-256 {str(model['sha256'])[:12]})" if model.get("sha256") else ""
    method, source = SOURCES.get(attr.method, (attr.method, ""))
    corrected = ", with the gradient correction of Majdandzic et al. 2023" * bool(attr.attrs.get("gradient_correction"))
    options = attr.attrs.get("options") or {}
    shown = ", ".join(f"{name} = {value}" for name, value in options.items() if name not in SAID_ELSEWHERE)
    detail = "; ".join(text for text in (source, shown) if text)
    target = attr.attrs.get("target_name", attr.attrs.get("target", 0))
    yield (
        f"Contributions of single bases to the {attr.output_space} of output {target}{named} were computed with seqsal "
        f"{VERSION}{with_torch} by {method}{f' ({detail})' if detail else ''}{corrected}, in "
        f"{counted(len(attr), 'window')} "
        f"of {show(attr.length)} bp{', as the mean over both strands' * bool(given.get('rc_average'))}; random numbers "
        f"came from seed {attr.attrs.get('seed', 0)}."
    )
    if len(inputs.rejected_regions):
        yield f"Other regions were left out: {left_out_text(inputs.rejected_regions)}."
    yield from _peak_sentences(inputs)
    yield from _motif_sentences(inputs)
    if inputs.audit is not None:
        yield f"The attributions were audited by seqsal, with the result {inputs.audit.verdict.answers}."


def _peak_sentences(inputs: ReportInputs) -> Iterator[str]:
    peaks, fdr = inputs.peaks, inputs.peaks.attrs.get("fdr")
    if fdr is None or not inputs.attr.n_controls:
        return
    n_controls = peaks.attrs.get("n_controls", inputs.attr.n_controls)
    n_negative = int(negative_peaks(peaks).sum()) if len(peaks) else 0
    signs = {"raise": len(peaks) - n_negative, "lower": n_negative}
    found = " and ".join(f"{show(n)} that {verb}{'s' * (n == 1)}" for verb, n in signs.items()) + " the prediction"
    weighted = (
        ", their shape and the predictions of their windows, weighted by semi-supervised competition with the controls "
        "(as in Käll et al. 2007)"
    ) * bool(peaks.attrs.get("is_learned"))
    asked = peaks.attrs.get("asked", ())
    strands = " on both strands" * ("strand" in asked)
    effect = " and what deleting them does to the prediction" * ("effect" in asked)
    others = " and in the maps of the other methods" * ("others" in asked)
    judged = f"They were judged by their heights{strands}{others}{effect}{weighted}. " * (
        peaks.attrs.get("statistic") == "joint"
    )
    yield (
        f"Peaks are local maxima of the smoothed attributions; their p-values are shares of the maxima of "
        f"{show(n_controls)} controls ({NULLS[inputs.attr.null]}, attributed in the same way) that are at least as "
        f"strong, and were corrected for multiple testing to q-values. {judged}At q ≤ {fdr:g} there were {found}."
    )


def _motif_sentences(inputs: ReportInputs) -> Iterator[str]:
    motifs = inputs.motifs
    if motifs is None:
        return
    rate = inputs.run_info.get("seqlet_fdr")
    among = f"{counted(sum(motifs.n_peaks.values()), 'peak')}{'' if rate is None else f' (q ≤ {rate:g})'}"
    kinds = set(motifs.table["algorithm"]) if len(motifs) else set()
    how = {"modisco": "TF-MoDISco (Shrikumar et al. 2018; modisco-lite)", "kmers": "alignment of enriched k-mers"}
    by = f" by {' and '.join(how.get(kind, kind) for kind in sorted(kinds))}" if kinds else ""
    text = f"{show(len(motifs))} recurrent pattern{'s were' if len(motifs) != 1 else ' was'} found{by} among {among}"
    if motifs.database:
        text += f", and compared with {motifs.database} by TOMTOM (Gupta et al. 2007)"
    yield f"{text}."
