"""One key a segment: what an archive too large to score block by block is searched by first.

A scan goes once over a layer's coarse entries and holds one chunk of keys at a time, however many
hours of video there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from store.coarse import (
    DATABASE,
    coarse_key,
    key_array,
    read_run,
    run_length,
    run_numbers,
    runs,
    segment_key,
)
from store.entries import summary_key, video_key
from store.errors import StoreDamaged, StoreMissing
from store.index import Snapshot
from store.index_check import REBUILD
from store.records import VideoRecord
from store.state import VideoState
from store.summaries import damaged_entry, missing_entries

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


@dataclass(frozen=True, eq=False)
class SegmentKeys:
    """A chunk of n segments in one layer, ordered as the videos were given, then by number.

    Args:
        first: how many segments came before this chunk.
        keys: [n, kv_heads, head_dim], the summary block's key of each segment, or the mean of its
            block keys where it has no summary block. Overwritten by the next chunk.
        rows: [n] blocks stored of each segment in this layer; overwritten as well.
        nbytes: [n] bytes that they take; overwritten as well.
    """

    first: int
    keys: torch.Tensor
    rows: npt.NDArray[np.int64]
    nbytes: npt.NDArray[np.int64]


def scan_layer(
    snapshot: Snapshot, layer: int, videos: Sequence[tuple[VideoRecord, VideoState]], chunk: int
) -> Iterator[SegmentKeys]:
    """Scan one layer of videos of one geometry.

    Every entry is verified as a whole.

    Args:
        videos: records with the states whose segments are scanned: later ones are passed over.
        chunk: segments held at a time.

    Raises:
        StoreDamaged: an entry is missing or not as written.
        StoreMissing: a video is not there any more.
    """
    if not videos:
        return
    buffer = _Buffer(videos[0][0], chunk)
    for video, state in videos:
        for run in runs(state):
            length = run_length(state, run)
            key = coarse_key(layer, video.video_id, run)
            value = snapshot.get(DATABASE, key) if length else None
            if value is None:
                yield from _entries(buffer, snapshot, layer, video, state, run)
                continue
            try:
                found = read_run(key, value, buffer.geometry)
                if len(found.rows) != length:
                    raise ValueError(f"it has {len(found.rows)} of {length} segments")
            except ValueError as error:
                raise _damaged_run(video, layer, run, str(error)) from error
            yield from buffer.add(found.keys, found.rows, found.block_bytes)
    if buffer.filled:
        yield buffer.take()


class _Buffer:
    """Room for one chunk, filled again and again."""

    def __init__(self, video: VideoRecord, size: int) -> None:
        import numpy as np

        self.geometry = video.geometry
        self._size = size
        self.filled = self._first = 0
        self._keys = key_array(self.geometry, size)
        self._rows = np.empty(size, dtype=np.int64)
        self._nbytes = np.empty(size, dtype=np.int64)

    def add(
        self, keys: npt.NDArray[np.floating], rows: npt.NDArray[np.integer], size: int
    ) -> Iterator[SegmentKeys]:
        """Take the keys [n, g, d] of n segments of so many rows, each row of `size` bytes.

        Yields:
            What it holds, each time it is full.
        """
        at = 0
        while at < len(keys):
            n = min(len(keys) - at, self._size - self.filled)
            here, there = slice(self.filled, self.filled + n), slice(at, at + n)
            self._keys[here] = keys[there]
            self._rows[here] = rows[there]
            self._nbytes[here] = self._rows[here] * size
            self.filled, at = self.filled + n, at + n
            if self.filled == self._size:
                yield self.take()

    def take(self) -> SegmentKeys:
        """What it holds; it is empty then."""
        import torch

        n = self.filled
        keys = torch.from_numpy(self._keys[:n])
        found = SegmentKeys(self._first, keys, self._rows[:n], self._nbytes[:n])
        self._first, self.filled = self._first + n, 0
        return found


def _entries(
    buffer: _Buffer,
    snapshot: Snapshot,
    layer: int,
    video: VideoRecord,
    state: VideoState,
    run: int,
) -> Iterator[SegmentKeys]:
    """The same of a run without a coarse entry, segment by segment."""
    import numpy as np

    for number in filter(state.holds, run_numbers(run)):
        key = summary_key(layer, video.video_id, number)
        value = snapshot.get("summaries", key)
        if value is None:
            _refuse_missing(snapshot, layer, video, state)
        try:
            rows, size, found = segment_key(key, value, buffer.geometry)
        except ValueError as error:
            raise damaged_entry(video, layer, number, str(error)) from error
        yield from buffer.add(found[None], np.array([rows]), size)


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


def _damaged_run(video: VideoRecord, layer: int, run: int, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"the index's coarse entry of the segments from {run_numbers(run)[0]} on, layer {layer} of "
        f"video {video.name} ({video.video_id}): {why}",
        REBUILD,
        video=video.video_id,
        segment=run_numbers(run)[0],
        layer=layer,
    )
