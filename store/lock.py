"""One writer a video: an flock that dies with its process.

The file holds the owner's pid and the time it took the lock, only to name it in messages; the
lock itself is the kernel's, so a killed writer leaves nothing to clean up.
"""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from store.errors import StoreRefused

LOCK_NAME = "writer.lock"


class FileLock:
    """An exclusive lock on `path`, held from construction to `release`.

    Raises:
        StoreRefused: another process (or another part of this one) holds it.
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._fd = _take(path, what)

    def release(self, *, delete: bool = True) -> None:
        """Give the lock up; may be called twice."""
        if self._fd < 0:
            return
        if delete:
            # Deleted while still held: whoever waits notices that the name means another file.
            self.path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = -1


def _take(path: Path, what: str) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, fd):
                _sign(fd)
                return fd
        except BlockingIOError:
            raise StoreRefused(
                f"{what} is being written by process {_owner(fd)}",
                "wait until it ends, or stop it",
            ) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner deleted it between our open and our lock: try the new one


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on `path`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    owner = {"pid": os.getpid(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(owner, sort_keys=True).encode() + b"\n", 0)


def _owner(fd: int) -> str:
    """The pid and time of a lock's owner in words, and `fd` closed."""
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
        return f"{int(owner['pid'])} since {owner['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    finally:
        os.close(fd)
