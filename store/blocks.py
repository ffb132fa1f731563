"""Reading chosen blocks and nothing else: exact ranges, verified before anyone sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from store.codec import codec_of
from store.disk import behind, read_cached, read_into
from store.errors import StoreDamaged, disk_errors
from store.segment_file import REMEDY, SegmentHead, file_name
from store.summaries import BlockRef
from store.threads import in_threads, threads_at_most


@dataclass
class IOCount:
    """What reading blocks has really cost so far.

    Args:
        blocks: blocks read and verified.
        bytes: bytes read from segment files.
        files: segment files opened.
        runs: reads, neighbouring blocks being read at once.
    """

    blocks: int = 0
    bytes: int = 0
    files: int = 0
    runs: int = 0

    def add(self, other: IOCount) -> None:
        """Count what another has counted."""
        self.blocks += other.blocks
        self.bytes += other.bytes
        self.files += other.files
        self.runs += other.runs


_MOST_FILES = 64
"""Files open at once; archives have more segments than a process may open."""
_LARGE_BLOCK = 1 << 17
"""Bytes of the smallest block that several threads read: with less they wait for one another."""
_SHARE = 1 << 22
"""Bytes that are worth a thread."""

_File = tuple[int, list[list[int]]]
"""A file's descriptor, and the runs that are read of it."""


def fill(
    parts: Sequence[memoryview],
    refs: Sequence[BlockRef],
    videos: Path,
    count: IOCount,
    names: Mapping[str, str],
) -> None:
    """Read block `refs[i]` into `parts[i]`, and verify it.

    Args:
        parts: writable bytes, `refs[i].nbytes` of them each.
        videos: the folder that holds the videos' folders.
        count: added to.
        names: what the user calls each video, by id, for messages.

    Raises:
        StoreDamaged: a file is missing, ends too early, or a block is not as written.
        StoreDiskError: the disk failed.
    """
    order = sorted(range(len(refs)), key=lambda i: (refs[i].video_id, refs[i].segment, refs[i].row))
    files = list(_groups(order, refs))
    for at in range(0, len(files), _MOST_FILES):
        with ExitStack() as opened:
            todo = [
                (_open(refs[file[0]], videos, names, opened), list(_runs(file, refs)))
                for file in files[at : at + _MOST_FILES]
            ]
            count.files += len(todo)

            def read(share: Sequence[_File]) -> IOCount:
                return _read_files(share, parts, refs, videos, names)

            for part in in_threads(read, _shares(todo, refs)):
                count.add(part)


