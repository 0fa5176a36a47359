"""Where the methods of results that draw find what draws: functions by name, looked up on first use.

A result such as :class:`seqsal.Attributions` lies on a low layer and may not import the pictures above it, yet
`attr.plot()` is where a user looks for them. So its method asks here for a view by name, and `seqsal/__init__.py`,
which is above every layer and runs before any of them, says which function that is. (pandas finds its plotting backend
in the same way.) Nothing is imported before a view is asked for; a test proves that views are named there alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["name_views", "view"]

_HOMES: dict[str, str] = {}


def name_views(homes: Mapping[str, str]) -> None:
    """Say which function each view is, as `module:function`."""
    _HOMES.update(homes)


def view(name: str) -> Callable[..., Any]:
    """Return the function of a view."""
    module, _, function = _HOMES[name].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
