"""From an old format of the store to the one that is written now, without encoding anything again.

Segment files are immutable and are read in every format they were ever written in, so they stay as
they are. What changes is the index, which is made again from them, and last the marker. A crash
in between leaves an old marker over a new index: readable as before, and a rerun completes it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from store.disk import write_file
from store.errors import StoreRefused, disk_errors
from store.layout import FORMAT
from store.orphans import video_folders
from store.rebuild import rebuild_index
from store.root import MARKER, VIDEOS, check_marker, drop_guard, marker_bytes, take_guard
from store.segment_file import file_number, read_head


@dataclass(frozen=True)
class Migrated:
    """What a migration did, or would do: formats before and after, videos and segments in it."""

    old: int
    new: int
    videos: int
    segments: int


def migrate(path: str | os.PathLike[str], *, dry_run: bool = False) -> Migrated:
    """Bring the store in `path` to the format that is written now.

    Args:
        dry_run: verify that it could be done, and change nothing.

    Raises:
        StoreDamaged: a segment file's head is not as written; nothing is changed.
        StoreRefused: the store is being written, or of an unknown format.
        StoreDiskError: the disk failed; a rerun completes the migration.
    """
    root = Path(path)
    with disk_errors(root):
        old = check_marker(root)
        guard = take_guard(root, fcntl.LOCK_SH if dry_run else fcntl.LOCK_EX)
        try:
            videos, segments = _verify(root / VIDEOS)
            if old != FORMAT and not dry_run:
                rebuilt = rebuild_index(root)
                if rebuilt.segments != segments:
                    raise StoreRefused(
                        f"{segments - rebuilt.segments} segment files do not belong where they "
                        f"are: {rebuilt.damaged[0].what}",
                        "streamkv repair names them",
                    )
                write_file(root / MARKER, marker_bytes())
        finally:
            drop_guard(guard)
    return Migrated(old, FORMAT, videos, segments)


def _verify(videos: Path) -> tuple[int, int]:
    """Count videos and segments, the head of every file verified."""
    counts = []
    for folder in video_folders(videos):
        names = [e for e in folder.iterdir() if file_number(e.name) is not None]
        for name in names:
            read_head(name)
        counts.append(len(names))
    return sum(count > 0 for count in counts), sum(counts)
