"""Progress bars: one for each long step, or, within :func:`whole`, one for all of them with the time that is left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Self

from tqdm.auto import tqdm

__all__ = ["bar", "stage", "whole"]


class _Whole:
    """The one bar of a piece of work that has stages, each with its share of the time."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        total, before = sum(shares.values()), 0.0
        self.spans: dict[str, tuple[float, float]] = {}
        for name, share in shares.items():
            self.spans[name] = (before / total, share / total)
            before += share
        self.span, self.open = (0.0, 0.0), list[_Part]()
        self.bar = tqdm(total=1.0, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left")

    def begin(self, name: str) -> None:
        self.span, self.open = self.spans.get(name, (self.bar.n, 0.0)), []
        self.bar.set_description_str(name, refresh=False)
        self.reach(0.0)

    def reach(self, fraction: float) -> None:
        """Show that a fraction of the stage is done; the bar never goes back."""
        at = self.span[0] + self.span[1] * min(fraction, 1.0)
        self.bar.update(max(at - self.bar.n, 0.0))


class _Part:
    """Takes the calls of a step's own bar; steps within steps count as a part of one unit."""

    def __init__(self, given: Iterable[Any] | None, owner: _Whole, total: float | None, initial: float) -> None:
        self.given, self.owner, self.total, self.n = given, owner, total, initial
        owner.open.append(self)

    def update(self, n: float = 1) -> None:
        self.n += n
        fraction = 0.0
        for part in reversed(self.owner.open):
            fraction = min((part.n + fraction) / part.total, 1.0) if part.total else fraction
        self.owner.reach(fraction)

    def set_postfix(self, **shown: object) -> None:
        """Leave out what a bar of its own would show."""

    def close(self) -> None:
        if self in self.owner.open:
            self.owner.open.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        try:
            for one in self.given or ():
                yield one
                self.update()
        finally:
            self.close()


_current: ContextVar[_Whole | None] = ContextVar("seqsal_progress", default=None)


def bar(
    given: Any = None, *, disable: bool | None = False, total: float | None = None, initial: float = 0, **look: Any
) -> Any:
    """Make a progress bar as tqdm does, which within :func:`whole` moves the bar of the whole."""
    owner = _current.get()
    if owner is None or disable:
        return tqdm(given, disable=disable, total=total, initial=initial, **look)
    return _Part(given, owner, len(given) if total is None and given is not None else total, initial)


def stage(name: str) -> None:
    """Begin a stage of the whole; nothing where there is none."""
    owner = _current.get()
    if owner is not None:
        owner.begin(name)


@contextlib.contextmanager
def whole(shares: Mapping[str, float], *, disable: bool = False) -> Iterator[None]:
    """Show one bar for all that happens inside: stages in their order, and how long each takes in comparison.

    With `disable` every step has a bar of its own, if any.
    """
    if disable:
        yield
        return
    owner = _Whole(shares)
    token = _current.set(owner)
    try:
        yield
        owner.bar.update(1.0 - owner.bar.n)
    finally:
        _current.reset(token)
        owner.bar.close()
        sys.stderr.flush()
