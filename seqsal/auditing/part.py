"""What a part of the audit gives: a typed result that knows its facts, what it says for the verdict, and its JSON.

A part is one file or folder in :mod:`seqsal.auditing.parts` and one line in :mod:`seqsal.auditing.parts`. Its module
has a frozen dataclass that inherits from :class:`PartResult`, and ``PART = Part(TheResult, run)``; text, HTML,
`audit.json`, the verdict and ``--help`` follow from these.

A number that was not measured is a :class:`NotTested`, which says why; in `audit.json` it is null.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from seqsal.auditing.settings import AuditSettings

if TYPE_CHECKING:
    import pandas as pd

    from seqsal.auditing.context import AuditContext

__all__ = [
    "FAILED", "MIN_REGIONS", "NOT_IN_JSON", "OMITTED_IF_NONE", "PASSED", "TOO_FEW", "UNTESTED", "Fact", "Interval",
    "Measured", "NotTested", "Notes", "Part", "PartResult", "Reason", "Results", "Shortcut", "Weight", "from_json",
    "measured", "of_regions", "to_json", "with_interval",
]  # fmt: skip

NOT_IN_JSON = {"json": False}  # metadata of a field that `audit.json` does not have
OMITTED_IF_NONE = {"omit": True}  # of a field whose key `audit.json` has only where there is a value
PASSED, FAILED, UNTESTED, TOO_FEW, NOTED = "passed", "failed", "not tested", "not enough data", "noted"
MIN_REGIONS = 6  # with n < 6, no interval of resampled means can hold the mean in 95 % of cases: 1 − 2^(1 − n)


@dataclass(frozen=True)
class NotTested:
    """What stands where something was not measured: why not. It is neither true nor false, and says so."""

    reason: str = "the file does not say why"

    def __bool__(self) -> bool:
        raise TypeError(f"not tested is neither true nor false ({self.reason}); ask isinstance(value, NotTested)")


Measured = float | NotTested
Interval = tuple[float, float]
R = TypeVar("R", bound="PartResult")


def measured(value: float | None, reason: str) -> Measured:
    """Return a number that is finite as it is, and anything else as not tested for this reason."""
    return NotTested(reason) if value is None or not math.isfinite(value) else float(value)


@dataclass(frozen=True)
class Fact:
    """One number for the reader: what it is, its value in words, and what a good map has, if that is judged."""

    name: str
    value: str
    threshold: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.value}".strip()


class Weight(StrEnum):
    """What a criterion that failed does to the answer."""

    OVERTURNS = "overturns"  # the answer is no
    LOWERS = "lowers"  # yes becomes in part
    NOTES = "notes"  # the answer stays, and the verdict's text says so


@dataclass(frozen=True)
class Reason:
    """One criterion of the verdict.

    `got` is the value measured (of a difference, the lower end of its interval), None where there is none; `needed`
    what passes; `outcome` one of `passed`, `failed`, `not tested`, `not enough data` and `noted`. Not in `audit.json`:
    `sentence`, what the verdict says of it, and `is_decisive`, whether passing it is evidence enough where nothing else
    fails.
    """

    about: str
    name: str
    got: float | None
    needed: str
    outcome: str
    weight: Weight = Weight.OVERTURNS
    sentence: str = field(default="", compare=False, metadata=NOT_IN_JSON)
    is_decisive: bool = field(default=False, compare=False, metadata=NOT_IN_JSON)

    def __str__(self) -> str:
        got = "" if self.got is None else f": {self.got:.3g}"
        return f"{self.name}{got} (needed {self.needed}), {self.outcome}"

    @classmethod
    def note(cls, about: str, name: str, sentence: str) -> Reason:
        """Report something that does not change the answer."""
        return cls(about, name, None, "", NOTED, Weight.NOTES, sentence)

    @classmethod
    def at_least(cls, about: str, name: str, value: Measured, least: float, needed: str = "", **more: Any) -> Reason:
        """Judge a value that has to be `least` or more."""
        return cls._judged(about, name, value, needed or f"{least:g} or more", lambda got: got >= least, more)

    @classmethod
    def above(cls, about: str, name: str, value: Measured, least: float, needed: str, **more: Any) -> Reason:
        """Judge a value that has to be more than `least`."""
        return cls._judged(about, name, value, needed, lambda got: got > least, more)

    @classmethod
    def at_most(cls, about: str, name: str, value: Measured, most: float, needed: str = "", **more: Any) -> Reason:
        """Judge a value that has to be `most` or less."""
        return cls._judged(about, name, value, needed or f"{most:g} or less", lambda got: got <= most, more)

    @classmethod
    def _judged(
        cls, about: str, name: str, value: Measured, needed: str, holds: Callable[[float], bool], more: dict[str, Any]
    ) -> Reason:
        """Judge; of fewer than `MIN_REGIONS` regions (`n`), only a failure counts, and only where one case is enough.

        `one_fails` says that it is; without, as for a difference from chance, a failure is not enough data either.
        """
        n, one_fails = more.pop("n", None), more.pop("one_fails", False)
        got = None if isinstance(value, NotTested) or not math.isfinite(value) else float(value)
        is_few = n is not None and 0 < n < MIN_REGIONS
        if is_few and not (one_fails and got is not None and not holds(got)):
            return cls(about, name, got, needed, TOO_FEW, **more)
        outcome = UNTESTED if got is None else PASSED if holds(got) else FAILED
        return cls(about, name, got, needed, outcome, **more)


@dataclass(frozen=True)
class Shortcut:
    """Something that the model uses and that is not biology: its name, and a sentence on what it does."""

    name: str
    sentence: str


@dataclass(frozen=True, eq=False, kw_only=True)
class PartResult:
    """Base of what a part found.

    Fields of a part's own are its numbers, and stand in `audit.json` under their names.

    `tables`: everything that is one row a region, curve point, position or artifact. `warnings`: what the reader should
    know before trusting the verdict, a sentence each. `untested`: what was not tested, and why, a sentence each.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False, metadata=NOT_IN_JSON)
    warnings: tuple[str, ...] = field(default=(), metadata=NOT_IN_JSON)
    untested: tuple[str, ...] = field(default=(), metadata=NOT_IN_JSON)

    def facts(self, settings: AuditSettings) -> Iterable[Fact]:
        """Yield the numbers that matter most."""
        return ()

    def reasons(self, settings: AuditSettings) -> Iterable[Reason]:
        """Yield the criteria of the verdict that this part judges."""
        return ()

    def shortcuts(self, output: str) -> Iterable[Shortcut]:
        """Yield the shortcuts that the model takes; `output` is what the model's output is called, such as `logit`."""
        return ()

    @property
    def leaves_shortcuts_open(self) -> bool:
        """Whether something that may be a shortcut is there, and no model was given to say whether it is used."""
        return False

    @property
    def advised_method(self) -> str | None:
        """A method that would do better than that of the map."""
        return None

    def to_json(self) -> Any:
        """Return what `audit.json` has under the part's name."""
        return to_json(self)

    @property
    def why_not(self) -> dict[str, str]:
        """Why numbers of the part's own were not measured, by the names of their fields."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value.reason for name, value in values.items() if isinstance(value, NotTested)}

    def told(self, why_not: Mapping[str, str]) -> Self:
        """Return the same with these reasons, which a file keeps apart from the numbers."""
        known: dict[str, Any] = {name: NotTested(str(why_not[name])) for name in self.why_not if name in why_not}
        return replace(self, **known)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read back what `to_json` gave."""
        result: Self = from_json(cls, content)
        return result


