"""Reading chosen blocks and nothing else: exact ranges, verified before anyone sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from store.attached import read_attachment
from store.codec import codec_of
from store.disk import read_into
from store.errors import StoreDamaged, disk_errors
from store.segment_file import REMEDY, SegmentHead, file_name
from store.summaries import BlockRef


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


_MOST_FILES = 64
"""Files open at once; archives have more segments than a process may open."""


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
            for fd, runs in todo:
                _announce(fd, runs, refs)
            for fd, runs in todo:
                with disk_errors(_path(refs[runs[0][0]], videos)):
                    for run in runs:
                        _read_run(fd, parts, run, refs, count, names)


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


def _announce(fd: int, runs: Sequence[Sequence[int]], refs: Sequence[BlockRef]) -> None:
    """Tell the system what will be read: a disk answers many questions at once sooner than in turn.

    Threads that read would do the same, but cost more than they gain where it is in memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for run in runs:
        first = refs[run[0]]
        with suppress(OSError):  # only advice
            os.posix_fadvise(fd, first.offset, first.nbytes * len(run), os.POSIX_FADV_WILLNEED)


def verify_rows(path: Path, head: SegmentHead) -> int:
    """Read every block and attachment of a segment file, and compare it with its checksum.

    Returns:
        The bytes read.

    Raises:
        StoreDamaged: naming the first block that is not as written.
        StoreDiskError: the file cannot be read.
    """
    size, read = codec_of(head.video).block_bytes(head.video.geometry), 0
    buffer = memoryview(bytearray(size))
    names = {head.video.video_id: head.video.name}
    with disk_errors(path), open(path, "rb", buffering=0) as file:
        for layer, table in enumerate(head.tables):
            for row, checksum in enumerate(table.checksums):
                at = head.layout.kv[layer] + row * size
                place = (layer, head.segment.number, row, int(table.blocks[row]), at, size)
                ref = BlockRef(head.video.video_id, *place, int(checksum))
                got = read_into(file.fileno(), [buffer], at)
                read += got
                if got < size:
                    raise _damaged(ref, names, "its file is cut short")
                if xxhash.xxh3_64_intdigest(buffer) != ref.checksum:
                    raise _damaged(ref, names, "checksum mismatch")
    for name in head.segment.attachments:
        read += len(read_attachment(path.parent.parent, head.video, head.segment, name))
    return read


def _read_run(
    fd: int,
    parts: Sequence[memoryview],
    run: Sequence[int],
    refs: Sequence[BlockRef],
    count: IOCount,
    names: Mapping[str, str],
) -> None:
    """One read for blocks that lie side by side in the file, wherever their parts are."""
    size = refs[run[0]].nbytes
    got = read_into(fd, [parts[i] for i in run], refs[run[0]].offset)
    count.runs += 1
    count.bytes += got
    if got < size * len(run):
        raise _damaged(refs[run[got // size]], names, "its file is cut short")
    for i in run:
        if xxhash.xxh3_64_intdigest(parts[i]) != refs[i].checksum:
            raise _damaged(refs[i], names, "checksum mismatch")
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
