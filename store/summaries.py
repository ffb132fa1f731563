"""One layer's block keys over many videos: what a question is scored against.

One range scan a video, one copy of the keys, no loop over blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.entries import read_summary_parts, summary_kind, summary_prefix
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
        StoreRefused: a codec that this version does not know.
    """
    gathered = _Gathered(layer)
    for place, (video, state) in enumerate(videos):
        if segments is None:
            _gather_all(snapshot, layer, gathered, place, video, state)
        elif wanted := list(segments.get(video.video_id, ())):
            _gather_some(snapshot, layer, gathered, place, video, wanted)
    return gathered.joined(videos)


def _gather_all(
    snapshot: Snapshot,
    layer: int,
    gathered: _Gathered,
    place: int,
    video: VideoRecord,
    state: VideoState,
) -> None:
    gathered.begin(place, video)
    before = len(gathered.numbers)
    for key, value in snapshot.scan("summaries", summary_prefix(layer, video.video_id)):
        gathered.add(int.from_bytes(key[-4:], "big"), key, value)
    if not state.agrees(gathered.numbers[before:]):
        raise missing_entries(video, layer, len(gathered.numbers) - before, state.held)


def _gather_some(
    snapshot: Snapshot,
    layer: int,
    gathered: _Gathered,
    place: int,
    video: VideoRecord,
    wanted: Sequence[int],
) -> None:
    gathered.begin(place, video)
    prefix = summary_prefix(layer, video.video_id)
    keys = [prefix + number.to_bytes(4, "big") for number in wanted]
    values = snapshot.get_many("summaries", keys)
    for number, key, value in zip(wanted, keys, values, strict=True):
        if value is None:
            raise damaged_entry(video, layer, number, "it is missing")
        gathered.add(number, key, value)


class _Gathered:
    """Entries of one layer, verified one by one and made into arrays together.

    Thousands are read for a question to an archive: what is done for each is kept small.
    """

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self.numbers: list[int] = []
        self._places: list[int] = []
        self._rows: list[int] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._summary: list[bool] = []
        self._checksums: list[memoryview] = []
        self._blocks: list[memoryview] = []
        self._keys: list[memoryview] = []

    def begin(self, place: int, video: VideoRecord) -> None:
        """What follows is of this video."""
        self._place, self._video, self._kind = place, video, summary_kind(video)

    def add(self, number: int, key: bytes, value: bytes) -> None:
        """The entry of one segment."""
        try:
            arrays, rows, summary, offset = read_summary_parts(key, value, self._kind)
        except ValueError as error:
            raise damaged_entry(self._video, self._layer, number, str(error)) from error
        self.numbers.append(number)
        self._places.append(self._place)
        self._rows.append(rows)
        self._offsets.append(offset)
        self._sizes.append(self._kind[-1])
        self._summary.append(summary)
        self._checksums.append(arrays[: 8 * rows])
        self._blocks.append(arrays[8 * rows : 12 * rows])
        self._keys.append(arrays[12 * rows :])

    def joined(self, videos: Sequence[tuple[VideoRecord, VideoState]]) -> LayerSummaries:
        """All of it."""
        import numpy as np

        rows = np.array(self._rows, dtype=np.int64)
        ends = np.cumsum(rows)
        row = np.arange(int(rows.sum()), dtype=np.int64) - np.repeat(ends - rows, rows)
        sizes = np.repeat(np.array(self._sizes, dtype=np.int64), rows)
        has_summary = np.repeat(np.array(self._summary, dtype=np.bool_), rows)
        return LayerSummaries(
            layer=self._layer,
            video_ids=tuple(video.video_id for video, _ in videos),
            keys=self._joined_keys(videos[0][0].geometry if videos else None),
            video=np.repeat(np.array(self._places, dtype=np.int64), rows),
            segment=np.repeat(np.array(self.numbers, dtype=np.int64), rows),
            block=np.frombuffer(b"".join(self._blocks), "<i4").astype(np.int64),
            row=row,
            summary=has_summary & (row == np.repeat(rows, rows) - 1),
            offset=np.repeat(np.array(self._offsets, dtype=np.int64), rows) + row * sizes,
            checksum=np.frombuffer(b"".join(self._checksums), "<u8").astype(np.uint64),
            nbytes=sizes,
        )

    def _joined_keys(self, geometry: Geometry | None) -> torch.Tensor:
        """All block keys in memory of their own, each copied once."""
        import numpy as np
        import torch

        if geometry is None:
            return torch.empty((0, 0, 0), dtype=torch.float16)
        dtype = np.dtype(geometry.key_dtype())
        keys = np.frombuffer(bytearray().join(self._keys), dtype.newbyteorder("<"))
        shape = (-1, geometry.kv_heads, geometry.head_dim)
        return torch.from_numpy(keys.astype(dtype, copy=False).reshape(shape))


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
