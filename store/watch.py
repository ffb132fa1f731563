"""Noticing that the index file was cut short while it is open.

LMDB reads through a memory map, and touching a page behind the end of the file kills the process
(SIGBUS). The index never shrinks by itself. So its length is looked at before each step that
touches the map, and what a step finds is copied out at once: microseconds, not a whole question.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from store.errors import StoreDamaged, disk_errors
from store.index_check import DATA, REBUILD


class Watch:
    """Watches the files of one open index.

    Args:
        folder: the index's folder; both its files exist.
    """

    def __init__(self, folder: Path) -> None:
        self._data, self._lock = folder / DATA, folder / "lock.mdb"
        with disk_errors(self._data):
            # A descriptor, because a rebuild puts another file under the name.
            self._fd = os.open(self._data, os.O_RDONLY | os.O_CLOEXEC)
        self._least = os.fstat(self._fd).st_size
        self._lock_was = self._lock_now()

    def mend(self) -> None:
        """Before a transaction or the index is given up: that writes to the lock file's map.

        Zeros are a lock file that nobody uses, which is as much as there is left of it.
        """
        now = self._lock_now()
        if now and self._lock_was and now[0] == self._lock_was[0] and now[1] < self._lock_was[1]:
            with suppress(OSError):
                os.truncate(self._lock, self._lock_was[1])

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._fd >= 0:
            with suppress(OSError):  # it was only looked at
                os.close(self._fd)
            self._fd = -1

    @property
    def current(self) -> bool:
        """Whether the file under the name is still the one that was opened."""
        try:
            return os.path.samestat(os.stat(self._data), os.fstat(self._fd))
        except OSError:
            return False

    def begin(self) -> None:
        """Before a transaction: both files.

        Raises:
            StoreDamaged: one of them is shorter than it was.
        """
        now = self._lock_now()
        if now and self._lock_was and now[0] == self._lock_was[0] and now[1] < self._lock_was[1]:
            raise _cut(self._lock, now[1], self._lock_was[1])
        self.step()

    def step(self) -> None:
        """Before each look into the map: the data alone; as `begin`."""
        size = os.fstat(self._fd).st_size
        if size < self._least:
            raise _cut(self._data, size, self._least)
        self._least = size

    def _lock_now(self) -> tuple[int, int] | None:
        # By its name: closing a descriptor of lock.mdb would drop this process's locks on it.
        try:
            found = os.stat(self._lock)
        except OSError:
            return None
        return found.st_ino, found.st_size


def _cut(path: Path, size: int, before: int) -> StoreDamaged:
    return StoreDamaged(
        f"the index was cut short to {size} of {before} bytes while it was open: {path}", REBUILD
    )
