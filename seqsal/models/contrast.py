"""Which output of a model is meant: a number, a name of a list, or a weighted difference of several.

A contrast is written as it is said: ``5-3``, ``liver - mean(others)``, ``0.5*2 + 0.5*3 - 1``; or it is a file of
weights, one for each output. ``log(a / b)`` is the log ratio, log f_a - log f_b of outputs above 0: of a model that
ends in exp, whose log outputs are read, it is the plain difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from seqsal.errors import ModelError, UsageError, counted, did_you_mean, first_line, shown

__all__ = ["Contrast", "Target", "find_target", "parse_contrast", "read_target_names"]

Term = tuple[float, tuple[int, ...]]  # the weight of the mean of some outputs; of none of them, of all others
Names = Sequence[str]
_NAME_COLUMNS = ("description", "name", "target", "identifier")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of outputs, as the name `text` says.

    `terms` are (weight, outputs) of which the mean is taken, `()` for all that no other term names; `is_ratio` for logs
    of these means; `n_targets` how many outputs the model must have, None where it does not matter.
    """

    text: str
    terms: tuple[Term, ...]
    is_ratio: bool = False
    n_targets: int | None = None

    def __str__(self) -> str:
        return self.text

    def describe(self) -> dict[str, Any]:
        """Return the fields as a file records them; :meth:`of` reads them."""
        return {"text": self.text, "terms": [[weight, list(outputs)] for weight, outputs in self.terms],
                "is_ratio": self.is_ratio, "n_targets": self.n_targets}  # fmt: skip

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Contrast:
        """Return the contrast that a file records."""
        terms = tuple((float(weight), tuple(map(int, outputs))) for weight, outputs in described["terms"])
        return cls(described["text"], terms, described["is_ratio"], described["n_targets"])

    def check(self, n_targets: int) -> None:
        """Raise `ModelError` unless a model of so many outputs has all that the contrast names."""
        if self.n_targets not in (None, n_targets):
            raise ModelError(
                f"contrast: {self.text} has {counted(self.n_targets or 0, 'weight')}, expected one for each output "
                f"of the model, which has {n_targets}"
            )
        named = {output for _, outputs in self.terms for output in outputs}
        if beyond := [output for output in sorted(named) if not 0 <= output < n_targets]:
            raise ModelError(
                f"contrast: {self.text} names output {beyond[0]}, the model has {n_targets} (0 to {n_targets - 1})"
            )
        if len(named) == n_targets and any(not outputs for _, outputs in self.terms):
            raise ModelError(f"contrast: {self.text} names all {n_targets} outputs, which leaves no others")

    def read(self, columns: torch.Tensor, *, are_logs: bool = False) -> torch.Tensor:
        """Return the contrast (N,) of outputs (N, T), or of their logs where it is a ratio, differentiably."""
        named = {output for _, outputs in self.terms for output in outputs}
        others = [output for output in range(columns.shape[1]) if output not in named]
        if self.n_targets is not None:
            weights = columns.new_tensor([weight for weight, _ in self.terms])
            return (columns[:, sorted(named)] * weights).sum(dim=1)
        total: torch.Tensor | None = None
        for weight, outputs in self.terms:
            picked = list(outputs) or others
            if self.is_ratio and are_logs and len(picked) > 1:
                value = columns[:, picked].exp().mean(dim=1).log()
            else:
                value = columns[:, picked[0]] if len(picked) == 1 else columns[:, picked].mean(dim=1)
                value = value.log() if self.is_ratio and not are_logs else value
            if total is None:
                total = value if weight == 1 else value * weight
            elif abs(weight) == 1:
                total = total + value if weight == 1 else total - value
            else:
                total = total + value * weight
        assert total is not None
        return total


Target = int | Contrast


def read_target_names(given: str | os.PathLike[str] | Names) -> tuple[str, ...]:
    """Read names of outputs, in their order: a file with one a line, or a table with a column of them; or a list.

    UsageError: it cannot be read, or holds none.
    """
    if not isinstance(given, (str, os.PathLike)):
        return tuple(map(str, given))
    try:
        lines = [line for line in Path(given).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"target_names: {given}: cannot be read ({why}); give a text file, a name a line") from error
    heads = [head.strip().lower() for head in lines[0].split("\t")] if lines else []
    column = next((heads.index(name) for name in _NAME_COLUMNS if name in heads), None)
    if column is not None and len(heads) > 1:
        lines = [line.split("\t")[column] for line in lines[1:]]
    if not lines:
        raise UsageError(f"target_names: {given}: is empty, expected a name for each output, one a line")
    return tuple(line.strip() for line in lines)


