"""Checking the index file before LMDB maps it.

LMDB has no page checksums and trusts what it reads: a file shorter than its own page count, or a
flipped bit in a page number, kills the process (SIGBUS, SIGSEGV). Values are not looked at here:
each carries a checksum of its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import xxhash
from lmdb.verify import VerifyError, verify

from store.errors import StoreDamaged, StoreDiskError, StoreRefused, disk_errors

DATA = "data.mdb"
COMMITS = "commits"
REBUILD = "rebuild the index from the segment files (streamkv repair)"
# Walking all tree pages costs about 0.3 s a GiB; beyond this only the length is checked.
MOST_WALKED = 1 << 30
_TRIES = 20
_VERIFY: Callable[[str], list[str]] = verify  # untyped in its package
_PAGE_HEADER = 16
_META = struct.Struct("=IIQQ48s48sQQ")  # magic, version, address, map, two trees, last page, txn
_MAGIC, _DATA_VERSION = 0xBEEFC0DE, 1


class IndexBusyError(StoreRefused):
    """Others changed the index faster than it could be checked."""


def check_index(folder: Path, most: int = MOST_WALKED) -> None:
    """Raise StoreDamaged where LMDB could not safely read the index in `folder`.

    Args:
        most: bytes; of a larger index the pages are not walked.
    """
    data = folder / DATA
    for _ in range(_TRIES):
        noted = noted_commit(folder)  # first: what is committed meanwhile must not seem lost
        before, size = check_size(data)
        problem = _order(before)
        if max(before) < noted:
            problem = f"commit {noted} is gone, the last one is {max(before)}"
        if not problem and size <= most:
            problem = _walk(data)
        if not problem:
            return
        if check_size(data)[0] == before:
            raise StoreDamaged(f"the index is damaged ({problem}): {data}", REBUILD)
        # A writer committed meanwhile and may have reused pages under our feet: look again.
    raise IndexBusyError(f"the index changes too fast to be checked: {data}", "run again")


def note_commit(folder: Path, number: int) -> None:
    """Note beside the index that transaction `number` is durable.

    One flipped bit in a meta page can make LMDB take the state before the last commit for the
    latest. The note is not synced, and where it cannot be written the old one stays: it then finds
    less, and never too much.
    """
    raw = number.to_bytes(8, "little")
    raw += xxhash.xxh3_64_intdigest(raw).to_bytes(8, "little")
    with suppress(OSError):
        fd = os.open(folder / COMMITS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.pwrite(fd, raw, 0)
        finally:
            os.close(fd)


def noted_commit(folder: Path) -> int:
    """The last transaction that is noted as durable; 0 where there is no note, or no good one."""
    try:
        raw = (folder / COMMITS).read_bytes()
    except OSError:
        return 0
    good = len(raw) == 16 and xxhash.xxh3_64_intdigest(raw[:8]) == int.from_bytes(raw[8:], "little")
    return int.from_bytes(raw[:8], "little") if good else 0


def check_size(data: Path) -> tuple[tuple[int, int], int]:
    """Raise StoreDamaged unless `data` holds all the pages that its own meta pages count.

    Returns:
        The last two transactions, and the file's size in bytes.
    """
    try:
        with disk_errors(data), open(data, "rb", buffering=0) as file:
            metas = [_meta(os.pread(file.fileno(), 4096, 0))]
            page = metas[0][2]
            metas.append(_meta(os.pread(file.fileno(), 4096, page)))
            size = os.fstat(file.fileno()).st_size
    except StoreDiskError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise StoreDamaged(f"the index is missing: {data}", REBUILD) from None
        raise
    except ValueError as error:
        raise StoreDamaged(f"the index {error}: {data}", REBUILD) from error
    last = max(metas, key=lambda meta: meta[1])[0]
    if size < (last + 1) * page:
        raise StoreDamaged(
            f"the index is cut short at {size} of {(last + 1) * page} bytes: {data}", REBUILD
        )
    return (metas[0][1], metas[1][1]), size


def _order(txns: tuple[int, int]) -> str:
    """Meta pages are written in turn; a wrong number would bring an old state back."""
    return "" if abs(txns[0] - txns[1]) == 1 or txns == (0, 0) else f"meta pages {txns}"


def _walk(data: Path) -> str:
    """What is wrong with the index's pages, "" if nothing."""
    try:
        problems = _VERIFY(str(data.parent))
    except (VerifyError, ValueError, IndexError, struct.error, RecursionError) as error:
        return str(error)
    return problems[0] if problems else ""


def _meta(page: bytes) -> tuple[int, int, int]:
    """(last page, transaction, page size) of a meta page; ValueError where it is none."""
    if len(page) < _PAGE_HEADER + _META.size:
        raise ValueError("is cut short")
    magic, version, _, _, free, _, last, txn = _META.unpack_from(page, _PAGE_HEADER)
    size = int.from_bytes(free[:4], "little")
    if magic != _MAGIC or version != _DATA_VERSION or size not in (4096, 8192, 16384, 32768):
        raise ValueError("is not an LMDB 0.9 file of this machine's kind")
    return last, txn, size
