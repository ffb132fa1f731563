"""One layer's block keys over many videos: what a question is scored against.

One range scan a video, one copy of the keys, no loop over blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.codec import block_bytes, codec_of
from store.entries import SummaryEntry, read_summary, summary_key, summary_prefix
from store.errors import StoreDamaged
from store.geometry import Geometry
from store.index import Snapshot
from store.index_check import REBUILD
from store.records import VideoRecord
from store.state import VideoState

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


@dataclass(frozen=True)
class BlockRef:
    """One stored block of one layer, and all that is needed to read exactly its bytes.

    Args:
        row: its place among the blocks of this segment and layer.
        block: which span of the segment it is; the number of spans for a summary block.
        offset: where it starts in the segment file, in bytes; `nbytes` long.
        checksum: xxh3_64 of these bytes.
    """

    video_id: str
    layer: int
    segment: int
    row: int
    block: int
    offset: int
    nbytes: int
    checksum: int


@dataclass(frozen=True, eq=False)
class LayerSummaries:
    """The B blocks of some videos in one layer, ordered by (video as given, segment, row).

    Args:
        layer: the layer.
        video_ids: the videos, in the order asked for.
        keys: block keys [B, kv_heads, head_dim], float16 or float32, in host memory.
        video: [B] index into `video_ids`; the other arrays are [B] as well.
        segment: number of the segment.
        block: index of the block's span; the number of spans for a summary block.
        row: place among the rows of its segment.
        summary: whether it is a summary block.
        offset: where the block starts in its segment file.
        checksum: xxh3_64 of the block.
        nbytes: size of the block, which depends on its video's codec.
    """

    layer: int
    video_ids: tuple[str, ...]
    keys: torch.Tensor
    video: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int64]
    block: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    summary: npt.NDArray[np.bool_]
    offset: npt.NDArray[np.int64]
    checksum: npt.NDArray[np.uint64]
    nbytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """B, the number of blocks."""
        return len(self.video)

    def ref(self, i: int) -> BlockRef:
        """Block `i`, to be read."""
        return BlockRef(
            video_id=self.video_ids[self.video[i]],
            layer=self.layer,
            segment=int(self.segment[i]),
            row=int(self.row[i]),
            block=int(self.block[i]),
            offset=int(self.offset[i]),
            nbytes=int(self.nbytes[i]),
            checksum=int(self.checksum[i]),
        )

    def refs(self, indices: Iterable[int]) -> list[BlockRef]:
        """Blocks `indices`, in this order."""
        return [self.ref(int(i)) for i in indices]


def read_layer(
    snapshot: Snapshot,
    layer: int,
    videos: Sequence[tuple[VideoRecord, VideoState]],
    segments: Mapping[str, Iterable[int]] | None = None,
) -> LayerSummaries:
    """Gather one layer's summaries; the videos share one geometry.

    Args:
        segments: numbers of the segments wanted of each video, by its id, ascending; all if None.

    Raises:
        StoreDamaged: an entry is missing or not as written.
    """
    found: list[tuple[int, int, SummaryEntry]] = []
    for place, (video, state) in enumerate(videos):
        if segments is None:
            found += _all_of(snapshot, layer, place, video, state)
        else:
            for number in segments.get(video.video_id, ()):
                entry = _one_of(snapshot, layer, video, number)
                found.append((place, number, entry))
    return _joined(layer, videos, found)


def _all_of(
    snapshot: Snapshot, layer: int, place: int, video: VideoRecord, state: VideoState
) -> list[tuple[int, int, SummaryEntry]]:
    found = []
    for key, value in snapshot.scan("summaries", summary_prefix(layer, video.video_id)):
        segment = int.from_bytes(key[-4:], "big")
        found.append((place, segment, _entry(key, value, video, layer, segment)))
    if not state.agrees([segment for _, segment, _ in found]):
        raise missing_entries(video, layer, len(found), state.held)
    return found


def _one_of(snapshot: Snapshot, layer: int, video: VideoRecord, number: int) -> SummaryEntry:
    key = summary_key(layer, video.video_id, number)
    value = snapshot.get("summaries", key)
    if value is None:
        raise damaged_entry(video, layer, number, "it is missing")
    return _entry(key, value, video, layer, number)


def missing_entries(video: VideoRecord, layer: int, found: int, expected: int) -> StoreDamaged:
    """The error for a layer of a video that has too few segments in the index."""
    return StoreDamaged(
        f"the index has {found} of {expected} segments in layer "
        f"{layer} of video {video.name} ({video.video_id})",
        REBUILD,
        video=video.video_id,
        layer=layer,
    )


def damaged_entry(video: VideoRecord, layer: int, segment: int, why: str) -> StoreDamaged:
    """The error for an entry that is not as written."""
    return StoreDamaged(
        f"the index entry of segment {segment}, layer {layer} of video {video.name} "
        f"({video.video_id}): {why}",
        REBUILD,
        video=video.video_id,
        segment=segment,
        layer=layer,
    )


def _joined(
    layer: int,
    videos: Sequence[tuple[VideoRecord, VideoState]],
    found: Sequence[tuple[int, int, SummaryEntry]],
) -> LayerSummaries:
    import numpy as np
    import torch

    rows = np.array([len(entry.table.blocks) for _, _, entry in found], dtype=np.int64)
    ends = np.cumsum(rows)
    total = int(ends[-1]) if len(ends) else 0
    row = np.arange(total, dtype=np.int64) - np.repeat(ends - rows, rows)
    has_summary = np.array([entry.summary for _, _, entry in found], dtype=np.bool_)
    geometry = videos[0][0].geometry if videos else None
    sizes = np.array([entry.block_bytes for _, _, entry in found], dtype=np.int64)
    offsets = np.array([entry.offset for _, _, entry in found], dtype=np.int64)
    return LayerSummaries(
        layer=layer,
        video_ids=tuple(video.video_id for video, _ in videos),
        keys=torch.from_numpy(_keys(found, total, geometry)),
        video=np.repeat(np.array([place for place, _, _ in found], dtype=np.int64), rows),
        segment=np.repeat(np.array([number for _, number, _ in found], dtype=np.int64), rows),
        block=_join([entry.table.blocks for _, _, entry in found], np.int64),
        row=row,
        summary=np.repeat(has_summary, rows) & (row == np.repeat(rows, rows) - 1),
        offset=np.repeat(offsets, rows) + row * np.repeat(sizes, rows),
        checksum=_join([entry.table.checksums for _, _, entry in found], np.uint64),
        nbytes=np.repeat(sizes, rows),
    )


def _entry(key: bytes, value: bytes, video: VideoRecord, layer: int, segment: int) -> SummaryEntry:
    try:
        entry = read_summary(key, value)
        geometry = video.geometry
        shape = (geometry.kv_heads, geometry.head_dim)
        codec_of(video)  # refuses one that is not known
        size = block_bytes(video.codec, geometry)
        if entry.table.keys.shape[1:] != shape or entry.block_bytes != size:
            raise ValueError("not of the video's geometry")
    except ValueError as error:
        raise damaged_entry(video, layer, segment, str(error)) from error
    return entry


def _keys(
    found: Sequence[tuple[int, int, SummaryEntry]], total: int, geometry: Geometry | None
) -> npt.NDArray[Any]:
    """All block keys in one new array, each copied once out of the index's pages."""
    import numpy as np

    if geometry is None:
        return np.empty((0, 0, 0), dtype=np.float16)
    shape = (total, geometry.kv_heads, geometry.head_dim)
    keys = np.empty(shape, dtype=geometry.key_dtype())
    if found:
        np.concatenate([entry.table.keys for _, _, entry in found], out=keys)
    return keys


def _join(arrays: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    import numpy as np

    return np.concatenate(arrays, dtype=dtype) if arrays else np.empty(0, dtype=dtype)