def find_target(target: Any, names: Names) -> int:
    """Return the number of an output, given by number or by name.

    UsageError: no output has the name, or several have.
    """
    if not isinstance(target, str):
        return int(target)
    text = target.strip()
    found = [i for i, name in enumerate(names) if name == text]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(map(str, found[:_MOST_SHOWN])) + ", …" * (len(found) > _MOST_SHOWN)
        raise UsageError(f"target: {text!r} names {len(found)} outputs ({numbers}), expected one; give its number")
    if text.isdigit():
        return int(text)
    if not names:
        raise UsageError(
            f"target: got {text!r}, expected the number of an output; names need a list of them (--target-names FILE)"
        )
    hint = did_you_mean(text, names) or f"; there are {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
    raise UsageError(f"target: no output is named {text!r}{hint}")


def parse_contrast(given: Any, names: Names = ()) -> Contrast:
    """Read a contrast of outputs, given by number or name, or a file or an array of weights (T,).

    UsageError: it is not understood, or names an output that `names` lacks.

    >>> parse_contrast("1-0").terms
    ((1.0, (1,)), (-1.0, (0,)))
    """
    if isinstance(given, Contrast):
        return given
    if isinstance(given, os.PathLike) or (isinstance(given, str) and Path(given).is_file()):
        return _of_weights(_read_weights(Path(given)), str(given))
    if not isinstance(given, str):
        return _of_weights(given, "weights")
    text = given.strip()
    ratio = re.fullmatch(r"log\((.+)\)", text)
    if ratio is None:
        return Contrast(text, _terms(text, names))
    sides = [_terms(side, names) for side in re.split(r"\s/\s|/(?=\d)", ratio[1], maxsplit=1)]
    if len(sides) != 2 or any(len(side) != 1 or side[0][0] != 1 for side in sides):
        raise UsageError(f"contrast: got {given!r}, expected log(A / B), A and B an output or mean(outputs)")
    return Contrast(text, (sides[0][0], (-1.0, sides[1][0][1])), is_ratio=True)


def _terms(text: str, names: Names) -> tuple[Term, ...]:
    """Read a sum of terms, such as ``liver - 0.5*mean(others)``; names may hold any of these characters."""
    known = sorted(names, key=len, reverse=True)
    terms: list[Term] = []
    rest, sign = text.strip(), 1.0
    if rest.startswith("-"):
        rest, sign = rest[1:].strip(), -1.0
    while True:
        factor = re.match(r"(\d+\.?\d*|\.\d+)\s*\*\s*", rest)
        weight = sign * float(factor[1]) if factor else sign
        atom, rest = _atom(rest[factor.end() :] if factor else rest, known, text)
        terms.append((weight, _outputs(atom, names)))
        rest = rest.strip()
        if not rest:
            break
        if rest[0] not in "+-":
            raise UsageError(f"contrast: {text!r} is not understood at {rest!r}, expected + or - between outputs")
        sign, rest = (1.0 if rest[0] == "+" else -1.0), rest[1:].strip()
    if len(terms) > 1 and sum(not outputs for _, outputs in terms) > 1:
        raise UsageError(f"contrast: {text!r} has others twice, expected it once")
    return tuple(terms)


def _atom(text: str, known: Names, whole: str) -> tuple[str, str]:
    """Split an output, a mean of outputs, or `others` off the front."""
    ends = r"(?=\s*(?:[-+]|$))"
    mean = re.match(r"mean\((.+?)\)" + ends, text)
    if mean:
        return mean[0], text[mean.end() :]
    for name in known:
        if text.startswith(name) and re.match(ends, text[len(name) :]):
            return name, text[len(name) :]
    word = re.match(r"\d+" + ends, text) or re.match(r"\S+?(?=\s+[-+]\s|\s*$)", text) or re.match(r"[^\s+-]+", text)
    if word is None:
        raise UsageError(f"contrast: got {whole!r}, expected outputs with + or - between them, such as '5-3'")
    return word[0], text[word.end() :]


def _outputs(atom: str, names: Names) -> tuple[int, ...]:
    mean = re.fullmatch(r"mean\((.+)\)", atom)
    if atom == "others" or (mean and mean[1].strip() == "others"):
        return ()
    if mean is None or atom in names:
        return (find_target(atom, names),)
    return tuple(find_target(one, names) for one in mean[1].split(","))


def _read_weights(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return pd.read_csv(path, sep=r"\s+|,", header=None, engine="python", comment="#").to_numpy(np.float64)
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UsageError(
            f"contrast: {path}: cannot be read as weights ({first_line(error)}); expected one number for each output, "
            "as text or .npy"
        ) from error


def _of_weights(given: Any, name: str) -> Contrast:
    try:
        weights = np.asarray(given, dtype=np.float64).squeeze()
    except (TypeError, ValueError):
        weights = np.zeros((0, 0))
    if weights.ndim != 1 or not weights.any() or not np.isfinite(weights).all():
        got = shown(given) if weights.ndim != 1 else name
        raise UsageError(f"contrast: got {got}, expected text such as '5-3', or a number for each output, not all 0")
    return Contrast(name, tuple((float(w), (i,)) for i, w in enumerate(weights) if w), n_targets=len(weights))
