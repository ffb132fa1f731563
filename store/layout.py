"""Where everything lies inside a segment file: pure arithmetic, no I/O.

A segment file is a safetensors file in two parts: the head (header and small tables, one read,
one checksum) and the blocks (one tensor a layer, each block one contiguous range), with the
attachments behind them. The whole header follows from the record text, the geometry and the rows
of each layer, so a reader can recompute it and compare: a header that claims anything else is
damaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from store.codec import codec_of
from store.geometry import DTYPE_BYTES, Geometry
from store.records import (
    SegmentRecord,
    VideoRecord,
    canonical_json,
    segment_to_json,
    video_to_json,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 2
READABLE = (1, 2)
"""Formats that this program reads; it writes the last one. `store.migrate` leads from one to it."""

METADATA_KEY = "streamkv"
BLOCK_ALIGN = 512
MOST_HEADER = 100_000_000  # safetensors refuses longer headers


@dataclass(frozen=True)
class LayerTable:
    """The small arrays of one layer of one segment: blocks i32 [n], checksums u64 [n], keys
    [n, kv_heads, head_dim]; one entry a row."""

    blocks: npt.NDArray[np.int32]
    checksums: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.floating]


@dataclass(frozen=True)
class Layout:
    """The plan of one segment file; offsets in bytes from the start of the file.

    Args:
        header: the 8-byte length and the JSON, padded with spaces.
        checksum: where the head's own checksum lies (8 bytes).
        checksums, blocks, keys: where each layer's tables start.
        kv: where each layer's blocks start; kv[0] is the end of the head.
        attachments: where each attachment starts, by name.
        total: size of the file.
    """

    header: bytes
    checksum: int
    checksums: tuple[int, ...]
    blocks: tuple[int, ...]
    keys: tuple[int, ...]
    kv: tuple[int, ...]
    attachments: Mapping[str, int]
    total: int


def record_text(video: VideoRecord, segment: SegmentRecord) -> str:
    """The one metadata value of a segment file: format, video and segment as sorted JSON."""
    value = {"format": FORMAT, "segment": segment_to_json(segment), "video": video_to_json(video)}
    return canonical_json(value)


def plan(text: str, video: VideoRecord, segment: SegmentRecord) -> Layout:
    """The layout of the file of `segment`, whose metadata value is `text`.

    Raises:
        ValueError: the header would be longer than safetensors allows.
        StoreRefused: the video's codec is unknown.
    """
    layers = len(segment.kept)
    tensors = _tensors(video, segment)
    entries, starts, at = [], [], 0
    for name, dtype, item, shape in tensors:
        size = item * _product(shape)
        entries.append(_entry(name, dtype, shape, at, at + size))
        starts.append(at)
        at += size
    tables = starts[1 + 3 * layers]  # the blocks follow the tables
    json_text = '{"__metadata__":{"%s":%s},%s}' % (  # noqa: UP031 - braces
        METADATA_KEY,
        canonical_json(text),
        ",".join(entries),
    )
    header = json_text.encode("ascii")
    # Spaces after the JSON are allowed; they put the first block on a sector boundary.
    header += b" " * (-(8 + len(header) + tables) % BLOCK_ALIGN)
    if len(header) > MOST_HEADER:
        raise ValueError(f"a header of {len(header)} bytes: notes or profile are too large")
    base = 8 + len(header)
    groups = [
        tuple(base + start for start in starts[1 + i * layers : 1 + (i + 1) * layers])
        for i in range(4)
    ]
    rest = (base + start for start in starts[1 + 4 * layers :])
    return Layout(
        header=len(header).to_bytes(8, "little") + header,
        checksum=base,
        checksums=groups[0],
        blocks=groups[1],
        keys=groups[2],
        kv=groups[3],
        attachments=dict(zip(sorted(segment.attachments), rest, strict=True)),
        total=base + at,
    )


def pack_head(layout: Layout, tables: Sequence[LayerTable]) -> bytearray:
    """The head's bytes, the checksum still zero."""
    import numpy as np

    head = bytearray(layout.kv[0])
    head[: len(layout.header)] = layout.header
    for layer, table in enumerate(tables):
        for start, array, dtype in (
            (layout.checksums[layer], table.checksums, "<u8"),
            (layout.blocks[layer], table.blocks, "<i4"),
            (layout.keys[layer], table.keys, table.keys.dtype.newbyteorder("<")),
        ):
            raw = np.ascontiguousarray(array, dtype=dtype).tobytes()
            head[start : start + len(raw)] = raw
    return head


def unpack_head(
    layout: Layout, head: bytearray, geometry: Geometry, rows: Sequence[int]
) -> list[LayerTable]:
    """The tables out of a head's bytes, as views of them."""
    import numpy as np

    shape = (geometry.kv_heads, geometry.head_dim)
    per_row = shape[0] * shape[1]
    dtype = "<f4" if geometry.key_dtype() == "float32" else "<f2"
    tables = []
    for layer, n in enumerate(rows):
        keys = np.frombuffer(head, dtype, n * per_row, layout.keys[layer])
        tables.append(
            LayerTable(
                blocks=np.frombuffer(head, "<i4", n, layout.blocks[layer]),
                checksums=np.frombuffer(head, "<u8", n, layout.checksums[layer]),
                keys=keys.reshape(n, *shape),
            )
        )
    return tables


def _tensors(
    video: VideoRecord, segment: SegmentRecord
) -> list[tuple[str, str, int, tuple[int, ...]]]:
    """(name, dtype, bytes an item, shape) in file order: widest items first keeps all aligned."""
    geometry, codec = video.geometry, codec_of(video)
    g, d, key = geometry.kv_heads, geometry.head_dim, geometry.key_dtype()
    layers = [(f"layer.{layer:03d}", n) for layer, n in enumerate(segment.rows())]
    name_of, size_of = ("F32", "F16")[key == "float16"], DTYPE_BYTES[key]
    return [
        ("checksum", "U64", 8, (1,)),
        *((f"{name}.checksums", "U64", 8, (n,)) for name, n in layers),
        *((f"{name}.blocks", "I32", 4, (n,)) for name, n in layers),
        *((f"{name}.keys", name_of, size_of, (n, g, d)) for name, n in layers),
        *((f"{name}.kv", *codec.tensor(geometry, n)) for name, n in layers),
        *(
            (f"attachment.{name}", "U8", 1, (attached.bytes,))
            for name, attached in sorted(segment.attachments.items())
        ),
    ]


def _entry(name: str, dtype: str, shape: tuple[int, ...], start: int, end: int) -> str:
    sizes = ",".join(map(str, shape))
    return f'"{name}":{{"dtype":"{dtype}","shape":[{sizes}],"data_offsets":[{start},{end}]}}'


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
