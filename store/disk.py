"""Reading and writing bytes so that they are surely there: exact reads, durable writes.

A failed fsync is never tried again: the kernel may have dropped the dirty pages, and a second
call would report success for bytes that are lost.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_MOST_BUFFERS = 512  # below every system's IOV_MAX
_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)
_NETWORK_TYPES = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre"}
_NETWORK_TYPES |= {"beegfs", "gpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.rclone"}


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls it takes."""
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def read_into(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
    """Fill `buffers` one after the other from `offset` on.

    Returns:
        The bytes read: fewer than asked for where the file ends too early.
    """
    total = 0
    todo = behind(buffers, 0)
    while todo:
        got = os.preadv(fd, todo[:_MOST_BUFFERS], offset + total)
        if got == 0:
            break
        total += got
        todo = behind(todo, got)
    return total


def read_cached(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
    """As `read_into`, as far as the bytes are in the page cache; never waits for a disk.

    Returns:
        The bytes read, the first ones: 0 also where the system cannot tell.
    """
    if not _NO_WAIT:
        return 0
    try:
        return os.preadv(fd, buffers[:_MOST_BUFFERS], offset, _NO_WAIT)
    except OSError:
        # Not there, or a file system that does not know the flag: to be read in earnest.
        return 0


def behind(buffers: Sequence[memoryview], done: int) -> list[memoryview]:
    """What of `buffers` is left to fill once their first `done` bytes are."""
    left = []
    for buffer in buffers:
        taken = min(done, len(buffer))
        done -= taken
        if taken < len(buffer):
            left.append(buffer[taken:] if taken else buffer)
    return left


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create `folder` below an existing one, durably; nothing happens where it exists."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    sync_folder(folder.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all, durably."""
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_at(fd, memoryview(data), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)
    sync_folder(path.parent)


def network_file_system(path: Path) -> str:
    """The type of the network file system that holds `path`; "" for a local or unknown one.

    Memory maps and locks are not coherent across the machines that share such a file system.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        where = before.split()[4].replace("\\040", " ")
        inside = place == where or place.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best):
            best, kind = where, after.split()[0]
    return kind if kind in _NETWORK_TYPES else ""
