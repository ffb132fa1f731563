"""Threads for work that leaves the interpreter's lock: reads and checksums of large pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_MOST = 4
"""Threads that keep memory busy; more take turns."""


def threads_at_most() -> int:
    """Threads that this process may use for one piece of work."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST, len(os.sched_getaffinity(0)))
    return min(_MOST, os.cpu_count() or 1)


def in_threads(work: Callable[[_In], _Out], shares: Sequence[_In]) -> list[_Out]:
    """Do `work` on every share, the first in the calling thread; all have ended on return.

    Raises:
        The error of the first share, in their order, that had one.
    """
    if len(shares) < 2:
        return [work(share) for share in shares]
    others = [_pool(os.getpid()).submit(work, share) for share in shares[1:]]
    try:
        first = work(shares[0])
    finally:
        wait(others)  # whoever called may close what they read from
    return [first, *(other.result() for other in others)]


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Kept between calls: a question fetches once a layer. Threads do not survive a fork."""
    return ThreadPoolExecutor(_MOST - 1, f"streamkv-store-{process}")
