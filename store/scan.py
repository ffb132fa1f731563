"""One key a segment: what an archive too large to score block by block is searched by first.

A scan goes once over a layer's part of the index and holds one chunk of keys at a time, however
many hours of video there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.entries import read_last_key, read_summary, summary_prefix
from store.index import Snapshot
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
        rows: [n] blocks stored of each segment in this layer.
        nbytes: [n] bytes that they take.
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
    """
    import numpy as np
    import torch

    if not videos:
        return
    geometry = videos[0][0].geometry
    shape = (chunk, geometry.kv_heads, geometry.head_dim)
    keys = np.empty(shape, dtype=geometry.key_dtype())
    rows, nbytes = np.empty(chunk, dtype=np.int64), np.empty(chunk, dtype=np.int64)
    row_bytes = keys[0].nbytes
    flat: Any = keys.reshape(-1).view(np.uint8)
    raw = memoryview(flat)
    first = filled = 0
    for video, state in videos:
        seen = 0
        for key, value in snapshot.scan("summaries", summary_prefix(layer, video.video_id)):
            number = int.from_bytes(key[-4:], "big")
            if not state.holds(number):
                continue  # added since
            try:
                stored, size, last = read_last_key(key, value, row_bytes)
                rows[filled], nbytes[filled] = stored, stored * size
                if last is not None:
                    raw[filled * row_bytes : (filled + 1) * row_bytes] = last
                else:
                    keys[filled] = _mean(read_summary(key, value).table.keys)
            except ValueError as error:
                raise damaged_entry(video, layer, number, str(error)) from error
            seen += 1
            filled += 1
            if filled == chunk:
                yield SegmentKeys(first, torch.from_numpy(keys), rows, nbytes)
                first, filled = first + filled, 0
        if seen != state.held:
            raise missing_entries(video, layer, seen, state.held)
    if filled:
        yield SegmentKeys(first, torch.from_numpy(keys[:filled]), rows[:filled], nbytes[:filled])


def _mean(keys: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    import numpy as np

    if not len(keys):
        return np.zeros(keys.shape[1:], keys.dtype)
    mean: npt.NDArray[np.floating] = keys.astype(np.float32).mean(axis=0)
    return mean
