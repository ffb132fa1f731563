"""Looking for damage without changing anything, while others read and write.

Each video is looked at as of a moment of its own, and what looks wrong is looked at again: a
writer or a removal may have come in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from store import entries
from store.attached import damaged_attachments
from store.blocks import verify_rows
from store.coarse import DATABASE as COARSE
from store.coarse import coarse_value
from store.errors import (
    StoreDamaged,
    StoreDiskError,
    StoreError,
    StoreMissing,
    disk_errors,
)
from store.index import FOLDER, Index, Snapshot
from store.index_check import REBUILD, IndexBusyError, check_index
from store.lock import LOCK_NAME, holder
from store.lookup import find_video
from store.orphans import find_orphans, video_folders
from store.records import SegmentRecord, VideoRecord
from store.root import VIDEOS, check_marker, open_index
from store.segment_file import REMEDY, SegmentHead, file_name, read_head
from store.state import Gap, VideoState, find_gaps
from store.tags import read_tags
from store.writer import index_puts

DAMAGE, ORPHAN, NOTE = "damage", "orphan", "note"
_FILL = "streamkv repair shows the command that fills it"
_PRUNE = "streamkv prune deletes it"


@dataclass(frozen=True)
class Finding:
    """One thing a check found: what it is, where, and what to do about it.

    Args:
        kind: "damage"; "orphan" for a file that no video needs; "note" for what is no fault.
        what: one line; names video, segment and layer where they are known.
    """

    kind: str
    what: str
    remedy: str = ""
    video: str | None = None
    segment: int | None = None
    layer: int | None = None


Told = Callable[[VideoRecord, int], None]


def check(
    path: str | os.PathLike[str],
    videos: Sequence[str] = (),
    *,
    read_data: bool = False,
    on_segment: Told = lambda _video, _bytes: None,
) -> Iterator[Finding]:
    """Find what is wrong with the store in `path`; nothing is locked or changed.

    Args:
        videos: ids of the videos to look at; none for all, orphans and the index included.
        read_data: read and verify every block; else files' heads and the index.
        on_segment: told of each segment that was looked at, and of the bytes verified.

    Raises:
        StoreMissing, StoreRefused, StoreDamaged: no store, or of another format.
        StoreDiskError: the disk failed.
    """
    root = Path(path)
    with disk_errors(root):
        number = check_marker(root)
        for leftover in (FOLDER + ".new", FOLDER + ".old"):
            if (root / leftover).exists():
                what = f"{root / leftover} is left from a repair that was cut short"
                yield Finding(ORPHAN, what, "run streamkv repair again")
        try:
            index = _opened(root, number)
        except StoreDamaged as error:
            yield _finding(error)
            yield from _files(root / VIDEOS, videos, read_data, on_segment)
            return
        except IndexBusyError as error:
            yield Finding(NOTE, str(error))
            index = open_index(root, number, write=False)
        try:
            yield from _Checked(index, root / VIDEOS, read_data, on_segment).all(videos)
        finally:
            index.close()


def _opened(root: Path, number: int) -> Index:
    """The index, all of its pages walked however large it is."""
    check_index(root / FOLDER, most=1 << 62)
    return open_index(root, number, write=False)


def _files(
    videos: Path, wanted: Sequence[str], read_data: bool, on_segment: Told
) -> Iterator[Finding]:
    """The segment files alone, where there is no index to compare them with."""
    for folder in video_folders(videos):
        if wanted and folder.name not in wanted:
            continue
        for path in sorted(folder.glob("*.safetensors")):
            try:
                head = read_head(path)
            except (StoreDamaged, StoreDiskError) as error:
                yield _finding(error)
                continue
            read, wrong = _verify(path, head) if read_data else (0, [])
            yield from wrong
            if not wrong:
                on_segment(head.video, read)


@dataclass
class _Checked:
    """One check of a store whose index can be opened."""

    index: Index
    videos: Path
    read_data: bool
    on_segment: Told
    damaged: set[str] = field(default_factory=set)

    def all(self, wanted: Sequence[str]) -> Iterator[Finding]:
        """Every finding, video by video."""
        with self.index.read() as snapshot:
            keys = list(snapshot.keys("videos"))
        for key in keys:
            video_id = key.hex()
            if wanted and video_id not in wanted:
                continue
            with suppress(StoreMissing):  # removed since
                try:
                    with self.index.read() as snapshot:
                        video, state = find_video(snapshot, video_id)
                except StoreDamaged as error:
                    self.damaged.add(video_id)
                    yield _finding(error)
                    continue
                yield from self._video(video, state)
        if not wanted:
            yield from self._strangers()
            yield from self._orphans()

    def _video(self, video: VideoRecord, state: VideoState) -> Iterator[Finding]:
        folder, name = self.videos / video.video_id, video.name
        if who := holder(folder / LOCK_NAME):
            what = f"{name} is being written by {who}"
            yield Finding(NOTE, what, video=video.video_id)
        for number in state.numbers():
            found = self._segment(video, number)
            if found and self._still(video, number):
                yield from found
        for gap in self._gaps(video, state):
            end = "the end" if gap.end is None else f"{gap.end:.1f} s"
            what = f"{name} ({video.video_id}) has a gap from {gap.start:.1f} s to {end}"
            yield Finding(DAMAGE, what, _FILL, video.video_id, gap.first)
        yield from self._surplus(video)
        yield from self._coarse(video)
        yield from self._tags(video)

    def _segment(self, video: VideoRecord, number: int) -> list[Finding]:
        """Compare a segment's file with all that the index says of it."""
        path = self.videos / video.video_id / file_name(number)
        where = f"segment {number} of {video.name} ({video.video_id})"
        try:
            head = read_head(path)
        except (StoreDamaged, StoreDiskError) as error:
            return [_finding(error, video, number)]
        # Tags are given and taken at any time; what a segment's file says of them is how they were.
        same = replace(head.video, tags=video.tags) == video
        if not same or head.segment.number != number:
            what = f"{where}: its file is of another ingest or another place"
            return [Finding(DAMAGE, what, REMEDY, video.video_id, number)]
        found = []
        with self.index.read() as snapshot:
            state = find_video(snapshot, video.video_id)[1]
            for database, key, value in index_puts(replace(head, video=video), state):
                stored = snapshot.get(database, key)
                if stored is None or not _same(database, key, stored, value):
                    layer = int.from_bytes(key[:2], "big") if database == "summaries" else None
                    at = where if layer is None else f"layer {layer} of {where}"
                    why = "is missing" if stored is None else _why(key, stored)
                    what = f"the index entry of {at} {why}"
                    found.append(Finding(DAMAGE, what, REBUILD, video.video_id, number, layer))
        read, wrong = _verify(path, head) if self.read_data else (0, [])
        self.on_segment(video, read)
        return found + wrong

    def _still(self, video: VideoRecord, number: int) -> bool:
        """Whether the index still holds this very segment: else it was removed meanwhile."""
        with self.index.read() as snapshot:
            try:
                now, state = find_video(snapshot, video.video_id)
            except StoreMissing:
                return False
        return replace(now, tags=video.tags) == video and state.holds(number)

    def _gaps(self, video: VideoRecord, state: VideoState) -> list[Gap]:
        """Gaps with their seconds, which the segments beside them tell."""
        beside = {number + step for number in state.missing for step in (-1, 1)}
        there: list[SegmentRecord] = []
        with self.index.read() as snapshot:
            for number in filter(state.holds, beside):
                key = entries.segment_key(video.video_id, max(number, 0))
                value = snapshot.get("segments", key)
                with suppress(ValueError):
                    if value is not None:
                        there.append(entries.read_segment(key, value))
        return find_gaps(state, there)

    def _tags(self, video: VideoRecord) -> Iterator[Finding]:
        """The file that says which tags were changed since the ingest."""
        try:
            tags = read_tags(self.videos / video.video_id)
        except StoreDamaged as error:
            yield _finding(error, video)
            return
        if tags is not None and tags != dict(video.tags) and self._record(video) == video:
            what = f"tags of {video.name} ({video.video_id}) were being changed and are not yet"
            yield Finding(NOTE, what, "change them again", video.video_id)

    def _record(self, video: VideoRecord) -> VideoRecord | None:
        """A video's record as it is now."""
        with self.index.read() as snapshot, suppress(StoreMissing, StoreDamaged):
            return find_video(snapshot, video.video_id)[0]
        return None

    def _surplus(self, video: VideoRecord) -> Iterator[Finding]:
        """Entries of segments that the video does not have."""
        prefixes = {"segments": [entries.video_key(video.video_id)]}
        layers = range(video.geometry.layers)
        prefixes["summaries"] = [entries.summary_prefix(layer, video.video_id) for layer in layers]
        for database, all_prefixes in prefixes.items():
            for layer, prefix in enumerate(all_prefixes):
                with self.index.read() as snapshot:
                    try:
                        state = find_video(snapshot, video.video_id)[1]
                    except (StoreMissing, StoreDamaged):
                        return
                    numbers = [
                        int.from_bytes(key[-4:], "big") for key in snapshot.keys(database, prefix)
                    ]
                for number in numbers:
                    if not state.holds(number):
                        at = f"layer {layer} of " if database == "summaries" else ""
                        what = f"the index has {at}segment {number} of {video.name}, which it lacks"
                        yield Finding(DAMAGE, what, REBUILD, video.video_id, number)

    def _coarse(self, video: VideoRecord) -> Iterator[Finding]:
        """Coarse entries that do not follow from the other ones; an index may lack them."""
        for layer in range(video.geometry.layers):
            with self.index.read() as snapshot:
                try:
                    state = find_video(snapshot, video.video_id)[1]
                except (StoreMissing, StoreDamaged):
                    return
                prefix = entries.summary_prefix(layer, video.video_id)
                for key, stored in snapshot.scan(COARSE, prefix):
                    run = int.from_bytes(key[-4:], "big")
                    try:
                        value = coarse_value(video, state, layer, run, partial(_entry, snapshot))
                    except ValueError:
                        continue  # of an entry that was named above
                    if stored != value:
                        what = f"the index's coarse entry {run} of layer {layer} of {video.name} "
                        what += "is not what its segments' entries make it"
                        yield Finding(DAMAGE, what, REBUILD, video.video_id, None, layer)

    def _strangers(self) -> Iterator[Finding]:
        """Entries of videos that the index does not list."""
        found: set[tuple[str, bytes]] = set()
        with self.index.read() as snapshot:
            known = set(snapshot.keys("videos"))
            for database, at in (("segments", 0), ("summaries", 2), (COARSE, 2)):
                for key in snapshot.keys(database):
                    video = key[at : at + 8]
                    if video not in known:
                        found.add((database, video))
        for database, video in sorted(found):
            what = f"the index has {database} of an unknown video {video.hex()}"
            yield Finding(DAMAGE, what, REBUILD, video.hex())

    def _orphans(self) -> Iterator[Finding]:
        with self.index.read() as snapshot:
            known = {}
            for key, value in snapshot.scan("videos"):
                with suppress(ValueError):
                    video, state = entries.read_video(key, value)
                    known[video.video_id] = state
        for path in find_orphans(self.videos, known, self.damaged):
            size = path.stat().st_size if path.is_file() else 0
            yield Finding(ORPHAN, f"{path} ({size} bytes) is needed by no video", _PRUNE)


