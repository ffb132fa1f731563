"""One key a segment: what an archive too large to score block by block is searched by first.

A scan goes once over a layer's coarse entries and holds one chunk of keys at a time, however many
hours of video there are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from store.coarse import (
    DATABASE,
    RUN,
    coarse_key,
    key_array,
    read_run,
    run_length,
    run_numbers,
    runs,
    segment_key,
    which,
)
from store.entries import summary_key, video_key
from store.errors import StoreDamaged, StoreMissing
from store.index import Snapshot
from store.index_check import REBUILD
from store.records import VideoRecord
from store.state import VideoState
from store.summaries import damaged_entry, missing_entries

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class SegmentKeys:
    """A chunk of n segments in one layer, ordered as the videos were given, then by number.

    Args:
        first: how many segments came before this chunk.
        keys: [n, kv_heads, head_dim], the summary block's key of each segment, or the mean of its
            block keys where it has no summary block. Overwritten by the next chunk.
        rows: blocks stored of all of them in this layer.
        nbytes: bytes that these take.
    """

    first: int
    keys: torch.Tensor
    rows: int
    nbytes: int


@dataclass(frozen=True)
class _Run:
    """A run of a video: how many segments it has if it is over, else 0; its key in any layer but
    for the layer, and what its entry begins with."""

    video: VideoRecord
    state: VideoState
    number: int
    length: int
    key: bytes
    begins: bytes


class Scan:
    """What scans go over, laid out once for all layers.

    Args:
        videos: of one geometry but for tokens, in the order in which their segments shall come, as
            of one moment: what they have got since is passed over.

    Attributes:
        kinds: a video of each geometry.
        runs: of all videos.
    """

    def __init__(self, videos: Sequence[tuple[VideoRecord, VideoState]]) -> None:
        self.kinds = list({video.geometry: video for video, _ in videos}.values())
        self.runs = [_run(video, state, run) for video, state in videos for run in runs(state)]


def _run(video: VideoRecord, state: VideoState, run: int) -> _Run:
    length = run_length(state, run)
    key = coarse_key(0, video.video_id, run)[2:]
    return _Run(video, state, run, length, key, which(video.geometry, run, length))


def scan_layer(snapshot: Snapshot, layer: int, scan: Scan, chunk: int) -> Iterator[SegmentKeys]:
    """Scan one layer.

    Every entry is verified as a whole.

    Args:
        snapshot: taken for views.
        chunk: segments held at a time, give or take a run.

    Raises:
        StoreDamaged: an entry is missing or not as written.
        StoreMissing: a video is not there any more.
    """
    if not scan.runs:
        return
    buffer = _Buffer(scan.runs[0].video, chunk + RUN)
    prefix = struct.pack(">H", layer)
    for run in scan.runs:
        key = prefix + run.key
        value = snapshot.view(DATABASE, key) if run.length else None
        if value is None:
            _add_entries(buffer, snapshot, layer, run)
        else:
            try:
                room = buffer.room(run.length)
                buffer.took(run.length, *read_run(key, value, run.begins, room))
            except ValueError as error:
                raise _damaged_run(run, layer, str(error)) from error
        if buffer.filled >= chunk:
            yield buffer.take()
    if buffer.filled:
        yield buffer.take()


class _Buffer:
    """Room for the keys of one chunk, filled again and again."""

    def __init__(self, video: VideoRecord, size: int) -> None:
        self._geometry = video.geometry
        self._keys = key_array(self._geometry, size)
        self._bytes = memoryview(self._keys.reshape(-1).view("u1").data)
        self._row = self._keys[0].nbytes
        self.filled = self._first = self._rows = self._nbytes = 0

    def room(self, count: int) -> memoryview:
        """Where the keys of the next `count` segments go."""
        return self._bytes[self.filled * self._row : (self.filled + count) * self._row]

    def took(self, count: int, rows: int, nbytes: int) -> None:
        """They are there, and have so many blocks of so many bytes."""
        self.filled += count
        self._rows += rows
        self._nbytes += nbytes

    def add(self, key: bytes, value: bytes) -> None:
        """Take the key of one segment out of its own entry; ValueError where that is damaged."""
        rows, size, self._keys[self.filled] = segment_key(key, value, self._geometry)
        self.took(1, rows, rows * size)

    def take(self) -> SegmentKeys:
        """What it holds; it is empty then."""
        import torch

        keys: Any = torch.from_numpy(self._keys[: self.filled])
        found = SegmentKeys(self._first, keys, self._rows, self._nbytes)
        self._first += self.filled
        self.filled = self._rows = self._nbytes = 0
        return found


def _add_entries(buffer: _Buffer, snapshot: Snapshot, layer: int, run: _Run) -> None:
    """The same of a run without a coarse entry, segment by segment."""
    video, state = run.video, run.state
    for number in filter(state.holds, run_numbers(run.number)):
        key = summary_key(layer, video.video_id, number)
        value = snapshot.get("summaries", key)
        if value is None:
            _refuse_missing(snapshot, layer, video, state)
        try:
            buffer.add(key, value)
        except ValueError as error:
            raise damaged_entry(video, layer, number, str(error)) from error


def _refuse_missing(
    snapshot: Snapshot, layer: int, video: VideoRecord, state: VideoState
) -> NoReturn:
    if snapshot.get("videos", video_key(video.video_id)) is None:
        raise StoreMissing(
            f"video {video.name} ({video.video_id}) was removed while it was searched", "ask again"
        )
    keys = (summary_key(layer, video.video_id, number) for number in state.numbers())
    there = sum(snapshot.get("summaries", key) is not None for key in keys)
    raise missing_entries(video, layer, there, state.held)


def _damaged_run(run: _Run, layer: int, why: str) -> StoreDamaged:
    video, first = run.video, run_numbers(run.number)[0]
    return StoreDamaged(
        f"the index's coarse entry of the segments from {first} on, layer {layer} of video "
        f"{video.name} ({video.video_id}): {why}",
        REBUILD,
        video=video.video_id,
        segment=first,
        layer=layer,
    )
