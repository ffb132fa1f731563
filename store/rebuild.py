"""Making the index again from the segment files alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from store import entries
from store.attached import TAKEN_OUT, damaged_attachments
from store.blocks import verify_rows
from store.disk import sync_folder
from store.errors import StoreDamaged, StoreDiskError, StoreError, disk_errors
from store.index import FOLDER, Index
from store.mend import rewrite, without
from store.orphans import REMOVED, set_aside, video_folders
from store.records import SegmentRecord, VideoRecord, first_difference
from store.root import VIDEOS, check_marker, drop_guard, take_guard
from store.segment_file import REMEDY, SegmentHead, file_name, file_number, read_head
from store.state import NOTHING_YET, Gap, VideoState
from store.tags import read_tags
from store.writer import coarse_puts, index_puts

_NEW, _OLD = FOLDER + ".new", FOLDER + ".old"
Told = Callable[[VideoRecord, int], None]


@dataclass(frozen=True)
class Unfinished:
    """A video that a rebuild could not make whole: its gaps, the last one open if it never ended.

    `lost` tells the video whose segments were found damaged from one whose ingest goes on later.
    """

    video: VideoRecord
    state: VideoState
    gaps: tuple[Gap, ...]
    lost: bool


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found: videos and segments indexed, the damage left out, the gaps it left.

    `mended` is damage that cost no segment: attachments, which were taken out of their files.
    """

    videos: int
    segments: int
    damaged: tuple[StoreDamaged, ...]
    unfinished: tuple[Unfinished, ...]
    mended: tuple[StoreDamaged, ...] = ()


def rebuild(
    path: str | os.PathLike[str],
    *,
    read_data: bool = False,
    dry_run: bool = False,
    on_segment: Told = lambda _video, _bytes: None,
) -> Rebuilt:
    """Build the index of the store in `path` anew; the old one is replaced at the end.

    A segment that is damaged or missing leaves a gap: what lies before and behind it is indexed,
    and the state says which numbers are lost. A damaged file is set aside under another name; one
    whose attachments alone are damaged is written again without them.

    Args:
        read_data: verify every block, too; else only the files' heads.
        dry_run: find out, change nothing.
        on_segment: told of each file that was verified, and of its size.

    Raises:
        StoreRefused: the store is being written, or of another format.
        StoreDiskError: the disk failed; the old index is still in place or a rerun completes.
    """
    root = Path(path)
    with disk_errors(root):
        check_marker(root)
        guard = take_guard(root, fcntl.LOCK_EX)
        try:
            if dry_run:
                return _fill(None, root / VIDEOS, read_data, on_segment, {})
            return rebuild_index(root, read_data=read_data, on_segment=on_segment)
        finally:
            drop_guard(guard)


def rebuild_index(
    root: Path, *, read_data: bool = False, on_segment: Told = lambda _video, _bytes: None
) -> Rebuilt:
    """The same, for who holds the store's guard already."""
    shutil.rmtree(root / _NEW, ignore_errors=True)
    mended: dict[Path, SegmentHead] = {}
    with _new_index(root / _NEW) as index:
        result = _fill(index, root / VIDEOS, read_data, on_segment, mended)
    sync_folder(root / _NEW)
    _swap(root)
    for path, head in mended.items():
        rewrite(path, head)
    for damage in result.damaged:
        if damage.video is not None and damage.segment is not None:
            set_aside(root / VIDEOS / damage.video / file_name(damage.segment))
    return result


@contextmanager
def _new_index(folder: Path) -> Iterator[Index]:
    index = Index(folder, write=True, create=True)
    try:
        yield index
    finally:
        index.close()


def _swap(root: Path) -> None:
    """Readers that have the old index open keep it until they close; it is deleted at last."""
    shutil.rmtree(root / _OLD, ignore_errors=True)
    if (root / FOLDER).exists():
        os.rename(root / FOLDER, root / _OLD)
    os.rename(root / _NEW, root / FOLDER)
    sync_folder(root)
    shutil.rmtree(root / _OLD, ignore_errors=True)


