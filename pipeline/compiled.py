"""Functions that are compiled, and cached where some folder can be written: on a cluster there may be none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; it does not hold the GIL."""
    return _compiled(function, "never")


def inlined(function: Function) -> Function:
    """Compile a function into every compiled function that calls it."""
    return _compiled(function, "always")


def _compiled(function: Function, inline: Literal["never", "always"]) -> Function:
    try:
        fast = numba.njit(cache=True, nogil=True, inline=inline)(function)
    except RuntimeError:  # numba finds no place for its cache
        fast = numba.njit(nogil=True, inline=inline)(function)
    return cast("Function", fast)
