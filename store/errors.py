"""Every error a user of the store can meet: one line of what happened, one way out.

The store knows nothing of the program around it, so the kinds are its own; the program maps them
to exit codes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_DISK_REMEDIES = {
    errno.ENOSPC: "free space on that disk, then run again",
    errno.EDQUOT: "free space within the disk quota, then run again",
    errno.EFBIG: "raise the limit on file sizes, then run again",
    errno.EIO: "check the disk: it failed to read or write",
    errno.EACCES: "check the permissions of that path",
    errno.EPERM: "check the permissions of that path",
    errno.ELOOP: "a store's files are no symbolic links: put the file itself there",
    errno.EROFS: "that file system is read-only: put the store elsewhere or remount it",
}


class StoreError(Exception):
    """A foreseeable failure of the store; `str` gives one line, "what; remedy".

    Args:
        what: what happened, to what: one line without a full stop at the end.
        remedy: what the user can do about it: one line, may be empty.
    """

    kind = "store"

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: "what; remedy"."""
        line = f"{self.what}; {self.remedy}" if self.remedy else self.what
        return " ".join(line.split())


class StoreMissing(StoreError):  # noqa: N818 - the kinds read as states of a store
    """There is no store, or no such video in it."""

    kind = "missing"


class StoreRefused(StoreError):  # noqa: N818
    """The store is whole but may not be used so: identity, format version or a lock."""

    kind = "refused"


class StoreDamaged(StoreError):  # noqa: N818
    """Bytes on disk are not what was written there.

    Args:
        what: what is damaged.
        remedy: how to get a whole store again.
        video: the video's id, where known.
        segment: the segment's number, where known.
        layer: the layer, where known.
    """

    kind = "damaged"

    def __init__(
        self,
        what: str,
        remedy: str = "",
        *,
        video: str | None = None,
        segment: int | None = None,
        layer: int | None = None,
    ) -> None:
        super().__init__(what, remedy)
        self.video = video
        self.segment = segment
        self.layer = layer


class StoreDiskError(StoreError):
    """The disk or the file system failed: full, no permission, I/O error."""

    kind = "disk"

    @classmethod
    def of(cls, error: OSError, path: str | os.PathLike[str]) -> StoreDiskError:
        """The error for what the system reported about `path`."""
        reason = error.strerror or str(error)
        remedy = _DISK_REMEDIES.get(error.errno or 0, "check that path and its disk")
        return cls(f"{reason}: {os.fspath(path)}", remedy)


@contextmanager
def disk_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system reports inside the block into a StoreDiskError naming `path`."""
    try:
        yield
    except OSError as error:
        raise StoreDiskError.of(error, path) from error
