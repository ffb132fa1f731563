"""Find the videos a user means."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from streamkv_cli.errors import NothingFoundError

if TYPE_CHECKING:
    from store import Store, VideoRecord, VideoState

_SHORTEST_ID = 4


def select_videos(
    store: "Store", wanted: Sequence[str] = ()
) -> list[tuple["VideoRecord", "VideoState"]]:
    """Videos by name, path, glob over names, or (the start of) an id; all without a wish.

    Raises:
        NothingFoundError: the store is empty, or a wish matches nothing.
    """
    videos = sorted(store.videos(), key=lambda video: (video[0].name, video[0].video_id))
    if not videos:
        raise NothingFoundError(
            f"the store {store.path} holds no video yet",
            "ingest one first: streamkv ingest video.mp4 --model MODEL",
        )
    if not wanted:
        return videos
    found: dict[str, tuple[VideoRecord, VideoState]] = {}
    for wish in wanted:
        matches = [video for video in videos if _matches(video[0], wish)]
        if not matches:
            raise NothingFoundError(
                f"no video {wish} in the store {store.path}", "streamkv ls shows what there is"
            )
        found |= {record.video_id: (record, state) for record, state in matches}
    return list(found.values())


def _matches(record: "VideoRecord", wish: str) -> bool:
    return (
        wish in (record.name, record.source, record.video_id)
        or (len(wish) >= _SHORTEST_ID and record.video_id.startswith(wish))
        or fnmatchcase(record.name, wish)
    )