def _fill(
    index: Index | None,
    videos: Path,
    read_data: bool,
    on_segment: Told,
    mended: dict[Path, SegmentHead],
) -> Rebuilt:
    """Index what is good; `mended` gets the files to be written again, which are indexed so."""
    count, segments = 0, 0
    damaged: list[StoreDamaged] = []
    taken_out: list[StoreDamaged] = []
    unfinished: list[Unfinished] = []
    for folder in video_folders(videos):
        if (folder / REMOVED).exists():
            continue  # its removal was cut short: prune ends it
        found = _Found(folder, damaged)
        for head in found.heads(read_data):
            on_segment(head.video, head.segment.bytes)
            if read_data and (worse := _bad_attachments(videos, head)):
                taken_out += worse.values()
                head = mended[folder / file_name(head.segment.number)] = without(head, worse)
            if index is not None:
                puts = index_puts(head, found.state)
                index.write(puts + coarse_puts(index, head, found.state, puts))
        if found.video is not None:
            damaged += _apply_tags(index, folder, found.video, found.state)
        count += found.state.held > 0
        segments += found.state.held
        if found.video is not None and not found.state.complete:
            unfinished.append(Unfinished(found.video, found.state, found.gaps(), found.lost))
    return Rebuilt(count, segments, tuple(damaged), tuple(unfinished), tuple(taken_out))


def _bad_attachments(videos: Path, head: SegmentHead) -> dict[str, StoreDamaged]:
    """Attachments that are not as written, or that the disk does not give back, by name."""
    number = head.segment.number
    return {
        name: _damage(error, head.video.video_id, number, TAKEN_OUT)
        for name, error in damaged_attachments(videos, head.video, head.segment).items()
    }


class _Found:
    """What is good in the folder of one video, one segment after the other."""

    def __init__(self, folder: Path, damaged: list[StoreDamaged]) -> None:
        self.folder = folder
        self.damaged = damaged
        self.video: VideoRecord | None = None
        self.state = NOTHING_YET
        self.lost = False
        self._last: SegmentRecord | None = None
        self._gaps: list[Gap] = []

    def heads(self, read_data: bool) -> Iterator[SegmentHead]:
        """Each good segment file's head, `state` being the video's state with it."""
        names = (entry.name for entry in self.folder.iterdir())
        for number in sorted(n for n in map(file_number, names) if n is not None):
            path = self.folder / file_name(number)
            try:
                head = read_head(path)
                self._check_place(head, number)
                if read_data:
                    verify_rows(path, head)
            except (StoreDamaged, StoreDiskError) as error:
                self.damaged.append(_damage(error, self.folder.name, number, REMEDY))
                self.lost = True
                continue
            self._take(head)
            yield head

    def gaps(self) -> tuple[Gap, ...]:
        """The numbers and seconds that are lost; the last gap is open where no end was found."""
        if self.state.ended or self._last is None:
            return tuple(self._gaps)
        return (*self._gaps, Gap(self.state.segments, None, self._last.end, None))

    def _take(self, head: SegmentHead) -> None:
        segment = head.segment
        expected = self.state.segments
        if segment.number > expected:
            start = self._last.end if self._last else 0.0
            self._gaps.append(Gap(expected, segment.number - 1, start, segment.start))
            self.lost = True
        self.video = self.video or head.video
        self.state = self.state.after(segment)
        self._last = replace(segment, spans=())

    def _check_place(self, head: SegmentHead, number: int) -> None:
        """A whole file in the wrong place, or of another ingest, does not belong."""
        why, segment = "", head.segment
        if head.video.video_id != self.folder.name or segment.number != number:
            why = f"it is segment {segment.number} of video {head.video.video_id}"
        elif self.video is not None and _untagged(head.video) != _untagged(self.video):
            difference = first_difference(self.video, head.video) or "its record differs"
            why = f"it is of another ingest: {difference}"
        elif self._last is not None and segment.start < self._last.start:
            why = f"it starts before segment {self._last.number} does"
        elif self.state.ended:
            why = f"segment {self.state.segments - 1} before it is the video's last"
        if why:
            raise StoreDamaged(
                f"segment file {self.folder.name}/{file_name(number)}: {why}",
                REMEDY,
                video=self.folder.name,
                segment=number,
            )


def _damage(error: StoreError, video: str, number: int, remedy: str) -> StoreDamaged:
    """What the disk does not give back is lost as much as what is garbled."""
    if isinstance(error, StoreDamaged):
        return error
    code = getattr(error.__cause__, "errno", 0)
    if code not in (errno.EIO, errno.EISDIR, errno.ELOOP):
        raise error
    what = f"segment {number} of video {video} does not read ({error.what})"
    return StoreDamaged(what, remedy, video=video, segment=number)


def _apply_tags(
    index: Index | None, folder: Path, video: VideoRecord, state: VideoState
) -> list[StoreDamaged]:
    """Tags changed since the ingest go before those in the segment files."""
    try:
        tags = read_tags(folder)
    except StoreDamaged as error:
        return [error]
    if tags is not None and index is not None:
        key = entries.video_key(video.video_id)
        index.write([("videos", key, entries.video_value(replace(video, tags=tags), state))])
    return []


def _untagged(video: VideoRecord) -> VideoRecord:
    return replace(video, tags={})  # tags may have changed between two segments
