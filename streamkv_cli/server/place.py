"""Where servers are found: one folder of the user's own, with a socket and a lock a server.

The lock is the kernel's and dies with its process, so what a killed server left behind is known for
what it is. The lock file says who serves what.
"""

import fcntl
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_runtime_path

from streamkv_cli.errors import EXIT_STORE_REFUSED, DiskError, StreamKVError

_LONGEST_PATH = 100
"""A socket's address has 104 bytes for its path on some systems, 108 on others."""


class AlreadyServedError(StreamKVError):
    """Another server does the same."""

    exit_code = EXIT_STORE_REFUSED


@dataclass(frozen=True)
class Place:
    """Where one server is, or was.

    Attributes:
        socket: its Unix socket.
        lock: locked for as long as it lives; holds what it serves as JSON.
    """

    socket: Path
    lock: Path

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def facts(self) -> dict[str, Any]:
        """What its server wrote of itself; empty where it has not yet, or nothing that reads."""
        try:
            value = json.loads(self.lock.read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


class Claim:
    """A place that is ours until `release`, or until this process ends.

    Args:
        place: to take; what a dead server left there is taken over.

    Raises:
        AlreadyServedError: a living server has it.
        DiskError: the folder cannot be written.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        try:
            self._fd = _lock(place)
            place.socket.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"{place.lock}: {error.strerror}", "check that folder") from None

    def note(self, facts: Mapping[str, Any]) -> None:
        """Write down what is served here."""
        data = json.dumps(facts, sort_keys=True).encode()
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

    def release(self) -> None:
        """Give the place up; may be called twice."""
        if self._fd >= 0:
            self.place.socket.unlink(missing_ok=True)
            self.place.lock.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def place_of(store: Path, model: str, device: str, dtype: str) -> Place:
    """Where the server of a store and a model is.

    Raises:
        DiskError: there is no private folder for it.
    """
    folder = runtime_folder()
    with suppress(FileExistsError):
        folder.mkdir(parents=True, mode=0o700)
    if not _private(folder):
        raise DiskError(
            f"{folder} is not a folder that only you can use",
            f"make it so: chmod 700 {folder}, or set XDG_RUNTIME_DIR",
        )
    name = f"{_key(str(store))}-{_key(model, device, dtype)}"
    return Place(folder / f"{name}.sock", folder / f"{name}.lock")


def places(store: Path | None = None) -> Iterator[Place]:
    """Every place where a server is or was: of one store, or of all."""
    folder = runtime_folder()
    if not _private(folder):
        return
    prefix = "" if store is None else f"{_key(str(store))}-"
    for lock in sorted(folder.glob(f"{prefix}*.lock")):
        yield Place(lock.with_suffix(".sock"), lock)


def sweep() -> None:
    """Delete what servers left behind that were killed."""
    for place in places():
        with suppress(DiskError, AlreadyServedError):
            Claim(place).release()


def runtime_folder() -> Path:
    """The folder of all servers of this user, whether it is there or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where XDG_RUNTIME_DIR cannot be used, it has another
        folder = user_runtime_path("streamkv")
    name = f"{_key('')}-{_key('')}.sock"
    if len(os.fsencode(folder / name)) <= _LONGEST_PATH:
        return folder
    return Path("/tmp") / f"streamkv-{os.getuid()}-{_key(str(folder))}"


def _private(folder: Path) -> bool:
    """Whether nobody else can have put something there: it may lie in a folder of everyone's."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def _lock(place: Place) -> int:
    while True:
        fd = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(place.lock), os.fstat(fd)):
                os.ftruncate(fd, 0)
                return fd
        except FileNotFoundError:
            pass  # its owner deleted it between our open and our lock
        except BlockingIOError:
            os.close(fd)
            pid = place.facts().get("pid")
            raise AlreadyServedError(
                f"a server of this store and model is already {_words(pid)}",
                "streamkv ps shows it, streamkv stop ends it",
            ) from None
        os.close(fd)


def _words(pid: object) -> str:
    return f"running, process {pid}" if pid else "starting"


def _key(*words: str) -> str:
    return hashlib.sha256(os.fsencode("\0".join(words))).hexdigest()[:12]
