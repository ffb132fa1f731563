"""The index's keys and values, byte by byte.

Every value ends in the xxh3_64 of its key and its body: a flipped bit in either is found by
whoever reads the entry, and an entry cannot pass for another's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import xxhash

from store.codec import codec_of
from store.layout import LayerTable
from store.records import (
    SegmentRecord,
    VideoRecord,
    canonical_json,
    segment_from_json,
    segment_to_json,
    video_from_json,
    video_to_json,
)
from store.segment_file import SegmentHead
from store.state import VideoState, state_from_json, state_to_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT_KEY = b"format"  # in `meta`; its value is the number in decimal digits
COMMIT_KEY = b"commit"  # likewise; the number of the transaction that wrote it, which all do
SUMMARY_MAGIC = b"SKS1"
# magic, key dtype, summary row?, KV heads, head size, rows, bytes of a block, offset of row 0
SUMMARY_HEADER = struct.Struct("<4sBBHIIQQ")
KEY_DTYPES = {"float16": 1, "float32": 2}
_NUMPY_DTYPES = {1: "<f2", 2: "<f4"}
_KEY_BYTES = {1: 2, 2: 4}


def video_key(video_id: str) -> bytes:
    """Key in `videos`: the id's 8 bytes."""
    return bytes.fromhex(video_id)


def segment_key(video_id: str, number: int) -> bytes:
    """Key in `segments`: video id, then number (u32, big-endian)."""
    return bytes.fromhex(video_id) + struct.pack(">I", number)


def summary_key(layer: int, video_id: str, number: int) -> bytes:
    """Key in `summaries`: layer (u16), video id, number (u32), big-endian."""
    return summary_prefix(layer, video_id) + struct.pack(">I", number)


def summary_prefix(layer: int, video_id: str) -> bytes:
    """What the keys of one layer of one video begin with: one range scan."""
    return struct.pack(">H", layer) + bytes.fromhex(video_id)


def seal(key: bytes, body: bytes) -> bytes:
    """A value: `body` and the checksum of key and body."""
    return body + _digest(key, body).to_bytes(8, "little")


def unseal(key: bytes, value: bytes) -> memoryview:
    """The body of a value; ValueError where key or value are not as written."""
    view = memoryview(value)
    body = view[:-8]
    if len(view) < 8 or _digest(key, body) != int.from_bytes(view[-8:], "little"):
        raise ValueError("checksum mismatch")
    return body


def video_value(video: VideoRecord, state: VideoState) -> bytes:
    """Value in `videos`."""
    body = {"record": video_to_json(video), "state": state_to_json(state)}
    return seal(video_key(video.video_id), canonical_json(body).encode("ascii"))