@dataclass
class Notes:
    """What a part collects while it runs: tables, warnings, and what was not tested."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)

    def not_tested(self, sentence: str) -> NotTested:
        """Note what was not tested, and return it as a value."""
        self.untested.append(sentence)
        return NotTested(sentence)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a :class:`PartResult`; each sentence once."""
        sentences = {"warnings": self.warnings, "untested": self.untested}
        return {"tables": self.tables} | {name: tuple(dict.fromkeys(lines)) for name, lines in sentences.items()}


class Results(dict[str, PartResult]):
    """Results by the names of their parts, in the order of the audit."""

    def of(self, kind: type[R]) -> R | None:
        """Return the result of a part by its type; None where that part was not run."""
        return next((result for result in self.values() if isinstance(result, kind)), None)


@dataclass(frozen=True)
class Part(Generic[R]):
    """A part of the audit: the type of its result, and (context, results of the parts before) → result."""

    result: type[R]
    run: Callable[[AuditContext, Results], R]


def with_interval(value: float, interval: Interval | None, number: str = "{:.3g}") -> str:
    """Write a number and its confidence interval: ``0.31 (0.2 to 0.4)``."""
    ends = "" if interval is None else f" ({number.format(interval[0])} to {number.format(interval[1])})"
    return number.format(value) + ends


