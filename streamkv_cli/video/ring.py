"""The shared memory through which pictures travel: a ring of slots in one nameless file.

A nameless file in memory (memfd; elsewhere an unlinked temporary file) cannot outlive its two
processes, however they end, and is not bound by the small /dev/shm of containers.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RING_BYTES = 256 * 1024 * 1024


def memory_file() -> int:
    """A new nameless file, empty; the caller owns the descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("streamkv-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def slot_count(ahead: int, width: int, height: int) -> int:
    """Slots of a ring: `ahead`, fewer where pictures are so large that they would pass 256 MiB."""
    return max(1, min(ahead, max(2, RING_BYTES // (width * height * 3))))


class Ring:
    """Slots of uint8 `[height, width, 3]` over a memory file, for either side.

    Args:
        fd: the memory file; the ring does not close it.
        slots: number of slots.
        width: pixels of each picture.
        height: pixels of each picture.
        create: make the file as long as the ring (the writer does).
    """

    def __init__(self, fd: int, slots: int, width: int, height: int, *, create: bool) -> None:
        import numpy as np

        size = slots * width * height * 3
        if create:
            os.ftruncate(fd, size)
        elif os.fstat(fd).st_size < size:
            raise ValueError("the ring is shorter than announced")
        self.slots = slots
        self._map = mmap.mmap(fd, size)
        self._pictures: NDArray[np.uint8] | None = np.frombuffer(self._map, dtype=np.uint8).reshape(
            slots, height, width, 3
        )

    def slot(self, number: int) -> NDArray[np.uint8]:
        """The picture in slot `number % slots`: a view, good until the slot is used again."""
        if self._pictures is None:
            raise ValueError("the ring is closed")
        picture: NDArray[np.uint8] = self._pictures[number % self.slots]
        return picture

    def close(self) -> None:
        """Give the memory back."""
        self._pictures = None
        with contextlib.suppress(BufferError):  # a view still in use keeps it until it goes
            self._map.close()
