"""Files that nothing refers to: what crashes leave behind, and nothing else does.

A file without an index entry was never seen by a reader, or was already removed from them all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Container, Mapping
from pathlib import Path

from store.disk import sync_folder
from store.life import ASKED
from store.lock import LOCK_NAME, is_held
from store.records import check_video_id
from store.segment_file import SUFFIX, TEMPORARY, file_number
from store.state import NOTHING_YET, VideoState
from store.tags import TAGS_NAME

REMOVED = "removed"
SET_ASIDE = ".damaged"


def video_folders(videos: Path) -> list[Path]:
    """The folders of videos in `videos`, whatever else lies there left out."""
    return sorted(entry for entry in videos.iterdir() if _is_video(entry))


def clear(folder: Path, state: VideoState, *, rescued: bool = True) -> list[Path]:
    """Delete what is no part of a video in this state; its lock is held.

    Args:
        rescued: delete what a repair set aside, too.

    Returns:
        What was deleted.
    """
    stale = [entry for entry in folder.iterdir() if _stale(entry.name, state)]
    if not rescued:
        stale = [entry for entry in stale if not entry.name.endswith(SET_ASIDE)]
    if not state.held:
        stale += [entry for entry in folder.iterdir() if entry.name == ASKED]
    for path in stale:
        path.unlink(missing_ok=True)
    if stale:
        sync_folder(folder)
    # The note of a removal goes last: while a file is left, so is the reason not to index it.
    note = folder / REMOVED
    if note.exists():
        note.unlink(missing_ok=True)
        stale.append(note)
    return stale


def note_removal(folder: Path) -> None:
    """Say in a video's folder that its files are being removed: no rebuild takes them back."""
    try:
        os.close(os.open(folder / REMOVED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return  # a full disk shall not keep anyone from making room
        raise
    sync_folder(folder)


def set_aside(path: Path) -> Path:
    """Rename a damaged segment file so that it is out of the way, its whole blocks not lost."""
    aside = path.with_name(path.name + SET_ASIDE)
    os.replace(path, aside)
    sync_folder(path.parent)
    return aside


def find_orphans(
    videos: Path, known: Mapping[str, VideoState], skip: Container[str] = ()
) -> list[Path]:
    """Orphan files in the folders of all videos, those with a living writer left out.

    Args:
        videos: the folder that holds the videos' folders.
        known: the state of each indexed video.
        skip: ids of videos whose index entry does not read: nobody knows what they need.
    """
    found: list[Path] = []
    for folder in video_folders(videos):
        if folder.name in skip or is_held(folder / LOCK_NAME):
            continue
        state = known.get(folder.name, NOTHING_YET)
        found += sorted(e for e in folder.iterdir() if e.name == REMOVED or _stale(e.name, state))
        if not state.held and (folder / ASKED).exists():
            found.append(folder / ASKED)  # of a question while the video was removed
        if not state.held and (folder / LOCK_NAME).exists():
            found.append(folder / LOCK_NAME)  # of a writer that was killed before its first segment
        if not state.held and not any(folder.iterdir()):
            found.append(folder)
    return found


def _stale(name: str, state: VideoState) -> bool:
    number = file_number(name)
    if number is None:
        leftovers = (SUFFIX + TEMPORARY, SUFFIX + SET_ASIDE, TAGS_NAME + TEMPORARY)
        return name.endswith(leftovers) or (name == TAGS_NAME and not state.held)
    return not state.holds(number)


def _is_video(folder: Path) -> bool:
    try:
        check_video_id(folder.name)
    except ValueError:
        return False  # a folder that is none of ours
    return folder.is_dir() and not folder.is_symlink()