def of_regions(share: float) -> str:
    """Write a share of the regions, of which none is "no region" and never 0%."""
    return "no region" if share == 0 else f"{max(share, 0.01):.0%} of regions"


def to_json(value: Any, hint: Any = None) -> Any:
    """Turn a dataclass into mappings and lists, field by field.

    A `NotTested` is None; where the field's type is a dataclass with a class attribute `UNTESTED`, it is that.
    """
    if isinstance(value, NotTested):
        return getattr(_kind(hint), "UNTESTED", None)
    if is_dataclass(value) and not isinstance(value, type):
        return {key: to_json(getattr(value, name), one) for name, key, one in _in_json(type(value), value)}
    if isinstance(value, Mapping):
        return {key: to_json(one) for key, one in value.items()}
    return [to_json(one) for one in value] if isinstance(value, (list, tuple)) else value


def _in_json(kind: type, value: Any = None) -> Iterator[tuple[str, str, Any]]:
    """Yield name, key and type of the fields of a dataclass that stand in `audit.json`."""
    hints = _hints(kind)
    for one in fields(kind):
        absent = value is not None and one.metadata.get("omit") and getattr(value, one.name) is None
        if one.metadata.get("json", True) and not absent:
            yield one.name, one.metadata.get("key", one.name), hints[one.name]


@cache
def _hints(kind: type) -> dict[str, Any]:
    import pandas as pd  # which the types of tables name

    return get_type_hints(kind, localns={"pd": pd})


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _kind(hint: Any) -> Any:
    """Return the type that a value has where it is there."""
    return next((one for one in _choices(hint) if one not in (NotTested, type(None))), None)


def from_json(hint: Any, value: Any) -> Any:
    """Build a value of a type from what :func:`to_json` made of it; None is not tested where the type allows that.

    Raises KeyError, TypeError: The content is of another shape.
    """
    choices, kind = _choices(hint), _kind(hint)
    untested = getattr(kind, "UNTESTED", None)
    if NotTested in choices and (value is None or (untested is not None and value == untested)):
        return NotTested()
    if value is None and type(None) in choices:
        return None
    if isinstance(kind, type) and is_dataclass(kind):
        has_default = {
            one.name for one in fields(kind) if one.default is not MISSING or one.default_factory is not MISSING
        }
        found = {}
        for name, key, one in _in_json(kind):
            if key not in value and name in has_default:
                continue
            if key not in value and not {NotTested, type(None)} & set(_choices(one)):
                raise KeyError(key)
            found[name] = from_json(one, value.get(key))
        return kind(**found)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(from_json(one, entry) for one, entry in zip(each, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: from_json(inner[1], one) for key, one in value.items()}
    return value
