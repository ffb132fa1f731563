"""The store: a folder of segment files and the index that is derived from them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from store import entries
from store.attached import read_attachment
from store.blocks import IOCount
from store.coarse import DATABASE as COARSE
from store.disk import make_folder, sync_folder
from store.errors import StoreDamaged, StoreMissing, StoreRefused, disk_errors
from store.index import FOLDER, Delete, Index, Snapshot
from store.index_check import DATA, REBUILD
from store.kinds import refuse_other_kinds, refuse_other_shape
from store.life import asked_at, note_asked
from store.lock import LOCK_NAME, FileLock, being_written, holder
from store.lookup import (
    find_segment,
    find_video,
    read_segment,
    read_video,
    refuse_removed,
)
from store.orphans import clear, find_orphans, note_removal
from store.records import (
    SegmentRecord,
    VideoRecord,
    check_video_id,
    first_difference,
    video_from_json,
    video_to_json,
)
from store.root import (
    MARKER,
    VIDEOS,
    check_marker,
    create_store,
    drop_guard,
    open_index,
    refuse_network,
    refuse_old,
    take_guard,
)
from store.scan import Scan, SegmentKeys, scan_layer
from store.state import NOTHING_YET, VideoState
from store.summaries import BlockRef, LayerSummaries, read_layer
from store.tags import write_tags
from store.writer import VideoWriter, refuse_difference

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import torch

_MOST_PARSED = 4096
"""Entries of `videos` kept as they were parsed; some kilobytes each."""


class Store:
    """An open store; get it from `Store.open` and use it in a `with` block.

    A process opens a store once at a time, and does not carry an open one across a fork.

    Attributes:
        path: the store's folder.
        io: what `read_blocks` has read so far.
        unlocked: why reading goes without locks beside writers, "" where it has them.
    """

    def __init__(self, path: Path, index: Index, *, write: bool, guard: int) -> None:
        self.path = path
        self.io = IOCount()
        self.unlocked = index.unlocked
        self._index = index
        self._write = write
        self._guard = guard
        self._records: dict[str, VideoRecord] = {}
        self._entries: dict[str, tuple[bytes, tuple[VideoRecord, VideoState]]] = {}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, write: bool = False, create: bool = False
    ) -> Store:
        """Open the store in `path`.

        Args:
            write: for adding and removing videos; else for reading.
            create: make a store where there is none (and open it for writing).

        Raises:
            StoreMissing: nothing there, or nothing that is a store.
            StoreRefused: of an unknown format, or of an old one and to be written; being rebuilt;
                already open in this process; to be written on a network file system.
            StoreDamaged: its marker or its index does not read.
            StoreDiskError: no permission, disk full, I/O error.
        """
        root = Path(path)
        write = write or create
        refuse_network(root, write)
        with disk_errors(root):
            if create and not (root / MARKER).exists():
                create_store(root)
            number = check_marker(root)
            if write:
                refuse_old(root, number)
            guard = take_guard(root, fcntl.LOCK_SH) if write else -1
            try:
                index = open_index(root, number, write=write)
            except BaseException:
                drop_guard(guard)
                raise
        return cls(root, index, write=write, guard=guard)

    def __enter__(self) -> Self:
        """The object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, whatever happened."""
        self.close()

    def close(self) -> None:
        """Close the store; may be called twice."""
        self._index.close()
        drop_guard(self._guard)
        self._guard = -1

    @property
    def current(self) -> bool:
        """Whether it is still what lies in its folder: not removed, replaced, rebuilt, migrated."""
        return (self.path / MARKER).exists() and self._index.current

    def videos(self) -> list[tuple[VideoRecord, VideoState]]:
        """Every video and how far it has come, in order of their ids."""
        with self._index.read() as snapshot:
            return [read_video(key, value) for key, value in snapshot.scan("videos")]

    def find(self, video_id: str) -> tuple[VideoRecord, VideoState] | None:
        """A video and how far it has come; None where the store does not know it."""
        with self._index.read() as snapshot:
            try:
                return find_video(snapshot, video_id)
            except StoreMissing:
                return None

    def segments(self, video_id: str) -> list[SegmentRecord]:
        """The segments of a video, in order; StoreMissing where there is no such video."""
        with self._index.read() as snapshot:
            video, state = find_video(snapshot, video_id)
            found = [
                read_segment(video, key, value)
                for key, value in snapshot.scan("segments", entries.video_key(video_id))
            ]
        if not state.agrees([segment.number for segment in found]):
            raise StoreDamaged(
                f"the index has {len(found)} of {state.held} segments of video {video.name}",
                REBUILD,
                video=video_id,
            )
        return found

    def state(self, video_id: str) -> VideoState:
        """How far a video has come; StoreMissing where there is no such video."""
        with self._index.read() as snapshot:
            return find_video(snapshot, video_id)[1]

    def segment(self, video_id: str, number: int) -> SegmentRecord:
        """One segment of a video; StoreMissing where there is no such video or segment."""
        with self._index.read() as snapshot:
            return find_segment(snapshot, self._parsed(snapshot, video_id)[0], number)

    def summaries(
        self,
        layer: int,
        video_ids: Sequence[str],
        segments: Mapping[str, Iterable[int]] | None = None,
    ) -> LayerSummaries:
        """The block keys of `layer` of these videos, all as of one moment.

        Args:
            segments: numbers of the segments wanted of each video, by its id, ascending; all
                segments without it.

        Raises:
            StoreMissing: there is no such video.
            StoreRefused: their keys differ in shape or dtype, so no one model can read them all.
            StoreDamaged: an index entry is missing or not as written.
            ValueError: no such layer.
        """
        with self._index.read() as snapshot:
            return read_layer(
                snapshot, layer, self._of_one_kind(snapshot, layer, video_ids), segments
            )

    def scan_segments(self, layer: int, scan: Scan, chunk: int = 2048) -> Iterator[SegmentKeys]:
        """One key a segment of `layer`, in chunks: a scan that holds no more than one of them.

        Args:
            scan: of what; the same for all layers.
            chunk: segments held at a time, give or take a run.

        Raises:
            As `summaries`.
        """
        refuse_other_kinds(scan.kinds, layer)
        with self._index.read(views=True) as snapshot:
            yield from scan_layer(snapshot, layer, scan, chunk)

    def read_blocks(
        self, layer: int, refs: Sequence[BlockRef], device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """The KV of the chosen blocks, and no byte more is read for it.

        Args:
            layer: the layer all of `refs` are of.
            refs: from `LayerSummaries.ref`, in any order, of one or many videos.
            device: where the blocks are decoded; their bytes go there as they are on disk.

        Returns:
            [n, 2, kv_heads, tokens, head_dim] on `device`, in the order of `refs`.

        Raises:
            StoreDamaged: a block is not as it was written: never wrong KV.
            StoreMissing: a video has been removed meanwhile, ingested again or not.
        """
        import torch

        from store.fetch import fetch

        if not refs:
            return torch.empty((0, 2, 0, 0, 0), device=device)
        if any(ref.layer != layer for ref in refs):
            raise ValueError(f"not all of these blocks are of layer {layer}")
        videos = dict.fromkeys(ref.video_id for ref in refs)
        records = {video_id: self._record(video_id) for video_id in videos}
        for record in records.values():
            refuse_other_shape(record, records[refs[0].video_id])
        try:
            return fetch(refs, records, self.path / VIDEOS, self.io, device)
        except StoreDamaged as error:
            with self._index.read() as snapshot:
                refuse_removed(snapshot, error, refs, records)
            raise

    def attachment(self, video_id: str, segment: int, name: str) -> bytes:
        """A small byte string that was stored with a segment.

        Raises:
            StoreMissing: there is no such video, segment or attachment.
            StoreDamaged: it is not as it was written.
        """
        with self._index.read() as snapshot:
            video, _ = find_video(snapshot, video_id)
            record = find_segment(snapshot, video, segment)
        return read_attachment(self.path / VIDEOS, video, record, name)

    def folder(self, video_id: str) -> Path:
        """Where a video's files are."""
        return self.path / VIDEOS / check_video_id(video_id)

    def index_bytes(self) -> int:
        """What the index takes on disk, its holes not counted."""
        data = self.path / FOLDER / DATA
        with disk_errors(data):
            return os.stat(data).st_blocks * 512

    def note_asked(self, video_id: str) -> None:
        """Remember that a video was asked now: `store.life.make_room` spares it longest."""
        note_asked(self.folder(video_id))

    def asked(self, video_id: str) -> float | None:
        """When a video was last asked, seconds since 1970; None for never."""
        return asked_at(self.folder(video_id))

    def writer(self, record: VideoRecord) -> VideoWriter:
        """The writer of a video: of a new one, or of one to go on with after its last segment.

        Raises:
            StoreRefused: another writer has it, or it is stored with another fingerprint,
                geometry or profile; the first difference is named.
            ValueError: the record is not made of JSON values, or the store is open for reading.
        """
        self._need_write()
        folder = self.path / VIDEOS / check_video_id(record.video_id)
        plain = video_from_json(video_to_json(record))
        with disk_errors(folder):
            lock = self._lock(folder, record.name)
            try:
                with self._index.read() as snapshot:
                    value = snapshot.get("videos", entries.video_key(record.video_id))
                    known = value is not None
                    stored, state = (
                        find_video(snapshot, record.video_id) if known else (plain, NOTHING_YET)
                    )
                difference = first_difference(stored, plain)
                if difference:
                    raise refuse_difference(stored.name, difference)
                clear(folder, state, rescued=False)
            except BaseException:
                lock.release()
                raise
        return VideoWriter(self._index, folder, lock, stored, state)

    def refuse_written(self, video_id: str, name: str) -> None:
        """StoreRefused where another writer has the video, known or not."""
        path = self.path / VIDEOS / check_video_id(video_id) / LOCK_NAME
        with disk_errors(path):
            if who := holder(path):
                raise being_written(f"video {name}", who)

    def remove(self, video_id: str) -> None:
        """Remove a video: from the index in one transaction, then its files.

        Raises:
            StoreMissing: there is no such video.
            StoreRefused: it is being written.
        """
        self._need_write()
        check_video_id(video_id)
        folder = self.path / VIDEOS / video_id
        with disk_errors(folder):
            with self._index.read() as snapshot:
                video, _ = find_video(snapshot, video_id)
            lock = self._lock(folder, video.name)
            try:
                self._index.write(deletes=self._keys_of(video))
                self._records.pop(video_id, None)
                note_removal(folder)
                clear(folder, NOTHING_YET)
            finally:
                lock.release()
            with suppress(OSError):  # a stranger's file in it, or a new writer: leave it
                folder.rmdir()
            sync_folder(folder.parent)

    def tag(self, video_id: str, tags: Mapping[str, str]) -> None:
        """Give a video these tags in place of those it has; durable when this returns.

        Raises:
            StoreMissing: there is no such video.
            StoreRefused: it is being written.
            ValueError: tags that are not texts.
        """
        self._need_write()
        folder = self.path / VIDEOS / check_video_id(video_id)
        with disk_errors(folder):
            lock = self._lock(folder, self._record(video_id).name)
            try:
                with self._index.read() as snapshot:
                    video, state = find_video(snapshot, video_id)
                tagged = replace(video, tags=dict(tags))
                write_tags(folder, tagged.tags)
                key = entries.video_key(video_id)
                self._index.write([("videos", key, entries.video_value(tagged, state))])
                self._records.pop(video_id, None)
            finally:
                lock.release()

    def orphans(self) -> list[Path]:
        """Files no video needs: leftovers of killed writers and interrupted removals."""
        known = {video.video_id: state for video, state in self.videos()}
        with disk_errors(self.path):
            return find_orphans(self.path / VIDEOS, known)

    def prune(self) -> list[Path]:
        """Delete the orphans, those of living writers left alone; returns what was deleted."""
        self._need_write()
        orphans = self.orphans()
        for folder in sorted({path if path.is_dir() else path.parent for path in orphans}):
            with disk_errors(folder):
                try:
                    lock = self._lock(folder, folder.name)
                except StoreRefused:
                    continue  # a writer has started there meanwhile
                try:
                    # What is an orphan is asked again: a writer may have come and gone.
                    states = {video.video_id: state for video, state in self.videos()}
                    clear(folder, states.get(folder.name, NOTHING_YET))
                finally:
                    lock.release()
                with suppress(OSError):  # not empty, as a rule
                    folder.rmdir()
        return [path for path in orphans if not os.path.lexists(path)]

    def _keys_of(self, video: VideoRecord) -> list[Delete]:
        key = entries.video_key(video.video_id)
        with self._index.read() as snapshot:
            keys = [("segments", k) for k in snapshot.keys("segments", key)]
            for layer in range(video.geometry.layers):
                prefix = entries.summary_prefix(layer, video.video_id)
                for database in ("summaries", COARSE):
                    keys += [(database, k) for k in snapshot.keys(database, prefix)]
        return [*keys, ("videos", key)]

    def _lock(self, folder: Path, name: str) -> FileLock:
        while True:
            make_folder(folder)
            if folder.is_symlink():
                raise StoreRefused(
                    f"the folder of {name} is a symbolic link: {folder}",
                    "the store writes and deletes inside its own folder only: remove the link",
                )
            try:
                return FileLock(folder / LOCK_NAME, f"video {name}")
            except FileNotFoundError:
                continue  # the last writer of nothing took its empty folder away

    def _record(self, video_id: str) -> VideoRecord:
        if video_id not in self._records:
            with self._index.read() as snapshot:
                self._records[video_id] = find_video(snapshot, video_id)[0]
        return self._records[video_id]

    def _of_one_kind(
        self, snapshot: Snapshot, layer: int, video_ids: Sequence[str]
    ) -> list[tuple[VideoRecord, VideoState]]:
        """Videos whose block keys are alike; tokens a block may differ."""
        videos = [self._parsed(snapshot, video_id) for video_id in video_ids]
        refuse_other_kinds([video for video, _ in videos], layer)
        self._records |= {video.video_id: video for video, _ in videos}
        return videos

    def _parsed(self, snapshot: Snapshot, video_id: str) -> tuple[VideoRecord, VideoState]:
        """A video as it is now; its entry is not parsed again where it is still the same."""
        value = snapshot.get("videos", entries.video_key(check_video_id(video_id)))
        known = self._entries.get(video_id)
        if value is None or known is None or known[0] != value:
            if len(self._entries) >= _MOST_PARSED:
                self._entries.clear()
            known = value or b"", find_video(snapshot, video_id)
            self._entries[video_id] = known
        return known[1]

    def _need_write(self) -> None:
        if not self._write:
            raise ValueError("the store is open for reading only: open it with write=True")
