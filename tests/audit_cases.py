"""Attributions in memory, and audits of them, of models with known answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_origin

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.auditing import part
from seqsal.auditing.context import AuditContext
from seqsal.auditing.finding import Finding
from seqsal.auditing.part import PartResult, Results
from seqsal.auditing.parts import load_part
from seqsal.auditing.parts.artifacts import KnownFinding
from seqsal.auditing.settings import AuditSettings
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import open_codes
from seqsal.models import SequenceModel, wrap
from seqsal.regions import make_regions

__all__ = [
    "Ignores", "OneBase", "Seen", "attributions_of", "context_of", "model_of", "part_of", "parts_of",
    "regions_of", "seen",
]  # fmt: skip

CPU = torch.device("cpu")


class Ignores(nn.Module):
    """f(X) = 0.25, whatever X is."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return 0.0 * X.sum(dim=(1, 2)) + 0.25


class OneBase(nn.Module):
    """f(X) = effect · [the base at `position` is `base`]."""

    def __init__(self, position: int, base: int = 2, effect: float = 3.0) -> None:
        super().__init__()
        self.position, self.base = position, base
        self.effect = nn.Parameter(torch.tensor(effect))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.effect * X[:, self.base, self.position]


def model_of(module: nn.Module, length: int) -> SequenceModel:
    """A module (n, 4, L) → (n,) or (n, T) as one number a sequence; a model that is one already stays."""
    return module if isinstance(module, SequenceModel) else wrap(module.eval(), input_length=length)


def regions_of(n: int, length: int) -> Any:
    """n windows side by side on chr1."""
    starts = np.arange(n, dtype=np.int64) * length
    return make_regions(["chr1"] * n, starts, starts + length, name=[f"region_{i}" for i in range(n)])


def attributions_of(
    module: nn.Module,
    codes: NDArray[np.uint8],
    method: str = "gradient_x_input",
    *,
    n_controls: int = 20,
    **options: Any,
) -> Attributions:
    """Attribute codes (n, L) in memory; `options` are the engine's (`rc_average`, `hypothetical`) and the method's."""
    engine = {key: options.pop(key) for key in ("rc_average", "hypothetical", "batch_size", "seed") if key in options}
    settings = AttributeOptions(method=method, n_controls=n_controls, method_options=options, **engine)
    source = open_codes(codes, regions_of(*codes.shape))
    return attribute_windows(model_of(module, codes.shape[1]), source, settings, device=CPU)


def context_of(
    module: nn.Module,
    codes: NDArray[np.uint8],
    method: str = "gradient_x_input",
    *,
    settings: AuditSettings | None = None,
    n_controls: int = 20,
    method_options: dict[str, Any] | None = None,
    other_models: Sequence[nn.Module] = (),
    **given: Any,
) -> AuditContext:
    """Context of attributions made here; `given` goes to `AuditContext`: `motifs`, `positives`, `explainer`, `seed`…"""
    attr = given.pop("attr", None)
    if attr is None:
        attr = attributions_of(module, codes, method, n_controls=n_controls, **(method_options or {}))
    others = [model_of(other, codes.shape[1]) for other in other_models]
    model = model_of(module, codes.shape[1])
    return AuditContext(attr, model, settings=settings, device=CPU, other_models=others, **given)


def part_of(name: str, values: Any, tables: Mapping[str, pd.DataFrame] | None = None) -> PartResult:
    """Result of a part from some of what `audit.json` has under its name; the rest was not tested, or is empty."""
    kind = load_part(name).result
    if name == "artifacts":
        has_share = [{one.get("share"), one.get("share_positives")} != {None} for one in values]
        filled = [_filled(KnownFinding if has else Finding, one) for one, has in zip(values, has_share, strict=True)]
        return replace(kind.from_json(filled), tables=tables or {})
    is_typed = kind.from_json.__func__ is PartResult.from_json.__func__  # reads its fields one by one
    return replace(kind.from_json(_filled(kind, values) if is_typed else values), tables=tables or {})


def _filled(hint: Any, value: Any) -> Any:
    """Add what is missing in `audit.json`: null where that is allowed, else 0 or nothing."""
    kind = part._kind(hint)
    if value is None and not {type(None), part.NotTested} & set(part._choices(hint)):
        value = {} if is_dataclass(kind) else (get_origin(kind) or kind)()
    if not is_dataclass(kind) or not isinstance(value, Mapping):
        return value
    return {key: _filled(one, value.get(key)) for _, key, one in part._in_json(kind)}


def parts_of(content: Mapping[str, Any]) -> Results:
    """Results of several parts, see :func:`part_of`."""
    return Results({name: part_of(name, values) for name, values in content.items()})


@dataclass(frozen=True)
class Seen:
    """A result as `audit.json` has it, with its tables and sentences."""

    values: Any
    tables: Mapping[str, pd.DataFrame]
    warnings: tuple[str, ...]
    untested: tuple[str, ...]


def seen(result: PartResult) -> Seen:
    """Write a part's result as JSON has it, and read it back to see that nothing is lost."""
    values = result.to_json()
    assert type(result).from_json(values).to_json() == values
    return Seen(values, result.tables, result.warnings, result.untested)
