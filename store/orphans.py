"""Files that nothing refers to: what crashes leave behind, and nothing else does.

A file without an index entry was never seen by a reader, or was already removed from them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from store.disk import sync_folder
from store.lock import LOCK_NAME, is_held
from store.records import check_video_id
from store.segment_file import SUFFIX, TEMPORARY, file_number


def video_folders(videos: Path) -> list[Path]:
    """The folders of videos in `videos`, whatever else lies there left out."""
    return sorted(entry for entry in videos.iterdir() if _is_video(entry))


def clear(folder: Path, segments: int) -> list[Path]:
    """Delete what is no part of the first `segments` segments of a video; its lock is held.

    Returns:
        What was deleted.
    """
    stale = [entry for entry in folder.iterdir() if _stale(entry.name, segments)]
    for path in stale:
        path.unlink(missing_ok=True)
    if stale:
        sync_folder(folder)
    return stale


def find_orphans(videos: Path, known: Mapping[str, int]) -> list[Path]:
    """Orphan files in the folders of all videos, those with a living writer left out.

    Args:
        videos: the folder that holds the videos' folders.
        known: how many segments each indexed video has.
    """
    found: list[Path] = []
    for folder in video_folders(videos):
        if is_held(folder / LOCK_NAME):
            continue
        segments = known.get(folder.name, 0)
        found += sorted(entry for entry in folder.iterdir() if _stale(entry.name, segments))
        if segments == 0 and (folder / LOCK_NAME).exists():
            found.append(folder / LOCK_NAME)  # of a writer that was killed before its first segment
    return found


def _stale(name: str, segments: int) -> bool:
    number = file_number(name)
    return _is_temporary(name) if number is None else number >= segments


def _is_video(folder: Path) -> bool:
    try:
        check_video_id(folder.name)
    except ValueError:
        return False  # a folder that is none of ours
    return folder.is_dir()


def _is_temporary(name: str) -> bool:
    return name.endswith(SUFFIX + TEMPORARY)
