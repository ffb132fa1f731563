"""Adding segments to one video: each is durable, file first and index last, when it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from store import entries
from store.attachments import describe
from store.coarse import DATABASE as COARSE
from store.coarse import among, coarse_values, run_length, run_of
from store.codec import codec_of
from store.errors import StoreDiskError, StoreRefused, disk_errors
from store.geometry import Geometry
from store.index import Index, Put
from store.lock import FileLock
from store.records import (
    BlockSpan,
    SegmentRecord,
    VideoRecord,
    check_segment,
)
from store.segment_file import SegmentHead, file_name, write_segment
from store.state import VideoState

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy as np
    import numpy.typing as npt
    import torch


@dataclass(frozen=True, eq=False)
class LayerBlocks:
    """One layer of one segment, as given to the writer.

    Args:
        blocks: for each row, which span it is, ascending; the summary block, if any, is the last
            row and has the number of spans as its index.
        kv: [n, 2, kv_heads, tokens, head_dim], keys before RoPE, then values; any device. Or what
            the video's codec has made of them: uint8 [n, block_bytes].
        keys: [n, kv_heads, head_dim] block keys.
    """

    blocks: Sequence[int]
    kv: torch.Tensor
    keys: torch.Tensor


def index_puts(head: SegmentHead, state: VideoState) -> list[Put]:
    """The index entries of one segment, `state` being the video's state with it.

    The same for a segment just written and for one found on disk: the index is derived.
    """
    video, segment = head.video, head.segment
    return [
        *(("summaries", key, value) for key, value in entries.summary_values(head)),
        (
            "segments",
            entries.segment_key(video.video_id, segment.number),
            entries.segment_value(video.video_id, segment),
        ),
        ("videos", entries.video_key(video.video_id), entries.video_value(video, state)),
    ]


def coarse_puts(index: Index, head: SegmentHead, state: VideoState, puts: list[Put]) -> list[Put]:
    """The coarse entries that `puts`, the other entries of this segment, make due."""
    if not run_length(state, run_of(head.segment.number)):
        return []
    own = {key: value for _, key, value in puts}
    try:
        with index.read() as snapshot:
            find = among(own, lambda key: snapshot.get("summaries", key))
            made = list(coarse_values(head.video, state, head.segment.number, find))
    except ValueError:  # damage in the index: who reads the entry itself tells what and where
        return []
    return [(COARSE, key, value) for key, value in made]


class VideoWriter:
    """The one writer of one video; get it from `Store.writer` and use it in a `with` block.

    Attributes:
        record: the video as stored; on an old video with its first `created` and notes.
        state: how far it has come.
        left_by: whose process ended while it wrote this video, in words; "" where none did.
    """

    def __init__(
        self, index: Index, folder: Path, lock: FileLock, record: VideoRecord, state: VideoState
    ) -> None:
        self.record = record
        self.state = state
        self._index = index
        self._folder = folder
        self._lock = lock
        self._stopped = ""
        self.left_by = str(lock.left_by or "")

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

    @property
    def next_number(self) -> int:
        """The number the next segment must have."""
        return self.state.next_number

    def commit(
        self,
        number: int,
        start: float,
        end: float,
        frames: int,
        spans: Sequence[BlockSpan],
        layers: Sequence[LayerBlocks],
        *,
        summary: bool,
        final: bool,
        notes: Mapping[str, Any] | None = None,
        attachments: Mapping[str, bytes] | None = None,
    ) -> SegmentRecord:
        """Store one segment; it is durable, and readers see it, when this returns.

        Args:
            number: `next_number`.
            start: seconds; `end` likewise.
            frames: frames that went into the segment.
            spans: one per block before compression, in time order.
            layers: what is kept of each layer.
            summary: whether the last row of each layer is the summary block.
            final: no segment follows.
            notes: JSON values kept with the segment.
            attachments: small byte strings kept with the segment, by names of a-z, 0-9, ".", "_"
                and "-".

        Raises:
            ValueError: numbers, shapes or dtypes do not fit, or the codec cannot write a number;
                nothing is stored.
            StoreDiskError: nothing is stored, and this writer takes no more: a disk that failed
                once is not written to again without a fresh start.
        """
        if self._stopped:
            raise StoreDiskError(self._stopped, "run again to go on after the last whole segment")
        segment = SegmentRecord(
            number=number,
            start=start,
            end=end,
            frames=frames,
            spans=tuple(spans),
            kept=tuple(len(layer.blocks) - summary for layer in layers),
            summary=summary,
            bytes=0,
            final=final,
            notes=notes or {},
            attachments=describe(attachments or {}),
        )
        self._check_order(segment)
        tables = [_table(self.record.geometry, segment, i, at) for i, at in enumerate(layers)]
        packed = [self._packed(segment, i, layer) for i, layer in enumerate(layers)]
        try:
            with disk_errors(self._folder):
                path = self._folder / file_name(number)
                head = write_segment(path, self.record, segment, packed, tables, attachments or {})
                state = self.state.after(head.segment)
                puts = index_puts(head, state)
                self._index.write(puts + coarse_puts(self._index, head, state, puts))
        except StoreDiskError as error:
            self._stopped = f"an earlier write failed ({error.what})"
            raise
        self.state = state
        return head.segment

    def close(self) -> None:
        """Give up the video's lock; may be called twice."""
        with disk_errors(self._folder):
            self._lock.release()
        with suppress(OSError):  # not empty, as a rule
            self._folder.rmdir()
        self._stopped = "this writer is closed"

    def _packed(self, segment: SegmentRecord, layer: int, given: LayerBlocks) -> torch.Tensor:
        """A layer's blocks as its codec writes them; ValueError where they do not fit."""
        import torch

        geometry, codec = self.record.geometry, codec_of(self.record)
        n, g, p, d = len(given.blocks), geometry.kv_heads, geometry.tokens, geometry.head_dim
        where = f"layer {layer} of segment {segment.number}"
        packed = given.kv.dtype == torch.uint8
        shape = (n, codec.block_bytes(geometry)) if packed else (n, 2, g, p, d)
        if tuple(given.kv.shape) != shape:
            raise ValueError(f"{where}: kv is {tuple(given.kv.shape)}, not {shape}")
        if packed:
            return given.kv
        if given.kv.dtype != getattr(torch, geometry.dtype):
            raise ValueError(f"{where}: kv is {given.kv.dtype}, not {geometry.dtype}")
        try:
            return codec.encode(given.kv)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _check_order(self, segment: SegmentRecord) -> None:
        geometry = self.record.geometry
        if self.state.complete:
            raise ValueError("the video is complete: nothing follows its final segment")
        if segment.number != self.next_number:
            raise ValueError(f"segment {segment.number} given, {self.next_number} is next")
        if len(segment.kept) != geometry.layers:
            raise ValueError(f"{len(segment.kept)} layers given, the model has {geometry.layers}")
        if self.state.holds(0) and segment.start < self.state.start:
            raise ValueError("the segment starts before the video does")
        if segment.number < self.state.segments and segment.final:
            raise ValueError("a segment that fills a gap is not the final one")
        check_segment(segment)


