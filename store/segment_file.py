"""Writing one segment file and reading it back: heads whole, blocks one by one.

The bytes are written here and not by the safetensors package, whose writer neither fsyncs nor
follows the umask, needs all layers in host memory at once, and turns "disk full" into a string.
The result is an ordinary safetensors file all the same.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from store import layout
from store.disk import read_into, sync_folder, write_at
from store.errors import StoreDamaged, disk_errors
from store.layout import LayerTable, Layout
from store.records import (
    SegmentRecord,
    VideoRecord,
    segment_from_json,
    video_from_json,
    with_bytes,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

SUFFIX = ".safetensors"
TEMPORARY = ".tmp"
REMEDY = "streamkv repair drops it and shows the command that ingests its seconds again"
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_NAME = re.compile(r"(\d{8,10})\.safetensors")


@dataclass(frozen=True)
class SegmentHead:
    """All of a segment file but its blocks."""

    video: VideoRecord
    segment: SegmentRecord
    tables: list[LayerTable]
    layout: Layout


def file_name(number: int) -> str:
    """The name of the file of segment `number`."""
    return f"{number:08d}{SUFFIX}"


def file_number(name: str) -> int | None:
    """The segment a file of this name holds; None where it is no segment file's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match and name == file_name(int(match[1])) else None


def write_segment(
    path: Path,
    video: VideoRecord,
    segment: SegmentRecord,
    packed: Sequence[torch.Tensor],
    tables: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]],
    attachments: Mapping[str, bytes],
) -> SegmentHead:
    """Write a segment file: whole and durable under its name, or not at all.

    Args:
        path: its final name; the folder exists.
        packed: for each layer the blocks as the video's codec writes them, uint8
            [n, block_bytes], any device.
        tables: for each layer the block numbers [n] and the block keys [n, kv_heads, head_dim].
        attachments: the bytes of `segment.attachments`.

    Returns:
        What was written, `segment.bytes` filled in.

    Raises:
        StoreDiskError: nothing stands under `path` that was not there before.
        ValueError: the records are too large for a header.
    """
    text = layout.record_text(video, segment)
    plan = layout.plan(text, video, segment)
    with new_file(path) as fd:
        full = _write_blocks(fd, plan, packed, tables)
        for name, data in attachments.items():
            write_at(fd, memoryview(data), plan.attachments[name])
        write_at(fd, memoryview(sealed_head(plan, full)), 0)
    return SegmentHead(video, with_bytes(segment, plan.total), full, plan)


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A descriptor to write a file by that has its name when the block ends, durably and whole.

    Raises:
        StoreDiskError: what stood under `path` still does.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with disk_errors(temporary):
            fd = os.open(temporary, _NEW_FILE, 0o666)
            try:
                yield fd
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_head(path: Path) -> SegmentHead:
    """Read and verify all of a segment file but its blocks.

    Raises:
        StoreDamaged: any byte of the head, or the size of the file, is not as written.
        StoreDiskError: the file cannot be read.
    """
    with disk_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return _read_head(fd, os.fstat(fd).st_size)
        except (ValueError, RecursionError) as error:
            raise StoreDamaged(
                f"segment file {path.parent.name}/{path.name}: {error}",
                REMEDY,
                video=path.parent.name,
                segment=file_number(path.name),
            ) from error
        finally:
            os.close(fd)


def _write_blocks(
    fd: int,
    plan: Layout,
    packed: Sequence[torch.Tensor],
    tables: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]],
) -> list[LayerTable]:
    """Write the blocks layer by layer, so that only one layer is in host memory at a time."""
    import numpy as np

    full = []
    for offset, tensor, (blocks, keys) in zip(plan.kv, packed, tables, strict=True):
        rows: Any = tensor.detach().to("cpu").contiguous().numpy()
        checksums = [xxhash.xxh3_64_intdigest(row) for row in rows]
        write_at(fd, memoryview(rows.reshape(-1)), offset)
        full.append(LayerTable(blocks, np.array(checksums, dtype=np.uint64), keys))
    return full


def sealed_head(plan: Layout, tables: Sequence[LayerTable]) -> bytearray:
    """The head's bytes with its checksum."""
    head = layout.pack_head(plan, tables)
    digest = xxhash.xxh3_64_intdigest(head)  # over the head with the checksum itself still zero
    head[plan.checksum : plan.checksum + 8] = digest.to_bytes(8, "little")
    return head


def _read_head(fd: int, size: int) -> SegmentHead:
    """Every size is checked against the file's before anything of that size is allocated."""
    length = int.from_bytes(_exact(fd, 8, 0), "little")
    if length > min(layout.MOST_HEADER, size - 8):
        raise ValueError(f"it claims a header of {length} bytes")
    header = _exact(fd, length, 8)
    text = _metadata(header)
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") not in layout.READABLE:
        raise ValueError("its format is unknown")
    video = video_from_json(value.get("video"))
    segment = segment_from_json(value.get("segment"), size)
    if len(segment.kept) != video.geometry.layers:
        raise ValueError("its record and its geometry differ in layers")
    plan = layout.plan(text, video, segment)
    if plan.header[8:] != header:
        raise ValueError("its header is not as written")
    if plan.total != size:
        raise ValueError(f"it has {size} bytes and should have {plan.total}")
    head = _exact(fd, plan.kv[0], 0)
    stored = int.from_bytes(head[plan.checksum : plan.checksum + 8], "little")
    head[plan.checksum : plan.checksum + 8] = bytes(8)
    if xxhash.xxh3_64_intdigest(head) != stored:
        raise ValueError("the checksum of its head does not match")
    tables = layout.unpack_head(plan, head, video.geometry, segment.rows())
    return SegmentHead(video, segment, tables, plan)


def _metadata(header: bytearray) -> str:
    value = json.loads(header)
    metadata = value.get("__metadata__") if isinstance(value, dict) else None
    text = metadata.get(layout.METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError("it carries no streamkv record")
    return text


def _exact(fd: int, size: int, offset: int) -> bytearray:
    data = bytearray(size)
    if read_into(fd, [memoryview(data)], offset) < size:
        raise ValueError("it is cut short")
    return data