def _shares(todo: Sequence[_File], refs: Sequence[BlockRef]) -> list[Sequence[_File]]:
    """Files for each thread: one thread's worth where all is small, for taking turns costs more."""
    size = refs[todo[0][1][0][0]].nbytes
    total = size * sum(len(run) for _, runs in todo for run in runs)
    threads = 1 if size < _LARGE_BLOCK else min(threads_at_most(), total // _SHARE, len(todo))
    each = -(-len(todo) // max(threads, 1))
    return [todo[at : at + each] for at in range(0, len(todo), each)]


def _read_files(
    share: Sequence[_File],
    parts: Sequence[memoryview],
    refs: Sequence[BlockRef],
    videos: Path,
    names: Mapping[str, str],
) -> IOCount:
    """What is in memory first; the rest is announced, so that a disk sees all of it at once."""
    count, later = IOCount(), []
    for fd, runs in share:
        for run in runs:
            buffers = [parts[i] for i in run]
            got = read_cached(fd, buffers, refs[run[0]].offset)
            count.bytes += got
            if got == refs[run[0]].nbytes * len(run):
                _verify(run, parts, refs, count, names)
            else:
                later.append((fd, run, got))
    for fd, run, got in later:
        _announce(fd, refs[run[0]].offset + got, refs[run[0]].nbytes * len(run) - got)
    for fd, run, got in later:
        with disk_errors(_path(refs[run[0]], videos)):
            buffers = behind([parts[i] for i in run], got)
            more = read_into(fd, buffers, refs[run[0]].offset + got)
        count.bytes += more
        size = refs[run[0]].nbytes
        if got + more < size * len(run):
            raise _damaged(refs[run[(got + more) // size]], names, "its file is cut short")
        _verify(run, parts, refs, count, names)
    return count


def _open(ref: BlockRef, videos: Path, names: Mapping[str, str], opened: ExitStack) -> int:
    """The file of a block, closed with `opened`."""
    path = _path(ref, videos)
    with disk_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _damaged(ref, names, "its file is missing") from None
    opened.callback(os.close, fd)
    return fd


def _path(ref: BlockRef, videos: Path) -> str:
    # Hundreds of files a question: a Path of each would cost as much as opening it.
    return f"{videos}{os.sep}{ref.video_id}{os.sep}{file_name(ref.segment)}"


def _announce(fd: int, offset: int, size: int) -> None:
    """Tell the system what will be read: a disk answers many questions at once soonest."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # only advice
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)


def verified_rows(path: Path, head: SegmentHead) -> Iterator[memoryview]:
    """Every block of a segment file, in the order of the file; each is good until the next.

    Raises:
        StoreDamaged: naming the first block that is not as written.
        StoreDiskError: the file cannot be read.
    """
    size = codec_of(head.video).block_bytes(head.video.geometry)
    buffer = memoryview(bytearray(size))
    names = {head.video.video_id: head.video.name}
    with disk_errors(path), open(path, "rb", buffering=0) as file:
        for layer, table in enumerate(head.tables):
            for row, checksum in enumerate(table.checksums):
                at = head.layout.kv[layer] + row * size
                place = (layer, head.segment.number, row, int(table.blocks[row]), at, size)
                ref = BlockRef(head.video.video_id, *place, int(checksum))
                if read_into(file.fileno(), [buffer], at) < size:
                    raise _damaged(ref, names, "its file is cut short")
                if xxhash.xxh3_64_intdigest(buffer) != ref.checksum:
                    raise _damaged(ref, names, "checksum mismatch")
                yield buffer


def verify_rows(path: Path, head: SegmentHead) -> int:
    """Read every block of a segment file, and compare it with its checksum.

    Returns:
        The bytes read.

    Raises:
        StoreDamaged, StoreDiskError: as `verified_rows`.
    """
    return sum(len(row) for row in verified_rows(path, head))


def _verify(
    run: Sequence[int],
    parts: Sequence[memoryview],
    refs: Sequence[BlockRef],
    count: IOCount,
    names: Mapping[str, str],
) -> None:
    """Compare what one read brought with its checksums, while the processor's cache has it."""
    for i in run:
        if xxhash.xxh3_64_intdigest(parts[i]) != refs[i].checksum:
            raise _damaged(refs[i], names, "checksum mismatch")
    count.runs += 1
    count.blocks += len(run)


def _groups(order: Sequence[int], refs: Sequence[BlockRef]) -> Iterator[list[int]]:
    """`order`, cut where another file begins."""
    group: list[int] = []
    for i in order:
        if group and _file(refs[i]) != _file(refs[group[0]]):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _runs(group: Sequence[int], refs: Sequence[BlockRef]) -> Iterator[list[int]]:
    """`group`, cut wherever a block does not follow right after the one before."""
    run = [group[0]]
    for i in group[1:]:
        before = refs[run[-1]]
        if refs[i].offset != before.offset + before.nbytes:
            yield run
            run = []
        run.append(i)
    yield run


def _file(ref: BlockRef) -> tuple[str, int]:
    return ref.video_id, ref.segment


def _damaged(ref: BlockRef, names: Mapping[str, str], why: str) -> StoreDamaged:
    return StoreDamaged(
        f"block {ref.block} in layer {ref.layer} of segment {ref.segment} of video "
        f"{names[ref.video_id]} ({ref.video_id}): {why}",
        REMEDY,
        video=ref.video_id,
        segment=ref.segment,
        layer=ref.layer,
    )
