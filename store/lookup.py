"""Records out of the index, damage named by video and segment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from store import entries
from store.errors import StoreDamaged, StoreMissing
from store.index import Snapshot
from store.index_check import REBUILD
from store.records import SegmentRecord, VideoRecord, check_video_id
from store.state import VideoState

if TYPE_CHECKING:
    from store.summaries import BlockRef


def find_video(snapshot: Snapshot, video_id: str) -> tuple[VideoRecord, VideoState]:
    """A video and its state; StoreMissing where there is no such video."""
    key = entries.video_key(check_video_id(video_id))
    value = snapshot.get("videos", key)
    if value is None:
        raise StoreMissing(f"no video {video_id} in the store", "list the videos it holds")
    return read_video(key, value)


def read_video(key: bytes, value: bytes) -> tuple[VideoRecord, VideoState]:
    """An entry of `videos`; StoreDamaged where it is not as written."""
    try:
        found = entries.read_video(key, value)
        if entries.video_key(found[0].video_id) != key:
            raise ValueError(f"it is of video {found[0].video_id}")
        return found
    except (ValueError, RecursionError) as error:
        video = bytes(key).hex()
        raise StoreDamaged(
            f"the index entry of video {video}: {error}", REBUILD, video=video
        ) from error


def read_segment(video: VideoRecord, key: bytes, value: bytes) -> SegmentRecord:
    """An entry of `segments` of `video`; StoreDamaged where it is not as written."""
    try:
        found = entries.read_segment(key, value)
        if entries.segment_key(video.video_id, found.number) != key:
            raise ValueError(f"it is of segment {found.number}")
        if len(found.kept) != video.geometry.layers:
            raise ValueError("its record and the video's geometry differ in layers")
        return found
    except (ValueError, RecursionError) as error:
        number = int.from_bytes(key[-4:], "big")
        raise StoreDamaged(
            f"the index entry of segment {number} of video {video.name}: {error}",
            REBUILD,
            video=video.video_id,
            segment=number,
        ) from error


def find_segment(snapshot: Snapshot, video: VideoRecord, number: int) -> SegmentRecord:
    """One segment of a video; StoreMissing where it has none of that number."""
    value = None
    if 0 <= number < 1 << 32:
        key = entries.segment_key(video.video_id, number)
        value = snapshot.get("segments", key)
    if value is None:
        raise StoreMissing(f"video {video.name} ({video.video_id}) has no segment {number}")
    return read_segment(video, key, value)


def refuse_removed(
    snapshot: Snapshot,
    error: StoreDamaged,
    refs: Sequence[BlockRef],
    videos: Mapping[str, VideoRecord],
) -> None:
    """Tell damage from a video that was removed while its blocks were read.

    Args:
        error: what reading `refs` said.
        videos: as they were when the refs were made, by id.

    Raises:
        StoreMissing: the video is gone, or its segment is another one by now.
    """
    video = videos.get(error.video or "")
    if video is None or error.segment is None:
        return
    if snapshot.get("videos", entries.video_key(video.video_id)) is None:
        raise StoreMissing(
            f"video {video.name} ({video.video_id}) was removed while it was read",
            "ask without it, or ingest it again",
        ) from None
    for ref in refs:
        if (ref.video_id, ref.segment) != (video.video_id, error.segment):
            continue
        key = entries.summary_key(ref.layer, ref.video_id, ref.segment)
        value = snapshot.get("summaries", key)
        try:
            sums = entries.read_summary(key, value).checksums if value else ()
        except ValueError:
            return  # damage, and the error says so
        if ref.row >= len(sums) or int(sums[ref.row]) != ref.checksum:
            raise StoreMissing(
                f"video {video.name} ({video.video_id}) was removed and ingested again while it "
                f"was read",
                "ask again",
            ) from None
