"""How far the model looks: which bases of the window reach the output, and over what distance they can interact.

Measured on random DNA (:func:`seqsal.receptive_field`), so it is about the network, not about these regions: bases
outside of the output's field cannot score, and two sites farther apart than the field of every layer can only add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from seqsal.attribution.receptive_field import receptive_field
from seqsal.auditing.context import AuditContext
from seqsal.auditing.part import Fact, Measured, NotTested, Part, PartResult
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import SeqsalError

__all__ = ["PART", "FieldResult", "audit_field"]

N_WINDOWS = 2
MIN_SHARE = 0.9  # of the window that the output should depend on


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldResult(PartResult):
    """How far the model looks. Table: `field_layers`, as :func:`seqsal.receptive_field` gives it.

    `output_bp`: bases of the window, `length_bp`, that the output depends on. `layer_bp`, `effective_bp`, `sigma_bp`:
    of one position of the layer that looks farthest, the theoretical field, the width of the central 95 % of its
    response, and its σ.
    """

    length_bp: int
    output_bp: Measured
    layer_bp: Measured
    effective_bp: Measured
    sigma_bp: Measured

    def facts(self, settings: AuditSettings) -> Iterator[Fact]:
        if isinstance(self.output_bp, NotTested):
            yield Fact(self.output_bp.reason, "")
            return
        yield Fact("bases of the window that the output depends on", f"{self.output_bp:,.0f} of {self.length_bp:,}")
        if isinstance(self.layer_bp, float) and isinstance(self.effective_bp, float):
            name = "a position of the layer that looks farthest depends on"
            yield Fact(name, f"{self.layer_bp:,.0f} bp, to 95 % on {self.effective_bp:,.0f} bp")


def audit_field(context: AuditContext) -> FieldResult:
    """Measure the receptive field of the model's layers and output."""
    length = context.attr.window_length
    reason = "no model was given" if context.model is None else ""
    if context.model is not None:
        try:
            table = receptive_field(context.model, n_windows=N_WINDOWS, device=context.device, seed=context.seed)
        except SeqsalError as error:  # it has no gradient
            reason = f"how far the model looks was not measured ({error})"
    if reason:
        untested = NotTested(reason)
        return FieldResult(
            length_bp=length, output_bp=untested, layer_bp=untested, effective_bp=untested, sigma_bp=untested
        )
    layers: pd.DataFrame = table[table["depth"] > 0]
    output_bp = float(table["field_bp"].iloc[-1])
    widest = layers.nlargest(1, "field_bp").iloc[0] if len(layers) else None
    none = NotTested("no layer that looks at more than one base was seen")
    narrow = (
        f"The output depends on {output_bp:,.0f} of the window's {length:,} bases only; the others score 0 whatever "
        "they are. Give the model regions that are centred on what matters."
    )
    return FieldResult(
        length_bp=length,
        output_bp=output_bp,
        layer_bp=none if widest is None else float(widest["field_bp"]),
        effective_bp=none if widest is None else float(widest["width_bp"]),
        sigma_bp=none if widest is None else float(widest["sigma_bp"]),
        tables={"field_layers": table},
        warnings=(narrow,) if output_bp < MIN_SHARE * length else (),
    )


PART = Part(FieldResult, lambda context, _: audit_field(context))
