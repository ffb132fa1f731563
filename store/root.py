"""The store's folder: its marker, its creation, and who may change it as a whole."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from store.disk import make_folder, network_file_system, sync_folder, write_file
from store.errors import StoreDamaged, StoreMissing, StoreRefused
from store.index import FOLDER, Index
from store.index_check import REBUILD
from store.layout import FORMAT, READABLE

MARKER = "streamkv.json"
VIDEOS = "videos"


def marker_bytes(number: int = FORMAT) -> bytes:
    """The whole marker file of a store of that format."""
    return b'{"format": %d}\n' % number


def check_marker(root: Path) -> int:
    """The format of the store in `root`; an error unless this program can read it."""
    try:
        data = (root / MARKER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        found = "no store there" if root.exists() else "nothing there"
        raise StoreMissing(
            f"{found}: {root}", "give the folder of a store, or ingest a video"
        ) from None
    try:
        number = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if isinstance(number, int) and number not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise StoreRefused(
            f"the store has format {number}, this program reads formats {known}: {root}",
            "use the version of the program that wrote it",
        )
    if not isinstance(number, int) or data != marker_bytes(number):
        raise StoreDamaged(
            f"the marker file is not as written: {root / MARKER}",
            f"make it hold the one line {marker_bytes().decode().strip()}",
        )
    return number


def refuse_old(root: Path, number: int) -> None:
    """Refuse to write to a store of a format that is only read."""
    if number != FORMAT:
        raise StoreRefused(
            f"the store has format {number}, which is read and no longer written: {root}",
            f"bring it to format {FORMAT} first: streamkv migrate --store {root}",
        )


_PATIENCE = 5.0
"""Seconds to wait for another process that creates the store, which takes milliseconds."""


def take_guard(root: Path, how: int) -> int:
    """Lock the store's folder: shared by all who write, exclusive for who rebuilds the index."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() < give_up:
                time.sleep(0.02)
                continue
        os.close(fd)
        what = "is being rebuilt" if how == fcntl.LOCK_SH else "is being written"
        raise StoreRefused(f"the store {what} by another process: {root}", "wait, then run again")


def drop_guard(fd: int) -> None:
    """Release what `take_guard` took."""
    if fd >= 0:
        with suppress(OSError):  # nothing was written through it
            os.close(fd)


def create_store(root: Path) -> None:
    """Make an empty store: the marker comes last, so that a folder with it has all the rest."""
    root.mkdir(parents=True, exist_ok=True)
    guard = take_guard(root, fcntl.LOCK_EX)
    try:
        if (root / MARKER).exists():
            return
        videos = root / VIDEOS
        strangers = {entry.name for entry in root.iterdir()} - {FOLDER, VIDEOS, MARKER + ".tmp"}
        if strangers or (videos.exists() and any(videos.iterdir())):
            raise StoreRefused(
                f"the folder is neither empty nor a store: {root}", "give a new or an empty folder"
            )
        for entry in (root / FOLDER).glob("*.mdb"):
            entry.unlink()  # of a creation that was cut short: nothing was in it
        Index(root / FOLDER, write=True, create=True).close()
        sync_folder(root / FOLDER)
        make_folder(videos)
        write_file(root / MARKER, marker_bytes())
        sync_folder(root.parent)
    finally:
        drop_guard(guard)


def refuse_network(root: Path, write: bool) -> None:
    """Refuse to write to a store on a network file system."""
    kind = network_file_system(root) if write else ""
    if kind:
        raise StoreRefused(
            f"the store would lie on a network file system ({kind}): {root}",
            "keep it on a local disk: locks and memory maps fail there",
        )


def open_index(root: Path, number: int, *, write: bool) -> Index:
    """The index of a store of format `number`; it may be newer, where a migration was cut short."""
    index = Index(root / FOLDER, write=write)
    if index.format < number:
        index.close()
        raise StoreDamaged(f"the index is of format {index.format}: {root / FOLDER}", REBUILD)
    return index