def refuse_difference(name: str, difference: str) -> StoreRefused:
    """Why a video cannot be gone on with."""
    return StoreRefused(
        f"video {name} is stored with another setting: {difference}",
        "use the stored setting, or remove the video and ingest it again",
    )


def _table(
    geometry: Geometry, segment: SegmentRecord, layer: int, given: LayerBlocks
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]:
    """Check one layer and bring its block keys to the stored dtype.

    Raises:
        ValueError: naming the layer and what does not fit.
    """
    import numpy as np
    import torch

    n, g, d = len(given.blocks), geometry.kv_heads, geometry.head_dim
    where = f"layer {layer} of segment {segment.number}"
    if tuple(given.keys.shape) != (n, g, d) or not given.keys.dtype.is_floating_point:
        raise ValueError(f"{where}: keys are {tuple(given.keys.shape)}, not floats {(n, g, d)}")
    blocks = np.array(given.blocks, dtype=np.int32).reshape(n)
    kept = blocks[: n - 1] if segment.summary else blocks
    if segment.summary and (n == 0 or blocks[-1] != len(segment.spans)):
        raise ValueError(f"{where}: its last row is not the summary block {len(segment.spans)}")
    if len(kept) and (kept[0] < 0 or kept[-1] >= len(segment.spans) or (np.diff(kept) <= 0).any()):
        raise ValueError(f"{where}: blocks must ascend within the {len(segment.spans)} spans")
    keys = given.keys.detach().to("cpu", torch.float32)
    if bool(torch.isnan(keys).any()):
        raise ValueError(f"{where}: a block key is not a number")
    dtype = getattr(torch, geometry.key_dtype())
    limit = torch.finfo(dtype).max  # a key that overflows half precision must stay comparable
    array: npt.NDArray[np.floating] = keys.clamp(-limit, limit).to(dtype).contiguous().numpy()
    return blocks, array
