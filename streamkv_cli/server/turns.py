"""Whose turn it is: one piece of work at a time, in the order of asking, all in one thread.

One thread, because LMDB's snapshots and torch's pools of threads belong to threads.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class GoneError(Exception):
    """Nobody waits for this work any more."""


class Turns:
    """The queue for the model."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._count = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Pieces of work that wait or are being done."""
        return self._count

    def take(self, work: Callable[[], T], gone: "Gone") -> T:
        """Wait for a turn, do the work, and return what it returns or raises.

        Raises:
            GoneError: whoever wants it has gone meanwhile.
        """
        with self._lock:
            self._count += 1
        try:
            future: Future[T] = self._pool.submit(work)
            with gone.calling(future.cancel):
                return future.result()
        except CancelledError:
            raise GoneError from None
        finally:
            with self._lock:
                self._count -= 1

    def close(self, last: Callable[[], object], patience: float) -> bool:
        """Do a last piece of work; False where it does not come to that in `patience` seconds."""
        future = self._pool.submit(last)
        self._pool.shutdown(wait=False)
        try:
            future.result(patience)
        except TimeoutError:
            return False
        return True


class Gone:
    """Whether whoever asked has gone, and what is to be done when that happens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone = False
        self._call: Callable[[], object] | None = None

    def check(self) -> None:
        """GoneError once nobody waits any more."""
        if self._gone:
            raise GoneError

    def set(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._gone = True
            call = self._call
        if call is not None:
            call()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Call this, if it happens within the block or has happened before."""
        self._watch(call)
        try:
            yield
        finally:
            self._watch(None)

    def _watch(self, call: Callable[[], object] | None) -> None:
        with self._lock:
            self._call = call
            gone = self._gone
        if gone and call is not None:
            call()