def _finding(
    error: StoreError, video: VideoRecord | None = None, number: int | None = None
) -> Finding:
    """What an error says; of one that knows no video, the place where it was met."""
    if isinstance(error, StoreDamaged):
        name = f" of {video.name}" if video and video.name not in error.what else ""
        where = (error.video, error.segment, error.layer)
        return Finding(DAMAGE, error.what + name, error.remedy, *where)
    at = f"segment {number} of {video.name} ({video.video_id}): " if video else ""
    return Finding(DAMAGE, at + error.what, error.remedy, video.video_id if video else None, number)


def _verify(path: Path, head: SegmentHead) -> tuple[int, list[Finding]]:
    """Read all of a segment file behind its head: bytes that are as written, and what is not."""
    video, segment, errors, read = head.video, head.segment, [], 0
    try:
        read = verify_rows(path, head)
    except (StoreDamaged, StoreDiskError) as error:
        errors.append(error)
    damaged = damaged_attachments(path.parent.parent, video, segment)
    read += sum(each.bytes for name, each in segment.attachments.items() if name not in damaged)
    return read, [_finding(error, video, segment.number) for error in (*errors, *damaged.values())]


def _entry(snapshot: Snapshot, key: bytes) -> bytes | None:
    return snapshot.get("summaries", key)


_READ = {"videos": entries.read_video, "segments": entries.read_segment}


def _same(database: str, key: bytes, stored: bytes, value: bytes) -> bool:
    """Whether an entry says what it should, in the words of whichever format it is."""
    if bytes(stored) == value:
        return True
    read = _READ.get(database)
    with suppress(ValueError):
        return read is not None and read(key, stored) == read(key, value)
    return False


def _why(key: bytes, stored: bytes) -> str:
    """What is wrong with an entry that is not what its segment's file says."""
    try:
        entries.unseal(key, stored)
    except ValueError as error:
        return f"does not read: {error}"
    return "differs from its file"
