"""What is known about the model and the run, as names and values for people: metrics, settings, versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from seqsal.plot.curves import plot_training_history
from seqsal.plot.style import one_line
from seqsal.report.figures import inline_svg
from seqsal.report.inputs import ReportInputs

__all__ = ["METHODS", "metric_tiles", "model_facts", "run_facts", "training_figure", "value_text"]

METHODS = {
    "gradient_x_input": "gradient × input: how steeply the output rises with each base that is there",
    "saliency": "saliency: how steeply the output changes with each base, without regard to direction",
    "smoothgrad": "SmoothGrad: gradients averaged over noisy copies of the input",
    "integrated_gradients": "integrated gradients: gradients summed along the way from a reference to the sequence",
    "expected_gradients": "expected gradients: integrated gradients averaged over many references",
    "deeplift_shap": "DeepLIFT/SHAP: differences from shuffled references, handed back through the network",
    "ism": "in-silico mutagenesis: how much the base that is there beats the mean of the four, each really tried",
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


def metric_tiles(inputs: ReportInputs) -> list[dict[str, str]]:
    """Tiles for what is known about the model on data that it was not trained on."""
    metrics = inputs.part("model").get("metrics")
    metrics = metrics.get("test", metrics) if isinstance(metrics, Mapping) else {}
    return [
        {"value": f"{float(metrics[key]):.3f}", "label": f"Test {label}", "note": note}
        for key, (label, note) in METRICS.items()
        if isinstance(metrics, Mapping) and isinstance(metrics.get(key), (int, float))
    ]


def model_facts(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Name and value of what identifies the model and the way it was asked."""
    attrs = inputs.attr.attrs
    stored = attrs.get("model")
    model = (dict(stored) if isinstance(stored, Mapping) else {"file": stored or ""}) | inputs.part("model")
    facts = {
        "Model": PurePath(str(model.get("file", ""))).name,
        "SHA-256": str(model.get("sha256", ""))[:16],
        "Target": attrs.get("target", ""),
        "Method": inputs.attr.method,
        "Gradient correction": attrs.get("gradient_correction", ""),
        "Output attributed": inputs.attr.output_space,
        "Precision": f"{attrs.get('precision', '')}{', compiled' if attrs.get('compiled') else ''}",
        "Shuffled controls": inputs.attr.n_controls,
        "Seed": attrs.get("seed", ""),
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
