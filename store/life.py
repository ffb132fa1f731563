"""When videos were last asked, and which of them make room for others.

The time is the modification time of an empty file in the video's folder: noting it takes no lock
and no transaction, so a reader never waits for a writer, and it survives a lost index.
"""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import StoreRefused
from store.segment_file import file_name

if TYPE_CHECKING:
    from store.records import VideoRecord
    from store.state import VideoState
    from store.store import Store

ASKED = "asked"


def note_asked(folder: Path) -> None:
    """Remember that the video in `folder` was asked now; where that cannot be, nothing happens."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(OSError):  # no permission, disk full, or the video was removed meanwhile
        fd = os.open(folder / ASKED, flags, 0o666)
        try:
            os.utime(fd)
        finally:
            os.close(fd)


def asked_at(folder: Path) -> float | None:
    """When the video in `folder` was last asked, seconds since 1970; None for never."""
    return _changed(folder / ASKED)


def used_at(folder: Path) -> float:
    """When the video in `folder` was last asked, or else begun, seconds since 1970."""
    return max(_changed(folder / ASKED) or 0.0, _changed(folder / file_name(0)) or 0.0)


def make_room(
    store: Store, most: int, spare: Container[str] = ()
) -> list[tuple[VideoRecord, VideoState]]:
    """Remove whole videos, the least recently asked first, until segment files fit into `most`.

    Videos being written stay, and so do those in `spare`, even if that leaves too many bytes.

    Args:
        store: open for writing.
        most: bytes.
        spare: ids of videos to leave alone.

    Returns:
        What was removed, in this order.
    """
    videos = store.videos()
    total = sum(state.bytes for _, state in videos)
    used = {record.video_id: used_at(store.folder(record.video_id)) for record, _ in videos}
    removed = []
    for record, state in sorted(videos, key=lambda video: used[video[0].video_id]):
        if total <= most:
            break
        if record.video_id in spare:
            continue
        try:
            store.remove(record.video_id)
        except StoreRefused:
            continue  # it is being written
        total -= state.bytes
        removed.append((record, state))
    return removed


def _changed(path: Path) -> float | None:
    try:
        return path.lstat().st_mtime
    except OSError:
        return None
