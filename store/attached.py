"""Reading attachments out of a segment file, each verified, without reading the rest."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from store.disk import read_into
from store.errors import StoreDamaged, StoreDiskError, StoreMissing, disk_errors
from store.records import SegmentRecord, VideoRecord
from store.segment_file import REMEDY, file_name

TAKEN_OUT = "streamkv repair takes it out of its file and keeps the segment"


def damaged_attachments(
    videos: Path, video: VideoRecord, segment: SegmentRecord
) -> dict[str, StoreDamaged | StoreDiskError]:
    """The attachments of a segment that do not read as they were written, and why, by name."""
    found: dict[str, StoreDamaged | StoreDiskError] = {}
    for name in segment.attachments:
        try:
            read_attachment(videos, video, segment, name)
        except (StoreDamaged, StoreDiskError) as error:
            found[name] = error
    return found


def read_attachment(videos: Path, video: VideoRecord, segment: SegmentRecord, name: str) -> bytes:
    """The bytes of attachment `name`.

    Attachments are the end of the file, in order of their names, so where one lies follows from
    the record alone.

    Args:
        videos: the folder that holds the videos' folders.

    Raises:
        StoreMissing: the segment has no such attachment.
        StoreDamaged: the bytes are not as written.
        StoreDiskError: the disk failed.
    """
    found = segment.attachments.get(name)
    if found is None:
        raise StoreMissing(
            f"segment {segment.number} of video {video.name} ({video.video_id}) has no "
            f"attachment {name!r}"
        )
    behind = sum(other.bytes for key, other in segment.attachments.items() if key >= name)
    path = videos / video.video_id / file_name(segment.number)
    data = bytearray(found.bytes)
    with disk_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise _damaged(video, segment, name, "its file is missing") from None
        try:
            got = read_into(fd, [memoryview(data)], segment.bytes - behind)
        finally:
            os.close(fd)
    if got < found.bytes:
        raise _damaged(video, segment, name, "its file is cut short")
    if xxhash.xxh3_64_intdigest(data) != found.checksum:
        raise _damaged(video, segment, name, "checksum mismatch", TAKEN_OUT)
    return bytes(data)


def _damaged(
    video: VideoRecord, segment: SegmentRecord, name: str, why: str, remedy: str = REMEDY
) -> StoreDamaged:
    return StoreDamaged(
        f"attachment {name!r} of segment {segment.number} of video {video.name} "
        f"({video.video_id}): {why}",
        remedy,
        video=video.video_id,
        segment=segment.number,
    )
