"""Making the index again from the segment files alone."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from store.disk import sync_folder
from store.errors import StoreDamaged, disk_errors
from store.index import FOLDER, Index
from store.orphans import video_folders
from store.records import NOTHING_YET, first_difference
from store.root import VIDEOS, check_marker, drop_guard, take_guard
from store.segment_file import REMEDY, SegmentHead, file_name, file_number, read_head
from store.writer import index_puts

_NEW, _OLD = FOLDER + ".new", FOLDER + ".old"


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found: videos and segments indexed, and the damage it had to leave out."""

    videos: int
    segments: int
    damaged: tuple[StoreDamaged, ...]


def rebuild(path: str | os.PathLike[str]) -> Rebuilt:
    """Build the index of the store in `path` anew; the old one is replaced at the end.

    Of each video the segments up to the first damaged or missing one are indexed: what follows a
    gap would pass for its neighbour. Blocks are not read: each is verified when it is.

    Raises:
        StoreRefused: the store is being written, or of another format.
        StoreDiskError: the disk failed; the old index is still in place or a rerun completes.
    """
    root = Path(path)
    with disk_errors(root):
        check_marker(root)
        guard = take_guard(root, fcntl.LOCK_EX)
        try:
            return rebuild_index(root)
        finally:
            drop_guard(guard)


def rebuild_index(root: Path) -> Rebuilt:
    """The same, for who holds the store's guard already."""
    shutil.rmtree(root / _NEW, ignore_errors=True)
    index = Index(root / _NEW, write=True, create=True)
    try:
        result = _fill(index, root / VIDEOS)
    finally:
        index.close()
    sync_folder(root / _NEW)
    _swap(root)
    return result


def _swap(root: Path) -> None:
    """Readers that have the old index open keep it until they close; it is deleted at last."""
    shutil.rmtree(root / _OLD, ignore_errors=True)
    if (root / FOLDER).exists():
        os.rename(root / FOLDER, root / _OLD)
    os.rename(root / _NEW, root / FOLDER)
    sync_folder(root)
    shutil.rmtree(root / _OLD, ignore_errors=True)


def _fill(index: Index, videos: Path) -> Rebuilt:
    count, segments, damaged = 0, 0, []
    for folder in video_folders(videos):
        numbers = sorted(
            n for n in (file_number(e.name) for e in folder.iterdir()) if n is not None
        )
        state, first = NOTHING_YET, None
        for number in numbers:
            try:
                head = read_head(folder / file_name(number))
                _check_place(head, folder.name, number, state.segments, first)
            except StoreDamaged as error:
                damaged.append(error)
                break
            first = first or head
            state = state.after(head.segment)
            index.write(index_puts(head, state))
        count += state.segments > 0
        segments += state.segments
    return Rebuilt(count, segments, tuple(damaged))


def _check_place(
    head: SegmentHead, video_id: str, number: int, expected: int, first: SegmentHead | None
) -> None:
    """A whole file in the wrong place, or of another ingest, does not belong."""
    why = ""
    if head.video.video_id != video_id or head.segment.number != number:
        why = f"it is segment {head.segment.number} of video {head.video.video_id}"
    elif number != expected:
        why = f"segment {expected} before it is missing"
    elif first is not None and head.video != first.video:
        difference = first_difference(first.video, head.video) or "its record differs"
        why = f"it is of another ingest: {difference}"
    elif first is not None and head.segment.number and head.segment.start < first.segment.start:
        why = "it starts before the video does"
    if why:
        raise StoreDamaged(
            f"segment file {video_id}/{file_name(number)}: {why}",
            REMEDY,
            video=video_id,
            segment=number,
        )
