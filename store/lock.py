"""One writer a video: an flock that dies with its process.

The file says who took the lock and when, only to name them in messages; the lock itself is the
kernel's, so a killed writer's lock is free at once, and the next writer can say whose it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from store.errors import StoreRefused

LOCK_NAME = "writer.lock"
_PATIENCE = 0.3
"""Seconds to wait for who only asks whether a lock is held, which takes microseconds."""
_LONGEST_COMMAND = 200


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, or held it when the process ended: `started` is an ISO 8601 time."""

    pid: int
    host: str
    command: str
    started: str

    def __str__(self) -> str:
        """In words, with the age of the lock."""
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where} ({self.command}), since {_age(self.started)}"


class FileLock:
    """An exclusive lock on `path`, held from construction to `release`.

    Attributes:
        left_by: whose process ended without giving the lock up, None where nobody's did.

    Raises:
        StoreRefused: another process (or another part of this one) holds it.
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._fd = _take(path, what)
        self.left_by = _owner(self._fd)
        with suppress(OSError):  # a full disk: a lock without a name holds as well
            _sign(self._fd)

    def release(self, *, delete: bool = True) -> None:
        """Give the lock up; may be called twice."""
        if self._fd < 0:
            return
        try:
            if delete:
                # Deleted while still held: whoever waits notices that the name is another file's.
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)
            self._fd = -1


def _take(path: Path, what: str) -> int:
    give_up = time.monotonic() + _PATIENCE
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, fd):
                return fd
        except BlockingIOError:
            if time.monotonic() >= give_up:
                owner = str(_owner(fd) or "another process")
                os.close(fd)
                raise being_written(what, owner) from None
            time.sleep(0.02)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner deleted it between our open and our lock: try the new one


def being_written(what: str, who: str) -> StoreRefused:
    """Why a lock is not to be had."""
    return StoreRefused(f"{what} is being written by {who}", "wait until it ends, or stop it")


def holder(path: Path) -> str:
    """Who holds the lock on `path` in words, "" where no living process does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return str(_owner(fd) or "another process")
    finally:
        os.close(fd)
    return ""


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on `path`."""
    return bool(holder(path))


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    owner = Owner(
        os.getpid(),
        socket.gethostname(),
        _command(),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(owner), sort_keys=True).encode() + b"\n", 0)


def _command() -> str:
    """What this process was started with, short, and without passwords of streams' addresses."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return re.sub(r"//[^/@\s]*@", "//", " ".join((name, *sys.argv[1:])))[:_LONGEST_COMMAND]


def _owner(fd: int) -> Owner | None:
    """Who signed a lock file last; None where nobody did, or not as we do."""
    try:
        fields = json.loads(os.pread(fd, 4096, 0))
        texts = [str(fields[name])[:_LONGEST_COMMAND] for name in ("host", "command", "started")]
        return Owner(int(fields["pid"]), *texts)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _age(started: str) -> str:
    """A time and how long ago that is: "2025-01-02T03:04:05+00:00, 5 min ago"."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return started
    for size, word in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{started}, {seconds / size:.0f} {word} ago"
    return f"{started}, {max(seconds, 0):.0f} s ago"