def read_video(key: bytes, value: bytes) -> tuple[VideoRecord, VideoState]:
    """Record and state out of an entry of `videos`; ValueError where damaged."""
    fields = _json(key, value)
    try:
        return video_from_json(fields["record"]), state_from_json(fields["state"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a video entry: {error}") from error


def segment_value(video_id: str, segment: SegmentRecord) -> bytes:
    """Value in `segments`."""
    body = {"record": segment_to_json(segment), "bytes": segment.bytes}
    return seal(segment_key(video_id, segment.number), canonical_json(body).encode("ascii"))


def read_segment(key: bytes, value: bytes) -> SegmentRecord:
    """The record out of an entry of `segments`; ValueError where damaged."""
    fields = _json(key, value)
    try:
        return segment_from_json(fields["record"], fields["bytes"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a segment entry: {error}") from error


def summary_values(head: SegmentHead) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) in `summaries` of each layer of one segment."""
    import numpy as np

    geometry = head.video.geometry
    for layer, table in enumerate(head.tables):
        key = summary_key(layer, head.video.video_id, head.segment.number)
        header = SUMMARY_HEADER.pack(
            SUMMARY_MAGIC,
            KEY_DTYPES[geometry.key_dtype()],
            head.segment.summary,
            geometry.kv_heads,
            geometry.head_dim,
            len(table.blocks),
            codec_of(head.video).block_bytes(geometry),
            head.layout.kv[layer],
        )
        arrays = (
            np.ascontiguousarray(table.checksums, "<u8").tobytes(),
            np.ascontiguousarray(table.blocks, "<i4").tobytes(),
            np.ascontiguousarray(table.keys, table.keys.dtype.newbyteorder("<")).tobytes(),
        )
        yield key, seal(key, b"".join((header, *arrays)))


def read_summary(key: bytes, value: bytes) -> LayerTable:
    """One layer of one segment out of an entry of `summaries`; ValueError where damaged.

    The arrays view the value's bytes.
    """
    import numpy as np

    body, (_, kind, _, heads, size, rows, _, _) = _summary_body(key, value)
    at = SUMMARY_HEADER.size
    checksums: npt.NDArray[np.uint64] = np.frombuffer(body, "<u8", rows, at)
    blocks: npt.NDArray[np.int32] = np.frombuffer(body, "<i4", rows, at + 8 * rows)
    keys = np.frombuffer(body, _NUMPY_DTYPES[kind], rows * heads * size, at + 12 * rows)
    return LayerTable(blocks, checksums, keys.reshape(rows, heads, size))


def read_summary_parts(
    key: bytes, value: bytes, kind: tuple[int, int, int, int]
) -> tuple[memoryview, int, bool, int]:
    """An entry of `summaries` without an object for each of its arrays, for thousands of them.

    Args:
        kind: as `summary_kind` tells of the video.

    Returns:
        The arrays one behind the other (checksums u64, blocks i32, keys), rows, whether the last
        row is the summary block's, and the offset of row 0.

    Raises:
        ValueError: damaged, or of another kind.
    """
    body, (_, dtype, summary, heads, size, rows, block_bytes, offset) = _summary_body(key, value)
    if (dtype, heads, size, block_bytes) != kind:
        raise ValueError("not of the video's geometry")
    return body[SUMMARY_HEADER.size :], rows, bool(summary), offset


def summary_kind(video: VideoRecord) -> tuple[int, int, int, int]:
    """What all entries of `summaries` of a video have in common; `codec_of` may refuse it."""
    geometry = video.geometry
    block_bytes = codec_of(video).block_bytes(geometry)
    return KEY_DTYPES[geometry.key_dtype()], geometry.kv_heads, geometry.head_dim, block_bytes


def read_last_key(key: bytes, value: bytes, row_bytes: int) -> tuple[int, int, memoryview | None]:
    """Rows of an entry of `summaries`, bytes of a block, and the summary block's key if it has one.

    A fraction of the work of `read_summary`, for scans over very many segments.

    Args:
        row_bytes: size of one block key.

    Raises:
        ValueError: damaged, or its keys are not of this size.
    """
    body, (_, kind, summary, heads, size, rows, block_bytes, _) = _summary_body(key, value)
    if heads * size * _KEY_BYTES[kind] != row_bytes:
        raise ValueError("not of the video's geometry")
    return rows, block_bytes, body[len(body) - row_bytes :] if summary and rows else None


def _summary_body(key: bytes, value: bytes) -> tuple[memoryview, tuple[Any, ...]]:
    """Verified body and header of an entry of `summaries`."""
    body = unseal(key, value)
    if len(body) < SUMMARY_HEADER.size:
        raise ValueError("too short")
    header = SUMMARY_HEADER.unpack_from(body)
    magic, kind, _, heads, size, rows, block_bytes, offset = header
    if magic != SUMMARY_MAGIC or kind not in _KEY_BYTES:
        raise ValueError("not a summary entry")
    if offset + rows * block_bytes >= 1 << 63:
        raise ValueError("its blocks lie beyond any file")
    if len(body) != SUMMARY_HEADER.size + rows * (8 + 4 + heads * size * _KEY_BYTES[kind]):
        raise ValueError("its arrays do not fill it")
    return body, header


def _digest(key: bytes, body: bytes | memoryview) -> int:
    hasher = xxhash.xxh3_64(key)
    hasher.update(body)
    return hasher.intdigest()


def _json(key: bytes, value: bytes) -> dict[str, Any]:
    fields = json.loads(bytes(unseal(key, value)))
    if not isinstance(fields, dict):
        raise ValueError("not a record")
    return fields
