"""Loops that numba compiles when they are first called, and keeps on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["MANY", "compiled"]

MANY = 1 << 27  # values from which on a loop that numpy could do gains more than it takes to load numba


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop over arrays, for threads without the interpreter's lock; divisions by 0 give inf, as in numpy."""
    from numba import njit  # here because it takes half a second that most commands can do without

    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder that a compiled function could be kept in
        return njit(nogil=True, error_model="numpy")(function)
